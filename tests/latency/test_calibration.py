"""Prices of pieces from whole networks: recovered, left out honestly, robust, with an interval that covers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import pytest
from toy import (
    DECISIONS,
    NO_CONTEXT,
    PRICES,
    PRIOR,
    affine,
    by_context,
    by_kind,
    by_part,
    costs,
    drawn,
    merged,
    noisy,
    prior_of,
)

from latnas.errors import LatnasError
from latnas.latency.calibration import HUBER, HUBER_ABSOLUTE, ContradictionError, Fit, _reach, calibrate, freedoms
from latnas.latency.problem import NOISE, Freedom, Sample
from latnas.words.architecture import Architecture
from latnas.words.costs import PartCosts


def predicted(fit: Fit, networks: Sequence[Architecture], contexts: Sequence[Mapping[str, float]] = ()) -> np.ndarray:
    """The oracle for what prices mean: pieces, and contexts by their amounts."""
    amounts = contexts or [NO_CONTEXT] * len(networks)
    of_contexts = [sum(ms * amount.get(name, 0.0) for name, ms in fit.context_ms.items()) for amount in amounts]
    total: np.ndarray = costs(fit.parts, networks) + np.array(of_contexts)
    return total


def fitted(
    networks: Sequence[Architecture],
    floors: np.ndarray,
    tried: Sequence[Freedom] = (),
    prior: PartCosts = PRIOR,
    contexts: Sequence[Mapping[str, float]] = (),
) -> Fit:
    sample = Sample(tuple(networks), tuple(contexts or [NO_CONTEXT] * len(networks)))
    return calibrate(sample, floors.tolist(), prior, tried)


@pytest.mark.parametrize("count", [4, 5, 12, 40])
@pytest.mark.parametrize(("scale", "offset_ms"), [(1.0, 0.0), (0.7, 0.5), (1.4, -0.2)])
def test_clean_measurements_give_the_scale_and_the_offset(count: int, scale: float, offset_ms: float) -> None:
    networks = drawn(count, 0)
    fit = fitted(networks, scale * costs(PRIOR, networks) + offset_ms)
    assert fit.parts.fixed_of["default"] == pytest.approx(scale * 1.0 + offset_ms, abs=1e-6)
    for name, vector in PRIOR.parts_of["default"].items():
        assert fit.parts.parts_of["default"][name] == pytest.approx(scale * vector, abs=1e-6)
    assert fit.left_out == pytest.approx([0.0] * count, abs=1e-6)
    assert (fit.low, fit.high, fit.mean_error) == pytest.approx((1.0, 1.0, 0.0), abs=1e-5)


@pytest.mark.parametrize(("truth", "worst"), [(by_kind, 0.004), (by_part, 0.03)])
def test_prices_of_kinds_and_parts_are_found_where_the_prior_is_off(
    truth: Callable[[Sequence[Architecture]], np.ndarray], worst: float
) -> None:
    networks, fresh = drawn(60, 1), drawn(200, 2)
    fit = fitted(networks, truth(networks))
    assert np.abs(predicted(fit, fresh) / truth(fresh) - 1).max() < worst
    plain = fitted(networks, truth(networks), [Freedom()])
    assert np.abs(predicted(plain, fresh) / truth(fresh) - 1).max() > 4 * worst
    assert fit.freedom.kind or fit.freedom.part


def test_prices_of_contexts_are_found() -> None:
    networks, fresh = drawn(40, 3), drawn(200, 4)
    contexts, of_fresh = [merged(one) for one in networks], [merged(one) for one in fresh]
    fit = fitted(networks, by_context(networks), contexts=contexts)
    assert fit.freedom.context > 0
    assert fit.context_ms == pytest.approx({"conv(conv)": -0.06, "pool(conv)": 0.1}, abs=0.005)
    assert np.abs(predicted(fit, fresh, of_fresh) / by_context(fresh) - 1).max() < 0.01
    without = fitted(networks, by_context(networks), freedoms(contexts=False), contexts=contexts)
    assert set(without.context_ms.values()) <= {0.0}
    assert np.abs(predicted(without, fresh) / by_context(fresh) - 1).max() > 0.03
    assert without.mean_error > 3 * fit.mean_error


def test_a_context_that_all_networks_share_is_part_of_the_fixed_rest() -> None:
    networks = drawn(12, 5)
    contexts = [{"always": 7.0} for _ in networks]
    fit = fitted(networks, affine(networks), contexts=contexts)
    assert fit.context_ms == {}
    assert not any("contexts" in name for name in fit.errors)
    assert predicted(fit, networks) == pytest.approx(affine(networks), rel=1e-6)


def test_each_setting_has_prices_of_its_own() -> None:
    small = {name: 0.25 * vector for name, vector in PRIOR.parts_of["default"].items()}
    prior = PartCosts(DECISIONS, {"default": 1.0, "small": 0.3}, {"default": PRIOR.parts_of["default"], "small": small})
    networks = [
        Architecture(setting, one.chosen) for one, setting in zip(drawn(20, 6), ["default", "small"] * 10, strict=True)
    ]
    fit = fitted(networks, 0.7 * costs(prior, networks) + 0.1, prior=prior)
    assert fit.parts.fixed_of == pytest.approx({"default": 0.8, "small": 0.31})
    assert fit.parts.parts_of["small"]["edge3"] == pytest.approx(0.7 * small["edge3"])
    assert fit.parts.parts_of["default"]["edge3"] == pytest.approx(0.7 * PRIOR.parts_of["default"]["edge3"])


# Against references


class Reference:
    """Dense weighted ridge regression, in which a deviation of size one costs as much as a network off by `NOISE`."""

    def __init__(
        self, networks: Sequence[Architecture], floors: np.ndarray, freedom: Freedom, amounts: np.ndarray
    ) -> None:
        self.isolated = np.concatenate([PRIOR.parts_of["default"][decision.name] for decision in DECISIONS])
        runs = self.runs(networks)
        ratio = float(np.median(floors / (1.0 + runs @ self.isolated)))  # freedoms are in measured milliseconds
        total = ratio * float((runs @ self.isolated).mean())
        average = total / float((runs @ (self.isolated > 0)).mean())
        columns: list[np.ndarray] = []  # of prices, one for each free parameter
        for members in [np.arange(24) % 4 == kind for kind in range(4)]:
            columns += [freedom.kind * ratio * members * self.isolated, freedom.kind * average * members]
        for one in np.eye(24):
            columns += [freedom.part * ratio * one * self.isolated, freedom.part * average * one]
        self.straying = np.stack(columns, axis=1)
        self.element = freedom.context * total / float(amounts.sum(axis=1).mean())
        self.matrix, self.floors = self.features(networks, amounts), floors
        weights, huber = np.ones(len(floors)), HUBER_ABSOLUTE if freedom.absolute else HUBER
        for _ in range(60):
            left_out = np.array([self.left_out(n, weights) for n in range(len(floors))])
            limit = huber * 1.4826 * np.median(np.abs(left_out))
            weights = np.minimum(1.0, limit / np.abs(left_out))
        self.solution = self.solved(weights, np.arange(len(floors)))

    def runs(self, networks: Sequence[Architecture]) -> np.ndarray:
        """[N, 24]: which parts run."""
        return np.eye(4)[[one.indices(DECISIONS) for one in networks]].reshape(len(networks), 24)

    def features(self, networks: Sequence[Architecture], amounts: np.ndarray) -> np.ndarray:
        sums = 1.0 + self.runs(networks) @ self.isolated
        ones = np.ones(len(networks))
        return np.column_stack([sums, ones, self.runs(networks) @ self.straying, self.element * amounts])

    def solved(self, weights: np.ndarray, kept: np.ndarray) -> np.ndarray:
        deviation = NOISE * self.floors[kept] / np.sqrt(weights[kept])
        held_back = np.eye(self.matrix.shape[1])[2:]
        rows = np.concatenate([self.matrix[kept] / deviation[:, None], held_back])
        target = np.concatenate([self.floors[kept] / deviation, np.zeros(len(held_back))])
        solution: np.ndarray = np.linalg.lstsq(rows, target, rcond=None)[0]
        return solution

    def left_out(self, n: int, weights: np.ndarray) -> float:
        kept = np.flatnonzero(np.arange(len(self.floors)) != n)
        return float(self.floors[n] / (self.matrix[n] @ self.solved(weights, kept)) - 1.0)


def every() -> list[Architecture]:
    return [Architecture.from_indices("default", DECISIONS, indices) for indices in product(range(4), repeat=6)]


SINGLE = [
    Freedom(),
    Freedom(kind=0.3),
    Freedom(part=0.1),
    Freedom(kind=1.0, part=0.03),
    Freedom(0.1, 0.1, 1.0),
    Freedom(absolute=True),
    Freedom(kind=0.3, absolute=True),
]


@pytest.mark.parametrize("freedom", SINGLE, ids=lambda freedom: freedom.name)
def test_prices_are_those_of_a_dense_ridge_regression(freedom: Freedom) -> None:
    networks, classes = drawn(16, 11), ["conv(conv)", "pool(conv)"]
    contexts = [merged(one) for one in networks]
    floors = noisy(by_context(networks) if freedom.context else affine(networks), 0.01, 1)
    fit = fitted(networks, floors, [freedom], contexts=contexts)
    amounts = np.array([[context[name] for name in classes] for context in contexts])
    expected = Reference(networks, floors, freedom, amounts)
    everyone = every()
    assert fit.freedom == freedom
    totals = expected.features(everyone, np.zeros((len(everyone), 2))) @ expected.solution
    assert predicted(fit, everyone) == pytest.approx(totals, rel=3e-4)
    of_contexts = dict(zip(classes, expected.element * expected.solution[-2:], strict=True))
    assert fit.context_ms == pytest.approx(of_contexts, abs=3e-5)


@pytest.mark.parametrize("freedom", SINGLE, ids=lambda freedom: freedom.name)
def test_each_left_out_error_comes_from_a_fit_that_left_its_network_out(freedom: Freedom) -> None:
    networks = drawn(20, 12)
    contexts = [merged(one) for one in networks]
    floors = noisy(by_context(networks) if freedom.context else affine(networks), 0.01, 2)
    fit = fitted(networks, floors, [freedom], contexts=contexts)
    for n, error in enumerate(fit.left_out):
        kept = [k for k in range(20) if k != n]
        others = fitted([networks[k] for k in kept], floors[kept], [freedom], contexts=[contexts[k] for k in kept])
        expected = floors[n] / predicted(others, [networks[n]], [contexts[n]])[0] - 1
        # Weights are found by repetition, from another start.
        assert error == pytest.approx(expected, abs=5e-4)
    assert fit.mean_error == pytest.approx(np.abs(fit.left_out).mean())


@pytest.mark.parametrize("truth", [affine, by_kind, by_part])
def test_the_freedom_of_least_left_out_error_is_chosen(
    truth: Callable[[Sequence[Architecture]], np.ndarray],
) -> None:
    networks, tried = drawn(30, 13), [Freedom(), Freedom(kind=1.0, part=0.1)]
    floors = noisy(truth(networks), 0.01, 3)
    alone = {freedom: fitted(networks, floors, [freedom]) for freedom in tried}
    best = min(tried, key=lambda freedom: alone[freedom].mean_error)
    fit = fitted(networks, floors, tried)
    assert fit.freedom == best == (Freedom() if truth is affine else tried[1])
    assert fit.left_out == alone[best].left_out
    assert list(fit.errors) == [freedom.name for freedom in tried]


def test_every_freedom_that_is_tried_has_a_name_and_an_error() -> None:
    networks = drawn(10, 14)
    for contexts in (True, False):
        names = [freedom.name for freedom in freedoms(contexts)]
        assert len(set(names)) == len(names)
        amounts = [merged(one) if contexts else NO_CONTEXT for one in networks]
        assert list(fitted(networks, noisy(affine(networks), 0.01, 0), contexts=amounts).errors) == names
    assert Freedom().name == "scale and offset"
    assert Freedom(kind=0.1, context=1.0).name == "kinds 0.1, contexts 1"
    assert Freedom(part=0.03, absolute=True).name == "parts 0.03, absolute errors"


# Robust


@pytest.mark.parametrize("factor", [1.5, 3.0])
@pytest.mark.parametrize("where", [0, 11, 23])
def test_one_network_measured_while_the_device_was_busy_moves_predictions_by_little(factor: float, where: int) -> None:
    networks = sorted(drawn(24, 15), key=lambda one: float(costs(PRIOR, [one])[0]))
    floors = noisy(affine(networks), 0.01, 4)
    floors[where] *= factor
    fit = fitted(networks, floors)
    fresh = drawn(200, 16)
    assert np.abs(predicted(fit, fresh) / affine(fresh) - 1).max() < 0.04
    assert fit.left_out[where] == pytest.approx(factor - 1, rel=0.15)


@pytest.mark.parametrize("count", [5, 8, 16])
def test_fewer_networks_than_parts_do(count: int) -> None:
    networks, fresh = drawn(count, 17), drawn(200, 18)
    fit = fitted(networks, noisy(affine(networks), 0.01, 5))
    assert np.abs(predicted(fit, fresh) / affine(fresh) - 1).max() < 0.08


def test_units_make_no_difference() -> None:
    networks, fresh = drawn(20, 19), drawn(50, 20)
    floors = noisy(by_kind(networks), 0.01, 6)
    tried = [Freedom(), Freedom(kind=0.1), Freedom(kind=1.0)]
    fit, in_seconds = fitted(networks, floors, tried), fitted(networks, floors / 1000, tried, in_units(0.001))
    assert fit.freedom == in_seconds.freedom
    assert 1000 * predicted(in_seconds, fresh) == pytest.approx(predicted(fit, fresh), rel=1e-4)
    assert in_seconds.left_out == pytest.approx(fit.left_out, abs=1e-4)


def in_units(unit: float) -> PartCosts:
    return prior_of(unit * PRICES, unit)


def test_the_order_of_the_networks_makes_no_difference() -> None:
    networks, fresh = drawn(20, 21), drawn(50, 22)
    floors = noisy(by_kind(networks), 0.01, 7)
    fit, turned = fitted(networks, floors), fitted(networks[::-1], floors[::-1])
    assert predicted(turned, fresh) == pytest.approx(predicted(fit, fresh), rel=1e-6)
    assert turned.left_out[::-1] == pytest.approx(fit.left_out, abs=1e-6)


@pytest.mark.parametrize("count", [8, 30])
def test_the_interval_covers_about_nine_fresh_networks_in_ten(count: int) -> None:
    tried, covered = [Freedom(), Freedom(kind=0.1)], []
    for seed in range(30):
        networks, fresh = drawn(count, 100 + seed), drawn(200, 200 + seed)
        fit = fitted(networks, noisy(affine(networks), 0.025, 300 + seed), tried)
        floors, value = noisy(affine(fresh), 0.025, 400 + seed), predicted(fit, fresh)
        covered.append(np.mean((value * fit.low <= floors) & (floors <= value * fit.high)))
    assert 0.86 < np.mean(covered) < 0.95


@pytest.mark.parametrize(("count", "expected"), [(8, 0.098126), (18, 0.188981), (19, 0.18), (20, 0.19), (30, 0.28)])
def test_half_the_interval_is_the_90th_percentile_of_errors_or_student_s_where_they_are_few(
    count: int, expected: float
) -> None:
    """Of errors of 1, 2, 3, ... percent; expected are Student's of 6 and 16 degrees of freedom, and ranks."""
    errors = np.arange(1, count + 1) / 100 * (-1) ** np.arange(count)
    assert _reach(errors) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_the_interval_contains_the_prediction_whatever_was_measured(noise: float) -> None:
    networks = drawn(8, 23)
    fit = fitted(networks, np.abs(noisy(affine(networks), noise, 8)))
    assert 0 < fit.low <= 1 <= fit.high


