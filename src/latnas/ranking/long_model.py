"""What long trainings of a few networks say of all others.

Short trainings hardly tell apart networks of one size, and neither they nor features can say what size is worth in the
end: that differs from space to space. Trainings five times as long say both. So an accuracy after a long training is
a curve in size, plus what networks of one size differ by: a regression on the short training and on the features, each
without what size says of it, and a Gaussian process on the parts that run, so that networks built alike are corrected
alike. Of what is left a part is a network's own, and a part is chance. Long trainings still under-rate large networks,
which converge later: size counts by that curve, but never against a network.

And the longer the trainings of what ships are than these, the less these say of them. So what the judge goes by beside
trainings, features and size, is added, the more the longer those are: nothing where they are no longer.
`docs/search-results.md` has the figures.

Shapes: A opinions other than log multiply-adds, M networks with a long training, N networks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.polynomial import Polynomial
from numpy.polynomial.polynomial import polyvander
from scipy import stats

from latnas.ranking.features import FEATURES
from latnas.ranking.judge import COVERAGE, Judge, cut
from latnas.ranking.label_model import LEAST_LABEL_SPREAD, LEAST_SPREAD, Corrections, Known, root_mean_square
from latnas.words.estimate import Estimate

LEAST_LONG = 4
CURVED_FROM = 12
"""With so many networks what size is worth may bend; with fewer it is a line."""

SIZE = "log_macs"
OTHERS = tuple(name for name in FEATURES if name != SIZE)

LEANING = 0.25
"""What a standard deviation of the short training, and of each feature, is worth before anything was trained for long:
in standard deviations of what networks of one size differ by."""

LINEAR = ((0.3, 0.0), (1.0, 0.0), (3.0, 0.0), (10.0, 0.0))
"""How far these weights may be from there: variances to choose from, as in `Kernel`; parts have none of their own."""

CHANCE = 2.0
"""Variance of a label by chance, in units of what the number of images explains: a training has as much of its own."""

LEAST_DOUBT = 0.3
"""In standard deviations of the accuracies: what a network may have of its own, even if those that were trained, which
the same judge chose, are all alike."""

EQUAL_SAY = 10.0
"""Where trainings of what ships are so many times as long, prior and size have as much say each as long trainings."""

DOUBT = 1.0
"""Standard deviations for which a network in doubt counts for less in the end; for more while it is decided what to
train next."""


class Seen(NamedTuple):
    """What a judge knows of a network.

    Attributes:
        size: standardised log multiply-adds.
        others_A: what the other opinions say that size does not.
        untrained: what is known without any training: prior plus size, each as an opinion of the judge.
    """

    size: float
    others_A: np.ndarray
    untrained: float


@dataclass(frozen=True)
class View:
    """How a judge sees networks.

    Attributes:
        curves_3A: what size says of each opinion, as coefficients of a parabola, over the pool.
        spread_A: standard deviations, over the pool, of what is left.
    """

    judge: Judge
    curves_3A: np.ndarray
    spread_A: np.ndarray

    @classmethod
    def of(cls, judge: Judge, pool: Mapping[str, Mapping[str, float]]) -> View:
        """By the features of a pool of networks."""
        opinions = [_opinions(judge, key, features) for key, features in pool.items()]
        sizes_N3 = _powers(np.array([one.size for one in opinions]))
        opinions_NA = np.array([one.others_A for one in opinions])
        curves_3A = np.linalg.lstsq(sizes_N3, opinions_NA, rcond=None)[0]
        left_A = (opinions_NA - sizes_N3 @ curves_3A).std(0)
        return cls(judge, curves_3A, np.maximum(left_A, LEAST_SPREAD * np.maximum(opinions_NA.std(0), LEAST_SPREAD)))

    def at(self, key: str, features: Mapping[str, float]) -> Seen:
        """What the judge knows of the network called `key`."""
        seen = _opinions(self.judge, key, features)
        beyond_A = seen.others_A - _powers(np.array([seen.size]))[0] @ self.curves_3A
        return seen._replace(others_A=beyond_A / self.spread_A)


def _powers(sizes_N: np.ndarray) -> np.ndarray:
    """[N, 3]: one, size and its square; of sizes beyond those of a random pool those at its ends, as of opinions."""
    powers_N3: np.ndarray = polyvander(cut(sizes_N), 2)
    return powers_N3


def _opinions(judge: Judge, key: str, features: Mapping[str, float]) -> Seen:
    """With the other opinions as they are, size and all."""
    standard = judge.scale.standard([features], (SIZE, *OTHERS))[0]
    prior, size, short = judge.opinions(key, features, caution=0.0)
    return Seen(float(standard[0]), np.array([short, *cut(standard[1:])]), prior + size)


@dataclass(frozen=True)
class LongLabel:
    """A network's long training: its features, and its accuracy on so many images."""

    features: Mapping[str, float]
    accuracy: float
    images: int


