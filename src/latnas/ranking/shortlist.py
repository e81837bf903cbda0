"""Which networks are worth a training: those that lie where fronts will be, whatever the device.

Randomly placed trainings are wasted. The best by a score within budgets of several costs that know no device are
nearly all that any device's front is made of.

Shapes: C costs, N networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BUDGETS = 24
"""Budgets of each cost, logarithmic from the least to the most that a network takes."""

WIDEST = 1000.0
"""The tightest is no less than this part of the loosest: a cost fitted to measurements may come out below zero."""


def shortlist(
    costs_CN: np.ndarray,
    scores_N: np.ndarray,
    sizes_N: np.ndarray,
    count: int,
    sure: Sequence[int] = (),
    budgets: Sequence[float] = (),
) -> list[int]:
    """Positions of `count` networks (of all, if there are fewer), in increasing order.

    They are `sure` and the k best by score within each budget of each cost, for the largest k for which these are no
    more than `count`; then, of those that the next k adds, as many as are still wanted, evenly spaced over size. Where
    the best alone are too many, only the first costs count, as many as there are networks for: the most important cost
    comes first.

    Args:
        budgets: of every cost; `BUDGETS` of each unless given.
    """
    ranks_N = best_ranks(costs_CN, scores_N, budgets)
    for costs in range(len(costs_CN) - 1, 0, -1):
        if np.count_nonzero(ranks_N == 0) <= count:
            break
        ranks_N = best_ranks(costs_CN[:costs], scores_N, budgets)
    ranks_N[list(sure)] = -1
    count = min(count, len(ranks_N))
    upto = np.searchsorted(np.sort(ranks_N), np.arange(len(ranks_N) + 1))  # [k]: how many have a rank below k
    k = int(np.flatnonzero(upto <= count)[-1])
    chosen = np.flatnonzero(ranks_N < k)
    following = np.flatnonzero(ranks_N == k)
    following = following[np.argsort(sizes_N[following], kind="stable")]
    spread = np.linspace(0, max(len(following) - 1, 0), count - len(chosen)).round().astype(int)
    return sorted([*chosen.tolist(), *following[spread].tolist()])


def best_ranks(costs_CN: np.ndarray, scores_N: np.ndarray, budgets: Sequence[float] = ()) -> np.ndarray:
    """[N]: for each network its best rank by score, from 0, within any budget of any cost. Ties go to the first."""
    order = np.argsort(-scores_N, kind="stable")
    ranks_N = np.full(len(scores_N), len(scores_N))
    for costs in costs_CN:
        low, high = max(costs.min(), costs.max() / WIDEST), costs.max()
        for budget in budgets or np.geomspace(low, high, BUDGETS).tolist():
            fits = order[costs[order] <= budget * (1 + 1e-9)]
            ranks_N[fits] = np.minimum(ranks_N[fits], np.arange(len(fits)))
    return ranks_N
