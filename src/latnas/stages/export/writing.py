"""What is left in the folder of an export."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from latnas.stages.export.job import Job
from latnas.stages.export.measuring import Times
from latnas.stages.export.shipments import Shipment
from latnas.words.files import write_atomically
from latnas.words.manifest import LimitsReached, Manifest, Predicted, Status

VERSIONS = ("latnas", "torch", "onnx", "onnxruntime")


@dataclass(frozen=True)
class ExportedFile:
    """One exported network: its folder, and what its manifest says."""

    folder: Path
    manifest: Manifest

    @property
    def onnx(self) -> Path:
        return self.folder / "model.onnx"


def write(job: Job, shipment: Shipment, times: Times | None) -> ExportedFile:
    """The file and its manifest. Without times the file was not measured."""
    target, trained, table = shipment.target, shipment.trained, job.table
    amounts = replace(job.space.amounts(shipment.architecture), file_bytes=len(shipment.file))
    limits = LimitsReached.of(job.space.limits, amounts)
    manifest = Manifest(
        budget_ms=target.budget_ms,
        predicted_ms=Predicted(**job.latency.predict(shipment.architecture).to_json()),
        measured_ms=None if times is None else times.measured,
        raw_ms=None if times is None else times.raw,
        quote=table.quote,
        within_budget=None if times is None else times.quoted_ms <= target.budget_ms,
        status="missed" if limits.exceeded else _status(job, target.budget_ms, times),
        runtime=table.runtime,
        measured_artifact=table.measures,
        sha256=hashlib.sha256(shipment.file).hexdigest(),
        accuracy=trained.accuracy,
        params=amounts.params,
        macs=amounts.macs,
        architecture=shipment.architecture.to_json(),
        lam=target.lam,
        table=table.name,
        seed=job.config.seed,
        versions={package: version(package) for package in VERSIONS},
        kind=target.kind,
        data=job.data.name,
        classes=job.data.classes,
        input={
            "name": "images",
            "shape": ["N", job.data.channels, job.data.size, job.data.size],
            "range": [0, 1],
            "type": "float32",
        },
        training=dict(trained.training),
        check=trained.check,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        limits=limits,
        repeats=trained.repeats,
    )
    folder = job.exports / target.folder
    write_atomically(folder / "model.onnx", shipment.file)
    manifest.save(folder / "manifest.json")
    return ExportedFile(folder, manifest)


def _status(job: Job, budget_ms: float, times: Times | None) -> Status:
    if times is None:
        return "unverified"
    if times.quoted_ms > budget_ms:
        return "missed"
    computed = job.table.measures == "none"  # not measured
    return "unverified" if computed else "verified" if job.table.measures == "onnx" else "verified-in-pytorch"
