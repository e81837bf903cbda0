"""The pool that a search scores first: everything where that is little, else distinct random architectures."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from latnas.errors import UsageError
from latnas.spaces.nasbench201 import EDGES, OPERATIONS, expression
from latnas.spaces.solving import cheapest, extremes
from latnas.spaces.space import SETTING, make_space
from latnas.stages.common.tables import latency_of, space_of
from latnas.stages.profile import ProfileConfig, profile
from latnas.stages.search import SearchConfig, pool
from latnas.stages.search.pool import LISTABLE, Pool, all_architectures, initial_pool
from latnas.words.architecture import Architecture, count_architectures
from latnas.words.costs import macs_cost, params_cost
from latnas.words.latency import LatencyModel
from latnas.words.limits import Limits
from latnas.words.table import load_table

SPACE = make_space("nasbench201", image_size=8, channels=1, classes=10, width=2, depth=1)


def test_a_pool_as_large_as_the_space_is_one_of_each_computation() -> None:
    found = initial_pool(SPACE, SearchConfig(pool=5**6))
    pool = found.architectures
    assert found.is_whole_space
    computed = [expression([architecture.items[edge] for edge in EDGES]) for architecture in pool]
    assert len(pool) == len(set(computed)) == 5259
    assert set(computed) == {expression(cell) for cell in product(OPERATIONS, repeat=6)} - {""}
    assert all(SPACE.is_canonical(architecture) for architecture in pool)


def test_limits_that_leave_too_few_networks_to_learn_from_are_refused_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "DRAWS_IN_VAIN", 20)
    space = make_space("mbconv", image_size=28, channels=1, classes=10, width=16, depth=3)
    cost = macs_cost(space.trace)
    least = int(cost.cost(cheapest(space, cost, 1)[0]))
    with pytest.raises(UsageError, match=f"--max-macs {least} leaves 1 of the networks .* learns from 4 at least"):
        initial_pool(space.limited(Limits(macs=least)), SearchConfig(space="mbconv", pool=16))


def test_a_smaller_pool_is_drawn_with_the_seed() -> None:
    found = [initial_pool(SPACE, SearchConfig(pool=40, seed=seed)) for seed in (0, 0, 1)]
    assert not any(pool.is_whole_space for pool in found)
    pools = [{one.key for one in pool.architectures} for pool in found]
    assert pools[0] == pools[1] != pools[2] and all(len(pool) == 40 for pool in pools)


@pytest.fixture(scope="module")
def latency(tmp_path_factory: pytest.TempPathFactory) -> LatencyModel:
    """Of a space too large to list, on a device whose latencies are sums."""
    sizes = {"space": "mbconv", "data": "digits", "width": 4, "depth": 2, "calibrate": 4, "rounds": 4}
    table = load_table(profile(ProfileConfig(device="analytic", out=tmp_path_factory.mktemp("table"), **sizes)).path)
    return latency_of(table, space_of(table))


def test_with_a_table_half_of_a_pool_is_spread_over_budgets_within_which_hardly_any_random_networks_are(
    latency: LatencyModel,
) -> None:
    space = space_of(latency.table)
    fastest, slowest = (latency.predict_ms(one) for one in extremes(space, latency.cost))
    middle = (fastest * slowest) ** 0.5

    def share_within(found: Pool, budget_ms: float) -> float:
        return float(np.mean([latency.predict_ms(one) <= budget_ms for one in found.architectures]))

    sizes = {"space": "mbconv", "pool": 100}
    without, with_table = (initial_pool(space, SearchConfig(**sizes), tables) for tables in ((), [latency]))
    assert share_within(without, middle) < 0.1
    assert 0.2 < share_within(with_table, middle) < 0.5
    wanted = f"{fastest}ms:{middle}ms"
    tight = initial_pool(space, SearchConfig(**sizes, budget_range=wanted), [latency])
    assert share_within(tight, middle) > 0.45


def test_a_space_is_listed_only_if_all_of_it_fits_into_the_pool() -> None:
    everything = all_architectures(SPACE, 5259)
    assert everything is not None and len(everything) == 5259
    assert all_architectures(SPACE, 5258) is None
    layers = make_space("mbconv", image_size=8, channels=1, classes=10, width=2, depth=2)
    assert count_architectures(layers.decisions) > LISTABLE and all_architectures(layers, 10**9) is None


def test_what_is_listed_of_a_small_space_keeps_to_its_limits() -> None:
    space = make_space("mbconv", image_size=8, channels=1, classes=10, width=2, depth=1)
    cost = params_cost(space.trace)
    combinations = product(*(range(len(decision.items)) for decision in space.decisions))
    every = [Architecture.from_indices(SETTING, space.decisions, indices) for indices in combinations]
    most = int(np.median([cost.cost(architecture) for architecture in every]))
    limited = space.limited(Limits.of_config({"max_params": most}))
    expected = [one for one in every if space.is_canonical(one) and cost.cost(one) <= most]
    assert 0 < len(expected) < len(every)
    assert list(initial_pool(limited, SearchConfig(pool=len(every))).architectures) == expected
