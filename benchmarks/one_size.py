"""What tells networks of one size apart: short trainings, features, the judge, and what long trainings teach it.

    python benchmarks/one_size.py --space mbconv --data CIFAR10_FOLDER --json benchmarks/results/one_size.json

Random networks, within four budgets in turn, get a short training and one of `search_real.py`'s final length each;
accuracies are of the split `select`, the test images are not looked at. The first rows have, for each opinion that is
known without a long training, its correlation with the final accuracy once size and its square are accounted for, with
a 95 % interval (Fisher's z); prior and size are those of the judge, who weighs features by how well these predict short
trainings. The others have the mean of that correlation, with its standard deviation, over random splits: the judge is
fitted to all short trainings, the model of long trainings to the final ones of some networks, and both rank the rest.

The folder `--work` keeps everything: the same command goes on. The file of --json gathers the rows of all spaces.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pieces import digest_of, in_pieces, piecewise_parser, this_cpu
from real_cells import Cell, Problem, Sizes, draws, problem_of, smaller_images
from report import as_row, earlier_rows, failures_in_one_line, finish, whole
from scipy import stats
from search_real import PRESETS

from latnas.cli.console import ConsoleReporter
from latnas.data.splits import splits_of
from latnas.errors import LatnasError
from latnas.ranking.features import PROXY_BATCH, Reduction, features_of
from latnas.ranking.judge import Judge, fit_judge
from latnas.ranking.label_model import Parts, parts_of
from latnas.ranking.long_model import OTHERS, LongLabel, View, fit_long_model
from latnas.stages.common.reach import budget_range
from latnas.training.tasks import parse_executor, run_tasks
from latnas.words.architecture import Architecture
from latnas.words.files import read_json, write_json
from latnas.words.reporting import Reporter

VERSION = 3
"""Of what is measured: the judge, and what long trainings teach it, too.
Raise it when that changes: results of another version are not mixed with these."""

SPLITS = 20
LONG = (6, 12)
SPACES = ("mbconv", "darts")
LEAST_NETWORKS = max(LONG) + 5
"""Five that are not trained long leave two degrees of freedom beside a parabola in size."""

WHAT = ("space", "data", "networks", "seed", "problem", "sizes")
"""Columns by which rows of one set of trainings are told from those of others, which stay in the file."""

Ranking = Callable[[str], float]


@dataclass(frozen=True)
class Trained:
    """Networks by key, with their features and accuracies on `select`."""

    networks: Mapping[str, Architecture]
    features: Mapping[str, dict[str, float]]
    short: Mapping[str, float]
    final: Mapping[str, float]
    images: int
    parts: Mapping[str, Parts]

    def partial(self, ranking: Ranking, keys: Sequence[str]) -> float:
        """The correlation of `ranking` with the final accuracies of these networks, given size and its square."""
        sizes_N = np.array([self.features[key]["log_macs"] for key in keys])
        curves_N3 = np.vander(sizes_N - sizes_N.mean(), 3)

        def beyond(values: Sequence[float]) -> np.ndarray:
            values_N = np.array(values)
            left_N: np.ndarray = values_N - curves_N3 @ np.linalg.lstsq(curves_N3, values_N, rcond=None)[0]
            return left_N

        pair = beyond([ranking(key) for key in keys]), beyond([self.final[key] for key in keys])
        return float(np.corrcoef(*pair)[0, 1])


def drawn(problem: Problem, budgets: Sequence[float], count: int, seed: int, kept: Path) -> dict[str, Architecture]:
    """So many random networks; those that the folder has where it has some.

    Raises:
        LatnasError: the space has too few within these budgets.
    """
    if not kept.exists():
        networks = islice(draws(problem.space, problem.latency, budgets, seed), count)
        write_json(kept, {one.key: one.to_json() for one in networks})
    found = {key: Architecture.from_json(value) for key, value in read_json(kept).items()}
    if len(found) < LEAST_NETWORKS:
        raise LatnasError(
            f"{problem.space.name} has {len(found)} networks within the middle budgets, and {LEAST_NETWORKS} are "
            "needed. Choose another --preset"
        )
    return found


def folder_of(problem: Problem, sizes: Sizes, given: argparse.Namespace) -> Path:
    """What keeps the trainings: none of others is taken for them."""
    drawn_as = f"{problem.space.name}-{problem.name}-{given.networks}networks-seed{given.seed}"
    made: Path = given.work / f"{drawn_as}-{digest_of(VERSION, problem.digest, sizes.digest)}"
    return made


def trained(problem: Problem, sizes: Sizes, given: argparse.Namespace, report: Reporter) -> Trained:
    """All trainings and features of a space."""
    folder = folder_of(problem, sizes, given)
    cell = Cell(problem, sizes, given.seed, given.executor, folder)
    budgets = budget_range("auto", problem.space, problem.latency)
    some = [budgets.budget_ms(lam) for lam in budgets.spread(sizes.budgets)][1:-1]
    networks = drawn(problem, some, given.networks, given.seed, folder / "networks.json")
    accuracies: list[dict[str, float]] = []
    for steps in (sizes.short_steps, sizes.final_steps):
        tasks = [cell.task(one, steps, test=False) for one in networks.values()]
        with report.bar(f"{problem.space.name}: trainings of {steps} steps") as bar:
            results = run_tasks(
                tasks, parse_executor(given.executor), lambda done, total: bar.update(done, total, "networks")
            )
        accuracies.append({key: float(one["select"]) for key, one in zip(networks, results, strict=True)})
    splits = splits_of(problem.data, given.seed)
    images = problem.data.train.images[splits.train[:PROXY_BATCH]]
    rows = features_of(list(networks.values()), problem.space, Reduction(), images, given.seed)
    parts = {key: parts_of(one, problem.space) for key, one in networks.items()}
    short, final = accuracies
    return Trained(networks, dict(zip(networks, rows, strict=True)), short, final, len(splits.select), parts)


def judge_of(known: Trained) -> Judge:
    """Fitted to all short trainings."""
    labelled = {key: (known.features[key], label) for key, label in known.short.items()}
    return fit_judge(list(known.features.values()), labelled, known.images, known.parts.__getitem__)


def rankings(known: Trained, judge: Judge) -> dict[str, Ranking]:
    """What is known without a long training."""
    own: dict[str, Ranking] = {
        "own short training": known.short.__getitem__,
        "predicted short training": lambda key: judge.short_accuracy(key, known.features[key]).value,
        "prior": lambda key: judge.opinions(key, known.features[key])[0],
        "judge": lambda key: judge.score(key, known.features[key]).value,
    }
    return own | {name: _feature(known, name) for name in OTHERS}


def _feature(known: Trained, name: str) -> Ranking:
    return lambda key: known.features[key][name]


def taught(known: Trained, judge: Judge, longs: Sequence[str]) -> Ranking:
    """By the final trainings of these networks."""
    labels = {key: LongLabel(known.features[key], known.final[key], known.images) for key in sorted(longs)}
    model = fit_long_model(View.of(judge, known.features), labels)
    return lambda key: model.score(key, known.features[key], caution=0.0).value


def fisher(correlation: float, networks: int) -> tuple[float, float]:
    """The 95 % interval of a partial correlation given two others."""
    half = float(stats.norm.ppf(0.975)) / math.sqrt(networks - 2 - 3)
    return math.tanh(math.atanh(correlation) - half), math.tanh(math.atanh(correlation) + half)


def rows_of(known: Trained, problem: Problem, sizes: Sizes, seed: int) -> list[dict[str, Any]]:
    """Opinions, then what so many long trainings teach."""
    judge, keys = judge_of(known), list(known.networks)
    opinions = rankings(known, judge)
    of = (problem.space.name, problem.name, len(keys), seed, problem.digest, sizes.digest)
    rows, common = [], {**dict(zip(WHAT, of, strict=True)), "version": VERSION}
    for opinion, ranking in opinions.items():
        partial = known.partial(ranking, keys)
        low, high = fisher(partial, len(keys))
        rows.append(as_row(**common, opinion=opinion, long=0, partial=partial, low=low, high=high))
    random = np.random.default_rng(seed)
    for count in LONG:
        found: dict[str, list[float]] = {"judge": [], "judge and long trainings": []}
        for _ in range(SPLITS):
            order = [keys[index] for index in random.permutation(len(keys))]
            longs, rest = order[:count], order[count:]
            found["judge"].append(known.partial(opinions["judge"], rest))
            found["judge and long trainings"].append(known.partial(taught(known, judge, longs), rest))
        for opinion, values in found.items():
            mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
            rows.append(as_row(**common, opinion=opinion, long=count, partial=mean, deviation=deviation))
    return rows


def arguments() -> argparse.ArgumentParser:
    made = piecewise_parser(__doc__, Path("runs/one-size"))
    made.add_argument("--data", required=True, metavar="PATH", help="as latnas --data takes it")
    made.add_argument("--space", choices=SPACES, required=True)
    made.add_argument("--networks", type=whole(LEAST_NETWORKS), default=40)
    made.add_argument("--preset", choices=list(PRESETS), default="cpu", help="of search_real.py")
    return made


@failures_in_one_line("one_size")
def main() -> None:
    given, report = arguments().parse_args(), ConsoleReporter()
    rows: list[dict[str, Any]] = []

    def work() -> None:
        earlier = earlier_rows(given.json, "one_size", VERSION, "opinion")
        sizes, name = PRESETS[given.preset], Path(given.data).stem
        spec = smaller_images(given.data, name, sizes.image, given.work / "images")
        problem = problem_of(given.space, name, spec, sizes, None, given.work / "tables", report)
        known = trained(problem, sizes, given, report)
        found = rows_of(known, problem, sizes, given.seed)
        others = [row for row in earlier if any(row[column] != found[0][column] for column in WHAT)]
        rows.extend([*others, *found])

    def written() -> None:
        if rows:
            finish("one_size", rows, [], this_cpu(given.executor), given.json)

    sys.exit(in_pieces(given.minutes, report, work, written))


if __name__ == "__main__":
    main()
