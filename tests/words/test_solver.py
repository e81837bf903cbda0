"""The solver against brute force over all combinations, on the same rounded costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise, product

import numpy as np
import pytest

from latnas.words.solver import Limit, SearchGap, Solution, Solver, or_nearly

SEEDS = range(20)

Vectors = list[np.ndarray]


def problem(seed: int, decisions: int = 4, tied: bool = False) -> tuple[Vectors, Vectors]:
    """Scores and costs for lists of 1 to 5 items, some forbidden; `tied` draws both from a few values."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, decisions)
    if tied:
        return [rng.integers(-2, 2, n) / 10 for n in sizes], [rng.integers(-1, 4, n) / 10 for n in sizes]
    scores = [rng.normal(size=n) for n in sizes]
    for vector in scores:
        vector[1:][rng.random(vector.size - 1) < 0.2] = -np.inf
    return scores, [rng.gamma(2.0, size=n) for n in sizes]


def limit(seed: int, costs: Vectors, share: float, fixed: float = 0.7) -> Limit:
    """A limit that correlates with the costs, at a share of the way from its least to its greatest sum."""
    rng = np.random.default_rng(1000 + seed)
    others = tuple(vector + rng.normal(size=vector.size) for vector in costs)
    low, high = sum(v.min() for v in others), sum(v.max() for v in others)
    return Limit(others, most=fixed + low + share * (high - low), fixed=fixed)


def budgets(solver: Solver) -> list[float]:
    """From one that nothing fits to one that everything fits, the ends of the range among them."""
    span = solver.dearest - solver.cheapest
    inside = [solver.cheapest + share * span for share in (-0.1, 0, 0.3, 0.7)]
    return [*inside, solver.dearest, math.inf]


def combinations(solver: Solver) -> dict[tuple[int, ...], float]:
    """The score of every combination without a forbidden item."""
    allowed = [np.flatnonzero(vector > -math.inf).tolist() for vector in solver.scores]
    return {
        items: sum(float(vector[item]) for vector, item in zip(solver.scores, items, strict=True))
        for items in product(*allowed)
    }


def brute_force(solver: Solver, budget: float, limits: Sequence[Limit] = ()) -> dict[tuple[int, ...], float]:
    """The score of every feasible combination."""

    def holds(limit: Limit, items: tuple[int, ...]) -> bool:
        costs = [float(vector[item]) for vector, item in zip(limit.costs, items, strict=True)]
        return math.fsum([limit.fixed, *costs]) <= limit.most

    capacity = solver.capacity(budget)
    return {
        items: score
        for items, score in combinations(solver).items()
        if solver.rounded(items) <= capacity
        and solver.cost(items) <= budget
        and all(holds(limit, items) for limit in limits)
    }


def assert_same(solutions: list[Solution], expected: dict[tuple[int, ...], float], budget: float) -> None:
    """All that is expected, each once, in order of score, with its unrounded sums, within the budget."""
    assert len(solutions) == len(expected)
    assert {solution.items for solution in solutions} == set(expected)
    assert all(before.score >= after.score for before, after in pairwise(solutions))
    for solution in solutions:
        assert abs(solution.score - expected[solution.items]) < 1e-12
        assert solution.cost <= budget


@pytest.mark.parametrize("seed", SEEDS)
def test_all_that_is_feasible_comes_in_order_of_score_at_every_budget(seed: int) -> None:
    solver = Solver(*problem(seed), fixed=0.3, steps=64)
    for budget in budgets(solver):
        assert_same(list(solver.best_first(budget)), brute_force(solver, budget), budget)


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_scores_and_budgets_met_exactly_lose_nothing(seed: int) -> None:
    solver = Solver(*problem(seed, tied=True), steps=50)
    for budget in [*budgets(solver)[1:4], 0.2, 0.3, 0.7]:
        assert_same(list(solver.best_first(budget)), brute_force(solver, budget), budget)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shares", [(0.4,), (0.5, 0.4)])
def test_limits_hold_exactly_and_cost_no_solution(seed: int, shares: tuple[float, ...]) -> None:
    scores, costs = problem(seed)
    solver = Solver(scores, costs, steps=64)
    limits = tuple(limit(seed + 100 * k, costs, share) for k, share in enumerate(shares))
    for budget in budgets(solver)[2:4]:
        expected = brute_force(solver, budget, limits)
        assert_same(list(solver.best_first(budget, limits)), expected, budget)


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_scores_under_a_limit_lose_nothing(seed: int) -> None:
    scores, costs = problem(seed, tied=True)
    solver = Solver(scores, costs, steps=40)
    parameters = Limit(tuple(np.round(vector * 10) ** 2 for vector in costs), most=12.0)
    for budget in budgets(solver)[2:4]:
        expected = brute_force(solver, budget, (parameters,))
        assert_same(list(solver.best_first(budget, [parameters])), expected, budget)


