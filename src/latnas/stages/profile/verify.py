"""Fresh networks, predicted and measured: whether a table can be relied on, here and now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latnas.data.randomness import generator
from latnas.errors import LatnasError
from latnas.latency.agreement import agreement
from latnas.stages.common.options import typed
from latnas.stages.common.tables import latency_of, profile_again, warn_if_stale
from latnas.stages.profile.config import ProfileConfig
from latnas.stages.profile.networks import Drawn, at_random, near_front
from latnas.stages.profile.rig import ANCHOR, FRESH, Rig, alone, hardly_calm, partial_folder
from latnas.stages.profile.stage import profile, setting_of
from latnas.words.architecture import Architecture
from latnas.words.estimate import Estimate
from latnas.words.reporting import Reporter, Silent
from latnas.words.table import LatencyTable, Quality, load_table

DRIFTED = 1.1
REFERENCES = 8
"""Networks of the table that are measured again, to tell drift from error."""


@dataclass(frozen=True)
class Verified:
    """One network: predicted and measured, in the quoted statistic.

    `measured_ms` is as measured now; `relative_ms` is that over the drift, so that a device which is a few
    percent faster or slower today does not count as an error of every prediction.
    """

    architecture: Architecture
    drawn: Drawn
    predicted_ms: Estimate
    measured_ms: float
    relative_ms: float

    @property
    def is_covered(self) -> bool:
        """Whether the measurement is within the 90 percent interval."""
        return self.predicted_ms.low <= self.relative_ms <= self.predicted_ms.high


@dataclass(frozen=True)
class Verification:
    """How a table's predictions of fresh networks agree with measurements. `drift` is what the anchor and some of
    the table's networks take, over what they took for the table, by their median: near 1 unless the device is not what
    it was. The anchor alone would not do: in another process it was 5 to 8 percent slower, others 3 to 7 (PyTorch)."""

    path: Path
    table: LatencyTable
    networks: tuple[Verified, ...]
    drift: float

    def of(self, *drawn: Drawn) -> Quality | None:
        """Agreement on the networks drawn in these ways; None if there are none."""
        chosen = [one for one in self.networks if one.drawn in drawn]
        if not chosen:
            return None
        return agreement([one.predicted_ms.value for one in chosen], [one.relative_ms for one in chosen])

    def coverage(self, *drawn: Drawn) -> float:
        """The share of measurements within their intervals; 90 percent are promised."""
        chosen = [one.is_covered for one in self.networks if one.drawn in drawn]
        return sum(chosen) / max(len(chosen), 1)


def verify(config: ProfileConfig, report: Reporter | None = None) -> Verification:
    """Predicts and measures `config.verify` networks that the table does not know, half of them near the front.

    The table is the one that `profile` would write, and is measured first where it is not there. Its quoted statistic
    counts unless another was asked for.

    Raises:
        UsageError, LatnasError: as `profile`.
    """
    report = report or Silent()
    given = setting_of(config, report)
    path = config.out / f"{given.name}.json"
    table = load_table(path) if path.exists() else profile(config, report).table
    if "quote" in config.model_fields_set:
        table = table.model_copy(update={"quote": config.quote})
    warn_if_stale(table, report)
    latency = latency_of(table, given.space)
    known = [Architecture.from_json(entry.architecture) for entry in table.calibration.networks]
    random = generator(config.seed, "verify")
    drawn = near_front(given.space, latency.cost, config.verify // 2, random, known)
    known += [one.architecture for one in drawn]
    drawn += at_random(given.space, config.verify - len(drawn), random, known)
    if not drawn:
        raise LatnasError(
            f"space {given.space.name!r} has no networks that the table {table.name} does not know. Leave out --verify."
        )
    anchor = Architecture.from_json(table.anchor.architecture)
    partial = partial_folder(config.out) / f"{given.name}-{config.seed}-verify"
    rig = Rig(given.space, given.profiler, anchor, config, partial, report)
    references = _references(table)
    networks = [*(one.architecture for one in drawn), *references]
    with alone(config.out, given.name, given.measured_on):
        rig.forget(FRESH)  # of a check that was interrupted: it says what the device was then
        measured = rig.measure(FRESH, {one.key: rig.network(one) for one in networks}, config.max_seconds)
        rig.forget(FRESH)
    doubt = hardly_calm(measured)
    if doubt is not None:
        report.warn(f"{doubt}, and what differs from predictions may be that. Type the same command again in quiet")
    before_ms = {ANCHOR: table.anchor.floor_ms, **{one.key: floor_ms for one, floor_ms in references.items()}}
    ratios = [measured.items[key].floor_ms / floor_ms for key, floor_ms in before_ms.items()]
    drift = float(np.median(ratios))
    if not 1 / DRIFTED < drift < DRIFTED:
        report.warn(
            f"networks of the table take {drift:.2f} times what they took when it was measured: the device is busy, or "
            f"has changed. Make a new table: {typed(profile_again(table, config.data), config, 'out')}"
        )
    verified = tuple(
        Verified(
            one.architecture,
            one.drawn,
            latency.predict(one.architecture),
            latency.quoted_ms(measured.items[one.architecture.key].floor_ms),
            latency.quoted_ms(measured.items[one.architecture.key].floor_ms / drift),
        )
        for one in drawn
    )
    return Verification(path, table, verified, drift)


def _references(table: LatencyTable) -> dict[Architecture, float]:
    """Some of the table's networks, from the fastest to the slowest, with their floors in ms."""
    entries = sorted(table.calibration.networks, key=lambda entry: entry.floor_ms)
    positions = np.linspace(0, len(entries) - 1, min(REFERENCES, len(entries))).round().astype(int)
    return {Architecture.from_json(entries[n].architecture): entries[n].floor_ms for n in positions.tolist()}