@dataclass(frozen=True)
class LongModel:
    """Fitted to long trainings of some networks.

    Attributes:
        size: the accuracy that a network of some size reaches, among the sizes that were trained.
        leaning: what each of the other opinions is worth at first.
        untrained: what is added for each standard deviation of prior and of size.
        corrections: of size and leaning together, by these opinions and by parts.
        own: by key, how much further a network is that was trained.
        own_doubt: standard deviation of that, where it is unknown.
        left_out: [M], accuracy minus prediction, of those left out in turn.
        spread: half of the 90 percent interval of the accuracy that a network reaches which was not trained.
        own_spread: the same of one that was, if it were trained once more.
    """

    view: View
    size: Polynomial
    leaning: float
    untrained: float
    corrections: Corrections
    own: Mapping[str, float]
    own_doubt: float
    left_out: np.ndarray
    spread: float
    own_spread: float

    @property
    def error(self) -> float:
        """Root of the mean squared left-out error."""
        return root_mean_square(self.left_out)

    def reached(self, size: float) -> float:
        """What networks of this size reach on average; beyond what was trained it stays."""
        return float(_at(self.size, size))

    def worth(self, size: float) -> float:
        """The most that any network no larger than this would reach by its size; beyond what was trained it stays."""
        least, most = self.size.domain
        size = float(np.clip(size, least, most))
        turns = [float(turn) for turn in self.size.deriv().roots().real if least < turn < size]
        return max(float(self.size(at)) for at in (least, *turns, size))

    def score(self, key: str, features: Mapping[str, float], caution: float = DOUBT) -> Estimate:
        """What the network called `key` is ranked by: its accuracy after a long training, but for size counting against
        it, less what is in doubt, and with what prior and size say of trainings that are longer. With the 90 percent
        interval of that accuracy, in which the value need not lie.

        Args:
            caution: how many standard deviations of doubt a network counts for less, of which a training leaves little.
        """
        size, others_A, untrained = self.view.at(key, features)
        correction, doubt = self.corrections.at(others_A, self.view.judge.structure(key))
        own_doubt = 0.0 if key in self.own else self.own_doubt
        beyond = self.leaning * float(others_A.sum()) + correction + self.own.get(key, 0.0)
        value = self.worth(size) + beyond - caution * float(np.hypot(doubt, own_doubt)) + self.untrained * untrained
        expected = self.reached(size) + beyond
        spread = self.own_spread if key in self.own else self.spread
        return Estimate(value=value, low=expected - spread, high=expected + spread)


def fit_long_model(view: View, labels: Mapping[str, LongLabel], longer: float = 1.0) -> LongModel:
    """Of at least `LEAST_LONG` networks, by key, all trained for as long.

    Args:
        longer: how many times as long trainings are of what ships.
    """
    seen = [view.at(key, label.features) for key, label in labels.items()]
    sizes_M, others_MA = np.array([one.size for one in seen]), np.array([one.others_A for one in seen])
    accuracies_M = np.array([label.accuracy for label in labels.values()])
    degree = 2 if len(labels) >= CURVED_FROM else 1
    size = _curve(sizes_M, accuracies_M, degree)
    left_M = accuracies_M - size(sizes_M)
    freedom = len(labels) - size.degree() - 1
    scale = max(float(np.sqrt(np.square(left_M).sum() / freedom)), LEAST_LABEL_SPREAD)
    leaning_M = scale * LEANING * others_MA.sum(1)
    left_M = left_M - leaning_M

    chance = CHANCE * float(np.mean([one.accuracy * (1 - one.accuracy) / one.images for one in labels.values()]))
    parts = [view.judge.structure(key) for key in labels]
    corrections = Corrections.likeliest(Known.of(others_MA, parts), left_M, scale, LINEAR, chance)
    left_M = left_M - np.array(
        [corrections.at(others_A, one)[0] for others_A, one in zip(others_MA, parts, strict=True)]
    )

    unexplained = scale**2 * corrections.process.unexplained
    share = max(1 - chance / unexplained, 0.0)
    own = {key: share * float(left) for key, left in zip(labels, left_M, strict=True)}
    spread = max(float(accuracies_M.std()), LEAST_LABEL_SPREAD)
    own_doubt = max(float(np.sqrt(share * unexplained)), LEAST_DOUBT * spread)
    untrained = spread * math.log(max(longer, 1.0), EQUAL_SAY)

    without_MM = np.array([_beyond_curve(sizes_M, accuracies_M, degree, index) for index in range(len(labels))])
    without_MM -= leaning_M
    left_out = np.diagonal(without_MM) - scale * corrections.process.without_each(without_MM / scale)
    quantile = float(stats.t.ppf(0.5 + COVERAGE / 2, len(labels) - 1))
    likely = quantile * root_mean_square(left_out)
    own_likely = min(quantile * float(np.sqrt(2 * chance)), likely)  # its training had as much chance as another has
    return LongModel(view, size, scale * LEANING, untrained, corrections, own, own_doubt, left_out, likely, own_likely)


def _curve(sizes_M: np.ndarray, accuracies_M: np.ndarray, degree: int) -> Polynomial:
    """What size is worth among these: of lower degree where there are too few sizes for it."""
    return Polynomial.fit(sizes_M, accuracies_M, min(degree, len(np.unique(sizes_M)) - 1))


def _at(curve: Polynomial, sizes: np.ndarray | float) -> np.ndarray:
    """A curve at sizes, those beyond its ends as at the ends."""
    values: np.ndarray = curve(np.clip(sizes, *curve.domain))
    return values


def _beyond_curve(sizes_M: np.ndarray, accuracies_M: np.ndarray, degree: int, without: int) -> np.ndarray:
    """[M]: how far accuracies are above the curve of all others than one."""
    others = np.arange(len(sizes_M)) != without
    beyond_M: np.ndarray = accuracies_M - _at(_curve(sizes_M[others], accuracies_M[others], degree), sizes_M)
    return beyond_M
