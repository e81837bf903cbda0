"""The networks of most multiply-adds within a latency budget: what one would take without a search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from latnas.spaces.solving import best_architectures, limit_on
from latnas.spaces.space import SETTING, Space
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost
from latnas.words.latency import LatencyModel
from latnas.words.solver import Limit

SCANNED = 20
"""Solutions of the solver, whose costs are linear, that are predicted exactly: a prediction can take 80 ms."""

SLACKS = (2, 1, 0, -1, -2, -3, -4, -6, -8)
"""By how many standard errors of the linear costs the budget is widened, until a prediction is within it. Of the tables
that ship, in `darts` by ONNX Runtime the largest by linear costs take more than two errors longer than these say."""


def largest_within(space: Space, latency: LatencyModel, budget: float, count: int) -> list[Architecture]:
    """Up to `count` networks of most multiply-adds that are predicted to be within `budget`; of equal ones the fastest
    first.
    """
    error = latency.table.calibration.linear_error
    ms: dict[Architecture, float] = {}
    for linear_budget in dict.fromkeys(budget * (1.0 + slack * error) for slack in SLACKS):
        fresh = [one for one in _by_macs(space, latency, linear_budget) if one not in ms]
        ms |= {one: latency.predict_ms(one) for one in fresh}
        if sum(each <= budget for each in ms.values()) >= count:
            break
    return _ranked(ms, space, budget)[:count]


def largest_first(
    architectures: Iterable[Architecture], space: Space, latency: LatencyModel, budget: float
) -> list[Architecture]:
    """Those that are predicted to be within the budget, each once: by falling multiply-adds, then by latency."""
    return _ranked({one: latency.predict_ms(one) for one in architectures}, space, budget)


def _ranked(ms: Mapping[Architecture, float], space: Space, budget: float) -> list[Architecture]:
    macs = macs_cost(space.trace)
    fitting = [one for one in ms if ms[one] <= budget]
    return sorted(fitting, key=lambda one: (-macs.cost(one), ms[one], one.key))


def _by_macs(space: Space, latency: LatencyModel, budget: float) -> list[Architecture]:
    """Networks by falling multiply-adds whose linear cost is within `budget`.

    Where limits bind they are nearly the largest. A limit on multiply-adds may bind more than the budget does, or less:
    the solver is given either as its own budget, of which it knows most.
    """
    macs, ms = macs_cost(space.trace), latency.cost
    scores, most_macs = macs.vectors(SETTING), limit_on(macs, space)
    found = best_architectures(space, scores, ms, SCANNED, budget)
    if most_macs < math.inf:
        within = Limit(ms.vectors(SETTING), budget, ms.fixed(SETTING))
        found += best_architectures(space, scores, macs, SCANNED, most_macs, [within])
    return found
