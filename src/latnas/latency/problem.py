"""Whole networks in numbers: which parts run, what is merged with what, and how far the price of each may stray.

What is fitted to measurements (`calibration`) and what says which networks are worth measuring (`design`) is one model:

    network_ms = offset + scale x (sum of isolated operations) + what is particular to kinds, parts and contexts

with Gaussian deviations from the scaled sum whose sizes a `Freedom` gives.

N networks, P parts over all settings and decisions, C classes of contexts, Q parameters beside offset and scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latnas.errors import LatnasError
from latnas.words.architecture import Architecture
from latnas.words.costs import PartCosts

NOISE = 0.01
"""Relative deviation of a measured network from what is expected of it. Only its ratio to the freedoms matters."""

TREND_FREEDOM = 3.0
"""How far offset and scale may stray where the spread of predictions is asked for: further than they ever do."""


class NoPriorError(LatnasError):
    """Operations that were measured one by one say nothing of whole networks."""


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
class Sample:
    """Networks, each with the thousands of elements in each of its context classes."""

    networks: tuple[Architecture, ...]
    contexts: tuple[Mapping[str, float], ...]

    def take(self, positions: Sequence[int]) -> Sample:
        """The networks at `positions`, in that order."""
        return Sample(tuple(self.networks[i] for i in positions), tuple(self.contexts[i] for i in positions))


@dataclass(frozen=True)
class Problem:
    """Networks as rows; `isolated` and `kinds` say what is known of each part before whole networks are measured."""

    rows: np.ndarray  # [N, P + C]: which parts run, how many elements are in each context class
    isolated: np.ndarray  # [P + C]: isolated milliseconds, zero for contexts
    kinds: np.ndarray  # [P, K] of 0 and 1
    fixed: np.ndarray  # [N]: isolated milliseconds of the fixed rest
    floors: np.ndarray  # [N]: measured milliseconds

    @property
    def sums(self) -> np.ndarray:
        """[N]: isolated milliseconds of whole networks."""
        total: np.ndarray = self.fixed + self.rows @ self.isolated
        return total

    def take(self, which: np.ndarray) -> Problem:
        """Some of the networks: a mask or indices [N]."""
        return Problem(self.rows[which], self.isolated, self.kinds, self.fixed[which], self.floors[which])


def problem_of(sample: Sample, floors_ms: Sequence[float] | None, prior: PartCosts, classes: Sequence[str]) -> Problem:
    """Networks in numbers.

    Args:
        sample: N canonical networks.
        floors_ms: what they take, where it was measured; else the sums of isolated operations stand for it.
        prior: isolated milliseconds of the fixed rest and of each part.
        classes: the context classes that count, see `varying`.

    Raises:
        NoPriorError: by the prior, a network takes no time at all.
    """
    positions = places(prior)
    rows = np.zeros((len(sample.networks), len(positions) + len(classes)))
    for row, (architecture, context) in enumerate(zip(sample.networks, sample.contexts, strict=True)):
        for decision, parts in architecture.parts(prior.decisions).items():
            for part in parts:
                rows[row, positions[architecture.setting, decision, part]] = 1.0
        rows[row, len(positions) :] = [context.get(name, 0.0) for name in classes]
    by_setting = prior.parts_of
    of_parts = [by_setting[s][d.name][i] for s in by_setting for d in prior.decisions for i in range(len(d.parts))]
    isolated = np.array([*of_parts, *[0.0] * len(classes)])
    names = [part.rpartition("/")[2] for _, _, part in positions]
    kinds = np.array([[name == kind for kind in dict.fromkeys(names)] for name in names], float)
    fixed = np.array([prior.fixed_of[architecture.setting] for architecture in sample.networks])
    sums = fixed + rows @ isolated
    if not np.all(sums > 0):
        raise NoPriorError(
            "of a whole network no operation takes longer alone than an empty graph: operations are too small to be "
            "measured here one by one"
        )
    return Problem(rows, isolated, kinds, fixed, sums if floors_ms is None else np.asarray(floors_ms, float))


def places(prior: PartCosts) -> dict[tuple[str, str, str], int]:
    """The position of each part, by setting, decision and name."""
    names = [(setting, d.name, part) for setting in prior.parts_of for d in prior.decisions for part in d.parts]
    return {name: position for position, name in enumerate(names)}


def varying(contexts: Sequence[Mapping[str, float]]) -> list[str]:
    """Classes whose amounts differ between networks: the others are part of the offset."""
    names = sorted({name for context in contexts for name in context})
    return [name for name in names if len({round(context.get(name, 0.0), 9) for context in contexts}) > 1]


def basis(problem: Problem, freedom: Freedom) -> np.ndarray:
    """[P + C, Q]: what one deviation of each free parameter adds to each price.

    A part strays in proportion to what it costs, and by what an average part costs: a layout change is as dear for a
    pooling as for a convolution.
    """
    num_parts = len(problem.kinds)
    parts = problem.rows[:, :num_parts]
    # In measured milliseconds: a prior that is off by a factor is not the less free.
    prior = _scale(problem) * problem.isolated[:num_parts]
    costing = prior > 0
    total = float(np.mean(parts @ prior))
    average = total / max(float(parts[:, costing].sum(axis=1).mean()), 1.0)
    blocks = []
    if freedom.kind:
        blocks += [freedom.kind * prior[:, None] * problem.kinds, freedom.kind * average * problem.kinds]
    if freedom.part:
        blocks += [freedom.part * np.diag(prior), freedom.part * average * np.eye(num_parts)]
    num_contexts = problem.rows.shape[1] - num_parts
    block = np.concatenate(blocks, axis=1) if blocks else np.zeros((num_parts, 0))
    if not (freedom.context and num_contexts):
        return np.concatenate([block, np.zeros((num_contexts, block.shape[1]))])
    elements = problem.rows[:, num_parts:].sum(axis=1).mean()
    contexts = freedom.context * total / max(float(elements), 1e-9) * np.eye(num_contexts)
    return np.block(
        [[block, np.zeros((num_parts, num_contexts))], [np.zeros((num_contexts, block.shape[1])), contexts]]
    )


def features(of: Problem, fitted: Problem, freedom: Freedom) -> np.ndarray:
    """[N, Q + 2]: networks `of` in units of the noise, such that all parameters of a fit to `fitted`, offset and scale
    among them, have deviation one before anything is measured."""
    scaled = _scale(fitted) * of.sums
    trend = np.stack([scaled, np.full(len(scaled), fitted.floors.mean())], axis=1)
    everything = np.concatenate([TREND_FREEDOM * trend, of.rows @ basis(fitted, freedom)], axis=1)
    in_noise: np.ndarray = everything / (NOISE * scaled[:, None])
    return in_noise


def _scale(problem: Problem) -> float:
    """Measured over isolated, of the median network."""
    return float(np.median(problem.floors / problem.sums))
