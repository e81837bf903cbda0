"""The shortlist: what lies on fronts along any of the costs, found by looking through everything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from latnas.ranking.shortlist import BUDGETS, best_ranks, shortlist

NETWORKS = 150


def made_up(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four costs [4, N], scores [N] that grow with cost, and sizes [N]."""
    random = np.random.default_rng(seed)
    sizes = random.uniform(0, 3, NETWORKS)
    costs = np.exp(sizes + random.normal(scale=0.3, size=(4, NETWORKS)))
    return costs, sizes + random.normal(size=NETWORKS), sizes


def best_within(costs: np.ndarray, scores: np.ndarray, k: int, budgets: Sequence[float] = ()) -> set[int]:
    """The k best within each budget of each cost, one budget after the other."""
    found = set()
    for cost in costs:
        for budget in budgets or np.exp(np.linspace(np.log(cost.min()), np.log(cost.max()), BUDGETS)):
            within = [index for index in range(len(scores)) if cost[index] <= budget * (1 + 1e-9)]
            found |= set(sorted(within, key=lambda index: -scores[index])[:k])
    return found


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_a_shortlist_of_the_right_length_is_the_k_best_within_each_budget(k: int) -> None:
    costs, scores, sizes = made_up(seed=k)
    expected = best_within(costs, scores, k)
    assert shortlist(costs, scores, sizes, len(expected)) == sorted(expected)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_budgets_that_are_given_are_the_only_ones(k: int) -> None:
    costs, scores, sizes = made_up(seed=k)
    budgets = tuple(np.quantile(costs[0], (0.02, 0.1, 0.5)).tolist())
    expected = best_within(costs[:1], scores, k, budgets)
    assert shortlist(costs[:1], scores, sizes, len(expected), budgets=budgets) == sorted(expected)
    assert costs[0][sorted(expected)].max() <= budgets[-1]


@pytest.mark.parametrize("count", [40, 77, 110])
def test_any_length_is_kept_to_and_everything_better_is_in_it(count: int) -> None:
    costs, scores, sizes = made_up(seed=0)
    chosen = shortlist(costs, scores, sizes, count)
    assert len(set(chosen)) == len(chosen) == count and chosen == sorted(chosen)
    k = 0
    while len(best_within(costs, scores, k + 1)) <= count:
        k += 1
    assert best_within(costs, scores, k) <= set(chosen) <= best_within(costs, scores, k + 1)


def test_a_cost_below_zero_counts_as_a_thousandth_of_the_dearest() -> None:
    """As the linear cost of a fast network may come out that was fitted to measurements."""
    costs, scores, sizes = made_up(seed=2)
    shifted = costs[:1] - 1.5 * costs[0].min()
    assert shifted.min() < 0 < shifted.max()
    chosen = shortlist(shifted, scores, sizes, 40)
    assert len(chosen) == 40 and int(scores.argmax()) in chosen


@pytest.mark.parametrize("count", [NETWORKS, 1000])
def test_a_shortlist_as_long_as_all_there_is_holds_it(count: int) -> None:
    assert shortlist(*made_up(seed=0), count) == list(range(NETWORKS))


def test_a_handful_is_spread_over_size_from_one_end_to_the_other_of_the_front_along_the_first_cost() -> None:
    costs, scores, sizes = made_up(seed=1)
    best = best_within(costs[:1], scores, 1)
    chosen = shortlist(costs, scores, sizes, 3)
    assert set(chosen) < best and len(chosen) == 3
    assert {min(best, key=lambda index: sizes[index]), max(best, key=lambda index: sizes[index])} <= set(chosen)


def test_as_many_costs_count_as_there_are_networks_for() -> None:
    costs, scores, sizes = made_up(seed=1)
    best = [best_within(costs[:used], scores, 1) for used in (1, 2, 3, 4)]
    assert len(best[0]) < len(best[1]) < len(best[2])
    assert shortlist(costs, scores, sizes, len(best[1])) == sorted(best[1])
    assert best[1] < set(shortlist(costs, scores, sizes, len(best[2]) - 1))


def test_what_was_trained_already_is_part_of_the_shortlist_and_counts() -> None:
    costs, scores, sizes = made_up(seed=2)
    sure = np.argsort(scores)[:10].tolist()  # which nothing else would choose
    chosen = shortlist(costs, scores, sizes, 60, sure)
    assert set(sure) < set(chosen) and len(chosen) == 60
    assert best_within(costs, scores, 1) < set(chosen)


def test_equal_costs_and_equal_scores_do_no_harm() -> None:
    ones = np.ones(7)
    assert best_ranks(ones[None], ones).tolist() == list(range(7))
    assert shortlist(ones[None], ones, ones, 3) == [0, 1, 2]
