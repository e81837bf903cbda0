"""The trained files, before they are measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from latnas.stages.common.metadata import file_metadata
from latnas.stages.export.final_training import ONNX
from latnas.stages.export.job import Job
from latnas.stages.export.packing import Packed, pack
from latnas.stages.export.targets import Target
from latnas.training.tasks import RESULT, Task, run_tasks
from latnas.words.architecture import Architecture
from latnas.words.forms import TrainingResult

TRAINING = "latnas.stages.export.final_training:final_training_task"


@dataclass(frozen=True)
class Shipment:
    """A target with the network chosen for it and its trained file."""

    target: Target
    architecture: Architecture
    packed: Packed
    test_images: int

    @property
    def file(self) -> bytes:
        """The ONNX file."""
        return self.packed.file


def train_each(job: Job, chosen: Sequence[tuple[Target, Architecture]]) -> list[Shipment]:
    """Trains each distinct architecture once and exports it. What was trained before is not trained again."""
    by_key = {architecture.key: architecture for _, architecture in chosen}
    tasks = [_task(job, architecture) for architecture in by_key.values()]
    with job.report.bar("training and exporting") as bar:
        results = run_tasks(tasks, job.config.workers, lambda done, total: bar.update(done, total, "networks"))
    packed = pack(job, list(by_key.values()), tasks, results)
    made = {
        key: Shipment(chosen[0][0], architecture, one, result["test_images"])
        for (key, architecture), one, result in zip(by_key.items(), packed, results, strict=True)
    }
    return [replace(made[architecture.key], target=target) for target, architecture in chosen]


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
