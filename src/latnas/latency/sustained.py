"""Continuous load: what single calls take while a device gets no rest, and whether it slows down meanwhile.

A phone or a board without a fan holds its highest clock for some seconds. Bursts of milliseconds, with other networks
between them, do not see that.

This file needs the standard library and numpy only, and Python 3.9: it goes to devices as a part of `measure.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from latnas.latency.looks import speed_at
from latnas.latency.measure import MeasurementError, Runner

LEAST_CALLS = 100
"""With fewer calls there is no 99th percentile."""
THROTTLED = 1.1
"""Slower by more than this at the end than at the start is called throttling: less is what any machine drifts."""
TOLD_EVERY = 0.5


@dataclass(frozen=True)
class Sustained:
    """`calls` single calls one after the other, which took `seconds` together.

    `p99_ms` is None where there were fewer than 100 calls. `throttling` is the median of the last fifth of the calls
    over that of the first fifth. `drift` is what the anchor took right before, over what it took for the table; None
    without an anchor.
    """

    calls: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float | None
    throttling: float
    drift: float | None = None

    def lasting_ms(self, quote: str, p50_factor: float) -> float:
        """What is held against a budget, at the table's speed where the device was faster.

        Args:
            quote: what the budget is of: p90, to which the 90th percentile is held, p50, or floor.
            p50_factor: medians over floors. There is no floor of single calls: the median is divided by it.
        """
        quoted = {"p90": self.p90_ms, "p50": self.p50_ms, "floor": self.p50_ms / p50_factor}[quote]
        return quoted / speed_at(self.drift)

    def warnings(self) -> list[str]:
        """What has to be said of it, in whole phrases."""
        said = []
        if self.calls < LEAST_CALLS:
            said.append(f"only {self.calls} calls in {self.seconds:.3g} s: too few for a 99th percentile")
        if self.throttling > THROTTLED:
            said.append(f"the last calls took {self.throttling:.2f} times what the first took: the device throttles")
        return said

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def sustain(runner: Runner, seconds: float, progress: Callable[[float, float], None] | None = None) -> Sustained:
    """Calls a runner again and again until its calls have taken `seconds` together, at least once.

    Args:
        runner: one computation, ready to run.
        seconds: by what the runner says itself.
        progress: is told (seconds, of how many) now and then, and at the end.

    Raises:
        MeasurementError: a call failed, or took no time.
    """
    # Eight bytes a call: ten minutes of 20 microseconds are 30 million calls.
    calls, spent, told = array("d"), 0.0, 0.0
    while spent < seconds:
        try:
            took = float(runner.run(1))
        except Exception as error:
            raise MeasurementError(f"after {len(calls)} calls: {type(error).__name__}: {error}") from error
        if not 0 < took < float("inf"):
            raise MeasurementError(f"after {len(calls)} calls one took {took} s, which is no time")
        calls.append(took)
        spent += took
        if progress is not None and spent - told > TOLD_EVERY:
            told = spent
            progress(round(min(spent, seconds), 1), seconds)
    if progress is not None:
        progress(seconds, seconds)
    times = np.frombuffer(calls) * 1e3
    fifth = max(len(times) // 5, 1)
    p50, p90, p99 = (float(value) for value in np.quantile(times, (0.5, 0.9, 0.99)))
    throttling = float(np.median(times[-fifth:]) / np.median(times[:fifth]))
    return Sustained(len(times), spent, p50, p90, p99 if len(times) >= LEAST_CALLS else None, throttling)
