"""The benchmark on real images, with a search of a handful of networks of the embedded digits."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import real_cells
import search_real
from pieces import OutOfTimeError
from real_cells import (
    METHODS,
    Cell,
    CellSeconds,
    Problem,
    Sizes,
    best_within,
    draws,
    problem_of,
    smaller_images,
    tried_briefly,
)
from scipy import stats
from search_real import (
    PAIRS,
    check_problem,
    compared,
    interval_over_seeds,
    interval_within_budgets,
    known_rows,
    main,
    reach,
)
from small import Heard

from latnas.data.randomness import generator
from latnas.data.sources import load_images
from latnas.errors import LatnasError
from latnas.stages.common.options import SearchOptions
from latnas.stages.profile import ProfileConfig, profile
from latnas.training.tasks import Task, run_tasks
from latnas.words.budgets import BudgetRange
from latnas.words.files import write_json
from latnas.words.reporting import Reporter
from latnas.words.table import LatencyTable

SIZES = Sizes(
    image=8, spaces={"mbconv": (2, 1), "darts": (2, 3)}, budgets=2, short_steps=1, final_steps=2, batch=8,
    search={
        "pool": 8, "trainings": 4, "training_steps": 1, "long_trainings": 0, "reduced_width": 2, "reduced_size": 8,
        "warmup_steps": 1, "joint_steps": 1, "hypernetwork_steps": 2, "rounds": 1, "draws": 1,
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of the space that was made of fewer networks than usual."""
    folder = tmp_path_factory.mktemp("tables")
    width, depth = SIZES.spaces["mbconv"]
    sizes = {"width": width, "depth": depth, "calibrate": 4, "rounds": 4}
    profile(ProfileConfig(device="analytic", space="mbconv", data="digits", out=folder, **sizes))
    return folder


@pytest.fixture(scope="module")
def problem(tables: Path) -> Problem:
    return problem_of("mbconv", "digits", "digits", SIZES, tables, tables / "none", Heard())


@pytest.fixture
def cell(problem: Problem, tmp_path: Path) -> Cell:
    return Cell(problem, SIZES, 0, "local:0", tmp_path / "cell")


def with_table(problem: Problem, table: LatencyTable) -> Problem:
    return replace(problem, latency=replace(problem.latency, table=table))


def budgets_of(problem: Problem, count: int) -> list[float]:
    drawn = [problem.space.random(generator("budgets", number)) for number in range(50)]
    predicted = sorted(problem.latency.predict_ms(one) for one in drawn)
    budgets = BudgetRange(predicted[0], predicted[-1])
    return [budgets.budget_ms(lam) for lam in budgets.spread(count)]


# What is made of the rows


def test_what_is_measured_is_what_a_search_does_unless_told_otherwise() -> None:
    assert SearchOptions(**search_real.PRESETS["cpu"].search) == SearchOptions()


def test_with_one_budget_the_interval_is_student_s_over_the_seeds() -> None:
    differences = np.array([[0.3], [0.9], [0.2], [-0.4]])
    expected = stats.ttest_1samp(differences[:, 0], 0.0).confidence_interval(0.95)
    assert interval_within_budgets(differences) == pytest.approx(tuple(expected))
    assert interval_over_seeds(differences) == pytest.approx(tuple(expected))


def test_budgets_that_differ_in_the_same_way_for_every_seed_do_not_widen_the_interval() -> None:
    steady = np.tile([3.0, 0.0, -1.5], (4, 1))
    assert interval_within_budgets(steady) == pytest.approx((0.5, 0.5))
    assert interval_over_seeds(steady) == pytest.approx((0.5, 0.5))


def test_the_interval_within_budgets_holds_the_mean_as_often_as_it_says() -> None:
    random, mean_B = np.random.default_rng(0), np.linspace(-1.0, 2.0, 6)
    held = []
    for _ in range(2000):
        found = interval_within_budgets(mean_B + random.normal(0.0, 0.7, (3, 6)))
        assert found is not None
        held.append(found[0] <= mean_B.mean() <= found[1])
    assert 0.935 < np.mean(held) < 0.965


def test_a_single_seed_has_no_interval() -> None:
    assert interval_within_budgets(np.zeros((1, 6))) is None
    assert interval_over_seeds(np.zeros((1, 6))) is None


def row(pair: str, seed: int, budget: float, **accuracies: float) -> dict[str, Any]:
    space, data = pair.split(":")
    reached = {**dict.fromkeys(METHODS, 50.0), **accuracies}
    networks = {f"{method}_network": f"{value}" for method, value in reached.items()}
    return {
        "space": space, "data": data, "seed": seed, "budget_ms": budget, **reached, **networks, "sizes": "any",
        "version": real_cells.VERSION,
    }  # fmt: skip


