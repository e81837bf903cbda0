"""The architectures that a search looks at first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, product

from latnas.data.randomness import generator
from latnas.errors import UsageError
from latnas.ranking.judge import LEAST_LABELS
from latnas.spaces.solving import cheapest, dearest, random_within
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

LISTABLE = 20_000
"""Spaces of no more combinations than this are looked through one by one, in a second."""


@dataclass(frozen=True)
class Pool:
    """Distinct canonical architectures, and whether there are no others within the space's limits."""

    architectures: tuple[Architecture, ...]
    is_whole_space: bool


def initial_pool(space: Space, config: SearchConfig, tables: Sequence[LatencyModel] = ()) -> Pool:
    """Distinct canonical architectures within the space's limits: all, where there are no more than `config.pool`.

    Elsewhere random ones, the ends of every generic cost, and the fastest and slowest of each table.

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
    random, cost = generator(config.seed, "pool"), params_cost(space.trace)
    costs = generic_costs(space.trace, MIXTURES, config.seed)
    ends = chain.from_iterable((*cheapest(space, cost, 1), *dearest(space, cost, 1)) for cost in costs)
    pool = {one.key: one for one in ends}  # one that lies too deep among what limits leave is done without
    in_vain = 0
    for _ in range(10 * config.pool):
        if len(pool) >= config.pool or in_vain == DRAWS_IN_VAIN:
            break
        drawn = random_within(space, cost, math.inf, random, draws=100)  # where limits leave few, the solver is faster
        in_vain = in_vain + 1 if drawn.key in pool else 0
        pool.setdefault(drawn.key, drawn)
    for latency in tables:
        for end in predicted_ends(space, latency):
            pool.setdefault(end.key, end)
    return Pool(tuple(pool.values()), is_whole_space=False)


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
