"""The accuracy model: a score with an interval for any architecture, from its features and a few short trainings.

Features are standardised over the pool of scored architectures. Which of them count is found out on each space: every
set of `CANDIDATES` counts the more, the better it predicts labels that were left out. To take the best set alone would
hang much on little: sets often differ by less than chance, and rank otherwise. What a network would reach after a short
training is predicted from these features and from what the network is made of. No label decides alone: short
trainings under-rate large networks, which converge later. So a score is the mean of three opinions: the features', the
size's, and the short training's, the last weighted by how reliable the labels are, and how many. Each is standardised
over the architectures with a label, so that equal weights mean equal say.

Shapes: N architectures, F features, M of them with a label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from latnas.errors import LatnasError
from latnas.ranking.features import FEATURES, SIZES
from latnas.ranking.label_model import (
    LEAST_LABEL_SPREAD,
    LEAST_SPREAD,
    LabelModel,
    Parts,
    columns,
    fit_label_model,
    least_ridge_error,
)
from latnas.words.estimate import Estimate

CANDIDATES: tuple[tuple[str, ...], ...] = (
    ("jacov", "synflow", "log_params"),
    ("jacov", "log_params"),
    ("jacov", "naswot", "log_params"),
    ("naswot", "log_params"),
    ("jacov", "log_macs"),
    ("jacov", "naswot", "log_macs"),
    ("naswot", "log_macs"),
)
"""Sets of features, each with a measure of size as its last.
`docs/search-results.md` says why the first is the first."""

LEAST_LABELS = 4
LEAST_TO_COMPARE_BY = 20
"""With fewer labels than this, or with labels that are no more than noise, the first set of features counts alone:
among seven one is better by chance."""

HALF_SAY = 60
"""With so many labels the short training's opinion weighs half as much as each of the others; with twice as many two
thirds. A few labels tell less than the features do."""

CAUTION = 0.5
"""Standard deviations of doubt by which a predicted short training counts for less than one that was done. The best of
thousands of predictions is too good on average."""

CLEARLY = 0.95
"""An error is clearly smaller if it is at most this share of another."""

CLIP = 3.0
"""In deviations: where proxies are cut, and sizes as opinions take them."""

COVERAGE = 0.9

Structure = Callable[[str], Parts]
"""The parts that run in an architecture, by its key."""


@dataclass(frozen=True)
class Scale:
    """How features are standardised: by medians and percentiles of the pool; proxies are cut at three deviations.

    A few degenerate networks have proxies a thousand deviations away. Sizes are not cut where labels are learnt from:
    within tight budgets all networks are smaller than any of a random pool, and differ by a factor of six.
    """

    middle: Mapping[str, float]
    spread: Mapping[str, float]

    @classmethod
    def of(cls, pool: Sequence[Mapping[str, float]]) -> Scale:
        """The scale of these features."""
        matrix_NF = np.array([[row[name] for name in FEATURES] for row in pool])
        low_F, middle_F, high_F = np.percentile(matrix_NF, [16, 50, 84], axis=0)
        spread_F = np.maximum((high_F - low_F) / 2, 1e-9)
        return cls(dict(zip(FEATURES, middle_F, strict=True)), dict(zip(FEATURES, spread_F, strict=True)))

    def standard(self, rows: Sequence[Mapping[str, float]], names: Sequence[str] = FEATURES) -> np.ndarray:
        """[N, F]: the features of these names, standardised."""
        raw_NF = np.array([[row[name] for name in names] for row in rows])
        middle_F, spread_F = (np.array([of[name] for name in names]) for of in (self.middle, self.spread))
        most_F = np.array([np.inf if name in SIZES else CLIP for name in names])
        standard_NF: np.ndarray = np.clip((raw_NF - middle_F) / spread_F, -most_F, most_F)
        return standard_NF


def cut(standard: np.ndarray) -> np.ndarray:
    """Standardised features as opinions take them, sizes at three deviations too.

    Of networks beyond, the largest would else be preferred to all others within tight budgets, whatever they are.
    """
    values: np.ndarray = np.clip(standard, -CLIP, CLIP)
    return values


@dataclass(frozen=True)
class Opinion:
    """One view of architectures, on a scale on which those with a label have mean 0 and deviation 1."""

    mean: float
    std: float

    @classmethod
    def of(cls, values_M: np.ndarray, least_spread: float) -> Opinion:
        """The scale on which these values are standard."""
        return cls(float(values_M.mean()), max(float(values_M.std()), least_spread))

    def standard(self, value: float) -> float:
        """A value on that scale."""
        return (value - self.mean) / self.std


@dataclass(frozen=True)
class Judge:
    """A fitted accuracy model.

    Attributes:
        shares: how much each set of features counts; they sum to one.
        prior_A, size_A: what each feature weighs in the features' opinion and in the size's, by these shares.
        model: predicts labels.
        structure: the parts that run in an architecture, by its key.
        reliability: the share of the labels' variance that is more than noise.
        helps: whether the model clearly beats a constant on labels left out in turn.
        errors: root mean squared left-out error of a regression on each set of features.
    """

    scale: Scale
    shares: Mapping[tuple[str, ...], float]
    prior_A: np.ndarray
    size_A: np.ndarray
    model: LabelModel
    structure: Structure
    prior: Opinion
    size: Opinion
    short: Opinion
    reliability: float
    spread: float
    loo_spearman: float
    helps: bool
    labels: Mapping[str, float]
    errors: Mapping[str, float]

    @property
    def loo_error(self) -> float:
        """Root of the mean squared error on labels left out in turn."""
        return self.model.error

    @property
    def say(self) -> float:
        """What the short training's opinion weighs, beside 1 of each of the others."""
        return self.reliability * len(self.labels) / (len(self.labels) + HALF_SAY)

    def short_accuracy(self, key: str, features: Mapping[str, float]) -> Estimate:
        """Expected accuracy after a short training of the architecture called `key`, whose own label counts."""
        _, predicted, _ = self._seen(key, features)
        return Estimate(value=predicted, low=predicted - self.spread, high=predicted + self.spread)

    def score(self, key: str, features: Mapping[str, float], caution: float = CAUTION) -> Estimate:
        """What architectures are ranked by: features, size and short training together.

        On the scale of accuracies after a short training, which it is not: see the top of this file. With the 90
        percent interval of that accuracy, in which the value need not lie.

        Args:
            caution: how many standard deviations of doubt a predicted training counts for less.
        """
        standard_A, predicted, doubt = self._seen(key, features)
        prior, size, short = self._opinions(standard_A, predicted - caution * doubt)
        mean = (prior + size + self.say * short) / (2.0 + self.say)
        value = self.short.mean + self.short.std * mean
        return Estimate(value=value, low=predicted - self.spread, high=predicted + self.spread)

    def opinions(self, key: str, features: Mapping[str, float], caution: float = CAUTION) -> tuple[float, float, float]:
        """The features', the size's and the short training's, each standardised over the labelled architectures."""
        standard_A, predicted, doubt = self._seen(key, features)
        return self._opinions(standard_A, predicted - caution * doubt)

    def _opinions(self, standard_A: np.ndarray, short: float) -> tuple[float, float, float]:
        near_A = cut(standard_A)
        return (
            self.prior.standard(float(near_A @ self.prior_A)),
            self.size.standard(float(near_A @ self.size_A)),
            self.short.standard(short),
        )

    def _seen(self, key: str, features: Mapping[str, float]) -> tuple[np.ndarray, float, float]:
        """Standardised features [A], the accuracy after a short training that is predicted, and how doubtful it is."""
        standard_A = self.scale.standard([features])[0]
        return (standard_A, *self.model.predict(standard_A, self.structure(key)))

    def report(self) -> dict[str, Any]:
        """What `accuracy/judge.json` says."""
        return {
            "feature_shares": {"+".join(names): share for names, share in self.shares.items()},
            "labels": len(self.labels),
            "label_reliability": self.reliability,
            "label_weight": self.say,
            "loo_error": self.loo_error,
            "loo_errors": dict(self.errors),
            "loo_spearman": self.loo_spearman,
            "features_help": self.helps,
        }


