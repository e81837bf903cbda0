"""The architectures that a search looks at first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, product

import torch

from latnas.data.randomness import generator
from latnas.errors import UsageError
from latnas.ranking.judge import LEAST_LABELS
from latnas.ranking.shortlist import WIDEST
from latnas.spaces.solving import cheapest, dearest, extremes, random_within
from latnas.spaces.space import SETTING, Space
from latnas.stages.common.limits import too_few
from latnas.stages.common.reach import predicted_ends
from latnas.stages.search.config import SearchConfig
from latnas.words.architecture import Architecture, count_architectures
from latnas.words.costs import generic_costs, params_cost
from latnas.words.latency import LatencyModel

MIXTURES = 6
DRAWS_IN_VAIN = 300
"""So many random architectures that are known already end the pool: there are hardly any others."""

DRAWS = 100
"""So many are drawn for one that fits, before the solver finds one under noise: where few fit, it is faster."""

LISTABLE = 20_000
"""Spaces of no more combinations than this are looked through one by one, in a second."""


@dataclass(frozen=True)
class Pool:
    """Distinct canonical architectures, and whether there are no others within the space's limits."""

    architectures: tuple[Architecture, ...]
    is_whole_space: bool


def initial_pool(space: Space, config: SearchConfig, tables: Sequence[LatencyModel] = ()) -> Pool:
    """Distinct canonical architectures within the space's limits: all, where there are no more than `config.pool`.

    Elsewhere random ones, of the whole space and within budgets of each table by turns, the ends of every generic cost,
    and the fastest and slowest of each table. Of all networks hardly any are within a tight budget, and of those that
    are, proposals are no fair sample: so a judge would learn nothing of them.

    Raises:
        UsageError: the limits leave too few to learn from.
    """
    pool = _pool(space, config, tables)
    if (left := len(pool.architectures)) < LEAST_LABELS:
        raise UsageError(too_few(space, left))
    return pool


def _pool(space: Space, config: SearchConfig, tables: Sequence[LatencyModel]) -> Pool:
    listed = all_architectures(space, config.pool)
    if listed is not None:
        return Pool(tuple(listed), is_whole_space=True)
    random = generator(config.seed, "pool")
    costs = generic_costs(space.trace, MIXTURES, config.seed)
    ends = chain.from_iterable((*cheapest(space, cost, 1), *dearest(space, cost, 1)) for cost in costs)
    pool = {one.key: one for one in ends}  # one that lies too deep among what limits leave is done without
    in_vain = 0
    for drawn in islice(_draws(space, config, tables, random), 10 * config.pool):
        if len(pool) >= config.pool or in_vain == DRAWS_IN_VAIN:
            break
        in_vain = in_vain + 1 if drawn.key in pool else 0
        pool.setdefault(drawn.key, drawn)
    for latency in tables:
        for end in predicted_ends(space, latency):
            pool.setdefault(end.key, end)
    return Pool(tuple(pool.values()), is_whole_space=False)


def _draws(
    space: Space, config: SearchConfig, tables: Sequence[LatencyModel], random: torch.Generator
) -> Iterator[Architecture]:
    """Random architectures without end: one of the whole space, then one within a random budget of each table."""
    streams = [within_budgets(space, config, latency, random) for latency in tables]
    cost = params_cost(space.trace)
    while True:
        yield random_within(space, cost, math.inf, random, DRAWS)
        yield from map(next, streams)


def within_budgets(
    space: Space, config: SearchConfig, latency: LatencyModel, random: torch.Generator
) -> Iterator[Architecture]:
    """Random architectures without end, each within a budget of its own, log-uniform over the range of the search."""
    cost = latency.cost
    low, high = (cost.cost(one) for one in extremes(space, cost))
    low = max(low, high / WIDEST)
    if config.wanted_range is not None:
        tight, loose = config.wanted_range
        low, high = max(low, tight), min(high, loose)
    while True:
        budget = low * (max(low, high) / low) ** float(torch.rand((), generator=random))
        yield random_within(space, cost, budget, random, DRAWS)


def all_architectures(space: Space, most: int) -> list[Architecture] | None:
    """Every canonical architecture within the space's limits; None if there are more than `most` without the limits,
    or too many combinations to look through.
    """
    if count_architectures(space.decisions) > LISTABLE:
        return None
    found: list[Architecture] = []
    for indices in product(*(range(len(decision.items)) for decision in space.decisions)):
        architecture = Architecture.from_indices(SETTING, space.decisions, indices)
        if space.is_canonical(architecture):
            if len(found) == most:
                return None
            found.append(architecture)
    return [architecture for architecture in found if space.keeps(architecture)]
