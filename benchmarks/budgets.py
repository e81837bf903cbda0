"""Twenty-four latency budgets over the three spaces on this device: predicted, measured, kept or not.

    python benchmarks/budgets.py --json benchmarks/results/budgets.json

For each space: `latnas profile`, one `latnas search` for eight budgets, `latnas export --all`. Networks ship with the
weights of the search (`--epochs 0`), since training does not change what a network takes. A row for each budget, from
its manifest: what was predicted, what the shipped file measured in the table's quoted statistic, whether it is within,
and the share of the budget that is unused, both at the table's speed; how many measurements it took, how many of these
were of finished files, and how much longer than for the table the anchor took meanwhile. Images are embedded ones.

Nothing else may run on this machine meanwhile. What is finished is kept in `--work`: the same command goes on.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pieces import device_of, of_version, profile_once
from report import Reach, as_row, failures_in_one_line, finish, parser

from latnas.cli.console import ConsoleReporter
from latnas.stages.export import ExportConfig, ExportedFile, export
from latnas.stages.profile import ProfileConfig
from latnas.stages.search import SearchConfig, search
from latnas.words.reporting import Reporter

VERSION = 2
"""Of what is searched and exported. Raise it when that changes: what another version left is not reported."""

BUDGETS = 8
MOST_UNUSED = 0.05


@dataclass(frozen=True)
class Size:
    """Of a space: small enough for an hour in all, large enough to be measured in more than the cost of a call."""

    width: int
    depth: int


SEARCH = {"trainings": 8, "training_steps": 150, "long_trainings": 0}
"""Little is asked for: accuracies do not matter here."""

SIZES = {"nasbench201": Size(8, 1), "mbconv": Size(8, 2), "darts": Size(4, 3)}


def made(space: str, given: argparse.Namespace, report: Reporter) -> list[ExportedFile]:
    """Profiles, searches and exports one space; what is there of these is not redone."""
    folder, size = of_version(given.work, VERSION) / space, SIZES[space]
    shared = {"space": space, "data": given.data}
    profile_once(
        ProfileConfig(
            device=given.device, width=size.width, depth=size.depth, out=folder / "tables", seed=given.seed, **shared
        ),
        report,
    )
    searched = SearchConfig(
        tables=folder / "tables", out=folder / "runs", budgets=BUDGETS, seed=given.seed, name="run", **SEARCH, **shared
    )
    search(searched, report)
    config = ExportConfig(runs=folder / "runs", run="run", all=True, epochs=0, init="supernet", seed=given.seed)
    return export(config, report)


def row_of(space: str, file: ExportedFile) -> dict[str, Any]:
    """One budget."""
    manifest = file.manifest
    measured = manifest.measured_ms
    assert measured is not None  # the device was profiled just now
    quoted = float(getattr(measured, manifest.quote))
    predicted = manifest.predicted_ms
    return as_row(
        space=space, budget_ms=manifest.budget_ms, predicted_ms=predicted.value, low_ms=predicted.low,
        high_ms=predicted.high, measured_ms=quoted, status=manifest.status,
        within=manifest.within_budget, unused=manifest.margin, attempts=len(manifest.attempts),
        files=sum(one.what == "shipped file" for one in manifest.attempts), drift=manifest.anchor_drift,
        table=manifest.table, version=VERSION,
    )  # fmt: skip


def reach_of(rows: Sequence[Mapping[str, Any]]) -> list[Reach]:
    """Over all budgets."""
    missed = sum(not row["within"] for row in rows)
    unused = statistics.median(float(row["unused"]) for row in rows)
    return [
        Reach(f"networks of {len(rows)} over their budget", missed, 0, "lower"),
        Reach("median share of a budget that is unused", unused, MOST_UNUSED, "lower"),
    ]


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--device", default="cpu", help="as latnas profile takes it")
    made.add_argument("--data", default="fashion-mini", help="as latnas takes it")
    made.add_argument("--spaces", nargs="+", choices=list(SIZES), default=list(SIZES))
    made.add_argument("--work", type=Path, default=Path("runs/budgets"), metavar="FOLDER", help="what it keeps")
    return made


@failures_in_one_line("budgets")
def main() -> None:
    given, report = arguments().parse_args(), ConsoleReporter()
    rows = [row_of(space, file) for space in given.spaces for file in made(space, given, report)]
    finish("budgets", rows, reach_of(rows), device_of(given.device), given.json)


if __name__ == "__main__":
    main()
