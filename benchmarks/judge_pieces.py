"""Which of the judge's pieces pays: finished searches of NAS-Bench-201, scored with and without each.

    python benchmarks/judge_pieces.py --latencies nasbench201.npz --data CIFAR10_FOLDER --runs runs/nasbench201 \\
        --json benchmarks/results/judge_pieces.json

Takes the features and short trainings that `search_nasbench201.py` left for each seed, trains nothing, and lets parts
of the judge choose within the same 24 budgets of the same devices. The first row is the judge as it is; those below
differ from it in one thing, or consist of some of its opinions. Prior and size are its opinions too, which weigh
features by how well these predict the labels: the prior that knows of no label is in `search_nasbench201.py`. Shares
and regret are means over seeds and over all devices but pixel3, by the true CIFAR-10 accuracy; `worst` is that of the
worst device, mean over seeds; `low` to `high` holds the difference to the judge with 95 percent, paired by seed and
device. What is chosen by such rows is chosen on that table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nasbench201_scores import MEAN, Compared, crossed_interval, judged, kept_devices
from nasbench201_table import Table, load_table
from report import as_row, failures_in_one_line, finish, parser
from search_nasbench201 import PRESETS, RUNS, run_of, space_for

from latnas.data.images import ImageData
from latnas.data.sources import load_images
from latnas.errors import LatnasError
from latnas.ranking.judge import Judge
from latnas.spaces.nasbench201 import EDGES, expression
from latnas.stages.common.runs import RunFolder
from latnas.stages.search.accuracy import Scores
from latnas.stages.search.config import SearchConfig
from latnas.stages.search.pool import initial_pool
from latnas.stages.search.trainings import ShortTrainings, fitted
from latnas.words.architecture import Architecture
from latnas.words.reporting import Silent

JUDGE = "the judge"
Features = Mapping[str, float]
Piece = Callable[[Judge, str, Features], float]
"""A value of an architecture, by its key and features."""


def opinions(*weights: float | None) -> Piece:
    """A weighted mean of prior, size and short training; None is the weight that the judge gives."""

    def value(judge: Judge, key: str, features: Features) -> float:
        counts = [judge.say if weight is None else weight for weight in weights]
        return float(np.average(judge.opinions(key, features), weights=counts))

    return value


def without_process(judge: Judge, key: str, features: Features) -> float:
    """Labels predicted by the regression on features alone."""
    prior, size, _ = judge.opinions(key, features)
    regression = float(judge.scale.standard([features])[0] @ judge.model.weights_A + judge.model.intercept)
    return (prior + size + judge.say * judge.short.standard(regression)) / (2 + judge.say)


PIECES: dict[str, Piece] = {
    JUDGE: lambda judge, key, features: judge.score(key, features).value,
    "without caution": lambda judge, key, features: judge.score(key, features, caution=0.0).value,
    "labels predicted from features alone": without_process,
    "equal weights": opinions(1, 1, 1),
    "prior and size": opinions(1, 1, 0),
    "prior and short training": opinions(1, 0, None),
    "size and short training": opinions(0, 1, None),
    "prior": opinions(1, 0, 0),
    "size": opinions(0, 1, 0),
    "short training": opinions(0, 0, 1),
}


def values_of(run: RunFolder, data: ImageData, preset: str) -> tuple[list[Architecture], dict[str, list[float]]]:
    """All cells, and their values by each piece, from what a finished search left.

    Raises:
        LatnasError: it is not finished.
    """
    if not run.config.exists():
        raise LatnasError(f"{run.path} holds no search. Make it: python benchmarks/search_nasbench201.py")
    sizes = PRESETS[preset]
    space = space_for(sizes, data.size, data.channels, len(data.classes))
    config = SearchConfig(data=data.spec, seed=run.read_config()["seed"], **sizes.sizes)
    scores = Scores(config, space, data, run)
    pool = initial_pool(space, config).architectures
    unknown = sum(not scores.knows(one.key) for one in pool)
    if unknown:
        raise LatnasError(f"{run.path} lacks the features of {unknown} cells. Go on: search_nasbench201.py --runs")
    trainings = ShortTrainings(config, space, data, run, Silent())
    judge = fitted(pool, scores, trainings, config.lengths[-1][1])
    found = {name: [piece(judge, one.key, scores.of(one.key)) for one in pool] for name, piece in PIECES.items()}
    return list(pool), found


def compared(table: Table, runs: Mapping[int, tuple[list[Architecture], dict[str, list[float]]]]) -> list[Compared]:
    """Each piece on the table's devices."""
    seeds = [{"seed": seed} for seed in runs]
    return [
        judged(table, "c10", name, [in_order(table, cells, values[name]) for cells, values in runs.values()], seeds)
        for name in PIECES
    ]


def in_order(table: Table, cells: Sequence[Architecture], values: Sequence[float]) -> np.ndarray:
    """The values of cells in the table's order."""
    named = [expression([cell.items[edge] for edge in EDGES]) for cell in cells]
    return table.in_order(dict(zip(named, values, strict=True)))


def rows_of(found: Sequence[Compared], devices: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each piece, over the devices that means are taken over."""
    kept, rows = kept_devices(devices), []
    whole = found[0].hypervolume_RD[:, kept]
    for one in found:
        shares = one.hypervolume_RD[:, kept]
        ends = crossed_interval(shares - whole) or (None, None)
        rows.append(
            as_row(
                piece=one.method, device=MEAN, runs=len(one.runs), hypervolume=float(shares.mean()),
                worst=float(shares.min(1).mean()), regret=float(one.regret_RD[:, kept].mean()),
                difference=float((shares - whole).mean()), low=ends[0], high=ends[1],
            )
        )  # fmt: skip
    return rows


@failures_in_one_line("judge_pieces")
def main() -> None:
    made = parser(__doc__, seeds=(0, 1, 2))
    made.add_argument("--latencies", type=Path, required=True, metavar="FILE.npz")
    made.add_argument("--data", required=True, metavar="FOLDER", help="CIFAR-10, as the searches took it")
    made.add_argument("--preset", choices=list(PRESETS), default="cpu")
    made.add_argument("--runs", type=Path, default=RUNS, metavar="FOLDER", help=f"{RUNS} unless named")
    given = made.parse_args()
    table, data = load_table(given.latencies, ["c10"]), load_images(given.data)
    runs = {seed: values_of(run_of(given.runs, given.preset, seed), data, given.preset) for seed in given.seeds}
    finish("judge_pieces", rows_of(compared(table, runs), table.devices), [], "public tables", given.json)


if __name__ == "__main__":
    main()
