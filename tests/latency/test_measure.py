"""Fake runners say what time a burst took, as a function of the item, the round and the number of inferences."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable

import numpy as np
import pytest

from latnas.latency.measure import MeasurementError, Measurements, RoundRecord, measure, summarise

BASE = {"anchor": 1e-4, "conv": 3e-4, "pool": 2e-5, "network": 8e-3}
Seconds = Callable[[str, int, int], float]


class World:
    """Runners whose times depend on the round that is going on, so that a resumed call sees what comes next."""

    def __init__(self, seconds: Seconds, names: list[str] | None = None) -> None:
        self.seconds = seconds
        self.round = 0
        self.now = 0.0
        self.calls: list[tuple[int, str, int]] = []
        self.records: list[RoundRecord] = []
        self.runners = {name: FakeRunner(self, name) for name in names or BASE}

    def progress(self, done: int, asked: int) -> None:
        self.round = done

    def clock(self) -> float:
        return self.now

    def measure(self, rounds: int, **options: object) -> Measurements:
        return measure(
            self.runners,
            anchor="anchor",
            rounds=rounds,
            store=self.records.append,
            progress=self.progress,
            clock=self.clock,
            **options,  # type: ignore[arg-type]
        )


class FakeRunner:
    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name

    def run(self, n: int) -> float:
        self.world.calls.append((self.world.round, self.name, n))
        seconds = self.world.seconds(self.name, self.world.round, n)
        self.world.now += seconds if math.isfinite(seconds) and seconds > 0 else 0.0
        return seconds


def steady(name: str, round: int, n: int) -> float:
    return n * BASE[name]


def noisy(name: str, round: int, n: int) -> float:
    """A clock with two speeds, and neighbours: never faster than the base."""
    draw = random.Random(f"{name} {round} {n}")
    speed = 1.5 if random.Random(round // 3).random() < 0.5 else 1.0
    return n * BASE[name] * speed * (1.0 + 0.3 * draw.random() ** 3)


def test_computed_times_come_back_to_the_last_bit() -> None:
    result = World(steady).measure(rounds=3)
    assert {name: item.floor_seconds for name, item in result.items.items()} == BASE
    assert {name: item.median_seconds for name, item in result.items.items()} == BASE
    assert result.p50_factor == result.p90_factor == 1.0


def test_the_floor_is_the_fastest_burst_and_the_median_is_the_middle_one() -> None:
    factors = [1.4, 1.0, 1.1, 1.3, 1.2]
    result = World(lambda name, round, n: n * BASE[name] * factors[round]).measure(rounds=5)
    for name, item in result.items.items():
        assert item.floor_seconds == pytest.approx(BASE[name])
        assert item.median_seconds == pytest.approx(1.2 * BASE[name])
        assert item.rounds == 5


def test_floors_agree_on_a_clock_with_two_speeds_where_single_medians_do_not() -> None:
    result = World(noisy).measure(rounds=60)
    for name, item in result.items.items():
        assert BASE[name] <= item.floor_seconds < 1.005 * BASE[name]
        assert item.median_seconds > 1.05 * BASE[name]
    assert result.unsettled() == ()


def test_halves_compare_the_floors_of_odd_and_even_rounds() -> None:
    world = World(lambda name, round, n: n * BASE[name] * (1.05 if name == "conv" and round % 2 else 1.0))
    result = world.measure(rounds=6)
    assert result.halves() == pytest.approx({"anchor": 0.0, "conv": 0.05, "pool": 0.0, "network": 0.0})
    assert result.unsettled() == ("conv",)
    assert result.unsettled(0.1) == ()


def test_one_round_settles_nothing() -> None:
    assert set(World(steady).measure(rounds=1).unsettled()) == set(BASE)


def test_every_round_has_a_burst_of_every_item_in_an_order_that_changes() -> None:
    world = World(steady)
    world.measure(rounds=20)
    orders = []
    for round in range(20):
        order = list(dict.fromkeys(name for number, name, _ in world.calls if number == round))
        orders.append(tuple(order))
    assert all(sorted(order) == sorted(BASE) for order in orders)
    assert len(set(orders)) > 5
    again = World(steady)
    again.measure(rounds=20)
    assert again.calls == world.calls


def test_bursts_take_about_as_long_as_asked_and_at_least_one_inference() -> None:
    world = World(steady)
    world.measure(rounds=1, burst_seconds=0.003)
    lengths = {name: burst.inferences for name, burst in world.records[0].bursts.items()}
    assert lengths["network"] == 1
    for name in ("anchor", "conv", "pool"):
        assert 0.7 < lengths[name] * BASE[name] / 0.003 < 1.5


def test_one_interruption_in_the_warm_up_does_not_shorten_the_bursts() -> None:
    hiccups = iter([0.5])
    world = World(lambda name, round, n: n * BASE[name] + (next(hiccups, 0.0) if n == 4 else 0.0))
    world.measure(rounds=1)
    undisturbed = World(steady)
    undisturbed.measure(rounds=1)
    assert {name: burst.inferences for name, burst in world.records[0].bursts.items()} == {
        name: burst.inferences for name, burst in undisturbed.records[0].bursts.items()
    }


def test_every_burst_follows_an_inference_that_is_not_timed() -> None:
    """A single-inference burst would else find the caches full of another item."""
    slow_after_another = {"last": ""}

    def seconds(name: str, round: int, n: int) -> float:
        cold = slow_after_another["last"] != name
        slow_after_another["last"] = name
        return n * BASE[name] + (0.1 * BASE[name] if cold else 0.0)

    result = World(seconds).measure(rounds=4)
    assert result.items["network"].median_seconds == pytest.approx(BASE["network"])


def test_calm_rounds_are_those_in_which_the_anchor_is_near_its_floor() -> None:
    drifts = [1.0, 1.05, 1.2, 1.5, 1.09, 1.11]
    result = World(lambda name, round, n: n * BASE[name] * drifts[round]).measure(rounds=6)
    assert result.anchor_drift == pytest.approx(drifts)
    assert result.calm_rounds == 3
    assert not result.too_few_calm_rounds


def test_the_factors_are_quantiles_of_the_single_calls_in_calm_rounds_only() -> None:
    singles = random.Random(5)

    def seconds(name: str, round: int, n: int) -> float:
        slow = 2.0 if round % 2 else 1.0
        return n * BASE[name] * slow * (1.0 + singles.random() if n == 1 else 1.0)

    world = World(seconds)
    result = world.measure(rounds=40)
    calm = [s for record in world.records if record.index % 2 == 0 for s in record.singles_seconds]
    assert len(calm) == 20 * 8
    assert result.p50_factor == pytest.approx(np.quantile(calm, 0.5) / BASE["anchor"])
    assert result.p90_factor == pytest.approx(np.quantile(calm, 0.9) / BASE["anchor"])
    assert 1.0 < result.p50_factor < result.p90_factor < 2.0


def test_without_calm_rounds_the_calmest_quarter_is_used_and_said_so() -> None:
    drifts = [1.0, *(1.5 + 0.1 * round for round in range(11))]
    world = World(lambda name, round, n: n * BASE[name] * drifts[round])
    result = world.measure(rounds=12)
    assert result.too_few_calm_rounds
    assert result.calm_rounds == 1
    assert result.p50_factor == pytest.approx(1.5)


def test_a_factor_is_never_below_one() -> None:
    world = World(lambda name, round, n: n * BASE[name] * (0.9 if n == 1 else 1.0))
    assert world.measure(rounds=2).p50_factor == 1.0


@pytest.mark.parametrize("nonsense", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_no_time_is_discarded_and_counted(nonsense: float) -> None:
    def seconds(name: str, round: int, n: int) -> float:
        return nonsense if name == "conv" and round in (1, 4) else n * BASE[name]

    result = World(seconds).measure(rounds=6)
    assert result.items["conv"].floor_seconds == pytest.approx(BASE["conv"])
    assert (result.items["conv"].rounds, result.items["conv"].discarded) == (4, 2)
    assert (result.items["pool"].rounds, result.items["pool"].discarded) == (6, 0)
    assert result.rounds == 6


def test_an_item_without_one_valid_time_is_an_error_that_names_it() -> None:
    world = World(lambda name, round, n: -1.0 if name == "pool" else n * BASE[name])
    with pytest.raises(MeasurementError, match=r"pool has no valid time: all 3 were"):
        world.measure(rounds=3)


def test_a_runner_that_fails_is_named() -> None:
    def seconds(name: str, round: int, n: int) -> float:
        if name == "conv" and round == 2:
            raise OSError("the device has gone")
        return n * BASE[name]

    world = World(seconds)
    with pytest.raises(MeasurementError, match=r"measuring conv failed: OSError: the device has gone"):
        world.measure(rounds=5)
    assert [record.index for record in world.records] == [0, 1]


def test_a_budget_stops_between_rounds_and_leaves_no_item_out() -> None:
    whole = World(steady)
    whole.measure(rounds=50)
    result = World(steady).measure(rounds=50, budget_seconds=whole.now / 2)
    assert 15 < result.rounds < 25
    assert not result.is_complete
    assert {item.rounds for item in result.items.values()} == {result.rounds}


def test_rounds_go_on_until_they_have_lasted_long_enough() -> None:
    """A clock that keeps a speed for seconds would else be seen at one speed only."""
    slow_at_first = World(lambda name, round, n: n * BASE[name] * (1.5 if round < 10 else 1.0))
    result = slow_at_first.measure(rounds=2, min_seconds=1.0)
    assert 2 < result.rounds == len(slow_at_first.records)
    assert sum(record.measured_seconds for record in slow_at_first.records[:-1]) < 1.0
    assert sum(record.measured_seconds for record in slow_at_first.records) >= 1.0
    assert result.items["conv"].floor_seconds == pytest.approx(BASE["conv"])
    assert result.is_complete
    again = World(steady)
    assert again.measure(rounds=2, min_seconds=1.0, previous=slow_at_first.records) == result
    assert again.calls == []


def test_a_clock_that_stands_still_does_not_keep_rounds_going_for_ever() -> None:
    with pytest.raises(MeasurementError, match="no valid time"):
        World(lambda name, round, n: 0.0).measure(rounds=2, min_seconds=1.0)


def test_the_warm_up_does_not_count_as_a_slow_round() -> None:
    """The first call of all takes ten times as long as a round does; the budget has room for rounds after it."""
    first = iter([1.0])
    result = World(lambda name, round, n: n * BASE[name] + next(first, 0.0)).measure(rounds=50, budget_seconds=1.5)
    assert result.rounds > 5


def test_no_budget_is_too_small_for_one_round() -> None:
    result = World(steady).measure(rounds=50, budget_seconds=-1.0)
    assert result.rounds == 1
    assert set(result.items) == set(BASE)


def through_json(records: list[RoundRecord]) -> list[RoundRecord]:
    return [RoundRecord.from_json(json.loads(json.dumps(record.to_json()))) for record in records]


@pytest.mark.parametrize("kept", [1, 7, 19, 20])
def test_a_resumed_measurement_equals_one_that_never_stopped(kept: int) -> None:
    whole = World(noisy)
    expected = whole.measure(rounds=20)
    first, second = World(noisy), World(noisy)
    first.measure(rounds=kept)
    previous = through_json(first.records)
    assert previous == first.records
    assert second.measure(rounds=20, previous=previous) == expected
    assert first.records + second.records == whole.records


def test_ctrl_c_keeps_every_finished_round() -> None:
    def interrupted(name: str, round: int, n: int) -> float:
        if round == 3 and name == "network":
            raise KeyboardInterrupt
        return noisy(name, round, n)

    whole, first, second = World(noisy), World(interrupted), World(noisy)
    expected = whole.measure(rounds=8)
    with pytest.raises(KeyboardInterrupt):
        first.measure(rounds=8)
    assert first.records == whole.records[:3]
    assert second.measure(rounds=8, previous=first.records) == expected


def test_what_was_measured_already_is_not_run_again() -> None:
    first, second = World(noisy), World(noisy)
    expected = first.measure(rounds=5)
    assert second.measure(rounds=5, previous=first.records) == expected
    assert second.calls == []
    assert expected == summarise(first.records, list(BASE), "anchor", 5, 0.01)


def test_an_item_added_later_catches_up() -> None:
    first, second = World(steady, ["anchor", "pool"]), World(steady)
    first.measure(rounds=4)
    result = second.measure(rounds=4, previous=first.records)
    assert result.is_complete
    assert {name: item.rounds for name, item in result.items.items()} == {
        "anchor": 8,
        "conv": 4,
        "pool": 8,
        "network": 4,
    }


def test_single_calls_of_another_anchor_do_not_count() -> None:
    first, second = (
        World(lambda name, round, n: n * BASE[name] * (30 if name == "pool" and n == 1 else 1)),
        World(steady),
    )
    measure(first.runners, anchor="pool", rounds=4, store=first.records.append)
    assert second.measure(rounds=8, previous=first.records).p90_factor == 1.0


def test_an_anchor_must_be_among_the_runners() -> None:
    with pytest.raises(ValueError, match="anchor 'net' is not among the runners"):
        measure({}, anchor="net", rounds=1)


@pytest.mark.parametrize(
    "change",
    [
        {"bursts": {"conv": [8, -1.0]}},
        {"bursts": {"conv": [0, 1.0]}},
        {"bursts": {"conv": 1.0}},
        {"bursts": None},
        {"singles_seconds": [math.nan]},
        {"round": "first"},
    ],
)
def test_a_damaged_record_is_refused(change: dict[str, object]) -> None:
    world = World(steady)
    world.measure(rounds=1)
    with pytest.raises(ValueError, match="round"):
        RoundRecord.from_json({**world.records[0].to_json(), **change})
    for other in ([], None, "x", {}):
        with pytest.raises(ValueError, match="not a record"):
            RoundRecord.from_json(other)
