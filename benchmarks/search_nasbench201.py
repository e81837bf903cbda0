"""A search of NAS-Bench-201 on CIFAR-10, judged by the benchmark's true accuracies on any devices; and its baselines.

    python benchmarks/search_nasbench201.py --latencies nasbench201.npz --data CIFAR10_FOLDER \\
        --accuracy c10 c100 in16 --json benchmarks/results/search_nasbench201.json

Searching: for each seed the accuracy model of `latnas search` (features of all 5,259 distinct cells, short trainings
of some) is made from images alone, and leaves `scores.json` in a run folder of its own. It never opens the table. A
search that was stopped goes on where it was when the same command is typed again; a seed that has scores, or rows in
the file of --json, is not searched again. What the file has of seeds and accuracies that are not asked for stays in it,
and means are over all of its seeds.

Judging: the scores choose a network within each of 24 budgets of each device of the table. Beside them choose the
features alone, the number of parameters, random numbers, and the true accuracy on CIFAR-10: see `nasbench201_table.py`.
Means are taken over all devices but pixel3, whose latencies are erratic. Their 95 % intervals are Student's t over
seeds; that of the difference between ours and the features alone is paired by seed and device, and takes both as drawn
from more of their kind: see `crossed_interval` in `nasbench201_scores.py`.

The file holds `ops` [15625, 6] (indices into `op_names`, edges in the order of `edges`), `devices`, `latency_ms`
[15625, devices] and `acc_{c10,c100,in16}_test200_mean` in percent. Latencies are HELP's (Lee et al., NeurIPS 2021) and
HW-NAS-Bench's (Li et al., ICLR 2021), accuracies NATS-Bench's (Dong et al., TPAMI 2021).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nasbench201_scores import (
    MEAN,
    VERSION,
    Earlier,
    Found,
    by_device,
    cell_of,
    compare,
    costs_of,
    earlier_in,
    load_found,
    means_of,
    reach_of,
    rows_of,
)
from nasbench201_table import FLOORS, load_table
from pieces import OutOfTimeError, at_most, cpu_seconds, of_version
from report import failures_in_one_line, finish, numbers, parser, positive, print_rows

from latnas.cli.console import ConsoleReporter
from latnas.data.images import ImageData
from latnas.data.sources import load_images
from latnas.errors import INTERRUPTED, LatnasError, UsageError
from latnas.ranking.judge import prior_scores
from latnas.spaces.nasbench201 import EDGES, expression
from latnas.spaces.space import Space, make_space
from latnas.stages.common.runs import RunFolder
from latnas.stages.search.accuracy import accuracy_model
from latnas.stages.search.config import SearchConfig
from latnas.stages.search.pool import all_architectures
from latnas.training.devices import check_trainable, parse_train_on
from latnas.training.tasks import one_thread
from latnas.words.costs import params_cost
from latnas.words.files import append_line, read_lines
from latnas.words.reporting import Reporter

SCORES = "scores.json"
PIECES = "pieces.jsonl"
"""Seconds that each piece of a search took: those of a piece that was killed outright are lost."""

RUNS = Path("runs/nasbench201")
"""A folder of its own: these are no runs to export from, and `latest` beside other runs would point to one of them."""

ALL_CELLS = 5**6


@dataclass(frozen=True)
class Preset:
    """How large a search is: the space's width and depth, where it trains, and what else its config says."""

    width: int
    depth: int
    train_on: str
    executor: str
    sizes: dict[str, Any] = field(default_factory=dict)


PRESETS = {
    "cpu": Preset(16, 5, "cpu", "local:2", {"pool": ALL_CELLS, "trainings": 130, "training_steps": 700}),
    "gpu": Preset(
        16, 5, "cuda", "local:8",
        {
            "pool": ALL_CELLS, "trainings": 130, "training_steps": 800, "halvings": 1,
            "reduced_width": 16, "reduced_size": 32,
        },
    ),
}  # fmt: skip


def space_for(preset: Preset, image_size: int, channels: int, classes: int) -> Space:
    return make_space(
        "nasbench201", image_size=image_size, channels=channels, classes=classes, width=preset.width, depth=preset.depth
    )


def run_of(runs: Path, preset: str, seed: int) -> RunFolder:
    """Where the search of one seed lies."""
    return RunFolder(of_version(runs / f"{preset}-seed{seed}", VERSION))


def search(preset: Preset, seed: int, data: ImageData, run: RunFolder, report: Reporter) -> None:
    """Makes the accuracy model of one seed and leaves its scores in the run's folder.

    Raises:
        LatnasError: the folder holds a search of another config, a file is broken, or a training diverged.
    """
    space = space_for(preset, data.size, data.channels, len(data.classes))
    config = SearchConfig(data=data.spec, seed=seed, executor=preset.executor, train_on=preset.train_on, **preset.sizes)
    recorded = config.recorded(space.name, data.fingerprint)
    if run.config.exists() and run.read_config() != recorded:
        raise LatnasError(f"{run.path} holds a search of another size or other images. Name another folder: --runs")
    run.create(recorded)
    report.say(f"seed {seed}: {run.path}")
    with run.lock(), one_thread(), timed(run):
        model = accuracy_model(config, space, data, run, report)
        pool = model.pool.architectures
        scores = model.of(pool, "scores", report)
        prior = prior_scores([model.scores.of(architecture.key) for architecture in pool])
    pieces = list(read_lines(run.path / PIECES))
    Found(
        seed=seed,
        trainings=len(model.judge.labels),
        minutes=sum(piece["seconds"] for piece in pieces) / 60,
        cpu_minutes=sum(piece["cpu_seconds"] for piece in pieces) / 60,
        edges=list(EDGES),
        cells=[cell_of(architecture) for architecture in pool],
        ours=[score.value for score in scores],
        prior=prior.tolist(),
    ).save(run.path / SCORES)


