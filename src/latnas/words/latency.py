"""From a latency table to the latency of an architecture: linear in the items, with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latnas.errors import LatnasError
from latnas.words.architecture import Architecture
from latnas.words.costs import AdditiveCost, cost_of_sites
from latnas.words.sites import Site, SpaceTrace
from latnas.words.table import LatencyTable, OperationEntry, factor_of


@dataclass(frozen=True)
class Prediction:
    """A predicted latency with its 90 percent interval, in the table's quoted statistic."""

    value_ms: float
    low_ms: float
    high_ms: float

    def to_json(self) -> dict[str, float]:
        """As in `manifest.json`."""
        return {"value": self.value_ms, "low": self.low_ms, "high": self.high_ms}


@dataclass(frozen=True)
class LatencyModel:
    """What a table says of the architectures of its space."""

    table: LatencyTable
    cost: AdditiveCost

    def predict(self, architecture: Architecture) -> Prediction:
        """Predicted latency of a canonical architecture."""
        return self.interval(self.cost.cost(architecture))

    def interval(self, value_ms: float) -> Prediction:
        """The interval around a predicted latency."""
        calibration = self.table.calibration
        return Prediction(value_ms, value_ms * calibration.low, value_ms * calibration.high)

    def quoted_ms(self, floor_ms: float) -> float:
        """A measured floor, in the statistic that budgets apply to."""
        return floor_ms * self.table.factor


def latency_model(table: LatencyTable, trace: SpaceTrace) -> LatencyModel:
    """The latency model of `table` for the space of `trace`.

    Raises:
        LatnasError: the table is of another space, or lacks an operation.
    """
    if table.space_digest != trace.digest:
        raise LatnasError(
            f"the table {table.name} was measured for another space ({table.space} with {_options(table.options)}), "
            f"not for {trace.space} with {_options(trace.options)}. Measure this one: {profile_command(trace)}"
        )
    sums = sum_of_operations(table.operations, trace)
    calibration = table.calibration
    factor = factor_of(table, table.quote)
    return LatencyModel(table, sums.scaled(calibration.scale * factor, calibration.offset_ms * factor, "ms"))


def sum_of_operations(operations: Mapping[str, OperationEntry], trace: SpaceTrace) -> AdditiveCost:
    """The plain sum of isolated operations, in ms, before calibration.

    Raises:
        LatnasError: an operation was not measured. A missing entry is never guessed.
    """
    missing = [site.label for digest, site in trace.operations.items() if digest not in operations]
    if missing:
        raise LatnasError(
            f"the table lacks {len(missing)} of the operations that space {trace.space!r} needs: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}. Measure them: {profile_command(trace)}"
        )

    def price(site: Site) -> float:
        return operations[site.operation].cost_ms

    return cost_of_sites(trace, "ms", price)


def profile_command(trace: SpaceTrace) -> str:
    """The command that measures this space."""
    options = trace.options
    return f"latnas profile --space {trace.space} --width {options['width']} --depth {options['depth']}"


def _options(options: Mapping[Any, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())
