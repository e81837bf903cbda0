"""The benchmark of budgets: its rows are what manifests say, its figures over all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from budgets import reach_of, row_of

from latnas.stages.export import ExportedFile
from latnas.words.manifest import load_manifest


def test_a_row_is_what_the_manifest_of_a_file_says_in_the_quoted_statistic(exported_run: Path) -> None:
    paths = list(exported_run.glob("runs/*/exports/*/*/manifest.json"))
    assert len(paths) >= 2
    for path in paths:
        manifest = load_manifest(path)
        row = row_of("nasbench201", ExportedFile(path.parent, manifest))
        assert manifest.measured_ms is not None
        assert row["measured_ms"] == pytest.approx(getattr(manifest.measured_ms, manifest.quote), rel=1e-4)
        assert row["unused"] == pytest.approx(1 - row["measured_ms"] / row["budget_ms"], abs=1e-3)
        assert row["within"] and row["low_ms"] <= row["predicted_ms"] <= row["high_ms"]
        assert row["attempts"] >= row["files"] >= 1


def test_each_budget_that_is_missed_counts_and_what_is_unused_is_the_median_over_all() -> None:
    rows = [{"within": unused >= 0, "unused": unused} for unused in (-0.02, 0.01, 0.04, 0.3)]
    missed, unused = reach_of(rows)
    assert (missed.what, missed.value, missed.met) == ("networks of 4 over their budget", 1, False)
    assert unused.value == pytest.approx(0.025) and unused.met
