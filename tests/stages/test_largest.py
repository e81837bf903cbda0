"""What one would take without a search: the network of most multiply-adds within a budget."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from small import search_config

from latnas.spaces.solving import dearest
from latnas.spaces.space import SETTING
from latnas.stages.common import largest
from latnas.stages.common.largest import largest_within
from latnas.stages.common.reach import budget_range
from latnas.stages.common.tables import latency_of, shipped_tables, space_of
from latnas.stages.profile import ProfileConfig, profile
from latnas.stages.search.learning import Problem, with_largest
from latnas.stages.search.pool import initial_pool
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost
from latnas.words.limits import Limits
from latnas.words.reporting import Silent
from latnas.words.table import load_table

BUDGETS = 5


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """A space of 810 networks, on a device whose latencies are sums."""
    sizes = {"space": "mbconv", "data": "digits", "width": 4, "depth": 1, "calibrate": 4, "rounds": 4}
    table = load_table(profile(ProfileConfig(device="analytic", out=tmp_path_factory.mktemp("table"), **sizes)).path)
    space = space_of(table)
    latency = latency_of(table, space)
    return Problem(space, latency, budget_range("auto", space, latency))


@pytest.fixture(scope="module")
def every(problem: Problem) -> list[Architecture]:
    decisions = problem.space.decisions
    indices = product(*(range(len(decision.items)) for decision in decisions))
    found = [Architecture.from_indices(SETTING, decisions, one) for one in indices]
    return [one for one in found if problem.space.is_canonical(one)]


def within(problem: Problem, every: list[Architecture], lam: float) -> list[Architecture]:
    """All networks within a budget, by falling multiply-adds, then by latency."""
    macs, budget = macs_cost(problem.space.trace), problem.budgets.budget_ms(lam)
    fitting = [one for one in every if problem.latency.predict_ms(one) <= budget]
    return sorted(fitting, key=lambda one: (-macs.cost(one), problem.latency.predict_ms(one), one.key))


def test_the_largest_within_a_budget_are_those_that_a_search_through_all_finds(
    problem: Problem, every: list[Architecture]
) -> None:
    for lam in problem.budgets.spread(BUDGETS):
        budget = problem.budgets.budget_ms(lam)
        assert largest_within(problem.space, problem.latency, budget, 3) == within(problem, every, lam)[:3]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 1.0])
def test_below_a_limit_on_multiply_adds_the_largest_is_found_to_within_a_hair_of_the_range(
    problem: Problem, every: list[Architecture], share: float
) -> None:
    macs = macs_cost(problem.space.trace)
    least, greatest = (bound(macs.cost(one) for one in every) for bound in (min, max))
    space = problem.space.limited(Limits(macs=int(least + share * (greatest - least))))
    kept = [one for one in every if space.keeps(one)]
    for lam in problem.budgets.spread(BUDGETS):
        budget = problem.budgets.budget_ms(lam)
        fitting = [macs.cost(one) for one in within(problem, kept, lam)]
        (found,) = largest_within(space, problem.latency, budget, 1) or [None]
        assert found is None if not fitting else found is not None and space.keeps(found)
        assert found is None or macs.cost(found) >= fitting[0] - 0.002 * (greatest - least)
    assert macs.cost(dearest(space, macs, 1)[0]) >= max(map(macs.cost, kept)) - 0.002 * (greatest - least)


def test_where_latencies_do_not_add_up_a_network_that_nearly_fills_the_budget_is_found_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of most multiply-adds by linear costs are over the budget, as ONNX Runtime runs `darts`."""
    monkeypatch.setattr(largest, "SCANNED", 5)
    table = load_table(next(shipped_tables().glob("cpu-onnxruntime-darts-*.json")))
    here = space_of(table)
    latency = latency_of(table, here)
    budget = budget_range("auto", here, latency).budget_ms(0.9)
    (found,) = largest_within(here, latency, budget, 1)
    assert 0.9 * budget < latency.predict_ms(found) <= budget


def test_in_a_space_too_large_to_look_through_a_limit_leaves_a_pool_and_a_largest_network() -> None:
    table = load_table(next(shipped_tables().glob("cpu-onnxruntime-darts-*.json")))
    here = space_of(table).limited(Limits(macs=40_000_000))
    latency, macs = latency_of(table, here), macs_cost(here.trace)
    pool = initial_pool(here, search_config(Path(), pool=16), [latency]).architectures
    assert len(pool) >= 16 and all(here.keeps(one) for one in pool)
    (found,) = largest_within(here, latency, 1.0, 1)
    assert here.keeps(found) and latency.predict_ms(found) <= 1.0
    assert macs.cost(found) > 39_000_000


def test_a_search_knows_the_largest_within_each_budget_beside_what_it_found_and_each_network_once(
    problem: Problem, every: list[Architecture]
) -> None:
    largest = [within(problem, every, lam)[0] for lam in problem.budgets.spread(BUDGETS)]
    found = [every[0], largest[1], every[7]]
    known = with_largest(found, problem, BUDGETS, Silent())
    assert known[:3] == found and set(known) == {*found, *largest} and len(known) == len(set(known))
