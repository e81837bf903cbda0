"""Exported files measured again: what passes, what does not, and which manifests change."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import onnx
import onnxruntime
import pytest
from small import Heard, contents, copied, export_config, front_in, latnas, profile_config, run_in

from latnas.cli.show_verify import advice, show_verified
from latnas.data.sources import load_images
from latnas.errors import TARGET_MISSED, LatnasError, UsageError
from latnas.latency import on_device
from latnas.latency.sustained import Sustained
from latnas.stages.common.runs import RunFolder
from latnas.stages.common.tables import latency_of, space_of
from latnas.stages.export import VerifiedFile, VerifyConfig, export, measuring, stage, verify
from latnas.stages.export.job import Job
from latnas.stages.export.measuring import Bench, Times
from latnas.stages.export.on_device import leave_anchor, leave_script, measured_on
from latnas.stages.export.targets import Target
from latnas.stages.export.verified import faults_of
from latnas.stages.export.writing import status_of
from latnas.stages.profile import profile
from latnas.words.budgets import budget_name, format_ms, parse_ms
from latnas.words.export_set import ANCHOR_FILE, SET, anchor_hash, changed_files, load_set
from latnas.words.manifest import LimitReached, LimitsReached, Manifest, Measured, RawTimes, load_manifest
from latnas.words.reporting import Silent
from latnas.words.table import LatencyTable, load_table
from latnas_profilers.analytic import AnalyticRunner

RUN = AnalyticRunner.run
MODULE = importlib.import_module("latnas.stages.export.verify")


def verify_config(folder: Path, **changes: Any) -> VerifyConfig:
    return VerifyConfig(**{"runs": folder / "runs", "rounds": 4, **changes})


def exports_of(folder: Path) -> Path:
    return run_in(folder) / "exports" / front_in(folder).name


def manifests_of(folder: Path) -> list[Path]:
    """The loosest budget first."""
    return sorted(exports_of(folder).glob("*/manifest.json"), key=lambda path: -load_manifest(path).budget_ms)


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def times_slower(manifest: Manifest, share: float) -> dict[str, float]:
    """What a file would have been measured to take, so that it takes `share` of it now."""
    assert manifest.measured_ms is not None
    return {name: ms / share for name, ms in manifest.measured_ms.model_dump().items()}


@pytest.fixture
def folder(exported_run: Path, tmp_path: Path) -> Path:
    """A run with two exports, which may be damaged."""
    return copied(exported_run, tmp_path / "here")


# What passes and what does not


def test_no_further_round_of_a_look_begins_when_its_time_is_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "MOST_SECONDS", 0.0)
    verify(verify_config(folder, rounds=100))
    lines = (exports_of(folder) / "measurements.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["halves"] == 1.0, "one round has no second half"


def test_files_as_they_were_exported_pass_and_only_the_log_grows(folder: Path) -> None:
    before = contents(folder)
    result = verify(verify_config(folder), heard := Heard())
    assert (result.failed, heard.warned, result.conditions) == ((), [], {})
    assert [file.before.budget_ms for file in result.files] == [
        load_manifest(p).budget_ms for p in manifests_of(folder)
    ]
    for file in result.files:
        assert file.quoted_ms == pytest.approx(file.exported_ms) and not file.settled
        drifts = (file.drift, file.device_drift, file.own_drift)
        assert drifts == pytest.approx((0, 0, 0), abs=1e-9) and file.faults == ()
    after = contents(folder)
    changed = {path for path in after if after[path] != before.get(path)}
    assert {Path(path).name for path in changed} == {"measurements.jsonl"}


def test_a_file_that_was_replaced_does_not_pass_and_is_not_run(folder: Path) -> None:
    loose, tight = (path.parent for path in manifests_of(folder))
    (loose / "model.onnx").write_bytes((tight / "model.onnx").read_bytes() + b"\0")
    result = verify(verify_config(folder))
    assert [file.faults for file in result.files] == [("changed",), ()]
    assert result.files[0].times is None and result.files[0].quoted_ms is None
    assert result.files[1].times is not None
    assert result.failed == (result.files[0],)


def test_a_file_that_is_gone_does_not_pass_and_where_none_is_left_nothing_is_measured(folder: Path) -> None:
    for path in manifests_of(folder):
        (path.parent / "model.onnx").unlink()
    before = contents(folder)
    result = verify(verify_config(folder, sustained="1s"))
    assert [file.faults for file in result.files] == [("missing",)] * 2
    assert contents(folder) == before


@pytest.mark.parametrize("lose", [lambda path: shutil.rmtree(path.parent), Path.unlink], ids=["folder", "manifest"])
def test_an_export_that_the_set_lists_and_that_is_gone_does_not_pass_until_it_is_exported_again(
    folder: Path, lose: Callable[[Path], None], plain_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose, tight = manifests_of(folder)
    budgets = [budget_name(load_manifest(path).budget_ms) for path in (loose, tight)]
    unmeasured(loose)
    lose(tight)
    for _ in range(2):  # the set is written anew where a manifest is completed
        result = verify(verify_config(folder))
        assert [(one.folder, one.faults) for one in result.failed] == [(tight.parent, ("missing",))]
    export(export_config(folder, budgets=(budgets[0],)))
    assert len(verify(verify_config(folder)).failed) == 1, "the export of another budget hides nothing"
    assert len(verify(verify_config(folder, budgets=(budgets[0],))).failed) == 0
    assert len(verify(verify_config(folder, lambdas=(1.0,))).failed) == 1
    monkeypatch.chdir(folder)
    typed = latnas("verify", "--rounds", "4", "--json", "--quiet")
    assert typed.code == TARGET_MISSED and f"{tight.parent.name}: missing" in typed.stderr
    kept, lost = json.loads(typed.stdout)["files"]
    assert kept.keys() == lost.keys() and (lost["budget_ms"], lost["faults"]) == (approx_ms(budgets[1]), ["missing"])
    shown = latnas("verify", "--rounds", "4", "--quiet").stdout
    assert f"{tight.parent.name}/model.onnx" in shown and "analytic, p50: computed, not measured" in shown
    export(export_config(folder, all=True))
    assert verify(verify_config(folder)).failed == ()


def test_where_every_export_is_gone_all_are_missing_and_nothing_is_measured(folder: Path) -> None:
    for path in manifests_of(folder):
        shutil.rmtree(path.parent)
    before = contents(folder)
    assert [one.faults for one in verify(verify_config(folder)).failed] == [("missing",)] * 2
    assert contents(folder) == before


def approx_ms(budget: str) -> Any:
    return pytest.approx(parse_ms(budget), rel=1e-3)


def test_a_budget_below_what_a_file_takes_is_missed_and_one_above_is_not(folder: Path) -> None:
    loose, tight = manifests_of(folder)
    for path, share in ((loose, 0.9), (tight, 1.1)):
        measured = load_manifest(path).measured_ms
        assert measured is not None
        rewrite(path, budget_ms=share * measured.p50)
    assert {file.folder.name: file.faults for file in verify(verify_config(folder)).files} == {
        loose.parent.name: ("over budget",),
        tight.parent.name: (),
    }


def test_a_device_that_is_slower_as_a_whole_drifts_and_the_anchor_says_that_it_is_not_the_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in manifests_of(folder):
        rewrite(path, budget_ms=1e3)
    monkeypatch.setattr(AnalyticRunner, "run", lambda self, n: 1.125 * RUN(self, n))
    for tolerance, faults in ((0.1, ("drifted",)), (0.15, ())):
        for file in verify(verify_config(folder, tolerance=tolerance)).files:
            assert file.faults == faults
            drifts = (file.drift, file.device_drift, file.own_drift)
            assert drifts == pytest.approx((0.125, 0.125, 0), abs=1e-9)


def test_on_a_device_that_is_fast_at_the_moment_files_are_judged_at_the_table_s_speed_as_export_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], plain_environment: None
) -> None:
    """What an export would call missed does not pass because a gate found the device in a good moment."""
    over, within = manifests_of(folder)
    for path, share in ((over, 0.9), (within, 1.1)):
        measured = load_manifest(path).measured_ms
        assert measured is not None
        rewrite(path, budget_ms=share * measured.p50)
    unmeasured(over)
    monkeypatch.setattr(AnalyticRunner, "run", lambda self, n: 0.6 * RUN(self, n))
    first, second = (result := verify(verify_config(folder), heard := Heard())).files
    (warning,) = heard.warned
    assert "takes 0.60 times" in warning and "faster now" in warning, "a fast moment is not told again of each file"
    assert "where the device is faster for good" in advice(result)
    show_verified(result)
    shown = capsys.readouterr().out
    assert all(format_ms(ms) in shown for ms in (first.quoted_ms or 0, first.lasting_ms or 0))
    assert (first.faults, second.faults) == (("over budget",), ())
    assert first.quoted_ms is not None and first.quoted_ms < first.before.budget_ms
    assert first.lasting_ms == pytest.approx(first.before.budget_ms / 0.9)
    settled = load_manifest(over)
    assert (settled.status, settled.within_budget) == ("missed", False)
    assert settled.margin == pytest.approx(1 - 1 / 0.9)


def test_a_file_that_was_exported_in_a_fast_moment_has_not_drifted_when_the_device_is_as_for_the_table(
    folder: Path,
) -> None:
    (loose, _) = manifests_of(folder)
    measured = load_manifest(loose).measured_ms
    assert measured is not None
    rewrite(loose, anchor_drift=0.65, measured_ms={name: 0.65 * ms for name, ms in measured.model_dump().items()})
    file, _ = verify(verify_config(folder)).files
    assert file.faults == () and file.drift == pytest.approx(1 / 0.65 - 1)
    assert (file.device_drift, file.own_drift) == pytest.approx((1 / 0.65 - 1, 0), abs=1e-9)


def test_continuous_load_is_held_against_the_budget_at_the_table_s_speed_too(folder: Path) -> None:
    manifest = load_manifest(manifests_of(folder)[0])
    measured = Measured(floor=1e-3, p50=1e-3, p90=1e-3)
    for drift, faults in ((1.0, ()), (1.5, ()), (0.8, ("over budget under load",))):
        load = Sustained(1000, 1.0, 0.9 * manifest.budget_ms, manifest.budget_ms, None, 1.0, drift)
        times = Times(measured, RawTimes(p50=1e-3, p90=1e-3), 1e-3, 1.8 - drift)
        assert faults_of(manifest, times, 0.1, load) == faults


def test_continuous_load_is_held_against_a_budget_of_floors_as_the_floor_that_it_comes_to(folder: Path) -> None:
    manifest = load_manifest(manifests_of(folder)[0]).model_copy(update={"quote": "floor"})
    times = Times(Measured(floor=1e-3, p50=1.25e-3, p90=2e-3), RawTimes(p50=1e-3, p90=1e-3), 1e-3, 1.0)
    for share, faults in ((1.2, ()), (1.3, ("over budget under load",))):
        load = Sustained(1000, 1.0, share * manifest.budget_ms, 2 * manifest.budget_ms, None, 1.0)
        assert faults_of(manifest, times, 0.1, load) == faults


@pytest.mark.parametrize(("bursts", "loads", "file", "faults"), [(0.7, 1.0, 1.0, ()), (1.0, 0.7, 1.3, ("over",))])
def test_the_speed_of_the_device_under_load_is_that_of_the_anchor_right_before_it_and_not_of_the_bursts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, bursts: float, loads: float, file: float, faults: tuple[str, ...]
) -> None:
    """The device takes `bursts` of what it took for the table, then `loads`, and files by then `file` times as long."""
    measure, sustain = MODULE._measure, MODULE.sustain
    for path in manifests_of(folder):
        rewrite(path, budget_ms=1.1 * (load_manifest(path).measured_ms or Measured(floor=0, p50=0, p90=0)).p50)

    def at(speed: float, then: Any) -> Any:
        def changed(*given: Any) -> Any:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(AnalyticRunner, "run", lambda runner, n: speed * RUN(runner, n))
                return then(*given)

        return changed

    monkeypatch.setattr(MODULE, "_measure", at(bursts, measure))
    monkeypatch.setattr(MODULE, "_sustain", at(loads, MODULE._sustain))
    monkeypatch.setattr(MODULE, "sustain", at(loads * file, sustain))
    for one in verify(verify_config(folder, sustained="50ms", tolerance=0.99)).files:
        assert one.load is not None and one.load.drift == pytest.approx(loads)
        assert [fault[:4] for fault in one.faults] == list(faults)


def test_a_file_that_is_slower_by_itself_is_told_from_a_slow_device(folder: Path) -> None:
    (loose, _) = manifests_of(folder)
    rewrite(loose, budget_ms=1e3, measured_ms=times_slower(load_manifest(loose), 1.5))
    first, second = verify(verify_config(folder)).files
    assert first.faults == ("drifted",) and second.faults == ()
    assert (first.drift, first.device_drift, first.own_drift) == pytest.approx((0.5, 0, 0.5), abs=1e-9)


def test_what_the_anchor_took_at_export_counts_and_not_what_it_took_for_the_table(folder: Path) -> None:
    (loose, _) = manifests_of(folder)
    rewrite(loose, anchor_drift=0.8, measured_ms=times_slower(load_manifest(loose), 1.25))
    file, _ = verify(verify_config(folder, tolerance=0.5)).files
    assert (file.drift, file.device_drift, file.own_drift) == pytest.approx((0.25, 0.25, 0), abs=1e-9)


def test_a_file_that_is_faster_than_at_export_passes_with_a_warning(folder: Path) -> None:
    (loose, _) = manifests_of(folder)
    rewrite(loose, measured_ms=times_slower(load_manifest(loose), 0.75))
    result = verify(verify_config(folder), heard := Heard())
    assert result.failed == ()
    (warning,) = heard.warned
    assert warning.startswith(f"{loose.parent.name} takes 25% less than at export")


def test_a_file_that_takes_more_than_at_export_is_not_said_to_take_less_because_the_device_was_faster_then(
    folder: Path,
) -> None:
    (loose, _) = manifests_of(folder)
    rewrite(loose, anchor_drift=0.8, measured_ms=times_slower(load_manifest(loose), 0.85 / 0.8))
    file, _ = verify(verify_config(folder), heard := Heard()).files
    assert (file.drift, file.lasting_drift) == pytest.approx((0.85 / 0.8 - 1, 0.85 - 1))
    assert file.faults == () and heard.warned == []


@pytest.mark.parametrize(("slow_looks", "passes"), [(1, True), (3, True), (4, False)])
def test_a_device_that_was_busy_is_looked_at_again_up_to_three_times(
    folder: Path, monkeypatch: pytest.MonkeyPatch, slow_looks: int, passes: bool
) -> None:
    looks: list[int] = []

    class BusyAtFirst(Bench):
        def measure(self, workloads: Any, names: Any, what: str) -> dict[str, Times]:
            found = super().measure(workloads, names, what)
            looks.append(len(workloads))
            return found if len(looks) > slow_looks else {key: slower(times, 2) for key, times in found.items()}

    monkeypatch.setattr(MODULE, "Bench", BusyAtFirst)
    result = verify(verify_config(folder))
    assert (result.failed == ()) == passes
    assert looks == [2] * min(slow_looks + 1, 4)


def slower(times: Times, share: float) -> Times:
    measured = type(times.measured)(**{name: share * ms for name, ms in times.measured.model_dump().items()})
    return replace(times, measured=measured, quoted_ms=share * times.quoted_ms)


# Which files


def test_a_budget_and_a_lambda_name_the_same_file_and_everything_else_is_left_alone(folder: Path) -> None:
    loose, tight = manifests_of(folder)
    tight.write_text(tight.read_text().replace(load_manifest(tight).sha256, "0" * 64))
    budget = budget_name(load_manifest(loose).budget_ms)
    for named in ({"budgets": (budget,)}, {"lambdas": (0.0,)}, {"lambdas": (0.0,), "budgets": (budget,)}):
        (file,) = verify(verify_config(folder, **named), heard := Heard()).files
        assert heard.bars == ["measuring 1 network"]
        assert file.folder == loose.parent and file.faults == ()
    assert len(verify(verify_config(folder, lambdas=(0.0, 1.0))).failed) == 1


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            {"budgets": ("7ms",)},
            r"nothing was exported for 7ms; exported are .* Nor can it be: .* 7ms is outside this run's range of .* "
            r"Or search another range: latnas search --from \S+ --budget-range FASTEST:SLOWEST$",
        ),
        ({"lambdas": (0.5,)}, r"nothing was exported for (\S+); exported are .* Export it: latnas export --budget \1"),
        ({"lambdas": (1.5,)}, r"lambda 1\.5 is outside"),
        ({"budgets": ("7",)}, r"has no unit"),
        ({"sustained": "60"}, r"the duration '60' has no unit\. Write 60s \(or ms, us\)"),
        ({"sustained": "long"}, r"'long' is not a duration\. Write a number and its unit, such as 60s"),
        ({"run": "nope"}, r"there is no run 'nope'"),
        ({"table": "nope"}, r"no finished front for table 'nope'"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_is_measured(
    folder: Path, named: dict[str, Any], message: str
) -> None:
    before = contents(folder)
    with pytest.raises(UsageError, match=message):
        verify(verify_config(folder, **named))
    assert contents(folder) == before


def test_a_run_of_which_nothing_was_exported_says_so(small_run: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing of .* was exported yet .*Export: latnas export --all"):
        verify(verify_config(small_run))


def test_of_several_fronts_one_has_to_be_named(folder: Path) -> None:
    first = front_in(folder)
    copied(first, first.with_name("another"))
    with pytest.raises(UsageError, match=rf"name one: --table {first.name} \| --table another"):
        verify(verify_config(folder))
    assert verify(verify_config(folder, table=first.name)).front == first.name


def test_a_damaged_manifest_is_named(folder: Path) -> None:
    path = manifests_of(folder)[0]
    path.write_text(path.read_text()[:100])
    with pytest.raises(LatnasError, match=r"manifest\.json is not valid JSON"):
        verify(verify_config(folder))


def test_what_to_do_is_to_measure_again_only_where_something_was_measured(folder: Path) -> None:
    loose, tight = manifests_of(folder)
    (loose.parent / "model.onnx").unlink()
    assert advice(verify(verify_config(folder))) == (
        "The command that exported a missing or changed file makes it again."
    )
    rewrite(tight, budget_ms=1e-9)
    both = advice(verify(verify_config(folder)))
    assert both.startswith("The command that exported a missing or changed file makes it again. Measure again in quiet")
    again = advice(verify(verify_config(folder, budgets=(budget_name(1e-9),))))
    assert again.startswith(f"Measure again in quiet: latnas verify {run_in(folder)}; where the device is slower")


# A device that is not here, or not as it was


def change_environment(folder: Path, **conditions: str) -> None:
    path = front_in(folder) / "table.json"
    table = json.loads(path.read_text())
    rewrite(path, environment={**table["environment"], **conditions})


def test_where_the_device_of_the_table_is_not_here_it_says_what_to_type_there(folder: Path) -> None:
    change_environment(folder, cpu="another processor", runtime_version="0.9")
    before = contents(folder)
    with pytest.raises(LatnasError) as caught:
        verify(verify_config(folder))
    message = str(caught.value)
    assert caught.value.code == 1
    assert "is not here (cpu was 'another processor' and is None)" in message
    assert f"latnas verify {run_in(folder)}" in message and str(exports_of(folder)) in message
    assert message.endswith("python measure.py") and contents(folder) == before


def test_a_runtime_that_is_not_installed_here_is_a_device_that_is_not_here(folder: Path) -> None:
    rewrite(front_in(folder) / "table.json", runtime="tflite")
    with pytest.raises(LatnasError, match=r"is not here \(no profiler is installed for the runtime 'tflite'") as caught:
        verify(verify_config(folder))
    assert caught.value.code == 1


def test_after_an_update_files_are_held_against_their_budgets_and_manifests_stay(folder: Path) -> None:
    change_environment(folder, runtime_version="0.9")
    path = unmeasured(manifests_of(folder)[0])
    before = contents(folder)
    result = verify(verify_config(folder), heard := Heard())
    assert result.conditions == {"runtime_version": "was '0.9' and is '1'"} and result.failed == ()
    (measured_here,) = (folder / "latency_tables").glob("*.json")
    assert result.new_table == Path("latency_tables") / measured_here.name, "after the update, not after the table"
    assert any(
        "measured under other conditions (runtime_version was '0.9' and is '1')" in line for line in heard.warned
    )
    assert contents(folder)[str(path.relative_to(folder))] == before[str(path.relative_to(folder))]
    rewrite(path, budget_ms=1e-9)
    assert verify(verify_config(folder)).files[1].faults == ("over budget",)


# Manifests that are completed


def unmeasured(path: Path, **changes: Any) -> Path:
    """Makes a manifest one of an export where the device was not present."""
    nothing = {"measured_ms": None, "raw_ms": None, "within_budget": None, "margin": None, "anchor_drift": None}
    rewrite(path, status="unverified", **nothing, **changes)
    return path


def test_a_file_that_was_not_measured_at_export_gets_its_measurement_and_others_keep_theirs(folder: Path) -> None:
    loose, tight = manifests_of(folder)
    before = {path: load_manifest(path) for path in (loose, tight)}
    unmeasured(loose)
    result = verify(verify_config(folder), heard := Heard())
    first, second = result.files
    assert first.settled and first.drift is None and not second.settled
    assert load_manifest(loose) == first.after
    assert first.after.measured_ms is not None and before[loose].measured_ms is not None
    assert first.after.measured_ms.model_dump() == pytest.approx(before[loose].measured_ms.model_dump())
    assert first.after.within_budget is True and first.after.anchor_drift == pytest.approx(1)
    times = {"measured_ms", "raw_ms", "margin", "anchor_drift"}
    assert first.after.model_dump(exclude=times) == before[loose].model_dump(exclude=times)
    assert first.after.margin == pytest.approx(before[loose].margin)
    assert load_manifest(tight) == before[tight]
    assert f"{loose.parent.name}: its manifest said unverified; it was computed and says unverified" in heard.said
    assert not any(file.settled for file in verify(verify_config(folder)).files), "once"
    listed = load_set(loose.parents[1] / SET)
    assert changed_files(loose.parents[1], listed.networks) == [] and listed.networks[0].measured_ms is not None


def test_a_set_that_was_not_written_after_a_manifest_was_completed_is_written_by_the_next_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    exports, (loose, _) = exports_of(folder), manifests_of(folder)
    unmeasured(loose)
    export(export_config(folder, lambdas=(1.0,)))  # which lists the manifest as it is now
    with monkeypatch.context() as patched:
        patched.setattr(MODULE, "write_set", stopped)
        with pytest.raises(KeyboardInterrupt):
            verify(verify_config(folder))
    assert load_set(exports / SET).networks[0].measured_ms is None
    assert not any(file.settled for file in verify(verify_config(folder)).files)
    assert load_set(exports / SET).networks[0].measured_ms is not None


def test_what_was_damaged_beside_a_file_does_not_become_the_exported_one_when_its_manifest_is_completed(
    folder: Path,
) -> None:
    exports = exports_of(folder)
    path = manifests_of(folder)[0]
    unmeasured(path)
    export(export_config(folder, lambdas=(1.0,)))  # which lists the manifest as it is now
    (path.parent / "weights.safetensors").write_bytes(b"broken")
    (path.parent / "model.py").unlink()
    before = path.read_bytes()
    assert verify(verify_config(folder)).files[0].settled and path.read_bytes() != before
    changed = changed_files(exports, load_set(exports / SET).networks)
    assert sorted(changed) == [f"{path.parent.name}/{name}" for name in ("model.py", "weights.safetensors")]


def test_what_an_export_wrote_while_the_run_was_waited_for_is_what_is_verified(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose = manifests_of(folder)[0]
    measured = loose.read_bytes()
    unmeasured(loose)
    real = RunFolder.lock

    @contextmanager
    def lock(run: RunFolder, otherwise: str = "") -> Iterator[None]:
        loose.write_bytes(measured)
        with real(run, otherwise):
            yield

    monkeypatch.setattr(RunFolder, "lock", lock)
    assert not any(file.settled for file in verify(verify_config(folder)).files)
    assert loose.read_bytes() == measured


def test_a_run_that_cannot_be_written_to_is_measured_all_the_same_and_left_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root every permission is granted, so the system is made to say otherwise."""
    loose, tight = manifests_of(folder)
    unmeasured(loose)
    rewrite(tight, budget_ms=1e-9)
    (run_in(folder) / ".lock").unlink(missing_ok=True)
    before = contents(folder)
    exports = exports_of(folder)
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK and exports.is_relative_to(path)))
    result = verify(verify_config(folder), heard := Heard())
    assert contents(folder) == before and not (run_in(folder) / ".lock").exists()
    assert heard.warned == [
        f"{run_in(folder)} cannot be written to: files are measured without lock and log, and no manifest is changed"
    ]
    first, second = result.files
    assert first.times is not None and not first.settled
    assert (first.faults, second.faults) == ((), ("over budget",))


