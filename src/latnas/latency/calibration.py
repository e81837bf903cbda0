"""From isolated operations to whole networks: the operation table as prior, corrected on a few measured networks.

Isolated operations leave out what a network adds and keep what it saves (fusion, warm caches, layout changes), so their
plain sum is off by some 10 to 40 percent. Here

    network_ms = offset + scale x (sum of operations) + what is particular to kinds of parts, to single parts,
                 and to contexts (what is merged with what)

Everything after the sum is Gaussian with mean zero, so that few networks suffice; parts of one kind (one name) share
what is particular to them. How far each may stray is chosen by leaving networks out, among a small set that begins
with a plain scale and offset. This is the best linear unbiased prediction of mixed models, called universal kriging
elsewhere (Rasmussen and Williams, "Gaussian Processes for Machine Learning", section 2.7), with Huber's weights
against outliers.

N networks, P parts over all settings and decisions, C classes of contexts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import stats

from latnas.errors import LatnasError
from latnas.latency.design import spreads
from latnas.latency.problem import NOISE, Freedom, Problem, Sample, basis, places, problem_of, varying
from latnas.words.costs import PartCosts

LEAST_NETWORKS = 4
COVERAGE = 0.9

KIND_FREEDOMS = (0.0, 0.1, 1.0)
PART_FREEDOMS = (0.0, 0.01, 0.03, 0.1)
CONTEXT_FREEDOMS = (0.0, 0.1, 0.3, 1.0)
ALIKE = 0.05
"""Networks whose times differ by less than this are alike: nothing need be known of them."""

HUBER = 2.0
"""Errors beyond so many deviations count by their size, not by its square."""
HUBER_ABSOLUTE = 0.2
"""Nearly all errors count by their size, as in least absolute errors: for devices with wild outliers."""
REWEIGHTINGS = 30
REWEIGHTINGS_AGAIN = 6
SHORTLIST = 2
FOLDS = 40
"""Of more networks several are left out at a time: refitting takes time that grows with the fourth power."""
SQUARES_MUST_GAIN = 1.15
CONVERGED = 1e-4


class ContradictionError(LatnasError):
    """What was measured of whole networks contradicts what is known of their parts altogether."""


@dataclass(frozen=True)
class Fit:
    """The milliseconds of the fixed rest, of each part and of a thousand elements of each context class.

    `left_out[n]` is measured / predicted - 1 of network n, predicted without it. `errors` has the mean absolute
    left-out error of each freedom that was tried. `low` and `high` multiply a prediction: its 90 percent interval.
    """

    parts: PartCosts
    context_ms: Mapping[str, float]
    freedom: Freedom
    left_out: tuple[float, ...]
    low: float
    high: float
    errors: Mapping[str, float]
    error_of_a_constant: float

    @property
    def is_informative(self) -> bool:
        """Whether it knows more than that networks differ: a constant would be further off. Alike ones need no more."""
        return self.mean_error < max(self.error_of_a_constant, ALIKE)

    @property
    def mean_error(self) -> float:
        """Mean absolute relative error, each network left out in turn."""
        return float(np.mean(np.abs(self.left_out)))

    def predict_ms(self, sample: Sample) -> np.ndarray:
        """[N]: the floors of networks."""
        pieces = self.parts.of_items("ms")
        merged = [
            sum(ms * context.get(name, 0.0) for name, ms in self.context_ms.items()) for context in sample.contexts
        ]
        predicted: np.ndarray = np.array([pieces.cost(network) for network in sample.networks]) + merged
        return predicted


@dataclass(frozen=True)
class _Solution:
    scale: float
    offset: float
    prices: np.ndarray  # [P + C]
    left_out: np.ndarray  # [N], in closed form
    weights: np.ndarray  # [N]

    @property
    def error(self) -> float:
        return float(np.mean(np.abs(self.left_out)))

    def of(self, problem: Problem) -> np.ndarray:
        """Predicted milliseconds: [N]."""
        predicted: np.ndarray = self.offset + self.scale * problem.fixed + problem.rows @ self.prices
        return predicted


def calibrate(
    sample: Sample,
    floors_ms: Sequence[float],
    prior: PartCosts,
    tried: Sequence[Freedom] = (),
    typical: Sample | None = None,
) -> Fit:
    """Fits the milliseconds of everything that a network is made of.

    Args:
        sample: canonical networks, N of them.
        floors_ms: their measured floors.
        prior: isolated milliseconds of the fixed rest and of each part. A rough guess will do: then kinds and parts
            are let stray further.
        tried: freedoms to choose from; by default `freedoms(contexts=True)`.
        typical: networks that predictions are wanted for, where `sample` was chosen otherwise than they are drawn. The
            interval is then theirs: networks that were chosen because much can be learnt from them are themselves
            predicted worse than others when they are left out.

    Raises:
        LatnasError: fewer than four networks.
        ContradictionError: the measurements contradict the prior altogether.
    """
    if len(sample.networks) < LEAST_NETWORKS:
        raise LatnasError(
            f"{len(sample.networks)} whole networks are too few to calibrate on; measure at least {LEAST_NETWORKS}: "
            "latnas profile --calibrate 40"
        )
    classes = varying(sample.contexts)
    problem = problem_of(sample, floors_ms, prior, classes)
    solutions = {freedom: _solve(problem, freedom) for freedom in tried or freedoms(contexts=bool(classes))}
    # Where a price is wrong enough, a network would take no time at all.
    possible = {freedom: one for freedom, one in solutions.items() if np.all(one.of(problem) > 0)}
    if not possible:
        raise ContradictionError(
            "what was measured of whole networks has nothing to do with what is in them, so this table would be "
            "worthless: the device was probably busy"
        )
    errors = _left_out_in_earnest(problem, _shortlist(possible))
    # Squared errors must gain something: on devices with wild outliers they are no worse on few networks by luck.
    means = {freedom: float(np.mean(np.abs(one))) for freedom, one in errors.items()}
    chosen = min(means, key=lambda freedom: means[freedom] * (1.0 if freedom.absolute else SQUARES_MUST_GAIN))
    solution, left_out = possible[chosen], errors[chosen]
    reach = _reach(left_out)
    if typical is not None:
        own, others = spreads(problem, chosen, problem_of(typical, None, prior, classes))
        reach = _reach(left_out / own) * float(others.mean())
    return Fit(
        _as_parts(prior, solution),
        dict(zip(classes, solution.prices[len(problem.kinds) :].tolist(), strict=True)),
        chosen,
        tuple(left_out.tolist()),
        max(1.0 - reach, 0.05),
        1.0 + reach,
        {freedom.name: one.error for freedom, one in solutions.items()},
        _error_of_a_constant(problem.floors),
    )


def freedoms(contexts: bool) -> list[Freedom]:
    """The small set that is tried, with or without contexts, the least freedom first."""
    of_contexts = CONTEXT_FREEDOMS if contexts else (0.0,)
    return [Freedom(*values) for values in product(KIND_FREEDOMS, PART_FREEDOMS, of_contexts, (False, True))]


def _shortlist(possible: Mapping[Freedom, _Solution]) -> dict[Freedom, _Solution]:
    """The few of least error, of those that square errors and of those that do not."""
    ranked = sorted(possible, key=lambda freedom: possible[freedom].error)
    kept = [freedom for mode in (False, True) for freedom in [f for f in ranked if f.absolute == mode][:SHORTLIST]]
    return {freedom: possible[freedom] for freedom in kept}


def _left_out_in_earnest(problem: Problem, solutions: Mapping[Freedom, _Solution]) -> dict[Freedom, np.ndarray]:
    """Left-out errors [N] from fits that never saw the network. In the closed form it has still swayed the weights of
    the others, which flatters fits that weigh by absolute errors.
    """
    found: dict[Freedom, np.ndarray] = {}
    count = len(problem.floors)
    for freedom, whole in solutions.items():
        predicted = np.zeros(count)
        for fold in range(min(count, FOLDS)):
            left = np.arange(count) % FOLDS == fold
            one = _solve(problem.take(~left), freedom, whole.weights[~left], REWEIGHTINGS_AGAIN)
            predicted[left] = one.of(problem.take(left))
        found[freedom] = problem.floors / np.maximum(predicted, 1e-3 * problem.floors) - 1.0
    return found


def _solve(
    problem: Problem, freedom: Freedom, weights: np.ndarray | None = None, reweightings: int = REWEIGHTINGS
) -> _Solution:
    """Fits under one freedom; Huber's weights come from the left-out errors, and are found by repetition."""
    sums, floors = problem.sums, problem.floors
    deviations = basis(problem, freedom)
    features = problem.rows @ deviations
    # Scale and offset are not held back; where all sums are equal there is only a ratio.
    trend = np.stack([sums, np.ones(len(sums))], axis=1)[:, : 1 if np.ptp(sums) < 1e-9 * sums.max() else 2]
    typical = trend.mean(axis=0)
    weights, huber = np.ones(len(floors)) if weights is None else weights, HUBER_ABSOLUTE if freedom.absolute else HUBER
    for _ in range(reweightings):
        deviation = NOISE * floors / np.sqrt(weights)
        a, b, t = features / deviation[:, None], trend / typical / deviation[:, None], floors / deviation
        inverse = np.linalg.inv(a @ a.T + np.eye(len(floors)))
        projected = inverse @ b
        gram = np.linalg.pinv(b.T @ projected)
        shrunk = inverse - projected @ gram @ projected.T
        errors = (shrunk @ t) / np.maximum(np.diag(shrunk), 1e-12) * deviation
        left_out = floors / np.maximum(floors - errors, 1e-3 * floors) - 1.0
        spread = 1.4826 * float(np.median(np.abs(left_out))) + 1e-9
        before = weights
        weights = 1.0 / np.maximum(1.0, np.abs(left_out) / (huber * spread))
        if np.max(np.abs(weights - before)) < CONVERGED:
            break
    coefficients = gram @ (projected.T @ t) / typical
    own = a.T @ (inverse @ (t - b @ (coefficients * typical)))
    scale = float(coefficients[0])
    offset = float(coefficients[1]) if len(coefficients) > 1 else 0.0
    return _Solution(scale, offset, scale * problem.isolated + deviations @ own, left_out, before)


