"""A plan as tables and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from shlex import quote
from typing import Any

from latnas.cli.console import print_table
from latnas.stages.common.options import SearchOptions, WithTrainings, typed
from latnas.stages.plan import PlanConfig, Planned, Reach, Share, measured_by
from latnas.words.budgets import format_ms
from latnas.words.limits import RESOURCES
from latnas.words.reporting import duration
from latnas.words.table import LatencyTable


def plan_json(plan: Planned) -> dict[str, Any]:
    table = None if plan.table is None else plan.table[1]
    return {
        "space": plan.space.name, "options": vars(plan.space.options).copy(), "data": plan.data,
        "table": None if table is None else _table_json(table, plan),
        "reachable": asdict(plan.whole), "within_limits": None if plan.within is None else asdict(plan.within),
        "budgets": [{"budget_ms": budget, **asdict(share)} for budget, share in plan.budgets],
        "limits": {resource.name: {"most": most, **asdict(share)} for resource, most, share in plan.limits},
        "all_limits": None if plan.all_limits is None else asdict(plan.all_limits),
        "seconds": {**asdict(plan.seconds), "total": plan.seconds.total},
    }  # fmt: skip


def show_plan(plan: Planned) -> None:
    """Ranges, what budgets and limits leave, the table's error, and times."""
    space, options = plan.space, plan.space.options
    title = f"{space.name}, width {options.width}, depth {options.depth}, {plan.data}"
    columns = ["", "smallest", "largest"]
    rows = _reach_rows(plan.whole)
    if plan.within is not None:
        columns += ["smallest within the limits", "largest within the limits"]
        rows = [[*row, *within[1:]] for row, within in zip(rows, _reach_rows(plan.within), strict=True)]
    print_table(title, columns, rows)
    left = [[f"budget {format_ms(budget)}", _share(share)] for budget, share in plan.budgets]
    left += [[f"{r.flag} {r.shown(most)}", _share(share)] for r, most, share in plan.limits]
    if plan.all_limits is not None and len(plan.limits) > 1:
        left.append(["all limits together", _share(plan.all_limits)])
    if left:
        print_table("what is left of random networks", ["", "left"], left)
    print_table("estimated time on this machine", ["", ""], _time_rows(plan))
    if plan.table is None:
        print(f"no latency table fits: budgets and latencies are unknown\nnext: {measured_by(plan.config, space)}")
        return
    path, table = plan.table
    calibration = table.calibration
    quality, command = calibration.quality, f"latnas search --table {quote(str(path))}"
    passed_on = ("data", "seed", *SearchOptions.model_fields, *WithTrainings.model_fields)
    print(
        f"table: {path}\nits error: {quality.mean_error:.1%} on average, {quality.within5:.0%} within 5 %; "
        f"90 % interval {calibration.low - 1:+.1%} to {calibration.high - 1:+.1%}; "
        f"{'stale' if plan.stale else 'measured here'}"
        f"\nnext: {typed(command, plan.config, *passed_on)}"
    )


def _table_json(table: LatencyTable, plan: Planned) -> dict[str, Any]:
    calibration = table.calibration
    return {
        "path": None if plan.table is None else str(plan.table[0]), "name": table.name, "quote": table.quote,
        "mean_error": calibration.quality.mean_error, "within5": calibration.quality.within5,
        "interval": [calibration.low, calibration.high], "stale": plan.stale,
    }  # fmt: skip


def _reach_rows(reach: Reach) -> list[list[str]]:
    latency = [] if reach.latency_ms is None else [["latency", *(format_ms(ms) for ms in reach.latency_ms)]]
    amounts = [[r.label, r.shown(reach.least.of(r)), r.shown(reach.most.of(r))] for r in RESOURCES]
    return latency + amounts


def _share(share: Share) -> str:
    return f"{share.left / share.drawn:.0%} ({share.left} of {share.drawn})"


def _time_rows(plan: Planned) -> list[list[str]]:
    search = plan.seconds.search
    times = [
        ("profile, at most", plan.seconds.profile),
        ("search: features", search.features),
        ("search: short trainings", search.trainings),
        ("search: supernet", search.supernet),
        ("search: hypernetwork", search.hypernetwork),
        ("search: starting processes", search.starting),
        (_export_row(plan.config), plan.seconds.export),
        ("in all", plan.seconds.total),
    ]
    return [[what, duration(seconds)] for what, seconds in times if seconds]


def _export_row(config: PlanConfig) -> str:
    """What is exported, with what makes it take longer."""
    told = [f"{config.seeds} seeds"] if config.seeds > 1 else []
    told += [option for option in ("baselines", "distill", "int8") if getattr(config, option)]
    return ", ".join([f"export of {config.budgets} files", *told])