@pytest.mark.parametrize("seed", SEEDS)
def test_only_accepted_solutions_come_with_and_without_a_limit(seed: int) -> None:
    scores, costs = problem(seed)
    solver = Solver(scores, costs)

    def accept(items: tuple[int, ...]) -> bool:
        return sum(items) % 3 != 0

    budget = solver.cheapest + 0.6 * (solver.dearest - solver.cheapest)
    for limits in ((), (limit(seed, costs, 0.5),)):
        expected = {i: score for i, score in brute_force(solver, budget, limits).items() if accept(i)}
        assert_same(list(solver.best_first(budget, limits, accept)), expected, budget)


def test_candidates_are_offered_to_the_filter_only_as_far_as_asked() -> None:
    solver = Solver(*problem(3, decisions=6))
    offered = []

    def accept(items: tuple[int, ...]) -> bool:
        offered.append(items)
        return len(offered) > 2

    next(solver.best_first(solver.dearest, accept=accept))
    assert len(offered) == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_rounding_passes_over_only_what_lies_within_one_step_per_decision_of_the_budget(seed: int) -> None:
    solver = Solver(*problem(seed), steps=32)
    everything = combinations(solver)
    for budget in budgets(solver):
        yielded = {solution.items for solution in solver.best_first(budget)}
        for items in everything:
            if solver.cost(items) <= budget - (len(items) + 1) * solver.step:
                assert items in yielded
            if solver.cost(items) > budget:
                assert items not in yielded


@pytest.mark.parametrize("seed", SEEDS)
def test_costs_in_whole_steps_lose_nothing_to_rounding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = [np.append(rng.integers(0, 9, 2), [0, 9]) / 10 for _ in range(4)]  # float error in every tenth
    solver = Solver([rng.normal(size=4) for _ in costs], costs, fixed=0.7, steps=36)
    real = {items: solver.cost(items) for items in combinations(solver)}
    for budget in [1.2, 2.2, 3.2, solver.cost((0, 1, 2, 0)), solver.cost((1, 1, 1, 1))]:
        affordable = {items for items, cost in real.items() if cost <= budget}
        assert {solution.items for solution in solver.best_first(budget)} == affordable


def test_a_limit_and_a_budget_hold_to_the_last_bit() -> None:
    tenths = [np.array([0.1]), np.array([0.2])]
    solver = Solver([[0.0], [0.0]], tenths)
    for most, expected in ((0.3, 0), (0.1 + 0.2, 1)):  # in floats, 0.1 + 0.2 is more than 0.3
        assert len(list(solver.best_first(1.0, [Limit(tuple(tenths), most)]))) == expected
        assert len(list(solver.best_first(most))) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rounded_cost_is_never_below_the_unrounded_one(seed: int) -> None:
    solver = Solver(*problem(seed), fixed=2.0, steps=100)
    for items in combinations(solver):
        above = solver.cost(items) - solver.cheapest
        assert above - 1e-6 * solver.step <= solver.rounded(items) * solver.step
        assert solver.rounded(items) * solver.step <= above + len(items) * solver.step


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cheapest_and_the_dearest_solution_fit_the_budgets_that_they_define(seed: int) -> None:
    solver = Solver(*problem(seed), fixed=0.1)
    expected = combinations(solver)
    for edge in (min, max):
        cost = edge(map(solver.cost, expected))
        solutions = list(solver.best_first(cost))
        assert edge(solution.cost for solution in solutions) == cost


