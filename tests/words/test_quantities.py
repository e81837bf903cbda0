"""Counts and sizes: what is read, what is refused and with which advice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latnas.errors import UsageError
from latnas.words.quantities import (
    PER_BYTES_UNIT,
    PER_COUNT_UNIT,
    format_bytes,
    format_count,
    parse_bytes,
    parse_count,
)

WHOLE = st.integers(1, 10**12)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("100000", 100_000),
        ("100k", 100_000),
        ("1.2M", 1_200_000),
        ("1.001k", 1001),
        (" 2 m ", 2_000_000),
        ("1e5", 10**5),
    ],
)
def test_a_count_is_read_as_a_whole_number(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    ("text", "size"),
    [("2MB", 2_000_000), ("500 kB", 500_000), ("1.5MiB", 1_572_864), ("4mb", 4_000_000), ("1KiB", 1024), ("7B", 7)],
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@given(WHOLE, st.sampled_from(sorted(PER_BYTES_UNIT)))
def test_whole_sizes_in_every_unit_are_exact_in_any_case(size: int, unit: str) -> None:
    assert parse_bytes(f"{size}{unit.upper()}") == parse_bytes(f"{size} {unit}") == size * PER_BYTES_UNIT[unit]


@given(WHOLE, st.sampled_from(sorted(PER_COUNT_UNIT)))
def test_whole_counts_in_every_unit_are_exact(count: int, unit: str) -> None:
    assert parse_count(f"{count}{unit}") == count * PER_COUNT_UNIT[unit]


@given(st.integers(1, 10**9))
def test_thousandths_of_a_unit_are_exact(thousandths: int) -> None:
    whole, rest = divmod(thousandths, 1000)
    assert parse_count(f"{whole}.{rest:03d}k") == parse_bytes(f"{whole}.{rest:03d}kB") == thousandths


@given(st.integers(1, 10**12))
def test_a_size_as_it_is_printed_can_be_typed_and_allows_that_size(size: int) -> None:
    typed = parse_bytes(format_bytes(size))
    assert size <= typed <= size * 1.011 + 1


@given(WHOLE)
def test_a_count_as_it_is_printed_reads_back_without_its_commas(count: int) -> None:
    assert parse_count(format_count(count).replace(",", "")) == count


@pytest.mark.parametrize("text", ["", "many", "12 apples", "k", "1,2M", "0", "-5", "0.2", "1e999", "1e9999999", "nan"])
def test_what_is_no_count_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="100k"):
        parse_count(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("2", "2MB"),
        ("2mx", "2MB"),
        ("big", "2MB"),
        ("0MB", "2MB"),
        ("-1kB", "2MB"),
        ("1e999GB", "2MB"),
        ("1e9999999MB", "2MB"),
        ("", "2MB"),
    ],
)
def test_what_is_no_size_is_refused_with_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        parse_bytes(text)
