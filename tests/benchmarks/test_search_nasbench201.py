"""The benchmark on NAS-Bench-201 with searches of few cells: what they leave, that they go on, how means are taken."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nasbench201_scores
import numpy as np
import pytest
import search_nasbench201
from made_up_table import write_table
from nasbench201_scores import Compared, Found, crossed_interval, interval, load_found, means_of
from pieces import OutOfTimeError
from scipy import stats
from search_nasbench201 import main
from tiny_search import TINY

from latnas.errors import LatnasError
from latnas.stages.search import trainings
from latnas.training.tasks import Task

SKIPS = dict.fromkeys(search_nasbench201.EDGES, "skip_connect")
SCORES = "cpu-seed*/scores.json"


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch, plain_environment: None) -> None:
    monkeypatch.setitem(search_nasbench201.PRESETS, "cpu", TINY)


def benchmark(monkeypatch: pytest.MonkeyPatch, *words: object) -> int | str | None:
    """Types the command; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["search_nasbench201.py", *map(str, words)])
    try:
        main()
    except SystemExit as stopped:
        return stopped.code
    return 0


def all_cells(folder: Path) -> list[dict[str, str]]:
    """The cells of every search in `folder`: a table of these alone has all its scores."""
    found = [load_found(path) for path in sorted(folder.glob(SCORES))]
    shared = set.intersection(*(set(one.cells) for one in found))
    return [dict(zip(found[0].edges, cell.split("|"), strict=True)) for cell in sorted(shared)]


