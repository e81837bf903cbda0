"""What lies beside an exported file so that it can be measured where there is no latnas."""

from __future__ import annotations

from pathlib import Path

from latnas.latency.standalone import measure_script
from latnas.latency.workload import Workload
from latnas.stages.export.job import Job
from latnas.stages.export.onnx_file import with_metadata
from latnas.words.architecture import Architecture
from latnas.words.export_set import ANCHOR_FILE, SCRIPT, anchor_hash, listed_anchor
from latnas.words.files import read_bytes, write_atomically
from latnas.words.manifest import MeasuredOn
from latnas.words.table import LatencyTable


def measured_on(table: LatencyTable) -> MeasuredOn:
    """What a manifest says of a table, for whoever has no table."""
    anchor = table.anchor
    return MeasuredOn(
        device=table.device, threads=table.threads, batch=table.batch, precision=table.precision,
        p50_factor=anchor.p50_factor, p90_factor=anchor.p90_factor, anchor_ms=anchor.floor_ms,
        anchor=anchor_name(table),
    )  # fmt: skip


def anchor_name(table: LatencyTable) -> str:
    """Which network the anchor of a table is. Equal networks in equal precision are one anchor, whatever the table."""
    return f"{table.space_digest}-{Architecture.from_json(table.anchor.architecture).key}-{table.precision}"


def leave_script(folder: Path) -> None:
    """Writes `measure.py` into the folder of a file, unless it is there as it would be written."""
    path, script = folder / SCRIPT, measure_script().encode()
    if not (path.is_file() and read_bytes(path) == script):
        write_atomically(path, script)


def leave_anchor(job: Job) -> None:
    """Writes the table's anchor, once for all files of a front, unless it is there as the set lists it.

    The anchor is about as large as a file in the middle of the range, so not every folder gets one. Where the runtime
    runs no files, the anchor's time in the table says nothing of a file.
    """
    table, listed = job.table, listed_anchor(job.exports)
    if table.measures != "onnx" or (listed is not None and anchor_hash(job.exports) == listed):
        return
    if listed is not None:
        job.report.warn(f"{ANCHOR_FILE} was lost or damaged, and is made again")
    network = job.space.derive(job.space.network(seed=0), Architecture.from_json(table.anchor.architecture))
    file = Workload(network, job.space.example(table.batch)).onnx(table.precision)
    write_atomically(job.exports / ANCHOR_FILE, with_metadata(file, {"anchor": anchor_name(table)}))