def test_pairs_are_compared_budget_by_budget_and_seed_by_seed_in_whatever_order_rows_come() -> None:
    rows = [
        row("mbconv:cifar10", seed, budget, search=60.0 + both, random=60.0 + budget, best_of_n=58.0 + both)
        for seed in (0, 1)
        for budget in (1.0, 2.0, 4.0)
        for both in [seed + budget]
    ]
    found = {one["baseline"]: one for one in compared(rows)}
    shuffled = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))]
    assert {one["baseline"]: one for one in compared(shuffled)} == found
    assert found["best_of_n"]["difference"] == found["best_of_n"]["low"] == found["best_of_n"]["high"] == 2.0
    assert found["random"]["difference"] == 0.5 and found["random"]["same_network"] == 3
    assert (found["random"]["seeds"], found["random"]["budgets"]) == (2, 3)


def test_what_is_to_be_reached_is_told_against_the_best_baseline_of_each_pair() -> None:
    gains = dict(zip(PAIRS, (2.0, 1.0, 0.5, -0.25), strict=True))
    rows = [
        row(pair, seed, budget, search=70.0 + gain, random=40.0, best_of_n=70.0)
        for pair, gain in gains.items()
        for seed in (0, 1, 2)
        for budget in (1.0, 2.0)
    ]
    found = {one.what: one for one in reach(compared(rows))}
    assert found["mbconv on cifar10: points above best_of_n"].value == 2.0
    assert found["pairs on which the interval excludes zero"].value == 3
    assert found["pairs on which the interval excludes zero"].met
    worst = found["the worst pair: points above its best baseline"]
    assert worst.value == -0.25 and not worst.met


def test_a_gain_is_judged_by_the_interval_over_seeds_which_is_wider_where_the_budgets_of_a_seed_agree() -> None:
    rows = [
        row(pair, seed, budget, search=70.0 + gain, random=40.0, best_of_n=70.0)
        for pair in PAIRS
        for seed, gain in enumerate((0.1, 0.5, 2.0))
        for budget in (1.0, 2.0, 4.0)
    ]
    comparisons = compared(rows)
    assert all(one["seeds_low"] < 0 < one["low"] for one in comparisons if one["baseline"] == "best_of_n")
    assert {one.what: one.value for one in reach(comparisons)}["pairs on which the interval excludes zero"] == 0


def test_nothing_is_said_of_intervals_where_a_pair_has_two_seeds() -> None:
    """Two that agree by chance have as narrow an interval as one likes."""
    rows = [row(pair, seed, 1.0, search=60.0) for pair in PAIRS for seed in ((0, 1) if pair == PAIRS[0] else (0, 1, 2))]
    said = [one.what for one in reach(compared(rows))]
    assert "pairs on which the interval excludes zero" not in said
    assert "the worst pair: points above its best baseline" in said


def test_nothing_is_said_of_all_pairs_before_all_are_there() -> None:
    rows = [row("mbconv:cifar10", seed, 1.0, search=60.0) for seed in (0, 1)]
    assert [one.what for one in reach(compared(rows))] == ["mbconv on cifar10: points above most_macs"]


def test_results_of_another_size_are_not_mixed_with_these(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    write_json(out, {"benchmark": "search_real", "rows": [row("mbconv:cifar10", 0, 1.0)]})
    with pytest.raises(LatnasError, match=r"out\.json holds results of another size\. Name another file"):
        known_rows(out, SIZES)


# One cell


def test_what_another_version_did_is_not_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    before = SIZES.digest
    monkeypatch.setattr(real_cells, "VERSION", real_cells.VERSION + 1)
    assert SIZES.digest != before


def test_images_are_made_smaller_once_and_are_those_that_latnas_would_make(tmp_path: Path) -> None:
    path = smaller_images("fashion-mini", "fashion", 16, tmp_path)
    assert load_images(path).fingerprint == load_images("fashion-mini@16").fingerprint
    assert load_images(path).classes == load_images("fashion-mini").classes
    before = Path(path).stat().st_mtime_ns
    assert smaller_images("fashion-mini", "fashion", 16, tmp_path) == path
    assert Path(path).stat().st_mtime_ns == before


def test_images_of_two_folders_are_not_taken_for_one_another_whatever_their_names(tmp_path: Path) -> None:
    for name, value in (("a", 0), ("b", 255)):
        arrays = {f"x_{part}": np.full((20, 8, 8), value, np.uint8) for part in ("train", "test")}
        labels = {f"y_{part}": np.arange(20) % 2 for part in ("train", "test")}
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "x.npz", **arrays, **labels)
    a, b = (smaller_images(str(tmp_path / name / "x.npz"), "x", 8, tmp_path / "images") for name in ("a", "b"))
    assert load_images(a).train.images[:1].max() == 0 and load_images(b).train.images[:1].min() == 255


