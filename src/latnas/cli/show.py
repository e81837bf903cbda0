"""Results as tables and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from latnas.cli.console import print_table
from latnas.latency.profiler import PluginReport
from latnas.latency.runtimes import SettingStatus
from latnas.stages.common.runs import RunFolder, which_front, which_run
from latnas.stages.export import ExportedFile
from latnas.stages.export.model_card import spread
from latnas.stages.search import Searched
from latnas.words.architecture import Decision
from latnas.words.budgets import format_ms
from latnas.words.estimate import Estimate
from latnas.words.export_set import SCRIPT
from latnas.words.manifest import ReachedAccuracy
from latnas.words.sites import SpaceTrace

KINDS = {"search": "search", "random": "random", "most-macs": "most multiply-adds"}
LASTING = "lasting: at the speed that the device had for its table, where it is faster now; budgets go by it"


def print_json(value: Any) -> None:
    """One object, on stdout."""
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def searched_json(result: Searched) -> dict[str, Any]:
    front = result.front
    return {
        "run": str(result.run), "front": str(result.front_path), "table": front.table, "scored": len(front.networks),
        "fastest_ms": front.fastest_ms, "slowest_ms": front.slowest_ms, "features_help": result.features_help,
        "budgets": [
            {"lambda": c.lam, "budget_ms": c.budget_ms, **front.networks[c.network].model_dump(mode="json")}
            for c in front.budgets
        ],
    }  # fmt: skip


def show_searched(result: Searched) -> None:
    """The judge's choice for each budget."""
    rows = []
    for choice in result.front.budgets:
        network = result.front.networks[choice.network]
        rows.append(
            [
                f"{choice.lam:.2f}",
                format_ms(choice.budget_ms),
                interval(network.predicted_ms),
                f"{network.score.value:.3f}",
                f"{network.params:,}",
                f"{network.macs / 1e6:.2f} M",
                str(network.as_architecture),
            ]
        )
    columns = ["lambda", "budget", "predicted (90 %)", "score", "parameters", "multiply-adds", "architecture"]
    print_table(
        f"{len(result.front.networks)} architectures scored; the choice within each budget", columns, rows, left=0
    )
    run = RunFolder(result.run)
    named = which_run(run) + which_front(run, result.front_path.parent.name)
    print(f"run: {result.run}\nnext: latnas export --all{named}, or latnas export --lambda 0.5{named}")


def exported_json(files: Sequence[ExportedFile]) -> dict[str, Any]:
    return {
        "exports": [
            {
                "folder": str(f.folder), "onnx": str(f.onnx), "lasting_ms": f.lasting_ms,
                **f.manifest.model_dump(mode="json", by_alias=True),
            }
            for f in files
        ]
    }  # fmt: skip


def show_exported(files: Sequence[ExportedFile]) -> None:
    """The final table, and what is not as it was asked for."""
    print_exported("exported networks", files)
    show_missed(files)
    show_where(files)


def show_missed(files: Sequence[ExportedFile]) -> None:
    """How many files are over their budgets, and which are over a limit."""
    over = [file for file in files if file.manifest.within_budget is False]
    if over:
        print(f"{len(over)} of {len(files)} over budget")
    for file in files:
        limits = file.manifest.limits
        if limits is not None and limits.exceeded:
            print(f"{file.folder.name} is over the limit on its {', '.join(limits.exceeded)}")


def show_where(files: Sequence[ExportedFile]) -> None:
    """The folder of the files, and the command that measures them again, if they can be measured; what else to do where
    one is missed is told by the error."""
    folder = files[0].folder.parent
    print(f"files: {folder}")
    if all(file.manifest.status != "missed" and not file.manifest.is_computed for file in files):
        run = RunFolder(folder.parents[1])
        verify = f"latnas verify{which_run(run, flag='')}{which_front(run, folder.name)}"
        if all(file.manifest.measured_ms for file in files):
            print(f"next: {verify}")
        else:
            print(f"next, copied to the device of the table: {verify}; or, in the folder of a file: python {SCRIPT}")


def print_exported(title: str, files: Sequence[ExportedFile]) -> None:
    """Budget, predicted, measured, accuracy, size, file; where budgets go by other times than were measured, these."""
    how = "computed" if files[0].manifest.is_computed else "measured"
    differ = any(_measured(file) != optional_ms(file.lasting_ms) for file in files)
    columns = [
        "chosen by", "budget", "predicted (90 %)", how, *(["lasting"] if differ else []), "status",
        "test accuracy (95 %)", "parameters", "file",
    ]  # fmt: skip
    print_table(title, columns, [export_row(file, differ) for file in files])
    if differ:
        print(LASTING)


