"""Exported files that were measured again, as a table and as JSON."""

from __future__ import annotations

import shlex
from typing import Any

from latnas.cli.console import print_table
from latnas.cli.show import KINDS, LASTING, optional_ms
from latnas.stages.common.runs import RunFolder, which_front
from latnas.stages.export import LostExport, VerifiedFile, VerifiedRun
from latnas.stages.export.measuring import is_computed
from latnas.words.budgets import format_ms

COLUMNS = [
    "chosen by", "budget", "at export", "now", "lasting", "drift", "of the device", "its own", "status", "manifest",
    "file",
]  # fmt: skip


def verified_json(result: VerifiedRun) -> dict[str, Any]:
    table = result.table
    return {
        "run": str(result.run), "front": result.front, "table": table.name, "device": table.device,
        "runtime": table.runtime, "tolerance": result.tolerance, "other_conditions": dict(result.conditions),
        "passed": not result.failed,
        "files": [*map(_file_json, result.files), *(_lost_json(lost, table.quote) for lost in result.lost)],
    }  # fmt: skip


def show_verified(result: VerifiedRun) -> None:
    """Budget, measured at export and now, what of that lasts and is judged, what drifted, and what passes."""
    table = result.table
    rows = [*map(_row, result.files), *map(_lost_row, result.lost)]
    computed = ": computed, not measured" if is_computed(table) else ""
    title = f"{len(rows)} exported files on {table.device} with {table.runtime}, {table.quote}{computed}"
    print_table(title, COLUMNS, rows, left=1)
    if any(optional_ms(file.quoted_ms) != optional_ms(file.lasting_ms) for file in result.files):
        print(LASTING)
    loads = [file for file in result.files if file.load is not None]
    if loads:
        columns = ["file", "calls", "p50", "p90", "p99", "last fifth over first"]
        print_table("under continuous load", columns, [_load_row(file) for file in loads])


def _file_json(file: VerifiedFile) -> dict[str, Any]:
    times = file.times
    return {
        "folder": str(file.folder), "kind": file.before.kind, "lambda": file.before.lam,
        "budget_ms": file.before.budget_ms, "quote": file.before.quote, "exported_ms": file.exported_ms,
        "quoted_ms": file.quoted_ms, "lasting_ms": file.lasting_ms,
        "measured_ms": None if times is None else times.measured.model_dump(),
        "raw_ms": None if times is None else times.raw.model_dump(), "drift": file.drift,
        "device_drift": file.device_drift, "own_drift": file.own_drift,
        "sha256_matches": not {"missing", "changed"} & {*file.faults},
        "faults": list(file.faults), "status_before": file.before.status, "status": file.after.status,
        "sustained": None if file.load is None else file.load.to_json(),
    }  # fmt: skip


def _lost_json(lost: LostExport, quote: str) -> dict[str, Any]:
    """The same of a folder without a manifest, as far as the set says it."""
    listed = lost.listed
    return {
        "folder": str(lost.folder), "kind": listed.kind, "lambda": None, "budget_ms": listed.budget_ms, "quote": quote,
        "exported_ms": listed.measured_ms, "quoted_ms": None, "lasting_ms": None, "measured_ms": None, "raw_ms": None,
        "drift": None, "device_drift": None, "own_drift": None, "sha256_matches": False, "faults": list(lost.faults),
        "status_before": listed.status, "status": listed.status, "sustained": None,
    }  # fmt: skip


def _row(file: VerifiedFile) -> list[str]:
    before, after = file.before.status, file.after.status
    return [
        KINDS[file.before.kind],
        format_ms(file.before.budget_ms),
        optional_ms(file.exported_ms),
        optional_ms(file.quoted_ms),
        optional_ms(file.lasting_ms),
        _percent(file.drift),
        _percent(file.device_drift),
        _percent(file.own_drift),
        ", ".join(file.faults) or "within budget",
        before if before == after else f"{before}, now {after}",
        f"{file.folder.name}/model.onnx",
    ]


def _lost_row(lost: LostExport) -> list[str]:
    listed = lost.listed
    return [
        KINDS[listed.kind],
        format_ms(listed.budget_ms),
        optional_ms(listed.measured_ms),
        *("-" for _ in ("now", "lasting", "drift", "of the device", "its own")),
        ", ".join(lost.faults),
        listed.status,
        f"{lost.folder.name}/model.onnx",
    ]


def _load_row(file: VerifiedFile) -> list[str]:
    load = file.load
    assert load is not None
    return [
        f"{file.folder.name}/model.onnx",
        f"{load.calls:,} in {load.seconds:.0f} s",
        format_ms(load.p50_ms),
        format_ms(load.p90_ms),
        optional_ms(load.p99_ms),
        f"{load.throttling:.3f}",
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:+.1%}"


def advice(result: VerifiedRun) -> str:
    """What to do about files that are not what their manifests say."""
    run, faults = shlex.quote(str(result.run)), {fault for file in result.failed for fault in file.faults}
    parts = []
    if faults & {"missing", "changed"}:
        parts.append("The command that exported a missing or changed file makes it again.")
    if faults - {"missing", "changed"}:
        named = which_front(RunFolder(result.run), result.front)
        search = f"latnas search --from {run} --table {shlex.quote(str(result.new_table))}"
        faster = all(file.times.is_device_faster for file in result.files if file.faults and file.times is not None)
        when, speed = ("when the device is not as fast", "faster") if faster else ("in quiet", "slower")
        parts.append(
            f"Measure again {when}: latnas verify {run}{named}; where the device is {speed} for good, measure it anew "
            f"and search by that table: {result.again}, then {search}"
        )
    return " ".join(parts)
