"""A toy space of six decisions between four kinds of parts; what networks take is written down as a formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from latnas.latency.problem import Sample
from latnas.words.architecture import Architecture, Decision, Item
from latnas.words.costs import PartCosts

KINDS = ("conv3", "conv1", "pool", "skip")
PRICES = np.array([0.5, 0.2, 0.1, 0.0])
DECISIONS = tuple(Decision(f"edge{n}", KINDS, tuple(Item(kind, (kind,)) for kind in KINDS)) for n in range(6))
NO_CONTEXT: Mapping[str, float] = {}


def prior_of(prices: np.ndarray, fixed: float = 1.0) -> PartCosts:
    """Parts cost `prices`, the more the further back they stand."""
    parts = {decision.name: prices * (1.0 + 0.3 * n) for n, decision in enumerate(DECISIONS)}
    return PartCosts(DECISIONS, {"default": fixed}, {"default": parts})


PRIOR = prior_of(PRICES)


def drawn(count: int, seed: int) -> list[Architecture]:
    random = np.random.default_rng(seed)
    return [Architecture.from_indices("default", DECISIONS, row) for row in random.integers(0, 4, (count, 6)).tolist()]


def costs(parts: PartCosts, networks: Sequence[Architecture]) -> np.ndarray:
    cost = parts.of_items("ms")
    return np.array([cost.cost(network) for network in networks])


def merged(network: Architecture) -> dict[str, float]:
    """Thousands of elements: of convolutions behind a convolution, and of what every network has."""
    chosen = list(network.items.values())
    pairs = sum(a == b == "conv3" for a, b in pairwise(chosen))
    return {"conv(conv)": 2.0 * pairs, "pool(conv)": 1.5 * ("pool" in chosen[1:]), "always": 7.0}


def noisy(floors: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    return floors * (1.0 + deviation * np.random.default_rng(seed).normal(size=len(floors)))


def sample_of(networks: Sequence[Architecture], with_contexts: bool = True) -> Sample:
    return Sample(tuple(networks), tuple(merged(network) if with_contexts else NO_CONTEXT for network in networks))


# Truths


def affine(networks: Sequence[Architecture]) -> np.ndarray:
    return 0.7 * costs(PRIOR, networks) + 0.5


def by_kind(networks: Sequence[Architecture]) -> np.ndarray:
    """A 1x1 convolution costs half as much again inside of networks, a pooling a third, a skip something."""
    return costs(prior_of(PRICES * (1.0, 1.5, 0.33, 1.0) + (0.0, 0.0, 0.0, 0.05), 1.4), networks)


def by_part(networks: Sequence[Architecture]) -> np.ndarray:
    """Every part for itself is off by up to 40 percent, and 0.03 ms."""
    random = np.random.default_rng(9)
    off = {
        name: vector * random.uniform(0.6, 1.4, 4) + random.uniform(0.0, 0.03, 4)
        for name, vector in PRIOR.parts_of["default"].items()
    }
    return costs(PartCosts(DECISIONS, {"default": 1.2}, {"default": off}), networks)


def by_context(networks: Sequence[Architecture]) -> np.ndarray:
    """What is merged costs less, and what cannot be merged more."""
    amounts = [merged(network) for network in networks]
    total: np.ndarray = affine(networks) + [0.1 * one["pool(conv)"] - 0.06 * one["conv(conv)"] for one in amounts]
    return total
