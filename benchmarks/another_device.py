"""A front for another device from a finished run, beside a whole search made for that device.

    python benchmarks/another_device.py --data CIFAR10_FOLDER --truth nasbench201.npz \\
        --json benchmarks/results/another_device.json

For each space and seed: a search by the table that ships for ONNX Runtime; from that run a front by PyTorch's table
(`latnas search --from RUN --table OTHER`), timed; and a search of its own by PyTorch's table. Both fronts choose within
24 budgets by their own scores. What they chose is judged by one and the same judge, fitted to the short trainings of
both runs; in `nasbench201` by the true accuracies of NAS-Bench-201 too (CIFAR-10, 200 epochs). The hypervolume is the
area under what was chosen, above the value of the fastest network, over the logarithm of latency, as a share of that of
both together. Nothing is timed but `--from`: the tables are those of other machines.

The file of --json gathers the rows of all sessions: what it has is not searched again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nasbench201_table import load_table as load_truth
from pieces import Meter, in_pieces, of_version, piecewise_parser, this_cpu
from report import Reach, as_row, earlier_rows, failures_in_one_line, finish

from latnas.cli.console import ConsoleReporter
from latnas.data.sources import load_images
from latnas.errors import LatnasError
from latnas.spaces.nasbench201 import EDGES, expression
from latnas.stages.common.runs import RunFolder
from latnas.stages.common.tables import space_of
from latnas.stages.search import SearchConfig, Searched, search
from latnas.stages.search.accuracy import Scores
from latnas.stages.search.trainings import ShortTrainings, fitted
from latnas.words.architecture import Architecture
from latnas.words.files import read_json, write_json
from latnas.words.front import Front, ScoredNetwork
from latnas.words.pareto import hypervolume
from latnas.words.reporting import Reporter
from latnas.words.table import load_table

SPACES = ("nasbench201", "mbconv", "darts")
RUNTIMES = ("onnxruntime", "torch")
"""Of the first search's table, and of the other device's."""

VERSION = 4
"""Of what is measured: both ways to a front, and who judges them.
Raise it when that changes: results of another version are not mixed with these."""

BUDGETS = 24
JUDGE, TRUTH = "judge", "NAS-Bench-201"
MOST_MINUTES, MOST_DIFFERENCE = 3.0, 0.01

Value = Callable[[Architecture], float]


def table_of(tables: Path, runtime: str, space: str) -> Path:
    """The one table of a runtime and a space in this folder."""
    found = sorted(tables.glob(f"cpu-{runtime}-{space}-*.json"))
    if len(found) != 1:
        raise LatnasError(f"{tables} has {len(found)} tables cpu-{runtime}-{space}-*.json. Name another: --tables")
    return found[0]


def chosen(front: Front) -> list[ScoredNetwork]:
    """The choices within the budgets, by the front's own scores."""
    budgets = front.budget_range
    each = [front.within(budgets.budget_ms(lam)) for lam in budgets.spread(BUDGETS)]
    return [within[0] for within in each if within]


def shares(fronts: Sequence[Front], value: Value) -> list[float]:
    """For each front the share of the hypervolume of all that were chosen."""
    networks = [chosen(front) for front in fronts]
    every = [network for some in networks for network in some]
    fastest = min(every, key=lambda network: network.predicted_ms.value)
    slowest_ms = max(network.predicted_ms.value for network in every)

    def area(some: Sequence[ScoredNetwork]) -> float:
        logs = [float(np.log(one.predicted_ms.value / fastest.predicted_ms.value)) for one in some]
        span = float(np.log(slowest_ms / fastest.predicted_ms.value))
        return hypervolume(logs, [value(one.as_architecture) for one in some], span, value(fastest.as_architecture))

    whole = area(every)
    return [area(some) / whole for some in networks]


def common_judge(runs: Sequence[Searched], config: SearchConfig, folder: Path, report: Reporter) -> Value:
    """The judge of the short trainings of all runs, with the scale of all that they scored."""
    both = RunFolder(folder)
    for found in runs:
        shutil.copytree(RunFolder(found.run).accuracy, both.accuracy, dirs_exist_ok=True)
    space, data = space_of(load_table(runs[0].front_path.parent / "table.json")), load_images(config.data)
    scores, trainings = Scores(config, space, data, both), ShortTrainings(config, space, data, both, report)
    pool = {n.as_architecture.key: n.as_architecture for found in runs for n in found.front.networks}
    judge = fitted(list(pool.values()), scores, trainings, max(steps for _, steps in config.lengths))
    return lambda architecture: judge.score(architecture.key, scores.of(architecture.key)).value


