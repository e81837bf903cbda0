"""The pool that a search scores first: everything where that is little, else distinct random architectures."""

from __future__ import annotations

from itertools import product

from latnas.spaces.nasbench201 import EDGES, OPERATIONS, expression
from latnas.spaces.space import make_space
from latnas.stages.search import SearchConfig
from latnas.stages.search.pool import initial_pool

SPACE = make_space("nasbench201", image_size=8, channels=1, classes=10, width=2, depth=1)


def test_a_pool_as_large_as_the_space_is_one_of_each_computation() -> None:
    pool = initial_pool(SPACE, SearchConfig(pool=5**6))
    computed = [expression([architecture.items[edge] for edge in EDGES]) for architecture in pool]
    assert len(pool) == len(set(computed)) == 5772
    assert set(computed) == {expression(cell) for cell in product(OPERATIONS, repeat=6)} - {""}
    assert all(SPACE.is_canonical(architecture) for architecture in pool)


def test_a_smaller_pool_is_drawn_with_the_seed() -> None:
    pools = [{one.key for one in initial_pool(SPACE, SearchConfig(pool=40, seed=seed))} for seed in (0, 0, 1)]
    assert pools[0] == pools[1] != pools[2] and all(len(pool) == 40 for pool in pools)
