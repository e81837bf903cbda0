"""Times of a network that were never measured."""

from __future__ import annotations

from latnas.stages.export.measuring import Times
from latnas.words.manifest import Measured, RawTimes


def times(ms: float, drift: float = 1.0) -> Times:
    """Floor, quantiles and single calls alike, while the device was `drift` times as slow as for the table."""
    return Times(Measured(floor=ms, p50=ms, p90=ms), RawTimes(p50=ms, p90=ms), ms, drift)
