"""A space within the limits of a search, and what of each resource its networks can take."""

from __future__ import annotations

from collections.abc import Sequence

from latnas.errors import UsageError
from latnas.ranking.judge import LEAST_LABELS
from latnas.spaces.solving import cheapest, dearest
from latnas.spaces.space import SETTING, Space
from latnas.stages.common.metadata import metadata_bytes
from latnas.words.architecture import Architecture, distinct
from latnas.words.costs import AdditiveCost, generic_costs, params_cost
from latnas.words.limits import NO_LIMITS, RESOURCES, Amounts, Limits, Resource

SEARCH, PLAN, EXPORT = "latnas search", "latnas plan", "latnas export"
LEAST_NETWORKS = {SEARCH: LEAST_LABELS, PLAN: LEAST_LABELS, EXPORT: 1}
"""So many networks a limit that is offered has to leave, by the command that it is offered for."""

CANDIDATES = 12
"""Networks at each end of each cost that are looked at exactly, where what they take does not add up."""


def limited_space(space: Space, limits: Limits, classes: Sequence[str], table: str, command: str = SEARCH) -> Space:
    """`space` within `limits`, for files that name these classes and this table.

    Args:
        command: the one that the limits were typed with, for messages.

    Raises:
        UsageError: no network keeps to the limits; the message has the smallest value that leaves enough to search.
    """
    return _refused_if_empty(space.limited(limits, metadata_bytes(space, classes, table)), command)


def narrowed(space: Space, limits: Limits) -> Space:
    """A limited space within the limits of an export too.

    Raises:
        UsageError: no network keeps to all limits; the message has the smallest reachable value.
    """
    return _refused_if_empty(space.limited(space.limits.and_also(limits), space.metadata_bytes), EXPORT)


def check_enough(space: Space, command: str = SEARCH) -> None:
    """Raises UsageError where a space's limits leave too few networks to search; the message has what leaves enough."""
    if space.limits == NO_LIMITS or len(cheapest(space, params_cost(space.trace), LEAST_LABELS)) >= LEAST_LABELS:
        return
    left = len(end_networks(space))
    if left < LEAST_LABELS:
        raise UsageError(too_few(space, left, command))


def too_few(space: Space, left: int, command: str = SEARCH) -> str:
    """That limits leave so few networks, and by how much one of them has to be loosened so that they are enough."""
    refused = (
        f"{space.limits.typed} leaves {left} of the networks of space {space.name!r}, and a search learns from "
        f"{LEAST_LABELS} at least."
    )
    for resource in space.limits.limited:
        fewest = _fewest(_amounts_within(space, space.limits.without(resource)), resource, LEAST_LABELS)
        if len(fewest) == LEAST_LABELS and fewest[-1] > (space.limits.most(resource) or 0):
            return f"{refused} {_instead(space, command, resource, fewest[-1])}"
    return f"{refused} Allow more{'' if command == PLAN else '; latnas plan says what limits leave'}."


def _refused_if_empty(space: Space, command: str) -> Space:
    if space.limits != NO_LIMITS and not cheapest(space, params_cost(space.trace), 1):
        raise UsageError(_why_nothing_is_left(space, command))
    return space


def end_networks(space: Space) -> list[Architecture]:
    """The networks within the space's limits at both ends of five costs: parameters, multiply-adds, activations,
    operations, and the memory of items by themselves.

    They take the least and the most of each resource: exactly so of parameters and multiply-adds, and nearly of size
    and memory, which do not add up.
    """
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
    whole, count = _amounts_within(space, NO_LIMITS), LEAST_NETWORKS[command]
    for resource in space.limits.limited:
        fewest = _fewest(whole, resource, count)
        if (space.limits.most(resource) or 0) < fewest[0]:
            return _too_tight(space, command, resource, fewest, "no network of")
    for resource in space.limits.limited:
        if fewest := _fewest(_amounts_within(space, space.limits.without(resource)), resource, count):
            return _too_tight(space, command, resource, fewest, "within the other limits, no network of")
    flags = " ".join(one.typed(_fewest(whole, one, 1)[0]) for one in space.limits.limited)
    return f"no network of space {space.name!r} keeps to these limits. Each by itself allows as little as: {flags}"


def _amounts_within(space: Space, limits: Limits) -> list[Amounts]:
    """What the networks at the ends of a space within other limits take."""
    other = space.limited(limits, space.metadata_bytes)
    return [other.amounts(one) for one in end_networks(other)]


def _fewest(found: Sequence[Amounts], resource: Resource, count: int) -> list[int]:
    """What the `count` networks take of a resource that take the least of it, the least first."""
    return sorted(amounts.of(resource) for amounts in found)[:count]


def _too_tight(space: Space, command: str, resource: Resource, fewest: Sequence[int], who: str) -> str:
    more = f", and the {len(fewest)} smallest have {resource.shown(fewest[-1])} at most" if len(fewest) > 1 else ""
    return (
        f"{who} space {space.name!r} with width {space.options.width} and depth {space.options.depth} keeps to "
        f"{resource.typed(space.limits.most(resource) or 0)}: the smallest {resource.label} is "
        f"{resource.shown(fewest[0])}{more}. {_instead(space, command, resource, fewest[-1])}"
    )


def _instead(space: Space, command: str, resource: Resource, most: int) -> str:
    """The command with this limit in the place of the one that was typed."""
    kept = space.limits.without(resource).typed
    return f"Keep the other options and type: {command} {kept}{' ' if kept else ''}{resource.typed(most)}"
