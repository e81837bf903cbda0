"""A space within the limits of a search, and what of each resource its networks can take."""

from __future__ import annotations

from collections.abc import Sequence

from latnas.errors import UsageError
from latnas.spaces.solving import cheapest, dearest
from latnas.spaces.space import SETTING, Space
from latnas.stages.common.metadata import metadata_bytes
from latnas.words.architecture import Architecture, distinct
from latnas.words.costs import AdditiveCost, generic_costs, params_cost
from latnas.words.limits import NO_LIMITS, RESOURCES, Amounts, Limits, Resource

CANDIDATES = 12
"""Networks at each end of each cost that are looked at exactly, where what they take does not add up."""


def limited_space(space: Space, limits: Limits, classes: Sequence[str], table: str) -> Space:
    """`space` within `limits`, for files that name these classes and this table.

    Raises:
        UsageError: no network keeps to the limits; the message has the smallest reachable value.
    """
    return _refused_if_empty(space.limited(limits, metadata_bytes(space, classes, table)), "latnas search")


def narrowed(space: Space, limits: Limits) -> Space:
    """A limited space within the limits of an export too.

    Raises:
        UsageError: no network keeps to all limits; the message has the smallest reachable value.
    """
    return _refused_if_empty(space.limited(space.limits.and_also(limits), space.metadata_bytes), "latnas export")


def _refused_if_empty(space: Space, command: str) -> Space:
    if space.limits != NO_LIMITS and not cheapest(space, params_cost(space.trace), 1):
        raise UsageError(_why_nothing_is_left(space, command))
    return space


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
    return distinct(ends)


def ends_of(found: Sequence[Amounts]) -> tuple[Amounts, Amounts] | None:
    """The least and the most of each resource, each by itself; None of nothing."""
    if not found:
        return None
    least = Amounts(**{one.name: min(amounts.of(one) for amounts in found) for one in RESOURCES})
    most = Amounts(**{one.name: max(amounts.of(one) for amounts in found) for one in RESOURCES})
    return least, most


def _why_nothing_is_left(space: Space, command: str) -> str:
    """What excludes every network: one limit by itself, or all together."""
    whole = reachable_amounts(space.limited(NO_LIMITS, space.metadata_bytes))
    assert whole is not None, "every space has a valid network"
    for resource in space.limits.limited:
        if (space.limits.most(resource) or 0) < whole[0].of(resource):
            return _too_tight(space, command, resource, whole[0].of(resource), "no network of")
    for resource in space.limits.limited:
        others = reachable_amounts(space.limited(space.limits.without(resource), space.metadata_bytes))
        if others is not None:
            least = others[0].of(resource)
            return _too_tight(space, command, resource, least, "within the other limits, no network of")
    flags = " ".join(one.typed(whole[0].of(one)) for one in space.limits.limited)
    return f"no network of space {space.name!r} keeps to these limits. Each by itself allows as little as: {flags}"


def _too_tight(space: Space, command: str, resource: Resource, least: int, who: str) -> str:
    kept = space.limits.without(resource).typed
    return (
        f"{who} space {space.name!r} with width {space.options.width} and depth {space.options.depth} keeps to "
        f"{resource.typed(space.limits.most(resource) or 0)}: the smallest {resource.label} is "
        f"{resource.shown(least)}. Keep the other options and type: "
        f"{command} {kept}{' ' if kept else ''}{resource.typed(least)}"
    )
