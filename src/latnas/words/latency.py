"""From a latency table to the latency of an architecture, with an interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from latnas.errors import LatnasError
from latnas.words.architecture import Architecture
from latnas.words.costs import AdditiveCost, PartCosts, parts_of_sites
from latnas.words.estimate import Estimate
from latnas.words.sites import SpaceTrace
from latnas.words.table import LatencyTable, OperationEntry, Prices, factor_of

LEAST_SHARE = 0.1
"""No network is predicted to take less than this share of the fastest one that was measured."""


Contexts = Callable[[Architecture], Mapping[str, float]]
"""Thousands of output elements of each class of primitive operations in an architecture."""


@dataclass(frozen=True)
class LatencyModel:
    """What a table says of the architectures of its space.

    `predict` has the last word before a measurement. `cost` is its best approximation that is linear in the items, for
    solvers and gradients: what it lets through is to be predicted.
    """

    table: LatencyTable
    cost: AdditiveCost
    pieces: AdditiveCost
    contexts: Contexts

    def predict(self, architecture: Architecture) -> Estimate:
        """Predicted latency of a canonical architecture: ms, in the table's quoted statistic."""
        return self.interval(self.predict_ms(architecture))

    def predict_ms(self, architecture: Architecture) -> float:
        """The point prediction alone. Remembered, since tracing a large network takes some 50 ms."""
        if architecture.key not in self._known:
            prices = self.table.calibration.prices.contexts_ms
            amounts = self.contexts(architecture) if prices else {}
            merged = sum(ms * amounts.get(name, 0.0) for name, ms in prices.items())
            # A network takes some time, whatever far-off prices add up to.
            least = LEAST_SHARE * min(entry.floor_ms for entry in self.table.calibration.networks)
            floor_ms = max(self.pieces.cost(architecture) + merged, least)
            self._known[architecture.key] = floor_ms * self.table.factor
        return self._known[architecture.key]

    def knows(self, architecture: Architecture) -> bool:
        """Whether it has been predicted before, so that it takes no time."""
        return architecture.key in self._known

    def interval(self, value_ms: float) -> Estimate:
        """The interval around a predicted latency, in ms."""
        calibration = self.table.calibration
        return Estimate(value=value_ms, low=value_ms * calibration.low, high=value_ms * calibration.high)

    def quoted_ms(self, floor_ms: float) -> float:
        """A measured floor, in the statistic that budgets apply to."""
        return floor_ms * self.table.factor

    @cached_property
    def _known(self) -> dict[str, float]:
        return {}


def latency_model(table: LatencyTable, trace: SpaceTrace, contexts: Contexts) -> LatencyModel:
    """The latency model of `table` for the space of `trace`.

    Raises:
        LatnasError: the table is of another space, or lacks an operation or a part.
    """
    if table.space_digest != trace.digest:
        measured = f"{table.space} with {_options(table.options)}"
        raise LatnasError(
            f"the table {table.name} was measured for {measured}, as an earlier latnas built it. Measure it again: "
            f"{profile_command(trace)}"
            if (table.space, table.options) == (trace.space, trace.options)
            else f"the table {table.name} was measured for another space ({measured}), not for {trace.space} with "
            f"{_options(trace.options)}. Measure this one: {profile_command(trace)}"
        )
    calibration = table.calibration
    if calibration.prior == "operations":
        parts_of_operations(table.operations, trace)
    linear = _parts(calibration.linear, trace).of_items("ms").scaled(factor_of(table, table.quote))
    return LatencyModel(table, linear, _parts(calibration.prices, trace).of_items("ms"), contexts)


def _parts(prices: Prices, trace: SpaceTrace) -> PartCosts:
    """The fitted milliseconds of the fixed rest and of every part."""
    missing: list[str] = []
    parts_of: dict[str, dict[str, np.ndarray]] = {}
    for setting in trace.settings:
        fitted = prices.parts_ms.get(setting, {})
        missing += [f"setting {setting}"] if setting not in prices.fixed_ms else []
        missing += [
            f"{part} of {decision.name}"
            for decision in trace.decisions
            for part in decision.parts
            if part not in fitted.get(decision.name, {})
        ]
        parts_of[setting] = {
            decision.name: np.array([fitted.get(decision.name, {}).get(part, 0.0) for part in decision.parts])
            for decision in trace.decisions
        }
    if missing:
        raise LatnasError(
            f"the table's calibration lacks {len(missing)} of the parts of space {trace.space!r}: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}. "
            f"Measure it again: {profile_command(trace)}"
        )
    return PartCosts(trace.decisions, prices.fixed_ms, parts_of)


def parts_of_operations(operations: Mapping[str, OperationEntry], trace: SpaceTrace) -> PartCosts:
    """The plain sum of isolated operations, part by part, before calibration.

    Raises:
        LatnasError: an operation was not measured. A missing entry is never guessed.
    """
    missing = [site.label for digest, site in trace.operations.items() if digest not in operations]
    if missing:
        raise LatnasError(
            f"the table lacks {len(missing)} of the operations that space {trace.space!r} needs: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}. Measure them: {profile_command(trace)}"
        )
    return parts_of_sites(trace, lambda site: operations[site.operation].cost_ms)


def profile_command(trace: SpaceTrace) -> str:
    """The command that measures this space, and what to add to it: a space knows neither device nor images."""
    options = trace.options
    command = f"latnas profile --space {trace.space} --width {options['width']} --depth {options['depth']}"
    return f"{command}, with --device and --data as they were"


def _options(options: Mapping[Any, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())
