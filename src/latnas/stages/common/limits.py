"""A space within the limits of a search, and what of each resource its networks can take."""

from __future__ import annotations

from collections.abc import Sequence

from latnas.errors import UsageError
from latnas.hypernet.propose import cheapest, dearest
from latnas.spaces.space import SETTING, Space
from latnas.stages.common.metadata import metadata_bytes
from latnas.words.architecture import Architecture
from latnas.words.costs import AdditiveCost, generic_costs, params_cost
from latnas.words.limits import NO_LIMITS, RESOURCES, Amounts, Limits, Resource

CANDIDATES = 12
"""Networks at each end of each cost that are looked at exactly, where what they take does not add up."""


def limited_space(space: Space, limits: Limits, classes: Sequence[str], table: str) -> Space:
    """`space` within `limits`, for files that name these classes and this table.

    Raises:
        UsageError: no network keeps to the limits; the message has the smallest reachable value.
    """
    limited = space.limited(limits, metadata_bytes(space, classes, table))
    if limits != NO_LIMITS and not cheapest(limited, params_cost(space.trace), 1):
        raise UsageError(_why_nothing_is_left(limited))
    return limited


def reachable_amounts(space: Space) -> tuple[Amounts, Amounts] | None:
    """The least and the most of each resource that networks within the space's limits take; None if there is none.

    Each by itself: no one network takes the least of everything. Exact for parameters and multiply-adds; for size and
    memory, which do not add up, the ends among the networks at the ends of five costs that do.
    """
    return ends_of([space.amounts(one) for one in end_networks(space)])


def end_networks(space: Space) -> list[Architecture]:
    """The networks within the space's limits at both ends of five costs: parameters, multiply-adds, activations,
    operations, and the memory of items by themselves."""
    peaks = dict(zip((d.name for d in space.decisions), space.part_peaks(), strict=True))
    costs = [
        *generic_costs(space.trace, mixtures=0, seed=0),
        AdditiveCost("bytes", space.decisions, {SETTING: 0.0}, {SETTING: peaks}),
    ]
    ends = [one for cost in costs for end in (cheapest, dearest) for one in end(space, cost, CANDIDATES)]
    return list(dict.fromkeys(ends))


def ends_of(found: Sequence[Amounts]) -> tuple[Amounts, Amounts] | None:
    """The least and the most of each resource, each by itself; None of nothing."""
    if not found:
        return None
    least = Amounts(**{one.name: min(amounts.of(one) for amounts in found) for one in RESOURCES})
    most = Amounts(**{one.name: max(amounts.of(one) for amounts in found) for one in RESOURCES})
    return least, most


def _why_nothing_is_left(space: Space) -> str:
    """What excludes every network: one limit by itself, or all together."""
    whole = reachable_amounts(space.limited(NO_LIMITS, space.metadata_bytes))
    assert whole is not None, "every space has a valid network"
    for resource in space.limits.limited:
        if (space.limits.most(resource) or 0) < whole[0].of(resource):
            return _too_tight(space, resource, whole[0].of(resource), "no network of")
    for resource in space.limits.limited:
        others = reachable_amounts(space.limited(space.limits.without(resource), space.metadata_bytes))
        if others is not None:
            return _too_tight(space, resource, others[0].of(resource), "within the other limits, no network of")
    flags = " ".join(one.typed(whole[0].of(one)) for one in space.limits.limited)
    return f"no network of space {space.name!r} keeps to these limits. Each by itself allows as little as: {flags}"


def _too_tight(space: Space, resource: Resource, least: int, who: str) -> str:
    kept = "".join(f"{one.typed(space.limits.most(one) or 0)} " for one in space.limits.limited if one != resource)
    return (
        f"{who} space {space.name!r} with width {space.options.width} and depth {space.options.depth} keeps to "
        f"{resource.typed(space.limits.most(resource) or 0)}: the smallest {resource.label} is "
        f"{resource.shown(least)}. Type: latnas search {kept}{resource.typed(least)}"
    )
