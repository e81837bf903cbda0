"""The accuracy model: a score with an interval for any architecture, from its features and a few short trainings.

Features are standardised over the pool of scored architectures. A ridge regression from features to the accuracies of
short trainings starts from equal weights and is shrunk towards them, by leave-one-out error among few values; labels
count as far as they differ by more than their own noise. No label decides alone: short trainings under-rate large
networks, which converge later. So a score is the mean of three standardised opinions: the features', the size's, and
the short training's, the last weighted by how reliable the labels are.

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

SHRINKAGES = (3.0, 10.0, 30.0, 100.0)
"""Ridge penalties: 100 is as good as equal weights. Smaller ones would let a handful of labels decide."""

LABEL_WEIGHT = 0.5
"""How much of the difference between an architecture's own label and its prediction is believed."""

LEAST_LABELS = 4
LEAST_LABEL_SPREAD = 1e-3
"""Equal labels leave the features' order: without a floor every architecture would score the same."""

LEAST_COMMON_SPREAD = 0.1
"""In standard deviations of the pool. Labelled networks that look alike would make the common weight boundless."""

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
class Judge:
    """A fitted accuracy model. `helps` says whether the features beat a constant when labels are left out in turn."""

    mean_F: np.ndarray
    std_F: np.ndarray
    reliability: float
    weights_F: np.ndarray
    intercept: float
    label_mean: float
    label_std: float
    spread: float
    shrinkage: float
    loo_error: float
    loo_spearman: float
    helps: bool
    labels: Mapping[str, float]

    def short_accuracy(self, key: str, features: Mapping[str, float]) -> Score:
        """Expected accuracy after a short training of the architecture called `key`, whose own label counts."""
        predicted = float(self._standard(features) @ self.weights_F + self.intercept)
        if key in self.labels:
            predicted += LABEL_WEIGHT * self.reliability * (self.labels[key] - predicted)
        return Score(predicted, predicted - self.spread, predicted + self.spread)

    def score(self, key: str, features: Mapping[str, float]) -> Score:
        """What architectures are ranked by: features, size and short training together."""
        standard_F = self._standard(features)
        size = float(standard_F[FEATURES.index("log_params")])
        short = (self.short_accuracy(key, features).value - self.label_mean) / self.label_std
        opinions = float(standard_F.mean()) + size + self.reliability * short
        value = self.label_mean + self.label_std * opinions / (2.0 + self.reliability)
        return Score(value, value - self.spread, value + self.spread)

    def report(self) -> dict[str, Any]:
        """What `accuracy/judge.json` says."""
        return {
            "features": list(FEATURES),
            "weights": dict(zip(FEATURES, map(float, self.weights_F), strict=True)),
            "labels": len(self.labels),
            "label_reliability": self.reliability,
            "shrinkage": self.shrinkage,
            "loo_error": self.loo_error,
            "loo_spearman": self.loo_spearman,
            "features_help": self.helps,
        }

    def _standard(self, features: Mapping[str, float]) -> np.ndarray:
        row = np.array([features[name] for name in FEATURES])
        standard: np.ndarray = np.clip((row - self.mean_F) / self.std_F, -CLIP, CLIP)
        return standard


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
    mean_F, std_F = _scale(pool)
    x_MF = np.clip((_matrix([features for features, _ in labelled.values()]) - mean_F) / std_F, -CLIP, CLIP)
    y_M = np.array([label for _, label in labelled.values()])

    noise = float(np.mean(y_M * (1 - y_M))) / images
    variance = float(y_M.var(ddof=1))
    reliability = max(0.0, 1.0 - noise / variance) if variance > 0 else 0.0

    errors = {shrinkage: _left_out(x_MF, y_M, shrinkage, reliability) for shrinkage in SHRINKAGES}
    best = min(SHRINKAGES, key=lambda shrinkage: float(np.mean(np.square(errors[shrinkage]))))
    weights_F, intercept = _fit(x_MF, y_M, best, reliability)
    spread = float(np.sqrt(np.mean(np.square(errors[best]))))
    constant = float(np.sqrt(np.mean(np.square((y_M - y_M.mean()) * len(y_M) / (len(y_M) - 1)))))
    rank = stats.spearmanr(y_M - errors[best], y_M).statistic if np.ptp(y_M) > 0 else 0.0
    return Judge(
        mean_F, std_F, reliability, weights_F, intercept,
        label_mean=float(y_M.mean()), label_std=max(float(y_M.std()), LEAST_LABEL_SPREAD),
        spread=float(stats.t.ppf(0.5 + COVERAGE / 2, len(y_M) - 1)) * spread,
        shrinkage=best, loo_error=spread, loo_spearman=float(np.nan_to_num(rank)), helps=spread < constant,
        labels={key: label for key, (_, label) in labelled.items()},
    )  # fmt: skip


def prior_scores(pool: Sequence[Mapping[str, float]]) -> np.ndarray:
    """[N]: the mean of the standardised features, for choosing what to label before anything is."""
    mean_F, std_F = _scale(pool)
    means: np.ndarray = np.clip((_matrix(pool) - mean_F) / std_F, -CLIP, CLIP).mean(1)
    return means


def _matrix(rows: Sequence[Mapping[str, float]]) -> np.ndarray:
    matrix_NF = np.array([[row[name] for name in FEATURES] for row in rows])
    if not np.isfinite(matrix_NF).all():
        raise LatnasError(
            "a zero-cost proxy is not finite: the networks' outputs overflow. Use another space or width."
        )
    return matrix_NF


def _scale(pool: Sequence[Mapping[str, float]]) -> tuple[np.ndarray, np.ndarray]:
    matrix_NF = _matrix(pool)
    # Medians and percentiles: a few degenerate networks have proxies a thousand deviations away.
    spread_F = (np.percentile(matrix_NF, 84, axis=0) - np.percentile(matrix_NF, 16, axis=0)) / 2
    return np.median(matrix_NF, axis=0), np.maximum(spread_F, 1e-9)


def _fit(x_MF: np.ndarray, y_M: np.ndarray, shrinkage: float, reliability: float) -> tuple[np.ndarray, float]:
    """Ridge around equal weights, whose one common size is fitted first; with an intercept."""
    centre_F, centre = x_MF.mean(0), y_M.mean()
    x, y = x_MF - centre_F, y_M - centre
    common = x.mean(1)
    # Of the labels only their spread counts here, not whether they agree: on a handful of short trainings the
    # features are the better evidence, and a common weight of zero would make every architecture equal.
    size = max(float(y.std()), LEAST_LABEL_SPREAD) / max(float(common.std()), LEAST_COMMON_SPREAD)
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
