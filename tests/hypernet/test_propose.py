"""Proposals against all 15,625 cells of NAS-Bench-201."""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

from latnas.data.randomness import generator
from latnas.errors import LatnasError
from latnas.hypernet.hypernetwork import Hypernetwork
from latnas.hypernet.propose import (
    best_within,
    cheapest,
    dearest,
    extremes,
    propose,
    random_within,
)
from latnas.spaces.space import SETTING, Space, make_space
from latnas.words.architecture import Architecture
from latnas.words.costs import AdditiveCost, macs_cost, params_cost

STEPS = 4096
"""Resolution of the solver: a budget may be missed by one step for each decision."""


@cache
def space_called(name: str) -> Space:
    return make_space(name, image_size=8, channels=1, classes=10, width=2, depth=1)


@cache
def everything(name: str) -> tuple[Architecture, ...]:
    """Every canonical valid architecture, by enumeration."""
    space = space_called(name)
    indices = product(*(range(len(decision.items)) for decision in space.decisions))
    all_ = (Architecture.from_indices(SETTING, space.decisions, chosen) for chosen in indices)
    return tuple(architecture for architecture in all_ if space.is_canonical(architecture))


CELLS = space_called("nasbench201")


def random_cost(space: Space, seed: int) -> AdditiveCost:
    rng = np.random.default_rng(seed)
    vectors = {decision.name: rng.gamma(2.0, size=len(decision.items)) for decision in space.decisions}
    return AdditiveCost("ms", space.decisions, {SETTING: 0.7}, {SETTING: vectors})


def costs_of(cost: AdditiveCost, architectures: tuple[Architecture, ...]) -> np.ndarray:
    return np.array([cost.cost(architecture) for architecture in architectures])


def scores_of(scores: list[np.ndarray], architectures: tuple[Architecture, ...], space: Space) -> np.ndarray:
    chosen = np.array([architecture.indices(space.decisions) for architecture in architectures])
    total: np.ndarray = np.sum([vector[items] for vector, items in zip(scores, chosen.T, strict=True)], axis=0)
    return total


def within(cost: AdditiveCost, architecture: Architecture, budget: float) -> bool:
    return cost.cost(architecture) <= budget * (1 + 1e-12)


# Exact ends and best choices


@pytest.mark.parametrize("name", ["nasbench201", "mbconv"])
@pytest.mark.parametrize("kind", ["params", "macs", "random"])
def test_the_extremes_are_those_of_brute_force(name: str, kind: str) -> None:
    space = space_called(name)
    cost = {"params": params_cost, "macs": macs_cost}.get(kind, lambda _: random_cost(space, 1))(space.trace)
    costs = costs_of(cost, everything(name))
    low, high = extremes(space, cost)
    assert space.is_canonical(low) and space.is_canonical(high)
    assert cost.cost(low) == pytest.approx(costs.min(), rel=1e-12)
    assert cost.cost(high) == pytest.approx(costs.max(), rel=1e-12)


@pytest.mark.parametrize("name", ["nasbench201", "mbconv"])
def test_the_cheapest_and_the_dearest_few_are_those_of_brute_force_in_order(name: str) -> None:
    space = space_called(name)
    cost = random_cost(space, 9)
    costs = np.sort(costs_of(cost, everything(name)))
    low, high = cheapest(space, cost, 12), dearest(space, cost, 12)
    for found in (low, high):
        assert len(set(found)) == 12 and all(space.is_canonical(architecture) for architecture in found)
    # The solver rounds costs to steps: a cost may come before one that is less by a step for each decision.
    slack = len(space.decisions) / STEPS * sum(float(np.ptp(vector)) for vector in cost.vectors())
    assert costs_of(cost, tuple(low)) == pytest.approx(costs[:12], abs=slack)
    assert costs_of(cost, tuple(high)) == pytest.approx(costs[::-1][:12], abs=slack)
    assert (low[0], high[0]) == extremes(space, cost)


def test_of_a_space_with_fewer_architectures_all_are_found() -> None:
    space = space_called("mbconv")
    cost = random_cost(space, 10)
    assert set(cheapest(space, cost, 10_000)) == set(dearest(space, cost, 10_000)) == set(everything("mbconv"))


@pytest.mark.parametrize("seed", range(4))
def test_the_best_within_a_budget_is_that_of_brute_force(seed: int) -> None:
    cost = random_cost(CELLS, seed)
    scores = [np.random.default_rng(100 + seed).normal(size=len(d.items)) for d in CELLS.decisions]
    architectures = everything("nasbench201")
    costs, values = costs_of(cost, architectures), scores_of(scores, architectures, CELLS)
    vectors = cost.vectors()
    slack = len(vectors) / STEPS * sum(float(np.ptp(vector)) for vector in vectors)
    for share in (0.1, 0.3, 0.6, 1.0):
        budget = float(costs.min() + share * (costs.max() - costs.min()))
        best = best_within(CELLS, scores, cost, budget)
        assert best is not None and CELLS.is_canonical(best) and within(cost, best, budget)
        (reached,) = scores_of(scores, (best,), CELLS)
        assert values[costs <= budget - slack].max() - 1e-9 <= reached <= values[costs <= budget].max() + 1e-9


