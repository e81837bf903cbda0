"""What predicts an accuracy after a short training: a mean of features, corrected by the labels at hand.

The correction is a Gaussian process on what the networks are made of, so that networks built alike are corrected alike.
Its few parameters are those of the largest marginal likelihood among few. With enough labels for each it also has
weights of its own for every feature and part.

Shapes: M labelled architectures, A features, F those of a regression, P parts that any of the labelled ones has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np

from latnas.ranking.features import FEATURES
from latnas.ranking.gaussian import Solved, solved
from latnas.spaces.space import Space
from latnas.words.architecture import Architecture

SHRINKAGES = (3.0, 10.0, 30.0, 100.0, 1000.0)
"""Ridge penalties: for a handful of labels 100 is as good as the mean of features, for a hundred 1000 is."""

LEAST_LABEL_SPREAD = 1e-3
"""Equal labels leave the features' order: without a floor every architecture would score the same."""

LEAST_SPREAD = 0.1
"""In standard deviations of the pool. Labelled networks that look alike would make weights boundless."""

ENOUGH = 20 * len(FEATURES)
"""From so many labels on features and parts have weights of their own: fewer say hardly more than what size does."""

OFFSET = 0.3
SMOOTH = (0.3, 1.0, 3.0)
SHARPNESS = (1.0, 3.0)
LINEAR = ((0.0, 0.0),)
LINEAR_OF_MANY = tuple(product((0.0, 0.1, 0.3, 1.0), (0.0, 0.3, 1.0)))
NOISE = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Of the process: weight and inverse square length of the smooth term, weights of features and of parts, noise."""

Parts = frozenset[str]
"""The parts of an architecture that run, each with its decision's name."""


def parts_of(architecture: Architecture, space: Space) -> Parts:
    """Those of a canonical architecture of `space`."""
    by_decision = architecture.parts(space.decisions)
    return frozenset(f"{decision}/{part}" for decision, parts in by_decision.items() for part in parts)


def columns(names: Sequence[str]) -> list[int]:
    """Where these features stand among all."""
    return [FEATURES.index(name) for name in names]


def root_mean_square(errors_M: np.ndarray) -> float:
    """The size of errors."""
    return float(np.sqrt(np.mean(np.square(errors_M))))


def least_ridge_error(x_MF: np.ndarray, y_M: np.ndarray, reliability: float) -> float:
    """Size of the errors on labels left out in turn, of regressions with the shrinkage that suits best."""
    return min(root_mean_square(_left_out(x_MF, y_M, shrinkage, reliability)) for shrinkage in SHRINKAGES)


def fit_ridge(
    x_MF: np.ndarray, y_M: np.ndarray, mean_F: np.ndarray, shrinkage: float, reliability: float
) -> tuple[np.ndarray, float]:
    """Weights and intercept of a ridge regression around a mean of features, which is scaled to the labels first.

    Args:
        mean_F: what each feature weighs in that mean; sums to one.
    """
    centre_F, centre = x_MF.mean(0), y_M.mean()
    x, y = x_MF - centre_F, y_M - centre
    # Of the labels only their spread counts here, not whether they agree: on a handful of short trainings the
    # features are the better evidence, and a scale of zero would make every architecture equal.
    start_F = mean_F * max(float(y.std()), LEAST_LABEL_SPREAD) / max(float((x @ mean_F).std()), LEAST_SPREAD)
    residual = reliability * (y - x @ start_F)
    gram = x.T @ x + shrinkage * np.eye(x.shape[1])
    weights_F = start_F + np.linalg.solve(gram, x.T @ residual)
    return weights_F, float(centre - centre_F @ weights_F)


def _left_out(x_MF: np.ndarray, y_M: np.ndarray, shrinkage: float, reliability: float) -> np.ndarray:
    """[M]: label minus prediction, by regressions around the plain mean of the features on all other labels."""
    equal_F = np.full(x_MF.shape[1], 1 / x_MF.shape[1])
    errors = []
    for index in range(len(y_M)):
        kept = np.arange(len(y_M)) != index
        weights_F, intercept = fit_ridge(x_MF[kept], y_M[kept], equal_F, shrinkage, reliability)
        errors.append(y_M[index] - x_MF[index] @ weights_F - intercept)
    return np.array(errors)


