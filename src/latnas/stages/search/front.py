"""The reachable range of a table, and the front that a search leaves behind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latnas.errors import UsageError
from latnas.hypernet.propose import cheapest, dearest
from latnas.ranking.judge import Score
from latnas.spaces.space import Space
from latnas.stages.search.config import SearchConfig
from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange, format_ms
from latnas.words.costs import macs_cost, params_cost
from latnas.words.front import BudgetChoice, Estimate, Front, ScoredNetwork
from latnas.words.latency import LatencyModel
from latnas.words.pareto import pareto_front

SAFETY = 1.05
"""`auto` begins this far above the upper interval end of the fastest network: a budget that can surely be met."""

END_CANDIDATES = 12


def predicted_ends(space: Space, latency: LatencyModel) -> tuple[Architecture, Architecture]:
    """The networks of least and of greatest predicted latency.

    The linear costs of the solver name some candidates for each end, and the calibration has its own.
    """
    candidates = [*cheapest(space, latency.cost, END_CANDIDATES), *dearest(space, latency.cost, END_CANDIDATES)]
    candidates += [Architecture.from_json(entry.architecture) for entry in latency.table.calibration.networks]
    ordered = sorted(candidates, key=lambda one: (latency.predict_ms(one), one.key))
    return ordered[0], ordered[-1]


def reachable_range(space: Space, latency: LatencyModel) -> tuple[float, float, float]:
    """Predicted ms of the fastest network, of the tightest budget that `auto` takes, and of the slowest network.

    Where the fastest network was measured for calibration, `auto` does not begin below that measurement either.
    """
    fastest, slowest = predicted_ends(space, latency)
    low, high = latency.predict(fastest), latency.predict(slowest)
    measured = [
        latency.quoted_ms(entry.floor_ms)
        for entry in latency.table.calibration.networks
        if Architecture.from_json(entry.architecture) == fastest
    ]
    surely = SAFETY * max([low.high_ms, *measured])
    return low.value_ms, min(surely, 0.99 * high.value_ms), high.value_ms


def budget_range(config: SearchConfig, space: Space, latency: LatencyModel) -> BudgetRange:
    """The range that lambda spans.

    Raises:
        UsageError: part of the wanted range is out of reach; the message has the reachable one.
    """
    fastest, surely, slowest = reachable_range(space, latency)
    wanted = config.wanted_range
    if wanted is None:
        return BudgetRange(surely, slowest)
    if wanted[0] < fastest or wanted[1] > slowest * SAFETY:
        side = (
            f"no network is faster than {format_ms(fastest)}"
            if wanted[0] < fastest
            else f"every network is faster than {format_ms(slowest)}, so the loose end would be wasted"
        )
        reachable = f"{_rounded(max(wanted[0], surely))}:{_rounded(min(wanted[1], slowest))}"
        if max(wanted[0], surely) >= min(wanted[1], slowest):
            reachable = f"{_rounded(surely)}:{_rounded(slowest)}"
        raise UsageError(
            f"the range {config.budget_range} is partly out of reach with table {latency.table.name}: {side}. "
            f"Type: latnas search --budget-range {reachable}"
        )
    return BudgetRange(*wanted)


def make_front(
    space: Space,
    latency: LatencyModel,
    budgets: BudgetRange,
    architectures: Sequence[Architecture],
    scores: Sequence[Score],
    config: SearchConfig,
) -> Front:
    """All scored networks, their Pareto front, and the judge's choice within each of `config.budgets` budgets.

    On these frozen scores and predictions a tighter budget never gets a slower network: ties go to the faster one.
    """
    params, macs = params_cost(space.trace), macs_cost(space.trace)
    pairs = sorted(zip(architectures, scores, strict=True), key=lambda pair: (latency.predict_ms(pair[0]), pair[0].key))
    networks = tuple(
        ScoredNetwork(
            architecture=architecture.to_json(),
            predicted_ms=Estimate(**latency.predict(architecture).to_json()),
            score=Estimate(**score.to_json()),
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
        within = [index for index in front if costs[index] <= budget * (1 + 1e-9)]
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


def _rounded(ms: float) -> str:
    return f"{ms:.4g}ms"