@contextmanager
def timed(run: RunFolder) -> Iterator[None]:
    """Writes down how long the block took, whatever ends it."""
    began, cpu_began = time.monotonic(), cpu_seconds()
    try:
        yield
    finally:
        piece = {"seconds": time.monotonic() - began, "cpu_seconds": cpu_seconds() - cpu_began}
        append_line(run.path / PIECES, piece)


def searched(given: argparse.Namespace) -> list[int]:
    """The seeds that have scores."""
    return [seed for seed in given.seeds if (run_of(given.runs, given.preset, seed).path / SCORES).exists()]


def search_missing(given: argparse.Namespace, preset: Preset, known: Sequence[int], report: Reporter) -> None:
    """Searches the seeds that are not known yet."""
    missing = [seed for seed in given.seeds if seed not in known]
    if not missing:
        return
    if given.data is None:
        raise UsageError(f"seed {missing[0]} is not searched yet, which takes images. Name CIFAR-10: --data FOLDER")
    check_trainable(parse_train_on(preset.train_on))
    data = load_images(given.data)
    for seed in missing:
        search(preset, seed, data, run_of(given.runs, given.preset, seed), report)


def params_by_expression(space: Space) -> dict[str, float]:
    """Number of parameters of each distinct cell."""
    cost = params_cost(space.trace)
    cells = all_architectures(space, ALL_CELLS)
    assert cells is not None
    return {expression([cell.items[edge] for edge in EDGES]): cost.cost(cell) for cell in cells}


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--latencies", type=Path, required=True, metavar="FILE.npz")
    made.add_argument("--data", metavar="FOLDER", help="CIFAR-10, as latnas search takes it; needed to search")
    made.add_argument("--accuracy", nargs="+", choices=list(FLOORS), default=["c10"])
    made.add_argument("--preset", choices=list(PRESETS), default="cpu")
    made.add_argument("--seeds", type=numbers, default=(0, 1, 2), metavar="0,1,2", help="one search for each")
    made.add_argument("--devices", nargs="+", default=(), metavar="NAME", help="of the file; all unless named")
    made.add_argument(
        "--runs", type=Path, default=RUNS, metavar="FOLDER", help=f"where searches are kept; {RUNS} unless named"
    )
    made.add_argument("--minutes", type=positive, help="stop searching after so many; the same command goes on")
    made.add_argument("--train-on", metavar="DEVICE", help="cpu, cuda or cuda:1, in the place of the preset's")
    made.add_argument("--executor", metavar="local:N", help="N processes, in the place of the preset's")
    return made


def judge(given: argparse.Namespace, found: Sequence[Found], earlier: Earlier) -> None:
    """Judges the searches by the table, prints and writes what was found."""
    table = load_table(given.latencies, list(dict.fromkeys(["c10", *given.accuracy])), given.devices)
    params = params_by_expression(space_for(PRESETS["cpu"], image_size=32, channels=3, classes=10))
    rows, means = [], []
    older = earlier.without([one.seed for one in found])
    for accuracy in given.accuracy:
        compared = compare(table, accuracy, found, older.whole([accuracy], table.devices), params, given.seed)
        rows += rows_of(compared, accuracy, table.devices)
        means += means_of(compared, accuracy, table.devices)
        print_rows(f"hypervolume share, {accuracy}", by_device(compared, table.devices))
    costs, others = costs_of(found, older, given.preset), earlier.by_others_than(given.accuracy)
    print_rows("searches", costs)
    all_means = [*means, *(row for row in others if row["device"] == MEAN)]
    reach = reach_of(all_means, costs, given.preset)
    finish("search_nasbench201", [*means, *rows, *others, *costs], reach, "public tables", given.json, shown=all_means)


@failures_in_one_line("search_nasbench201")
def main() -> None:
    given = arguments().parse_args()
    preset = PRESETS[given.preset]
    changed = {"train_on": given.train_on, "executor": given.executor}
    preset = replace(preset, **{name: value for name, value in changed.items() if value is not None})
    report = ConsoleReporter()
    try:
        # The table's form and the results' preset: what is wrong is refused before hours of searching.
        devices = load_table(given.latencies, (), given.devices).devices
        earlier = earlier_in(given.json, given.preset, devices)
        with at_most(given.minutes):
            search_missing(given, preset, [*searched(given), *earlier.whole(given.accuracy, devices).seeds], report)
        found = [load_found(run_of(given.runs, given.preset, seed).path / SCORES) for seed in searched(given)]
        judge(given, found, earlier)
    except OutOfTimeError:
        report.say("to be continued: type the same command again")
    except KeyboardInterrupt:
        report.say("interrupted: the same command goes on")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
