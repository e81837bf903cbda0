"""Long trainings of the networks that budgets are decided between, and what networks are ranked by since.

Half of them come before anything is proposed: what each opinion would choose within each budget, the judge's, size, the
short training and each feature by itself. They teach which of these to trust, and proposals go by that. The others come
after the proposals: the best within each budget, hopefully judged, then the best by what these have taught. So hardly
a budget is left to a network of which nothing but a prediction is known.

Shapes: N networks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass

import numpy as np

from latnas.ranking.long_model import DOUBT, LEAST_LONG, OTHERS, SIZE
from latnas.stages.search.accuracy import AccuracyModel
from latnas.stages.search.learning import Problem, predicted_ms
from latnas.words.architecture import Architecture
from latnas.words.reporting import Reporter


@dataclass(frozen=True)
class Contest:
    """Networks to choose between within some budgets.

    Attributes:
        found: every network that was scored.
        latencies_N: predicted, in ms.
        budgets_ms: the budgets.
    """

    found: Sequence[Architecture]
    latencies_N: np.ndarray
    budgets_ms: Sequence[float]

    def ranked(self, values_N: np.ndarray) -> list[np.ndarray]:
        """Positions of all within each budget, the best first."""
        order = np.argsort(-values_N, kind="stable")
        return [order[self.latencies_N[order] <= budget] for budget in self.budgets_ms]

    def best(self, values_N: np.ndarray) -> list[int]:
        """Positions of the best within each budget, where there are any."""
        return [int(within[0]) for within in self.ranked(values_N) if len(within)]

    def next(
        self, views: Sequence[np.ndarray], known: Collection[str], most: int, least: int = 1
    ) -> list[Architecture]:
        """The best within each budget by each of the views, those known apart; the second best too, and so on, if these
        would be fewer than `least`.

        No more than `most`: then evenly spaced from the loosest budget to the tightest, in each from view to view.
        """
        wanted: dict[int, None] = {}
        ranked = [within for by_view in zip(*map(self.ranked, views), strict=True) for within in by_view]
        for rank in range(max(map(len, ranked))):
            best = [int(within[rank]) for within in ranked if len(within) > rank]
            wanted |= {position: None for position in best if self.found[position].key not in known}
            if len(wanted) >= least:
                break
        positions = list(wanted)
        spaced = np.linspace(0, len(positions) - 1, min(most, len(positions))).round().astype(int)
        return [self.found[positions[index]] for index in spaced]


Opinions = Callable[[AccuracyModel, Contest], list[np.ndarray]]
"""What a model says of the networks of a contest: [N] each."""


def contest_of(found: Sequence[Architecture], problem: Problem, count: int, report: Reporter) -> Contest:
    """Between these networks, within `count` budgets."""
    latencies_N = np.array(predicted_ms(problem.latency, found, report))
    budgets = problem.budgets
    return Contest(found, latencies_N, [budgets.budget_ms(lam) for lam in budgets.spread(count)])


def first_long(long_trainings: int) -> int:
    """How many of so many long trainings come before the proposals, which go by what these teach: none of a few."""
    half = long_trainings // 2
    return half if half >= LEAST_LONG else 0


def favourites(model: AccuracyModel, contest: Contest) -> list[np.ndarray]:
    """[N] each: what the judge says, and size, by which one would choose without a judge."""
    return [values_of(model, contest), np.array([model.scores.of(one.key)[SIZE] for one in contest.found])]


def every_opinion(model: AccuracyModel, contest: Contest) -> list[np.ndarray]:
    """[N] each: `favourites`, then the predicted short training, and each other feature."""
    rows = [model.scores.of(one.key) for one in contest.found]
    pairs = zip(contest.found, rows, strict=True)
    short = np.array([model.judge.short_accuracy(one.key, row).value for one, row in pairs])
    return [*favourites(model, contest), short, *(np.array([row[name] for row in rows]) for name in OTHERS)]


def trained_long(
    model: AccuracyModel, contest: Contest, opinions: Opinions, most: int, report: Reporter
) -> AccuracyModel:
    """Trains networks of the contest in waves, until `most` count, earlier ones included; ranks by what follows.

    What a search that was stopped has trained further does not count before its turn, so that the outcome is the same.

    Args:
        opinions: by which the first are chosen; where some were trained before, these say what is best.
    """
    steps, before = model.trainings.config.long_steps, contest.best(values_of(model, contest))
    known = set[str]() if model.long is None else set(model.long.own)
    while True:
        if model.long is None:
            wanted = contest.next(opinions(model, contest), known, most - len(known), LEAST_LONG)
            if 0 < len(wanted) < LEAST_LONG:
                report.say(f"fewer than {LEAST_LONG} networks are known within these budgets: none is trained for long")
                return model
        else:
            wanted = contest.next([hopeful_values(model, contest)], known, most - len(known))
        if not wanted:
            break
        known |= {one.key for one in wanted}
        model.trainings.train(wanted, steps)
        model = model.taught_by(known)
    after = contest.best(values_of(model, contest))
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    report.say(f"{_told(model)}: another choice within {changed} of {len(after)} budgets")
    return model


def with_known(model: AccuracyModel, keys: Set[str], report: Reporter) -> AccuracyModel:
    """By what long trainings the run has of networks of these keys, where these are enough. Nothing is trained."""
    model = model.taught_by(keys & model.trainings.long().keys())
    if model.long is not None:
        report.say(f"{_told(model)}, by the run's searches")
    return model


def values_of(model: AccuracyModel, contest: Contest, caution: float = DOUBT) -> np.ndarray:
    """[N]: what the networks of a contest are ranked by; `caution` counts where long trainings do."""
    keys = [one.key for one in contest.found]
    if model.long is None:
        return np.array([model.judge.score(key, model.scores.of(key)).value for key in keys])
    return np.array([model.long.score(key, model.scores.of(key), caution).value for key in keys])


def hopeful_values(model: AccuracyModel, contest: Contest) -> np.ndarray:
    """[N]: what to train next goes by, where long trainings count: with hope for what is in doubt."""
    return values_of(model, contest, caution=-DOUBT)


def _told(model: AccuracyModel) -> str:
    long, longer = model.long, model.trainings.longer
    told = f"{0 if long is None else len(long.own)} networks trained {model.trainings.config.long_steps} steps each"
    if long is None:
        return told
    beside = f", beside prior and size as exports train {longer:.1f} times as long" if long.untrained else ""
    return f"{told}, left-out error {long.error:.1%}{beside}"