def test_the_same_search_yields_the_same_order_among_equal_scores() -> None:
    scores, costs = problem(5, tied=True)
    first, second = (list(Solver(scores, costs).best_first(1.0)) for _ in range(2))
    assert len({solution.score for solution in first}) < len(first)
    assert first == second


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_at_the_node_limit_the_gap_bounds_everything_not_yielded(seed: int, limited: bool) -> None:
    scores, costs = problem(seed)
    solver = Solver(scores, costs)
    limits = [limit(seed, costs, 0.6)] if limited else []
    unseen = brute_force(solver, math.inf, limits)
    search = solver.best_first(math.inf, limits, node_limit=max(len(unseen) // 4, 1))
    yielded: list[Solution] = []
    with pytest.raises(SearchGap) as stopped:
        yielded.extend(search)  # keeps what comes before the exception
    for solution in yielded:
        del unseen[solution.items]
    assert max(unseen.values()) <= stopped.value.best_bound + 1e-12
    assert stopped.value.found == (yielded[0].score if yielded else None)


def test_where_a_limit_is_on_the_scores_themselves_solutions_near_it_are_offered_at_the_node_limit() -> None:
    """Sums of one number of seven for each of nine decisions: 40 million, and the limit bounds nearly all prefixes."""
    random = np.random.default_rng(0)
    scores = [random.integers(0, 1_000_000, 7).astype(float) for _ in range(9)]
    most = 0.4 * sum(vector.max() for vector in scores)
    search = partial(Solver(scores, scores).best_first, math.inf, [Limit(tuple(scores), most)], node_limit=3000)
    with pytest.raises(SearchGap):
        next(search())
    found = list(or_nearly(search(accept=lambda items: items[0] != 3)))
    assert len(found) > 10 and len({one.items for one in found}) == len(found)
    assert all(one.score == sum(v[i] for v, i in zip(scores, one.items, strict=True)) for one in found)
    assert all(one.items[0] != 3 for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert 0.95 * most < found[0].score <= most


@pytest.mark.parametrize("node_limit", [0, 1, 2])
def test_what_is_offered_at_the_node_limit_begins_with_the_most_promising_prefix(node_limit: int) -> None:
    random = np.random.default_rng(0)
    scores, costs = [random.random(5) for _ in range(4)], [np.zeros(5) for _ in range(4)]
    found = list(or_nearly(Solver(scores, costs).best_first(0.0, node_limit=node_limit)))
    assert found[0].items == tuple(int(vector.argmax()) for vector in scores)


def test_the_gap_is_told_in_words() -> None:
    solver = Solver([[0.5, 0.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]])
    with pytest.raises(SearchGap, match=r"score at most 2\.5; none has been found"):
        next(solver.best_first(2.0, node_limit=1))
    search = solver.best_first(2.0, node_limit=2)
    assert next(search).score == 2.5
    with pytest.raises(SearchGap, match=r"score at most 2; the best found scores 2\.5"):
        next(search)


def test_nothing_feasible_is_an_empty_iterator() -> None:
    solver = Solver([[1.0, 2.0]], [[1.0, 2.0]])
    assert list(solver.best_first(0.99)) == []
    assert list(solver.best_first(-math.inf)) == []
    assert list(solver.best_first(5.0, [Limit((np.array([3.0, 4.0]),), most=2.0)])) == []
    assert list(Solver([[1.0], [-math.inf, -math.inf]], [[1.0], [1.0, 2.0]]).best_first(math.inf)) == []


def test_forbidden_items_do_not_stretch_the_range_of_costs() -> None:
    solver = Solver([[0.0, 1.0, -math.inf, -math.inf]], [[1.0, 2.0, 1e300, -1e300]])
    assert (solver.cheapest, solver.dearest) == (1.0, 2.0)
    assert [solution.items for solution in solver.best_first(1.5)] == [(0,)]


def test_no_decisions_leave_the_fixed_part_as_the_only_solution() -> None:
    solver = Solver([], [], fixed=1.5)
    assert list(solver.best_first(1.5)) == [Solution((), 0.0, 1.5)]
    assert list(solver.best_first(1.4)) == []


def test_items_of_equal_cost_are_told_apart_by_score_alone() -> None:
    solver = Solver([[0.0, 2.0], [3.0, 2.0]], [[0.1, 0.1], [0.2, 0.2]], fixed=0.3)
    solutions = solver.best_first(solver.cheapest)
    assert [solution.items for solution in solutions] == [(1, 0), (1, 1), (0, 0), (0, 1)]


@pytest.mark.parametrize(
    ("scores", "costs", "message"),
    [
        ([[0.0], [0.0, math.nan]], [[1.0], [1.0, 1.0]], "score of decision 1, item 1 is nan"),
        ([[math.inf]], [[1.0]], "score of decision 0, item 0 is inf"),
        ([[0.0]], [[math.nan]], "cost of decision 0, item 0 is nan"),
        ([[0.0, 0.0]], [[1.0]], r"decision 0: scores of shape \(2,\), a cost of \(1,\)"),
        ([[0.0]], [[1.0], [1.0]], "1 decisions have scores, 2 have a cost"),
        ([[]], [[]], r"decision 0 needs a vector of scores, got one of shape \(0,\)"),
    ],
)
def test_a_malformed_problem_is_refused_with_the_place(
    scores: list[list[float]], costs: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Solver(scores, costs)


def test_malformed_budgets_limits_and_steps_are_refused_before_the_search_starts() -> None:
    solver = Solver([[0.0]], [[1.0]])
    with pytest.raises(ValueError, match="budget is NaN"):
        solver.best_first(math.nan)
    with pytest.raises(ValueError, match="0 have a limit"):
        solver.best_first(1.0, [Limit((), most=1.0)])
    with pytest.raises(ValueError, match="must be finite"):
        Limit((np.zeros(1),), most=math.inf)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        Solver([[0.0]], [[1.0]], steps=0)
