"""The trained files, before they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latnas.stages.export.choosing import choose
from latnas.stages.export.job import Job
from latnas.stages.export.measuring import Bench
from latnas.stages.export.targets import ATTEMPTS, Target, without
from latnas.stages.export.trainings import Trained, teacher_among, train
from latnas.words.architecture import Architecture
from latnas.words.budgets import format_ms
from latnas.words.quantities import format_bytes


@dataclass(frozen=True)
class Shipment:
    """A target with the network chosen for it and its trained file."""

    target: Target
    architecture: Architecture
    fits: bool
    trained: Trained

    @property
    def file(self) -> bytes:
        """The ONNX file."""
        return self.trained.file


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
    """Trains each distinct architecture and exports it. Of those that the search chose, the largest may teach."""
    searched = [one for target, (one, _) in zip(targets, chosen, strict=True) if target.kind == "search"]
    made = train(job, [architecture for architecture, _ in chosen], teacher_among(job, searched))
    return [
        Shipment(target, architecture, fits, made[architecture.key])
        for target, (architecture, fits) in zip(targets, chosen, strict=True)
    ]