def fit_judge(
    pool: Sequence[Mapping[str, float]],
    labelled: Mapping[str, tuple[Mapping[str, float], float]],
    images: int,
    structure: Structure,
) -> Judge:
    """Fits the accuracy model.

    Args:
        pool: features of every architecture scored so far: they set the scale.
        labelled: by key of the architecture, its features and its accuracy after a short training.
        images: on how many images each of these accuracies was measured.
        structure: the parts that run in an architecture, by its key.

    Raises:
        LatnasError: fewer than four labels.
    """
    if len(labelled) < LEAST_LABELS:
        raise LatnasError(
            f"{len(labelled)} short trainings are too few to fit on; use --trainings {LEAST_LABELS} or more."
        )
    scale = Scale.of(pool)
    x_MA = scale.standard([features for features, _ in labelled.values()])
    labels = {key: label for key, (_, label) in labelled.items()}
    y_M = np.array(list(labels.values()))

    variance = float(y_M.var(ddof=1))
    noise = float(np.mean(y_M * (1 - y_M))) / images
    reliability = max(0.0, 1.0 - noise / variance) if variance > 0 else 0.0

    errors = {names: least_ridge_error(x_MA[:, columns(names)], y_M, reliability) for names in CANDIDATES}
    believed = reliability > 0 and len(y_M) >= LEAST_TO_COMPARE_BY
    shares = _shares(errors, len(y_M)) if believed else {names: float(names == CANDIDATES[0]) for names in CANDIDATES}
    prior_A = np.sum([share * _mean_of(names) for names, share in shares.items()], axis=0)
    size_A = np.sum([share * _mean_of(names[-1:]) for names, share in shares.items()], axis=0)
    model = fit_label_model(prior_A, x_MA, [structure(key) for key in labels], y_M, reliability)
    constant_M = (y_M - y_M.mean()) * len(y_M) / (len(y_M) - 1)
    rank = stats.spearmanr(y_M - model.left_out, y_M).statistic if np.ptp(y_M) > 0 else 0.0
    return Judge(
        scale, shares, prior_A, size_A, model, structure,
        prior=Opinion.of(cut(x_MA) @ prior_A, LEAST_SPREAD),
        size=Opinion.of(cut(x_MA) @ size_A, LEAST_SPREAD),
        short=Opinion.of(y_M, LEAST_LABEL_SPREAD),
        reliability=reliability,
        spread=float(stats.t.ppf(0.5 + COVERAGE / 2, len(y_M) - 1)) * model.error,
        loo_spearman=float(np.nan_to_num(rank)),
        helps=_clearly_smaller(model.left_out, constant_M),
        labels=labels,
        errors={"+".join(names): error for names, error in errors.items()},
    )  # fmt: skip


