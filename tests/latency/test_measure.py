"""Fake runners say what time a burst took, as a function of the item, the round and the number of inferences."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from latnas.latency.measure import MeasurementError, Measurements, measure, summarise
from latnas.latency.rounds import RoundRecord

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

    def store(self, record: RoundRecord) -> None:
        self.records.append(record)
        self.round = record.index + 1

    def clock(self) -> float:
        return self.now

    def measure(self, rounds: int, previous: Sequence[RoundRecord] = (), **options: Any) -> Measurements:
        self.round = max((record.index + 1 for record in previous), default=0)
        return measure(
            self.runners,
            anchor="anchor",
            rounds=rounds,
            previous=previous,
            store=self.store,
            clock=self.clock,
            **options,
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
    assert result.p50_factor == result.p90_factor == 1.0


def shuffled(name: str, rounds: int) -> list[float]:
    """Factors from 1.00 to 1.05 in an order that is another for every item, so that no round is a slow one."""
    factors: list[float] = np.linspace(1.0, 1.05, rounds).tolist()
    random.Random(name).shuffle(factors)
    return factors


@pytest.mark.parametrize(
    ("rounds", "first", "end"), [(1, 0, 1), (2, 0, 1), (3, 0, 2), (5, 0, 3), (10, 1, 5), (20, 2, 10), (25, 2, 13)]
)
def test_the_floor_is_the_mean_from_the_10th_to_the_50th_percentile(rounds: int, first: int, end: int) -> None:
    factors = shuffled("conv", rounds)
    result = World(lambda name, round, n: n * BASE[name] * (factors[round] if name == "conv" else 1.0)).measure(rounds)
    assert result.calm_rounds == rounds
    item = result.items["conv"]
    assert item.floor_seconds == pytest.approx(BASE["conv"] * np.mean(sorted(factors)[first:end]), rel=1e-12)
    assert item.rounds == rounds


def test_an_item_that_settled_while_the_device_was_slower_is_compared_with_the_others_all_the_same() -> None:
    """After round 40 everything is six percent faster, which is still calm; `pool` leaves before, `network` after."""

    def seconds(name: str, round: int, n: int) -> float:
        unsteady = 1.0 + 0.04 * random.Random(f"{name} {round} {n}").random() if name == "network" else 1.0
        return n * BASE[name] * unsteady * (1.06 if round < 40 else 1.0)

    world = World(seconds)
    result = world.measure(rounds=200, least_rounds=16, tolerance=1e-4)
    assert result.items["pool"].rounds <= 40 < result.items["network"].rounds
    ratio = result.items["network"].floor_seconds / result.items["pool"].floor_seconds
    assert ratio == pytest.approx(1.01 * BASE["network"] / BASE["pool"], rel=0.01)


def test_a_rare_fast_burst_does_not_move_the_floor() -> None:
    """The fastest of all bursts would depend on whether the rounds held such a one."""
    result = World(lambda name, round, n: n * BASE[name] * (0.85 if round == 7 and name == "network" else 1.0)).measure(
        rounds=20
    )
    assert {name: item.floor_seconds for name, item in result.items.items()} == BASE
    assert result.unsettled() == ()


def test_busy_rounds_do_not_count_for_the_floor() -> None:
    result = World(lambda name, round, n: n * BASE[name] * (1.5 if round % 3 else 1.0)).measure(rounds=30)
    assert result.calm_rounds == 10
    assert {name: item.floor_seconds for name, item in result.items.items()} == BASE


def test_floors_agree_on_a_clock_with_two_speeds() -> None:
    result = World(noisy).measure(rounds=60, tolerance=0.04)
    ratios = [item.floor_seconds / BASE[name] for name, item in result.items.items()]
    assert min(ratios) > 0.99 and max(ratios) < 1.02 and max(ratios) / min(ratios) < 1.01
    assert result.unsettled() == ()


def test_halves_compare_the_floors_of_odd_and_even_rounds() -> None:
    world = World(lambda name, round, n: n * BASE[name] * (1.05 if name == "conv" and round % 2 else 1.0))
    result = world.measure(rounds=6)
    halves = {name: item.halves for name, item in result.items.items()}
    assert halves == pytest.approx({"anchor": 0.0, "conv": 0.05, "pool": 0.0, "network": 0.0})
    assert result.unsettled() == ("conv",)
    assert world.measure(rounds=6, tolerance=0.1).unsettled() == ()


def test_spans_compare_the_floors_of_the_earlier_and_the_later_half() -> None:
    world = World(lambda name, round, n: n * BASE[name] * (1.05 if name == "conv" and round >= 10 else 1.0))
    result = world.measure(rounds=20)
    spans = {name: item.spans for name, item in result.items.items()}
    assert spans == pytest.approx({"anchor": 0.0, "conv": 0.05, "pool": 0.0, "network": 0.0})
    assert result.items["conv"].halves == 0.0
    assert result.items["conv"].settled_within == result.items["conv"].spans
    assert result.unsettled() == ("conv",)


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
    assert result.items["network"].floor_seconds == pytest.approx(BASE["network"])


def test_three_untimed_inferences_lead_every_burst_since_another_item_has_filled_the_caches() -> None:
    since = {"last": "", "calls": ""}

    def seconds(name: str, round: int, n: int) -> float:
        since["calls"] = since["calls"] + "." if since["last"] == name else ""
        since["last"] = name
        return n * base[name] * [1.1, 1.09, 1.03, 1.0][min(len(since["calls"]), 3)]

    base = {**BASE, "network": 2e-3}
    result = World(seconds).measure(rounds=4)
    assert {name: item.floor_seconds for name, item in result.items.items()} == pytest.approx(base)


@pytest.mark.parametrize(("network_ms", "leads"), [(0.1, 3), (4.9, 3), (5.0, 2), (9.9, 2), (10.0, 1), (300.0, 1)])
def test_slow_networks_are_led_by_as_many_inferences_as_begin_within_ten_milliseconds(
    network_ms: float, leads: int
) -> None:
    world = World(lambda name, round, n: n * network_ms / 1e3, ["anchor"])
    world.measure(rounds=3, burst_seconds=network_ms / 1e3)
    calls = [n for round, _, n in world.calls if round == 1]
    assert calls == [1] * (leads + 1 + 8)


def test_calm_rounds_are_those_in_which_items_are_near_their_floors() -> None:
    drifts = [1.0, 1.05, 1.2, 1.5, 1.09, 1.11]
    result = World(lambda name, round, n: n * BASE[name] * drifts[round]).measure(rounds=6)
    assert result.drift == pytest.approx(drifts)
    assert result.calm_rounds == 3
    assert not result.too_few_calm_rounds


@pytest.mark.parametrize("disturbed", ["anchor", "network"])
def test_a_round_in_which_one_item_was_slow_is_calm_all_the_same(disturbed: str) -> None:
    result = World(lambda name, round, n: n * BASE[name] * (3.0 if name == disturbed and round == 4 else 1.0)).measure(
        8
    )
    assert result.drift == pytest.approx([1.0] * 8)
    assert result.calm_rounds == 8


def test_drift_is_seen_through_items_that_differ_in_noise_and_speed() -> None:
    drifts = [1.0 if round % 5 < 3 else 1.3 for round in range(40)]
    factors = {name: shuffled(name, 40) for name in BASE}
    result = World(lambda name, round, n: n * BASE[name] * factors[name][round] * drifts[round]).measure(rounds=40)
    assert result.calm_rounds == 24
    assert [drift > 1.1 for drift in result.drift] == [drift > 1.1 for drift in drifts]


def test_one_very_fast_round_does_not_make_all_others_busy() -> None:
    result = World(lambda name, round, n: n * BASE[name] * (0.8 if round == 3 else 1.0)).measure(rounds=20)
    assert result.calm_rounds == 20
    assert {name: item.floor_seconds for name, item in result.items.items()} == BASE


def test_busy_rounds_are_told_when_most_items_have_left() -> None:
    """Only the anchor and one item are left when it gets busy."""

    def seconds(name: str, round: int, n: int) -> float:
        wobble = 1.03 if name == "network" and round % 2 else 1.0
        return n * BASE[name] * wobble * (1.4 if round >= 20 else 1.0)

    result = World(seconds).measure(rounds=32, least_rounds=8)
    assert {name: item.rounds for name, item in result.items.items()} == {
        "anchor": 32,
        "conv": 8,
        "pool": 8,
        "network": 32,
    }
    assert result.calm_rounds == 20
    assert result.items["network"].floor_seconds == pytest.approx(BASE["network"])


def test_the_factors_are_quantiles_of_the_single_calls_in_calm_rounds_only() -> None:
    singles = random.Random(5)

    def seconds(name: str, round: int, n: int) -> float:
        slow = 2.0 if round % 2 else 1.0
        return n * BASE[name] * slow * (1.0 + singles.random() if n == 1 else 1.0)

    world = World(seconds)
    result = world.measure(rounds=40)
    calm = [s for record in world.records if record.index % 2 == 0 for s in record.singles["anchor"]]
    assert len(calm) == 20 * 8
    assert result.p50_factor == pytest.approx(np.quantile(calm, 0.5) / BASE["anchor"])
    assert result.p90_factor == pytest.approx(np.quantile(calm, 0.9) / BASE["anchor"])
    assert 1.0 < result.p50_factor < result.p90_factor < 2.0


@pytest.mark.parametrize("slow_from", [20, 40])
def test_the_factors_of_a_device_that_has_become_slower_are_those_of_a_steady_one(slow_from: int) -> None:
    """Eight percent: all rounds are calm. Floors are those of the faster time, and so are single calls."""
    world = World(
        lambda name, round, n: n * BASE[name] * (1.25 if n == 1 else 1.0) * (1.08 if round >= slow_from else 1)
    )
    result = world.measure(rounds=100)
    assert result.calm_rounds == 100
    assert result.items["conv"].floor_seconds == pytest.approx(BASE["conv"], rel=0.002)
    assert result.factors["anchor"] == pytest.approx((1.25, 1.25), rel=0.002)


def test_single_calls_are_noted_of_the_anchor_and_of_witnesses() -> None:
    extra = {"anchor": 1.25, "conv": 1.5, "pool": 1.75, "network": 1.0}
    world = World(lambda name, round, n: n * BASE[name] * (extra[name] if n == 1 else 1.0))
    result = world.measure(rounds=4, witnesses=["pool", "network"])
    assert [set(record.singles) for record in world.records] == [{"anchor", "pool", "network"}] * 4
    assert all(len(singles) == 8 for record in world.records for singles in record.singles.values())
    assert result.factors == {
        "anchor": pytest.approx((1.25, 1.25)),
        "pool": pytest.approx((1.75, 1.75)),
        "network": (1.0, 1.0),
    }
    assert (result.p50_factor, result.p90_factor) == result.factors["anchor"]


@pytest.mark.parametrize("order", [1, -1], ids=["the calmest come first", "the calmest come last"])
def test_without_calm_rounds_the_calmest_quarter_is_used_and_said_so(order: int) -> None:
    """Every round differs from the one before: a tenth of them is as calm as it gets, and not a quarter."""
    slower = 1.12 ** np.arange(40)
    drifts = slower[::order]
    result = World(lambda name, round, n: n * BASE[name] * float(drifts[round])).measure(rounds=40)
    assert result.too_few_calm_rounds
    assert result.calm_rounds == 4
    assert result.drift == pytest.approx(drifts / slower[3])
    floor = slower[1:5].mean()  # of the ten calmest, from the 10th to the 50th percentile
    assert result.items["conv"].floor_seconds == pytest.approx(BASE["conv"] * floor)
    assert result.p50_factor == pytest.approx(np.repeat(slower[:10], 8)[[39, 40]].mean() / floor)


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


def test_a_round_without_one_valid_time_moves_nothing() -> None:
    result = World(lambda name, round, n: math.nan if round == 2 else n * BASE[name]).measure(rounds=6)
    assert {name: item.floor_seconds for name, item in result.items.items()} == BASE
    assert {item.rounds for item in result.items.values()} == {5}
    assert result.rounds == 6 and result.p90_factor == 1.0


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
    whole = World(noisy)
    whole.measure(rounds=50)
    result = World(noisy).measure(rounds=50, budget_seconds=whole.now / 2, tolerance=1e-6)
    assert 15 < result.rounds < 35
    assert {item.rounds for item in result.items.values()} == {result.rounds}


def test_a_budget_stops_between_rounds() -> None:
    whole = World(steady)
    whole.measure(rounds=50)
    result = World(steady).measure(rounds=50, budget_seconds=whole.now / 2)
    assert 15 < result.rounds < 35


def test_the_warm_up_does_not_count_as_a_slow_round() -> None:
    """The first call of all takes ten times as long as a round does; the budget has room for rounds after it."""
    first = iter([1.0])
    result = World(lambda name, round, n: n * BASE[name] + next(first, 0.0)).measure(rounds=50, budget_seconds=1.5)
    assert result.rounds > 5


def test_no_budget_is_too_small_for_one_round() -> None:
    result = World(steady).measure(rounds=50, budget_seconds=-1.0)
    assert result.rounds == 1
    assert set(result.items) == set(BASE)


@pytest.mark.parametrize(
    ("rounds", "least", "expected"),
    [(40, None, 40), (40, 1, 8), (40, 8, 8), (40, 9, 16), (40, 16, 16), (20, 17, 20), (20, 50, 20), (5, 1, 5)],
)
def test_items_that_have_settled_leave_at_the_next_look(rounds: int, least: int | None, expected: int) -> None:
    """One looks at them every eight rounds."""
    world = World(steady)
    result = world.measure(rounds=rounds, least_rounds=least)
    assert result.rounds == len(world.records) == expected
    assert {item.rounds for item in result.items.values()} == {expected}


def test_an_item_stays_until_it_has_settled_and_the_anchor_stays_with_it() -> None:
    factors = {"odd": lambda round: 1.05 if round % 2 else 1.0, "later": lambda round: 1.05 if round < 4 else 1.0}
    base = {"anchor": 1e-4, "odd": 3e-4, "later": 2e-4, "quiet": 1e-4}

    def seconds(name: str, round: int, n: int) -> float:
        return n * base[name] * (factors[name](round) if name in factors else 1.0)

    world = World(seconds, list(base))
    result = world.measure(rounds=40, least_rounds=4)
    rounds = {name: item.rounds for name, item in result.items.items()}
    assert rounds == {"anchor": 40, "odd": 40, "later": 16, "quiet": 8}
    assert result.unsettled() == ("odd",)
    for record in world.records:
        assert set(record.bursts) == {name for name, count in rounds.items() if record.index < count}


def test_tolerance_says_when_an_item_has_settled() -> None:
    def seconds(name: str, round: int, n: int) -> float:
        return n * BASE[name] * (1.03 if name == "conv" and round % 2 else 1.0)

    assert World(seconds).measure(rounds=40, least_rounds=8, tolerance=0.02).items["conv"].rounds == 40
    assert World(seconds).measure(rounds=40, least_rounds=8, tolerance=0.04).items["conv"].rounds == 8


def test_busy_rounds_settle_nothing() -> None:
    """At the first look four rounds of eight were calm, at the second eight of sixteen."""
    result = World(lambda name, round, n: n * BASE[name] * (1.5 if round % 4 < 2 else 1.0)).measure(40, least_rounds=8)
    assert result.rounds == 16
    assert {name: item.floor_seconds for name, item in result.items.items()} == BASE


def test_a_witness_that_has_left_is_not_called_singly_any_more() -> None:
    world = World(lambda name, round, n: n * BASE[name] * (1.05 if name == "conv" and round % 2 else 1.0))
    result = world.measure(rounds=16, least_rounds=8, witnesses=["pool"])
    assert [set(record.singles) for record in world.records] == [{"anchor", "pool"}] * 8 + [{"anchor"}] * 8
    assert set(result.factors) == {"anchor", "pool"}


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


def uneven(name: str, round: int, n: int) -> float:
    """Items of different noise, which settle one after the other, on a clock with two speeds."""
    draw = random.Random(f"{name} {round} {n} 3").random()
    spread = {"anchor": 0.01, "pool": 0.02, "conv": 0.06, "network": 0.2}[name]
    return n * BASE[name] * (1.3 if random.Random(round // 3).random() < 0.3 else 1.0) * (1.0 + spread * draw)


@pytest.mark.parametrize("kept", [1, 7, 8, 9, 15, 16, 17, 31, 40])
def test_a_resumed_measurement_equals_one_that_never_stopped_when_items_leave(kept: int) -> None:
    options: dict[str, Any] = {"rounds": 60, "least_rounds": 8, "tolerance": 0.01, "witnesses": ["pool"]}
    whole = World(uneven)
    expected = whole.measure(**options)
    assert len({item.rounds for item in expected.items.values()}) > 2, "items should leave at different times"
    previous = through_json(whole.records[:kept])
    again = World(uneven)
    assert again.measure(**options, previous=previous) == expected
    assert previous + again.records == whole.records


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
    assert {name: item.rounds for name, item in result.items.items()} == {
        "anchor": 8,
        "conv": 4,
        "pool": 4,
        "network": 4,
    }


def test_single_calls_of_another_anchor_do_not_count() -> None:
    first, second = (
        World(lambda name, round, n: n * BASE[name] * (30 if name == "pool" and n == 1 else 1)),
        World(steady),
    )
    measure(first.runners, anchor="pool", rounds=4, store=first.records.append)
    assert second.measure(rounds=8, previous=first.records).p90_factor == 1.0


def test_an_anchor_without_one_valid_single_call_is_an_error_that_names_it() -> None:
    world = World(lambda name, round, n: 0.0 if name == "anchor" and n == 1 else n * BASE[name])
    with pytest.raises(MeasurementError, match="single call of the anchor 'anchor'"):
        world.measure(rounds=3)


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
        {"singles": {"anchor": [math.nan]}},
        {"singles": {"anchor": [1e-4, 0.0]}},
        {"singles": {"anchor": 1e-4}},
        {"singles": [1e-4]},
        {"discarded": None},
        {"round": "first"},
    ],
)
def test_a_damaged_record_is_refused(change: dict[str, object]) -> None:
    world = World(steady)
    world.measure(rounds=1)
    with pytest.raises(ValueError, match="round"):
        RoundRecord.from_json({**world.records[0].to_json(), **change})
    others: tuple[object, ...] = ([], None, "x", {})
    for other in others:
        with pytest.raises(ValueError, match="not a record"):
            RoundRecord.from_json(other)


def test_a_clock_that_steps_does_not_move_a_floor() -> None:
    """One burst seems to take no time to speak of, another an hour."""

    def stepping(name: str, round: int, n: int) -> float:
        stepped = {7: 1e-3, 13: 1e6}.get(round, 1.0) if name == "conv" and n > 1 else 1.0
        return stepped * noisy(name, round, n)

    steady_clock, stepping_clock = (World(seconds).measure(rounds=60).items["conv"] for seconds in (noisy, stepping))
    assert stepping_clock.floor_seconds == pytest.approx(steady_clock.floor_seconds, rel=0.01)


def test_progress_is_told_before_the_first_round_and_after_each() -> None:
    told: list[tuple[int, int]] = []
    measure(World(steady).runners, anchor="anchor", rounds=3, progress=lambda done, asked: told.append((done, asked)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
