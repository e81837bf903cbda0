"""What is left in the folder of an export."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from latnas.errors import TargetMissedError
from latnas.latency.standalone import measure_script
from latnas.stages.common.metadata import versions_of
from latnas.stages.export.job import Job
from latnas.stages.export.kept import is_again, measured_in, recipe_digest, verified_in
from latnas.stages.export.measuring import Times, is_computed, lasting_at_export_ms
from latnas.stages.export.on_device import measured_on
from latnas.stages.export.packing import Packed
from latnas.stages.export.shipments import Shipment
from latnas.training.interruption import undivided
from latnas.words.export_set import MANIFEST, MODEL, SCRIPT, SOURCE, WEIGHTS
from latnas.words.files import write_together
from latnas.words.manifest import Attempt, LimitsReached, Manifest, Status
from latnas.words.table import LatencyTable

VERSIONS = ("latnas", "torch", "onnx", "onnxruntime")


@dataclass(frozen=True)
class ExportedFile:
    """One exported network: its folder, and what its manifest says. `advice`: what to type where it is missed."""

    folder: Path
    manifest: Manifest
    advice: str = ""

    @property
    def onnx(self) -> Path:
        return self.folder / "model.onnx"

    @property
    def lasting_ms(self) -> float | None:
        """What is held against the budget: as measured, or at the table's speed where the device was faster."""
        return lasting_at_export_ms(self.manifest)


class RefusedError(TargetMissedError):
    """Networks cannot be had in the form that was asked for. `files` are those that can: they were written."""

    def __init__(self, message: str, files: Sequence[ExportedFile]) -> None:
        super().__init__(message)
        self.files = list(files)


def advice_of(files: Iterable[ExportedFile]) -> list[str]:
    """What to type for files that are missed, each advice once."""
    return list(dict.fromkeys(file.advice for file in files if file.advice))


def write(
    job: Job,
    shipment: Shipment,
    times: Times | None,
    attempts: tuple[Attempt, ...] = (),
    nearest_ms: float | None = None,
) -> ExportedFile:
    """The file and its manifest. Without times the file was not measured.

    A verified file that an earlier export left stays: with its manifest where it is this very file, and where this one
    missed, or comes of the same options and was not measured. What was measured of this very file stays known too,
    where it cannot be measured now.
    """
    target, table = shipment.target, job.table
    amounts = replace(job.space.amounts(shipment.architecture), file_bytes=len(shipment.file))
    limits = LimitsReached.of(target.space.limits, amounts)
    manifest = Manifest(
        budget_ms=target.budget_ms,
        predicted_ms=job.latency.predict(shipment.architecture),
        measured_ms=None if times is None else times.measured,
        raw_ms=None if times is None else times.raw,
        quote=table.quote,
        within_budget=None if times is None else times.lasting_ms <= target.budget_ms,
        status=status_of(table, target.budget_ms, limits, None if times is None else times.lasting_ms),
        runtime=table.runtime,
        measured_artifact=table.measures,
        sha256=hashlib.sha256(shipment.file).hexdigest(),
        accuracy=shipment.packed.accuracy,
        params=amounts.params,
        macs=amounts.macs,
        architecture=shipment.architecture.to_json(),
        lam=target.lam,
        table=table.name,
        seed=job.config.seed,
        versions=versions_of(VERSIONS),
        kind=target.kind,
        data=job.data.name,
        classes=job.data.classes,
        input=job.config.form.described(job.data.channels, job.data.size),
        training=dict(shipment.trained.training),
        check=shipment.packed.check,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        limits=limits,
        margin=None if times is None else 1 - times.lasting_ms / target.budget_ms,
        attempts=attempts,
        nearest_ms=nearest_ms,
        recipe_digest=recipe_digest(job, target),
        device=measured_on(table),
        anchor_drift=None if times is None else times.drift,
        precision=job.config.form.precision,
        quantised=shipment.packed.quantised,
        standalone=shipment.packed.standalone,
        repeats=shipment.trained.repeats,
    )
    folder = job.exports / target.folder
    there = verified_in(folder)
    again = there is not None and is_again(there, job, target)
    if there is not None and again and there.sha256 == manifest.sha256:
        _write_parts(folder, shipment.packed)  # what was lost or damaged there
        return ExportedFile(folder, there)
    if there is not None and manifest.status == "missed":
        job.report.warn(f"{target.folder} is missed now; the file there of an earlier export is verified and stays")
        return ExportedFile(folder, manifest)
    if there is not None and again and manifest.status == "unverified":
        job.report.warn(f"{target.folder} cannot be measured now; the file there of an earlier export stays verified")
        return ExportedFile(folder, there)
    known = measured_in(folder) if times is None else None
    if known is not None and known.sha256 == manifest.sha256 and is_again(known, job, target):
        job.report.warn(f"{target.folder} cannot be measured now; what was measured of this very file counts")
        manifest = known
    _write_parts(folder, shipment.packed, manifest)
    return ExportedFile(folder, manifest)


def _write_parts(folder: Path, packed: Packed, manifest: Manifest | None = None) -> None:
    """Writes the file and its manifest, and what lies beside them; without a manifest the latter alone.

    Where something cannot be written, an earlier export stays as it is.

    Raises:
        LatnasError: that is so.
    """
    parts: dict[str, bytes | str] = {WEIGHTS: packed.weights, SCRIPT: measure_script()}
    if packed.source is not None:
        parts[SOURCE] = packed.source
    if manifest is not None:
        parts |= {MODEL: packed.file, MANIFEST: manifest.text}
    with undivided():
        write_together({folder / name: content for name, content in parts.items()})
        if packed.source is None:
            (folder / SOURCE).unlink(missing_ok=True)  # that of an earlier export


def status_of(table: LatencyTable, budget_ms: float, limits: LimitsReached | None, quoted_ms: float | None) -> Status:
    """What a manifest says of a file that was measured to take `quoted_ms`, or not measured."""
    if limits is not None and limits.exceeded:
        return "missed"
    if quoted_ms is None:
        return "unverified"
    if quoted_ms > budget_ms:
        return "missed"
    return "unverified" if is_computed(table) else "verified" if table.measures == "onnx" else "verified-in-pytorch"
