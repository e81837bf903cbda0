"""Fronts: the order within a budget, and files that are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latnas.errors import LatnasError, UsageError
from latnas.words.architecture import Architecture
from latnas.words.front import BudgetChoice, Estimate, Front, ScoredNetwork, load_front

POINTS = st.lists(
    st.tuples(st.integers(1, 12), st.integers(-3, 3)).map(lambda point: (point[0] / 2, point[1] / 4)), min_size=1
)


def network(ms: float, score: float, name: str = "x") -> ScoredNetwork:
    return ScoredNetwork(
        architecture=Architecture.of("default", {"layer": name}).to_json(),
        predicted_ms=Estimate(value=ms, low=0.9 * ms, high=1.1 * ms),
        score=Estimate(value=score, low=score - 1, high=score + 1),
        params=1000,
        macs=50_000,
    )


def front_of(points: list[tuple[float, float]]) -> Front:
    networks = tuple(network(ms, score, str(n)) for n, (ms, score) in enumerate(sorted(points)))
    return Front(
        table="cpu-onnxruntime-toy-00000000",
        quote="p50",
        fastest_ms=0.5,
        slowest_ms=6.0,
        seed=0,
        networks=networks,
        pareto=(0,),
        budgets=(BudgetChoice(lam=0.5, budget_ms=3.0, network=len(networks) - 1),),
    )


def as_json(front: Front) -> dict[str, Any]:
    value = json.loads(front.model_dump_json(by_alias=True))
    assert isinstance(value, dict)
    return value


@given(POINTS, st.floats(0, 7))
def test_within_a_budget_come_all_that_fit_the_best_first(points: list[tuple[float, float]], budget: float) -> None:
    found = [(n.score.value, -n.predicted_ms.value) for n in front_of(points).within(budget)]
    assert found == sorted(((score, -ms) for ms, score in points if ms <= budget), reverse=True)


@given(POINTS, st.floats(0, 7), st.floats(0, 7))
def test_a_tighter_budget_never_gets_a_slower_network(points: list[tuple[float, float]], a: float, b: float) -> None:
    front = front_of(points)
    tight, loose = front.within(min(a, b)), front.within(max(a, b))
    if tight:
        assert tight[0].predicted_ms.value <= loose[0].predicted_ms.value
        assert tight[0].score.value <= loose[0].score.value


def test_of_equal_scores_the_faster_network_is_taken() -> None:
    assert [n.predicted_ms.value for n in front_of([(3.0, 1.0), (1.0, 1.0), (2.0, 1.0)]).within(5.0)] == [1.0, 2.0, 3.0]


def test_no_network_fits_a_budget_below_the_fastest() -> None:
    assert front_of([(1.0, 0.0)]).within(0.99) == []


def test_a_front_reads_back_as_it_was_written(tmp_path: Path) -> None:
    front = front_of([(1.0, 0.1), (2.0, 0.30000000000000004)])
    front.save(tmp_path / "front.json")
    assert load_front(tmp_path / "front.json") == front
    assert "lambda" in json.loads((tmp_path / "front.json").read_text())["budgets"][0]
    assert front.networks[1].as_architecture == Architecture.of("default", {"layer": "1"})


def test_lambda_spans_the_range_of_the_front() -> None:
    budgets = front_of([(1.0, 0.0)]).budget_range
    assert (budgets.budget_ms(1.0), budgets.budget_ms(0.0)) == pytest.approx((0.5, 6.0))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema": "latnas-front-0"}, "has schema 'latnas-front-0'; this latnas reads 'latnas-front-1'"),
        ({"networks": []}, "networks: Tuple should have at least 1 item"),
        ({"pareto": [0, 2]}, "a position beyond the 2 networks"),
        ({"pareto": [-1]}, "a position beyond the 2 networks"),
        ({"budgets": [{"lambda": 0.5, "budget_ms": 3.0, "network": 2}]}, "a position beyond the 2 networks"),
        ({"budgets": [{"lambda": 1.5, "budget_ms": 3.0, "network": 0}]}, "budgets.0.lambda: Input should be less"),
        ({"budgets": [{"lambda": 0.5, "budget_ms": 0, "network": 0}]}, "budgets.0.budget_ms: Input should be greater"),
        ({"networks": [{**network(1.0, 0.0).model_dump(), "architecture": {}}] * 2}, "networks.0.architecture: Value"),
        ({"fastest_ms": 0}, "fastest_ms: Input should be greater than 0"),
        ({"slowest_ms": float("nan")}, "slowest_ms: Input should be"),
        ({"seed": None, "quote": 1}, "(and 1 more)"),
        ({"a\nb": 1}, "a?b: Extra inputs are not permitted"),
    ],
)
def test_a_damaged_front_is_refused_in_one_line_with_what_to_type(
    change: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "front.json"
    path.write_text(json.dumps({**as_json(front_of([(1.0, 0.0), (2.0, 1.0)])), **change}))
    with pytest.raises(LatnasError) as caught:
        load_front(path)
    message = str(caught.value)
    assert problem in message and str(path) in message and "\n" not in message
    assert message.endswith("Search again: latnas search")


@pytest.mark.parametrize("value", [[], None, 3, {}])
def test_other_json_is_no_front(value: object, tmp_path: Path) -> None:
    (tmp_path / "front.json").write_text(json.dumps(value))
    with pytest.raises(LatnasError, match="is not a front"):
        load_front(tmp_path / "front.json")


def test_a_front_whose_range_is_reversed_is_refused_when_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "front.json").write_text(json.dumps({**as_json(front_of([(1.0, 0.0)])), "slowest_ms": 0.1}))
    with pytest.raises(UsageError):
        _ = load_front(tmp_path / "front.json").budget_range
