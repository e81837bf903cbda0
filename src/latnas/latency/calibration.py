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

N networks, P parts over all settings and decisions, C classes of contexts, Q parameters of all kinds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import stats

from latnas.errors import LatnasError
from latnas.words.architecture import Architecture
from latnas.words.costs import PartCosts

LEAST_NETWORKS = 4
COVERAGE = 0.9
NOISE = 0.01
"""Relative deviation of a measured network from what is expected of it. Only its ratio to the freedoms matters."""

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


@dataclass(frozen=True)
class Freedom:
    """How far prices may stray from the scaled table, relative to the price of an average part or element.

    `absolute`: errors count by their size, which outliers do not sway; else by their square, which is more exact.
    """

    kind: float = 0.0
    part: float = 0.0
    context: float = 0.0
    absolute: bool = False

    @property
    def name(self) -> str:
        """For people and for the table."""
        freedoms = {"kinds": self.kind, "parts": self.part, "contexts": self.context}
        given = [f"{name} {value:g}" for name, value in freedoms.items() if value] or ["scale and offset"]
        return ", ".join(given + ["absolute errors"] * self.absolute)


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


@dataclass(frozen=True)
class _Problem:
    """`sums` [N]; `basis` [N, Q] and `prices` [P + C, Q] put parameters into networks and into prices."""

    networks: np.ndarray  # [N, P + C]: which parts run, how many elements are in each context class
    prior: np.ndarray  # [P + C]: isolated milliseconds, zero for contexts
    kinds: np.ndarray  # [P, K] of 0 and 1
    fixed: np.ndarray  # [N]: isolated milliseconds of the fixed rest
    floors: np.ndarray  # [N]

    @property
    def sums(self) -> np.ndarray:
        total: np.ndarray = self.fixed + self.networks @ self.prior
        return total


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

    def of(self, problem: _Problem) -> np.ndarray:
        """Predicted milliseconds of the networks that were fitted: [N]."""
        predicted: np.ndarray = self.offset + self.scale * problem.fixed + problem.networks @ self.prices
        return predicted


def calibrate(
    networks: Sequence[Architecture],
    floors_ms: Sequence[float],
    prior: PartCosts,
    contexts: Sequence[Mapping[str, float]],
    tried: Sequence[Freedom] = (),
) -> Fit:
    """Fits the milliseconds of everything that a network is made of.

    Args:
        networks: canonical architectures, N of them.
        floors_ms: their measured floors.
        prior: isolated milliseconds of the fixed rest and of each part. A rough guess will do: then kinds and parts
            are let stray further.
        contexts: for each network the thousands of elements in each context class.
        tried: freedoms to choose from; by default `freedoms(contexts=True)`.

    Raises:
        LatnasError: fewer than four networks, or measurements that contradict the prior altogether.
    """
    if len(networks) < LEAST_NETWORKS:
        raise LatnasError(
            f"{len(networks)} whole networks are too few to calibrate on; measure at least {LEAST_NETWORKS}: "
            "latnas profile --calibrate 40"
        )
    places = _places(prior)
    classes = _varying(contexts)
    problem = _problem(networks, floors_ms, prior, contexts, places, classes)
    solutions = {freedom: _solve(problem, freedom) for freedom in tried or freedoms(contexts=bool(classes))}
    # Where a price is wrong enough, a network would take no time at all.
    possible = {freedom: one for freedom, one in solutions.items() if np.all(one.of(problem) > 0)}
    if not possible:
        raise LatnasError(
            "what was measured of whole networks has nothing to do with what is in them, so this table would be "
            "worthless. The device was probably busy: measure again with more rounds (latnas profile --rounds 2000)."
        )
    errors = _left_out_in_earnest(problem, _shortlist(possible))
    # Squared errors must gain something: on devices with wild outliers they are no worse on few networks by luck.
    means = {freedom: float(np.mean(np.abs(one))) for freedom, one in errors.items()}
    chosen = min(means, key=lambda freedom: means[freedom] * (1.0 if freedom.absolute else SQUARES_MUST_GAIN))
    solution, left_out = possible[chosen], errors[chosen]
    reach = _reach(left_out)
    return Fit(
        _as_parts(prior, places, solution),
        dict(zip(classes, solution.prices[len(places) :].tolist(), strict=True)),
        chosen,
        tuple(left_out.tolist()),
        max(1.0 - reach, 0.05),
        1.0 + reach,
        {freedom.name: one.error for freedom, one in solutions.items()},
        _error_of_a_constant(problem.floors),
    )


def _problem(
    networks: Sequence[Architecture],
    floors_ms: Sequence[float],
    prior: PartCosts,
    contexts: Sequence[Mapping[str, float]],
    places: Mapping[tuple[str, str, str], int],
    classes: Sequence[str],
) -> _Problem:
    matrix = np.zeros((len(networks), len(places) + len(classes)))
    for row, architecture in enumerate(networks):
        for decision, parts in architecture.parts(prior.decisions).items():
            for part in parts:
                matrix[row, places[architecture.setting, decision, part]] = 1.0
        matrix[row, len(places) :] = [contexts[row].get(name, 0.0) for name in classes]
    by_setting = prior.parts_of
    isolated = [by_setting[s][d.name][i] for s in by_setting for d in prior.decisions for i in range(len(d.parts))]
    names = [part.rpartition("/")[2] for _, _, part in places]
    kinds = np.array([[name == kind for kind in dict.fromkeys(names)] for name in names], float)
    fixed = np.array([prior.fixed_of[architecture.setting] for architecture in networks])
    return _Problem(matrix, np.array([*isolated, *[0.0] * len(classes)]), kinds, fixed, np.asarray(floors_ms, float))


