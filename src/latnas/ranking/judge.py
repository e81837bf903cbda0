"""The accuracy model: a score with an interval for any architecture, from its features and a few short trainings.

Features are standardised over the pool of scored architectures. A ridge regression from features to the accuracies of
short trainings starts from equal weights and is shrunk towards them, by leave-one-out error among few values. Which
features it gets is found out too: another set than the first of `CANDIDATES` has to predict labels that were left out
clearly better. No label decides alone: short trainings under-rate large networks, which converge later. So a score is
the mean of three opinions: the features', the size's, and the short training's, the last weighted by how reliable the
labels are. Each is standardised over the architectures with a label, so that equal weights mean equal say.

Shapes: N architectures, F features, M of them with a label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from latnas.errors import LatnasError
from latnas.ranking.features import FEATURES

CANDIDATES: tuple[tuple[str, ...], ...] = (
    ("jacov", "synflow", "log_params"),
    ("jacov", "log_params"),
    ("jacov", "naswot", "log_params"),
    ("naswot", "log_params"),
    ("jacov", "log_macs"),
    ("jacov", "naswot", "log_macs"),
    ("naswot", "log_macs"),
)
"""Sets of features, each with a measure of size as its last. `docs/search.md` says why the first is the first."""

SHRINKAGES = (3.0, 10.0, 30.0, 100.0, 1000.0)
"""Ridge penalties: for a handful of labels 100 is as good as equal weights, for a hundred 1000 is."""

LEAST_LABELS = 4
LEAST_TO_CHOOSE_BY = 20
"""With fewer labels than this the first set of features stays: among seven one is better by chance."""

LEAST_LABEL_SPREAD = 1e-3
"""Equal labels leave the features' order: without a floor every architecture would score the same."""

LEAST_SPREAD = 0.1
"""In standard deviations of the pool. Labelled networks that look alike would make weights boundless."""

CAUTION = 0.5
"""Left-out errors by which a predicted short training counts for less than one that was done. The best of thousands of
predictions is too good on average."""

CLEARLY = 0.95
"""An error is clearly smaller if it is at most this share of another: hardly different sets of features stay apart."""

CLIP = 3.0
COVERAGE = 0.9


