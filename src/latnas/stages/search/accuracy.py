"""The part of a search that knows no device: features of a pool of architectures, short trainings, the fitted judge."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from latnas.data.images import ImageData
from latnas.data.randomness import generator
from latnas.data.splits import splits_of
from latnas.hypernet.propose import extremes, random_within
from latnas.ranking.features import PROXY_BATCH, Reduction
from latnas.ranking.judge import Judge, Score, fit_judge, prior_scores
from latnas.spaces.space import SETTING, Space
from latnas.stages.common.reach import predicted_ends
from latnas.stages.common.runs import RunFolder
from latnas.stages.search.config import SearchConfig
from latnas.training.tasks import RESULT, Task, run_tasks
from latnas.training.trainer import Recipe
from latnas.words.architecture import Architecture, all_architectures, count_architectures
from latnas.words.costs import generic_costs, macs_cost, params_cost
from latnas.words.files import write_json
from latnas.words.forms import Keys, Label, Report, features_of, read_as
from latnas.words.latency import LatencyModel
from latnas.words.reporting import Reporter

CHUNK = 20
SHORT_BATCH = 32
"""Small batches: of equal images seen, more steps rank better than fewer of larger batches."""

MIXTURES = 6
GENERIC_BUDGETS = 6
DRAWS_IN_VAIN = 300
"""So many random architectures that are known already end the pool: there are hardly any others."""

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

    def of(self, architecture: Architecture) -> dict[str, float]:
        """The features of one architecture."""
        return self._known[architecture.key]

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
        return [self.judge.score(architecture.key, self.scores.of(architecture)) for architecture in architectures]


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
        tables: latencies at hand: their fastest and slowest networks join the pool.
        beside: tasks to run beside the features.
        device: where the short trainings run.

    Raises:
        LatnasError: a file is broken, or a training diverged.
    """
    scores = Scores(config, space, data, run)
    pool = {architecture.key: architecture for architecture in initial_pool(space, config)}
    pool |= {end.key: end for latency in tables for end in predicted_ends(space, latency) if end.key not in pool}
    architectures = tuple(pool.values())
    scores.compute(architectures, report, "features", beside)
    labelled = to_be_labelled(space, architectures, scores, config)
    labels = train_briefly(labelled, space, data, config, run, report, device)
    judge = judge_of(architectures, labelled, labels, scores, run)
    report.say(
        f"accuracy model: {len(labels)} short trainings from {min(judge.labels.values()):.1%} to "
        f"{max(judge.labels.values()):.1%}, left-out error {judge.loo_error:.1%}, left-out rank correlation "
        f"{judge.loo_spearman:.2f}, {judge.reliability:.0%} of the labels' variance is more than noise"
    )
    if not judge.helps:
        report.warn("the features rank no better than a constant on these trainings: take the intervals seriously")
    return AccuracyModel(architectures, scores, judge)


def common_config(config: SearchConfig, space: Space) -> dict[str, Any]:
    """What every task is told."""
    return {"data": config.data, "space": space.name, "options": vars(space.options).copy(), "seed": config.seed}


def initial_pool(space: Space, config: SearchConfig) -> list[Architecture]:
    """Distinct architectures within the space's limits: all, or random ones and the ends of every generic cost."""
    if count_architectures(space.decisions) <= config.pool:
        return [
            architecture for architecture in all_architectures(space.decisions, SETTING) if space.allows(architecture)
        ]
    random, cost = generator(config.seed, "pool"), params_cost(space.trace)
    pool = {a.key: a for cost in generic_costs(space.trace, MIXTURES, config.seed) for a in extremes(space, cost)}
    in_vain = 0
    for _ in range(10 * config.pool):
        if len(pool) >= config.pool or in_vain == DRAWS_IN_VAIN:
            break
        drawn = random_within(space, cost, math.inf, random, draws=100)  # where limits leave few, the solver is faster
        in_vain = in_vain + 1 if drawn.key in pool else 0
        pool.setdefault(drawn.key, drawn)
    return list(pool.values())


def to_be_labelled(
    space: Space, pool: Sequence[Architecture], scores: Scores, config: SearchConfig
) -> list[Architecture]:
    """Architectures to train: the best of the pool by the prior, within budgets of generic costs, spread over size.

    Randomly placed short trainings are wasted: these lie where fronts of any device will be.
    """
    prior = prior_scores([scores.of(architecture) for architecture in pool])
    chosen: dict[str, Architecture] = {}
    for cost in generic_costs(space.trace, MIXTURES, config.seed):
        costs = np.array([cost.cost(architecture) for architecture in pool])
        for budget in np.geomspace(costs.min(), costs.max(), GENERIC_BUDGETS):
            within = np.flatnonzero(costs <= budget * (1 + 1e-9))
            best = pool[within[np.argmax(prior[within])]]
            chosen.setdefault(best.key, best)
    rest = [pool[index] for index in np.argsort(-prior) if pool[index].key not in chosen]
    candidates = [*chosen.values(), *rest][: max(config.trainings, len(chosen))]
    macs = macs_cost(space.trace)
    candidates.sort(key=lambda architecture: (macs.cost(architecture), architecture.key))
    positions = np.linspace(0, len(candidates) - 1, min(config.trainings, len(candidates))).round().astype(int)
    return [candidates[position] for position in positions]


def train_briefly(
    architectures: Sequence[Architecture],
    space: Space,
    data: ImageData,
    config: SearchConfig,
    run: RunFolder,
    report: Reporter,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Accuracies after a short training of a reduced copy, on the split `select`."""
    recipe = Recipe(config.training_steps, SHORT_BATCH, pad=0, flip=data.mirrors)
    tasks = [
        Task(
            "latnas.ranking.short_training:short_training_task",
            {
                **common_config(config, space),
                "reduction": asdict(Reduction(config.reduced_width, config.reduced_size)),
                "architecture": architecture.to_json(),
                "recipe": asdict(recipe),
                "device": device,
            },
            run.accuracy / "short" / architecture.key,
            Label,
        )
        for architecture in architectures
    ]
    with report.bar("short trainings") as bar:
        results = run_tasks(tasks, config.workers, lambda done, total: bar.update(done, total, "networks"))
    return results


def judge_of(
    pool: Sequence[Architecture],
    labelled: Sequence[Architecture],
    labels: Sequence[Mapping[str, Any]],
    scores: Scores,
    run: RunFolder,
) -> Judge:
    """Fits the judge and writes down what it found."""
    judge = fit_judge(
        [scores.of(architecture) for architecture in pool],
        {a.key: (scores.of(a), label["accuracy"]) for a, label in zip(labelled, labels, strict=True)},
        images=labels[0]["images"],
    )
    write_json(run.accuracy / JUDGE, judge.report())
    return judge


def features_help(run: RunFolder) -> bool:
    """Whether the features of a finished search ranked better than a constant."""
    return bool(read_as(Report, run.accuracy / JUDGE).get("features_help"))
