"""A search on real images against what people do without one: the largest network, a random one, the best of a few.

    python benchmarks/search_real.py --cifar10 FOLDER --fashion-mnist FILE.npz \\
        --json benchmarks/results/search_real.json

Spaces `mbconv` and `darts` on CIFAR-10 and Fashion-MNIST, both at 16x16 pixels, six budgets from the fastest to the
slowest network, three seeds. For each seed one `latnas search` of all budgets, and within each budget

    search      the network that it chose
    most_macs   the network of most multiply-adds
    random      one random network
    best_of_n   the best on the split `select` of n random networks, drawn for each budget in turn and trained briefly;
                n so that these trainings take the CPU seconds that the search took, and each serves every budget that
                it is within

get the same final training on the split `train`; rows have their accuracy on the test images, looked at once. Whoever
chose a network, it is trained once for each seed. Within a budget means predicted by a table: of `--tables` if one is
of the space, else of the analytic device. Nothing is timed.

Differences are those of pairs, search minus baseline at one budget and seed. The 95 % interval of their mean, by which
is judged, is `seeds_low` to `seeds_high`: Student's t over the means of the seeds, wide where there are three. `low` to
`high` takes the seeds as repetitions at each of six given budgets, and what happens at one budget as independent of the
others. It is not: one network often serves several budgets, and the budgets of a seed share a search and a split of the
images. So that interval is too narrow, and only shows how much the budgets of a seed agree.

The folder `--work` keeps everything: the same command goes on where it was stopped, by --minutes, Ctrl-C or a kill, in
the middle of a training at worst. The file of --json gathers the rows of all sessions.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pieces import in_pieces, piecewise_parser, this_cpu
from real_cells import METHODS, VERSION, Cell, Problem, Sizes, estimate, problem_of, run_cell, smaller_images
from report import Reach, as_row, earlier_rows, failures_in_one_line, finish
from scipy import stats

from latnas.cli.console import ConsoleReporter
from latnas.errors import LatnasError, UsageError
from latnas.words.files import read_json, write_json
from latnas.words.reporting import Reporter

DATA = ("cifar10", "fashion-mnist")
PAIRS = tuple(f"{space}:{data}" for space in ("mbconv", "darts") for data in DATA)
PRESETS = {
    "cpu": Sizes(
        image=16, spaces={"mbconv": (8, 3), "darts": (4, 3)}, budgets=6, short_steps=240, final_steps=1800,
        search={"pool": 200, "trainings": 44, "training_steps": 240, "long_trainings": 12},
    ),
    "tiny": Sizes(
        image=8, spaces={"mbconv": (4, 1), "darts": (2, 3)}, budgets=3, short_steps=4, final_steps=8,
        search={
            "pool": 8, "trainings": 4, "training_steps": 4, "long_trainings": 4, "reduced_width": 4, "reduced_size": 8,
            "warmup_steps": 4, "joint_steps": 4, "hypernetwork_steps": 6, "rounds": 1, "draws": 1,
        },
    ),
}  # fmt: skip
COVERAGE = 0.95
PAIRS_REACH = 3
LEAST_SEEDS = 3


def interval_within_budgets(differences_SB: np.ndarray) -> tuple[float, float] | None:
    """Of the mean over seeds and budgets, as if the budgets of a seed were independent. None for a single seed."""
    seeds, budgets = differences_SB.shape
    if seeds < 2:
        return None
    variance = float(differences_SB.var(axis=0, ddof=1).mean()) / (seeds * budgets)
    return _student(float(differences_SB.mean()), variance, (seeds - 1) * budgets)


def interval_over_seeds(differences_SB: np.ndarray) -> tuple[float, float] | None:
    """Of the same mean, from the means of the seeds alone. None for a single seed."""
    return interval_within_budgets(differences_SB.mean(axis=1, keepdims=True))


def _student(mean: float, variance: float, freedom: int) -> tuple[float, float]:
    half = float(stats.t.ppf(0.5 + COVERAGE / 2, freedom)) * variance**0.5
    return mean - half, mean + half


def compared(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """For each pair and baseline the difference in points, from the rows of single budgets."""
    found = []
    for space, data in dict.fromkeys((row["space"], row["data"]) for row in rows):
        own = sorted(
            (row for row in rows if (row["space"], row["data"]) == (space, data)),
            key=lambda row: (row["seed"], -row["budget_ms"]),
        )
        seeds = len({row["seed"] for row in own})
        reached = {method: np.array([row[method] for row in own]).reshape(seeds, -1) for method in METHODS}
        for baseline in METHODS[1:]:
            differences = reached[METHODS[0]] - reached[baseline]
            same = sum(row[f"{METHODS[0]}_network"] == row[f"{baseline}_network"] for row in own)
            low, high = interval_within_budgets(differences) or (None, None)
            seeds_low, seeds_high = interval_over_seeds(differences) or (None, None)
            found.append(
                as_row(
                    space=space, data=data, baseline=baseline, seeds=seeds, budgets=differences.shape[1],
                    search=float(reached[METHODS[0]].mean()), accuracy=float(reached[baseline].mean()),
                    difference=float(differences.mean()), low=low, high=high, seeds_low=seeds_low,
                    seeds_high=seeds_high, same_network=same,
                )
            )  # fmt: skip
    return found


def reach(comparisons: Sequence[Mapping[str, Any]]) -> list[Reach]:
    """Against the baseline of highest mean accuracy, pair by pair; over all pairs once all four are there.

    Intervals are those over seeds, and judged by once each pair has three: that of two seeds is as narrow as these
    happen to agree.
    """
    best: dict[str, Mapping[str, Any]] = {}
    for row in comparisons:
        pair = f"{row['space']} on {row['data']}"
        if pair not in best or row["accuracy"] > best[pair]["accuracy"]:
            best[pair] = row
    found = [
        Reach(f"{pair}: points above {row['baseline']}", row["difference"], 0.0, "higher") for pair, row in best.items()
    ]
    if len(best) == len(PAIRS):
        if all(row["seeds"] >= LEAST_SEEDS for row in best.values()):
            clear = sum(row["seeds_low"] > 0 for row in best.values())
            found.append(Reach("pairs on which the interval excludes zero", clear, PAIRS_REACH, "higher"))
        worst = min(float(row["difference"]) for row in best.values())
        found.append(Reach("the worst pair: points above its best baseline", worst, 0.0, "higher"))
    return found


def known_rows(out: Path | None, sizes: Sizes) -> list[dict[str, Any]]:
    """The rows of single budgets that sessions before have left in the results file.

    Raises:
        LatnasError: they are of other sizes or of another version, or the file is of another benchmark.
    """
    rows = earlier_rows(out, "search_real", VERSION, "seed")
    if any(row["sizes"] != sizes.digest for row in rows):
        raise LatnasError(f"{out} holds results of another size. Name another file: --json FILE")
    return rows


def check_problem(rows: Sequence[Mapping[str, Any]], problem: Problem, out: Path | None) -> None:
    """Raises LatnasError where some of these rows, of the results file, are of the pair by another table or images."""
    pair = (problem.space.name, problem.name)
    if any(row["problem"] != problem.digest for row in rows if (row["space"], row["data"]) == pair):
        raise LatnasError(
            f"{out} holds results of {':'.join(pair)} by another table or other images. Name another file: --json FILE"
        )


class Problems:
    """The problem of each pair, made when first asked for."""

    def __init__(self, given: argparse.Namespace, sizes: Sizes, report: Reporter) -> None:
        self._sources = {"cifar10": given.cifar10, "fashion-mnist": given.fashion_mnist}
        self._work, self._tables, self._sizes, self._report = given.work, given.tables, sizes, report
        self._made: dict[str, Problem] = {}

    def check(self, pairs: Sequence[str]) -> None:
        """Raises UsageError where the images of a pair are not named."""
        for pair in pairs:
            data = pair.partition(":")[2]
            if self._sources[data] is None:
                raise UsageError(f"{pair} needs images. Name them: --{data} PATH; or leave it out of --pairs")

    def of(self, pair: str) -> Problem:
        """The problem of one pair."""
        if pair not in self._made:
            space, _, data = pair.partition(":")
            spec = smaller_images(str(self._sources[data]), data, self._sizes.image, self._work / "images")
            tables = self._work / "tables"
            self._made[pair] = problem_of(space, data, spec, self._sizes, self._tables, tables, self._report)
        return self._made[pair]


def arguments() -> argparse.ArgumentParser:
    made = piecewise_parser(__doc__, Path("runs/search-real"), seeds=(0, 1, 2))
    made.add_argument("--cifar10", metavar="FOLDER", help="as latnas --data takes it")
    made.add_argument("--fashion-mnist", metavar="FILE.npz", help="as latnas --data takes it")
    made.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS)
    made.add_argument("--preset", choices=list(PRESETS), default="cpu", help="tiny: whether it works, in minutes")
    made.add_argument("--tables", type=Path, metavar="FOLDER", help="latency tables to look for those of the spaces in")
    made.add_argument("--estimate", action="store_true", help="say how long it will take, and stop")
    return made


def say_estimate(
    wanted: Sequence[tuple[str, int]], problems: Problems, sizes: Sizes, executor: str, report: Reporter
) -> None:
    """What is missing takes so long, if all networks that are compared differ."""
    total = 0.0
    for pair in dict.fromkeys(pair for pair, _ in wanted):
        seconds = estimate(problems.of(pair), sizes, executor)
        seeds = sum(one == pair for one, _ in wanted)
        total += seeds * seconds.total
        report.say(
            f"{pair}: {seeds} seeds of about {seconds.total / 60:.0f} min (search {seconds.search / 60:.1f}, best of n "
            f"{seconds.best_of_n / 60:.1f}, final trainings at most {seconds.final / 60:.1f})"
        )
    report.say(f"about {total / 3600:.1f} h in all")


def run(given: argparse.Namespace, sizes: Sizes, rows: list[dict[str, Any]], report: Reporter) -> None:
    """Adds to `rows` those of each seed of each pair that is missing, one seed of all pairs after the other."""
    known = {(row["space"], row["data"], row["seed"]) for row in rows}
    pairs = dict.fromkeys(given.pairs)
    wanted = [(pair, seed) for seed in given.seeds for pair in pairs if (*pair.split(":"), seed) not in known]
    problems = Problems(given, sizes, report)
    problems.check([pair for pair, _ in wanted])
    if given.estimate:
        say_estimate(wanted, problems, sizes, given.executor, report)
        return
    for pair in dict.fromkeys(pair for pair, _ in wanted):
        check_problem(rows, problems.of(pair), given.json)
    for number, (pair, seed) in enumerate(wanted, start=1):
        began = time.monotonic()
        report.say(f"{pair}, seed {seed} ({number} of {len(wanted)})")
        problem = problems.of(pair)
        folder = given.work / f"{pair.replace(':', '-')}-seed{seed}-{problem.digest}-{sizes.digest}"
        kept = folder / "rows.json"
        if not kept.exists():
            write_json(kept, run_cell(Cell(problem, sizes, seed, given.executor, folder), report))
        rows += read_json(kept)
        report.say(f"{pair}, seed {seed}: {(time.monotonic() - began) / 60:.1f} min")


@failures_in_one_line("search_real")
def main() -> None:
    given = arguments().parse_args()
    sizes, report, rows = PRESETS[given.preset], ConsoleReporter(), list[dict[str, Any]]()

    def work() -> None:
        rows.extend(known_rows(given.json, sizes))
        run(given, sizes, rows, report)

    def written() -> None:
        if rows and not given.estimate:
            found = compared(rows)
            device = this_cpu(given.executor)
            finish("search_real", [*found, *rows], reach(found), device, given.json, shown=found)

    sys.exit(in_pieces(given.minutes, report, work, written))


if __name__ == "__main__":
    main()
