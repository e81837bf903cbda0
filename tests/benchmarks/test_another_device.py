"""How a front from a finished run is compared with one of a search of its own."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import another_device
import pieces
import pytest
from another_device import check, chosen, judges_of, shares
from made_up_table import random_cells, write_table
from pieces import OutOfTimeError
from small import Heard

from latnas.errors import LatnasError
from latnas.stages.search import SearchConfig
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


def test_what_the_results_file_has_is_not_searched_again_unless_another_judge_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[tuple[str, int]] = []

    stopping = False

    def compared(given: argparse.Namespace, space: str, seed: int, report: Any) -> list[dict[str, Any]]:
        searched.append((space, seed))
        if stopping:
            raise OutOfTimeError
        return [
            {
                "space": space,
                "seed": seed,
                "judged_by": judge,
                "difference": -0.002 * (seed + 1),
                "minutes": 1.0,
                "version": another_device.VERSION,
            }
            for judge in judges_of(space, given.truth)
        ]

    monkeypatch.setattr(another_device, "compared", compared)

    def benchmark(*words: str) -> dict[str, Any]:
        searched.clear()
        out = tmp_path / "out.json"
        monkeypatch.setattr(sys, "argv", ["another_device.py", "--data", "digits", "--json", str(out), *words])
        with pytest.raises(SystemExit) as stopped:
            another_device.main()
        assert stopped.value.code == 0
        found: dict[str, Any] = json.loads(out.read_text())
        return found

    benchmark("--seeds", "0")
    assert searched == [("nasbench201", 0), ("mbconv", 0)]
    both = benchmark("--seeds", "0,1")
    assert searched == [("nasbench201", 1), ("mbconv", 1)] and len(both["rows"]) == 4
    lost = {one["what"]: one["value"] for one in both["reach"]}
    assert lost["mbconv, by judge: mean share lost"] == pytest.approx(0.003)
    truth = write_table(tmp_path / "truth.npz", random_cells(10, seed=0))
    stopping = True
    assert benchmark("--seeds", "1", "--truth", str(truth))["rows"] == both["rows"]
    stopping = False
    judged = benchmark("--seeds", "1", "--truth", str(truth))
    assert searched == [("nasbench201", 1)]
    assert sorted((one["space"], one["seed"], one["judged_by"]) for one in judged["rows"]) == [
        ("mbconv", 0, "judge"), ("mbconv", 1, "judge"), ("nasbench201", 0, "judge"),
        ("nasbench201", 1, "NAS-Bench-201"), ("nasbench201", 1, "judge"),
    ]  # fmt: skip


def test_the_minutes_of_a_front_are_those_of_all_sessions_until_it_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, interrupted = 0.0, True

    def search(config: SearchConfig, report: Any) -> Any:
        nonlocal now
        now += 60.0 if config.from_run else 1000.0
        if config.from_run and interrupted:
            raise OutOfTimeError
        return SimpleNamespace(front=None)

    monkeypatch.setitem(pieces.CLOCKS, "seconds", lambda: now)
    monkeypatch.setattr(another_device, "search", search)
    monkeypatch.setattr(another_device, "common_judge", lambda *given: value)
    monkeypatch.setattr(another_device, "shares", lambda fronts, value: [0.75, 0.5])
    tables = Path(__file__).parents[2] / "latency_tables"
    given = argparse.Namespace(tables=tables, truth=None, work=tmp_path, data="digits", executor="local:0")
    with pytest.raises(OutOfTimeError):
        another_device.compared(given, "mbconv", 0, Heard())
    interrupted = False
    for _ in range(2):
        (row,) = another_device.compared(given, "mbconv", 0, Heard())
        assert (row["minutes"], row["difference"]) == (2.0, 0.25)


def test_tables_and_accuracies_that_are_missing_are_told_before_anything_is_searched(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "latency_tables"
    check(argparse.Namespace(tables=shipped, truth=None), ["nasbench201"])
    with pytest.raises(LatnasError, match="has 0 tables cpu-onnxruntime-mbconv"):
        check(argparse.Namespace(tables=tmp_path, truth=None), ["mbconv"])
    with pytest.raises(LatnasError, match=r"missing\.npz is no table of NAS-Bench-201"):
        check(argparse.Namespace(tables=shipped, truth=tmp_path / "missing.npz"), ["nasbench201"])
