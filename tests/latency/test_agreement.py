"""How well predictions agree with measurements: by hand, by pairs, and against scipy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from latnas.latency.agreement import agreement
from latnas.words.table import Quality


def test_errors_are_relative_to_what_was_measured_and_counted_by_hand() -> None:
    quality = agreement([1.0, 2.1, 2.76, 5.0], [1.0, 2.0, 3.0, 4.0])  # off by 0, 5, 8 and 25 percent
    assert quality.networks == 4
    assert quality.mean_error == pytest.approx((0.0 + 0.05 + 0.08 + 0.25) / 4)
    assert quality.worst == pytest.approx(0.25)
    assert (quality.spearman, quality.kendall) == pytest.approx((1.0, 1.0))


def test_shares_count_networks_within_5_and_10_percent_whether_too_fast_or_too_slow() -> None:
    quality = agreement([96, 104, 106, 94, 91, 109, 111, 50], [100] * 8)
    assert (quality.within5, quality.within10) == (2 / 8, 6 / 8)


def test_perfect_predictions_have_no_error() -> None:
    assert agreement([3.0, 1.0, 2.0], [3.0, 1.0, 2.0]) == Quality(
        networks=3, mean_error=0.0, within5=1.0, within10=1.0, worst=0.0, spearman=1.0, kendall=1.0
    )


@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_those_of_ranks(seed: int) -> None:
    random = np.random.default_rng(seed)
    measured = random.permutation(12) + 1.0
    predicted = measured * random.uniform(0.7, 1.3, 12)
    quality = agreement(predicted.tolist(), measured.tolist())
    pairs = list(combinations(range(12), 2))
    agreeing = sum((predicted[i] < predicted[j]) == (measured[i] < measured[j]) for i, j in pairs)
    assert quality.kendall == pytest.approx(2 * agreeing / len(pairs) - 1)
    ranks = predicted.argsort().argsort() + 1.0
    squares = float(np.sum((ranks - measured) ** 2))
    assert quality.spearman == pytest.approx(1 - 6 * squares / (12 * (12**2 - 1)))


@pytest.mark.parametrize("seed", range(5))
def test_ties_are_ranked_as_scipy_ranks_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    measured = random.integers(1, 6, 20).astype(float)
    predicted = random.integers(1, 6, 20).astype(float)
    quality = agreement(predicted.tolist(), measured.tolist())
    assert quality.spearman == pytest.approx(stats.spearmanr(predicted, measured).statistic)
    assert quality.kendall == pytest.approx(stats.kendalltau(predicted, measured).statistic)


def test_a_reversed_order_is_minus_one_and_a_scale_changes_no_rank() -> None:
    measured = [1.0, 2.0, 4.0, 8.0]
    assert agreement(measured[::-1], measured).kendall == pytest.approx(-1.0)
    scaled = agreement([2 * value for value in measured], measured)
    assert (scaled.spearman, scaled.mean_error) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize(
    ("predicted", "measured"), [([2.0], [1.0]), ([2.0, 2.0], [1.0, 3.0]), ([1.0, 3.0], [2.0, 2.0])]
)
def test_where_one_side_has_one_value_only_nothing_can_be_ranked(predicted: list[float], measured: list[float]) -> None:
    quality = agreement(predicted, measured)
    assert (quality.spearman, quality.kendall) == (None, None)
    assert quality.networks == len(predicted) and quality.worst > 0
