"""What each part of the recipe of final trainings is worth: accuracy on the split `select`, never on the test images.

    python benchmarks/final_training.py --data fashion_mnist.npz --json benchmarks/results/final_training.json

For each seed the largest, the middle and one of the smallest of a few random networks are trained on the split `train`,
by the plain recipe and by the same with one part more:

    crops       images are moved by up to an eighth of their side
    smoothing   labels smoothed by 0.1
    cutout      a square of half the side is blanked
    ema         an exponential average of the weights, decay 0.999, with its own statistics of batch normalisation
    distill     the two smaller networks learn from the logits of the largest, which was trained without this part
    supernet    weights to begin with are those of shared weights that were trained along uniform paths
    rate        a learning rate of 0.2 in place of 0.1
    decay       a weight decay of 0.0001 in place of 0.0005

Parts named by `--with` are in every recipe, the plain one included: so a part is judged beside those that are settled.
Rows of JSON are those of single trainings; before them one for each variant has the mean difference to the plain recipe
in percentage points, over the same networks and seeds, with its 95 % interval: Student's t over the means of seeds. Its
`accuracy` is a mean over its own `networks`, which are two for `distill`: only differences can be compared.

The folder `--work` keeps everything: the same command goes on where it was stopped, by --minutes, Ctrl-C or a kill, in
the middle of a training at worst. The file of --json gathers the rows of all images and settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from final_recipes import NETWORKS, PARTS, VERSION, Cell, Setting, named
from pieces import in_pieces, piecewise_parser, this_cpu
from real_cells import smaller_images
from report import as_row, earlier_rows, failures_in_one_line, finish, whole

from latnas.cli.console import ConsoleReporter
from latnas.data.sources import load_images
from latnas.spaces.space import make_space
from latnas.training.evaluate import mean_interval
from latnas.training.tasks import Task, parse_executor, run_tasks
from latnas.words.reporting import Progress, Reporter

PLAIN = "plain"
POINTS = 100.0

PRESETS = {
    "cpu": Setting(16, 10_000, "mbconv", width=8, depth=2, epochs=20, supernet_steps=2000),
    "full": Setting(28, 60_000, "mbconv", width=8, depth=2, epochs=60, supernet_steps=20_000),
    "tiny": Setting(8, 200, "mbconv", width=4, depth=1, epochs=2, supernet_steps=4, batch=16),
}


def run_cell(cell: Cell, data: str, parts: Sequence[str], executor: str, report: Reporter) -> list[dict[str, object]]:
    """One row for each training of a seed: by the plain recipe first, then with each part beside it."""
    given = cell.setting.given
    variants = {PLAIN: given, **{part: (*given, part) for part in parts if part not in given}}
    wanted = [
        (variant, name, cell.task(name, chosen))
        for variant, chosen in variants.items()
        for name in NETWORKS
        if name != "largest" or "distill" not in chosen
    ]
    teachers = [cell.teacher(chosen) for chosen in variants.values() if "distill" in chosen]
    shared = [cell.supernet] if any("supernet" in chosen for chosen in variants.values()) else []
    trainings = [task for _, _, task in wanted]
    *_, results = _in_turn([shared, teachers, trainings], cell.seed, executor, report)
    rows = []
    for (variant, name, _), result in zip(wanted, results, strict=True):
        params = cell.space.amounts(cell.networks[name]).params
        rows.append(
            as_row(
                data=data, given=named(given), variant=variant, seed=cell.seed, network=name, params=params,
                epochs=cell.setting.epochs, accuracy=POINTS * result["correct"] / result["images"],
                correct=result["correct"], select_images=result["images"], cpu_seconds=result["cpu_seconds"],
                setting=cell.setting.digest(cell.data), version=VERSION,
            )
        )  # fmt: skip
    return rows


def _in_turn(waves: Sequence[Sequence[Task]], seed: int, executor: str, report: Reporter) -> list[list[Any]]:
    """The results of tasks of which the later need the earlier."""
    found: list[list[Any]] = []
    with report.bar(f"seed {seed}") as bar:
        for number, tasks in enumerate(waves):
            before, after = sum(map(len, waves[:number])), sum(map(len, waves[number + 1 :]))
            found.append(run_tasks(tasks, parse_executor(executor), partial(_further, bar, before, after)))
    return found


def _further(bar: Progress, before: int, after: int, done: float, total: int) -> None:
    bar.update(before + done, before + total + after, "trainings")


def accuracy_of(row: Mapping[str, Any]) -> float:
    """In percent, from counts: the row's own is rounded, and differences are hardly larger than that."""
    return POINTS * float(row["correct"]) / float(row["select_images"])


