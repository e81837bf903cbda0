"""Latency tables, their verification, and predictions, as tables and as JSON."""

from __future__ import annotations

from shlex import quote
from typing import Any

from latnas.cli.console import print_table
from latnas.cli.show import interval
from latnas.stages.common.options import typed
from latnas.stages.predict import Predicted
from latnas.stages.profile import Profiled, Verification
from latnas.stages.profile.config import WHICH_TABLE
from latnas.words.budgets import format_ms
from latnas.words.table import LatencyTable, Quality

ROWS_SHOWN = 12


def profiled_json(result: Profiled) -> dict[str, Any]:
    table = result.table
    calibration = table.calibration
    return {
        "table": str(result.path), "name": table.name, "device": table.device, "runtime": table.runtime,
        "operations": len(table.operations),
        "networks": len(calibration.networks), "freedom": calibration.freedom,
        "quality": calibration.quality.model_dump(), "interval": [calibration.low, calibration.high],
        "noise": table.noise.model_dump(), "quote": table.quote, "p50_factor": table.anchor.p50_factor,
        "p90_factor": table.anchor.p90_factor,
        "dead_parts": None if table.dead_parts is None else table.dead_parts.share,
        "unsettled": list(table.unsettled), "doubtful": table.doubtful, "seconds": table.seconds,
    }  # fmt: skip


def show_profiled(result: Profiled) -> None:
    """How good the table is."""
    table, calibration = result.table, result.table.calibration
    spread = max(calibration.high - 1, 1 - calibration.low)
    floors = [network.floor_ms for network in calibration.networks]
    rows = [
        ["measured on", f"{table.device} with {table.runtime}"],
        ["operations measured", str(len(table.operations)) if table.operations else "none: whole networks only"],
        ["whole networks measured", f"{len(floors)}, from {format_ms(min(floors))} to {format_ms(max(floors))}"],
        *_quality_rows("each network left out in turn", calibration.quality),
        ["90 % interval of a prediction", f"±{spread:.1%}"],
        ["noise (two halves of the rounds)", f"{table.noise.mean:.2%} on average, 95 % below {table.noise.p95:.2%}"],
        ["networks that have not settled", f"{len(table.unsettled)} of {len(floors)}"],
        [f"quoted statistic: {table.quote}", f"floor x {table.factor:.3f}{_witnesses(table)}"],
        ["parts that do not reach the output", _dead_parts(table)],
        ["doubtful operations", str(len(table.doubtful))],
        ["time", f"{table.seconds:.0f} s"],
    ]
    print_table(table.name, ["", ""], rows)
    for label, reason in list(table.doubtful.items())[:ROWS_SHOWN]:
        print(f"doubtful: {label} {reason}")
    if len(table.doubtful) > ROWS_SHOWN:
        print(f"and {len(table.doubtful) - ROWS_SHOWN} more: see `doubtful` in the table")
    command = f"latnas search --table {quote(str(result.path))}"
    print(f"table: {result.path}\nnext: {typed(command, result.config, 'data')}")
    print(f"or check it: {typed('latnas profile --verify 20', result.config, *WHICH_TABLE)}")


def verified_json(result: Verification) -> dict[str, Any]:
    quality = {name: result.of(*drawn) for name, drawn in _GROUPS}
    return {
        "table": str(result.path), "name": result.table.name, "drift": result.drift,
        "quality": {name: None if one is None else one.model_dump() for name, one in quality.items()},
        "coverage": {name: result.coverage(*drawn) for name, drawn in _GROUPS if quality[name] is not None},
        "networks": [
            {
                "architecture": one.architecture.to_json(), "drawn": one.drawn,
                "predicted_ms": one.predicted_ms.model_dump(), "measured_ms": one.measured_ms,
                "relative_ms": one.relative_ms,
            }
            for one in result.networks
        ],
    }  # fmt: skip


def show_verified(result: Verification) -> None:
    """Each fresh network, the worst first, and how well the table predicts them."""
    ranked = sorted(result.networks, key=lambda one: -abs(one.relative_ms / one.predicted_ms.value - 1))
    rows = [
        [
            str(one.architecture), one.drawn, interval(one.predicted_ms), format_ms(one.measured_ms),
            f"{one.relative_ms / one.predicted_ms.value - 1:+.1%}",
        ]
        for one in ranked[:ROWS_SHOWN]
    ]  # fmt: skip
    columns = ["architecture", "drawn", "predicted (90 %)", "measured", "off by"]
    shown = f"the worst {len(rows)} of " if len(rows) < len(ranked) else ""
    print_table(f"{shown}{len(ranked)} fresh networks, {result.table.quote}", columns, rows, left=2)
    for name, drawn in _GROUPS:
        quality = result.of(*drawn)
        if quality is not None:
            values = ", ".join(f"{value} {what}" for what, value in _quality_rows("", quality))
            print(f"{name}: {values}; {result.coverage(*drawn):.0%} within their intervals (90 % promised)")
    print(
        f"networks of the table take {result.drift:.3f} times what they took when it was measured; errors are counted "
        f"relative to that\ntable: {result.path}"
    )


_GROUPS: tuple[tuple[str, tuple[Any, ...]], ...] = (("random", ("random",)), ("front", ("front",)))


def predicted_json(result: Predicted) -> dict[str, Any]:
    return {
        "table": result.table.name, "runtime": result.table.runtime, "quote": result.table.quote,
        "networks": [
            {
                "name": one.name, "architecture": one.architecture.to_json(),
                "predicted_ms": one.latency_ms.model_dump(), "params": one.params, "macs": one.macs,
            }
            for one in result.networks
        ],
    }  # fmt: skip


def show_predicted(result: Predicted) -> None:
    """One row for each network."""
    rows = [
        [one.name, interval(one.latency_ms), f"{one.params:,}", f"{one.macs / 1e6:.2f} M", str(one.architecture)]
        for one in result.networks
    ]
    columns = ["", "predicted (90 %)", "parameters", "multiply-adds", "architecture"]
    print_table(f"{result.table.name}, {result.table.quote}, with {result.table.runtime}", columns, rows)


def _quality_rows(prefix: str, quality: Quality) -> list[list[str]]:
    start = f"{prefix}: " if prefix else ""
    ranks = "-" if quality.spearman is None else f"{quality.spearman:.3f}"
    return [
        [f"{start}mean error", f"{quality.mean_error:.1%}"],
        [f"{start}within 5 %, 10 %", f"{quality.within5:.0%}, {quality.within10:.0%}"],
        [f"{start}rank correlation", ranks],
    ]


def _witnesses(table: LatencyTable) -> str:
    """The factor of the fastest and the slowest network, where they were noted."""
    others = sorted(table.anchor.witnesses, key=lambda one: one.floor_ms)
    if table.quote == "floor" or len(others) < 2:
        return ""
    factors = [getattr(one, f"{table.quote}_factor") for one in (others[0], others[-1])]
    return f" (fastest {factors[0]:.3f}, slowest {factors[1]:.3f})"


def _dead_parts(table: LatencyTable) -> str:
    if table.dead_parts is None:
        return "this space has none"
    share = round(100 * table.dead_parts.share)
    return f"cost {share} % of their price ({table.dead_parts.probes} probe networks)"
