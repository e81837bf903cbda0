"""What lies beside an exported file so that it can be measured where there is no latnas."""

from __future__ import annotations

from pathlib import Path

from latnas.latency.standalone import measure_script
from latnas.latency.workload import Workload
from latnas.stages.export.job import Job
from latnas.words.architecture import Architecture
from latnas.words.export_set import SCRIPT
from latnas.words.files import write_atomically
from latnas.words.manifest import MeasuredOn
from latnas.words.table import LatencyTable

ANCHOR_FILE = "anchor.onnx"


def measured_on(table: LatencyTable) -> MeasuredOn:
    """What a manifest says of a table, for whoever has no table."""
    anchor = table.anchor
    return MeasuredOn(
        device=table.device, threads=table.threads, batch=table.batch, precision=table.precision,
        p50_factor=anchor.p50_factor, p90_factor=anchor.p90_factor, anchor_ms=anchor.floor_ms,
    )  # fmt: skip


def leave_script(job: Job, folder: Path) -> None:
    """Writes `measure.py` into the folder of a file, and once for all files of a front the table's anchor.

    The anchor is about as large as a file in the middle of the range, so not every folder gets one. Where the runtime
    runs no files, the anchor's time in the table says nothing of a file.
    """
    write_atomically(folder / SCRIPT, measure_script())
    table, anchor = job.table, job.exports / ANCHOR_FILE
    if table.measures == "onnx" and not anchor.exists():
        architecture = Architecture.from_json(table.anchor.architecture)
        network = job.space.derive(job.space.network(seed=0), architecture)
        write_atomically(anchor, Workload(network, job.space.example(table.batch)).onnx(table.precision))
