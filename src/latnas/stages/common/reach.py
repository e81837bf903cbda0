"""What is reachable with a table: the fastest and the slowest network, and the budgets between them."""

from __future__ import annotations

from latnas.errors import LatnasError, UsageError
from latnas.spaces.solving import cheapest, dearest
from latnas.spaces.space import Space
from latnas.stages.common.limits import SEARCH
from latnas.stages.common.runs import RunFolder, search_again
from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange, format_ms, parse_range
from latnas.words.latency import LatencyModel
from latnas.words.limits import NO_LIMITS

SAFETY = 1.05
"""`auto` begins this far above the upper interval end of the fastest network: a budget that can surely be met."""

END_CANDIDATES = 12


def predicted_ends(space: Space, latency: LatencyModel) -> tuple[Architecture, Architecture]:
    """The networks of least and of greatest predicted latency, of those within the space's limits.

    The linear costs of the solver name some candidates for each end, and the calibration has its own.
    """
    candidates = [*cheapest(space, latency.cost, END_CANDIDATES), *dearest(space, latency.cost, END_CANDIDATES)]
    measured = [Architecture.from_json(entry.architecture) for entry in latency.table.calibration.networks]
    candidates += [one for one in measured if space.keeps(one)]
    if not candidates:
        raise LatnasError(f"no network of space {space.name!r} within the limits was found. Loosen them.")
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
    surely = SAFETY * max([low.high, *measured])
    return low.value, max(min(surely, 0.99 * high.value), low.value), high.value


def budget_range(written: str, space: Space, latency: LatencyModel, command: str = SEARCH) -> BudgetRange:
    """The range that lambda spans: `written` as it was typed, 2ms:8ms or auto.

    Args:
        command: the one that it was typed with, for messages.

    Raises:
        UsageError: part or all of the range is out of reach, with the reachable one; or all networks take the same.
    """
    fastest, surely, slowest = reachable_range(space, latency)
    wanted = parse_range(written)
    if fastest == slowest:
        within = "" if space.limits == NO_LIMITS else " within the limits"
        raise UsageError(
            f"every network{within} takes {format_ms(fastest)} with table {latency.table.name}: there is nothing "
            "to search between them. Loosen the limits, or profile a larger space."
        )
    if wanted is None:
        return BudgetRange(surely, slowest)
    if wanted[0] < fastest or wanted[1] > slowest * SAFETY:
        wholly = wanted[1] < fastest or wanted[0] > slowest
        share, wasted = ("wholly", "") if wholly else ("partly", ", so the loose end would be wasted")
        side = (
            f"no network is faster than {format_ms(fastest)}"
            if wanted[0] < fastest
            else f"every network is faster than {format_ms(slowest)}{wasted}"
        )
        within = "" if space.limits == NO_LIMITS else ", within the limits"
        tight, loose = max(wanted[0], surely), min(wanted[1], slowest)
        if tight >= loose or _rounded(tight) == _rounded(loose):
            tight, loose = surely, slowest
        raise UsageError(
            f"the range {written} is {share} out of reach with table {latency.table.name}: {side}{within}. "
            f"Keep the other options and type: {command} --budget-range {_rounded(tight)}:{_rounded(loose)}"
        )
    return BudgetRange(*wanted)


def check_in_range(budget_ms: float, budgets: BudgetRange, run: RunFolder, front: str, data: str | None = None) -> None:
    """Raises UsageError where a budget is outside the range of a front; the message names the search of another.

    Args:
        data: where the run's images lie by now, if that was typed.
    """
    try:
        budgets.lam(budgets.meant(budget_ms))
    except UsageError as error:
        again = search_again(run, front, data)
        raise UsageError(f"{error} Or search another range: {again} FASTEST:SLOWEST") from error


def _rounded(ms: float) -> str:
    return f"{ms:.4g}ms"
