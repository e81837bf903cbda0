"""Long trainings of the networks that budgets are decided between, and what they change.

Every network that is best within a budget, hopefully judged, is trained in turn; what that teaches says which is best
next. So hardly a budget is left to a network of which nothing but a prediction is known.

Shapes: N networks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from latnas.ranking.judge import CAUTION, Score
from latnas.ranking.long_model import LEAST_LONG, LongLabel, LongModel, fit_long_model
from latnas.stages.search.accuracy import AccuracyModel
from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange
from latnas.words.latency import LatencyModel
from latnas.words.reporting import Reporter

HOPE = 1.0
"""Standard deviations of doubt for which a network counts for more while it is decided what to train next."""


@dataclass(frozen=True)
class Contest:
    """Networks to choose between within some budgets.

    Attributes:
        found: every network that was scored.
        scores: by the judge.
        latencies_N: predicted, in ms.
        budgets_ms: the budgets.
    """

    found: Sequence[Architecture]
    scores: Sequence[Score]
    latencies_N: np.ndarray
    budgets_ms: Sequence[float]

    def best(self, values_N: np.ndarray, rank: int = 0) -> list[int]:
        """Positions of the best within each budget; with a rank of the second best, and so on, where there are any."""
        order = np.argsort(-values_N, kind="stable")
        within = (order[self.latencies_N[order] <= budget] for budget in self.budgets_ms)
        return [int(fitting[rank]) for fitting in within if len(fitting) > rank]

    def next(self, values_N: np.ndarray, known: Collection[str], most: int) -> list[Architecture]:
        """The best within each budget, those known apart; more of each where `known` would still be too few to fit on.

        No more than `most`: then evenly spaced over the budgets.
        """
        wanted: dict[int, None] = {}
        for rank in range(len(self.found)):
            wanted |= {one: None for one in self.best(values_N, rank) if self.found[one].key not in known}
            if len(known) + len(wanted) >= LEAST_LONG:
                break
        positions = list(wanted)
        spaced = np.linspace(0, len(positions) - 1, min(most, len(positions))).round().astype(int)
        return [self.found[positions[index]] for index in spaced]


def contest_of(
    found: Sequence[Architecture],
    scores: Sequence[Score],
    latency: LatencyModel,
    budgets: BudgetRange,
    count: int,
) -> Contest:
    """Between all that were scored, within `count` budgets of a range."""
    latencies_N = np.array([latency.predict_ms(one) for one in found])
    return Contest(found, scores, latencies_N, [budgets.budget_ms(lam) for lam in budgets.spread(count)])


def trained_long(model: AccuracyModel, contest: Contest, report: Reporter) -> list[Score]:
    """Trains up to `long_trainings` networks of the contest, in waves; returns the scores that follow.

    Fewer where all that are best have been trained. What a search that was stopped has trained further does not count
    before its turn, so that the outcome is the same.
    """
    config = model.trainings.config
    if not config.long_trainings:
        return list(contest.scores)
    found, fitted = dict[str, Architecture](), None
    while len(found) < config.long_trainings:
        hopeful = scores_by(fitted, model, contest, caution=-HOPE)
        values_N = np.array([score.value for score in hopeful])
        wanted = contest.next(values_N, found.keys(), config.long_trainings - len(found))
        if not wanted:
            break
        found |= {one.key: one for one in wanted}
        model.trainings.train(wanted, config.long_steps)
        fitted = long_model(model, contest, found)
    scores = scores_by(fitted, model, contest)
    before, after = (contest.best(np.array([one.value for one in each])) for each in (contest.scores, scores))
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


def scores_by(
    fitted: LongModel | None, model: AccuracyModel, contest: Contest, caution: float = CAUTION
) -> list[Score]:
    """The judge's scores, moved by a model of long trainings if there is one."""
    if fitted is None:
        return list(contest.scores)
    pairs = zip(contest.found, contest.scores, strict=True)
    return [fitted.score(one.key, score, model.scores.parts(one.key), caution) for one, score in pairs]
