"""`latnas verify`: are the exported files still what their manifests say, here and now?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote

from pydantic import Field

from latnas.errors import LatnasError, UsageError
from latnas.latency.measure import MeasurementError
from latnas.latency.profiler import Profiler, prepare
from latnas.latency.sustained import Sustained, sustain
from latnas.latency.workload import Workload
from latnas.spaces.space import Space
from latnas.stages.common.reach import check_in_range
from latnas.stages.common.runs import FRONT, TABLE, RunFolder, choose_front, open_run, which_front, which_run
from latnas.stages.common.tables import listed, new_table, open_profiler, presence, profile_again, space_of
from latnas.stages.export.config import WhichExports
from latnas.stages.export.form import Form
from latnas.stages.export.last_word import look_again
from latnas.stages.export.lessons import HEADROOM
from latnas.stages.export.measuring import Bench, Times, is_computed
from latnas.stages.export.on_device import measured_on
from latnas.stages.export.stage import MEASUREMENTS
from latnas.stages.export.verified import Lost, LostExport, VerifiedFile, VerifiedRun, faults_of, lasting_ms
from latnas.stages.export.whole_set import write_set
from latnas.stages.export.writing import ExportedFile, status_of
from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange, above_ms, budget_name, parse_ms
from latnas.words.export_set import (
    ANCHOR_FILE,
    anchor_hash,
    earlier_networks,
    listed_anchor,
    lost_networks,
    still_listed,
)
from latnas.words.files import read_bytes
from latnas.words.front import Front, load_front
from latnas.words.manifest import Manifest, load_manifest
from latnas.words.reporting import Reporter, Silent
from latnas.words.table import LatencyTable, load_table

VERIFIED = "verified file"
"""What the log calls a file that was measured again; later exports do not learn from it."""


class VerifyConfig(WhichExports):
    """Which exported files to measure, and how much longer than at export they may take."""

    # The same files took 5.6 percent longer and 3.6 percent less within minutes, on a machine that did nothing else.
    tolerance: float = Field(0.1, gt=0, lt=1, allow_inf_nan=False)
    rounds: int = Field(60, ge=4, le=100_000)
    sustained: str | None = None

    @property
    def sustained_seconds(self) -> float | None:
        """`sustained` in seconds."""
        return None if self.sustained is None else parse_ms(self.sustained, "duration", "60s") / 1e3


def verify(config: VerifyConfig, report: Reporter | None = None) -> VerifiedRun:
    """Measures exported files on the device of their table, beside its anchor, as export does.

    What seems over its budget, or slower than at export by more than the tolerance, is measured again a few times.
    Manifests of files that could not be measured at export are completed, where nothing differs from the conditions of
    the table; others stay as they are. Where a run cannot be written to, such as an archive, all do.

    Raises:
        UsageError: no such run, or no such export.
        LatnasError: the device of the table is not here, or a file other than an ONNX file is broken.
    """
    report = report or Silent()
    seconds = config.sustained_seconds
    run = open_run(config.run, config.runs)
    name = choose_front(run, config.table)
    table = load_table(run.front(name) / TABLE)
    exports = run.exports(name)
    log = exports / MEASUREMENTS if _can_write(run.path, exports) else None
    with nullcontext() if log is None else run.lock():
        chosen, lost = _chosen(config, run, name, load_front(run.front(name) / FRONT))
        conditions = _conditions(table, run, name)
        if conditions:
            report.warn(
                f"the table {table.name} was measured under other conditions ({listed(conditions)}): files are held "
                "against their budgets all the same, and no manifest is changed"
            )
        if log is None:
            report.warn(
                f"{run.path} cannot be written to: files are measured without lock and log, and no manifest is changed"
            )
        contents = {file.folder: _content(file) for file in chosen}
        profiler, space = open_profiler(table), space_of(table)
        again = profile_again(table, str(run.read_config()["data"]))
        bench = Bench(table, profiler, space, log, config.rounds, again, report)
        workloads = {
            file.manifest.sha256: _workload(file, content, bench, space)
            for file in chosen
            if isinstance(content := contents[file.folder], bytes)
        }
        times = _measure(bench, workloads, chosen, config.tolerance)
        loads = {} if seconds is None else _sustain(bench, profiler, workloads, seconds, report)
        as_listed = still_listed(exports)
        files = []
        for file in chosen:
            content, key = contents[file.folder], file.manifest.sha256
            if not isinstance(content, bytes):
                files.append(VerifiedFile(file.folder, file.manifest, file.manifest, None, None, (content,)))
                continue
            after = file.manifest if conditions or log is None else _settled(file, times[key], table)
            faults = faults_of(file.manifest, times[key], config.tolerance, loads.get(key))
            files.append(VerifiedFile(file.folder, file.manifest, after, times[key], loads.get(key), faults))
        anchor = listed_anchor(exports)
        if anchor is not None and anchor_hash(exports) != anchor:
            report.warn(
                f"{exports / ANCHOR_FILE} is lost or damaged: without it measure.py does not tell a fast moment of the "
                "device from a file within its budget. The command that exported the files makes it again"
            )
        # A command that was stopped after a manifest was completed has left the set to this one.
        unmeasured = {one.folder for one in earlier_networks(exports) if one.measured_ms is None}
        behind = any(file.folder.name in unmeasured and file.before.measured_ms is not None for file in files)
        if any(file.after != file.before for file in files) or (behind and log is not None):
            write_set(exports, table, anchor, as_listed)
    _warn(files, config.tolerance, "computed" if is_computed(table) else "measured", report)
    return VerifiedRun(
        run.path, name, table, config.tolerance, conditions, tuple(files), tuple(lost), again,
        new_table(table, profiler),
    )  # fmt: skip


def _can_write(*folders: Path) -> bool:
    return all(os.access(folder, os.W_OK) for folder in folders)


def _chosen(
    config: VerifyConfig, run: RunFolder, name: str, front: Front
) -> tuple[list[ExportedFile], list[LostExport]]:
    """The exports that are named, all where none is, the loosest budget first, and those of them that are gone.

    Raises:
        UsageError: nothing was exported, or not what is named.
    """
    exports = run.exports(name)
    files = [ExportedFile(path.parent, load_manifest(path)) for path in sorted(exports.glob("*/manifest.json"))]
    files.sort(key=lambda file: -file.manifest.budget_ms)
    lost = [LostExport(exports / one.folder, one) for one in lost_networks(exports)]
    if not files and not lost:
        which = which_run(run) + which_front(run, name)
        raise UsageError(f"nothing of {run.path} was exported yet for {name}. Export: latnas export --all{which}")
    wanted_ms = [*map(front.budget_range.budget_ms, config.lambdas), *config.budgets_ms]
    wanted = {budget_name(ms): ms for ms in wanted_ms}
    exported_ms = [file.manifest.budget_ms for file in files] + [one.listed.budget_ms for one in lost]
    exported = dict.fromkeys(map(budget_name, sorted(exported_ms, reverse=True)))
    for one, ms in wanted.items():
        if one not in exported:
            raise UsageError(
                f"nothing was exported for {one}; exported are {', '.join(exported)}. "
                f"{_how_to_export(ms, front.budget_range, run, name)}"
            )
    names = wanted or exported
    return (
        [file for file in files if budget_name(file.manifest.budget_ms) in names],
        [one for one in lost if budget_name(one.listed.budget_ms) in names],
    )


def _how_to_export(budget_ms: float, budgets: BudgetRange, run: RunFolder, name: str) -> str:
    """The command for a budget; outside the range of the run, why there is none."""
    try:
        check_in_range(budget_ms, budgets, run, name)
    except UsageError as error:
        return f"Nor can it be: {error}"
    return f"Export it: latnas export --budget {budget_name(budget_ms)}{which_run(run)}{which_front(run, name)}"


def _conditions(table: LatencyTable, run: RunFolder, name: str) -> dict[str, str]:
    """What differs here from the conditions of the table, if that is software alone.

    Raises:
        LatnasError: the device of the table is not here.
    """
    elsewhere, differing = presence(table)
    if elsewhere is not None:
        command = f"latnas verify {quote(str(run.path))}{which_front(run, name)}"
        raise LatnasError(
            f"the device of table {table.name} is not here ({elsewhere}). Type on that device: {command}; or copy "
            f"{run.exports(name)} to it and type in the folder of a file: python measure.py"
        )
    return differing


def _content(file: ExportedFile) -> bytes | Lost:
    """The ONNX file, read once, or why it is not the exported one."""
    if not file.onnx.exists():
        return "missing"
    content = read_bytes(file.onnx)
    return content if hashlib.sha256(content).hexdigest() == file.manifest.sha256 else "changed"


def _workload(file: ExportedFile, content: bytes, bench: Bench, space: Space) -> Workload:
    """The file; where the runtime takes no files, the module in its place.

    Raises:
        LatnasError: the manifest names no network of the space.
    """
    form, batch = Form.of(file.manifest), len(bench.example)
    if bench.takes_files:
        return Workload.from_file(content, form.example(space, batch))
    try:
        network = bench.network(_architecture(file))
    except LatnasError as error:
        raise LatnasError(
            f"{file.folder / 'manifest.json'} names no network of space {space.name!r}: {error} "
            f"Export again: latnas export --budget {budget_name(file.manifest.budget_ms)}"
        ) from error
    return form.finalist(network, space, batch, takes_files=False)


def _measure(
    bench: Bench, workloads: Mapping[str, Workload], files: Sequence[ExportedFile], tolerance: float
) -> dict[str, Times]:
    """Times by the digest of the file: the fastest of a few looks, where one look would not pass."""
    if not workloads:
        return {}
    manifests: dict[str, list[Manifest]] = {key: [] for key in workloads}
    for file in files:
        manifests.get(file.manifest.sha256, []).append(file.manifest)

    def fails(key: str, times: Times) -> bool:
        return any(faults_of(manifest, times, tolerance) for manifest in manifests[key])

    names = {file.manifest.sha256: _architecture(file) for file in files}
    return look_again(bench, workloads, names, VERIFIED, fails)


def _sustain(
    bench: Bench, profiler: Profiler, workloads: Mapping[str, Workload], seconds: float, report: Reporter
) -> dict[str, Sustained]:
    """Continuous load of each file by its digest, one after the other, the anchor right before each.

    Raises:
        LatnasError: a call failed.
    """
    loads = {}
    for number, (key, workload) in enumerate(workloads.items(), start=1):
        runner = prepare(profiler, workload, "a file cannot be run without a rest")
        with report.bar(f"continuous load, {number} of {len(workloads)}") as bar:
            try:
                drift = bench.drift_now()
                loads[key] = replace(sustain(runner, seconds, partial(bar.update, note="s")), drift=drift)
            except MeasurementError as error:
                raise LatnasError(f"under continuous load: {error}. Type the same command to try again.") from error
    return loads


def _settled(file: ExportedFile, times: Times, table: LatencyTable) -> Manifest:
    """The manifest with what could not be measured at export; as it is, where that could be."""
    manifest = file.manifest
    if manifest.measured_ms is not None:
        return manifest
    now_ms = lasting_ms(manifest, times)
    too_slow = now_ms > manifest.budget_ms
    completed = manifest.model_copy(
        update={
            "measured_ms": times.measured,
            "raw_ms": times.raw,
            "within_budget": not too_slow,
            "status": status_of(table, manifest.budget_ms, manifest.limits, now_ms),
            "nearest_ms": above_ms(HEADROOM * now_ms) if too_slow else None,
            "margin": 1 - now_ms / manifest.budget_ms,
            "anchor_drift": times.drift,
            "device": measured_on(table),
        }
    )
    completed.save(file.folder / "manifest.json")
    return completed


def _architecture(file: ExportedFile) -> Architecture:
    return Architecture.from_json(file.manifest.architecture)


def _warn(files: Sequence[VerifiedFile], tolerance: float, how: str, report: Reporter) -> None:
    """What is no fault and should be known; `how` says whether times are measured."""
    for file in files:
        name = file.folder.name
        for text in [] if file.load is None else file.load.warnings():
            report.warn(f"{name}: {text}")
        if file.drift is not None and max(file.drift, file.lasting_drift or 0.0) < -tolerance:
            report.warn(f"{name} takes {-file.drift:.0%} less than at export: the device is not what it was")
        if file.settled:
            report.say(f"{name}: its manifest said {file.before.status}; it was {how} and says {file.after.status}")
