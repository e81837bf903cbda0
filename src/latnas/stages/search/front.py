"""The front that a search leaves behind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latnas.spaces.space import Space
from latnas.stages.search.config import SearchConfig
from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange
from latnas.words.costs import macs_cost, params_cost
from latnas.words.estimate import Estimate
from latnas.words.front import BudgetChoice, Front, ScoredNetwork
from latnas.words.latency import LatencyModel
from latnas.words.pareto import pareto_front


def make_front(
    space: Space,
    latency: LatencyModel,
    budgets: BudgetRange,
    architectures: Sequence[Architecture],
    scores: Sequence[Estimate],
    config: SearchConfig,
) -> Front:
    """All scored networks, their Pareto front, and what has the best score within each of `config.budgets` budgets.

    On these frozen scores and predictions a tighter budget never gets a slower network: ties go to the faster one.
    """
    params, macs = params_cost(space.trace), macs_cost(space.trace)
    pairs = sorted(zip(architectures, scores, strict=True), key=lambda pair: (latency.predict_ms(pair[0]), pair[0].key))
    networks = tuple(
        ScoredNetwork(
            architecture=architecture.to_json(),
            predicted_ms=latency.predict(architecture),
            score=score,
            params=int(params.cost(architecture)),
            macs=int(macs.cost(architecture)),
        )
        for architecture, score in pairs
    )
    costs = np.array([network.predicted_ms.value for network in networks])
    values = np.array([network.score.value for network in networks])
    front = pareto_front(costs.tolist(), values.tolist())
    choices = []
    for lam in budgets.spread(config.budgets):
        budget = budgets.budget_ms(lam)
        within = [index for index in front if costs[index] <= budget]
        if within:  # the fastest network is always scored, so this holds in every reachable range
            choices.append(BudgetChoice(lam=lam, budget_ms=budget, network=within[-1]))
    return Front(
        table=latency.table.name,
        quote=latency.table.quote,
        fastest_ms=budgets.fastest_ms,
        slowest_ms=budgets.slowest_ms,
        seed=config.seed,
        networks=networks,
        pareto=tuple(front),
        budgets=tuple(choices),
    )
