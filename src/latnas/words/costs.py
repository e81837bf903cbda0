"""Costs that add up over the items of an architecture: latency, parameters, multiply-adds.

The search, the solver and export all read the same numbers here, so that what the search was told is what export
predicts. The expected cost uses probabilities softmax(alpha) without temperature: that is the exact expectation of hard
Gumbel samples at every temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from latnas.words.architecture import Architecture, Decision
from latnas.words.sites import FIXED, Site, SpaceTrace


class CostModel(Protocol):
    """A cost, linear in the items of an architecture."""

    @property
    def unit(self) -> str:
        """What it counts: ms, params, macs."""

    def cost(self, architecture: Architecture) -> float:
        """Cost of one architecture."""

    def items(self, decision: str, setting: str | None = None) -> np.ndarray:
        """[I]: what each item of a decision adds."""

    def fixed(self, setting: str | None = None) -> float:
        """What every architecture costs, whatever it decides."""

    def expected(self, probabilities: Mapping[str, Any], setting: str | None = None) -> Any:
        """Expected cost; `probabilities[decision]` is [..., I], a numpy array or a tensor (then differentiable)."""


@dataclass(frozen=True)
class AdditiveCost:
    """`CostModel` from explicit numbers: per setting a fixed cost, and a vector [I] for each decision."""

    unit: str
    decisions: tuple[Decision, ...]
    fixed_of: Mapping[str, float]
    items_of: Mapping[str, Mapping[str, np.ndarray]]

    def cost(self, architecture: Architecture) -> float:
        total = self.fixed_of[architecture.setting]
        vectors = self.items_of[architecture.setting]
        for decision in self.decisions:
            total += float(vectors[decision.name][decision.index[architecture.items[decision.name]]])
        return total

    def items(self, decision: str, setting: str | None = None) -> np.ndarray:
        return self.items_of[self._setting(setting)][decision]

    def fixed(self, setting: str | None = None) -> float:
        return self.fixed_of[self._setting(setting)]

    def expected(self, probabilities: Mapping[str, Any], setting: str | None = None) -> Any:
        total: Any = self.fixed(setting)
        for decision in self.decisions:
            probability, vector = probabilities[decision.name], self.items(decision.name, setting)
            same_kind = probability.new_tensor(vector) if hasattr(probability, "new_tensor") else vector
            total = total + (probability * same_kind).sum(-1)
        return total

    def vectors(self, setting: str | None = None) -> tuple[np.ndarray, ...]:
        """One vector [I] for each decision, in the space's order: what the solver takes."""
        return tuple(self.items(decision.name, setting) for decision in self.decisions)

    def scaled(self, scale: float, offset: float = 0.0, unit: str | None = None) -> AdditiveCost:
        """scale x this + offset, still linear in the items."""
        return AdditiveCost(
            unit or self.unit,
            self.decisions,
            {setting: scale * value + offset for setting, value in self.fixed_of.items()},
            {
                setting: {name: scale * vector for name, vector in vectors.items()}
                for setting, vectors in self.items_of.items()
            },
        )

    def _setting(self, setting: str | None) -> str:
        return next(iter(self.fixed_of)) if setting is None else setting


@dataclass(frozen=True)
class PartCosts:
    """A cost of each part, before parts are put together to items: `parts_of[setting][decision]` is [P]."""

    decisions: tuple[Decision, ...]
    fixed_of: Mapping[str, float]
    parts_of: Mapping[str, Mapping[str, np.ndarray]]

    def of_items(self, unit: str) -> AdditiveCost:
        """The cost model of items: an item costs what its parts cost."""
        items_of = {
            setting: {decision.name: decision.incidence @ vectors[decision.name] for decision in self.decisions}
            for setting, vectors in self.parts_of.items()
        }
        return AdditiveCost(unit, self.decisions, self.fixed_of, items_of)


def cost_of_sites(trace: SpaceTrace, unit: str, price: Callable[[Site], float]) -> AdditiveCost:
    """The cost model in which an architecture costs the sum of `price` over the sites that run."""
    return parts_of_sites(trace, price).of_items(unit)


def parts_of_sites(trace: SpaceTrace, price: Callable[[Site], float]) -> PartCosts:
    """What each part costs: the sum of `price` over all places where it runs."""
    fixed_of, parts_of = {}, {}
    for setting, sites in trace.sites.items():
        fixed_of[setting] = sum(price(site) for site in sites if site.decision == FIXED)
        by_part: dict[tuple[str, str], float] = {}
        for site in sites:
            key = (site.decision, site.part)
            by_part[key] = by_part.get(key, 0.0) + price(site)
        parts_of[setting] = {
            decision.name: np.array([by_part.get((decision.name, part), 0.0) for part in decision.parts])
            for decision in trace.decisions
        }
    return PartCosts(trace.decisions, fixed_of, parts_of)


def params_cost(trace: SpaceTrace) -> AdditiveCost:
    """Number of parameters."""
    return cost_of_sites(trace, "params", lambda site: float(site.params))


def macs_cost(trace: SpaceTrace) -> AdditiveCost:
    """Multiply-adds for one image."""
    return cost_of_sites(trace, "macs", lambda site: float(site.macs))


def rough_work(trace: SpaceTrace) -> AdditiveCost:
    """Multiply-adds, and ten for each activation written: orders networks by time before anything is measured."""
    return cost_of_sites(trace, "work", lambda site: float(site.macs + 10 * site.output_elements))


def generic_costs(trace: SpaceTrace, mixtures: int, seed: int) -> Sequence[AdditiveCost]:
    """Costs that know no device: fronts along them serve every device.

    Parameters, multiply-adds, activations, number of operations, and `mixtures` random ones, each like a device: it
    weighs multiply-adds, activations and the number of operations in its own way, and has a factor for each kind
    of part, wherever it runs.
    """
    costs = [
        params_cost(trace),
        macs_cost(trace),
        cost_of_sites(trace, "activations", lambda site: float(site.output_elements)),
        cost_of_sites(trace, "operations", lambda site: 1.0 if site.params or site.macs else 0.1),
    ]
    random = np.random.default_rng(seed)
    sites = [site for of_setting in trace.sites.values() for site in of_setting]
    means = [sum(site.macs for site in sites) / len(sites), sum(site.output_elements for site in sites) / len(sites)]
    kinds = list(dict.fromkeys(_kind(site) for site in sites))
    for _ in range(mixtures):
        factor_of = dict(zip(kinds, random.exponential(size=len(kinds)), strict=True))
        per_mac, per_element, each = random.exponential(size=3) / [*(max(mean, 1.0) for mean in means), 1.0]
        costs.append(cost_of_sites(trace, "mixture", _mixture(factor_of, per_mac, per_element, each)))
    return costs


def _mixture(
    factor_of: Mapping[str, float], per_mac: float, per_element: float, each: float
) -> Callable[[Site], float]:
    def price(site: Site) -> float:
        return factor_of[_kind(site)] * float(each + per_mac * site.macs + per_element * site.output_elements)

    return price


def _kind(site: Site) -> str:
    """The part, whichever of a node's inputs it is on."""
    return site.part.rpartition("/")[2]