def freedoms(contexts: bool) -> list[Freedom]:
    """The small set that is tried, with or without contexts, the least freedom first."""
    of_contexts = CONTEXT_FREEDOMS if contexts else (0.0,)
    return [Freedom(*values) for values in product(KIND_FREEDOMS, PART_FREEDOMS, of_contexts, (False, True))]


def _shortlist(possible: Mapping[Freedom, _Solution]) -> dict[Freedom, _Solution]:
    """The few of least error, of those that square errors and of those that do not."""
    ranked = sorted(possible, key=lambda freedom: possible[freedom].error)
    kept = [freedom for mode in (False, True) for freedom in [f for f in ranked if f.absolute == mode][:SHORTLIST]]
    return {freedom: possible[freedom] for freedom in kept}


def _left_out_in_earnest(problem: _Problem, solutions: Mapping[Freedom, _Solution]) -> dict[Freedom, np.ndarray]:
    """Left-out errors [N] from fits that never saw the network. In the closed form it has still swayed the weights of
    the others, which flatters fits that weigh by absolute errors.
    """
    found: dict[Freedom, np.ndarray] = {}
    count = len(problem.floors)
    for freedom, whole in solutions.items():
        predicted = np.zeros(count)
        for fold in range(min(count, FOLDS)):
            left = np.arange(count) % FOLDS == fold
            kept = ~left
            fixed, floors = problem.fixed[kept], problem.floors[kept]
            rest = _Problem(problem.networks[kept], problem.prior, problem.kinds, fixed, floors)
            one = _solve(rest, freedom, whole.weights[kept], REWEIGHTINGS_AGAIN)
            predicted[left] = one.offset + one.scale * problem.fixed[left] + problem.networks[left] @ one.prices
        found[freedom] = problem.floors / np.maximum(predicted, 1e-3 * problem.floors) - 1.0
    return found


def _solve(
    problem: _Problem, freedom: Freedom, weights: np.ndarray | None = None, reweightings: int = REWEIGHTINGS
) -> _Solution:
    """Fits under one freedom; Huber's weights come from the left-out errors, and are found by repetition."""
    sums, floors = problem.sums, problem.floors
    basis = _basis(problem, freedom)
    features = problem.networks @ basis
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
    return _Solution(scale, offset, scale * problem.prior + basis @ own, left_out, before)


def _basis(problem: _Problem, freedom: Freedom) -> np.ndarray:
    """[P + C, Q]: what one deviation of each free parameter adds to each price.

    A part strays in proportion to what it costs, and by what an average part costs: a layout change is as dear for a
    pooling as for a convolution.
    """
    num_parts = len(problem.kinds)
    parts = problem.networks[:, :num_parts]
    # In measured milliseconds: a prior that is off by a factor is not the less free.
    prior = float(np.median(problem.floors / problem.sums)) * problem.prior[:num_parts]
    costing = prior > 0
    total = float(np.mean(parts @ prior))
    average = total / max(float(parts[:, costing].sum(axis=1).mean()), 1.0)
    blocks = []
    if freedom.kind:
        blocks += [freedom.kind * prior[:, None] * problem.kinds, freedom.kind * average * problem.kinds]
    if freedom.part:
        blocks += [freedom.part * np.diag(prior), freedom.part * average * np.eye(num_parts)]
    num_contexts = problem.networks.shape[1] - num_parts
    block = np.concatenate(blocks, axis=1) if blocks else np.zeros((num_parts, 0))
    if not (freedom.context and num_contexts):
        return np.concatenate([block, np.zeros((num_contexts, block.shape[1]))])
    elements = problem.networks[:, num_parts:].sum(axis=1).mean()
    contexts = freedom.context * total / max(float(elements), 1e-9) * np.eye(num_contexts)
    return np.block(
        [[block, np.zeros((num_parts, num_contexts))], [np.zeros((num_contexts, block.shape[1])), contexts]]
    )


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


def _places(prior: PartCosts) -> dict[tuple[str, str, str], int]:
    """The position of each part, by setting, decision and name."""
    names = [(setting, d.name, part) for setting in prior.parts_of for d in prior.decisions for part in d.parts]
    return {name: position for position, name in enumerate(names)}


def _varying(contexts: Sequence[Mapping[str, float]]) -> list[str]:
    """Classes whose amounts differ between networks: the others are part of the offset."""
    names = sorted({name for context in contexts for name in context})
    return [name for name in names if len({round(context.get(name, 0.0), 9) for context in contexts}) > 1]


def _as_parts(prior: PartCosts, places: Mapping[tuple[str, str, str], int], solution: _Solution) -> PartCosts:
    return PartCosts(
        prior.decisions,
        {setting: solution.offset + solution.scale * fixed for setting, fixed in prior.fixed_of.items()},
        {
            setting: {
                d.name: np.array([solution.prices[places[setting, d.name, part]] for part in d.parts])
                for d in prior.decisions
            }
            for setting in prior.parts_of
        },
    )
