"""The part of a search that knows no device: features of a pool of architectures, short trainings, the fitted judge."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from latnas.data.images import ImageData
from latnas.data.splits import splits_of
from latnas.ranking.features import PROXY_BATCH, Reduction
from latnas.ranking.judge import LEAST_TO_CHOOSE_BY, Judge, Score, fit_judge, prior_scores
from latnas.ranking.labels import joined
from latnas.ranking.shortlist import shortlist
from latnas.spaces.space import Space
from latnas.stages.common.runs import RunFolder
from latnas.stages.search.config import SearchConfig
from latnas.stages.search.pool import initial_pool
from latnas.training.tasks import RESULT, Task, run_tasks
from latnas.training.trainer import Recipe
from latnas.words.architecture import Architecture
from latnas.words.costs import CostModel, generic_costs
from latnas.words.files import write_json
from latnas.words.forms import Keys, Label, Report, features_of, read_as
from latnas.words.latency import LatencyModel
from latnas.words.reporting import Reporter

CHUNK = 20
SHORT_BATCH = 64

MIXTURES = 12
"""Random mixtures of the operations' costs, beside the four generic costs, along which networks are shortlisted."""

FIRST_PART = 3
"""One short training of three finds out which features to go by, if these are enough to tell."""

JUDGE = "judge.json"


class Scores:
    """Features by architecture, computed when first asked for and kept in `accuracy/features/`."""

    def __init__(self, config: SearchConfig, space: Space, data: ImageData, run: RunFolder) -> None:
        self._config, self._space, self._run = config, space, run
        splits = splits_of(data, config.seed)
        self._images = splits.train[:PROXY_BATCH].tolist()
        self._known: dict[str, dict[str, float]] = {}
        for path in sorted(run.accuracy.glob(f"features/*/{RESULT}")):
            keys = read_as(Keys, path.with_name("keys.json"))
            found = read_as(features_of(len(keys)), path)
            self._known.update(zip(keys, found, strict=True))

    def tasks(self, architectures: Sequence[Architecture]) -> list[Task]:
        """What has to be run before `of` can answer for these architectures."""
        unknown = list({a.key: a for a in architectures if a.key not in self._known}.values())
        chunks = [unknown[start : start + CHUNK] for start in range(0, len(unknown), CHUNK)]
        return [self._task(chunk) for chunk in chunks]

    def take(self, tasks: Sequence[Task], results: Sequence[Any]) -> None:
        """Takes in the results of tasks that were run."""
        for task, found in zip(tasks, results, strict=True):
            keys = [Architecture.from_json(value).key for value in task.config["architectures"]]
            self._known.update(zip(keys, found, strict=True))

    def compute(
        self, architectures: Sequence[Architecture], report: Reporter, name: str, beside: Sequence[Task] = ()
    ) -> None:
        """Runs what is missing, and `beside` with it: the longest first, so that no process waits for it at the end."""
        tasks = self.tasks(architectures)
        with report.bar(name) as bar:
            results = run_tasks(
                [*beside, *tasks], self._config.workers, lambda done, total: bar.update(done, total, "tasks")
            )
        self.take(tasks, results[len(beside) :])

    def of(self, key: str) -> dict[str, float]:
        """The features of the architecture called `key`."""
        return self._known[key]

    def knows(self, key: str) -> bool:
        """Whether its features were computed, in this search or an earlier one of the same run."""
        return key in self._known

    def _task(self, architectures: Sequence[Architecture]) -> Task:
        keys = [architecture.key for architecture in architectures]
        folder = self._run.accuracy / "features" / hashlib.sha256("".join(keys).encode()).hexdigest()[:12]
        write_json(folder / "keys.json", keys)
        config = {
            **common_config(self._config, self._space),
            "reduction": asdict(Reduction(self._config.reduced_width, self._config.reduced_size)),
            "architectures": [architecture.to_json() for architecture in architectures],
            "images": self._images,
        }
        return Task("latnas.ranking.features:features_task", config, folder, features_of(len(keys)))


@dataclass(frozen=True)
class AccuracyModel:
    """What a search knows of accuracy: the pool that was looked at first, its features, and the judge."""

    pool: tuple[Architecture, ...]
    scores: Scores
    judge: Judge

    def of(self, architectures: Sequence[Architecture], name: str, report: Reporter) -> list[Score]:
        """The judge's scores. Features that are unknown are computed first, under a bar of this name."""
        self.scores.compute(architectures, report, name)
        return [self.judge.score(architecture.key, self.scores.of(architecture.key)) for architecture in architectures]


def accuracy_model(
    config: SearchConfig,
    space: Space,
    data: ImageData,
    run: RunFolder,
    report: Reporter,
    tables: Sequence[LatencyModel] = (),
    beside: Sequence[Task] = (),
    device: str = "cpu",
) -> AccuracyModel:
    """Pool, features, short trainings and the judge fitted to them; what the run has of these already is not redone.

    Args:
        config: `data`, `seed`, `executor` and the sizes of pool and trainings count here.
        space: with its limits.
        data: the images that `config.data` names.
        run: where everything is kept, in `accuracy/`.
        report: what is told of it.
        tables: latencies at hand, for the shortlist and the pool beside the costs that know no device.
        beside: tasks to run beside the features.
        device: where the short trainings run.

    Raises:
        LatnasError: a file is broken, or a training diverged.
    """
    scores = Scores(config, space, data, run)
    pool = initial_pool(space, config, tables)
    scores.compute(pool, report, "features", beside)
    costs = [*(latency.cost for latency in tables), *generic_costs(space.trace, MIXTURES, config.seed)]
    trainings = ShortTrainings(config, space, data, run, report, device)
    judge = train_by_halving(pool, scores, trainings, costs)
    write_json(run.accuracy / JUDGE, judge.report())
    report.say(
        f"accuracy model: {len(judge.labels)} networks trained briefly, from {min(judge.labels.values()):.1%} to "
        f"{max(judge.labels.values()):.1%}, left-out error {judge.loo_error:.1%}, left-out rank correlation "
        f"{judge.loo_spearman:.2f}, {judge.reliability:.0%} of the labels' variance is more than noise"
    )
    if not judge.helps:
        report.warn(
            "the features tell these trainings hardly better apart than a constant: take the intervals seriously"
        )
    return AccuracyModel(pool, scores, judge)


