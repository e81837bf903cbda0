"""From sums of isolated operations to whole networks: a scale, an offset, and how wrong that is.

Isolated operations leave out what a network adds (additions, layout changes) and keep what it saves (warm caches), so
a plain sum is off by some 10 percent. A scale and an offset fitted on a dozen whole networks bring that to some 2.5
percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from latnas.errors import LatnasError

LEAST_NETWORKS = 4
COVERAGE = 0.9
REWEIGHTINGS = 20


@dataclass(frozen=True)
class AffineFit:
    """floor_ms = scale x sum_ms + offset_ms; `residuals` are relative, each from a fit that left its network out."""

    scale: float
    offset_ms: float
    residuals: tuple[float, ...]
    low: float
    high: float

    @property
    def mean_error(self) -> float:
        """Mean absolute relative error, left out in turn."""
        return float(np.mean(np.abs(self.residuals)))


def fit_affine(sums_ms: Sequence[float], floors_ms: Sequence[float]) -> AffineFit:
    """Fits scale and offset by least absolute relative error; the interval is Student's, from left-out residuals.

    Args:
        sums_ms: plain sums of operations, one a network.
        floors_ms: measured floors of the same networks.

    Raises:
        LatnasError: fewer than four networks, or measurements that contradict the sums altogether.
    """
    sums, floors = np.asarray(sums_ms, float), np.asarray(floors_ms, float)
    if len(floors) < LEAST_NETWORKS:
        raise LatnasError(
            f"{len(floors)} whole networks are too few to calibrate on; measure at least {LEAST_NETWORKS}: "
            "latnas profile --networks 12"
        )
    scale, offset = _fit(sums, floors)
    if scale <= 0 or np.any(scale * sums + offset <= 0):
        raise LatnasError(
            "the measured networks do not get slower as their operations do, so this table would be worthless. "
            "The device was probably busy: measure again with more rounds (latnas profile --rounds 200)."
        )
    residuals = []
    for left_out in range(len(floors)):
        kept = np.arange(len(floors)) != left_out
        a, b = _fit(sums[kept], floors[kept])
        residuals.append(float(floors[left_out] / max(a * sums[left_out] + b, 1e-9) - 1.0))
    # Two parameters were fitted; the residuals' own mean is kept in the spread.
    spread = float(np.sqrt(np.mean(np.square(residuals))))
    reach = float(stats.t.ppf(0.5 + COVERAGE / 2, len(floors) - 2)) * spread
    return AffineFit(scale, offset, tuple(residuals), max(1.0 - reach, 0.05), 1.0 + reach)


def _fit(sums: np.ndarray, floors: np.ndarray) -> tuple[float, float]:
    """Least absolute relative error by iteratively reweighted least squares; a plain ratio where sums do not differ."""
    if np.ptp(sums) < 1e-9 * max(float(np.max(sums)), 1e-12):
        return float(np.median(floors) / max(float(np.median(sums)), 1e-12)), 0.0
    design = np.stack([sums / floors, 1.0 / floors], axis=1)
    weights = np.ones(len(floors))
    solution = np.zeros(2)
    for _ in range(REWEIGHTINGS):
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(design * root[:, None], root, rcond=None)[0]
        weights = 1.0 / np.maximum(np.abs(design @ solution - 1.0), 1e-3)
    return float(solution[0]), float(solution[1])
