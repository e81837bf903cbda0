"""Deriving exactly: the best choice of one item for every decision within a budget, and the next best.

This is the multiple-choice knapsack: scores add up, costs add up, each decision takes one item. One dynamic
programme over costs rounded up to 1/steps of their range serves every budget, and its tables bound what the
decisions still open can add. A best-first search on these bounds yields whole solutions by score.

Shapes: D decisions; decision d has n_d items, and one vector [n_d] for each quantity, in the caller's units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latnas.words.best_first import BestFirst, OutOfNodesError
from latnas.words.bounds import Bounds, Limit, Vectors, completions, exact_sum

__all__ = ["Limit", "SearchGap", "Solution", "Solver", "or_nearly"]

Accept = Callable[[tuple[int, ...]], bool]

# In rounding steps. Float error can put a quotient on the wrong side of a whole number: such cases are let
# through here, and the unrounded cost has the last word.
EDGE = 1e-9


@dataclass(frozen=True)
class Solution:
    """One item per decision, with its score and its unrounded cost (the fixed cost included)."""

    items: tuple[int, ...]
    score: float
    cost: float


class SearchGap(Exception):  # noqa: N818 (no fault: what is known where the search stopped early)
    """The search stopped at its node limit: solutions that it has not yielded score at most `best_bound`.

    `found` is the best score yielded so far, None if there was none. `unproven` are solutions that the search had
    reached but not yielded, since others might score more: the best first.
    """

    def __init__(self, best_bound: float, found: float | None, unproven: tuple[Solution, ...] = ()) -> None:
        self.best_bound, self.found, self.unproven = best_bound, found, unproven
        known = "none has been found" if found is None else f"the best found scores {found:g}"
        super().__init__(f"node limit reached: further solutions score at most {best_bound:g}; {known}")


def or_nearly(solutions: Iterable[Solution]) -> Iterator[Solution]:
    """What `best_first` yields, and at its node limit what it has reached.

    Where scores are what a limit is on, sums just below the limit are too many to tell soon which is the largest.
    """
    try:
        yield from solutions
    except SearchGap as gap:
        yield from gap.unproven


class Solver:
    """A multiple-choice knapsack, prepared once for all budgets.

    Args:
        scores: D vectors [n_d]; -inf forbids an item.
        costs: D vectors [n_d], finite.
        fixed: the cost of what every solution contains.
        steps: the resolution. What an item costs above the cheapest of its decision is rounded up to 1/steps
            of (dearest - cheapest solution). No solution exceeds a budget; one that stays below it by less
            than D/steps of that range may be passed over.

    Raises:
        ValueError: a score is NaN or +inf, a cost is not finite, or the shapes do not fit together.
    """

    def __init__(
        self, scores: Sequence[ArrayLike], costs: Sequence[ArrayLike], fixed: float = 0, steps: int = 4096
    ) -> None:
        if steps < 1 or not math.isfinite(fixed):
            raise ValueError(f"steps must be at least 1 and the fixed cost finite, got {steps} and {fixed}")
        self.scores = tuple(np.asarray(vector, dtype=np.float64) for vector in scores)
        for d, vector in enumerate(self.scores):
            if vector.ndim != 1 or not vector.size:
                raise ValueError(f"decision {d} needs a vector of scores, got one of shape {vector.shape}")
            _refuse("score", d, vector, np.isnan(vector) | (vector == np.inf))
        self.costs = self._fitting("cost", costs)
        self.fixed = float(fixed)

        allowed = [np.isfinite(vector) for vector in self.scores]
        # A decision without any allowed item leaves nothing feasible, whatever it costs: the tables say so.
        usable = [c[a] if a.any() else c for c, a in zip(self.costs, allowed, strict=True)]
        least = [float(vector.min()) for vector in usable]
        self.cheapest = math.fsum([self.fixed, *least])
        self.dearest = math.fsum([self.fixed, *(float(vector.max()) for vector in usable)])
        span = self.dearest - self.cheapest  # only a forbidden item can cost less, or more above the cheapest
        self.step = span / steps or 1.0
        above = [(c - low).clip(0, span) / self.step for c, low in zip(self.costs, least, strict=True)]
        self.rounded_costs = tuple(np.ceil(vector - EDGE).clip(0).astype(np.int64) for vector in above)
        self.top = sum(int(r[a].max(initial=0)) for r, a in zip(self.rounded_costs, allowed, strict=True))
        tables = completions(self.scores, self.rounded_costs, self.top)
        self._bounds = Bounds(self.scores, self.rounded_costs, tables)

    def score(self, items: Sequence[int]) -> float:
        """The sum of the items' scores, added last decision first."""
        total = 0.0
        for vector, item in zip(reversed(self.scores), reversed(items), strict=True):
            total = float(vector[item]) + total
        return total

    def cost(self, items: Sequence[int]) -> float:
        """The unrounded cost, the fixed cost included."""
        return exact_sum(self.fixed, self.costs, items)

    def rounded(self, items: Sequence[int]) -> int:
        """What allowed items cost above the cheapest solution, in rounding steps, each item rounded up."""
        return sum(int(vector[item]) for vector, item in zip(self.rounded_costs, items, strict=True))

    def capacity(self, budget: float) -> int:
        """The rounding steps that `budget` allows; -1 when not even the cheapest solution fits."""
        if math.isnan(budget):
            raise ValueError("the budget is NaN")
        if budget >= self.dearest:  # rounding up must not shut the dearest solution out of its own budget
            return self.top
        return min(math.floor(max((budget - self.cheapest) / self.step + EDGE, -1)), self.top)

    def best_first(
        self,
        budget: float,
        limits: Sequence[Limit] = (),
        accept: Accept | None = None,
        node_limit: int = 1_000_000,
    ) -> Iterator[Solution]:
        """Yields solutions by non-increasing score; equal scores in an order that every run repeats.

        A solution is yielded when `rounded(items) <= capacity(budget)`, its unrounded cost is within
        `budget`, every limit holds, and `accept` (validity, canonical form) says yes to its items. If there
        is none, the iterator is empty. The k best take about k * D nodes; limits and filters add to that.

        Raises:
            ValueError: the budget is NaN, or a limit's costs do not fit the decisions.
            SearchGap: `node_limit` partial solutions were looked at, and some are left.
        """
        capacity = self.capacity(budget)
        limits = [Limit(self._fitting("limit", limit.costs), limit.most, limit.fixed) for limit in limits]
        return self._search(budget, capacity, limits, accept, node_limit)

    def _search(
        self, budget: float, capacity: int, limits: list[Limit], accept: Accept | None, node_limit: int
    ) -> Iterator[Solution]:
        if capacity < 0 or self._bounds.at_root(capacity) == -math.inf:
            return

        def fits(items: tuple[int, ...]) -> bool:
            return self.cost(items) <= budget and all(limit.spent(items) <= limit.most for limit in limits)

        search = BestFirst(self._bounds, limits, capacity, self.score, fits)
        found: float | None = None
        try:
            for score, items in search.wholes(node_limit):
                if accept is None or accept(items):
                    found = score if found is None else found
                    yield Solution(items, score, self.cost(items))
        except OutOfNodesError as stop:
            raise SearchGap(stop.best_bound, found, self._best(stop.reached, accept)) from stop

    def _best(self, items: Iterable[tuple[int, ...]], accept: Accept | None) -> tuple[Solution, ...]:
        """Those that are accepted, each once, by falling score."""
        accepted = (one for one in dict.fromkeys(items) if accept is None or accept(one))
        solutions = (Solution(one, self.score(one), self.cost(one)) for one in accepted)
        return tuple(sorted(solutions, key=lambda one: (-one.score, one.items)))

    def _fitting(self, name: str, vectors: Sequence[ArrayLike]) -> Vectors:
        """The vectors as arrays, one number for each score."""
        arrays = tuple(np.asarray(vector, dtype=np.float64) for vector in vectors)
        if len(arrays) != len(self.scores):
            raise ValueError(f"{len(self.scores)} decisions have scores, {len(arrays)} have a {name}")
        for d, (array, scores) in enumerate(zip(arrays, self.scores, strict=True)):
            if array.shape != scores.shape:
                raise ValueError(f"decision {d}: scores of shape {scores.shape}, a {name} of {array.shape}")
            _refuse(name, d, array, ~np.isfinite(array))
        return arrays


def _refuse(name: str, d: int, vector: NDArray[np.float64], wrong: NDArray[np.bool_]) -> None:
    for item in np.flatnonzero(wrong):
        raise ValueError(f"the {name} of decision {d}, item {item} is {vector[item]}")
