"""What a round scores next, against enumeration of a space whose scores are known."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from brute_force import CELLS, everything_written
from toy_spaces import SIZES, toy_cost, toy_space, toy_surrogate

from latnas.data.randomness import generator
from latnas.hypernet.hypernetwork import Hypernetwork
from latnas.hypernet.mixture import CHANGED, CROSSED, Scored, changed, crossed, near, proposed, screened
from latnas.spaces.solving import extremes
from latnas.spaces.space import SETTING
from latnas.words.architecture import Architecture
from latnas.words.costs import params_cost

SPACE = toy_space(depth=4)
COST = toy_cost(SPACE)
ALL = [
    Architecture.from_indices(SETTING, SPACE.decisions, indices)
    for indices in product(range(len(SIZES)), repeat=len(SPACE.decisions))
]
BUDGETS = (12.0, 16.0, 20.0, 25.0)


def worth(architecture: Architecture) -> float:
    return float(np.sqrt(SIZES)[list(architecture.indices(SPACE.decisions))].sum())


def fits(architecture: Architecture, budget: float) -> bool:
    return COST.cost(architecture) <= budget


def scored_at_random(count: int, seed: int) -> Scored:
    chosen = [ALL[index] for index in np.random.default_rng(seed).choice(len(ALL), count, replace=False)]
    return Scored(chosen, [worth(one) for one in chosen])


def screen(scored: Scored, count: int) -> list[Architecture]:
    """Of all architectures; the toy's surrogate knows what each is worth."""
    return screened(ALL, toy_surrogate(SPACE), scored, SPACE, COST, BUDGETS, fits, count)


# Screening


@pytest.mark.parametrize("seed", range(3))
def test_of_each_stretch_between_budgets_the_greatest_gain_over_the_front_comes_first(seed: int) -> None:
    scored = scored_at_random(20, seed)
    first = screen(scored, len(BUDGETS))
    mean, deviation = np.mean(scored.scores), np.std(scored.scores, ddof=1)

    def gain(architecture: Architecture) -> float:
        cheaper = [
            s for a, s in zip(scored.architectures, scored.scores, strict=True) if fits(a, COST.cost(architecture))
        ]
        least = min(range(20), key=lambda index: COST.cost(scored.architectures[index]))
        best = max(cheaper, default=scored.scores[least])
        return worth(architecture) - float((best - mean) / deviation)

    for low, high, found in zip((0.0, *BUDGETS), BUDGETS, first, strict=False):
        rivals = [a for a in ALL if low < COST.cost(a) <= high and a not in scored.architectures]
        assert low < COST.cost(found) <= high
        assert gain(found) == pytest.approx(max(gain(rival) for rival in rivals))


def test_nothing_is_scored_twice_and_every_stretch_has_its_share() -> None:
    scored = scored_at_random(30, seed=5)
    found = screen(scored, 24)
    assert len(set(found)) == 24 and not set(found) & set(scored.architectures)
    places = np.searchsorted(BUDGETS, [COST.cost(one) for one in found])
    assert np.bincount(places, minlength=len(BUDGETS)).tolist() == [6, 6, 6, 6]
    assert screen(scored, 24) == found


def test_where_a_stretch_is_exhausted_the_others_go_on_until_nothing_is_left() -> None:
    within = [one for one in ALL if fits(one, BUDGETS[-1])]
    assert set(screen(scored_at_random(2, seed=0), 10**6)) | set(scored_at_random(2, seed=0).architectures) >= set(
        within
    )
    assert screen(Scored(ALL, [worth(one) for one in ALL]), 5) == []


def test_a_candidate_that_the_exact_prediction_finds_too_slow_gives_way_to_the_next() -> None:
    scored, refused = scored_at_random(20, seed=1), screen(scored_at_random(20, seed=1), 4)[2]

    def others_fit(architecture: Architecture, budget: float) -> bool:
        return architecture != refused and fits(architecture, budget)

    found = screened(ALL, toy_surrogate(SPACE), scored, SPACE, COST, BUDGETS, others_fit, 4)
    before = screen(scored, 8)
    assert found == [before[0], before[1], before[6], before[3]]


def test_a_candidate_that_is_too_slow_for_its_stretch_is_offered_to_the_next() -> None:
    scored, slower = scored_at_random(20, seed=1), screen(scored_at_random(20, seed=1), 4)[2]

    def exactly(architecture: Architecture, budget: float) -> bool:
        return fits(architecture, budget) and (architecture != slower or budget == BUDGETS[3])

    found = screened(ALL, toy_surrogate(SPACE), scored, SPACE, COST, BUDGETS, exactly, 10**6)
    assert set(found) == set(screen(scored, 10**6))


def test_the_best_known_within_a_budget_are_those_of_brute_force() -> None:
    scored = scored_at_random(60, seed=2)
    for budget in BUDGETS:
        within = sorted((-worth(one), one.key) for one in scored.architectures if fits(one, budget))
        found = scored.best(lambda one, budget=budget: fits(one, budget), 5)  # type: ignore[misc]
        assert [(-worth(one), one.key) for one in found] == within[:5]


# Candidates


def distance(one: Architecture, other: Architecture) -> int:
    """How many decisions differ."""
    return sum(one.items[decision.name] != other.items[decision.name] for decision in SPACE.decisions)


def test_a_change_is_of_one_or_two_decisions_and_reaches_every_neighbour() -> None:
    centre, random = ALL[77], generator("changes")
    found = [changed(centre, SPACE, random) for _ in range(3000)]
    assert {distance(one, centre) for one in found} == {0, 1, 2}
    one_away = [one for one in ALL if distance(one, centre) == 1]
    assert set(one_away) <= set(found)


def test_a_crossing_takes_each_decision_from_one_of_the_two() -> None:
    random = generator("crossings")
    found = {crossed(ALL[0], ALL[-1], SPACE, random) for _ in range(300)}
    assert found == {a for a in ALL if set(a.indices(SPACE.decisions)) <= {0, len(SIZES) - 1}}


def test_what_lies_near_is_canonical_and_valid_and_a_function_of_the_generator() -> None:
    elites = [CELLS.random(generator("elite", number)) for number in range(4)]
    found = near(elites, CELLS, generator("near"))
    assert 2 * CHANGED < len(found) <= 4 * (CHANGED + CROSSED)
    assert all(CELLS.is_canonical(architecture) for architecture in found)
    torch.rand(3)
    assert near(elites, CELLS, generator("near")) == found


def test_what_h_yields_is_canonical_and_its_likeliest_within_each_budget_is_among_it() -> None:
    cost, hypernetwork = params_cost(CELLS.trace), Hypernetwork(CELLS.decisions, seed=0)
    with torch.no_grad():
        hypernetwork.layers[-1].weight.mul_(30)
    pairs = [(0.0, math.inf), (1.0, 1.2 * cost.cost(extremes(CELLS, cost)[0]))]
    found = proposed(hypernetwork, CELLS, cost, pairs, generator("H"))
    assert all(CELLS.is_canonical(architecture) for architecture in found)
    assert proposed(hypernetwork, CELLS, cost, pairs, generator("H")) == found
    written = [one for one in everything_written() if CELLS.is_valid(one)]
    for lam, budget in pairs:
        logs = hypernetwork.item_log_probabilities(lam)
        likelihood = {
            one: sum(float(log[i]) for log, i in zip(logs, one.indices(CELLS.decisions), strict=True))
            for one in written
            if max(cost.cost(one), cost.cost(CELLS.canonical(one))) <= budget
        }
        assert CELLS.canonical(max(likelihood, key=likelihood.__getitem__)) in found
