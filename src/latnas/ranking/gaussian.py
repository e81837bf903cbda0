"""Gaussian processes on a given kernel matrix: weights, marginal likelihood, predictions of left-out points, variance.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), algorithm 2.1, equations 5.10 to 5.12.

Shapes: K known points, N others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

LEAST_AMPLITUDE = 1e-6


@dataclass(frozen=True)
class Solved:
    """A process conditioned on known points, at the amplitude of the largest marginal likelihood.

    Attributes:
        likelihood: its logarithm, but for a constant.
        weights_K: the mean at a point is its kernel with the known ones times these.
        lower_KK: the factor of kernel plus noise.
        amplitude: what kernel and noise are multiplied by to give variances.
        noise: `unexplained` in units of the amplitude.
    """

    likelihood: float
    weights_K: np.ndarray
    lower_KK: np.ndarray
    amplitude: float
    noise: float

    @property
    def unexplained(self) -> float:
        """Variance of the targets that the kernel does not explain."""
        return self.noise * self.amplitude

    def without_each(self, targets_KK: np.ndarray) -> np.ndarray:
        """[K]: the mean at each known point by the others.

        Args:
            targets_KK: a row of targets for each point that is left out; its own target does not count.
        """
        inverse_KK = cho_solve((self.lower_KK, True), np.eye(len(self.weights_K)))
        own_K = np.diagonal(targets_KK)
        means_K: np.ndarray = own_K - np.sum(targets_KK * inverse_KK, axis=1) / np.diagonal(inverse_KK)
        return means_K

    def deviation(self, cross_NK: np.ndarray, own_N: np.ndarray) -> np.ndarray:
        """[N]: standard deviation at other points, without noise.

        Args:
            cross_NK: their kernel with the known points.
            own_N: their kernel with themselves.
        """
        explained_KN = solve_triangular(self.lower_KK, cross_NK.T, lower=True)
        deviation_N: np.ndarray = np.sqrt(self.amplitude * np.maximum(own_N - np.square(explained_KN).sum(0), 0.0))
        return deviation_N


def solved(gram_KK: np.ndarray, noise: float, targets_K: np.ndarray) -> Solved:
    """The process with this kernel, whose noise has `noise` times the kernel's amplitude as its variance."""
    count = len(targets_K)
    lower_KK = cholesky(gram_KK + noise * np.eye(count), lower=True)
    weights_K = cho_solve((lower_KK, True), targets_K)
    amplitude = max(float(targets_K @ weights_K) / count, LEAST_AMPLITUDE)
    likelihood = -0.5 * count * np.log(amplitude) - np.log(np.diagonal(lower_KK)).sum()
    return Solved(float(likelihood), weights_K, lower_KK, amplitude, noise)
