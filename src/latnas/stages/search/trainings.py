"""Short trainings of reduced copies: which networks get one, how long, and the judge that is fitted to them.

Where the pool is not the whole space, half of the trainings come before the proposals, along the fronts of a pool of
mostly random networks, and half after them, along the fronts of everything scored by then: the networks that budgets
are decided between. Elsewhere all of them come first.

Shapes: C costs, N networks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from latnas.data.images import ImageData
from latnas.errors import LatnasError
from latnas.ranking.features import Reduction
from latnas.ranking.judge import LEAST_LABELS, LEAST_TO_COMPARE_BY, Judge, fit_judge, prior_scores
from latnas.ranking.labels import joined
from latnas.ranking.short_training import CHECKPOINT
from latnas.ranking.shortlist import shortlist
from latnas.spaces.space import Space
from latnas.stages.common.runs import RunFolder
from latnas.stages.search.config import SearchConfig
from latnas.training.tasks import RESULT, Task, run_tasks
from latnas.training.trainer import Recipe
from latnas.words.architecture import Architecture
from latnas.words.costs import CostModel
from latnas.words.forms import Label, read_as
from latnas.words.reporting import Reporter

SHORT_BATCH = 64

THIRDS = 3
"""Many short trainings come in three parts, each placed by what the ones before have taught."""


class Features(Protocol):
    """Features, and parts that run, by an architecture's key."""

    def of(self, key: str) -> dict[str, float]: ...

    def parts(self, key: str) -> frozenset[str]: ...

    def knows(self, key: str) -> bool: ...


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

    def train(self, architectures: Sequence[Architecture], steps: int) -> None:
        """Runs what the run does not have yet."""
        tasks = [self._task(architecture, steps) for architecture in architectures]
        kind = "long" if steps == self.config.long_steps else "short"
        with self.report.bar(f"{kind} trainings of {steps} steps") as bar:
            run_tasks(tasks, self.config.workers, lambda done, total: bar.update(done, total, "networks"))

    def known(self, most_steps: int) -> dict[int, dict[str, dict[str, float]]]:
        """Every one of no more than `most_steps`: by steps, then by the architecture's key."""
        found: dict[int, dict[str, dict[str, float]]] = {}
        for path in sorted(self.run.accuracy.glob(f"short/*/{RESULT}")):
            key, _, steps = path.parent.name.partition("-")
            if steps.isdecimal() and int(steps) <= most_steps:
                found.setdefault(int(steps), {})[key] = read_as(Label, path)
        return found

    def long(self) -> dict[str, dict[str, float]]:
        """The long ones that there are, by the architecture's key."""
        return self.known(self.config.long_steps).get(self.config.long_steps, {})

    @property
    def longer(self) -> float:
        """How many times as many images a network sees in the training of an export as in a long one."""
        return self.config.epochs * len(self.data.train) / (self.config.long_steps * SHORT_BATCH)

    def _task(self, architecture: Architecture, steps: int) -> Task:
        config = {
            **common_config(self.config, self.space),
            "reduction": asdict(Reduction(self.config.reduced_width, self.config.reduced_size)),
            "architecture": architecture.to_json(),
            "recipe": asdict(Recipe(steps, SHORT_BATCH, pad=0, flip=self.data.mirrors)),
            "train_on": self.config.train_on,
        }
        folder = self.run.accuracy / "short" / f"{architecture.key}-{steps}"
        return Task("latnas.ranking.short_training:short_training_task", config, folder, Label, (CHECKPOINT,))


