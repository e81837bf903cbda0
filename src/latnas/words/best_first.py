"""Best-first enumeration: whole choices, one item for each decision, by falling score.

A heap holds prefixes, each by a bound on what any whole choice that begins so can score, and whole choices by their
score. What comes up first as a whole choice is the best of those that have not come up. A prefix is put back as its
next best sibling when it is opened, so that the heap grows by two entries a step and not by all items.

Shapes: D decisions; decision d has n_d items.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np

from latnas.words.bounds import Bounds, Limit, least_spent, with_prices

MOST_COMPLETED = 1000
"""At the node limit so many of the most promising prefixes are completed."""

NO_ITEM = -1

Items = tuple[int, ...]


class OutOfNodesError(Exception):
    """As many prefixes as allowed were opened: what has not come up scores at most `best_bound`.

    `reached` are whole choices that fit and have not come up, completed from the most promising prefixes.
    """

    def __init__(self, best_bound: float, reached: tuple[Items, ...]) -> None:
        super().__init__()
        self.best_bound, self.reached = best_bound, reached


class Prefix(NamedTuple):
    """Items chosen for the first `depth` decisions, as a chain back to the root."""

    parent: Prefix | None
    item: int
    value: float
    depth: int
    left: int  # rounding steps that the open decisions may still use
    spent: tuple[float, ...]  # of each limit

    def items(self) -> tuple[int, ...]:
        """What was chosen, the first decision first."""
        items, node = [], self
        while node.parent is not None:
            items.append(node.item)
            node = node.parent
        return tuple(reversed(items))

    def plus(self, rest: float) -> float:
        """The prefix's value plus `rest`, added last decision first, as `Solver.score` and the tables add.

        Float addition is monotone: summed in this one order, a solution never exceeds its own bounds.
        """
        node = self
        while node.parent is not None:
            rest, node = node.value + rest, node.parent
        return rest


class Entry(NamedTuple):
    """On the heap: among equal bounds the deeper comes first, then the older, so that ties cost no detour.

    `rank` is that of the prefix among its siblings; None where it is a whole choice, and the bound its score.
    """

    minus_bound: float
    minus_depth: int
    serial: int
    prefix: Prefix
    rank: int | None


class BestFirst:
    """One enumeration.

    Args:
        bounds: of scores and rounded costs.
        limits: what whole choices keep to beside the capacity; prefixes that cannot are not opened.
        capacity: rounding steps that a whole choice may use.
        score: of a whole choice.
        fits: has the last word on a whole choice, by unrounded costs.
    """

    def __init__(
        self,
        bounds: Bounds,
        limits: Sequence[Limit],
        capacity: int,
        score: Callable[[Items], float],
        fits: Callable[[Items], bool],
    ) -> None:
        self._bounds, self._limits, self._score, self._fits = bounds, limits, score, fits
        self._least = [least_spent(bounds, limit, capacity) for limit in limits]
        self._most = [limit.loose_most() for limit in limits]
        self._ranked: dict[tuple[int, int], list[tuple[float, int]]] = {}
        self._heap: list[Entry] = []
        self._serial = count()
        root = Prefix(None, NO_ITEM, 0.0, 0, capacity, tuple(limit.fixed for limit in limits))
        if self._can_hold(root):
            self._bounds = with_prices(bounds, limits, capacity)
            self._open(root)

    def wholes(self, node_limit: int) -> Iterator[tuple[float, Items]]:
        """Whole choices that fit, with their scores, the best first.

        Raises:
            OutOfNodesError: `node_limit` prefixes were opened, and some are left.
        """
        opened = 0
        while self._heap:
            entry = heapq.heappop(self._heap)
            if entry.rank is None:
                yield -entry.minus_bound, entry.prefix.items()
                continue
            if opened == node_limit:
                heapq.heappush(self._heap, entry)
                raise OutOfNodesError(-entry.minus_bound, self._reached())
            opened += 1
            if entry.prefix.parent is not None:
                self._push_child(entry.prefix.parent, entry.rank + 1)
            self._open(entry.prefix)

    def _open(self, prefix: Prefix) -> None:
        if prefix.depth < len(self._bounds.values):
            self._push_child(prefix, 0)
        elif self._fits(items := prefix.items()):
            self._push(-self._score(items), prefix, None)

    def _push_child(self, parent: Prefix, rank: int) -> None:
        if (found := self._child(parent, rank)) is not None:
            gain, prefix, position = found
            self._push(-(parent.plus(gain) + self._bounds.allowance), prefix, position)

    def _push(self, minus_bound: float, prefix: Prefix, rank: int | None) -> None:
        depth = prefix.depth if rank is None else prefix.depth - 1
        heapq.heappush(self._heap, Entry(minus_bound, -depth, next(self._serial), prefix, rank))

    def _child(self, parent: Prefix, rank: int) -> tuple[float, Prefix, int] | None:
        """The parent's child of this rank, or the next that no limit rules out: what it can gain, it, and its rank."""
        d, left, bounds = parent.depth, parent.left, self._bounds
        ranked = self._ranked.get((d, left))
        if ranked is None:
            gains = bounds.gains(d, left)
            order = np.argsort(-gains, kind="stable")[: np.count_nonzero(gains > -math.inf)]
            ranked = self._ranked[d, left] = list(zip(gains[order].tolist(), order.tolist(), strict=True))
        for position in range(rank, len(ranked)):
            gain, item = ranked[position]
            spent = tuple(s + float(m.costs[d][item]) for s, m in zip(parent.spent, self._limits, strict=True))
            after = left - int(bounds.rounded_costs[d][item])
            prefix = Prefix(parent, item, float(bounds.values[d][item]), d + 1, after, spent)
            if self._can_hold(prefix):
                return gain, prefix, position
        return None

    def _can_hold(self, prefix: Prefix) -> bool:
        """Whether every limit can still hold, each by itself."""
        rest = (table[prefix.depth][prefix.left] for table in self._least)
        return all(spent + float(r) <= m for spent, r, m in zip(prefix.spent, rest, self._most, strict=True))

    def _reached(self) -> tuple[Items, ...]:
        ends = (self._completed(entry.prefix) for entry in heapq.nsmallest(MOST_COMPLETED, self._heap))
        return tuple(items for items in ends if items is not None)

    def _completed(self, prefix: Prefix) -> Items | None:
        """The likeliest whole choice that begins so; None where that does not fit."""
        while prefix.depth < len(self._bounds.values):
            if (found := self._child(prefix, 0)) is None:
                return None
            prefix = found[1]
        return items if self._fits(items := prefix.items()) else None