@dataclass(frozen=True)
class Kernel:
    """How alike architectures are, by their features and by the parts that run.

    `usual` is how many parts of a network run on average.
    """

    smooth: float
    sharpness: float
    features: float
    parts: float
    usual: float

    def __call__(self, products: np.ndarray, shared: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Elementwise.

        Args:
            products: of the features, mean over them.
            shared: how many parts run in both.
            counts: how many run in the one and in the other, together.
        """
        alike, apart = shared / self.usual, (counts - 2 * shared) / self.usual
        near = self.smooth * np.exp(-self.sharpness * apart / 2)
        kernel: np.ndarray = OFFSET + self.features * products + self.parts * alike + near
        return kernel


@dataclass(frozen=True)
class Known:
    """The labelled architectures: their features [M, A], and which of the P parts run in each."""

    x_MA: np.ndarray
    runs_MP: np.ndarray
    position: Mapping[str, int]

    @classmethod
    def of(cls, x_MA: np.ndarray, parts: Sequence[Parts]) -> Self:
        """With the vocabulary of these parts."""
        position = {name: index for index, name in enumerate(sorted(frozenset().union(*parts)))}
        runs_MP = np.array([[name in one for name in position] for one in parts], dtype=float)
        return cls(x_MA, runs_MP, position)

    def among(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `Kernel` takes, [M, M], between these."""
        shared_MM = self.runs_MP @ self.runs_MP.T
        counts_M = np.diagonal(shared_MM)
        return self.x_MA @ self.x_MA.T / self.x_MA.shape[1], shared_MM, np.add.outer(counts_M, counts_M)

    def with_other(self, standard_A: np.ndarray, parts: Parts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `Kernel` takes, [M], between these and another architecture."""
        here = [self.position[name] for name in parts if name in self.position]
        shared_M = self.runs_MP[:, here].sum(1)
        return self.x_MA @ standard_A / len(standard_A), shared_M, self.runs_MP.sum(1) + len(parts)


@dataclass(frozen=True)
class Corrections:
    """A Gaussian process conditioned on what labels say beyond a first guess; `scale` multiplies what it gives."""

    known: Known
    kernel: Kernel
    process: Solved
    scale: float

    @classmethod
    def likeliest(
        cls,
        known: Known,
        beyond_M: np.ndarray,
        scale: float,
        linear: Sequence[tuple[float, float]] = LINEAR,
        chance: float = 0.0,
    ) -> Self:
        """Those of the largest marginal likelihood.

        Args:
            beyond_M: label minus first guess, of each known architecture.
            scale: of labels.
            linear: weights of features and of parts to choose from.
            chance: the least variance of `beyond_M` that nothing explains; of processes that all explain more than the
                rest, that which explains least.
        """
        products_MM, shared_MM, counts_MM = known.among()
        usual = max(float(np.diagonal(shared_MM).mean()), 1.0)

        def fits() -> Iterator[tuple[Solved, Kernel]]:
            # One at a time, as each has a matrix of its own.
            for smooth, sharpness, (of_features, of_parts) in product(SMOOTH, SHARPNESS, linear):
                kernel = Kernel(smooth, sharpness, of_features, of_parts, usual)
                gram_MM = kernel(products_MM, shared_MM, counts_MM)
                yield from ((solved(gram_MM, noise, beyond_M / scale), kernel) for noise in NOISE)

        def worth(fit: tuple[Solved, Kernel]) -> tuple[bool, float]:
            leaves_enough = fit[0].unexplained >= chance / scale**2
            return leaves_enough, fit[0].likelihood if leaves_enough else fit[0].unexplained

        best, kernel = max(fits(), key=worth)
        return cls(known, kernel, best, scale)

    def at(self, standard_A: np.ndarray, parts: Parts) -> tuple[float, float]:
        """What is to be added for an architecture, and by how much it is in doubt: a standard deviation."""
        cross_M = self.kernel(*self.known.with_other(standard_A, parts))
        count = np.array(float(len(parts)))
        own = self.kernel(np.mean(np.square(standard_A)), count, 2 * count)
        deviation = self.process.deviation(cross_M[None], own[None])[0]
        return self.scale * float(cross_M @ self.process.weights_K), self.scale * float(deviation)


@dataclass(frozen=True)
class LabelModel:
    """A fitted model of labels.

    Attributes:
        weights_A, intercept: the regression that is corrected; features that it does not use weigh nothing.
        left_out: [M], label minus prediction, on labels left out in turn.
    """

    weights_A: np.ndarray
    intercept: float
    corrections: Corrections
    left_out: np.ndarray

    @property
    def error(self) -> float:
        """Root of the mean squared left-out error."""
        return root_mean_square(self.left_out)

    def predict(self, standard_A: np.ndarray, parts: Parts) -> tuple[float, float]:
        """The expected label of an architecture, and by how much it is in doubt: a standard deviation.

        Where it has a label itself this counts, as far as it is more than noise.
        """
        correction, doubt = self.corrections.at(standard_A, parts)
        return float(standard_A @ self.weights_A + self.intercept) + correction, doubt


def fit_label_model(
    mean_A: np.ndarray, x_MA: np.ndarray, parts: Sequence[Parts], y_M: np.ndarray, reliability: float
) -> LabelModel:
    """The model of the largest marginal likelihood.

    Args:
        mean_A: what each feature weighs in the mean that is corrected; sums to one. Those of no weight are not used.
        x_MA: all features, standardised.
        parts: that run in each of the labelled architectures.
        y_M: their labels.
        reliability: the share of the labels' variance that is more than noise.
    """
    used, everything = np.flatnonzero(mean_A), np.arange(len(y_M))
    scale = max(float(y_M.std()), LEAST_LABEL_SPREAD)

    def regression(kept: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Of the labels that are kept: its predictions [M], weights [F] and intercept."""
        x_MF = x_MA[np.ix_(kept, used)]
        weights_F, intercept = fit_ridge(x_MF, y_M[kept], mean_A[used], SHRINKAGES[-1], reliability)
        return x_MA[:, used] @ weights_F + intercept, weights_F, intercept

    means_M, weights_F, intercept = regression(everything)
    many = LINEAR_OF_MANY if len(y_M) >= ENOUGH else LINEAR
    beyond_M = reliability * (y_M - means_M)
    corrections = Corrections.likeliest(Known.of(x_MA, parts), beyond_M, scale, many)

    without_MM = np.array([regression(everything != index)[0] for index in everything])
    corrections_M = scale * corrections.process.without_each(reliability * (y_M - without_MM) / scale)
    weights_A = np.zeros(x_MA.shape[1])
    weights_A[used] = weights_F
    return LabelModel(weights_A, intercept, corrections, y_M - np.diagonal(without_MM) - corrections_M)
