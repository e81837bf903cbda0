"""All 15,625 cells of NAS-Bench-201, and all networks of a small `mbconv`: what exact answers are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np

from latnas.spaces.space import SETTING, Space, make_space
from latnas.words.architecture import Architecture
from latnas.words.costs import AdditiveCost


@cache
def space_called(name: str) -> Space:
    return make_space(name, image_size=8, channels=1, classes=10, width=2, depth=1)


@cache
def everything_written() -> tuple[Architecture, ...]:
    """Every cell of `CELLS`, valid or not, in whatever form."""
    indices = product(*(range(len(decision.items)) for decision in CELLS.decisions))
    return tuple(Architecture.from_indices(SETTING, CELLS.decisions, chosen) for chosen in indices)


@cache
def everything(name: str) -> tuple[Architecture, ...]:
    """Every canonical valid architecture, by enumeration."""
    space = space_called(name)
    indices = product(*(range(len(decision.items)) for decision in space.decisions))
    all_ = (Architecture.from_indices(SETTING, space.decisions, chosen) for chosen in indices)
    return tuple(architecture for architecture in all_ if space.is_canonical(architecture))


CELLS = space_called("nasbench201")


def random_cost(space: Space, seed: int) -> AdditiveCost:
    rng = np.random.default_rng(seed)
    vectors = {decision.name: rng.gamma(2.0, size=len(decision.items)) for decision in space.decisions}
    return AdditiveCost("ms", space.decisions, {SETTING: 0.7}, {SETTING: vectors})


def costs_of(cost: AdditiveCost, architectures: Sequence[Architecture]) -> np.ndarray:
    return np.array([cost.cost(architecture) for architecture in architectures])


def scores_of(scores: list[np.ndarray], architectures: Sequence[Architecture], space: Space) -> np.ndarray:
    chosen = np.array([architecture.indices(space.decisions) for architecture in architectures])
    total: np.ndarray = np.sum([vector[items] for vector, items in zip(scores, chosen.T, strict=True)], axis=0)
    return total


def within(cost: AdditiveCost, architecture: Architecture, budget: float) -> bool:
    return cost.cost(architecture) <= budget * (1 + 1e-12)
