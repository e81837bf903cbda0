"""Long trainings of the networks that budgets are decided between, and what they change.

First those that the judge likes best within each budget, and those that one would take without a judge: the largest.
What they teach says which is best next, hopefully judged. So hardly a budget is left to a network of which nothing but
a prediction is known.

Shapes: N networks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from latnas.ranking.judge import Score
from latnas.ranking.long_model import DOUBT, LEAST_LONG, LongLabel, LongModel, fit_long_model
from latnas.stages.search.accuracy import AccuracyModel
from latnas.stages.search.learning import Problem
from latnas.words.architecture import Architecture
from latnas.words.reporting import Reporter


@dataclass(frozen=True)
class Contest:
    """Networks to choose between within some budgets.

    Attributes:
        found: every network that was scored.
        scores: by the judge.
        latencies_N: predicted, in ms.
        sizes_N: multiply-adds, or their logarithm.
        budgets_ms: the budgets.
    """

    found: Sequence[Architecture]
    scores: Sequence[Score]
    latencies_N: np.ndarray
    sizes_N: np.ndarray
    budgets_ms: Sequence[float]

    def best(self, values_N: np.ndarray, rank: int = 0) -> list[int]:
        """Positions of the best within each budget; with a rank of the second best, and so on, where there are any."""
        order = np.argsort(-values_N, kind="stable")
        within = (order[self.latencies_N[order] <= budget] for budget in self.budgets_ms)
        return [int(fitting[rank]) for fitting in within if len(fitting) > rank]

    def next(
        self, views: Sequence[np.ndarray], known: Collection[str], most: int, least: int = 1
    ) -> list[Architecture]:
        """The best within each budget by each of the views, those known apart; the second best too, and so on, if these
        would be fewer than `least`.

        No more than `most`: then evenly spaced over views and budgets.
        """
        wanted: dict[int, None] = {}
        for rank in range(len(self.found)):
            best = [position for values_N in views for position in self.best(values_N, rank)]
            wanted |= {position: None for position in best if self.found[position].key not in known}
            if len(wanted) >= least:
                break
        positions = list(wanted)
        spaced = np.linspace(0, len(positions) - 1, min(most, len(positions))).round().astype(int)
        return [self.found[positions[index]] for index in spaced]


def contest_of(
    model: AccuracyModel, found: Sequence[Architecture], scores: Sequence[Score], problem: Problem, count: int
) -> Contest:
    """Between all that were scored, within `count` budgets."""
    latencies_N = np.array([problem.latency.predict_ms(one) for one in found])
    sizes_N = np.array([model.scores.of(one.key)["log_macs"] for one in found])
    budgets = problem.budgets
    return Contest(found, scores, latencies_N, sizes_N, [budgets.budget_ms(lam) for lam in budgets.spread(count)])


def trained_long(model: AccuracyModel, contest: Contest, report: Reporter) -> list[Score]:
    """Trains `long_trainings` networks of the contest, in waves; returns the scores that follow.

    What a search that was stopped has trained further does not count before its turn, so that the outcome is the same.
    """
    config = model.trainings.config
    found, fitted = dict[str, Architecture](), None
    views, least = [values_of(contest.scores), contest.sizes_N], LEAST_LONG
    while wanted := contest.next(views, found.keys(), config.long_trainings - len(found), least):
        found |= {one.key: one for one in wanted}
        model.trainings.train(wanted, config.long_steps)
        fitted = long_model(model, contest, found)
        views, least = [values_of(scores_by(fitted, model, contest, caution=-DOUBT))], 1
    scores = scores_by(fitted, model, contest)
    before, after = (contest.best(values_of(each)) for each in (contest.scores, scores))
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    report.say(
        f"{len(found)} networks trained {config.long_steps} steps each: another choice within {changed} of "
        f"{len(after)} budgets"
    )
    return scores


def scored_by_known(model: AccuracyModel, contest: Contest, report: Reporter) -> list[Score]:
    """The scores by what long trainings the run has, where these are enough to fit on. Nothing is trained."""
    known = {one.key for one in contest.found} & model.trainings.long().keys()
    if known:
        report.say(
            f"{len(known)} networks trained {model.trainings.config.long_steps} steps each, by the run's searches"
        )
    return scores_by(long_model(model, contest, known), model, contest)


def long_model(model: AccuracyModel, contest: Contest, networks: Collection[str]) -> LongModel | None:
    """Fitted to the long trainings of networks of these keys; None where they are too few.

    In whichever order the contest has them, it is the same to the last bit.
    """
    labels = model.trainings.long()
    scores = {one.key: score for one, score in zip(contest.found, contest.scores, strict=True)}
    known = {
        key: LongLabel(scores[key], model.scores.parts(key), labels[key]["accuracy"], int(labels[key]["images"]))
        for key in sorted(networks)
    }
    return fit_long_model(known) if len(known) >= LEAST_LONG else None


def scores_by(fitted: LongModel | None, model: AccuracyModel, contest: Contest, caution: float = DOUBT) -> list[Score]:
    """The judge's scores, moved by a model of long trainings if there is one."""
    if fitted is None:
        return list(contest.scores)
    pairs = zip(contest.found, contest.scores, strict=True)
    return [fitted.score(one.key, score, model.scores.parts(one.key), caution) for one, score in pairs]


def values_of(scores: Sequence[Score]) -> np.ndarray:
    """[N]: the values of scores."""
    return np.array([score.value for score in scores])
