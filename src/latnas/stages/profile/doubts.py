"""Measured operations that cannot be right, or had not settled."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from latnas.latency.measure import NO_HALVES
from latnas.words.sites import Site, SpaceTrace
from latnas.words.table import OperationEntry

UNSETTLED = 0.05
FASTER = 0.9
"""An operation that does more must not take less than this share of one that does less."""


MUCH_MORE = 2


def doubtful_operations(operations: Mapping[str, OperationEntry], trace: SpaceTrace) -> dict[str, str]:
    """By label, what is wrong with an entry: one round, halves far apart, no time, or less time for more work."""
    doubts: dict[str, str] = {}
    for digest, entry in operations.items():
        if entry.halves == NO_HALVES:
            doubts[entry.label] = "was measured in one round only: give more --max-seconds"
        elif entry.halves > UNSETTLED:
            doubts[entry.label] = f"two halves of its rounds differ by {entry.halves:.0%}"
        elif entry.cost_ms == 0 and trace.operations[digest].macs:
            doubts[entry.label] = "takes no longer than an empty graph"
    sites = [(site, operations[digest]) for digest, site in trace.operations.items() if digest in operations]
    for (one, entry), (other, beside) in combinations(sites, 2):
        less, more = ((one, entry), (other, beside)) if one.macs <= other.macs else ((other, beside), (one, entry))
        if _is_more_of_the_same(less[0], more[0]) and more[1].cost_ms < FASTER * less[1].cost_ms:
            doubts.setdefault(more[1].label, f"is faster than {less[1].label}, which does less")
    return doubts


def _is_more_of_the_same(less: Site, more: Site) -> bool:
    """The same part at a larger place, or a part that does a good deal more at the same place."""
    if more.decision != less.decision or more.params < less.params or more.output_elements < less.output_elements:
        return False
    if more.part == less.part:
        return more.macs > less.macs
    return more.input_shapes == less.input_shapes and 0 < MUCH_MORE * less.macs <= more.macs
