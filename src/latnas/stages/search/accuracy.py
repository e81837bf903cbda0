"""The part of a search that knows no device: features of architectures, short trainings, the judge fitted to them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from latnas.data.images import ImageData
from latnas.data.splits import splits_of
from latnas.ranking.features import PROXY_BATCH, Reduction
from latnas.ranking.judge import Judge
from latnas.ranking.label_model import Parts, parts_of
from latnas.ranking.long_model import LEAST_LONG, LongLabel, LongModel, View, fit_long_model
from latnas.spaces.space import Space
from latnas.stages.common.runs import RunFolder
from latnas.stages.search.config import SearchConfig
from latnas.stages.search.pool import Pool, initial_pool
from latnas.stages.search.trainings import (
    Candidates,
    ShortTrainings,
    common_config,
    first_trainings,
    train_first,
    train_rest,
)
from latnas.training.tasks import RESULT, Task, run_tasks
from latnas.words.architecture import Architecture, distinct
from latnas.words.costs import CostModel, generic_costs
from latnas.words.estimate import Estimate
from latnas.words.files import write_json
from latnas.words.forms import Architectures, Report, features_of, read_as
from latnas.words.latency import LatencyModel
from latnas.words.reporting import Reporter

CHUNK = 20

MIXTURES = 12
"""Random mixtures of the operations' costs, beside the four generic costs, along which networks are shortlisted."""

JUDGE, NETWORKS = "judge.json", "networks.json"


class Scores:
    """Features by architecture, computed when first asked for and kept in `accuracy/features/`."""

    def __init__(self, config: SearchConfig, space: Space, data: ImageData, run: RunFolder) -> None:
        self._config, self._space, self._run = config, space, run
        splits = splits_of(data, config.seed)
        self._images = splits.train[:PROXY_BATCH].tolist()
        self._known: dict[str, dict[str, float]] = {}
        self._parts: dict[str, Parts] = {}
        for path in sorted(run.accuracy.glob(f"features/*/{NETWORKS}")):
            if not (result := path.with_name(RESULT)).exists():
                continue
            values = read_as(Architectures, path)
            self._take([Architecture.from_json(value) for value in values], read_as(features_of(len(values)), result))

    def compute(
        self, architectures: Sequence[Architecture], report: Reporter, name: str, beside: Sequence[Task] = ()
    ) -> None:
        """Runs what is missing, and `beside` with it: the longest first, so that no process waits for it at the end."""
        unknown = distinct(one for one in architectures if one.key not in self._known)
        chunks = [unknown[start : start + CHUNK] for start in range(0, len(unknown), CHUNK)]
        if not (chunks or beside):
            return
        with report.bar(name) as bar:
            results = run_tasks(
                [*beside, *map(self._task, chunks)],
                self._config.workers,
                lambda done, total: bar.update(done, total, "tasks"),
            )
        for chunk, found in zip(chunks, results[len(beside) :], strict=True):
            self._take(chunk, found)

    def of(self, key: str) -> dict[str, float]:
        """The features of the architecture called `key`."""
        return self._known[key]

    def parts(self, key: str) -> Parts:
        """The parts that run in the architecture called `key`, each with its decision's name."""
        return self._parts[key]

    def knows(self, key: str) -> bool:
        """Whether its features were computed, in this search or an earlier one of the same run."""
        return key in self._known

    def _task(self, architectures: Sequence[Architecture]) -> Task:
        keys = "".join(architecture.key for architecture in architectures)
        folder = self._run.accuracy / "features" / hashlib.sha256(keys.encode()).hexdigest()[:12]
        write_json(folder / NETWORKS, [architecture.to_json() for architecture in architectures])
        config = {
            **common_config(self._config, self._space),
            "reduction": asdict(Reduction(self._config.reduced_width, self._config.reduced_size)),
            "architectures": [architecture.to_json() for architecture in architectures],
            "images": self._images,
        }
        return Task("latnas.ranking.features:features_task", config, folder, features_of(len(architectures)))

    def _take(self, architectures: Sequence[Architecture], found: Sequence[dict[str, float]]) -> None:
        for architecture, features in zip(architectures, found, strict=True):
            self._known[architecture.key] = features
            self._parts[architecture.key] = parts_of(architecture, self._space)


