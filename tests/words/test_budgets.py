"""Budgets: what is read, what is refused and with which advice, and lambda there and back."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from latnas.errors import UsageError
from latnas.words.budgets import BudgetRange, above_ms, budget_name, format_ms, parse_ms, parse_range

MS = st.floats(1e-6, 1e9)
LAMBDAS = st.floats(0.0, 1.0)


@st.composite
def ranges(draw: st.DrawFn) -> BudgetRange:
    fastest, ratio = draw(st.floats(1e-4, 1e5)), draw(st.floats(1.01, 1e4))
    return BudgetRange(fastest, fastest * ratio)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2ms", 2.0),
        ("2.5ms", 2.5),
        ("0.8 ms", 0.8),
        (" .5ms ", 0.5),
        ("4.ms", 4.0),
        ("1e1ms", 10.0),
        ("+3MS", 3.0),
        ("900us", 0.9),
        ("900\u00b5s", 0.9),  # the micro sign
        ("900\u03bcs", 0.9),  # the Greek letter
        ("0.002s", 2.0),
    ],
)
def test_a_latency_is_read_in_milliseconds(text: str, ms: float) -> None:
    assert parse_ms(text) == pytest.approx(ms, rel=1e-15)


def test_a_duration_without_a_unit_is_shown_with_the_unit_of_durations() -> None:
    with pytest.raises(UsageError, match=r"the duration '5' has no unit\. Write 5s \(or ms, us\)\."):
        parse_ms("5", "duration", "60s")
    with pytest.raises(
        UsageError, match=r"the duration '5m' has an unknown unit, 'm'\. Known: s, ms, us\. Write, for example, 60s\."
    ):
        parse_ms("5m", "duration", "60s")


@given(MS)
def test_a_latency_written_out_in_full_reads_back_exactly(ms: float) -> None:
    assert parse_ms(f"{ms!r}ms") == ms


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("4", "has no unit. Write 4ms"),
        ("2.5", "has no unit. Write 2.5ms"),
        ("4m", "unknown unit, 'm'. Known: s, ms, us. Write, for example, 4ms"),
        ("4 sec", "unknown unit, 'sec'. Known: s, ms, us. Write, for example, 4ms"),
        ("0ms", "above zero"),
        ("-1ms", "above zero"),
        ("1e999ms", "finite"),
        ("1e308s", "finite"),
        ("1e-400ms", "above zero"),
        ("infms", "not a latency. Write a number and its unit, such as 4ms"),
        ("nanms", "not a latency"),
        ("ms", "not a latency"),
        ("", "not a latency"),
        ("fast", "not a latency"),
        ("2,5ms", "such as 4ms or 2.5ms"),
        ("1_000ms", "not a latency"),
        ("2ms:8ms", "not a latency"),
        ("2ms 3ms", "not a latency"),
        ("\u0664ms", "not a latency"),  # an Arabic digit
    ],
)
def test_what_is_no_latency_is_refused_with_the_right_form(text: str, advice: str) -> None:
    with pytest.raises(UsageError, match=re.escape(advice)):
        parse_ms(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2ms:8ms", (2.0, 8.0)),
        ("2:8ms", (2.0, 8.0)),
        (" 2 ms : 8 ms ", (2.0, 8.0)),
        ("900us:2ms", (0.9, 2.0)),
        ("800:900us", (0.8, 0.9)),
        ("500us:0.01s", (0.5, 10.0)),
        ("auto", None),
        ("AUTO", None),
    ],
)
def test_a_range_is_read_fastest_first(text: str, expected: tuple[float, float] | None) -> None:
    assert parse_range(text) == (expected and pytest.approx(expected, rel=1e-15))


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("8ms:2ms", "reversed. Write 2ms:8ms"),
        ("8:2ms", "reversed. Write 2ms:8ms"),
        ("2ms:900us", "reversed. Write 900us:2ms"),
        ("4ms:4ms", "one budget only. Write two different ends"),
        ("1000us:1ms", "one budget only"),
        ("-2ms:8ms", "'-2ms' must be above zero"),
        ("0:8ms", "'0ms' must be above zero"),
        ("2ms:infms", "in the range '2ms:infms'"),
        ("2:8", "'2' has no unit. Write 2ms"),
        ("2ms:8", "'8' has no unit. Write 8ms"),
        ("2:8m", "unknown unit, 'm'. Known: s, ms, us. Write, for example, 4ms"),
        ("4ms", "such as 0.2ms:0.8ms, or auto. One budget is an export: latnas export --budget 0.4ms"),
        ("2ms-8ms", "such as 0.2ms:0.8ms"),
        ("1ms:2ms:3ms", "such as 0.2ms:0.8ms"),
        (":8ms", "such as 0.2ms:0.8ms"),
        ("2ms:", "such as 0.2ms:0.8ms"),
        ("", "such as 0.2ms:0.8ms"),
        ("a:b", "A range looks like 0.2ms:0.8ms"),
    ],
)
def test_what_is_no_range_is_refused_with_what_to_type(text: str, advice: str) -> None:
    with pytest.raises(UsageError, match=re.escape(advice)):
        parse_range(text)


@given(ranges(), LAMBDAS)
def test_lambda_to_budget_and_back_is_the_same_lambda(budgets: BudgetRange, lam: float) -> None:
    assert budgets.lam(budgets.budget_ms(lam)) == pytest.approx(lam, abs=1e-9)


@given(ranges(), LAMBDAS)
def test_budget_to_lambda_and_back_is_the_same_budget(budgets: BudgetRange, position: float) -> None:
    budget_ms = budgets.fastest_ms + position * (budgets.slowest_ms - budgets.fastest_ms)
    assume(budgets.fastest_ms <= budget_ms <= budgets.slowest_ms)
    assert budgets.budget_ms(budgets.lam(budget_ms)) == pytest.approx(budget_ms, rel=1e-9)


@given(ranges(), LAMBDAS, LAMBDAS)
def test_a_larger_lambda_never_has_a_larger_budget(budgets: BudgetRange, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert budgets.budget_ms(low) >= budgets.budget_ms(high)


@given(ranges())
def test_the_ends_of_lambda_are_exactly_the_ends_of_the_range(budgets: BudgetRange) -> None:
    assert (budgets.budget_ms(0), budgets.budget_ms(1)) == (budgets.slowest_ms, budgets.fastest_ms)
    assert (budgets.lam(budgets.slowest_ms), budgets.lam(budgets.fastest_ms)) == (0.0, 1.0)


@given(ranges(), LAMBDAS)
def test_a_budget_read_from_a_message_can_be_typed(budgets: BudgetRange, lam: float) -> None:
    with pytest.raises(UsageError) as refused:
        budgets.lam(budgets.slowest_ms * 2)
    fastest, slowest = re.findall(r"(\S+ms)\b", str(refused.value).split("range of")[1])[:2]
    assert budgets.lam(parse_ms(fastest)) == pytest.approx(1, abs=1e-6)
    assert budgets.lam(parse_ms(slowest)) == pytest.approx(0, abs=1e-6)


@given(ranges())
def test_the_name_of_either_end_of_a_range_means_that_end(budgets: BudgetRange) -> None:
    for end in (budgets.fastest_ms, budgets.slowest_ms):
        meant = budgets.meant(parse_ms(budget_name(end)))
        assert budgets.fastest_ms <= meant <= budgets.slowest_ms
        assert budget_name(meant) == budget_name(end)


@given(ranges(), LAMBDAS)
def test_a_budget_within_a_range_or_clearly_outside_of_it_means_itself(budgets: BudgetRange, lam: float) -> None:
    ends = (budgets.fastest_ms / 1.01, budgets.slowest_ms * 1.01)
    for ms in (budgets.budget_ms(lam), *ends):
        assert budgets.meant(ms) == pytest.approx(ms, rel=1e-12)


@given(ranges(), LAMBDAS)
def test_the_name_of_a_known_budget_means_that_budget(budgets: BudgetRange, lam: float) -> None:
    known = budgets.budget_ms(lam)
    assert budgets.meant(parse_ms(budget_name(known)), [2 * known, known, budgets.fastest_ms / 3]) == known
    beyond = budgets.slowest_ms * (1 + 1e-6)
    if budget_name(beyond) == budget_name(budgets.slowest_ms):
        assert budgets.meant(parse_ms(budget_name(beyond)), [beyond]) == budgets.slowest_ms


def test_the_middle_of_lambda_is_the_geometric_mean() -> None:
    assert BudgetRange(2.0, 8.0).budget_ms(0.5) == pytest.approx(4.0)
    assert BudgetRange(2.0, 8.0).lam(4.0) == pytest.approx(0.5)


@pytest.mark.parametrize("lam", [-0.001, 1.001, math.nan, math.inf])
def test_a_lambda_outside_its_range_is_refused_with_both_ends(lam: float) -> None:
    with pytest.raises(UsageError, match=r"outside \[0, 1\].*loosest.*\(8ms\).*tightest \(2ms\)"):
        BudgetRange(2.0, 8.0).budget_ms(lam)


@pytest.mark.parametrize("budget_ms", [1.99, 8.0001, 0.0, -4.0, math.nan, math.inf])
def test_a_budget_outside_the_range_is_refused_with_the_range(budget_ms: float) -> None:
    with pytest.raises(UsageError, match=r"outside this run's range of 2ms to 8ms\. Choose one within it\.$"):
        BudgetRange(2.0, 8.0).lam(budget_ms)


def test_float_error_at_the_ends_is_forgiven() -> None:
    assert BudgetRange(2.0, 8.0).lam(2.0 * (1 - 1e-10)) == 1.0
    assert BudgetRange(2.0, 8.0).lam(8.0 * (1 + 1e-10)) == 0.0


@pytest.mark.parametrize("ends", [(8, 2), (4, 4), (0, 4), (-1, 4), (1, math.inf), (math.nan, 4)])
def test_a_range_without_two_ordered_positive_ends_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match=r"from a shorter to a longer time.*--budget-range 0.2ms:0.8ms"):
        BudgetRange(*ends)


def test_a_spread_is_even_and_holds_both_ends() -> None:
    budgets = BudgetRange(2.0, 8.0)
    assert budgets.spread(1) == [0.0]
    assert budgets.spread(2) == [0.0, 1.0]
    assert budgets.spread(5) == [0.0, 0.25, 0.5, 0.75, 1.0]
    with pytest.raises(UsageError, match="at least 1, got 0"):
        budgets.spread(0)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (1.84, "1.84 ms"),
        (0.213, "0.213 ms"),
        (12.4, "12.4 ms"),
        (4.0, "4.00 ms"),
        (9.999, "10.0 ms"),
        (99.96, "100 ms"),
        (0.00001234, "0.0000123 ms"),
        (123.4, "123 ms"),
        (12345.6, "12346 ms"),
        (-0.5, "-0.500 ms"),
        (0.0, "0 ms"),
        (math.inf, "inf ms"),
    ],
)
def test_three_significant_digits_are_shown_without_an_exponent(ms: float, text: str) -> None:
    assert format_ms(ms) == text


@pytest.mark.parametrize(
    ("ms", "name"),
    [
        (1.84, "1.84ms"),
        (4.000000001, "4ms"),
        (5.27803, "5.278ms"),
        (10.0, "10ms"),
        (1200.0, "1200ms"),
        (0.05, "0.05ms"),
    ],
)
def test_a_budget_names_a_folder(ms: float, name: str) -> None:
    assert budget_name(ms) == name


@given(MS)
def test_the_name_of_a_budget_is_safe_as_a_folder_and_reads_back_to_within_measurement(ms: float) -> None:
    assert re.fullmatch(r"[0-9]+(\.[0-9]+)?ms", budget_name(ms))
    assert parse_ms(budget_name(ms)) == pytest.approx(ms, rel=5.1e-4)


@given(MS)
def test_a_budget_rounded_up_is_what_its_name_says_and_hardly_longer(ms: float) -> None:
    above = above_ms(ms)
    assert ms * (1 - 1e-8) <= above <= ms * 1.0011
    assert parse_ms(budget_name(above)) == pytest.approx(above, rel=1e-12)
