"""Stage `export`: one trained ONNX file for each budget, measured on the device of the table."""

from __future__ import annotations

from latnas.errors import UsageError
from latnas.stages.common.limits import limited_space
from latnas.stages.common.runs import FRONT, TABLE, choose_front, images_of, limits_of, open_run
from latnas.stages.common.tables import latency_of, open_profiler, space_of, why_stale
from latnas.stages.export.config import ExportConfig
from latnas.stages.export.job import Job
from latnas.stages.export.last_word import measure_files
from latnas.stages.export.measuring import Bench
from latnas.stages.export.shipments import ship
from latnas.stages.export.targets import make_targets
from latnas.stages.export.whole_set import write_set
from latnas.stages.export.writing import ExportedFile, write
from latnas.words.front import load_front
from latnas.words.reporting import Reporter, Silent
from latnas.words.table import load_table

MEASUREMENTS = "measurements.jsonl"


def export(config: ExportConfig, report: Reporter | None = None) -> list[ExportedFile]:
    """Measures finalists, trains the best that fits each budget, exports it, measures the very file.

    Raises:
        UsageError: no such run, a budget outside its range.
        LatnasError: a file is broken, or a network cannot be exported.
        TargetMissedError: an exported file does not compute what the network computes.
    """
    report = report or Silent()
    run = open_run(config.run, config.runs)
    name = choose_front(run, config.table)
    folder = run.front(name)
    table, front = load_table(folder / TABLE), load_front(folder / FRONT)
    data = images_of(run)
    space = limited_space(space_of(table), limits_of(run), data.classes, table.name)
    if config.auxiliary and not space.has_auxiliary_point:
        raise UsageError(
            f"space {space.name!r} names no module for an auxiliary head, as darts does. Leave --auxiliary out."
        )
    latency = latency_of(table, space)
    stale = why_stale(table)
    if stale is not None:
        report.warn(f"the device of table {table.name} is not here ({stale}): files will be unverified")
    targets = make_targets(config, front, space, latency, certain=stale is not None)
    job = Job(config, run, run.exports(name), space, latency, data, report)

    with run.lock():
        bench = None
        if stale is None:
            bench = Bench(table, open_profiler(table), space, job.exports / MEASUREMENTS, config.rounds, report)
        shipments = ship(job, targets, bench)
        times = {} if bench is None else measure_files(shipments, space, bench)
        files = [write(job, shipment, times.get(shipment.target.folder)) for shipment in shipments]
        write_set(job)
        return files
