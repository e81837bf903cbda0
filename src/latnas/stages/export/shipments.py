"""The trained files, before they are measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from latnas.errors import LatnasError
from latnas.stages.common.metadata import file_metadata
from latnas.stages.export.choosing import choose
from latnas.stages.export.final_training import ONNX
from latnas.stages.export.job import Job
from latnas.stages.export.measuring import Bench
from latnas.stages.export.targets import ATTEMPTS, Target, without
from latnas.training.tasks import RESULT, Task, run_tasks
from latnas.words.architecture import Architecture
from latnas.words.budgets import format_ms
from latnas.words.files import read_bytes
from latnas.words.forms import TrainingResult
from latnas.words.manifest import Check, ReachedAccuracy
from latnas.words.quantities import format_bytes

TRAINING = "latnas.stages.export.final_training:final_training_task"


@dataclass(frozen=True)
class Shipment:
    """A target with the network chosen for it and its trained file."""

    target: Target
    architecture: Architecture
    fits: bool
    file: bytes
    check: Check
    accuracy: ReachedAccuracy
    test_images: int


def ship(job: Job, targets: Sequence[Target], bench: Bench | None) -> list[Shipment]:
    """Chooses and trains. A file over the limit on its size gives way to the next candidate, a few times.

    The estimate that the search goes by lies above the files, so this hardly happens; the files have the last word.
    """
    most = job.space.limits.file_bytes
    quoted: dict[str, float] = {}
    excluded: set[str] = set()
    first: list[Shipment] = []
    for _ in range(ATTEMPTS):
        left = without(targets, excluded)
        shipments = _train(job, left, choose(job, left, bench, quoted))
        first = first or shipments
        large = {s.architecture.key: s for s in shipments if most is not None and len(s.file) > most}
        for shipment in large.values():
            size, limit = format_bytes(len(shipment.file)), format_bytes(most or 0)
            job.report.warn(f"the file for {format_ms(shipment.target.budget_ms)} takes {size}; the limit is {limit}")
        if large.keys() <= excluded:
            break
        excluded |= large.keys()
    # Where every file is too large, the one that was preferred: the others would miss the budget as well.
    return [one if s.architecture.key in large else s for one, s in zip(first, shipments, strict=True)]


def _train(job: Job, targets: Sequence[Target], chosen: Sequence[tuple[Architecture, bool]]) -> list[Shipment]:
    """Trains each distinct architecture once and exports it."""
    by_key = {architecture.key: architecture for architecture, _ in chosen}
    tasks = [_task(job, architecture) for architecture in by_key.values()]
    with job.report.bar("training and exporting") as bar:
        results = run_tasks(tasks, job.config.workers, lambda done, total: bar.update(done, total, "networks"))
    made = {
        key: Shipment(
            targets[0], architecture, True, _file_of(task.folder, result["sha256"]), Check(**result["check"]),
            ReachedAccuracy(split="test", **result["accuracy"]), result["test_images"],
        )
        for (key, architecture), task, result in zip(by_key.items(), tasks, results, strict=True)
    }  # fmt: skip
    return [
        replace(made[architecture.key], target=target, fits=fits)
        for target, (architecture, fits) in zip(targets, chosen, strict=True)
    ]


def _task(job: Job, architecture: Architecture) -> Task:
    config, space = job.config, job.space
    inherit = str(job.run.supernet / "weights.safetensors") if config.init == "supernet" else None
    training = {
        "data": str(job.run.read_config()["data"]), "space": space.name, "options": vars(space.options).copy(),
        "seed": config.seed, "architecture": architecture.to_json(), "recipe": asdict(job.recipe), "inherit": inherit,
        "metadata": file_metadata(architecture, space, job.data.classes, job.table.name, config.seed),
    }  # fmt: skip
    # By whether weights are inherited, not by their path: a run that was moved keeps its trainings.
    identity = {**training, "inherit": config.init}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    kept = job.exports / ".trainings" / digest
    if not (kept / ONNX).exists():
        (kept / RESULT).unlink(missing_ok=True)  # a training whose file was deleted is not done
    return Task(TRAINING, training, kept, TrainingResult)


def _file_of(training: Path, sha256: str) -> bytes:
    """The ONNX file that a training made, byte for byte."""
    path = training / ONNX
    file = read_bytes(path)
    if hashlib.sha256(file).hexdigest() != sha256:
        raise LatnasError(f"{path} is damaged. Delete it; the same command makes it again.")
    return file
