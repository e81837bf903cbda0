"""Scale and offset from whole networks: recovered, robust, and an interval that covers what it says."""

from __future__ import annotations

import re

import numpy as np
import pytest

from latnas.errors import LatnasError
from latnas.latency.calibration import fit_affine

SCALE, OFFSET_MS = 0.9, 0.4


def networks(count: int, noise: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sums between 1 and 8 ms, and floors that are off by a relative error of the given deviation."""
    sums = random.uniform(1.0, 8.0, count)
    return sums, (SCALE * sums + OFFSET_MS) * (1 + noise * random.normal(size=count))


@pytest.mark.parametrize("count", [4, 5, 12, 40])
@pytest.mark.parametrize(("scale", "offset_ms"), [(1.0, 0.0), (0.7, 0.5), (1.4, -0.2)])
def test_clean_measurements_give_the_scale_and_the_offset(count: int, scale: float, offset_ms: float) -> None:
    sums = np.linspace(1.0, 8.0, count)
    fit = fit_affine(sums.tolist(), (scale * sums + offset_ms).tolist())
    assert (fit.scale, fit.offset_ms) == pytest.approx((scale, offset_ms), abs=1e-9)
    assert fit.residuals == pytest.approx([0.0] * count, abs=1e-9)
    assert (fit.low, fit.high, fit.mean_error) == pytest.approx((1.0, 1.0, 0.0), abs=1e-9)


@pytest.mark.parametrize("factor", [1.5, 3.0, 20.0])
@pytest.mark.parametrize("where", [0, 5, 11])
def test_one_network_measured_while_the_device_was_busy_moves_predictions_by_little(factor: float, where: int) -> None:
    sums, floors = networks(12, 0.01, np.random.default_rng(0))
    order = np.argsort(sums)
    sums, floors = sums[order], floors[order]
    floors[where] *= factor
    fit = fit_affine(sums.tolist(), floors.tolist())
    truth = SCALE * sums + OFFSET_MS
    assert np.abs((fit.scale * sums + fit.offset_ms) / truth - 1).max() < 0.03
    assert abs(fit.residuals[where]) == pytest.approx(abs(factor - 1), rel=0.1)


def test_the_fit_has_the_least_absolute_relative_error() -> None:
    sums, floors = networks(12, 0.05, np.random.default_rng(1))
    fit = fit_affine(sums.tolist(), floors.tolist())

    def loss(scale: float, offset_ms: float) -> float:
        return float(np.abs((scale * sums + offset_ms) / floors - 1).sum())

    # The optimum of least absolute errors leads through two of the points.
    pairs = [(i, j) for i in range(12) for j in range(i)]
    slopes = [(floors[i] - floors[j]) / (sums[i] - sums[j]) for i, j in pairs]
    optimum = min(loss(slope, floors[i] - slope * sums[i]) for slope, (i, _) in zip(slopes, pairs, strict=True))
    assert loss(fit.scale, fit.offset_ms) == pytest.approx(optimum, rel=0.01)


def test_each_residual_comes_from_a_fit_that_left_its_network_out() -> None:
    sums, floors = networks(8, 0.03, np.random.default_rng(2))
    fit = fit_affine(sums.tolist(), floors.tolist())
    for n, residual in enumerate(fit.residuals):
        others = fit_affine(np.delete(sums, n).tolist(), np.delete(floors, n).tolist())
        assert residual == pytest.approx(floors[n] / (others.scale * sums[n] + others.offset_ms) - 1, abs=1e-12)
    assert fit.mean_error == pytest.approx(sum(map(abs, fit.residuals)) / 8)


@pytest.mark.parametrize("count", [8, 12])
def test_the_interval_covers_about_nine_fresh_networks_in_ten(count: int) -> None:
    random = np.random.default_rng(count)
    covered = []
    for _ in range(50):
        fit = fit_affine(*(values.tolist() for values in networks(count, 0.025, random)))
        sums, floors = networks(200, 0.025, random)
        predicted = fit.scale * sums + fit.offset_ms
        covered.append(np.mean((predicted * fit.low <= floors) & (floors <= predicted * fit.high)))
    assert 0.87 < np.mean(covered) < 0.95


def test_the_interval_contains_the_prediction_whatever_was_measured() -> None:
    random = np.random.default_rng(3)
    for noise in (0.0, 0.3, 3.0):
        sums, floors = networks(6, noise, random)
        fit = fit_affine(sums.tolist(), np.abs(floors).tolist() if noise < 1 else (SCALE * sums + noise).tolist())
        assert 0 < fit.low <= 1 <= fit.high


def test_networks_of_equal_sums_give_a_ratio_and_no_offset() -> None:
    fit = fit_affine([2.0, 2.0, 2.0, 2.0], [3.0, 3.1, 2.9, 3.0])
    assert (fit.scale, fit.offset_ms) == (1.5, 0.0)


@pytest.mark.parametrize("count", range(4))
def test_too_few_networks_are_refused_with_what_to_type(count: int) -> None:
    with pytest.raises(
        LatnasError, match=f"{count} whole networks are too few .*at least 4: latnas profile --networks 12"
    ):
        fit_affine([1.0] * count, [1.0] * count)


@pytest.mark.parametrize(
    ("sums_ms", "floors_ms"),
    [
        ([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]),  # the more work, the faster
        ([1.0, 5.0, 6.0, 7.0, 8.0, 9.0], [5.0, 1.0, 3.0, 5.0, 7.0, 9.0]),  # the line is below zero at the first
    ],
)
def test_measurements_that_contradict_the_sums_are_refused(sums_ms: list[float], floors_ms: list[float]) -> None:
    with pytest.raises(LatnasError, match=re.escape("measure again with more rounds (latnas profile --rounds 200)")):
        fit_affine(sums_ms, floors_ms)
