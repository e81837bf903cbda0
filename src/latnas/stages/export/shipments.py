"""The trained files, before they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latnas.stages.export.job import Job
from latnas.stages.export.packing import Packed, pack
from latnas.stages.export.targets import Target
from latnas.stages.export.trainings import Trained, train
from latnas.words.architecture import Architecture


@dataclass(frozen=True)
class Shipment:
    """A target with the network chosen for it, its training, and what ships of it."""

    target: Target
    architecture: Architecture
    trained: Trained
    packed: Packed

    @property
    def file(self) -> bytes:
        """The ONNX file."""
        return self.packed.file


@dataclass(frozen=True)
class Refused:
    """A target whose network cannot be had in the form that was asked for, and why."""

    target: Target
    reason: str


def train_each(
    job: Job, chosen: Sequence[tuple[Target, Architecture]], teacher: Architecture | None
) -> list[Shipment | Refused]:
    """Trains each distinct architecture once and exports it. What was trained before is not trained again.

    Args:
        teacher: the network that all others learn from.
    """
    by_key = {architecture.key: architecture for _, architecture in chosen}
    made = train(job, list(by_key.values()), teacher)
    packed = pack(job, list(by_key.values()), [made[key].task for key in by_key], [made[key].result for key in by_key])
    files = dict(zip(by_key, packed, strict=True))
    return [
        Refused(target, file) if isinstance(file := files[one.key], str) else Shipment(target, one, made[one.key], file)
        for target, one in chosen
    ]
