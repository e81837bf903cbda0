"""Exact answers about a space, against all architectures of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from brute_force import CELLS, costs_of, everything, everything_written, random_cost, scores_of, space_called, within
from scipy import stats

from latnas.data.randomness import generator
from latnas.errors import LatnasError
from latnas.spaces.solving import best_form_within, best_within, cheapest, dearest, extremes, gumbel, random_within
from latnas.spaces.space import make_space
from latnas.words.costs import macs_cost, params_cost

STEPS = 4096
"""Resolution of the solver: a budget may be missed by one step for each decision."""

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


@pytest.mark.parametrize("seed", range(4))
def test_the_best_form_within_a_budget_is_that_of_the_best_written_in_any_way(seed: int) -> None:
    cost = random_cost(CELLS, seed)
    scores = [np.random.default_rng(100 + seed).normal(size=len(d.items)) for d in CELLS.decisions]
    written = [one for one in everything_written() if CELLS.is_valid(one)]
    forms = [CELLS.canonical(one) for one in written]
    costs, values = np.maximum(costs_of(cost, written), costs_of(cost, forms)), scores_of(scores, written, CELLS)
    slack = len(CELLS.decisions) / STEPS * sum(float(np.ptp(vector)) for vector in cost.vectors())
    for share in (0.1, 0.3, 0.6, 1.0):
        budget = float(costs.min() + share * (costs.max() - costs.min()))
        best = best_form_within(CELLS, scores, cost, budget)
        assert best is not None and CELLS.is_canonical(best) and within(cost, best, budget)
        reached = values[[form == best for form in forms] & (costs <= budget)].max()
        assert reached >= values[costs <= budget - slack].max() - 1e-9
        canonical = best_within(CELLS, scores, cost, budget)
        assert canonical is not None and reached >= scores_of(scores, (canonical,), CELLS)[0] - 1e-9
    assert best_form_within(CELLS, scores, cost, 0.99 * float(costs_of(cost, forms).min())) is None


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


def test_in_a_deep_network_random_ones_are_not_the_cheapest_where_noise_likes_no_canonical_spelling() -> None:
    """With 24 layers, of which any may be skipped, one in thousands of spellings has its skips where they belong."""
    space = make_space("mbconv", width=4, depth=8, image_size=8, channels=1, classes=10)
    cost = macs_cost(space.trace)
    low, high = (cost.cost(one) for one in extremes(space, cost))
    found = [random_within(space, cost, math.sqrt(low * high), generator("deep", n), draws=0) for n in range(4)]
    assert len(set(found)) == 4
    assert all(space.is_canonical(one) and 1.5 * low < cost.cost(one) <= math.sqrt(low * high) for one in found)


def test_where_everything_is_within_the_budget_random_ones_are_the_spaces_own() -> None:
    cost = random_cost(CELLS, 7)
    assert random_within(CELLS, cost, math.inf, generator(3)) == CELLS.random(generator(3))


def test_gumbel_noise_is_gumbels_and_finite() -> None:
    noise = gumbel((50_000,), generator("gumbel"))
    assert noise.isfinite().all()
    assert stats.kstest(noise.double().numpy(), "gumbel_r").pvalue > 0.01
