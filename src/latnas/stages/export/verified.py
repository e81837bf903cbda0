"""Exported files as they are now beside what their manifests promise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from latnas.latency.looks import speed_at
from latnas.latency.sustained import Sustained
from latnas.stages.export.measuring import Times, lasting_at_export_ms
from latnas.words.export_set import ExportedNetwork
from latnas.words.manifest import Manifest
from latnas.words.table import LatencyTable

Fault = Literal["missing", "changed", "over budget", "drifted", "over budget under load"]
Lost = Literal["missing", "changed"]


@dataclass(frozen=True)
class VerifiedFile:
    """One exported file.

    Attributes:
        folder: of the file and its manifest.
        before: the manifest as it was found.
        after: the manifest as it is now.
        times: what the file took; None where it is not measured, because it is not the one that was exported.
        load: what it took without a rest, if that was asked for.
        faults: why it does not pass.
    """

    folder: Path
    before: Manifest
    after: Manifest
    times: Times | None
    load: Sustained | None
    faults: tuple[Fault, ...]

    @property
    def exported_ms(self) -> float | None:
        """The quoted statistic at export; None where the file was not measured then."""
        measured = self.before.measured_ms
        return None if measured is None else float(getattr(measured, self.before.quote))

    @property
    def quoted_ms(self) -> float | None:
        """The quoted statistic now."""
        return None if self.times is None else quoted_ms(self.before, self.times)

    @property
    def lasting_ms(self) -> float | None:
        """What is held against the budget: the quoted statistic at the table's speed, where the device is faster."""
        return None if self.times is None else lasting_ms(self.before, self.times)

    @property
    def drift(self) -> float | None:
        """How much longer it takes than at export, relatively, as measured."""
        return None if self.times is None else drift_of(self.before, self.times)

    @property
    def lasting_drift(self) -> float | None:
        """The same of what is held against the budget."""
        return None if self.times is None else lasting_drift_of(self.before, self.times)

    @property
    def device_drift(self) -> float | None:
        """How much longer the anchor takes than when this file was exported; than for the table, if that is unknown."""
        return None if self.times is None else self.times.drift / (self.before.anchor_drift or 1.0) - 1.0

    @property
    def own_drift(self) -> float | None:
        """What of the drift is not the device's."""
        if self.drift is None or self.device_drift is None:
            return None
        return (1.0 + self.drift) / (1.0 + self.device_drift) - 1.0

    @property
    def settled(self) -> bool:
        """Whether its manifest says now what could not be measured at export."""
        return self.before != self.after


@dataclass(frozen=True)
class LostExport:
    """A folder that the set lists, and that has no manifest any more.

    Attributes:
        folder: where it was.
        listed: what the set says of it.
    """

    folder: Path
    listed: ExportedNetwork

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Why it does not pass."""
        return ("missing",)


@dataclass(frozen=True)
class VerifiedRun:
    """The files of one front.

    Attributes:
        lost: what is not there to be verified.
        conditions: what differs here from the table's, by name, none of it hardware.
        again: the command that measures the table anew.
        new_table: the file that this command writes.
    """

    run: Path
    front: str
    table: LatencyTable
    tolerance: float
    conditions: Mapping[str, str]
    files: tuple[VerifiedFile, ...]
    lost: tuple[LostExport, ...]
    again: str
    new_table: Path

    @property
    def failed(self) -> tuple[VerifiedFile | LostExport, ...]:
        """What does not pass."""
        return (*(file for file in self.files if file.faults), *self.lost)


def quoted_ms(manifest: Manifest, times: Times) -> float:
    """What was measured, in the statistic that the manifest's budget is of."""
    return float(getattr(times.measured, manifest.quote))


def drift_of(manifest: Manifest, times: Times) -> float | None:
    """Measured now over measured at export, minus one; None where nothing was measured at export."""
    if manifest.measured_ms is None:
        return None
    return quoted_ms(manifest, times) / float(getattr(manifest.measured_ms, manifest.quote)) - 1.0


def lasting_ms(manifest: Manifest, times: Times) -> float:
    """The quoted statistic as export judges it: at the table's speed, where the device is faster at the moment."""
    return quoted_ms(manifest, times) / speed_at(times.drift)


def lasting_drift_of(manifest: Manifest, times: Times) -> float | None:
    """The drift of `lasting_ms`: what a fast moment of the device, now or at export, has no share in."""
    before_ms = lasting_at_export_ms(manifest)
    return None if before_ms is None else lasting_ms(manifest, times) / before_ms - 1.0


def faults_of(manifest: Manifest, times: Times, tolerance: float, load: Sustained | None = None) -> tuple[Fault, ...]:
    """Why a file that is the exported one does not pass. To be faster than at export is no fault.

    All is judged at the table's speed or slower, what was measured at export too, so that neither passes or fails
    because the device had a fast moment; the load by what the anchor took right before it.
    """
    drift = lasting_drift_of(manifest, times)
    faults: list[Fault] = []
    if lasting_ms(manifest, times) > manifest.budget_ms:
        faults.append("over budget")
    if drift is not None and drift > tolerance:
        faults.append("drifted")
    p50_factor = times.measured.p50 / times.measured.floor
    if load is not None and load.lasting_ms(manifest.quote, p50_factor) > manifest.budget_ms:
        faults.append("over budget under load")
    return tuple(faults)
