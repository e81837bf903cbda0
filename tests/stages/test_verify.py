"""Fresh networks on the analytic device, predicted and measured: what is said of a table and of a device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small import Heard, TwoByTwo, contents, copied, profile_config

from latnas.errors import LatnasError, UsageError
from latnas.latency.measure import Measurements
from latnas.spaces import space as space_module
from latnas.spaces.space import SpaceKind
from latnas.stages.common.tables import latency_of, space_of
from latnas.stages.profile import Profiled, Verification, profile, verify
from latnas.stages.profile.networks import Drawn
from latnas.stages.profile.rig import Rig
from latnas.stages.profile.verify import Verified
from latnas.words.architecture import Architecture
from latnas.words.table import load_table
from latnas_profilers.analytic import AnalyticRunner, inference_seconds

CALIBRATED = 16
RUN = AnalyticRunner.run
SAME = "--space nasbench201 --width 4 --depth 1 --data digits"


def run_slowly(self: AnalyticRunner, n: int) -> float:
    return 2 * RUN(self, n)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table that is verified."""
    folder = tmp_path_factory.mktemp("verified")
    profile(profile_config(folder, calibrate=CALIBRATED))
    return folder


@pytest.fixture(scope="module")
def verified(folder: Path) -> Iterator[Verification]:
    before = contents(folder)
    yield verify(profile_config(folder, calibrate=CALIBRATED, verify=8))
    assert contents(folder) == before, "a check leaves nothing behind"


def test_the_table_that_is_there_is_the_one_that_is_verified(folder: Path, verified: Verification) -> None:
    (path,) = (folder / "latency_tables").glob("*.json")
    assert (verified.path, verified.table) == (path, load_table(path))


def test_half_of_the_fresh_networks_are_near_the_front_and_the_table_knows_none(verified: Verification) -> None:
    space = space_of(verified.table)
    fresh = [one.architecture for one in verified.networks]
    known = {Architecture.from_json(entry.architecture) for entry in verified.table.calibration.networks}
    assert [one.drawn for one in verified.networks] == ["front"] * 4 + ["random"] * 4
    assert len(set(fresh)) == 8 and not set(fresh) & known
    assert all(space.is_canonical(architecture) for architecture in fresh)


def test_each_network_has_the_prediction_of_the_table_and_the_time_that_it_takes(verified: Verification) -> None:
    space = space_of(verified.table)
    latency, supernet = latency_of(verified.table, space), space.network(0)
    for one in verified.networks:
        network = space.derive(supernet, one.architecture).eval()
        assert one.predicted_ms == latency.predict(one.architecture)
        assert one.measured_ms == pytest.approx(1e3 * inference_seconds(network, (space.example(),)), rel=1e-9)
        assert one.relative_ms == one.measured_ms, "this device does not drift"
        assert one.is_covered == (one.predicted_ms.low <= one.measured_ms <= one.predicted_ms.high)


def test_on_a_device_that_is_a_formula_predictions_agree_with_measurements(verified: Verification) -> None:
    assert verified.drift == pytest.approx(1, rel=1e-9)
    quality = verified.of("front", "random")
    assert quality is not None and quality.networks == 8
    errors = [abs(one.predicted_ms.value / one.relative_ms - 1) for one in verified.networks]
    assert quality.mean_error == pytest.approx(sum(errors) / 8)
    assert quality.mean_error < 0.03 and quality.within10 == 1
    assert quality.spearman is not None and quality.spearman > 0.9


def test_each_way_of_drawing_is_judged_by_itself(verified: Verification) -> None:
    groups: list[tuple[Drawn, tuple[Verified, ...]]] = [
        ("front", verified.networks[:4]),
        ("random", verified.networks[4:]),
    ]
    for drawn, networks in groups:
        quality = verified.of(drawn)
        assert quality is not None and quality.networks == 4
        assert quality.worst == pytest.approx(max(abs(o.predicted_ms.value / o.relative_ms - 1) for o in networks))
        assert verified.coverage(drawn) == sum(one.is_covered for one in networks) / 4
    assert verified.of("end") is None and verified.coverage("end") == 0


