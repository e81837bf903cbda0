"""Exports that are there already: what the same command typed again need not do."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from latnas.errors import LatnasError
from latnas.stages.export.job import Job
from latnas.stages.export.targets import Target
from latnas.words.architecture import Architecture
from latnas.words.export_set import MANIFEST, SCRIPT, ExportedNetwork, changed_files
from latnas.words.files import read_bytes
from latnas.words.manifest import Manifest, load_manifest

WHICH = {
    "run", "runs", "table", "lambdas", "budgets", "all", "baselines", "executor", "train_on", "max_params", "max_macs",
    "max_size", "max_memory",
}  # fmt: skip
"""Options that say which files are made, or what trainings run on, and not what comes out."""

LABELS = "labels alone"
"""What a network learns from that has no teacher."""


def recipe_digest(job: Job, target: Target) -> str:
    """Of everything that decides what an export of a budget comes to: options, limits, the images, front and table."""
    return _digests(job, target)[0]


def _digests(job: Job, target: Target) -> list[str]:
    """That one, and what manifests have of before an `--init` that is the usual one was no option of its own."""
    usual = job.config.usual_start
    inits = (None, usual) if job.config.starts_from == usual else (job.config.init,)
    nothing = WHICH | {"data"} if job.config.int8 else WHICH | {"data", "int8_tolerance"}
    options = job.config.model_dump(mode="json", exclude=nothing)
    others = [job.data.fingerprint, job.digests, vars(target.space.limits)]
    texts = [json.dumps([options | {"init": init}, *others], sort_keys=True) for init in inits]
    return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]


def kept(job: Job, targets: Sequence[Target], listed: Mapping[str, ExportedNetwork]) -> dict[str, Manifest]:
    """By folder the manifests of targets whose files are there whole, verified, and what the same command would make.

    Networks that learn from one another are kept all together or not at all: of some alone it is not known whether the
    others will have the same teacher. Their trainings are kept.

    Args:
        listed: what the set says of each folder, by name.
    """
    each = {target.folder: _kept(job, target, listed.get(target.folder)) for target in targets}
    found = {folder: manifest for folder, manifest in each.items() if manifest is not None}
    if job.config.distill and not (len(found) == len(each) and _taught_by_one(found.values())):
        return {}
    return found


def _taught_by_one(manifests: Collection[Manifest]) -> bool:
    """Whether all learnt from one network, and that one from none, as if one command had made them.

    The teacher is one of those that the search chose at first, though its own file may have missed its budget since.
    """
    own = [str(Architecture.from_json(one.architecture)) for one in manifests]
    first = [_trained_first(one, network) for one, network in zip(manifests, own, strict=True)]
    taught_by = [one.training.get("distilled_from") for one in manifests]
    teachers = {name for name in taught_by if name is not None}
    if not teachers:
        return len(set(first)) == 1
    may_teach = {network for one, network in zip(manifests, first, strict=True) if one.kind == "search"}
    return (
        len(teachers) == 1
        and teachers <= may_teach
        and all((name is None) == (network in teachers) for name, network in zip(taught_by, own, strict=True))
    )


def _trained_first(manifest: Manifest, shipped: str) -> str:
    """The network that was chosen for its budget before any file of it was measured."""
    return next((one.architecture for one in manifest.attempts if one.what == "shipped file"), shipped)


def _learns_from(architecture: Architecture, teacher: Architecture | None) -> str | None:
    """What the manifest calls `distilled_from`."""
    return None if teacher is None or architecture == teacher else str(teacher)


def _kept(job: Job, target: Target, listed: ExportedNetwork | None) -> Manifest | None:
    manifest = verified_in(job.exports / target.folder)
    if manifest is None or not is_again(manifest, job, target) or _damaged(job.exports, listed):
        return None
    return manifest


def is_budget(budget_ms: float, target: Target) -> bool:
    """Whether it is the target's: folders are called after four digits of theirs."""
    return math.isclose(budget_ms, target.budget_ms, rel_tol=1e-9)


