"""Continuous load of made-up runners, which say what a call takes and take no time themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from latnas.latency.measure import MeasurementError
from latnas.latency.sustained import sustain


class MadeUp:
    """What the n-th call takes is a formula."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.seconds, self.calls = seconds, 0

    def run(self, n: int) -> float:
        assert n == 1, "single calls"
        self.calls += 1
        return self.seconds(self.calls - 1)


def test_load_lasts_as_long_as_was_asked_for_by_the_runner_s_own_times() -> None:
    runner = MadeUp(lambda call: 0.25)
    load = sustain(runner, 2.0)
    assert (load.calls, runner.calls, load.seconds) == (8, 8, 2.0)


def test_a_call_longer_than_the_load_is_made_once() -> None:
    load = sustain(MadeUp(lambda call: 3.0), 0.5)
    assert (load.calls, load.p50_ms, load.throttling) == (1, 3000.0, 1.0)


def test_quantiles_are_those_of_all_calls() -> None:
    seconds = np.random.default_rng(0).uniform(0.001, 0.002, 1000)
    load = sustain(MadeUp(lambda call: seconds[call]), seconds[:500].sum() - 1e-6)
    assert load.calls == 500
    np.testing.assert_allclose(
        (load.p50_ms, load.p90_ms, load.p99_ms), 1e3 * np.quantile(seconds[:500], (0.5, 0.9, 0.99))
    )


def test_with_fewer_than_a_hundred_calls_there_is_no_99th_percentile_and_it_says_how_many() -> None:
    few, enough = (sustain(MadeUp(lambda call: 0.25), 0.25 * calls) for calls in (99, 100))
    assert few.p99_ms is None and "only 99 calls in 24.8 s" in few.warnings()[0]
    assert enough.p99_ms == pytest.approx(250) and enough.warnings() == []


def test_a_device_that_slows_down_throttles_by_the_medians_of_the_last_and_the_first_fifth() -> None:
    load = sustain(MadeUp(lambda call: 0.25 if call < 100 else 0.375), 25 + 37.5)
    assert load.calls == 200 and load.throttling == pytest.approx(1.5)
    (warning,) = load.warnings()
    assert "1.50 times what the first took: the device throttles" in warning


def test_throttling_that_begins_late_or_ends_early_is_seen_in_the_outer_fifths() -> None:
    late = sustain(MadeUp(lambda call: 0.25 if call < 150 else 0.375), 150 * 0.25 + 50 * 0.375)
    early = sustain(MadeUp(lambda call: 0.25 if call < 50 else 0.375), 50 * 0.25 + 150 * 0.375)
    assert late.calls == early.calls == 200
    assert late.throttling == early.throttling == pytest.approx(1.5)


def test_a_single_slow_call_is_no_throttling() -> None:
    load = sustain(MadeUp(lambda call: 9.0 if call == 199 else 0.25), 50)
    assert load.throttling == 1 and load.warnings() == []


def test_a_budget_of_the_90th_percentile_is_held_against_it_and_any_other_against_the_median() -> None:
    """A budget of floors against the floor that such a median belongs to."""
    load = sustain(MadeUp(lambda call: 0.5 if call % 5 == 0 else 0.25), 30)
    assert [load.lasting_ms(quote, 1.25) for quote in ("p90", "p50", "floor")] == [500, 250, 200]


@pytest.mark.parametrize(("drift", "lasting_ms"), [(None, 250), (0.5, 500), (1.0, 250), (2.0, 250)])
def test_load_counts_at_the_table_s_speed_where_the_device_was_faster_right_before(
    drift: float | None, lasting_ms: float
) -> None:
    load = replace(sustain(MadeUp(lambda call: 0.25), 1), drift=drift)
    assert load.lasting_ms("p50", 1.1) == lasting_ms and load.to_json()["drift"] == drift


def test_progress_is_told_now_and_then_and_at_the_end() -> None:
    told: list[tuple[float, float]] = []
    sustain(MadeUp(lambda call: 0.25), 4.1, lambda done, total: told.append((done, total)))
    assert told == [(0.8, 4.1), (1.5, 4.1), (2.2, 4.1), (3.0, 4.1), (3.8, 4.1), (4.1, 4.1)]


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_a_call_that_took_no_time_ends_it(wrong: float) -> None:
    with pytest.raises(MeasurementError, match=r"after 2 calls one took .* which is no time"):
        sustain(MadeUp(lambda call: wrong if call == 2 else 0.25), 4.0)


def test_a_call_that_fails_ends_it_and_says_when() -> None:
    def unplugged(call: int) -> float:
        if call == 3:
            raise RuntimeError("the device was unplugged")
        return 0.25

    with pytest.raises(MeasurementError, match="after 3 calls: RuntimeError: the device was unplugged"):
        sustain(MadeUp(unplugged), 4.0)