def common_config(config: SearchConfig, space: Space) -> dict[str, Any]:
    """What every task is told."""
    return {"data": config.data, "space": space.name, "options": vars(space.options).copy(), "seed": config.seed}


@dataclass(frozen=True)
class ShortTrainings:
    """Accuracies of reduced copies after short trainings, on the split `select`; all are kept in `accuracy/short/`."""

    config: SearchConfig
    space: Space
    data: ImageData
    run: RunFolder
    report: Reporter
    device: str

    def train(self, architectures: Sequence[Architecture], steps: int) -> None:
        """Runs what the run does not have yet."""
        tasks = [self._task(architecture, steps) for architecture in architectures]
        with self.report.bar(f"short trainings of {steps} steps") as bar:
            run_tasks(tasks, self.config.workers, lambda done, total: bar.update(done, total, "networks"))

    def known(self, most_steps: int) -> dict[int, dict[str, dict[str, float]]]:
        """Every one of no more than `most_steps`: by steps, then by the architecture's key."""
        found: dict[int, dict[str, dict[str, float]]] = {}
        for path in sorted(self.run.accuracy.glob(f"short/*/{RESULT}")):
            key, _, steps = path.parent.name.partition("-")
            if steps.isdecimal() and int(steps) <= most_steps:
                found.setdefault(int(steps), {})[key] = read_as(Label, path)
        return found

    def _task(self, architecture: Architecture, steps: int) -> Task:
        config = {
            **common_config(self.config, self.space),
            "reduction": asdict(Reduction(self.config.reduced_width, self.config.reduced_size)),
            "architecture": architecture.to_json(),
            "recipe": asdict(Recipe(steps, SHORT_BATCH, pad=0, flip=self.data.mirrors)),
            "device": self.device,
        }
        folder = self.run.accuracy / "short" / f"{architecture.key}-{steps}"
        return Task("latnas.ranking.short_training:short_training_task", config, folder, Label)


def train_by_halving(
    pool: Sequence[Architecture], scores: Scores, trainings: ShortTrainings, costs: Sequence[CostModel]
) -> Judge:
    """Trains a shortlist of the pool, then the best of it anew and longer, and again; returns the last judge.

    A first part of many shortest trainings finds out by which features the rest is chosen. Longer trainings start
    anew: the learning rate of a shorter one has ended at zero. What was trained later, or by a search that was killed,
    never counts for what is chosen earlier.
    """
    rows = [scores.of(architecture.key) for architecture in pool]
    costs_CN = np.array([[cost.cost(architecture) for architecture in pool] for cost in costs])
    sizes_N = np.array([row["log_macs"] for row in rows])
    (count, steps), *longer = trainings.config.lengths

    values_N, chosen = prior_scores(rows), list[int]()
    if count >= FIRST_PART * LEAST_TO_CHOOSE_BY:
        chosen = shortlist(costs_CN, values_N, sizes_N, count // FIRST_PART)
        trainings.train([pool[position] for position in chosen], steps)
        judge = fitted(pool, scores, trainings, steps, {pool[position].key for position in chosen})
        values_N = prior_scores(rows, judge.fit.features)
    chosen = shortlist(costs_CN, values_N, sizes_N, count, chosen)
    trainings.train([pool[position] for position in chosen], steps)
    judge = fitted(pool, scores, trainings, steps)

    for count, steps in longer:
        values = np.array([judge.score(pool[position].key, rows[position]).value for position in chosen])
        best = shortlist(costs_CN[:, chosen], values, sizes_N[chosen], count)
        chosen = [chosen[position] for position in best]
        trainings.train([pool[position] for position in chosen], steps)
        judge = fitted(pool, scores, trainings, steps)
    return judge


def fitted(
    pool: Sequence[Architecture],
    scores: Scores,
    trainings: ShortTrainings,
    most_steps: int,
    only: Collection[str] | None = None,
) -> Judge:
    """The judge of the run's trainings of no more than `most_steps`, of all architectures or of those named."""
    by_steps = trainings.known(most_steps)
    accuracies = {steps: {key: one["accuracy"] for key, one in found.items()} for steps, found in by_steps.items()}
    labels = {
        key: (scores.of(key), label)
        for key, label in joined(accuracies).items()
        if scores.knows(key) and (only is None or key in only)
    }
    images = min(int(one["images"]) for found in by_steps.values() for one in found.values())
    return fit_judge([scores.of(architecture.key) for architecture in pool], labels, images)


def features_help(run: RunFolder) -> bool:
    """Whether the features of a finished search ranked better than a constant."""
    return bool(read_as(Report, run.accuracy / JUDGE).get("features_help"))