def test_below_the_fastest_network_there_is_none() -> None:
    cost = random_cost(CELLS, 0)
    least = float(costs_of(cost, everything("nasbench201")).min())
    scores = [np.zeros(len(d.items)) for d in CELLS.decisions]
    assert best_within(CELLS, scores, cost, 0.99 * least) is None
    with pytest.raises(LatnasError, match="no architecture of space 'nasbench201' is within"):
        random_within(CELLS, cost, 0.99 * least, generator(0), draws=5)


# Proposals


@pytest.mark.parametrize("name", ["nasbench201", "mbconv"])
def test_proposals_are_distinct_canonical_valid_and_within_their_budgets(name: str) -> None:
    space = space_called(name)
    cost = random_cost(space, 2)
    costs = costs_of(cost, everything(name))
    hypernetwork = Hypernetwork(space.decisions, seed=0)
    draws = 7
    for share in (0.0, 0.2, 0.9):
        budget = float(costs.min() + share * (costs.max() - costs.min())) * (1 + 1e-9)
        found = propose(hypernetwork, space, cost, [(1 - share, budget)], draws, generator("propose"))
        assert 1 <= len(found) <= draws + 1
        assert len({proposal.key for proposal in found}) == len(found)
        assert all(space.is_canonical(p) and within(cost, p, budget) for p in found)
    assert len(found) >= draws  # near uniform probabilities: hardly any proposal comes twice


def test_the_first_proposal_is_the_likeliest_architecture_and_noise_finds_others() -> None:
    hypernetwork = Hypernetwork(CELLS.decisions, seed=0)
    with torch.no_grad():
        hypernetwork.layers[-1].weight.mul_(30)
    architectures = everything("nasbench201")
    for lam in (0.0, 1.0):
        scores = scores_of(hypernetwork.item_log_probabilities(lam), architectures, CELLS)
        found = propose(hypernetwork, CELLS, random_cost(CELLS, 3), [(lam, math.inf)], 10, generator("noise"))
        assert found[0] == architectures[int(scores.argmax())]
        assert len(found) > 3


def test_proposals_without_noise_need_no_luck_and_with_it_are_a_function_of_the_generator() -> None:
    hypernetwork, cost = Hypernetwork(CELLS.decisions, seed=0), random_cost(CELLS, 4)
    pairs = [(0.0, 20.0), (1.0, 9.0)]
    first = propose(hypernetwork, CELLS, cost, pairs, 5, generator(1))
    torch.rand(5)
    assert propose(hypernetwork, CELLS, cost, pairs, 5, generator(1)) == first
    assert propose(hypernetwork, CELLS, cost, pairs, 5, generator(2)) != first
    assert propose(hypernetwork, CELLS, cost, pairs, 0, generator(1)) == propose(
        hypernetwork, CELLS, cost, pairs, 0, generator(2)
    )


def test_a_budget_out_of_reach_gives_no_proposal_and_leaves_the_others() -> None:
    hypernetwork, cost = Hypernetwork(CELLS.decisions, seed=0), random_cost(CELLS, 5)
    found = propose(hypernetwork, CELLS, cost, [(1.0, 0.1), (0.0, math.inf)], 2, generator(0))
    assert found
    assert propose(hypernetwork, CELLS, cost, [(1.0, 0.1)], 2, generator(0)) == []


# Random ones


@pytest.mark.parametrize("draws", [0, 50])
def test_random_architectures_keep_to_the_budget_however_rare_those_are(draws: int) -> None:
    cost = random_cost(CELLS, 6)
    costs = np.sort(costs_of(cost, everything("nasbench201")))
    for rank in (0, 3, len(costs) // 2):
        budget = float(costs[rank]) * (1 + 1e-9)
        found = [random_within(CELLS, cost, budget, generator("random", index), draws) for index in range(6)]
        assert all(CELLS.is_canonical(a) and within(cost, a, budget) for a in found)
    assert len(set(found)) > 2
    assert found[0] == random_within(CELLS, cost, budget, generator("random", 0), draws)


def test_where_everything_is_within_the_budget_random_ones_are_the_spaces_own() -> None:
    cost = random_cost(CELLS, 7)
    assert random_within(CELLS, cost, math.inf, generator(3)) == CELLS.random(generator(3))
