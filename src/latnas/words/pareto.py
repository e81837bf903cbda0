"""Pareto fronts of two quantities: a cost to be small, a value to be large."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pareto_front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """The indices of the points that no other point dominates, cost ascending.

    Along the front the value ascends strictly. Of equal points the lowest index is kept.

    Raises:
        ValueError: the lengths differ, or a number is NaN.
    """
    _check(costs, values)
    front: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], -values[i], i)):
        if not front or values[i] > values[front[-1]]:
            front.append(i)
    return front


def hypervolume(
    costs: Sequence[float],
    values: Sequence[float],
    worst_cost: float,
    worst_value: float,
) -> float:
    """The area that the points dominate, up to the reference point (worst_cost, worst_value).

    In units of cost times value. A point that is not better than the reference in both adds nothing.

    Raises:
        ValueError: the lengths differ, a number is NaN, or the reference is not finite.
    """
    _check(costs, values)
    if not (math.isfinite(worst_cost) and math.isfinite(worst_value)):
        raise ValueError(f"the reference point must be finite, got ({worst_cost}, {worst_value})")
    area, best = 0.0, worst_value
    for i in pareto_front(costs, values):
        # The strip of values between the best of all cheaper points and this one.
        if costs[i] < worst_cost and values[i] > best:
            area += (worst_cost - costs[i]) * (values[i] - best)
            best = values[i]
    return area


def _check(costs: Sequence[float], values: Sequence[float]) -> None:
    if len(costs) != len(values):
        raise ValueError(f"points need a cost and a value each, got {len(costs)} and {len(values)}")
    for i, (cost, value) in enumerate(zip(costs, values, strict=True)):
        if math.isnan(cost) or math.isnan(value):
            raise ValueError(f"point {i} is not a number: cost {cost}, value {value}")
