"""Rounds of short bursts, and what they say: floors, how far they agree, and what is typical beside them.

On a machine that others use too, or whose clock changes, timing one item after the other compares moments,
not items: the same network differs by up to 1.5x. So everything is measured round-robin, a few milliseconds
at a time, and rounds in which all items were slow do not count. An item's floor is the mean of its bursts between
their 10th and 50th percentile. Not the fastest burst: of networks of some milliseconds a rare burst is 15 percent
faster than all others, so the fastest bursts of two halves of 60 rounds differed by 5.7 percent on average, these
means by 0.9 percent (272 networks, ONNX Runtime, one thread, a 2-core virtual machine).

This file needs the standard library and numpy only, and Python 3.9: it goes to devices as a part of `measure.py`.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from latnas.latency.rounds import Burst, RoundRecord, is_a_time

ANCHOR_SINGLES = 8
MOST_LEADS = 3
LEAD_SECONDS = 0.01
CALM_DRIFT = 1.1
FLOOR_FROM, FLOOR_TO = 0.1, 0.5
POLISHES = 4
ERA = 12
"""An era's level is a median over so many rounds before and after."""
SETTLING = 8
"""Every so many rounds it is looked which items have settled."""
NO_HALVES = 1.0
LEAST_CALM = 8
"""An item with fewer bursts in calm rounds has not settled."""
# Shorter bursts than this cannot be: no runtime starts an inference in under 200 ns.
MOST_INFERENCES = 1 << 14


class MeasurementError(RuntimeError):
    """An item could not be measured; the message names it."""


class Runner(Protocol):
    """One computation on one device, ready to run."""

    def run(self, n: int) -> float:
        """Seconds for `n` complete inferences, each finished before the next begins."""


@dataclass(frozen=True)
class ItemTimes:
    """One item: its floor, and how many rounds it was measured in.

    `halves` is the relative difference between the floors of the odd and of the even rounds; `spans` that between
    the floors of the earlier and of the later half. Both are `NO_HALVES` where one half is empty.
    """

    floor_seconds: float
    rounds: int
    discarded: int
    halves: float
    spans: float

    @property
    def floor_ms(self) -> float:
        """The floor in milliseconds."""
        return 1e3 * self.floor_seconds

    @property
    def settled_within(self) -> float:
        """The larger of the two differences."""
        return max(self.halves, self.spans)


@dataclass(frozen=True)
class Measurements:
    """What the rounds say.

    `rounds` were finished, of `asked_rounds`; fewer if time ran out or everything had settled. `drift` is, for each
    round, how much slower than in calm ones all items were, by their median; rounds within 10 percent are calm. Where
    less than a quarter of the rounds was calm, the calmest quarter counts and `too_few_calm_rounds` is set. `factors`
    are median and 90th percentile of an item's single calls in calm rounds, over its floor, both at the level of their
    era: of the anchor, and of each witness.
    """

    items: Mapping[str, ItemTimes]
    anchor: str
    rounds: int
    asked_rounds: int
    tolerance: float
    drift: tuple[float, ...]
    calm_rounds: int
    too_few_calm_rounds: bool
    factors: Mapping[str, tuple[float, float]]

    @property
    def p50_factor(self) -> float:
        """Typical over floor, of the anchor."""
        return self.factors[self.anchor][0]

    @property
    def p90_factor(self) -> float:
        """Nine calls in ten take at most this many times the floor, of the anchor."""
        return self.factors[self.anchor][1]

    def unsettled(self) -> tuple[str, ...]:
        """Items whose halves lie further apart than `tolerance`: more rounds may still move their floors."""
        return tuple(name for name, item in self.items.items() if item.settled_within > self.tolerance)


