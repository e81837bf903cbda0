"""How well opinions tell networks of one size apart."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import one_size
import pytest
from one_size import LONG, Trained, fisher, folder_of
from real_cells import Problem, Sizes
from scipy import stats
from search_real import PRESETS

from latnas.ranking.features import FEATURES
from latnas.words.architecture import Architecture


def made_up(count: int, seed: int) -> Trained:
    """Accuracies that are size, its square, jacov, and chance."""
    random = np.random.default_rng(seed)
    keys = [str(index) for index in range(count)]
    values_NF = random.normal(size=(count, len(FEATURES)))
    features = {
        key: dict(zip(FEATURES, map(float, row), strict=True)) for key, row in zip(keys, values_NF, strict=True)
    }
    final = {
        key: 0.1 * row["log_macs"] - 0.05 * row["log_macs"] ** 2 + 0.01 * row["jacov"] + float(random.normal(0, 0.01))
        for key, row in features.items()
    }
    parts = {key: frozenset({key}) for key in keys}
    return Trained(
        {key: Architecture.of("made up", {"layer": key}) for key in keys}, features, final, final, 100, parts
    )


def test_what_size_says_counts_for_nothing_and_what_it_does_not_counts_as_it_correlates() -> None:
    known = made_up(400, seed=0)
    keys = list(known.networks)
    jacov = known.partial(lambda key: known.features[key]["jacov"], keys)
    assert jacov == pytest.approx(0.5**0.5, abs=0.06)
    assert known.partial(lambda key: known.features[key]["jacov"] + 9 * known.features[key]["log_macs"], keys) == (
        pytest.approx(jacov)
    )
    assert abs(known.partial(lambda key: known.features[key]["naswot"], keys)) < 0.15


def test_the_interval_holds_the_true_correlation_in_19_cases_of_20() -> None:
    truth, inside = 0.6, 0
    for seed in range(300):
        x, y = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, truth], [truth, 1]], size=40).T
        low, high = fisher(float(stats.pearsonr(x, y).statistic), 40 + 2)
        inside += low < truth < high
    assert 0.92 < inside / 300 < 0.98


def test_trainings_are_kept_apart_by_everything_that_they_are_of() -> None:
    sizes = PRESETS["tiny"]

    def folder(networks: int, seed: int, problem: str, sizes: Sizes) -> Path:
        space = SimpleNamespace(name="mbconv")
        given = argparse.Namespace(work=Path("work"), networks=networks, seed=seed)
        return folder_of(cast(Problem, SimpleNamespace(space=space, name="x", digest=problem)), sizes, given)

    assert folder(40, 0, "a", sizes).name.startswith("mbconv-x-40networks-seed0-")
    others = [folder(41, 0, "a", sizes), folder(40, 1, "a", sizes), folder(40, 0, "b", sizes)]
    assert len({folder(40, 0, "a", sizes), *others, folder(40, 0, "a", PRESETS["cpu"])}) == 5


def test_the_benchmark_gathers_the_rows_of_spaces_and_trains_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_environment: None
) -> None:
    monkeypatch.chdir(tmp_path)

    def benchmark(space: str) -> list[dict[str, object]]:
        typed = ["one_size.py", "--data", "digits", "--space", space, "--preset", "tiny", "--executor", "local:0"]
        monkeypatch.setattr(sys, "argv", [*typed, "--networks", "17", "--json", "out.json"])
        with pytest.raises(SystemExit) as stopped:
            one_size.main()
        assert stopped.value.code == 0
        rows: list[dict[str, object]] = json.loads(Path("out.json").read_text())["rows"]
        return rows

    first = benchmark("mbconv")
    opinions = [row["opinion"] for row in first if row["long"] == 0]
    assert opinions == [
        "own short training", "predicted short training", "prior", "judge", "jacov", "synflow", "naswot", "log_params",
    ]  # fmt: skip
    assert [row["long"] for row in first if row["opinion"] == "judge and long trainings"] == list(LONG)
    assert all(-1 <= float(str(row["partial"])) <= 1 for row in first)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert len(before) == 2 * 17
    others = [{**first[0], "space": "darts"}, {**first[0], "seed": 1}, {**first[0], "problem": "another"}]
    Path("out.json").write_text(json.dumps({"benchmark": "one_size", "rows": [first[0], *others]}))
    assert benchmark("mbconv") == [*others, *first]
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
