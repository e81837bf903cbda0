"""A value with its interval: what is predicted of a latency, or expected of an accuracy."""

from __future__ import annotations

from latnas.words.versioned import Frozen


class Estimate(Frozen):
    """A value with its 90 percent interval. Who holds one says in which unit: milliseconds, or shares of images."""

    value: float
    low: float
    high: float
