"""Numbers with a unit as people write them: counts such as 1.2M, sizes such as 2MB.

Units: whole numbers inside (things, bytes). k, M, G are powers of 1000, as in kB, MB, GB; KiB, MiB, GiB are powers of
1024. Upper and lower case are the same.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation, Overflow

from latnas.errors import UsageError

PER_COUNT_UNIT = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
PER_BYTES_UNIT = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip

LARGEST = 10**24

_QUANTITY = re.compile(r"(?P<number>[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)\s*(?P<unit>[^\W\d_]*)")


def split_quantity(text: str) -> tuple[str, str]:
    """`2.5 MB` -> ("2.5", "mb"), casefolded; ("", "") where the text is not a number and a word."""
    found = _QUANTITY.fullmatch(text.casefold())
    return (found["number"], found["unit"]) if found else ("", "")


def parse_count(text: str) -> int:
    """The whole number in `100000`, `100k` or `1.2M`; what is left of a fraction is dropped.

    Raises:
        UsageError: no number, an unknown unit, or the number is less than 1 or absurdly large.
    """
    written = text.strip()
    number, unit = split_quantity(written)
    if not number or unit not in PER_COUNT_UNIT:
        raise UsageError(f"{text!r} is not a count. Write a whole number, or one with k, M or G: 100000, 100k, 1.2M.")
    return _whole(number, PER_COUNT_UNIT[unit], f"the count {written!r}", "100k")


def parse_bytes(text: str) -> int:
    """The bytes in `2MB`, `500 kB` or `1.5MiB`; what is left of a fraction is dropped.

    Raises:
        UsageError: there is no unit, no number, or less than one byte, or absurdly large.
    """
    written = text.strip()
    number, unit = split_quantity(written)
    if not number:
        raise UsageError(f"{text!r} is not a size. Write a number and its unit, such as 2MB or 500kB.")
    if not unit:
        raise UsageError(f"the size {written!r} has no unit. Write {number}MB (or B, kB, GB, KiB, MiB, GiB).")
    if unit not in PER_BYTES_UNIT:
        raise UsageError(f"the size {written!r} has an unknown unit, {unit!r}. Write {number}MB (or kB, KiB, MiB).")
    return _whole(number, PER_BYTES_UNIT[unit], f"the size {written!r}", "2MB")


def format_count(count: float) -> str:
    """`85,200`, as counts are printed everywhere."""
    return f"{count:,.0f}"


def format_bytes(size: float) -> str:
    """Three significant digits in powers of 1000, such as `1.84 MB`; rounded up, so that it can be typed as a limit."""
    for unit, per in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= per:
            digits = max(2 - math.floor(math.log10(size / per)), 0)
            return f"{math.ceil(size / per * 10**digits - 1e-9) / 10**digits:.{digits}f} {unit}"
    return f"{math.ceil(size)} B"


def exact_bytes(size: int) -> str:
    """To the last byte, as it can be typed again: `1.84MB`, or `262144B`, which three digits cannot say."""
    short = format_bytes(size).replace(" ", "")
    number, unit = split_quantity(short)
    return short if Decimal(number) * PER_BYTES_UNIT[unit] == size else f"{size}B"


def _whole(number: str, per_unit: int, what: str, example: str) -> int:
    # Decimal: 1.001 kB is 1001 bytes, although the product of floats is a little less.
    try:
        value = Decimal(number) * per_unit
    except (Overflow, InvalidOperation):  # an exponent of nine digits
        value = Decimal("Infinity")
    if not 1 <= value < LARGEST:
        raise UsageError(f"{what} must be at least 1 and less than {LARGEST:.0e}. Write, for example, {example}.")
    return int(value)