def test_another_seed_draws_other_networks(folder: Path, verified: Verification) -> None:
    again, other = (verify(profile_config(folder, calibrate=CALIBRATED, verify=8, seed=seed)) for seed in (0, 1))
    assert again.networks == verified.networks
    assert {one.architecture for one in other.networks} != {one.architecture for one in verified.networks}
    assert other.path == verified.path, "a table does not depend on the seed"


def test_a_device_twice_as_slow_is_warned_of_and_errors_are_relative_to_it(
    folder: Path, verified: Verification, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnalyticRunner, "run", run_slowly)
    heard = Heard()
    slow = verify(profile_config(folder, calibrate=CALIBRATED, verify=8), heard)
    assert slow.drift == pytest.approx(2, rel=1e-9)
    (warning,) = heard.warned
    assert warning.startswith("networks of the table take 2.00 times what they took when it was measured")
    assert f"Make a new table: latnas profile --device analytic --runtime analytic {SAME} --out {folder}" in warning
    for one, before in zip(slow.networks, verified.networks, strict=True):
        assert one.architecture == before.architecture
        assert one.measured_ms == pytest.approx(2 * before.measured_ms)
        assert one.relative_ms == pytest.approx(before.relative_ms)
        assert one.predicted_ms == before.predicted_ms
    quality, before_quality = slow.of("random"), verified.of("random")
    assert quality is not None and before_quality is not None
    assert quality.mean_error == pytest.approx(before_quality.mean_error, abs=1e-9)