def compared(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """For each variant its difference from the plain recipe, in points, from the rows of single trainings."""
    found = []
    settings = dict.fromkeys((row["data"], row["setting"], row["given"], row["epochs"]) for row in rows)
    for data, setting, given, epochs in settings:
        own = [row for row in rows if (row["data"], row["setting"]) == (data, setting)]
        plain = {(row["seed"], row["network"]): accuracy_of(row) for row in own if row["variant"] == PLAIN}
        for variant in dict.fromkeys(row["variant"] for row in own if row["variant"] != PLAIN):
            mine = [row for row in own if row["variant"] == variant]
            of_seed: dict[int, list[float]] = {}
            for row in mine:
                difference = accuracy_of(row) - plain[row["seed"], row["network"]]
                of_seed.setdefault(row["seed"], []).append(difference)
            means = [sum(differences) / len(differences) for differences in of_seed.values()]
            low, high = mean_interval(means) if len(means) > 1 else (None, None)
            found.append(
                as_row(
                    data=data, given=given, variant=variant, epochs=epochs, seeds=len(means),
                    networks=", ".join(dict.fromkeys(row["network"] for row in mine)), trainings=len(mine),
                    accuracy=sum(map(accuracy_of, mine)) / len(mine),
                    difference=sum(means) / len(means), low=low, high=high,
                )
            )  # fmt: skip
    return found


def arguments() -> argparse.ArgumentParser:
    made = piecewise_parser(__doc__, Path("runs/final-training"), seeds=(0, 1, 2))
    made.add_argument("--data", required=True, metavar="PATH", help="as latnas --data takes it")
    made.add_argument("--preset", choices=list(PRESETS), default="cpu", help="tiny: whether it works, in seconds")
    made.add_argument("--epochs", type=whole(1), help="instead of the preset's")
    made.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    made.add_argument("--with", dest="given", nargs="+", choices=PARTS, default=(), help="in every recipe")
    return made


def cells_of(given: argparse.Namespace) -> tuple[str, list[Cell]]:
    """What the images are called, and one cell for each seed that is asked for."""
    setting = replace(PRESETS[given.preset], given=tuple(dict.fromkeys(given.given)))
    if given.epochs is not None:
        setting = replace(setting, epochs=given.epochs)
    name = Path(given.data).stem
    data = load_images(smaller_images(given.data, name, setting.image, given.work / "images"))
    shape = {"image_size": data.size, "channels": data.channels, "classes": len(data.classes)}
    space = make_space(setting.space, width=setting.width, depth=setting.depth, **shape)
    folder = given.work / f"{name}-{setting.digest(data)}"
    return name, [Cell(data, space, setting, seed, folder / f"seed{seed}") for seed in given.seeds]


def gathered(known: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows, of the same training the new one."""
    what = ("data", "setting", "variant", "seed", "network")
    return list({tuple(row[name] for name in what): row for row in [*known, *new]}.values())


@failures_in_one_line("final_training")
def main() -> None:
    given, report = arguments().parse_args(), ConsoleReporter()
    rows: list[dict[str, Any]] = []

    def work() -> None:
        rows.extend(earlier_rows(given.json, "final_training", VERSION, "network"))
        name, cells = cells_of(given)
        for cell in cells:
            rows[:] = gathered(rows, run_cell(cell, name, given.parts, given.executor, report))

    def written() -> None:
        if rows:
            found = compared(rows)
            finish("final_training", [*found, *rows], [], this_cpu(given.executor), given.json, shown=found)

    sys.exit(in_pieces(given.minutes, report, work, written))


if __name__ == "__main__":
    main()