def measure(
    runners: Mapping[str, Runner],
    *,
    anchor: str,
    rounds: int,
    least_rounds: int | None = None,
    witnesses: Sequence[str] = (),
    burst_seconds: float = 0.003,
    budget_seconds: float | None = None,
    store: Callable[[RoundRecord], None] | None = None,
    previous: Iterable[RoundRecord] = (),
    progress: Callable[[int, int], None] | None = None,
    tolerance: float = 0.01,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurements:
    """Measures every runner in up to `rounds` rounds, in another order each time, and single calls of some.

    Args:
        runners: what to measure, by name.
        anchor: the runner that stays to the end, and whose single calls give the factors.
        rounds: how many bursts each item gets at most.
        least_rounds: an item that has settled after so many gets no more. By default every item gets all `rounds`.
        witnesses: more runners whose single calls are noted.
        burst_seconds: about how long a burst takes, unless a single inference takes longer.
        budget_seconds: no further round is begun that would end later than this. One round always runs.
        store: is given each round as soon as it is finished, so that an interruption loses none.
        previous: rounds that an interrupted call on this machine stored; they count.
        progress: is told (rounds done, `rounds`), first before any round.
        tolerance: an item has settled when halves of its calm rounds agree within this, odd with even and earlier
            with later ones.
        seed: of the order within rounds.
        clock: what `budget_seconds` is read from.

    Raises:
        MeasurementError: a runner failed, or gave not one valid time.
    """
    if anchor not in runners:
        raise ValueError(f"the anchor {anchor!r} is not among the runners")
    if rounds < 1 or not burst_seconds > 0:
        raise ValueError(f"rounds and burst_seconds must be positive, got {rounds} and {burst_seconds}")
    least = rounds if least_rounds is None else min(least_rounds, rounds)
    began, records = clock(), list(previous)
    keep, tell = store or (lambda record: None), progress or (lambda done, asked: None)
    done_of = _rounds_of(records, runners)
    done = max(done_of.values())  # the anchor has had them all
    tell(done, rounds)
    last_seconds, lengths = 0.0, dict[str, int]()
    settled = _settled(records[: len(records) // SETTLING * SETTLING], list(runners), least, tolerance)
    while left := [name for name in runners if done_of[name] < rounds and name not in settled]:
        if done and budget_seconds is not None and clock() - began + last_seconds > budget_seconds:
            break
        lengths = lengths or _burst_lengths(runners, records, burst_seconds)
        round_began, index = clock(), max((record.index for record in records), default=-1) + 1
        record = _round(index, runners, {*left, anchor}, lengths, {anchor, *witnesses}, seed)
        keep(record)
        records.append(record)
        done_of |= {name: done_of[name] + 1 for name in {*left, anchor}}
        done += 1
        if len(records) % SETTLING == 0:
            settled = _settled(records, list(runners), least, tolerance)
        last_seconds = clock() - round_began
        tell(min(done, rounds), rounds)
    return summarise(records, list(runners), anchor, rounds, tolerance)


def single_calls(name: str, runner: Runner, count: int) -> list[float]:
    """Seconds of so many calls, one by one. Raises MeasurementError where the runner fails."""
    return [_run(name, runner, 1) for _ in range(count)]


def summarise(
    records: Sequence[RoundRecord], names: Sequence[str], anchor: str, asked_rounds: int, tolerance: float
) -> Measurements:
    """What `measure` returns, from its records alone.

    Raises:
        MeasurementError: an item has no valid burst, or the anchor no valid single call.
    """
    drifts = _drifts(records, names)
    chosen = _calm(records, drifts)
    num_calm, enough = len(chosen), math.ceil(len(records) / 4)
    if num_calm < enough:
        order = sorted(range(len(records)), key=lambda position: (drifts[position], position))
        chosen = _with_levels([(records[position].index, drifts[position]) for position in sorted(order[:enough])])
    items = {name: _item_times(name, records, chosen) for name in names}
    factors = {}
    for name in dict.fromkeys([anchor, *(name for record in records for name in record.singles)]):
        calm = [(record.singles.get(name, ()), chosen[record.index]) for record in records if record.index in chosen]
        singles = [seconds / level for calls, level in calm for seconds in calls]
        if name in items and singles:
            p50, p90 = np.quantile(singles, (0.5, 0.9)) / items[name].floor_seconds
            factors[name] = (max(1.0, float(p50)), max(1.0, float(p90)))
    if anchor not in factors:
        raise MeasurementError(f"no valid time of a single call of the anchor {anchor!r} in any calm round")
    done, few = _finished(records, names), num_calm < enough
    return Measurements(items, anchor, done, asked_rounds, tolerance, tuple(drifts), num_calm, few, factors)


def _settled(records: Sequence[RoundRecord], names: Sequence[str], least: int, tolerance: float) -> set[str]:
    """Items that need no further round, although they had not all of them."""
    done = _rounds_of(records, names)
    enough = [name for name in names if done[name] >= max(least, LEAST_CALM)]
    if not enough:
        return set()
    calm = _calm(records, _drifts(records, names))
    in_calm = _rounds_of([record for record in records if record.index in calm], names)
    candidates = [name for name in enough if in_calm[name] >= LEAST_CALM]
    return {name for name in candidates if _item_times(name, records, calm).settled_within <= tolerance}


def _round(
    index: int, runners: Mapping[str, Runner], names: Set[str], lengths: Mapping[str, int], singly: Set[str], seed: int
) -> RoundRecord:
    order = sorted(names)
    random.Random(f"{seed} {index}").shuffle(order)
    bursts: dict[str, Burst] = {}
    singles: dict[str, tuple[float, ...]] = {}
    discarded: list[str] = []
    for name in order:
        _lead(name, runners[name])
        n = lengths[name]
        seconds = _run(name, runners[name], n) / n
        if is_a_time(seconds):
            bursts[name] = Burst(n, seconds)
        else:
            discarded.append(name)
        if name in singly:
            calls = single_calls(name, runners[name], ANCHOR_SINGLES)
            singles[name] = tuple(call for call in calls if is_a_time(call))
            discarded += [name] * (len(calls) - len(singles[name]))
    return RoundRecord(index, bursts, singles, tuple(discarded))


def _lead(name: str, runner: Runner) -> None:
    """Untimed inferences, since another item has just filled the caches.

    Three, or as many as begin within `LEAD_SECONDS`. After a single one, nine networks of .7 to 5 ms, whose bursts are
    of one to four, took 6 percent more than when they are run over and over; after three, 2.5.
    """
    seconds = 0.0
    for _ in range(MOST_LEADS):
        seconds += _run(name, runner, 1)
        if seconds >= LEAD_SECONDS:
            break


def _drifts(records: Sequence[RoundRecord], names: Sequence[str]) -> list[float]:
    """For each round, how much slower its items were than in calm ones: Tukey's median polish of the bursts' logs.

    One is what the calmest tenth of the rounds have.
    """
    bursts = [[record.bursts.get(name) for name in names] for record in records]
    logs = np.array([[math.log(burst.seconds) if burst else math.nan for burst in row] for row in bursts])
    present = ~np.isnan(logs).all(axis=1) if logs.size else np.zeros(len(records), bool)
    drifts = np.zeros(len(records))
    if present.any():
        logs = logs[:, ~np.isnan(logs).all(axis=0)]
        for _ in range(POLISHES):
            items = np.nanmedian(logs - drifts[:, None], axis=0)
            drifts[present] = np.nanmedian(logs[present] - items, axis=1)
        drifts -= np.quantile(drifts[present], 0.1, method="lower")
    return [float(drift) for drift in np.exp(drifts)]


def _burst_lengths(
    runners: Mapping[str, Runner], records: Sequence[RoundRecord], burst_seconds: float
) -> dict[str, int]:
    """Warms every runner up, and settles how many inferences its bursts have: as before, if it had any."""
    before = {name: burst.inferences for record in records for name, burst in record.bursts.items()}
    lengths = {}
    for name, runner in runners.items():
        _run(name, runner, 1)
        lengths[name] = before.get(name) or _burst_length(name, runner, burst_seconds)
    return lengths


def _burst_length(name: str, runner: Runner, burst_seconds: float) -> int:
    """The power of two that comes nearest to `burst_seconds`.

    A power of two, so that dividing by it is exact, and a profiler that computes its times gets them back.
    """
    n, enough = 1, burst_seconds / math.sqrt(2)
    # A second look, because one interruption makes any burst look long.
    while n < MOST_INFERENCES and (_run(name, runner, n) < enough or _run(name, runner, n) < enough):
        n *= 2
    return n


def _run(name: str, runner: Runner, n: int) -> float:
    try:
        return float(runner.run(n))
    except Exception as error:
        raise MeasurementError(f"measuring {name} failed: {type(error).__name__}: {error}") from error


def _calm(records: Sequence[RoundRecord], drifts: Sequence[float]) -> dict[int, float]:
    """Calm rounds by index, each with its era's level: the median drift of the calm rounds around it."""
    return _with_levels([(records[at].index, drift) for at, drift in enumerate(drifts) if drift <= CALM_DRIFT])


def _with_levels(rounds: Sequence[tuple[int, float]]) -> dict[int, float]:
    if not rounds:
        return {}
    drifts = [drift for _, drift in rounds]
    around = [drifts[max(at - ERA, 0) : at + ERA + 1] for at in range(len(drifts))]
    levels = np.array([np.median(some) for some in around])
    levels /= np.quantile(levels, 0.1, method="lower")
    return {rounds[at][0]: float(level) for at, level in enumerate(levels)}


def _item_times(name: str, records: Sequence[RoundRecord], calm: Mapping[int, float]) -> ItemTimes:
    """Of its bursts in calm rounds, or of all where it has none in these.

    Bursts are taken over the level of their era: an item that settled early would else be compared with items that
    were still measured when the device had become five percent faster.
    """
    all_bursts = [(record.index, record.bursts[name].seconds) for record in records if name in record.bursts]
    discarded = sum(record.discarded.count(name) for record in records)
    if not all_bursts:
        raise MeasurementError(f"{name} has no valid time: all {discarded} were zero, negative or not finite")
    bursts = [(index, seconds / calm[index]) for index, seconds in all_bursts if index in calm] or all_bursts
    seconds = [second for _, second in bursts]
    floor, middle = _floor(seconds), len(bursts) // 2

    def apart(one: list[float], other: list[float]) -> float:
        return abs(_floor(one) - _floor(other)) / floor if one and other else NO_HALVES

    halves = apart([s for index, s in bursts if index % 2 == 0], [s for index, s in bursts if index % 2])
    spans = apart(seconds[:middle], seconds[middle:])
    return ItemTimes(floor, len(all_bursts), discarded, halves, spans)


def _floor(seconds: Sequence[float]) -> float:
    """The mean between the 10th and the 50th percentile; of very few, of the faster half."""
    ordered = sorted(seconds)
    first = int(FLOOR_FROM * len(ordered))
    kept = ordered[first : max(math.ceil(FLOOR_TO * len(ordered)), first + 1)]
    # Relative to the smallest, so that equal times give that time to the last bit.
    return kept[0] + math.fsum(second - kept[0] for second in kept) / len(kept)


def _rounds_of(records: Sequence[RoundRecord], names: Iterable[str]) -> dict[str, int]:
    return {name: sum(name in r.bursts or name in r.discarded for r in records) for name in names}


def _finished(records: Sequence[RoundRecord], names: Iterable[str]) -> int:
    """Rounds that the item of most rounds has had: the anchor has had them all."""
    return max(_rounds_of(records, names).values(), default=0)
