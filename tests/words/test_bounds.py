"""Bounds against brute force, and what they are for: problems far too large for brute force."""

from __future__ import annotations

import math
from itertools import islice, product

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, milp

from latnas.words.bounds import Bounds, Limit, completions, least_spent, with_prices
from latnas.words.solver import Solver

Vectors = list[np.ndarray]


def small(seed: int) -> tuple[Bounds, Limit, int]:
    """Values, rounded costs and a limit for 4 decisions of 1 to 4 items, and the steps that there are."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, 4)
    values = tuple(rng.normal(size=n) for n in sizes)
    values[0][1:][rng.random(sizes[0] - 1) < 0.3] = -np.inf
    rounded = tuple(rng.integers(0, 8, n) for n in sizes)
    costs = tuple(rng.normal(size=n) for n in sizes)
    most = float(sum(v.min() + rng.uniform(0.3, 0.7) * np.ptp(v) for v in costs)) + 0.5
    return Bounds(values, rounded, completions(values, rounded, 40)), Limit(costs, most, fixed=0.5), 40


def suffixes(bounds: Bounds, d: int) -> list[tuple[int, ...]]:
    """Every way to complete from decision d on, forbidden items left out."""
    return list(product(*(np.flatnonzero(vector > -math.inf).tolist() for vector in bounds.values[d:])))


def total(vectors: tuple[np.ndarray, ...], d: int, items: tuple[int, ...]) -> float:
    """The sum from decision d on, added last decision first: float error depends on the order."""
    return sum(float(vector[item]) for vector, item in zip(vectors[d:][::-1], items[::-1], strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_tables_hold_the_best_completion_and_the_least_spending_for_all_steps_left(seed: int) -> None:
    bounds, limit, top = small(seed)
    least = least_spent(bounds, limit, top)
    for d in range(5):
        ways = suffixes(bounds, d)
        for steps in range(0, top + 1, 8):
            fitting = [items for items in ways if total(bounds.rounded_costs, d, items) <= steps]
            most_added = max((total(bounds.values, d, items) for items in fitting), default=-math.inf)
            least_added = min((total(limit.costs, d, items) for items in fitting), default=math.inf)
            assert bounds.tables[d][steps] == pytest.approx(most_added, abs=1e-12)
            assert least[d][steps] == pytest.approx(least_added, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_prices_lower_the_bound_and_never_below_the_best_solution_that_keeps_the_limit(seed: int) -> None:
    bounds, limit, _ = small(seed)
    for steps in (5, 12, 40):
        fitting = [i for i in suffixes(bounds, 0) if total(bounds.rounded_costs, 0, i) <= steps]
        keeping = [items for items in fitting if limit.spent(items) <= limit.most]
        if not keeping:
            continue
        best = max(total(bounds.values, 0, items) for items in keeping)
        priced = with_prices(bounds, [limit], steps)
        assert best <= priced.at_root(steps) <= bounds.at_root(steps)
        for items in keeping:
            assert total(bounds.values, 0, items) <= total(priced.values, 0, items) + priced.allowance


def test_a_limit_that_does_not_bind_has_no_price() -> None:
    bounds, limit, steps = small(0)
    loose = Limit(limit.costs, most=100.0)
    assert with_prices(bounds, [loose], steps) is bounds


def large(seed: int) -> tuple[Vectors, Vectors]:
    """24 decisions of 10 items and one of 490, where dear items tend to score better."""
    rng = np.random.default_rng(seed)
    sizes = [10] * 24 + [490]
    costs = [rng.gamma(2.0, size=n) * rng.uniform(0.3, 2.0) for n in sizes]
    return [np.log(rng.dirichlet(np.ones(n))) + cost / 2 for n, cost in zip(sizes, costs, strict=True)], costs


def test_the_hundred_best_take_at_most_one_node_per_decision_each() -> None:
    solver = Solver(*large(0))
    budget = solver.cheapest + 0.3 * (solver.dearest - solver.cheapest)
    solutions = list(islice(solver.best_first(budget, node_limit=100 * 25), 100))
    assert len({solution.items for solution in solutions}) == 100


def test_equal_scores_everywhere_do_not_lead_the_search_astray() -> None:
    _, costs = large(1)
    solver = Solver([np.zeros(vector.size) for vector in costs], costs)
    solutions = list(islice(solver.best_first(20.0, node_limit=100 * 25), 100))
    assert len({solution.items for solution in solutions}) == 100


def test_a_limit_that_binds_on_a_large_problem_gives_the_optimum_of_integer_programming() -> None:
    scores, costs = large(0)
    solver = Solver(scores, costs)
    budget = solver.cheapest + 0.3 * (solver.dearest - solver.cheapest)
    rng = np.random.default_rng(0)
    others = tuple(vector + rng.gamma(2.0, size=vector.size) for vector in costs)
    parameters = Limit(others, most=float(sum(v.min() + 0.2 * np.ptp(v) for v in others)) + 7.0, fixed=7.0)

    best = next(solver.best_first(budget, [parameters], node_limit=20_000))

    decision = np.repeat(np.arange(25), [vector.size for vector in costs])
    one_item_each = (decision == np.arange(25)[:, None]).astype(float)
    most = parameters.most - parameters.fixed
    optimum = milp(
        -np.concatenate(scores),
        integrality=np.ones(decision.size),
        bounds=(0, 1),
        constraints=[
            LinearConstraint(one_item_each, 1, 1),
            LinearConstraint(np.concatenate(solver.rounded_costs)[None], -np.inf, solver.capacity(budget)),
            LinearConstraint(np.concatenate(parameters.costs)[None], -np.inf, most),
        ],
        options={"mip_rel_gap": 0},
    )
    assert best.score == pytest.approx(-optimum.fun, abs=1e-6)
    assert best.score < next(solver.best_first(budget)).score, "the limit should bind"
