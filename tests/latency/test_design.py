"""Networks to measure are chosen for what they tell, and what is left unknown is known."""

from __future__ import annotations

import numpy as np
import pytest
from toy import NO_CONTEXT, PRIOR, by_context, drawn, noisy, sample_of

from latnas.latency.calibration import calibrate
from latnas.latency.design import FREEDOM, most_informative, spreads
from latnas.latency.problem import Freedom, basis, features, problem_of, varying


def variance_left(rows: np.ndarray, measured: list[int]) -> float:
    """The mean variance of predictions of all networks, by inverting the whole matrix."""
    seen = rows[measured]
    covariance = np.linalg.inv(seen.T @ seen + np.eye(rows.shape[1]))
    return float(np.mean(np.einsum("ij,jk,ik->i", rows, covariance, rows)))


def test_each_network_that_is_chosen_leaves_the_least_variance_of_all_candidates() -> None:
    sample = sample_of(drawn(40, 0))
    problem = problem_of(sample, None, PRIOR, varying(sample.contexts))
    rows = features(problem, problem, FREEDOM)
    measured, candidates = [0, 1], list(range(5, 40))
    for chosen in most_informative(sample, PRIOR, measured, candidates, 6):
        best = min(candidates, key=lambda candidate: variance_left(rows, [*measured, candidate]))
        assert chosen == best
        measured.append(chosen)
        candidates.remove(chosen)


def test_no_more_networks_are_chosen_than_there_are() -> None:
    sample = sample_of(drawn(10, 1))
    assert sorted(most_informative(sample, PRIOR, [], [2, 3, 5], 7)) == [2, 3, 5]
    assert most_informative(sample, PRIOR, [], [], 7) == []
    assert most_informative(sample, PRIOR, [], [2, 3], 0) == []


def test_networks_without_contexts_can_be_chosen_too() -> None:
    sample = sample_of(drawn(12, 2), with_contexts=False)
    assert set(sample.contexts[0]) == set(NO_CONTEXT)
    assert len(set(most_informative(sample, PRIOR, [0], range(1, 12), 5))) == 5


def test_what_is_chosen_predicts_better_than_what_is_drawn_blindly() -> None:
    chosen, blind = list[float](), list[float]()
    for seed in range(6):
        random = np.random.default_rng(seed)
        sample = sample_of(drawn(200, 10 + seed))
        problem = problem_of(sample, None, PRIOR, varying(sample.contexts))
        prices = basis(problem, FREEDOM) @ (0.1 * random.normal(size=basis(problem, FREEDOM).shape[1]))
        truth = problem.sums + problem.rows @ prices
        floors, fresh = noisy(truth, 0.005, seed), np.arange(100, 200)
        for positions, errors in (
            (most_informative(sample, PRIOR, [], range(100), 16), chosen),
            (random.permutation(100)[:16].tolist(), blind),
        ):
            fit = calibrate(sample.take(positions), floors[positions].tolist(), PRIOR)
            predicted = fit.predict_ms(sample.take(fresh.tolist()))
            errors.append(float(np.mean(np.abs(predicted / truth[fresh] - 1))))
    assert np.median(chosen) < 0.9 * np.median(blind)


@pytest.mark.parametrize("freedom", [Freedom(), Freedom(kind=1.0, context=0.3), FREEDOM])
def test_spreads_are_those_of_networks_left_out_one_by_one(freedom: Freedom) -> None:
    sample, fresh = sample_of(drawn(20, 3)), sample_of(drawn(30, 4))
    classes = varying(sample.contexts)
    problem, others = problem_of(sample, None, PRIOR, classes), problem_of(fresh, None, PRIOR, classes)
    own, new = spreads(problem, freedom, others)
    rows = features(problem, problem, freedom)
    for n in range(20):
        rest = np.delete(rows, n, axis=0)
        covariance = np.linalg.inv(rest.T @ rest + np.eye(rows.shape[1]))
        assert own[n] == pytest.approx(np.sqrt(1.0 + rows[n] @ covariance @ rows[n]))
    covariance = np.linalg.inv(rows.T @ rows + np.eye(rows.shape[1]))
    expected = [np.sqrt(1.0 + row @ covariance @ row) for row in features(others, problem, freedom)]
    assert new == pytest.approx(expected)


def test_an_interval_is_that_of_typical_networks_and_not_of_those_that_tell_most() -> None:
    covered, as_chosen, widths = [], [], []
    for seed in range(5):
        sample = sample_of(drawn(150, 100 + seed))
        floors = noisy(by_context(sample.networks), 0.01, seed)
        chosen = most_informative(sample, PRIOR, [], range(150), 40)
        fresh = drawn(200, 200 + seed)
        times = noisy(by_context(fresh), 0.01, 50 + seed)
        for typical, found in ((sample, covered), (None, as_chosen)):
            fit = calibrate(sample.take(chosen), floors[chosen].tolist(), PRIOR, typical=typical)
            ratios = times / fit.predict_ms(sample_of(fresh))
            found.append(float(np.mean((fit.low <= ratios) & (ratios <= fit.high))))
            widths.append(fit.high - fit.low)
    assert 0.86 < np.mean(covered) < 0.94
    assert np.mean(as_chosen) > np.mean(covered)
    assert np.mean(widths[::2]) < np.mean(widths[1::2])
