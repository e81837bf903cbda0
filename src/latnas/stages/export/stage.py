"""Stage `export`: one trained ONNX file for each budget, measured on the device of the table."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from latnas.data.images import ImageData
from latnas.errors import LatnasError, UsageError
from latnas.latency.workload import Workload
from latnas.spaces.space import Space
from latnas.stages.common.limits import limited_space
from latnas.stages.common.metadata import file_metadata
from latnas.stages.common.runs import FRONT, TABLE, RunFolder, choose_front, images_of, limits_of, open_run
from latnas.stages.common.tables import latency_of, open_profiler, space_of, why_stale
from latnas.stages.export.config import ExportConfig
from latnas.stages.export.final_training import ONNX, recipe_for
from latnas.stages.export.measuring import Bench, Times
from latnas.stages.export.targets import ATTEMPTS, Target, first_within, make_targets, without
from latnas.training.tasks import RESULT, Task, run_tasks
from latnas.training.trainer import Recipe
from latnas.words.architecture import Architecture
from latnas.words.budgets import format_ms
from latnas.words.files import read_bytes, write_atomically
from latnas.words.forms import TrainingResult
from latnas.words.front import load_front
from latnas.words.latency import LatencyModel
from latnas.words.manifest import Check, LimitsReached, Manifest, Predicted, ReachedAccuracy, Status
from latnas.words.quantities import format_bytes
from latnas.words.reporting import Reporter, Silent
from latnas.words.table import load_table

SECOND_LOOKS = 3
"""How often a file over its budget is measured again before it is said to miss it."""

VERSIONS = ("latnas", "torch", "onnx", "onnxruntime")


@dataclass(frozen=True)
class ExportedFile:
    """One exported network: its folder, and what its manifest says."""

    folder: Path
    manifest: Manifest

    @property
    def onnx(self) -> Path:
        return self.folder / "model.onnx"


@dataclass(frozen=True)
class _Shipment:
    """A target with the network chosen for it and its trained file."""

    target: Target
    architecture: Architecture
    fits: bool
    file: bytes
    check: Check
    accuracy: ReachedAccuracy
    test_images: int


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

    with run.lock():
        exports = run.exports(name)
        bench = None
        if stale is None:
            bench = Bench(table, open_profiler(table), space, exports / "measurements.jsonl", config.rounds, report)
        shipments = _ship(targets, bench, run, exports, data, space, config, table.name, report)
        times = _measure_files(shipments, space, table.batch, bench)
        return [
            _write(
                shipment, times.get(shipment.target.folder), exports, latency, space, data, config, bench is not None
            )
            for shipment in shipments
        ]


def _recipe(data: ImageData, config: ExportConfig) -> Recipe:
    return recipe_for(data, config.epochs, config.batch_size, config.learning_rate, config.auxiliary)


def _ship(
    targets: Sequence[Target], bench: Bench | None, run: RunFolder, exports: Path, data: ImageData, space: Space,
    config: ExportConfig, table: str, report: Reporter,
) -> list[_Shipment]:  # fmt: skip
    """Chooses and trains. A file over the limit on its size gives way to the next candidate, a few times.

    The estimate that the search goes by lies above the files, so this hardly happens; the files have the last word.
    """
    most = space.limits.file_bytes
    quoted: dict[str, float] = {}
    excluded: set[str] = set()
    first: list[_Shipment] = []
    for _ in range(ATTEMPTS):
        left = without(targets, excluded)
        chosen = _choose(left, space, bench, config, quoted, report)
        shipments = _train(left, chosen, run, exports, data, space, config, table, report)
        first = first or shipments
        large = {s.architecture.key: s for s in shipments if most is not None and len(s.file) > most}
        for shipment in large.values():
            size, limit = format_bytes(len(shipment.file)), format_bytes(most or 0)
            report.warn(f"the file for {format_ms(shipment.target.budget_ms)} takes {size}; the limit is {limit}")
        if large.keys() <= excluded:
            break
        excluded |= large.keys()
    # Where every file is too large, the one that was preferred: the others would miss the budget as well.
    return [one if s.architecture.key in large else s for one, s in zip(first, shipments, strict=True)]


def _choose(
    targets: Sequence[Target],
    space: Space,
    bench: Bench | None,
    config: ExportConfig,
    quoted: dict[str, float],
    report: Reporter,
) -> list[tuple[Architecture, bool]]:
    """For each target the architecture to train, and whether it fits as far as was measured.

    Candidates are measured a few for each budget at a time, until one fits or there are no more; `quoted` remembers the
    measurements, in ms by key.
    """
    if bench is None:
        return [(target.candidates[0], True) for target in targets]
    supernet = space.network(seed=0)
    for attempt in range(ATTEMPTS):
        wanted = {
            candidate.key: candidate
            for target in targets
            if first_within(target, quoted) is None
            for candidate in target.candidates[attempt * config.finalists : (attempt + 1) * config.finalists]
            if candidate.key not in quoted
        }
        if wanted:
            workloads = {key: Workload(space.derive(supernet, a), bench.example) for key, a in wanted.items()}
            found = bench.measure(workloads, wanted, "untrained module")
            quoted |= {key: times.lasting_ms for key, times in found.items()}
    chosen = []
    for target in targets:
        fitting = first_within(target, quoted)
        if fitting is None:
            fitting = min((c for c in target.candidates if c.key in quoted), key=lambda c: quoted[c.key])
            report.warn(
                f"no candidate measured safely within {format_ms(target.budget_ms)} ({target.kind}); the nearest takes "
                f"{format_ms(quoted[fitting.key])}"
            )
            chosen.append((fitting, False))
        else:
            chosen.append((fitting, True))
    return chosen


def _train(
    targets: Sequence[Target],
    chosen: Sequence[tuple[Architecture, bool]],
    run: RunFolder,
    exports: Path,
    data: ImageData,
    space: Space,
    config: ExportConfig,
    table: str,
    report: Reporter,
) -> list[_Shipment]:
    """Trains each distinct architecture once and exports it."""
    recipe = _recipe(data, config)
    inherit = str(run.supernet / "weights.safetensors") if config.init == "supernet" else None
    by_key = {architecture.key: architecture for architecture, _ in chosen}
    tasks = []
    for architecture in by_key.values():
        training = {
            "data": str(run.read_config()["data"]), "space": space.name, "options": vars(space.options).copy(),
            "seed": config.seed, "architecture": architecture.to_json(), "recipe": asdict(recipe), "inherit": inherit,
            "metadata": file_metadata(architecture, space, data.classes, table, config.seed),
        }  # fmt: skip
        # By whether weights are inherited, not by their path: a run that was moved keeps its trainings.
        identity = {**training, "inherit": config.init}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        kept = exports / ".trainings" / digest
        if not (kept / ONNX).exists():
            (kept / RESULT).unlink(missing_ok=True)  # a training whose file was deleted is not done
        function = "latnas.stages.export.final_training:final_training_task"
        tasks.append(Task(function, training, kept, TrainingResult))
    with report.bar("training and exporting") as bar:
        results = run_tasks(tasks, config.workers, lambda done, total: bar.update(done, total, "networks"))
    made = {
        key: _Shipment(
            targets[0], architecture, True, _file_of(task.folder, result["sha256"]), Check(**result["check"]),
            ReachedAccuracy(split="test", **result["accuracy"]), result["test_images"],
        )
        for (key, architecture), task, result in zip(by_key.items(), tasks, results, strict=True)
    }  # fmt: skip
    return [
        replace(made[architecture.key], target=target, fits=fits)
        for target, (architecture, fits) in zip(targets, chosen, strict=True)
    ]


def _file_of(training: Path, sha256: str) -> bytes:
    """The ONNX file that a training made, byte for byte."""
    path = training / ONNX
    file = read_bytes(path)
    if hashlib.sha256(file).hexdigest() != sha256:
        raise LatnasError(f"{path} is damaged. Delete it; the same command makes it again.")
    return file


def _measure_files(shipments: Sequence[_Shipment], space: Space, batch: int, bench: Bench | None) -> dict[str, Times]:
    if bench is None:
        return {}
    example = space.example(batch)
    by_key: dict[str, list[_Shipment]] = {}
    for shipment in shipments:
        by_key.setdefault(shipment.architecture.key, []).append(shipment)
    if bench.takes_files:
        workloads = {key: Workload.from_file(same[0].file, example) for key, same in by_key.items()}
    else:
        supernet = space.network(seed=0)
        workloads = {
            key: Workload(space.derive(supernet, same[0].architecture), example) for key, same in by_key.items()
        }
    names = {key: same[0].architecture for key, same in by_key.items()}
    what = "shipped file" if bench.takes_files else "trained module"
    found = bench.measure(workloads, names, what)
    # A floor is the fastest of many bursts: more of them can only lower it, and a device that is busy for a minute
    # raises the floors of large networks by a tenth. So what seems to miss its budget is looked at again.
    for _ in range(SECOND_LOOKS):
        over = {
            key: workloads[key]
            for key, same in by_key.items()
            if any(found[key].quoted_ms > s.target.budget_ms for s in same)
        }
        if not over:
            break
        again = bench.measure(over, names, what)
        found |= {key: min(found[key], times, key=lambda t: t.quoted_ms) for key, times in again.items()}
    return {shipment.target.folder: found[key] for key, same in by_key.items() for shipment in same}


def _write(
    shipment: _Shipment, times: Times | None, exports: Path, latency: LatencyModel, space: Space, data: ImageData,
    config: ExportConfig, here: bool,
) -> ExportedFile:  # fmt: skip
    target, table = shipment.target, latency.table
    within = None if times is None else times.quoted_ms <= target.budget_ms
    status: Status = "unverified"
    if within is not None and here:
        status = ("verified" if table.measures == "onnx" else "verified-in-pytorch") if within else "missed"
        if within and table.measures == "none":
            status = "unverified"  # computed, not measured
    amounts = replace(space.amounts(shipment.architecture), file_bytes=len(shipment.file))
    limits = LimitsReached.of(space.limits, amounts)
    if limits.exceeded:
        status = "missed"
    folder = exports / target.folder
    recipe = _recipe(data, config)
    manifest = Manifest(
        budget_ms=target.budget_ms,
        predicted_ms=Predicted(**latency.predict(shipment.architecture).to_json()),
        measured_ms=None if times is None else times.measured,
        raw_ms=None if times is None else times.raw,
        quote=table.quote,
        within_budget=within,
        status=status,
        runtime=table.runtime,
        measured_artifact=table.measures,
        sha256=hashlib.sha256(shipment.file).hexdigest(),
        accuracy=shipment.accuracy,
        params=amounts.params,
        macs=amounts.macs,
        architecture=shipment.architecture.to_json(),
        lam=target.lam,
        table=table.name,
        seed=config.seed,
        versions={package: version(package) for package in VERSIONS},
        kind=target.kind,
        data=data.name,
        classes=data.classes,
        input={
            "name": "images",
            "shape": ["N", data.channels, data.size, data.size],
            "range": [0, 1],
            "type": "float32",
        },
        training={**asdict(recipe), "epochs": config.epochs, "init": config.init, "test_images": shipment.test_images},
        check=shipment.check,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        limits=limits,
    )
    write_atomically(folder / "model.onnx", shipment.file)
    manifest.save(folder / "manifest.json")
    return ExportedFile(folder, manifest)