def is_again(manifest: Manifest, job: Job, target: Target) -> bool:
    """Whether it was made for this target by what the same command would go by."""
    return (
        manifest.kind == target.kind
        and is_budget(manifest.budget_ms, target)
        and manifest.recipe_digest in _digests(job, target)
        and manifest.classes == job.data.classes
    )


def warn_of_replaced(job: Job, targets: Iterable[Target]) -> None:
    """Says which verified files give way to those of other options, or of another budget that is called the same.

    Before anything is trained for that.
    """
    for target in targets:
        manifest = verified_in(job.exports / target.folder)
        if manifest is None:
            continue
        if manifest.recipe_digest not in _digests(job, target):
            of, by = "of an export with other options", ""
        elif not is_budget(manifest.budget_ms, target):
            of, by = f"for {manifest.budget_ms:.10g}ms", f" by one for {target.budget_ms:.10g}ms"
        else:
            continue
        job.report.warn(
            f"{target.folder}: the verified file {of} (accuracy {manifest.accuracy.value:.1%}) is replaced{by}, unless "
            "the new one is missed"
        )


def warn_of_another_network(job: Job, chosen: Iterable[tuple[Target, Architecture]]) -> None:
    """Says which verified files of the same options give way to another network, before that is trained.

    Networks that learn from one another are measured and chosen anew all together where one is missing or was missed.
    """
    for target, architecture in chosen:
        manifest = verified_in(job.exports / target.folder)
        if manifest is None or not is_again(manifest, job, target):
            continue
        before = Architecture.from_json(manifest.architecture)
        if before != architecture:
            job.report.warn(
                f"{target.folder}: the verified file (accuracy {manifest.accuracy.value:.1%}) of {before} was chosen "
                f"anew, and is replaced by one of {architecture}, unless that is missed or cannot be measured"
            )


def warn_of_another_teacher(
    job: Job, chosen: Iterable[tuple[Target, Architecture]], teacher: Architecture | None
) -> None:
    """Says which verified files of the same options learnt from another network than those that take their places."""
    for target, architecture in chosen:
        manifest = verified_in(job.exports / target.folder)
        if manifest is None or not is_again(manifest, job, target):
            continue
        learnt, learns = manifest.training.get("distilled_from"), _learns_from(architecture, teacher)
        if learnt != learns:
            job.report.warn(
                f"{target.folder}: the verified file (accuracy {manifest.accuracy.value:.1%}), which learnt from "
                f"{learnt or LABELS}, is replaced by one that learns from {learns or LABELS}, unless that is missed or "
                "cannot be measured. The teacher is the largest network that one command exports"
            )


def _damaged(exports: Path, listed: ExportedNetwork | None) -> bool:
    """Whether something that was exported into a folder is not there any more, or is another file."""
    if listed is None:
        return False
    return any(name != f"{listed.folder}/{SCRIPT}" for name in changed_files(exports, [listed]))


def budgets_in(exports: Path) -> list[float]:
    """The budgets in ms of all files that earlier exports left; a damaged manifest says none."""
    found = []
    for path in sorted(exports.glob(f"*/{MANIFEST}")):
        with suppress(LatnasError):
            found.append(load_manifest(path).budget_ms)
    return found


def verified_in(folder: Path) -> Manifest | None:
    """The manifest in the folder of an export whose file is there whole, and verified."""
    manifest = measured_in(folder)
    return manifest if manifest is not None and manifest.status in ("verified", "verified-in-pytorch") else None


def measured_in(folder: Path) -> Manifest | None:
    """The manifest in the folder of an export whose file is there whole, and was measured."""
    try:
        manifest = load_manifest(folder / "manifest.json")
        file = read_bytes(folder / "model.onnx")
    except LatnasError:
        return None  # missing or damaged
    whole = manifest.sha256 == hashlib.sha256(file).hexdigest()
    return manifest if whole and manifest.measured_ms is not None else None