def test_a_file_that_was_not_measured_at_export_and_is_over_its_budget_is_called_missed(folder: Path) -> None:
    loose = unmeasured(manifests_of(folder)[0], budget_ms=1e-3)
    (file,) = verify(verify_config(folder, budgets=("0.001ms",))).failed
    assert file.faults == ("over budget",)
    manifest = load_manifest(loose)
    assert (manifest.status, manifest.within_budget) == ("missed", False)


def test_a_file_that_was_measured_at_export_is_not_called_missed_by_a_gate(folder: Path) -> None:
    loose = manifests_of(folder)[0]
    rewrite(loose, budget_ms=1e-3)
    before = loose.read_bytes()
    assert verify(verify_config(folder)).failed
    assert loose.read_bytes() == before


@pytest.mark.parametrize(
    ("measures", "expected"), [("onnx", "verified"), ("torch", "verified-in-pytorch"), ("none", "unverified")]
)
def test_a_status_says_what_was_measured(small_table: Path, measures: Any, expected: str) -> None:
    (path,) = small_table.glob("latency_tables/*.json")
    table = load_table(path).model_copy(update={"measures": measures})
    nothing = LimitReached(most=None, reached=9)
    within = LimitsReached(params=nothing, macs=nothing, file_bytes=nothing, memory_bytes=nothing)
    beyond = within.model_copy(update={"params": LimitReached(most=8, reached=9)})
    assert status_of(table, 1.0, within, 0.9) == status_of(table, 1.0, None, 1.0) == expected
    assert status_of(table, 1.0, within, 1.1) == "missed"
    assert status_of(table, 1.0, within, None) == "unverified"
    assert status_of(table, 1.0, beyond, None) == status_of(table, 1.0, beyond, 0.9) == "missed"