def assert_same_rows(rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """But for what rounding to five digits does to means of rounded numbers."""
    assert len(rows) == len(expected)
    for row, same in zip(rows, expected, strict=True):
        assert list(row) == list(same)
        for value, other in zip(row.values(), same.values(), strict=True):
            assert value == (pytest.approx(other, rel=1e-4, abs=1e-4) if isinstance(other, float) else other)


def test_searching_and_judging_are_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    bare = write_table(tmp_path / "bare.npz", [SKIPS], accuracies=())
    words = ("--runs", runs, "--seeds", "0,1")
    assert benchmark(monkeypatch, "--latencies", bare, "--data", "digits", *words) == 1
    assert "acc_c10_test200_mean" in capsys.readouterr().err  # there are no accuracies, and the search did not ask
    before = {path: path.read_bytes() for path in runs.glob(SCORES)}
    assert len(before) == 2

    table = write_table(tmp_path / "table.npz", all_cells(runs))
    out = tmp_path / "results.json"
    typed = ("--latencies", table, *words, "--accuracy", "c10", "in16", "--json", out)
    assert benchmark(monkeypatch, *typed) == 0  # no --data: nothing is searched again
    assert {path: path.read_bytes() for path in runs.glob(SCORES)} == before
    result = json.loads(out.read_text())
    per_device = [row for row in result["rows"] if row.get("device") == "slow"]
    assert [(row["accuracy"], row["method"], row.get("seed")) for row in per_device] == [
        (accuracy, method, seed)
        for accuracy in ("c10", "in16")
        for method, seed in [
            ("ours", 0), ("ours", 1), ("prior alone", 0), ("prior alone", 1), ("most parameters", None),
            ("random", None), ("true CIFAR-10 accuracy", None),
        ]
    ]  # fmt: skip
    assert all(0 <= row["hypervolume"] <= 1.00001 for row in per_device)
    assert [(row["seed"], row["trainings"]) for row in result["rows"] if "trainings" in row] == [(0, 4), (1, 4)]
    assert [one["reach"] for one in result["reach"]] == [0.975, 0.965, 0.0, 0.94, 60.0]
    assert "most parameters" in capsys.readouterr().out

    elsewhere = ("--latencies", table, "--runs", tmp_path / "elsewhere", "--json", out)
    both = (*elsewhere, "--accuracy", "c10", "in16", "--seeds", "0,1")
    assert benchmark(monkeypatch, *both) == 0  # the runs are gone, their rows are not
    assert_same_rows(json.loads(out.read_text())["rows"], result["rows"])
    (one_run,) = runs.glob("cpu-seed1*")
    shutil.move(one_run, tmp_path / "elsewhere" / one_run.name)
    assert benchmark(monkeypatch, *both) == 0  # one seed from its run, one from its rows
    assert_same_rows(json.loads(out.read_text())["rows"], result["rows"])
    assert benchmark(monkeypatch, *elsewhere, "--accuracy", "in16", "--seeds", "1") == 0  # what is not asked for stays
    again = json.loads(out.read_text())
    assert sorted(map(str, again["reach"])) == sorted(map(str, result["reach"]))
    by_accuracy = sorted(again["rows"], key=lambda row: (row.get("accuracy", "then costs"), "runs" not in row))
    expected = sorted(result["rows"], key=lambda row: (row.get("accuracy", "then costs"), "runs" not in row))
    assert_same_rows(by_accuracy, expected)
    assert benchmark(monkeypatch, *both, "--devices", "fast") == 1
    assert "results on other devices. Name another file: --json" in capsys.readouterr().err
    assert benchmark(monkeypatch, *elsewhere, "--accuracy", "c10", "c100", "--seeds", "0,1") == 2
    assert "seed 0 is not searched yet" in capsys.readouterr().err  # seed 1 has its run
    assert benchmark(monkeypatch, *elsewhere, "--preset", "gpu", "--seeds", "0") == 1
    assert "another preset. Name another file: --json" in capsys.readouterr().err


def test_a_search_that_was_stopped_goes_on_to_the_same_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = write_table(tmp_path / "bare.npz", [SKIPS], accuracies=())
    typed = ("--latencies", bare, "--data", "digits", "--seeds", "3")
    run_all = trainings.run_tasks

    def run_one(tasks: Sequence[Task], workers: int, *rest: Any) -> list[Any]:
        new = [task for task in tasks if not (task.folder / "result.json").exists()]
        if len(new) > 1:
            run_all(new[:1], workers)
            raise OutOfTimeError
        return run_all(tasks, workers, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(trainings, "run_tasks", run_one)
        for _ in range(TINY.sizes["trainings"] - 1):
            assert benchmark(monkeypatch, *typed, "--runs", tmp_path / "a") == 0
            assert "to be continued" in capsys.readouterr().err
    for runs in ("a", "b"):
        assert benchmark(monkeypatch, *typed, "--runs", tmp_path / runs) == 1  # judging finds no accuracies
    a, b = (load_found(next((tmp_path / runs).glob(SCORES))) for runs in ("a", "b"))
    assert (a.cells, a.ours, a.prior) == (b.cells, b.ours, b.prior)


def test_what_cannot_be_searched_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = write_table(tmp_path / "bare.npz", [SKIPS], accuracies=())
    typed = ("--latencies", bare, "--runs", tmp_path / "runs", "--seeds", "0")
    assert benchmark(monkeypatch, *typed) == 2
    assert "seed 0 is not searched yet" in capsys.readouterr().err
    assert benchmark(monkeypatch, *typed, "--data", "digits", "--train-on", "nowhere") == 2
    assert "nothing can be trained on 'nowhere'" in capsys.readouterr().err
    assert benchmark(monkeypatch, *typed, "--latencies", tmp_path / "missing.npz") == 1


def found(**changes: object) -> Found:
    edges = list(search_nasbench201.EDGES)
    values = {"cells": ["|".join(["skip_connect"] * 6)], "ours": [0.5], "prior": [1.0], "edges": edges}
    return Found(**{"seed": 0, "trainings": 4, "minutes": 1.0, "cpu_minutes": 2.0, **values, **changes})


def test_scores_are_read_as_they_were_written_and_damaged_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    found().save(path)
    assert load_found(path) == found()
    written = json.loads(path.read_text())
    for damage in ({"ours": []}, {"ours": [0.5, 0.6]}, {"cells": ["none"]}, {"prior": ["high"]}, {"edges": []}):
        path.write_text(json.dumps(written | damage))
        with pytest.raises(LatnasError, match=r"scores.json is damaged.*Delete it"):
            load_found(path)


def test_scores_belong_to_edges_by_name() -> None:
    edges = [*search_nasbench201.EDGES][::-1]
    cell = dict.fromkeys(edges, "none") | {"0->3": "nor_conv_3x3"}
    there = found(edges=edges, cells=["|".join(cell[edge] for edge in edges)])
    assert there.by_expression(there.ours) == {"nor_conv_3x3(x)": 0.5}


def test_an_interval_over_runs_is_student_s() -> None:
    values = np.array([0.97, 0.98, 0.96])
    expected = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert interval(values) == pytest.approx(expected)
    assert interval(values[:1]) is None and interval(np.array([0.5, 0.5])) == (0.5, 0.5)


def test_a_crossed_interval_holds_the_mean_at_least_as_often_as_it_says() -> None:
    """Effects of three seeds, of seven devices and of both: the mean over all seeds and devices is 0."""
    random = np.random.default_rng(0)
    for seeds, devices, rest in ((1.0, 0.0, 0.5), (0.0, 1.0, 0.5), (1.0, 1.0, 1.0)):
        held = []
        for _ in range(300):
            effects = seeds * random.normal(size=(3, 1)) + devices * random.normal(size=(1, 7))
            low, high = crossed_interval(effects + rest * random.normal(size=(3, 7))) or (1.0, -1.0)
            held.append(low <= 0 <= high)
        assert np.mean(held) > 0.93


def test_means_leave_pixel3_out_and_pair_ours_with_the_prior() -> None:
    devices = ("a", "pixel3", "b")
    prior = np.array([[0.90, 0.1, 0.92], [0.94, 0.2, 0.90]])
    gain = np.array([[0.02, 0.7, 0.04], [0.02, 0.7, 0.04]])
    runs = ({"seed": 0}, {"seed": 1})
    compared = [
        Compared(nasbench201_scores.OURS, runs, prior + gain, 1.0 - gain),
        Compared(nasbench201_scores.PRIOR, runs, prior, np.ones((2, 3))),
    ]
    ours, alone, gained = means_of(compared, "c10", devices)
    assert (ours["hypervolume"], alone["hypervolume"], gained["hypervolume"]) == pytest.approx((0.945, 0.915, 0.03))
    assert alone["worst"] == pytest.approx((0.90 + 0.90) / 2)
    assert gained["regret"] == pytest.approx(-0.03)
    assert (gained["low"], gained["high"]) == pytest.approx(crossed_interval(gain[:, [0, 2]]), rel=1e-4)
    assert gained["high"] - gained["low"] < 0.3  # what seeds and devices do to both alike is no part of it
