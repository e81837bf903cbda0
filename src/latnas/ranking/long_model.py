"""What long trainings of a few networks say beyond a judge's scores.

Short trainings hardly tell apart networks of one size; five times as long ones do, yet still under-rate large networks,
which converge later. So a long training counts by how far it is above what networks of that score reach after as long,
in points of accuracy. A Gaussian process on what networks are made of passes on what networks built alike have in
common; of what is a network's own, a part is chance. `docs/search.md` has the figures.

Shapes: M networks with a long training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial

from latnas.ranking.judge import Score
from latnas.ranking.label_model import LEAST_LABEL_SPREAD, Corrections, Known, Parts

LEAST_LONG = 4
CURVED_FROM = 8
"""With so many networks what a score is worth may bend; with fewer it is a line."""

CHANCE = 2.0
"""Variance of a label by chance, in units of what the number of images explains: a training has as much of its own."""

LEAST_DOUBT = 0.3
"""In standard deviations of the accuracies: what a network may have of its own, even if those that were trained, which
the same judge chose, are all alike."""

DOUBT = 1.0
"""Standard deviations for which a network in doubt counts for less in the end; for more while it is decided what to
train next."""

NO_FEATURES = np.zeros(1)


@dataclass(frozen=True)
class LongLabel:
    """A network's long training: its score by the judge, the parts that run, its accuracy on so many images."""

    score: Score
    parts: Parts
    accuracy: float
    images: int


@dataclass(frozen=True)
class LongModel:
    """Fitted to long trainings of some networks.

    Attributes:
        shared: how far networks built alike are above what others of their score reach.
        own: by key, how much further a network is that was trained.
        own_doubt: standard deviation of that, where it is unknown.
    """

    shared: Corrections
    own: Mapping[str, float]
    own_doubt: float

    def score(self, key: str, judged: Score, parts: Parts, caution: float = DOUBT) -> Score:
        """The judge's score, moved by what long trainings say.

        Args:
            parts: that run in the network called `key`.
            caution: how many standard deviations of doubt a network counts for less, of which a training leaves little.
        """
        beyond, doubt = self.shared.at(NO_FEATURES, parts)
        own_doubt = 0.0 if key in self.own else self.own_doubt
        moved = beyond + self.own.get(key, 0.0) - caution * float(np.hypot(doubt, own_doubt))
        return Score(judged.value + moved, judged.low + moved, judged.high + moved)


def fit_long_model(labels: Mapping[str, LongLabel]) -> LongModel:
    """Of at least `LEAST_LONG` networks, by key, all trained for as long."""
    found = list(labels.values())
    scores_M = np.array([label.score.value for label in found])
    accuracies_M = np.array([label.accuracy for label in found])
    degree = 0 if np.ptp(scores_M) < LEAST_LABEL_SPREAD else 2 if len(found) >= CURVED_FROM else 1
    expected = Polynomial.fit(scores_M, accuracies_M, degree)
    beyond_M = accuracies_M - expected(scores_M)
    scale = max(float(beyond_M.std()), LEAST_LABEL_SPREAD)
    chance = CHANCE * float(np.mean([one.accuracy * (1 - one.accuracy) / one.images for one in found]))
    known = Known.of(np.zeros((len(found), 1)), [label.parts for label in found])
    shared = Corrections.likeliest(known, beyond_M, scale, chance=chance)
    left_M = beyond_M - np.array([shared.at(NO_FEATURES, label.parts)[0] for label in found])
    unexplained = scale**2 * shared.process.unexplained
    share = max(1 - chance / unexplained, 0.0)
    own = {key: share * float(left) for key, left in zip(labels, left_M, strict=True)}
    own_doubt = max(float(np.sqrt(share * unexplained)), LEAST_DOUBT * float(accuracies_M.std()))
    return LongModel(shared, own, own_doubt)
