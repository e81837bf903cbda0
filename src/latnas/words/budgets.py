"""Latency budgets as people write them, and lambda: a position in a range of budgets.

Units: milliseconds inside, `ms`, `us` or `s` in text, where a unit is always written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from latnas.errors import UsageError
from latnas.words.quantities import split_quantity

# Keys are casefolded: that turns the micro sign of a keyboard into the Greek letter.
MS_PER_UNIT = {"ms": 1.0, "us": 1e-3, "\u03bcs": 1e-3, "s": 1e3}
# Lambda and back again moves a budget by float error; this relative excess of the range is forgiven.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class BudgetRange:
    """The budgets that one search serves. Lambda is logarithmic: 0 is the slowest budget, 1 the fastest."""

    fastest_ms: float
    slowest_ms: float

    def __post_init__(self) -> None:
        if not 0 < self.fastest_ms < self.slowest_ms < math.inf:
            raise UsageError(
                f"a budget range runs from a shorter to a longer time, got {_typed(self.fastest_ms)} to "
                f"{_typed(self.slowest_ms)}. Write, for example: --budget-range 0.2ms:0.8ms"
            )

    def budget_ms(self, lam: float) -> float:
        """The budget at `lam` in [0, 1].

        Raises:
            UsageError: `lam` is outside [0, 1].
        """
        if not 0 <= lam <= 1:
            raise UsageError(
                f"lambda {lam:g} is outside [0, 1]. 0 is the loosest budget of this run "
                f"({_typed(self.slowest_ms)}), 1 the tightest ({_typed(self.fastest_ms)})."
            )
        if lam == 1:
            return self.fastest_ms  # the formula may miss it by float error
        return self.slowest_ms * math.pow(self.fastest_ms / self.slowest_ms, lam)

    def lam(self, budget_ms: float) -> float:
        """The position of a budget, in [0, 1]; the inverse of `budget_ms`.

        Raises:
            UsageError: the budget is outside the range.
        """
        if not self.fastest_ms * (1 - TOLERANCE) <= budget_ms <= self.slowest_ms * (1 + TOLERANCE):
            raise UsageError(
                f"the budget {_typed(budget_ms)} is outside this run's range of {_typed(self.fastest_ms)} to "
                f"{_typed(self.slowest_ms)}. Choose one within it."
            )
        lam = math.log(self.slowest_ms / budget_ms) / math.log(self.slowest_ms / self.fastest_ms)
        return min(max(lam, 0.0), 1.0)

    def meant(self, budget_ms: float, known: Iterable[float] = ()) -> float:
        """The budget itself, or the first of those that are known which `budget_name` calls the same.

        Where that is outside by what is rounded off an end, that end.
        """
        exact = next((ms for ms in known if budget_name(ms) == budget_name(budget_ms)), budget_ms)
        nearest = min(max(exact, self.fastest_ms), self.slowest_ms)
        return nearest if budget_name(nearest) == budget_name(exact) else exact

    def spread(self, n: int) -> list[float]:
        """n evenly spaced lambdas from 0 to 1, both included; for n = 1 the loosest budget alone, [0.0].

        Raises:
            UsageError: n is less than 1.
        """
        if n < 1:
            raise UsageError(f"the number of budgets must be at least 1, got {n}")
        return [i / (n - 1) for i in range(n)] if n > 1 else [0.0]


def parse_ms(text: str, what: str = "latency", example: str = "4ms") -> float:
    """The milliseconds in `2ms`, `2.5 ms`, `900us` or `0.002s`.

    Args:
        text: as a person wrote it.
        what: what the time is, for messages.
        example: of one, for messages; its unit is the one that is missed where there is none.

    Raises:
        UsageError: there is no unit, no number, or the time is not above zero and finite.
    """
    written = text.strip()
    number, unit = split_quantity(written)
    if not number:
        raise UsageError(f"{text!r} is not a {what}. Write a number and its unit, such as {example} or 2.5ms.")
    _, usual = split_quantity(example)
    if not unit:
        others = ", ".join(one for one in ("ms", "us", "s") if one != usual)
        raise UsageError(f"the {what} {written!r} has no unit. Write {number}{usual} (or {others}).")
    if unit not in MS_PER_UNIT:
        raise UsageError(
            f"the {what} {written!r} has an unknown unit, {unit!r}. Known: s, ms, us. Write, for example, {example}."
        )
    ms = float(number) * MS_PER_UNIT[unit]
    if not 0 < ms < math.inf:
        raise UsageError(f"the {what} {written!r} must be above zero and finite. Write, for example, {example}.")
    return ms


def parse_range(text: str) -> tuple[float, float] | None:
    """The fastest and the slowest budget of `2ms:8ms` in milliseconds; None for `auto`.

    The unit may be left out on the left where the right has it: `2:8ms`.

    Raises:
        UsageError: not two latencies, or not the shorter one first.
    """
    written = text.strip()
    if written.lower() == "auto":
        return None
    ends = [end.strip() for end in written.split(":")]
    if len(ends) != 2 or not all(ends):
        raise UsageError(
            f"{text!r} is not a range of budgets. Write the fastest and the slowest, such as 0.2ms:0.8ms, or "
            "auto. One budget is an export: latnas export --budget 0.4ms"
        )
    (left, left_unit), (_, right_unit) = (split_quantity(end) for end in ends)
    if left and not left_unit:
        ends[0] += right_unit
    try:
        fastest_ms, slowest_ms = (parse_ms(end) for end in ends)
    except UsageError as error:
        raise UsageError(f"in the range {written!r}: {error} A range looks like 0.2ms:0.8ms.") from error
    if fastest_ms == slowest_ms:
        raise UsageError(f"the range {written!r} holds one budget only. Write two different ends, such as 0.2ms:0.8ms")
    if fastest_ms > slowest_ms:
        raise UsageError(f"the range {written!r} is reversed. Write {ends[1]}:{ends[0]}")
    return fastest_ms, slowest_ms


def format_ms(ms: float) -> str:
    """Three significant digits and the unit, such as `1.84 ms`; whole milliseconds from 100 ms on."""
    return f"{_decimal(ms, 3)} ms"


def budget_name(ms: float) -> str:
    """A name for a folder, such as `1.84ms` or `4ms`.

    Four significant digits: budgets that differ by a measurable amount do not share a folder.
    """
    text = _decimal(ms, 4)
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}ms"


def above_ms(ms: float) -> float:
    """The least budget of four significant digits that is no shorter: what `budget_name` writes can be typed."""
    scale = 10.0 ** (3 - math.floor(math.log10(ms)))
    return math.ceil(ms * scale * (1 - TOLERANCE)) / scale


def _decimal(number: float, digits: int) -> str:
    """The number in plain decimals, never with an exponent, rounded to `digits` or to a whole number."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    # The exponent after rounding: 9.999 has three significant digits as 10.0, not as 10.00.
    exponent = int(f"{number:.{digits - 1}e}".partition("e")[2])
    return f"{number:.{max(digits - 1 - exponent, 0)}f}"


def _typed(ms: float) -> str:
    """As it can be typed: ten digits, so that what is outside a range does not look inside."""
    return f"{ms:.10g}ms"
