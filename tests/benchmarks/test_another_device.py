"""How a front from a finished run is compared with one of a search of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from another_device import chosen, shares

from latnas.words.architecture import Architecture
from latnas.words.front import BudgetChoice, Estimate, Front, ScoredNetwork


def front_of(points: Sequence[tuple[str, float, float]]) -> Front:
    """Of networks with a name, a latency in ms and a score."""
    networks = tuple(
        ScoredNetwork(
            architecture=Architecture.of("default", {"layer": name}).to_json(),
            predicted_ms=Estimate(value=ms, low=ms, high=ms),
            score=Estimate(value=score, low=score, high=score),
            params=1,
            macs=1,
        )
        for name, ms, score in points
    )
    return Front(
        table="toy", quote="p50", fastest_ms=1.0, slowest_ms=4.0, seed=0, networks=networks, pareto=(0,),
        budgets=(BudgetChoice(lam=0, budget_ms=4.0, network=0),),
    )  # fmt: skip


TRUTH = {"a": 0.2, "b": 0.5, "c": 0.9, "d": 0.4}


def value(architecture: Architecture) -> float:
    return TRUTH[architecture.items["layer"]]


def test_a_front_that_chooses_worse_by_its_own_scores_has_the_area_of_what_it_chose() -> None:
    right = front_of([("a", 1, 0.0), ("b", 2, 1.0), ("c", 4, 2.0), ("d", 3, 0.5)])
    wrong = front_of([("a", 1, 0.0), ("b", 2, 1.0), ("c", 4, 2.0), ("d", 3, 1.5)])
    assert {one.as_architecture.items["layer"] for one in chosen(wrong)} == {"a", "b", "c", "d"}
    blind = front_of([("a", 1, 0.0), ("b", 2, 1.0), ("c", 4, 0.5), ("d", 3, 0.4)])
    # Over log latency from 1 to 4 ms: b adds 0.3 from 2 ms on; c, at the very end, adds nothing.
    assert shares([right, wrong, blind], value) == pytest.approx([1.0, 1.0, 1.0])
    without = front_of([("a", 1, 0.0), ("c", 4, 2.0), ("d", 3, 1.0)])
    expected = (0.4 - 0.2) * math.log(4 / 3) / ((0.5 - 0.2) * math.log(4 / 2))
    assert shares([right, without], value) == pytest.approx([1.0, expected])