def test_a_problem_is_another_by_its_images_and_by_its_latencies_but_not_by_when_they_were_taken(
    problem: Problem, tmp_path: Path
) -> None:
    table = problem.latency.table
    assert with_table(problem, table.model_copy(update={"created": "later", "seconds": 9.9})).digest == problem.digest
    slower = table.anchor.model_copy(update={"p50_factor": 2 * table.anchor.p50_factor})
    assert with_table(problem, table.model_copy(update={"anchor": slower})).digest != problem.digest
    first, *others = table.calibration.networks
    networks = (first.model_copy(update={"floor_ms": 2 * first.floor_ms}), *others)
    measured = table.calibration.model_copy(update={"networks": networks})
    assert with_table(problem, table.model_copy(update={"calibration": measured})).digest != problem.digest
    assert replace(problem, data=load_images("fashion-mini@8")).digest != problem.digest


def test_a_problem_is_the_same_on_another_processor_where_what_is_fitted_has_other_last_digits(
    problem: Problem,
) -> None:
    table = problem.latency.table
    elsewhere = {"linear_error": table.calibration.linear_error + 1e-14, "high": table.calibration.high + 1e-12}
    calibration = table.calibration.model_copy(update=elsewhere)
    assert with_table(problem, table.model_copy(update={"calibration": calibration})).digest == problem.digest


def test_seeds_by_another_table_are_not_paired_with_those_of_the_file(problem: Problem, tmp_path: Path) -> None:
    known = {**row("mbconv:digits", 0, 1.0), "problem": problem.digest}
    check_problem([known, row("darts:digits", 0, 1.0)], problem, tmp_path / "out.json")
    with pytest.raises(LatnasError, match=r"out\.json holds results of mbconv:digits by another table or other images"):
        check_problem([{**known, "problem": "another"}], problem, tmp_path / "out.json")