@dataclass(frozen=True)
class Candidates:
    """Networks that may be trained: their features, what they cost [C, N], their sizes [N]; budgets, of each cost."""

    architectures: Sequence[Architecture]
    rows: Sequence[dict[str, float]]
    costs_CN: np.ndarray
    sizes_N: np.ndarray
    budgets: Sequence[float] = ()

    @classmethod
    def of(cls, architectures: Sequence[Architecture], features: Features, costs: Sequence[CostModel]) -> Candidates:
        """With every cost of every network, and many budgets of each."""
        return cls._of(architectures, features, [[cost.cost(one) for one in architectures] for cost in costs], ())

    @classmethod
    def within(
        cls,
        architectures: Sequence[Architecture],
        features: Features,
        latencies_ms: Sequence[float],
        budgets_ms: Sequence[float],
    ) -> Candidates:
        """For these budgets alone."""
        return cls._of(architectures, features, [latencies_ms], budgets_ms)

    @classmethod
    def _of(
        cls,
        architectures: Sequence[Architecture],
        features: Features,
        costs: Sequence[Sequence[float]],
        budgets: Sequence[float],
    ) -> Candidates:
        rows = [features.of(architecture.key) for architecture in architectures]
        return cls(architectures, rows, np.array(costs), np.array([row["log_macs"] for row in rows]), budgets)

    def best(self, values_N: np.ndarray, count: int, sure: Collection[str] = ()) -> Candidates:
        """Those along the fronts of these values, the ones of the keys in `sure` among them."""
        certain = [position for position, one in enumerate(self.architectures) if one.key in sure]
        chosen = shortlist(self.costs_CN, values_N, self.sizes_N, count, certain, self.budgets)
        return Candidates(
            [self.architectures[position] for position in chosen],
            [self.rows[position] for position in chosen],
            self.costs_CN[:, chosen],
            self.sizes_N[chosen],
            self.budgets,
        )

    def judged(self, judge: Judge) -> np.ndarray:
        """[N]: the judge's scores, without caution: a doubtful network is worth a training."""
        pairs = zip(self.architectures, self.rows, strict=True)
        return np.array([judge.score(architecture.key, row, caution=0.0).value for architecture, row in pairs])

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(architecture.key for architecture in self.architectures)


def first_trainings(trainings: int, whole_space: bool) -> int:
    """How many of so many short trainings come before the proposals."""
    return trainings if whole_space else min(max(trainings // 2, LEAST_LABELS), trainings)


def train_first(
    pool: Sequence[Architecture],
    features: Features,
    trainings: ShortTrainings,
    costs: Sequence[CostModel],
    count: int,
) -> tuple[Judge, frozenset[str]]:
    """Trains a shortlist of the pool; returns the judge of these alone, and their keys.

    Many are trained in three parts. What was trained later, or by a search that was killed, never counts for what is
    chosen earlier.
    """
    steps = trainings.config.training_steps
    candidates = Candidates.of(pool, features, costs)
    values_N, trained = prior_scores(candidates.rows), frozenset[str]()
    parts = THIRDS if count >= THIRDS * LEAST_TO_COMPARE_BY else 1
    for part in range(1, parts + 1):
        chosen = candidates.best(values_N, count * part // parts, trained)
        trainings.train(chosen.architectures, steps)
        trained = chosen.keys
        judge = fitted(pool, features, trainings, steps, trained)
        if part < parts:
            values_N = candidates.judged(judge)
    return judge, trained


def train_rest(
    pool: Sequence[Architecture],
    candidates: Candidates,
    features: Features,
    trainings: ShortTrainings,
    judge: Judge,
    trained: Collection[str],
    values_N: np.ndarray | None = None,
) -> Judge:
    """Trains the shortlist of candidates, then the best of it anew and longer, and again; returns the last judge.

    Longer trainings start anew: the learning rate of a shorter one has ended at zero. Of the run's trainings those of
    the shortlist count alone: a front that was lost is made again as it was, whatever others have added since.

    Args:
        pool: sets the scale of features.
        candidates: everything found, to choose from.
        judge: by whose scores the first are chosen, unless `values_N` are given.
        trained: keys of what `train_first` trained.
        values_N: what else the first are chosen by.
    """
    (count, steps), *longer = trainings.config.lengths
    chosen = candidates.best(candidates.judged(judge) if values_N is None else values_N, count, trained)
    trainings.train(chosen.architectures, steps)
    shortlisted = chosen.keys
    judge = fitted(pool, features, trainings, steps, shortlisted)
    for count, steps in longer:
        chosen = chosen.best(chosen.judged(judge), count)
        trainings.train(chosen.architectures, steps)
        judge = fitted(pool, features, trainings, steps, shortlisted)
    return judge


def fitted(
    pool: Sequence[Architecture],
    features: Features,
    trainings: ShortTrainings,
    most_steps: int,
    only: Collection[str] | None = None,
) -> Judge:
    """The judge of the run's trainings of no more than `most_steps`, of all architectures or of those named.

    Raises:
        LatnasError: the run has none, or too few.
    """
    by_steps = trainings.known(most_steps)
    if not by_steps:
        where = trainings.run.accuracy / "short"
        raise LatnasError(f"{where} holds none of the run's trainings. Copy all of the run, or search anew.")
    accuracies = {steps: {key: one["accuracy"] for key, one in found.items()} for steps, found in by_steps.items()}
    labels = {
        key: (features.of(key), label)
        for key, label in joined(accuracies).items()
        if features.knows(key) and (only is None or key in only)
    }
    images = min(int(one["images"]) for found in by_steps.values() for one in found.values())
    return fit_judge([features.of(architecture.key) for architecture in pool], labels, images, features.parts)
