"""Who proposes best: the hypernetwork and its rivals at equal judge calls, with one judge, one solver, one start.

    python benchmarks/proposers.py --data CIFAR10 --work FOLDER --json benchmarks/results/proposers.json

Spaces too large to list: `mbconv` (10^9) and `darts` (10^18), with the tables that ship, of which the linear costs
count. `one` is ONNX Runtime's table. `eight` are ONNX Runtime's, PyTorch's, and six in which each kind of operation
(`k5_e6`, `sep_conv_3x3`) costs ONNX Runtime's price times a factor of its own, log-normal with deviation 0.5: they are
served in turn, thirty calls each, and what one table had scored the next ones know. The judge is a fixed function
of zero-cost features (proposer_judge.py); every method begins with the same networks: the ends of all eight tables and
of ten generic costs, and random ones. `share` is the area under the best score within each budget (over log latency,
above the score of the fastest network) of that of all runs together; `regret` is the mean over 24 budgets of what the
best of all runs scores above the method's choice, as scores are: means of four features, each standardised over random
networks; both after so many judge calls.

Every run is kept in --work, where the judge's features are too: a run that lies there is not done again. All runs there
count, asked for or not, so that all shares are of the same whole; a file of --json that has more than that is refused.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pieces import of_version, this_cpu
from proposer_judge import Judge
from proposer_methods import METHODS, Problem
from report import Reach, as_row, earlier_rows, failures_in_one_line, finish, parser, whole

from latnas.data.images import ImageData
from latnas.data.randomness import generator
from latnas.data.sources import load_images
from latnas.errors import LatnasError, UsageError
from latnas.hypernet.mixture import Scored
from latnas.spaces.solving import extremes
from latnas.spaces.space import SETTING, Space
from latnas.stages.common.tables import latency_of, shipped_tables, space_of
from latnas.training.evaluate import mean_interval
from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange
from latnas.words.costs import AdditiveCost, PartCosts, generic_costs
from latnas.words.files import read_json, write_json
from latnas.words.pareto import hypervolume
from latnas.words.table import LatencyTable, load_table

VERSION = 2
"""Of what is measured: methods, judge and costs.
Raise it when that changes: results of another version are not mixed with these."""

SPACES = ("mbconv", "darts")
TABLES = {"one": 1, "eight": 8}
DEVIATION = 0.5
MIXTURES = 6
START, CALLS, TURN = 60, 300, 30
COUNTS = (100, 200, 300)
BUDGETS = 24
IN_VAIN = 20
SAFETY = 1.05
OURS = "H + local search"


Name = tuple[str, str, str, int]
"""Of a run: space, tables, method, seed."""


@dataclass(frozen=True)
class Setup:
    """One space with its judge, and the costs and budgets of its tables."""

    space: Space
    judge: Judge
    costs: tuple[AdditiveCost, ...]
    budgets: tuple[BudgetRange, ...]


def check_images(data: ImageData) -> None:
    """Raises UsageError where the tables that ship are for other images."""
    if (data.channels, data.size, len(data.classes)) != (3, 32, 10):
        raise UsageError(
            f"{data.spec} has {data.channels}x{data.size}x{data.size} images of {len(data.classes)} classes, and the "
            "tables that ship are for 3x32x32 of ten. Name others: --data CIFAR10_FOLDER"
        )


def setup(name: str, data: ImageData, work: Path) -> Setup:
    """The tables that ship for a space, and those made of them."""
    first, second = (
        load_table(path)
        for runtime in ("onnxruntime", "torch")
        for path in shipped_tables().glob(f"cpu-{runtime}-{name}-*.json")
    )
    space = space_of(first)
    costs = [latency_of(table, space).cost for table in (first, second)]
    costs += [reweighted(first, space, seed) for seed in range(TABLES["eight"] - len(costs))]
    budgets = []
    for cost in costs:
        low, high = extremes(space, cost)
        budgets.append(BudgetRange(SAFETY * cost.cost(low), cost.cost(high)))
    return Setup(space, Judge(space, data, work), tuple(costs), tuple(budgets))


def reweighted(table: LatencyTable, space: Space, seed: int) -> AdditiveCost:
    """Another device: each kind of operation is faster or slower by a factor of its own."""
    prices = table.calibration.linear
    kinds = sorted({_kind(part) for decision in space.decisions for part in decision.parts})
    logs = DEVIATION * np.random.default_rng([seed, len(kinds)]).normal(size=len(kinds))
    factor = dict(zip(kinds, np.exp(logs).tolist(), strict=True))
    parts = {
        d.name: np.array([prices.parts_ms[SETTING][d.name][part] * factor[_kind(part)] for part in d.parts])
        for d in space.decisions
    }
    return PartCosts(space.decisions, prices.fixed_ms, {SETTING: parts}).of_items("ms").scaled(table.factor)


def run(task: Setup, tables: str, method: str, seed: int, calls: int) -> dict[str, Any]:
    """Everything that one run scored, in order, and the CPU seconds that the method took itself."""
    problems = [
        Problem(task.space, cost, budgets, seed) for cost, budgets in zip(task.costs, task.budgets, strict=True)
    ][: TABLES[tables]]
    methods = [METHODS[method](problem) for problem in problems]
    known = {architecture.key: architecture for architecture in start(task, seed)}
    scores = [task.judge.score(architecture) for architecture in known.values()]
    seconds, in_vain = 0.0, 0
    while len(known) < calls and in_vain < IN_VAIN:
        turn = (len(known) - START) // TURN
        left = min(calls, START + (turn + 1) * TURN) - len(known)
        began = time.process_time()
        proposals = methods[turn % len(methods)](Scored(tuple(known.values()), tuple(scores)), left)
        seconds += time.process_time() - began
        fresh = list({a.key: a for a in proposals if a.key not in known}.values())[:left]
        in_vain = 0 if fresh else in_vain + 1
        known |= {architecture.key: architecture for architecture in fresh}
        scores += [task.judge.score(architecture) for architecture in fresh]
    costs = [[problem.cost.cost(architecture) for architecture in known.values()] for problem in problems]
    return {"costs": costs, "scores": scores, "seconds": seconds, "judge_seconds": task.judge.seconds}


def start(task: Setup, seed: int) -> list[Architecture]:
    """What every method begins with: the ends of each table and of generic costs, and random networks."""
    random = generator(seed, "start")
    ends = [*task.costs, *generic_costs(task.space.trace, MIXTURES, seed)]
    found = {a.key: a for cost in ends for a in extremes(task.space, cost)}
    while len(found) < START:
        drawn = task.space.random(random)
        found.setdefault(drawn.key, drawn)
    return list(found.values())


def best_within(costs: Sequence[float], scores: Sequence[float]) -> Callable[[float], tuple[float, float]]:
    """For a budget, the best score within it and what that costs: of equal scores the least."""
    pairs = sorted(zip(costs, scores, strict=True), key=lambda pair: (-pair[1], pair[0]))

    def best(budget: float) -> tuple[float, float]:
        return next((score, cost) for cost, score in pairs if cost <= budget)

    return best


def quality(trace: Mapping[str, Any], everything: Sequence[Mapping[str, Any]], task: Setup, calls: int) -> np.ndarray:
    """[3]: share, regret, and the part of the budget that choices use; means over the tables."""
    found = []
    for number, costs in enumerate(trace["costs"]):
        budgets = task.budgets[number]
        end, least = math.log(budgets.slowest_ms) + 1e-9, trace["scores"][int(np.argmin(costs))]
        all_costs = [c for other in everything for c in other["costs"][number]]
        all_scores = [s for other in everything for s in other["scores"]]
        areas = [
            hypervolume([math.log(cost) for cost in some], values, end, least)
            for some, values in ((costs[:calls], trace["scores"][:calls]), (all_costs, all_scores))
        ]
        mine, truth = best_within(costs[:calls], trace["scores"][:calls]), best_within(all_costs, all_scores)
        limits = [budgets.budget_ms(lam) for lam in budgets.spread(BUDGETS)]
        regret = float(np.mean([truth(budget)[0] - mine(budget)[0] for budget in limits]))
        used = float(np.mean([mine(budget)[1] / budget for budget in limits]))
        found.append([areas[0] / areas[1], regret, used])
    means: np.ndarray = np.mean(found, axis=0)
    return means


def rows_of(traces: Mapping[Name, Mapping[str, Any]], tasks: Mapping[str, Setup]) -> list[Any]:
    """One row for each space, tables and method: means over seeds, and the 95 percent interval of the share."""
    rows = []
    for space, tables, method in dict.fromkeys(key[:3] for key in traces):
        everything = [trace for key, trace in traces.items() if key[:2] == (space, tables)]
        mine = [trace for key, trace in traces.items() if key[:3] == (space, tables, method)]
        values = {
            calls: np.array([quality(trace, everything, tasks[space], calls) for trace in mine]) for calls in COUNTS
        }
        rows.append(
            as_row(
                space=space, tables=tables, method=method, seeds=len(mine),
                **{f"share_{calls}": float(values[calls][:, 0].mean()) for calls in COUNTS},
                interval=_interval(values[COUNTS[-1]][:, 0]), regret=float(values[COUNTS[-1]][:, 1].mean()),
                budget_used=float(values[COUNTS[-1]][:, 2].mean()),
                own_seconds=float(np.mean([trace["seconds"] for trace in mine])),
                judge_seconds=COUNTS[-1] * mine[-1]["judge_seconds"], version=VERSION,
            )
        )  # fmt: skip
    return rows


def reach(traces: Mapping[Name, Mapping[str, Any]], tasks: Mapping[str, Setup]) -> list[Reach]:
    """H with local search against each rival, seed by seed: the low end of the difference between their shares."""
    found = []
    for space, tables in dict.fromkeys(key[:2] for key in traces):
        everything = [trace for key, trace in traces.items() if key[:2] == (space, tables)]
        share = {
            key[2:]: quality(trace, everything, tasks[space], COUNTS[-1])[0]
            for key, trace in traces.items()
            if key[:2] == (space, tables)
        }
        for rival in dict.fromkeys(method for method, _ in share if method != OURS):
            seeds = [seed for method, seed in share if method == rival and (OURS, seed) in share]
            if len(seeds) > 1:
                ahead = np.array([share[OURS, seed] - share[rival, seed] for seed in seeds])
                low = float(ahead.mean()) - _interval(ahead)
                found.append(Reach(f"{space}, {tables}: share above {rival}, low end of 95 %", low, 0.0, "higher"))
    return found


def file_of(name: Name, folder: Path) -> Path:
    """Where a run is kept."""
    space, tables, method, seed = name
    return folder / f"{space}-{tables}-{method.replace(' ', '')}-{seed}.json"


def kept_in(folder: Path) -> list[Name]:
    """All runs that a folder has."""
    return [
        (space, tables, method, int(seed))
        for space in SPACES
        for tables in TABLES
        for method in METHODS
        for path in sorted(folder.glob(f"{space}-{tables}-{method.replace(' ', '')}-*.json"))
        if (seed := path.stem.rpartition("-")[2]).isdecimal()
    ]


def check_has_all(names: Sequence[Name], rows: Sequence[Mapping[str, Any]], out: Path | None) -> None:
    """Raises LatnasError where the rows of the results file are of more runs than these: they would be lost."""
    seeds = Counter(name[:3] for name in names)
    for row in rows:
        name = (row["space"], row["tables"], row["method"])
        if row["seeds"] > seeds[name]:
            raise LatnasError(
                f"{out} has {row['seeds']} seeds of {', '.join(name)}, and --work has {seeds[name]}. Name the folder "
                "that these lie in, or another file: --json FILE"
            )


@failures_in_one_line("proposers")
def main() -> None:
    arguments = parser(__doc__, seeds=range(5))
    arguments.add_argument("--data", required=True, help="3x32x32 images of ten classes, as --data of latnas")
    arguments.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="features and runs are kept here")
    arguments.add_argument("--spaces", nargs="+", choices=SPACES, default=SPACES)
    arguments.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    arguments.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    arguments.add_argument("--most", type=whole(0), default=1000, metavar="RUNS", help="0 reports on what was run")
    given = arguments.parse_args()
    earlier = earlier_rows(given.json, "proposers", VERSION, "method")
    torch.set_num_threads(1)
    data = load_images(given.data)
    check_images(data)
    folder = of_version(given.work / "runs", VERSION)
    wanted = [
        (space, tables, method, seed)
        for tables in given.tables
        for seed in given.seeds
        for space in given.spaces
        for method in given.methods
    ]
    known = kept_in(folder)
    check_has_all([*{*known, *wanted}], earlier, given.json)
    tasks = {name: setup(name, data, given.work) for name in {*given.spaces, *(space for space, *_ in known)}}
    for name in [name for name in wanted if name not in known][: given.most]:
        space, tables, method, seed = name
        write_json(file_of(name, folder), run(tasks[space], tables, method, seed, CALLS))
    traces = {name: read_json(file_of(name, folder)) for name in kept_in(folder)}
    check_has_all([*traces], earlier, given.json)
    finish("proposers", rows_of(traces, tasks), reach(traces, tasks), this_cpu(), given.json)


def _interval(values: np.ndarray) -> float:
    """Half the width of the 95 percent interval of a mean; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    low, high = mean_interval(values.tolist())
    return (high - low) / 2


def _kind(part: str) -> str:
    return part.rpartition("/")[2]


if __name__ == "__main__":
    main()
