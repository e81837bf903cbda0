"""The benchmarks of latency predictions, on devices whose latencies are known: sums of what operations take."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import latency_model
import latency_public
import numpy as np
import pytest
from made_up_table import DEVICES, EDGES, NAMES, random_cells, write_table

from latnas.latency.calibration import LEAST_NETWORKS
from latnas.stages.profile import ProfileConfig


def row(space: str, **others: float) -> dict[str, object]:
    plain = {name: 0.0 for _, name, _, _ in latency_model.REACH}
    return {"space": space, "method": latency_model.OURS, **plain, **others}


def test_a_fit_to_networks_predicts_others_better_than_a_scale_and_an_offset_and_these_than_the_plain_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_model, "CALIBRATE", 12)
    monkeypatch.setattr(latency_model, "DERIVED_PER_DRAW", 4)
    sizes = {"space": "nasbench201", "data": "digits", "width": 2, "depth": 1, "calibrate": 4, "rounds": 4}
    measured = latency_model.measured_space(ProfileConfig(device="analytic", out=tmp_path, **sizes), 12, 2, 5.0)
    plain, affine, ours = latency_model.rows_of(measured)
    assert [row["method"] for row in (plain, affine, ours)] == ["plain sum", "scale and offset", latency_model.OURS]
    assert plain["mape"] > affine["mape"] > ours["mape"] and ours["spearman"] > 0.97
    assert (ours["held_out"], ours["draws"], ours["derived"], plain["calibrated_on"]) == (12, 2, 8, 0)
    # A device whose latencies are computed neither drifts nor scatters.
    assert (ours["drift"], ours["halves_mean"], ours["halves_p95"]) == (1.0, 0.0, 0.0)
    assert latency_model.reach([plain, affine, ours])[0].value == ours["mape"]


def test_coverage_is_pooled_over_spaces_by_their_numbers_of_networks_and_may_be_too_high_as_well_as_too_low() -> None:
    small = row("small", coverage_random=80.0, held_out=10, draws=1, coverage_derived=100.0, derived=10)
    large = row("large", coverage_random=96.0, held_out=15, draws=2, coverage_derived=70.0, derived=30, mape=1.3)
    plain = {"space": "large", "method": "plain sum", "mape": 99.0}
    found = {one.what: one for one in latency_model.reach([plain, small, large])}
    assert found["coverage of random networks, distance from 90 %"].value == pytest.approx(2.0)
    assert found["coverage of derived networks"].value == pytest.approx(77.5)
    assert not found["coverage of derived networks"].met
    assert found["small: mape, held-out networks"].met and not found["large: mape, held-out networks"].met


def write_sums(path: Path, seconds: dict[str, float]) -> None:
    """A table on whose devices a cell takes one, and each operation as many more as its name says."""
    cells = random_cells(200, seed=0)
    write_table(path, cells)
    with np.load(path) as written:
        columns = dict(written)
    sums = [1.0 + sum(seconds[cell[f"{a}->{b}"]] for a, b in EDGES) for cell in cells]
    np.savez(path, **{**columns, "latency_ms": np.array([sums] * len(DEVICES)).T})


def test_public_latencies_that_are_sums_are_predicted_exactly_by_the_reference_and_nearly_by_the_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "sums.npz", tmp_path / "out.json"
    write_sums(path, dict(zip(NAMES, (0.25, 0.0, 2.0, 8.0, 1.0), strict=True)))
    words = ["--latencies", str(path), "--networks", "25", "--draws", "2", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["latency_public.py", *words])
    latency_public.main()
    rows = json.loads(out.read_text())["rows"]
    assert [one["device"] for one in rows] == DEVICES
    for one in rows:
        assert one["reference_mape"] < 0.01
        assert one["mape"] < 5.0 and one["spearman"] > 0.97


def test_more_networks_than_a_public_table_leaves_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_table(tmp_path / "few.npz", random_cells(LEAST_NETWORKS, seed=0))
    monkeypatch.setattr(sys, "argv", ["latency_public.py", "--latencies", str(path)])
    with pytest.raises(SystemExit):
        latency_public.main()
    assert "connected cells. Ask for fewer: --networks 25" in capsys.readouterr().err