def _reach(left_out: np.ndarray) -> float:
    """Half the width of the interval: the 90th percentile of left-out errors, counted as if one more were to come.

    With too few networks for that, Student's interval; two parameters were fitted at least.
    """
    count = len(left_out)
    rank = math.ceil(COVERAGE * (count + 1))
    if rank < count:
        return float(np.sort(np.abs(left_out))[rank - 1])
    spread = float(np.sqrt(np.mean(np.square(left_out))))
    return float(stats.t.ppf(0.5 + COVERAGE / 2, count - 2)) * spread


def _error_of_a_constant(floors: np.ndarray) -> float:
    """Mean absolute relative error of predicting the median of all others."""
    others = [float(np.median(np.delete(floors, n))) for n in range(len(floors))]
    return float(np.mean(np.abs(floors / np.array(others) - 1.0)))


def _as_parts(prior: PartCosts, solution: _Solution) -> PartCosts:
    positions = places(prior)
    return PartCosts(
        prior.decisions,
        {setting: solution.offset + solution.scale * fixed for setting, fixed in prior.fixed_of.items()},
        {
            setting: {
                d.name: np.array([solution.prices[positions[setting, d.name, part]] for part in d.parts])
                for d in prior.decisions
            }
            for setting in prior.parts_of
        },
    )
