"""The Pareto front against the definition of dominance, the hypervolume against counted grid cells."""

from __future__ import annotations

import math
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latnas.words.pareto import hypervolume, pareto_front

# Few values, so that ties and equal points are common.
POINTS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=8)


def split(points: list[tuple[int, int]]) -> tuple[list[float], list[float]]:
    return [float(cost) for cost, _ in points], [float(value) for _, value in points]


@given(POINTS)
def test_the_front_holds_exactly_the_first_of_each_point_that_nothing_dominates(
    points: list[tuple[int, int]],
) -> None:
    def beaten(i: int) -> bool:
        cost, value = points[i]
        return any(
            (c <= cost and v >= value and (c, v) != (cost, value)) or ((c, v) == (cost, value) and j < i)
            for j, (c, v) in enumerate(points)
        )

    assert sorted(pareto_front(*split(points))) == [i for i in range(len(points)) if not beaten(i)]


@given(POINTS)
def test_cost_and_value_ascend_strictly_along_the_front(points: list[tuple[int, int]]) -> None:
    front = [points[i] for i in pareto_front(*split(points))]
    for (cost, value), (next_cost, next_value) in pairwise(front):
        assert cost < next_cost
        assert value < next_value


@given(POINTS, st.integers(-1, 9), st.integers(-1, 9))
def test_the_hypervolume_is_the_number_of_unit_cells_that_some_point_dominates(
    points: list[tuple[int, int]], worst_cost: int, worst_value: int
) -> None:
    # The cell (x, y) lies between x and x + 1 in cost, y and y + 1 in value.
    cells = sum(
        any(cost <= x and value >= y + 1 for cost, value in points)
        for x, y in product(range(-2, worst_cost), range(worst_value, 10))
    )
    assert hypervolume(*split(points), worst_cost, worst_value) == cells


@given(POINTS)
def test_the_front_alone_has_the_hypervolume_of_all_points(points: list[tuple[int, int]]) -> None:
    front = [points[i] for i in pareto_front(*split(points))]
    assert hypervolume(*split(front), 9.0, -1.0) == hypervolume(*split(points), 9.0, -1.0)


def test_points_outside_the_reference_add_nothing() -> None:
    costs, values = [1.0, 5.0, 0.5, 7.0], [2.0, 9.0, 0.0, -3.0]
    assert hypervolume(costs, values, worst_cost=4.0, worst_value=1.0) == 3.0
    assert hypervolume([4.0], [9.0], worst_cost=4.0, worst_value=1.0) == 0.0
    assert hypervolume([], [], worst_cost=4.0, worst_value=1.0) == 0.0


def test_a_network_that_failed_has_an_infinite_cost_and_is_on_no_front() -> None:
    assert pareto_front([math.inf, 2.0], [0.5, 0.5]) == [1]
    assert hypervolume([math.inf, 2.0], [0.9, 0.5], worst_cost=3.0, worst_value=0.0) == 0.5


def test_malformed_points_are_refused_with_the_place() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        pareto_front([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match=r"point 1 is not a number: cost 2\.0, value nan"):
        hypervolume([1.0, 2.0], [1.0, math.nan], 3.0, 0.0)
    with pytest.raises(ValueError, match="reference point must be finite"):
        hypervolume([1.0], [1.0], math.inf, 0.0)