def test_a_table_of_the_space_is_taken_where_there_is_one_and_else_one_is_computed(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, own = tmp_path / "named", tmp_path / "own"
    named.mkdir()
    (named / "other.json").write_text("{}")
    shutil.copy(problem.table, named / "zebra.json")
    found = problem_of("mbconv", "digits", "digits", SIZES, named, own, Heard())
    assert found.table == named / "zebra.json"
    assert not own.exists()

    asked: list[ProfileConfig] = []

    def compute(config: ProfileConfig, report: Reporter) -> Any:
        asked.append(config)
        return profile(config.model_copy(update={"calibrate": 4, "rounds": 4}), report)

    monkeypatch.setattr(real_cells, "profile", compute)
    for _ in range(2):  # the second time it is there
        found = problem_of("mbconv", "digits", "digits", SIZES, None, own, Heard())
        assert found.table.parent == own and found.space.trace.digest == problem.space.trace.digest
    assert [one.device for one in asked] == ["analytic"]


def test_draws_are_distinct_within_their_budgets_in_turn_and_end_with_the_space(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real_cells, "IN_VAIN", 3)
    budgets = budgets_of(problem, 3)
    first = list(islice(draws(problem.space, problem.latency, budgets, seed=1), 9))
    assert first == list(islice(draws(problem.space, problem.latency, budgets, seed=1), 9))
    assert first != list(islice(draws(problem.space, problem.latency, budgets, seed=2), 9))
    for one, budget in zip(first[:3], budgets, strict=True):
        assert problem.latency.predict_ms(one) <= budget
    tight = [problem.latency.predict_ms(first[0])]
    found = list(draws(problem.space, problem.latency, tight, seed=1))
    assert len({one.key for one in found}) == len(found)
    assert all(problem.latency.predict_ms(one) <= tight[0] for one in found)


def test_best_of_n_trains_until_the_search_s_cost_is_reached_and_no_more(cell: Cell) -> None:
    budgets = budgets_of(cell.problem, 2)
    assert tried_briefly(cell, budgets, 0.0, Heard()) == ([], 0.0)
    tried, spent = tried_briefly(cell, budgets, 1e-6, Heard())
    assert len(tried) == 1 and spent > 1e-6
    cost = 2.5 * spent
    more, all_spent = tried_briefly(cell, budgets, cost, Heard())
    assert more[: len(tried)] == tried and len(more) > 1
    each = [
        json.loads((cell.folder / "steps-1" / one.key / "result.json").read_text())["cpu_seconds"] for one, _ in more
    ]
    assert all_spent == pytest.approx(sum(each))
    assert sum(each[:-1]) < cost <= sum(each)


def test_the_best_within_a_budget_is_that_of_highest_accuracy_among_all_that_fit(problem: Problem) -> None:
    tried = [(problem.space.random(generator("tried", number)), number % 7 / 7) for number in range(20)]
    for budget in budgets_of(problem, 4):
        fitting = [accuracy for one, accuracy in tried if problem.latency.predict_ms(one) <= budget]
        best = best_within(tried, problem.latency, budget)
        assert (best is None) == (not fitting)
        assert best is None or dict(tried)[best] == max(fitting)


# The whole


@pytest.fixture
def _tiny(monkeypatch: pytest.MonkeyPatch, plain_environment: None, tmp_path: Path) -> None:
    monkeypatch.setitem(search_real.PRESETS, "tiny", SIZES)
    monkeypatch.chdir(tmp_path)


def benchmark(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    """Types the command; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["search_real.py", "--preset", "tiny", "--executor", "local:0", *words])
    try:
        main()
    except SystemExit as stopped:
        return stopped.code
    return 0


@pytest.mark.usefixtures("_tiny")
def test_a_benchmark_that_ran_out_of_time_goes_on_and_its_results_are_kept(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def run_some(tasks: Sequence[Task], workers: int, *rest: Any) -> list[Any]:
        new = [task for task in tasks if not (task.folder / "result.json").exists()]
        trained.extend(str(task.folder) for task in new)
        if len(trained) > 3 and "stopped" not in trained:
            run_tasks(new[:1], workers)
            trained.append("stopped")
            raise OutOfTimeError
        return run_tasks(tasks, workers, *rest)

    monkeypatch.setattr(real_cells, "run_tasks", run_some)
    words = ("--cifar10", "digits", "--pairs", "mbconv:cifar10", "--seeds", "0", "--json", "out.json")
    words = (*words, "--tables", str(tables))
    assert benchmark(monkeypatch, *words) == 0
    assert trained[-1] == "stopped" and not Path("out.json").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    searched = next(tmp_path.rglob("searched.json")).read_text()

    assert benchmark(monkeypatch, *words) == 0
    assert before.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}.items()
    assert next(tmp_path.rglob("searched.json")).read_text() == searched
    rows = [one for one in json.loads(Path("out.json").read_text())["rows"] if "seed" in one]
    assert [one["budget_ms"] for one in rows] == sorted((one["budget_ms"] for one in rows), reverse=True)
    assert len(rows) == SIZES.budgets and {one["version"] for one in rows} == {real_cells.VERSION}
    for one in rows:
        assert (one["space"], one["data"], one["seed"], one["sizes"]) == ("mbconv", "cifar10", 0, SIZES.digest)
        assert one["search_cpu_seconds"] == pytest.approx(json.loads(searched)["cpu_seconds"], rel=1e-4)
        assert one["tried"] >= 1 and one["tried_cpu_seconds"] >= 0.99 * one["search_cpu_seconds"]
        for method in METHODS:
            assert 0 <= one[method] <= 100
            assert one[f"{method}_ms"] <= one["budget_ms"] * (1 + 1e-4)

    # What the file has is not run again, even where the folder of the work is gone.
    shutil.rmtree("runs")
    assert benchmark(monkeypatch, *words) == 0
    assert [one for one in json.loads(Path("out.json").read_text())["rows"] if "seed" in one] == rows
    assert not Path("runs").exists()


@pytest.mark.usefixtures("_tiny")
def test_images_that_are_needed_and_not_named_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark(monkeypatch, "--cifar10", "digits", "--pairs", "mbconv:cifar10", "darts:fashion-mnist") == 2
    assert "darts:fashion-mnist needs images. Name them: --fashion-mnist PATH" in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.usefixtures("_tiny")
def test_an_estimate_trains_nothing(
    tables: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def estimate(problem: Problem, sizes: Sizes, executor: str) -> CellSeconds:
        return CellSeconds(search=600.0, best_of_n=600.0, final=1500.0)

    monkeypatch.setattr(search_real, "estimate", estimate)
    twice = ("--pairs", "mbconv:cifar10", "mbconv:cifar10")
    words = ("--cifar10", "digits", *twice, "--seeds", "0,1", "--estimate", "--json", "out.json")
    assert benchmark(monkeypatch, *words, "--tables", str(tables)) == 0
    said = capsys.readouterr().err
    assert "mbconv:cifar10: 2 seeds of about 45 min" in said and "about 1.5 h in all" in said
    assert not Path("out.json").exists() and not list(Path("runs").rglob("result.json"))