def test_a_check_on_a_device_that_was_hardly_calm_says_so(
    folder: Path, verified: Verification, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Rig.measure

    def hardly_calm(self: Rig, *given: Any, **named: Any) -> Measurements:
        return replace(real(self, *given, **named), calm_rounds=2, rounds=40, too_few_calm_rounds=True)

    monkeypatch.setattr(Rig, "measure", hardly_calm)
    heard = Heard()
    verify(profile_config(folder, calibrate=CALIBRATED, verify=8), heard)
    (warning,) = heard.warned
    assert warning.startswith("only 2 of 40 rounds were calm") and "Type the same command again" in warning


@pytest.mark.parametrize(
    ("changes", "flag"), [({"quote": "p90"}, "--quote p90"), ({"operations": False}, "--no-operations")]
)
def test_the_new_table_of_a_device_that_drifted_is_one_of_the_same_kind(
    changes: dict[str, Any], flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile(profile_config(tmp_path, calibrate=CALIBRATED, **changes))
    monkeypatch.setattr(AnalyticRunner, "run", run_slowly)
    heard = Heard()
    verify(profile_config(tmp_path, calibrate=CALIBRATED, verify=2), heard)
    assert f"{SAME} {flag} --out" in heard.warned[-1]


def test_a_device_as_fast_as_before_is_not_warned_of(folder: Path) -> None:
    heard = Heard()
    verify(profile_config(folder, calibrate=CALIBRATED, verify=2), heard)
    assert heard.warned == []


def test_where_there_is_no_table_it_is_measured_first(tmp_path: Path, folder: Path) -> None:
    made = verify(profile_config(tmp_path, calibrate=CALIBRATED, verify=4))
    (path,) = (tmp_path / "latency_tables").glob("*.json")
    assert made.path == path
    assert contents(tmp_path).keys() == {str(path.relative_to(tmp_path))}
    assert made.table.calibration == load_table(next(folder.rglob("*.json"))).calibration
    assert len(made.networks) == 4


def test_a_single_network_is_a_random_one(folder: Path) -> None:
    result = verify(profile_config(folder, calibrate=CALIBRATED, verify=1))
    assert [one.drawn for one in result.networks] == ["random"]
    assert result.of("front") is None
    quality = result.of("random")
    assert quality is not None and (quality.spearman, quality.kendall) == (None, None), "one network has no rank"


def test_measurements_are_in_the_statistic_that_the_table_quotes(folder: Path, tmp_path: Path) -> None:
    here = copied(folder, tmp_path / "here")
    (path,) = here.rglob("*.json")
    table = json.loads(path.read_text())
    table["quote"], table["anchor"]["p90_factor"] = "p90", 1.5
    path.write_text(json.dumps(table))
    result = verify(profile_config(here, calibrate=CALIBRATED, verify=2))
    space = space_of(result.table)
    for one in result.networks:
        network = space.derive(space.network(0), one.architecture).eval()
        assert one.measured_ms == pytest.approx(1.5e3 * inference_seconds(network, (space.example(),)))
        assert one.predicted_ms.value == pytest.approx(one.measured_ms, rel=0.1)
    floors = verify(profile_config(here, calibrate=CALIBRATED, verify=2, quote="floor"))
    assert floors.table.quote == "floor", "what was asked for counts"
    for floor, one in zip(floors.networks, result.networks, strict=True):
        assert 1.5 * floor.measured_ms == pytest.approx(one.measured_ms)
        assert 1.5 * floor.predicted_ms.value == pytest.approx(one.predicted_ms.value)


def test_rounds_of_a_check_that_was_interrupted_do_not_count(
    folder: Path, tmp_path: Path, verified: Verification, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = copied(folder, tmp_path / "here")
    left = [40]

    def run_slowly_and_stop(self: AnalyticRunner, n: int) -> float:
        left[0] -= any(path.stat().st_size for path in here.rglob("*.jsonl"))
        if left[0] <= 0:
            raise KeyboardInterrupt
        return run_slowly(self, n)

    config = profile_config(here, calibrate=CALIBRATED, verify=8)
    with monkeypatch.context() as patched:
        patched.setattr(AnalyticRunner, "run", run_slowly_and_stop)
        with pytest.raises(KeyboardInterrupt):
            verify(config)
    assert list(here.rglob(".partial/*verify*.jsonl"))
    heard = Heard()
    again = verify(config, heard)
    assert (again.networks, again.drift) == (verified.networks, verified.drift)
    assert heard.said == []
    assert not list(here.rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "nope"}, "no search space named 'nope'"),
        ({"device": "npu"}, "no installed runtime can use the device 'npu'"),
        ({"data": "cifar"}, "there is no data set 'cifar'"),
    ],
    ids=["space", "device", "data"],
)
def test_what_does_not_exist_is_refused_before_anything_is_measured(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        verify(profile_config(tmp_path, verify=2, **changes))
    assert contents(tmp_path) == {}


def test_a_table_cut_short_is_refused_and_not_measured_over(folder: Path, tmp_path: Path) -> None:
    here = copied(folder, tmp_path / "here")
    (path,) = here.rglob("*.json")
    path.write_text(path.read_text()[:300])
    before = contents(here)
    with pytest.raises(LatnasError, match="is not valid JSON"):
        verify(profile_config(here, calibrate=CALIBRATED, verify=2))
    assert contents(here) == before


def test_a_space_whose_networks_the_table_all_knows_has_no_fresh_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space_module, "SPACES", {"own": SpaceKind(TwoByTwo, 4, 1, "four networks")})
    with pytest.raises(LatnasError, match=r"space 'own' has no networks that the table .* does not know"):
        verify(profile_config(tmp_path, space="own", calibrate=4, verify=2))


def test_a_profile_does_not_depend_on_whether_it_is_verified_afterwards(tmp_path: Path, folder: Path) -> None:
    made: Profiled = profile(profile_config(tmp_path, calibrate=CALIBRATED, verify=3))
    assert made.table.calibration == load_table(next(folder.rglob("*.json"))).calibration