def test_networks_of_equal_sums_give_a_ratio_and_no_offset() -> None:
    networks = drawn(6, 24)
    even = {decision.name: np.full(4, 0.5) for decision in DECISIONS}
    prior = PartCosts(DECISIONS, {"default": 1.0}, {"default": even})
    fit = fitted(networks, np.full(6, 6.0), [Freedom()], prior)  # all sums are 4
    assert fit.parts.fixed_of["default"] == pytest.approx(1.5)
    assert fit.parts.parts_of["default"]["edge0"] == pytest.approx([0.75] * 4)


def test_a_fit_is_informative_where_it_knows_more_than_a_constant_or_all_networks_are_alike() -> None:
    networks = drawn(20, 25)
    floors = noisy(affine(networks), 0.01, 9)
    related, alike = fitted(networks, floors), fitted(networks, noisy(np.full(20, 5.0), 0.01, 9))
    assert related.is_informative and alike.is_informative
    unrelated = fitted(networks, np.exp(np.random.default_rng(0).normal(size=20)), [Freedom()])
    assert not unrelated.is_informative
    medians = [float(np.median(np.delete(floors, n))) for n in range(20)]
    assert related.error_of_a_constant == pytest.approx(np.abs(floors / medians - 1).mean())


# Refused


@pytest.mark.parametrize("count", range(4))
def test_too_few_networks_are_refused_with_what_to_type(count: int) -> None:
    with pytest.raises(
        LatnasError, match=f"{count} whole networks are too few .*at least 4: latnas profile --calibrate 40"
    ):
        fitted(drawn(count, 0), np.ones(count))


def test_measurements_that_leave_a_network_no_time_at_all_are_refused() -> None:
    networks = sorted(drawn(400, 26), key=lambda one: float(costs(PRIOR, [one])[0]))
    chosen = [networks[0], *networks[-8:]]
    sums = costs(PRIOR, chosen)
    floors = np.array([5.0, *(10.0 * (sums[1:] - sums[1]) + 1.0)])  # this line is far below zero at the first
    with pytest.raises(ContradictionError, match="the device was probably busy"):
        fitted(chosen, floors, [Freedom(absolute=True)])


@pytest.mark.parametrize("factor", [1e-3, 0.1, 50.0])
def test_a_prior_that_is_off_by_a_factor_gives_the_same_predictions(factor: float) -> None:
    networks = drawn(24, 17)
    floors = noisy(affine(networks), 0.01, 3)
    plain, scaled = (fitted(networks, floors, prior=prior) for prior in (PRIOR, prior_of(factor * PRICES, factor)))
    assert scaled.freedom == plain.freedom
    assert predicted(scaled, every()) == pytest.approx(predicted(plain, every()), rel=1e-6)
