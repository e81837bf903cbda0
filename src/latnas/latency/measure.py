"""Rounds of short bursts, and what they say: floors, how far they agree, and what is typical beside them.

On a machine that others use too, or whose clock changes, timing one item after the other compares moments,
not items: the same network differs by up to 1.5x. So everything is measured round-robin, a few milliseconds
at a time, and each item keeps its fastest burst, its floor. Two halves of the rounds then agree to 0.2
percent on average (240 networks, ONNX Runtime, one thread, a 2-core virtual machine).

This file needs the standard library and numpy only: it can be copied to a device by itself.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

ANCHOR_SINGLES = 8
CALM_DRIFT = 1.1
# Shorter bursts than this cannot be: no runtime starts an inference in under 200 ns.
MOST_INFERENCES = 1 << 14


class MeasurementError(RuntimeError):
    """An item could not be measured; the message names it."""


class Runner(Protocol):
    """One computation on one device, ready to run."""

    def run(self, n: int) -> float:
        """Seconds for `n` complete inferences, each finished before the next begins."""


class Burst(NamedTuple):
    """So many inferences back to back, and the seconds that each of them took on average."""

    inferences: int
    seconds: float


@dataclass(frozen=True)
class RoundRecord:
    """One round: a burst of every item, and single calls of the anchor.

    `discarded` names an item once for every time of it that was no time: not finite, zero or negative.
    """

    index: int
    anchor: str
    bursts: Mapping[str, Burst]
    singles_seconds: tuple[float, ...]
    discarded: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "round": self.index,
            "anchor": self.anchor,
            "bursts": {name: list(burst) for name, burst in self.bursts.items()},
            "singles_seconds": list(self.singles_seconds),
            "discarded": list(self.discarded),
        }

    @classmethod
    def from_json(cls, value: Any) -> RoundRecord:
        """The record that `to_json` wrote.

        Raises:
            ValueError: `value` is anything else.
        """
        try:
            bursts = {str(name): Burst(int(n), float(s)) for name, (n, s) in value["bursts"].items()}
            singles = tuple(float(seconds) for seconds in value["singles_seconds"])
            discarded = tuple(str(name) for name in value["discarded"])
            record = cls(int(value["round"]), str(value["anchor"]), bursts, singles, discarded)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"not a record of a round of measurements: {error!r}") from error
        times = [*singles, *(burst.seconds for burst in bursts.values())]
        if not all(map(_is_a_time, times)) or any(burst.inferences < 1 for burst in bursts.values()):
            raise ValueError(f"round {record.index} holds a time or a number that is not positive")
        return record

    @property
    def measured_seconds(self) -> float:
        """How long its bursts took together."""
        return math.fsum(burst.inferences * burst.seconds for burst in self.bursts.values())


@dataclass(frozen=True)
class ItemTimes:
    """One item: its fastest burst, its median burst, and how many rounds these are from.

    `halves` is the relative difference between the floors of the odd and of the even rounds, 1 where one half
    is empty.
    """

    floor_seconds: float
    median_seconds: float
    rounds: int
    discarded: int
    halves: float


@dataclass(frozen=True)
class Measurements:
    """What the rounds say.

    `rounds` were finished, of `asked_rounds`; fewer if time ran out. `anchor_drift` is, for each round, the
    anchor's burst over its floor; `calm_rounds` counts those within 10 percent. The factors are median and
    90th percentile of the anchor's single calls in calm rounds, over its floor. Where less than a quarter of
    the rounds was calm, they are from the calmest quarter and `too_few_calm_rounds` is set.
    """

    items: Mapping[str, ItemTimes]
    anchor: str
    rounds: int
    asked_rounds: int
    tolerance: float
    anchor_drift: tuple[float, ...]
    calm_rounds: int
    too_few_calm_rounds: bool
    p50_factor: float
    p90_factor: float

    @property
    def is_complete(self) -> bool:
        """Whether all rounds that were asked for were measured."""
        return self.rounds >= self.asked_rounds

    def halves(self) -> dict[str, float]:
        """By item, how far the floors of the odd and the even rounds lie apart, relatively."""
        return {name: item.halves for name, item in self.items.items()}

    def unsettled(self, tolerance: float | None = None) -> tuple[str, ...]:
        """Items whose halves lie further apart than `tolerance`: more rounds may still lower their floors."""
        limit = self.tolerance if tolerance is None else tolerance
        return tuple(name for name, item in self.items.items() if item.halves > limit)


def measure(
    runners: Mapping[str, Runner],
    *,
    anchor: str,
    rounds: int,
    burst_seconds: float = 0.003,
    min_seconds: float = 0.0,
    budget_seconds: float | None = None,
    store: Callable[[RoundRecord], None] | None = None,
    previous: Iterable[RoundRecord] = (),
    progress: Callable[[int, int], None] | None = None,
    tolerance: float = 0.01,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurements:
    """Measures every runner in `rounds` rounds, in another order each time, and the anchor's single calls.

    Args:
        runners: what to measure, by name.
        anchor: the runner that tells calm rounds from busy ones.
        rounds: how many bursts each item gets.
        burst_seconds: about how long a burst takes, unless a single inference takes longer.
        min_seconds: rounds go on until their bursts add up to this. A clock can keep one speed for seconds.
        budget_seconds: no further round is begun that would end later than this. One round always runs.
        store: is given each round as soon as it is finished, so that an interruption loses none.
        previous: rounds that an interrupted call on this machine stored; they count.
        progress: is told (rounds done, `rounds`), first before any round.
        tolerance: what `unsettled` goes by. It stops nothing early: halves can agree while both are slow.
        seed: of the order within rounds.
        clock: what `budget_seconds` is read from.

    Raises:
        MeasurementError: a runner failed, or gave not one valid time.
    """
    if anchor not in runners:
        raise ValueError(f"the anchor {anchor!r} is not among the runners")
    if rounds < 1 or not burst_seconds > 0:
        raise ValueError(f"rounds and burst_seconds must be positive, got {rounds} and {burst_seconds}")
    began, records = clock(), list(previous)
    done, measured = _finished(records, runners), math.fsum(record.measured_seconds for record in records)
    keep, tell = store or (lambda record: None), progress or (lambda done, asked: None)
    tell(done, rounds)
    last_seconds, lengths = 0.0, dict[str, int]()
    while done < rounds or 0 < measured < min_seconds:
        if done and budget_seconds is not None and clock() - began + last_seconds > budget_seconds:
            break
        lengths = lengths or _burst_lengths(runners, records, burst_seconds)
        round_began, index = clock(), max((record.index for record in records), default=-1) + 1
        record = _round(index, runners, lengths, anchor, seed)
        keep(record)
        records.append(record)
        done, measured = done + 1, measured + record.measured_seconds
        last_seconds = clock() - round_began
        tell(done, rounds)
    return summarise(records, list(runners), anchor, rounds, tolerance)


def summarise(
    records: Sequence[RoundRecord], names: Sequence[str], anchor: str, asked_rounds: int, tolerance: float
) -> Measurements:
    """What `measure` returns, from its records alone.

    Raises:
        MeasurementError: an item has no valid burst, or the anchor no valid single call.
    """
    items = {name: _item_times(name, records) for name in names}
    floor = items[anchor].floor_seconds
    drifts = [(r.bursts[anchor].seconds / floor, r) for r in records if anchor in r.bursts]
    chosen = [(drift, r) for drift, r in drifts if drift <= CALM_DRIFT]
    num_calm, enough = len(chosen), math.ceil(len(drifts) / 4)
    if num_calm < enough:
        chosen = sorted(drifts, key=lambda pair: (pair[0], pair[1].index))[:enough]
    singles = [s for _, record in chosen if record.anchor == anchor for s in record.singles_seconds]
    if not singles:
        raise MeasurementError(f"no valid time of a single call of the anchor {anchor!r} in any calm round")
    drift, few = tuple(drift for drift, _ in drifts), num_calm < enough
    p50, p90 = (max(1.0, float(s) / floor) for s in np.quantile(singles, (0.5, 0.9)))
    done = _finished(records, names)
    return Measurements(items, anchor, done, asked_rounds, tolerance, drift, num_calm, few, p50, p90)


def _round(
    index: int, runners: Mapping[str, Runner], lengths: Mapping[str, int], anchor: str, seed: int
) -> RoundRecord:
    order = sorted(runners)
    random.Random(f"{seed} {index}").shuffle(order)
    bursts: dict[str, Burst] = {}
    singles: list[float] = []
    discarded: list[str] = []
    for name in order:
        # Another item has just filled the caches. Floors without this one inference are 1.3 percent, at most
        # 4.5, above those of a network run over and over (30 networks, ONNX Runtime); with it, 0.1 percent.
        _run(name, runners[name], 1)
        n = lengths[name]
        seconds = _run(name, runners[name], n) / n
        if _is_a_time(seconds):
            bursts[name] = Burst(n, seconds)
        else:
            discarded.append(name)
        if name == anchor:
            calls = [_run(name, runners[name], 1) for _ in range(ANCHOR_SINGLES)]
            singles = [call for call in calls if _is_a_time(call)]
            discarded += [name] * (len(calls) - len(singles))
    return RoundRecord(index, anchor, bursts, tuple(singles), tuple(discarded))


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


def _item_times(name: str, records: Sequence[RoundRecord]) -> ItemTimes:
    bursts = [(record.index % 2, record.bursts[name].seconds) for record in records if name in record.bursts]
    discarded = sum(record.discarded.count(name) for record in records)
    if not bursts:
        raise MeasurementError(f"{name} has no valid time: all {discarded} were zero, negative or not finite")
    even, odd = ([seconds for half, seconds in bursts if half == wanted] for wanted in (0, 1))
    floor, median = min(even + odd), float(np.median(even + odd))
    halves = abs(min(even) - min(odd)) / floor if even and odd else 1.0
    return ItemTimes(floor, median, len(bursts), discarded, halves)


def _finished(records: Sequence[RoundRecord], names: Iterable[str]) -> int:
    """Rounds that every item has had, whichever they were: an item added later catches up."""
    return min(sum(name in r.bursts or name in r.discarded for r in records) for name in names)


def _is_a_time(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds > 0
