"""What a front chooses for 24 lambdas, from networks with random scores, against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small import front_in, search_config

from latnas.data.randomness import generator
from latnas.stages.common.reach import budget_range, predicted_ends
from latnas.stages.common.tables import latency_of, space_of
from latnas.stages.search.front import make_front
from latnas.words.estimate import Estimate
from latnas.words.table import load_table

LAMBDAS = 24


@pytest.mark.parametrize("follows_size", [False, True], ids=["scores at random", "the slower the better, nearly"])
@pytest.mark.parametrize("seed", range(4))
def test_over_24_lambdas_cost_never_increases_and_what_a_budget_leaves_unused_has_nothing_better(
    small_run: Path, seed: int, follows_size: bool
) -> None:
    table = load_table(front_in(small_run) / "table.json")
    space = space_of(table)
    latency = latency_of(table, space)
    budgets = budget_range("auto", space, latency)
    random = generator("networks", seed)
    networks = list(
        {a.key: a for a in [*predicted_ends(space, latency), *(space.random(random) for _ in range(40))]}.values()
    )
    values = np.random.default_rng(seed).normal(size=len(networks)).round(1)  # some are equal
    if follows_size:
        values = values / 10 + np.log([latency.predict_ms(network) for network in networks])
    scores = [Estimate(value=value, low=value - 1, high=value + 1) for value in values.tolist()]
    config = search_config(small_run, budgets=LAMBDAS)
    front = make_front(space, latency, budgets, networks, scores, config)

    assert [choice.lam for choice in front.budgets] == pytest.approx(np.linspace(0, 1, LAMBDAS).tolist())
    chosen = [front.networks[choice.network] for choice in front.budgets]
    costs = [network.predicted_ms.value for network in chosen]
    assert costs == sorted(costs, reverse=True)
    for choice, network in zip(front.budgets, chosen, strict=True):
        cost = network.predicted_ms.value
        assert cost <= choice.budget_ms
        within = [other for other in front.networks if other.predicted_ms.value <= choice.budget_ms]
        assert network.score.value == max(other.score.value for other in within)
        equal = [other for other in within if other.score.value == network.score.value]
        assert cost == min(other.predicted_ms.value for other in equal)
