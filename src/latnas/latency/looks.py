"""How a network is held against a budget: for how long it is measured, how often, and at which speed of the device.

At export, by `latnas verify`, and by `measure.py` where there is no latnas: all three by this.

This file needs the standard library and numpy only, and Python 3.9: it goes to devices as a part of `measure.py`.
"""

from __future__ import annotations

import math

import numpy as np

from latnas.latency.measure import Runner, measure, single_calls

BURSTS = 600
"""In one look, of all that is measured together: a device can be slow for a second, and so long is what a few rounds
take."""
LOOKS = 4
"""A device that is busy for a minute raises floors: what seems over its budget is measured again."""
MOST_SECONDS = 60.0
"""No further round of one look begins later."""
CALLS = 200
"""Single calls, whose median and 90th percentile are told as they came."""
FEWEST_CALLS, CALLS_SECONDS = 20, 5.0
"""After so many of them none begins later: slow networks get fewer."""


def rounds_for(runners: int) -> int:
    """How many rounds of so many runners are one look."""
    return math.ceil(BURSTS / runners)


def speed_at(drift: float | None) -> float:
    """What times are divided by to be those at the table's speed, where the device is faster at the moment: it will be
    slower again.

    Args:
        drift: what the anchor takes over what it took for the table; None where there is no anchor.
    """
    return 1.0 if drift is None else min(drift, 1.0)


def drift_now(anchor: Runner, table_ms: float, rounds: int | None = None) -> float:
    """What the anchor takes at the moment, by a look at it alone, over what it took for the table.

    Args:
        table_ms: its floor in the table.
        rounds: as many bursts, if not the usual number.

    Raises:
        MeasurementError: it could not be measured.
    """
    name = "the anchor network"
    found = measure({name: anchor}, anchor=name, rounds=rounds or rounds_for(1), budget_seconds=MOST_SECONDS)
    return found.items[name].floor_ms / table_ms


def calls_ms(name: str, runner: Runner) -> tuple[float, float]:
    """Median and 90th percentile of single calls in ms. Raises MeasurementError where the runner fails."""
    calls: list[float] = []
    while len(calls) < CALLS and (len(calls) < FEWEST_CALLS or sum(calls) < CALLS_SECONDS):
        calls += single_calls(name, runner, 1)
    p50, p90 = np.quantile(calls, (0.5, 0.9)) * 1e3
    return float(p50), float(p90)