def truth_of(path: Path) -> Value:
    """The accuracy, in percent, that NAS-Bench-201 has for a cell."""
    table = load_truth(path, ["c10"])
    return lambda one: float(table.accuracy["c10"][table.position[expression([one.items[edge] for edge in EDGES])]])


def compared(given: argparse.Namespace, space: str, seed: int, report: Reporter) -> list[dict[str, Any]]:
    """The rows of one space and seed: one for each who judges."""
    first, other = (table_of(given.tables, runtime, space) for runtime in RUNTIMES)
    folder = of_version(given.work / f"{space}-seed{seed}", VERSION)

    def config(table: Path, name: str) -> SearchConfig:
        return SearchConfig(data=given.data, table=table, out=folder, name=name, seed=seed, executor=given.executor)

    report.say(f"{space}, seed {seed}")
    search(config(first, "first"), report)
    kept, meter = folder / "joined.json", Meter(folder / "joining.json")
    joining = SearchConfig(from_run=str(folder / "first"), table=other, out=folder, executor=given.executor)
    with meter.running(report) as noticing:
        joined = search(joining, noticing)
    if not kept.exists():  # later sessions only load it
        write_json(kept, meter.spent)
    own = search(config(other, "own"), report)
    judges = {JUDGE: common_judge([joined, own], config(other, "own"), folder / "both", report)}
    if TRUTH in judges_of(space, given.truth):
        judges[TRUTH] = truth_of(given.truth)
    took = read_json(kept)
    rows = []
    for name, value in judges.items():
        of_joined, of_own = shares([joined.front, own.front], value)
        rows.append(
            as_row(
                space=space, seed=seed, judged_by=name, joined=of_joined, own=of_own, difference=of_joined - of_own,
                minutes=took["seconds"] / 60, cpu_minutes=took["cpu_seconds"] / 60, version=VERSION,
            )
        )  # fmt: skip
    return rows


def judges_of(space: str, truth: Path | None) -> tuple[str, ...]:
    """Who judges the fronts of a space: one row for each."""
    return (JUDGE, TRUTH) if space == "nasbench201" and truth is not None else (JUDGE,)


def check(given: argparse.Namespace, spaces: Sequence[str]) -> None:
    """Raises LatnasError where a table or the accuracies are missing: before hours of searching."""
    for space in spaces:
        for runtime in RUNTIMES:
            table_of(given.tables, runtime, space)
        if TRUTH in judges_of(space, given.truth):
            truth_of(given.truth)


def reach_of(rows: Sequence[Mapping[str, Any]]) -> list[Reach]:
    """Of all spaces and seeds."""
    found = [Reach("minutes of the longest", max(row["minutes"] for row in rows), MOST_MINUTES, "lower")]
    for space, judge in dict.fromkeys((row["space"], row["judged_by"]) for row in rows):
        lost = [-row["difference"] for row in rows if (row["space"], row["judged_by"]) == (space, judge)]
        found.append(Reach(f"{space}, by {judge}: mean share lost", float(np.mean(lost)), MOST_DIFFERENCE, "lower"))
    return found


def arguments() -> argparse.ArgumentParser:
    made = piecewise_parser(__doc__, Path("runs/another-device"), seeds=(0, 1, 2))
    made.add_argument("--data", required=True, metavar="FOLDER", help="CIFAR-10, as latnas search takes it")
    made.add_argument("--truth", type=Path, metavar="FILE.npz", help="NAS-Bench-201's accuracies")
    made.add_argument("--tables", type=Path, default=Path("latency_tables"), metavar="FOLDER")
    made.add_argument("--spaces", nargs="+", choices=SPACES, default=SPACES[:2])
    return made


@failures_in_one_line("another_device")
def main() -> None:
    given, report, rows = arguments().parse_args(), ConsoleReporter(), list[dict[str, Any]]()

    def work() -> None:
        rows.extend(earlier_rows(given.json, "another_device", VERSION, "judged_by"))
        known = {(row["space"], row["seed"], row["judged_by"]) for row in rows}
        wanted = [
            (space, seed)
            for seed in given.seeds
            for space in given.spaces
            if not known.issuperset((space, seed, judge) for judge in judges_of(space, given.truth))
        ]
        check(given, [space for space, _ in wanted])
        for space, seed in wanted:
            found = compared(given, space, seed, report)
            rows[:] = [row for row in rows if (row["space"], row["seed"]) != (space, seed)] + found

    def written() -> None:
        if rows:
            finish("another_device", rows, reach_of(rows), this_cpu(given.executor), given.json)

    sys.exit(in_pieces(given.minutes, report, work, written))


if __name__ == "__main__":
    main()