def prior_scores(pool: Sequence[Mapping[str, float]]) -> np.ndarray:
    """[N]: the mean of the standardised features of the first set, for choosing what to label."""
    means: np.ndarray = cut(Scale.of(pool).standard(pool, CANDIDATES[0])).mean(1)
    return means


def _mean_of(names: Sequence[str]) -> np.ndarray:
    """[A]: what each feature weighs in the mean of these."""
    weights_A = np.zeros(len(FEATURES))
    weights_A[columns(names)] = 1 / len(names)
    return weights_A


def _shares(errors: Mapping[tuple[str, ...], float], count: int) -> dict[tuple[str, ...], float]:
    """By how likely normal errors of these sizes make `count` labels that were left out: "pseudo-BMA" of Yao et al.,
    "Using stacking to average Bayesian predictive distributions" (2018)."""
    spreads_S = np.maximum(list(errors.values()), LEAST_LABEL_SPREAD)
    shares_S = special.softmax(-count * np.log(spreads_S))
    return dict(zip(errors, map(float, shares_S), strict=True))


def _clearly_smaller(errors_M: np.ndarray, others_M: np.ndarray) -> bool:
    """Whether the first errors are smaller by a share that counts, and squared by more than one standard error."""
    gains_M = np.square(others_M) - np.square(errors_M)
    much = np.square(errors_M).mean() <= CLEARLY**2 * np.square(others_M).mean()
    return bool(much and gains_M.mean() > gains_M.std(ddof=1) / np.sqrt(len(gains_M)))