# Continuous load


def test_continuous_load_is_reported_for_each_file(folder: Path) -> None:
    for file in verify(verify_config(folder, sustained="50ms")).files:
        assert file.load is not None and file.exported_ms is not None and file.before.measured_ms is not None
        floor_ms = file.before.measured_ms.floor
        assert file.load.calls == pytest.approx(50 / floor_ms, abs=1)
        assert (file.load.p50_ms, file.load.throttling) == pytest.approx((floor_ms, 1.0))
        assert file.faults == ()


def test_a_device_that_throttles_under_load_is_over_its_budget_although_bursts_were_within(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sustain = MODULE.sustain

    def throttled(runner: Any, seconds: float, progress: Any) -> Any:
        monkeypatch.setattr(AnalyticRunner, "run", get_slower({}))
        try:
            return sustain(runner, seconds, progress)
        finally:
            monkeypatch.setattr(AnalyticRunner, "run", RUN)

    monkeypatch.setattr(MODULE, "sustain", throttled)
    result = verify(verify_config(folder, sustained="100ms"), heard := Heard())
    assert [file.faults for file in result.files] == [("over budget under load",)] * 2
    assert len([line for line in heard.warned if "the device throttles" in line]) == 2


def get_slower(calls: dict[int, int]) -> Any:
    def run(self: AnalyticRunner, n: int) -> float:
        calls[id(self)] = calls.get(id(self), 0) + 1
        return RUN(self, n) * (4 if calls[id(self)] > 50 else 1)

    return run


def test_a_device_that_fails_under_load_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(*_: object) -> None:
        raise MODULE.MeasurementError("after 7 calls: RuntimeError: the device was unplugged")

    monkeypatch.setattr(MODULE, "sustain", vanish)
    with pytest.raises(
        LatnasError, match="under continuous load: after 7 calls: RuntimeError: the device was unplugged"
    ):
        verify(verify_config(folder, sustained="1s"))


# With ONNX Runtime, on the files themselves


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> LatencyTable:
    """Of the same space, measured here."""
    folder = tmp_path_factory.mktemp("measured")
    return profile(profile_config(folder, device="cpu", operations=False, max_seconds=1.0)).table


@pytest.fixture
def real(folder: Path, table: LatencyTable, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run as if it had been searched with that table, and exported where its device was not present."""
    monkeypatch.setattr("latnas.latency.looks.BURSTS", 4)  # budgets far from what files take need no exact floors
    table.save(front_in(folder) / "table.json")
    how = {"runtime": table.runtime, "measured_artifact": "onnx", "device": measured_on(table).model_dump()}
    for path, budget_ms in zip(manifests_of(folder), (1e4, 1e-5), strict=True):
        unmeasured(path, budget_ms=budget_ms, **how)
    return folder


def test_on_its_device_an_unverified_file_becomes_verified_or_missed(real: Path) -> None:
    first, second = verify(verify_config(real)).files
    assert (first.faults, second.faults) == ((), ("over budget",))
    assert [load_manifest(path).status for path in manifests_of(real)] == ["verified", "missed"]
    for file in (first, second):
        assert file.after.measured_ms is not None and file.after.raw_ms is not None
        assert file.quoted_ms == file.after.measured_ms.p50 > file.after.measured_ms.floor * 0.99
    assert verify(verify_config(real, tolerance=0.99, sustained="20ms")).files[0].faults == ()


def test_an_export_leaves_a_script_beside_each_file_and_the_anchor_once(
    real: Path, table: LatencyTable, capsys: pytest.CaptureFixture[str]
) -> None:
    space = space_of(table)
    job = Job(
        export_config(real, all=True), RunFolder(run_in(real)), exports_of(real), space, latency_of(table, space),
        load_images("digits"), Silent(),
    )  # fmt: skip
    loose = manifests_of(real)[0].parent
    leave_script(loose)
    leave_anchor(job)
    anchor = (exports_of(real) / ANCHOR_FILE).read_bytes()
    assert onnxruntime.InferenceSession(anchor, providers=["CPUExecutionProvider"]).get_inputs()[0].shape[0] == 1
    assert on_device.main(loose, ["--rounds", "4", "--json"]) == 0
    value: Mapping[str, Any] = json.loads(capsys.readouterr().out)
    assert value["drift"] > 0 and value["remarks"] == []
    assert value["quoted_ms"] == pytest.approx(value["floor_ms"] * table.factor)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"no model")])
def test_an_anchor_that_was_lost_or_damaged_is_told_of_and_made_again_by_the_same_command(
    real: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
) -> None:
    """Also where all files are verified already, so that nothing else is to be done."""

    def all_of_them(job: Job, targets: Sequence[Target], listed: object) -> dict[str, Manifest]:
        return {target.folder: load_manifest(job.exports / target.folder / "manifest.json") for target in targets}

    def warned(heard: Heard) -> bool:
        return any(f"{ANCHOR_FILE} " in text for text in heard.warned)

    monkeypatch.setattr(stage, "kept", all_of_them)
    again, exports = export_config(real, all=True), exports_of(real)
    export(again, heard := Heard())
    whole, listed = (exports / ANCHOR_FILE).read_bytes(), load_set(exports / SET).anchor
    assert listed == anchor_hash(exports) and not warned(heard)
    named = {entry.key: entry.value for entry in onnx.load_from_string(whole).metadata_props}["latnas.anchor"]
    assert {load_manifest(path).device.anchor for path in manifests_of(real)} == {named}, "measure.py compares them"
    verify(verify_config(real), heard := Heard())
    assert not warned(heard)
    for path in manifests_of(real):
        unmeasured(path)
    damage(exports / ANCHOR_FILE)
    files = verify(verify_config(real), heard := Heard()).files
    assert any(file.settled for file in files) and warned(heard)
    assert load_set(exports / SET).anchor == listed, "what was damaged does not become the exported one"
    export(again, heard := Heard())
    assert warned(heard) and (exports / ANCHOR_FILE).read_bytes() == whole
    before = contents(exports)
    export(again, heard := Heard())
    assert not warned(heard) and contents(exports) == before


def test_an_analytic_export_has_a_script_that_says_that_its_budget_is_none_of_this_device_s(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = manifests_of(folder)[0]
    assert not list(exports_of(folder).rglob(ANCHOR_FILE))
    assert (path.parent / "measure.py").read_text().startswith("#!/usr/bin/env python3\n")
    rewrite(path, budget_ms=1e4)
    assert on_device.main(path.parent, ["--rounds", "4"]) == 1
    assert "\nnot checked: the budget was set for the runtime analytic" in capsys.readouterr().out


def test_a_drift_is_none_where_there_is_nothing_to_compare_with(folder: Path) -> None:
    manifest = load_manifest(manifests_of(folder)[0])
    lost = VerifiedFile(folder, manifest, manifest, None, None, ("missing",))
    assert (lost.quoted_ms, lost.drift, lost.device_drift, lost.own_drift) == (None, None, None, None)