@dataclass(frozen=True)
class Score:
    """On the scale of accuracies after a short training, which it is not: see above. With its 90 percent interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """As in `front.json`."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Scale:
    """How features are standardised: by medians and percentiles of the pool, and cut at three deviations.

    A few degenerate networks have proxies a thousand deviations away.
    """

    middle: Mapping[str, float]
    spread: Mapping[str, float]

    @classmethod
    def of(cls, pool: Sequence[Mapping[str, float]]) -> Scale:
        """The scale of these features. Raises LatnasError where they are not finite."""
        matrix_NF = np.array([[row[name] for name in FEATURES] for row in pool])
        _check(matrix_NF)
        low_F, middle_F, high_F = np.percentile(matrix_NF, [16, 50, 84], axis=0)
        spread_F = np.maximum((high_F - low_F) / 2, 1e-9)
        return cls(dict(zip(FEATURES, middle_F, strict=True)), dict(zip(FEATURES, spread_F, strict=True)))

    def standard(self, rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> np.ndarray:
        """[N, F]: the features of these names, standardised. Raises LatnasError where they are not finite."""
        raw_NF = np.array([[row[name] for name in names] for row in rows])
        _check(raw_NF)
        middle_F, spread_F = (np.array([of[name] for name in names]) for of in (self.middle, self.spread))
        standard_NF: np.ndarray = np.clip((raw_NF - middle_F) / spread_F, -CLIP, CLIP)
        return standard_NF


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
class Fit:
    """A regression from some features to labels, with the errors [M] that it makes on labels left out in turn."""

    features: tuple[str, ...]
    shrinkage: float
    weights_F: np.ndarray
    intercept: float
    errors_M: np.ndarray

    @property
    def error(self) -> float:
        """Root of the mean squared left-out error."""
        return float(np.sqrt(np.mean(np.square(self.errors_M))))


@dataclass(frozen=True)
class Judge:
    """A fitted accuracy model. `helps` says whether the features clearly beat a constant on labels left out in turn."""

    scale: Scale
    fit: Fit
    prior: Opinion
    size: Opinion
    short: Opinion
    reliability: float
    believed: float
    spread: float
    loo_spearman: float
    helps: bool
    labels: Mapping[str, float]
    errors: Mapping[str, float]

    @property
    def loo_error(self) -> float:
        """Root of the mean squared error on labels left out in turn."""
        return self.fit.error

    def short_accuracy(self, key: str, features: Mapping[str, float]) -> Score:
        """Expected accuracy after a short training of the architecture called `key`, whose own label counts."""
        predicted = float(self._standard(features) @ self.fit.weights_F + self.fit.intercept)
        if key in self.labels:
            predicted += self.believed * (self.labels[key] - predicted)
        return Score(predicted, predicted - self.spread, predicted + self.spread)

    def score(self, key: str, features: Mapping[str, float]) -> Score:
        """What architectures are ranked by: features, size and short training together."""
        standard_F = self._standard(features)
        opinions = self.prior.standard(float(standard_F.mean())) + self.size.standard(float(standard_F[-1]))
        caution = 0.0 if key in self.labels else CAUTION * self.loo_error
        opinions += self.reliability * self.short.standard(self.short_accuracy(key, features).value - caution)
        value = self.short.mean + self.short.std * opinions / (2.0 + self.reliability)
        return Score(value, value - self.spread, value + self.spread)

    def report(self) -> dict[str, Any]:
        """What `accuracy/judge.json` says."""
        return {
            "features": list(self.fit.features),
            "weights": dict(zip(self.fit.features, map(float, self.fit.weights_F), strict=True)),
            "labels": len(self.labels),
            "label_reliability": self.reliability,
            "own_label_counts": self.believed,
            "shrinkage": self.fit.shrinkage,
            "loo_error": self.loo_error,
            "loo_errors": dict(self.errors),
            "loo_spearman": self.loo_spearman,
            "features_help": self.helps,
        }

    def _standard(self, features: Mapping[str, float]) -> np.ndarray:
        standard_F: np.ndarray = self.scale.standard([features], self.fit.features)[0]
        return standard_F


def fit_judge(
    pool: Sequence[Mapping[str, float]], labelled: Mapping[str, tuple[Mapping[str, float], float]], images: int
) -> Judge:
    """Fits the accuracy model.

    Args:
        pool: features of every architecture scored so far: they set the scale.
        labelled: by key of the architecture, its features and its accuracy after a short training.
        images: on how many images each of these accuracies was measured.

    Raises:
        LatnasError: fewer than four labels, or features that are not finite.
    """
    if len(labelled) < LEAST_LABELS:
        raise LatnasError(
            f"{len(labelled)} short trainings are too few to fit on; use --trainings {LEAST_LABELS} or more."
        )
    scale = Scale.of(pool)
    rows = [features for features, _ in labelled.values()]
    y_M = np.array([label for _, label in labelled.values()])

    noise = float(np.mean(y_M * (1 - y_M))) / images
    variance = float(y_M.var(ddof=1))
    reliability = max(0.0, 1.0 - noise / variance) if variance > 0 else 0.0

    fits = [_best_fit(scale, rows, names, y_M, reliability) for names in CANDIDATES]
    may_choose = reliability > 0 and len(y_M) >= LEAST_TO_CHOOSE_BY
    better = [fit for fit in fits if may_choose and _clearly_smaller(fit.errors_M, fits[0].errors_M)]
    fit = min(better, key=lambda one: one.error, default=fits[0])
    constant_M = (y_M - y_M.mean()) * len(y_M) / (len(y_M) - 1)
    rank = stats.spearmanr(y_M - fit.errors_M, y_M).statistic if np.ptp(y_M) > 0 else 0.0
    x_MF = scale.standard(rows, fit.features)
    return Judge(
        scale, fit,
        prior=Opinion.of(x_MF.mean(1), LEAST_SPREAD),
        size=Opinion.of(x_MF[:, -1], LEAST_SPREAD),
        short=Opinion.of(y_M, LEAST_LABEL_SPREAD),
        reliability=reliability,
        # As far as an error of the prediction is more than noise of the label.
        believed=min(reliability, max(0.0, 1.0 - noise / fit.error**2)) if fit.error > 0 else 0.0,
        spread=float(stats.t.ppf(0.5 + COVERAGE / 2, len(y_M) - 1)) * fit.error,
        loo_spearman=float(np.nan_to_num(rank)),
        helps=_clearly_smaller(fit.errors_M, constant_M),
        labels={key: label for key, (_, label) in labelled.items()},
        errors={"+".join(one.features): one.error for one in fits},
    )  # fmt: skip


def prior_scores(pool: Sequence[Mapping[str, float]], names: Sequence[str] = CANDIDATES[0]) -> np.ndarray:
    """[N]: the mean of the standardised features of these names, for choosing what to label."""
    means: np.ndarray = Scale.of(pool).standard(pool, names).mean(1)
    return means


def _check(matrix_NF: np.ndarray) -> None:
    if not np.isfinite(matrix_NF).all():
        raise LatnasError(
            "a zero-cost proxy is not finite: the networks' outputs overflow. Use another space or width."
        )


def _best_fit(
    scale: Scale, rows: Sequence[Mapping[str, float]], names: tuple[str, ...], y_M: np.ndarray, reliability: float
) -> Fit:
    """The regression on these features with the shrinkage of least left-out error."""
    x_MF = scale.standard(rows, names)
    errors = {shrinkage: _left_out(x_MF, y_M, shrinkage, reliability) for shrinkage in SHRINKAGES}
    best = min(SHRINKAGES, key=lambda shrinkage: float(np.mean(np.square(errors[shrinkage]))))
    return Fit(names, best, *_fit(x_MF, y_M, best, reliability), errors[best])


def _clearly_smaller(errors_M: np.ndarray, others_M: np.ndarray) -> bool:
    """Whether the first errors are smaller by a share that counts, and squared by more than one standard error."""
    gains_M = np.square(others_M) - np.square(errors_M)
    much = np.square(errors_M).mean() <= CLEARLY**2 * np.square(others_M).mean()
    return bool(much and gains_M.mean() > gains_M.std(ddof=1) / np.sqrt(len(gains_M)))


def _fit(x_MF: np.ndarray, y_M: np.ndarray, shrinkage: float, reliability: float) -> tuple[np.ndarray, float]:
    """Ridge around equal weights, whose one common size is fitted first; with an intercept."""
    centre_F, centre = x_MF.mean(0), y_M.mean()
    x, y = x_MF - centre_F, y_M - centre
    common = x.mean(1)
    # Of the labels only their spread counts here, not whether they agree: on a handful of short trainings the
    # features are the better evidence, and a common weight of zero would make every architecture equal.
    size = max(float(y.std()), LEAST_LABEL_SPREAD) / max(float(common.std()), LEAST_SPREAD)
    start_F = np.full(x.shape[1], size / x.shape[1])
    residual = reliability * (y - x @ start_F)
    gram = x.T @ x + shrinkage * np.eye(x.shape[1])
    weights_F = start_F + np.linalg.solve(gram, x.T @ residual)
    return weights_F, float(centre - centre_F @ weights_F)


def _left_out(x_MF: np.ndarray, y_M: np.ndarray, shrinkage: float, reliability: float) -> np.ndarray:
    """[M] errors, label minus prediction, of fits that left each label out in turn."""
    errors = []
    for index in range(len(y_M)):
        kept = np.arange(len(y_M)) != index
        weights_F, intercept = _fit(x_MF[kept], y_M[kept], shrinkage, reliability)
        errors.append(y_M[index] - x_MF[index] @ weights_F - intercept)
    return np.array(errors)