@dataclass(frozen=True)
class AccuracyModel:
    """What a search knows of accuracy.

    Attributes:
        pool: what was looked at first.
        scores: the features.
        trainings: the short trainings of the run.
        judge: fitted to them.
        first: keys of those that came before the proposals.
        long: fitted to long trainings, where there are any that count: networks are ranked by it then.
    """

    pool: Pool
    scores: Scores
    trainings: ShortTrainings
    judge: Judge
    first: frozenset[str]
    long: LongModel | None = None

    def of(self, architectures: Sequence[Architecture], name: str, report: Reporter) -> list[Estimate]:
        """What networks are ranked by. Features that are unknown are computed first, under a bar of this name."""
        self.scores.compute(architectures, report, name)
        ranker = self.long or self.judge
        return [ranker.score(architecture.key, self.scores.of(architecture.key)) for architecture in architectures]

    def judged_by(self, judge: Judge) -> AccuracyModel:
        """With another judge; the long trainings that count stay the same."""
        model = replace(self, judge=judge)
        return model if self.long is None else model.taught_by(self.long.own)

    def taught_by(self, keys: Collection[str]) -> AccuracyModel:
        """By the long trainings of the networks of these keys, where these are enough to fit on."""
        if len(keys) < LEAST_LONG:
            return replace(self, long=None)
        known = self.trainings.long()
        labels = {
            key: LongLabel(self.scores.of(key), known[key]["accuracy"], int(known[key]["images"]))
            for key in sorted(keys)  # in whichever order they came, it is the same to the last bit
        }
        if self.long is not None and self.long.view.judge is self.judge:
            view = self.long.view
        else:
            view = View.of(self.judge, {one.key: self.scores.of(one.key) for one in self.pool.architectures})
        return replace(self, long=fit_long_model(view, labels, self.trainings.longer))

    def completed(self, candidates: Candidates, values_N: np.ndarray | None = None) -> AccuracyModel:
        """After the short trainings that are left for these, all of which were scored, and the longer ones.

        Args:
            candidates: what to choose from.
            values_N: what they are chosen by; the judge's scores unless given.
        """
        pool = self.pool.architectures
        return self.judged_by(
            train_rest(pool, candidates, self.scores, self.trainings, self.judge, self.first, values_N)
        )

    def tell(self, report: Reporter) -> None:
        """Says how good the judge is, and leaves that in the run."""
        judge = self.judge
        write_json(self.trainings.run.accuracy / JUDGE, judge.report())
        report.say(
            f"accuracy model: {len(judge.labels)} networks trained briefly, from {min(judge.labels.values()):.1%} to "
            f"{max(judge.labels.values()):.1%}, left-out error {judge.loo_error:.1%}, left-out rank correlation "
            f"{judge.loo_spearman:.2f}, {judge.reliability:.0%} of the labels' variance is more than noise"
        )
        if not judge.helps:
            report.warn(
                "the features tell these trainings hardly better apart than a constant: take the intervals seriously"
            )


def accuracy_model(
    config: SearchConfig,
    space: Space,
    data: ImageData,
    run: RunFolder,
    report: Reporter,
    tables: Sequence[LatencyModel] = (),
    beside: Sequence[Task] = (),
) -> AccuracyModel:
    """Pool, features, short trainings and the judge fitted to them; what the run has of these already is not redone.

    Where the pool is the whole space the model is complete. Elsewhere half of the trainings are left for what is
    proposed: see `AccuracyModel.completed`.

    Args:
        config: `data`, `seed`, `executor`, `train_on` and the sizes of pool and trainings count here.
        space: with its limits.
        data: the images that `config.data` names.
        run: where everything is kept, in `accuracy/`.
        report: what is told of it.
        tables: latencies at hand, for the shortlist and the pool beside the costs that know no device.
        beside: tasks to run beside the features.

    Raises:
        LatnasError: a file is broken, or a training diverged.
    """
    scores = Scores(config, space, data, run)
    pool = initial_pool(space, config, tables)
    scores.compute(pool.architectures, report, "features", beside)
    costs, trainings = _costs_of(config, space, tables), ShortTrainings(config, space, data, run, report)
    count = first_trainings(config.trainings, pool.is_whole_space)
    judge, first = train_first(pool.architectures, scores, trainings, costs, count)
    model = AccuracyModel(pool, scores, trainings, judge, first)
    if pool.is_whole_space:
        model = model.completed(Candidates.of(pool.architectures, scores, costs))
    model.tell(report)
    return model


def _costs_of(config: SearchConfig, space: Space, tables: Sequence[LatencyModel]) -> tuple[CostModel, ...]:
    """The costs along whose fronts networks are trained: those of tables at hand, then some that know no device."""
    return (*(latency.cost for latency in tables), *generic_costs(space.trace, MIXTURES, config.seed))


def features_help(run: RunFolder) -> bool:
    """Whether a finished search predicted short trainings clearly better than by a constant."""
    return bool(read_as(Report, run.accuracy / JUDGE).get("features_help"))
