"""Choosing within limits, against every architecture of a small space."""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import numpy as np
import pytest

from latnas.data.randomness import generator
from latnas.errors import LatnasError
from latnas.hypernet.hypernetwork import Hypernetwork
from latnas.hypernet.mixture import near, proposed
from latnas.hypernet.propose import propose
from latnas.spaces.solving import best_within, extremes, random_within
from latnas.spaces.space import SETTING, Space, make_space
from latnas.words.architecture import Architecture
from latnas.words.costs import AdditiveCost, macs_cost
from latnas.words.limits import RESOURCES, Amounts, Limits

SPACE = make_space("mbconv", image_size=8, channels=1, classes=10, width=2, depth=1)
STEPS = 4096


@cache
def everything() -> dict[Architecture, Amounts]:
    indices = product(*(range(len(decision.items)) for decision in SPACE.decisions))
    all_ = (Architecture.from_indices(SETTING, SPACE.decisions, chosen) for chosen in indices)
    return {one: SPACE.amounts(one) for one in all_ if SPACE.is_canonical(one)}


def at(share: float, *names: str) -> Limits:
    """Limits at this quantile of what all networks take."""
    wanted = [resource for resource in RESOURCES if resource.name in names]
    return Limits(
        **{r.name: int(np.quantile([amounts.of(r) for amounts in everything().values()], share)) for r in wanted}
    )


CASES = [
    at(0.5, "params"), at(0.3, "macs"), at(0.4, "file_bytes"), at(0.3, "memory_bytes"),
    at(0.5, "params", "memory_bytes"), at(0.5, "params", "macs", "file_bytes", "memory_bytes"),
]  # fmt: skip


def within(limits: Limits) -> list[Architecture]:
    return [one for one, amounts in everything().items() if limits.allow(amounts)]


def random_cost(seed: int) -> AdditiveCost:
    rng = np.random.default_rng(seed)
    vectors = {decision.name: rng.gamma(2.0, size=len(decision.items)) for decision in SPACE.decisions}
    return AdditiveCost("ms", SPACE.decisions, {SETTING: 0.7}, {SETTING: vectors})


def total(scores: list[np.ndarray], architecture: Architecture) -> float:
    items = architecture.indices(SPACE.decisions)
    return sum(float(vector[item]) for vector, item in zip(scores, items, strict=True))


def limited(limits: Limits) -> Space:
    return SPACE.limited(limits)


@pytest.mark.parametrize("limits", CASES, ids=str)
def test_the_best_within_a_budget_and_limits_is_that_of_brute_force(limits: Limits) -> None:
    space, allowed = limited(limits), within(limits)
    assert 0 < len(allowed) < len(everything())
    for seed in range(4):
        cost = random_cost(seed)
        scores = [np.random.default_rng(100 + seed).normal(size=len(d.items)) for d in SPACE.decisions]
        costs = np.array([cost.cost(one) for one in allowed])
        values = np.array([total(scores, one) for one in allowed])
        slack = len(scores) / STEPS * sum(float(np.ptp(vector)) for vector in cost.vectors())
        for share in (0.1, 0.5, 1.0):
            budget = float(costs.min() + share * (costs.max() - costs.min())) + slack
            best = best_within(space, scores, cost, budget)
            assert best in allowed and cost.cost(best) <= budget
            least = values[costs <= budget - slack].max()
            assert least - 1e-9 <= total(scores, best) <= values[costs <= budget].max() + 1e-9


@pytest.mark.parametrize("limits", CASES, ids=str)
def test_the_extremes_within_limits_are_those_of_brute_force(limits: Limits) -> None:
    for cost in (random_cost(7), macs_cost(SPACE.trace)):
        costs = [cost.cost(one) for one in within(limits)]
        low, high = extremes(limited(limits), cost)
        assert (cost.cost(low), cost.cost(high)) == pytest.approx((min(costs), max(costs)), rel=1e-9)


@pytest.mark.parametrize("limits", CASES, ids=str)
def test_whatever_is_proposed_drawn_or_near_keeps_to_the_limits(limits: Limits) -> None:
    space, allowed, cost = limited(limits), set(within(limits)), random_cost(3)
    proposals = propose(Hypernetwork(SPACE.decisions, 0), space, cost, [(0.0, math.inf), (0.5, 6.0)], 4, generator(0))
    drawn = [random_within(space, cost, math.inf, generator("drawn", n), draws) for n in range(4) for draws in (0, 50)]
    assert proposals and set(proposals) | set(drawn) <= allowed
    around = near(drawn, space, generator("near"))
    assert around and set(around) <= allowed < set(near(drawn, SPACE, generator("near"))) | allowed
    yielded = proposed(Hypernetwork(SPACE.decisions, 0), space, cost, [(0.0, math.inf)], generator("H"))
    assert yielded and set(yielded) <= allowed


def test_limits_that_leave_nothing_give_nothing() -> None:
    space, cost = limited(Limits(params=1)), random_cost(0)
    assert best_within(space, [np.zeros(len(d.items)) for d in SPACE.decisions], cost, math.inf) is None
    with pytest.raises(LatnasError, match="no valid architecture within the limits"):
        random_within(space, cost, math.inf, generator(0), draws=2)