def _measured(file: ExportedFile) -> str:
    measured = file.manifest.measured_ms
    return optional_ms(None if measured is None else getattr(measured, file.manifest.quote))


def export_row(file: ExportedFile, lasting: bool = False) -> list[str]:
    """One row of the final table."""
    manifest = file.manifest
    return [
        KINDS[manifest.kind],
        format_ms(manifest.budget_ms),
        interval(manifest.predicted_ms),
        _measured(file),
        *([optional_ms(file.lasting_ms)] if lasting else []),
        manifest.status,
        f"{_percent(manifest.accuracy)}{spread(manifest)}",
        f"{manifest.params:,}",
        f"{file.folder.name}/model.onnx",
    ]


def _percent(accuracy: ReachedAccuracy) -> str:
    return f"{accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})"


def optional_ms(ms: float | None) -> str:
    """A dash for what was not measured."""
    return "-" if ms is None else format_ms(ms)


def interval(latency_ms: Estimate) -> str:
    """`1.84 ms (1.80 to 1.88)`."""
    low, high = (format_ms(ms).removesuffix(" ms") for ms in (latency_ms.low, latency_ms.high))
    return f"{format_ms(latency_ms.value)} ({low} to {high})"


def spaces_json(traces: Sequence[SpaceTrace]) -> dict[str, Any]:
    return {
        "spaces": [
            {
                "space": trace.space, "options": dict(trace.options), "architectures": trace.architectures,
                "settings": list(trace.settings),
                "decisions": {d.name: [item.name for item in d.items] for d in trace.decisions},
            }
            for trace in traces
        ]
    }  # fmt: skip


def show_spaces(traces: Sequence[SpaceTrace]) -> None:
    """Each space with its decisions and items."""
    for trace in traces:
        options = ", ".join(f"{name} {value}" for name, value in trace.options.items())
        rows = [[d.name, str(len(d.items)), _parts(d)] for d in trace.decisions]
        title = f"{trace.space}: {trace.architectures:,} architectures ({options})"
        print_table(title, ["decision", "items", "of these parts"], rows, left=3)


def _parts(decision: Decision) -> str:
    """Its parts; those that are alike for several inputs, as `0/skip_connect` and `1/skip_connect`, once."""
    inputs = {part.rpartition("/")[0] for part in decision.parts}
    names = ", ".join(dict.fromkeys(part.rpartition("/")[2] for part in decision.parts))
    return names if len(inputs) == 1 else f"two of {len(inputs)} inputs, on each one of {names}"


def devices_json(reports: Sequence[PluginReport]) -> dict[str, Any]:
    return {
        "profilers": [
            {
                "profiler": r.name, "package": r.distribution, "error": r.error or None,
                "devices": [{"device": d.device, "usable": d.usable, "detail": d.detail} for d in r.devices],
                "settings": [
                    {
                        "setting": s.name, "values": list(s.values), "device": s.device or None, "usable": s.usable,
                        "detail": s.detail,
                    }
                    for s in r.settings
                ],
            }
            for r in reports
        ]
    }  # fmt: skip


def show_devices(reports: Sequence[PluginReport]) -> None:
    """Every profiler with its devices and its settings, and why one is not usable."""
    rows = []
    for report in reports:
        if report.error:
            rows.append([report.name, "-", "broken", report.error, report.distribution])
        rows += [
            [report.name, device.device, _yes(device.usable), device.detail, report.distribution]
            for device in report.devices
        ]
    print_table("devices", ["runtime", "device", "usable", "what, or why not", "from"], rows, left=5)
    for report in (report for report in reports if report.settings):
        settings = [
            [f"{s.name}=" if s.values else s.name, s.device or "all", _yes(s.usable), _explained(s)]
            for s in report.settings
        ]
        title = f"settings of {report.name}: --runtime {report.name}:SETTING[,SETTING...]"
        print_table(title, ["setting", "device", "usable", "what, or why not"], settings, left=4)


def _explained(setting: SettingStatus) -> str:
    return "; ".join(filter(None, [", ".join(setting.values), setting.detail]))


def _yes(usable: bool) -> str:
    return "yes" if usable else "no"
