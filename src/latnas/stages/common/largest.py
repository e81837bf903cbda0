"""The networks of most multiply-adds within a latency budget: what one would take without a search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from latnas.hypernet.propose import limit_on
from latnas.spaces.space import SETTING, Space
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost
from latnas.words.latency import LatencyModel
from latnas.words.solver import Limit, Solver, or_nearly

SCANNED = 60
"""Solutions of the solver, whose costs are linear, that are predicted exactly."""

NODE_LIMIT = 100_000
"""Four times what any of the shipped tables took for so many."""


def largest_within(space: Space, latency: LatencyModel, budget: float, count: int) -> list[Architecture]:
    """Up to `count` networks of most multiply-adds that are predicted to be within `budget`; of equal ones the fastest
    first.
    """
    found = islice(by_macs(space, latency, budget), SCANNED)
    return largest_first(found, space, latency, budget)[:count]


def largest_first(
    architectures: Iterable[Architecture], space: Space, latency: LatencyModel, budget: float
) -> list[Architecture]:
    """Those that are predicted to be within the budget, each once: by falling multiply-adds, then by latency."""
    macs = macs_cost(space.trace)
    ms = {one: latency.predict_ms(one) for one in architectures}
    fitting = [one for one in ms if ms[one] <= budget]
    return sorted(fitting, key=lambda one: (-macs.cost(one), ms[one], one.key))


def by_macs(space: Space, latency: LatencyModel, budget: float) -> Iterator[Architecture]:
    """Networks by falling multiply-adds whose linear cost is within `budget`, as far as the linear cost can be trusted.

    Below a limit on multiply-adds those that lack 0.2 % of the range at most may be passed over.
    """
    macs, ms = macs_cost(space.trace), latency.cost
    most_macs, most_ms = limit_on(macs, space), budget * (1.0 + 2.0 * latency.table.calibration.linear_error)
    limits = list(space.solver_limits)
    if most_macs < math.inf:
        limits.append(Limit(ms.vectors(SETTING), most_ms, ms.fixed(SETTING)))
        solver, most = Solver(macs.vectors(SETTING), macs.vectors(SETTING), fixed=macs.fixed(SETTING)), most_macs
    else:
        solver, most = Solver(macs.vectors(SETTING), ms.vectors(SETTING), fixed=ms.fixed(SETTING)), most_ms

    def architecture(indices: Sequence[int]) -> Architecture:
        return Architecture.from_indices(SETTING, space.decisions, indices)

    solutions = solver.best_first(most, limits, lambda indices: space.allows(architecture(indices)), NODE_LIMIT)
    return (architecture(solution.items) for solution in or_nearly(solutions))
