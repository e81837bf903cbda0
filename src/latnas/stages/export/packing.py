"""From a trained network to what ships: its file in the form that was asked for, and the network as plain PyTorch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latnas.data.batches import to_unit
from latnas.data.images import ImageData
from latnas.data.sources import images_of_task
from latnas.data.splits import splits_of
from latnas.errors import LatnasError, TargetMissedError
from latnas.latency.precisions import halve, has_vnni, quantise, weighed_in_float
from latnas.spaces.space import Classifier, make_space
from latnas.stages.common.tables import presence
from latnas.stages.export.final_training import CHECKED_IMAGES, ONNX, WEIGHTS
from latnas.stages.export.form import PLAIN, Form
from latnas.stages.export.job import Job
from latnas.stages.export.model_py import NotPlainError, model_source
from latnas.stages.export.onnx_file import accuracy_of_file, check_against_torch, with_metadata
from latnas.training.checkpoint import load_tensors, load_weights, save_tensors
from latnas.training.tasks import RESULT, Task, run_tasks
from latnas.words.architecture import Architecture
from latnas.words.export_set import SOURCE
from latnas.words.files import read_bytes, write_atomically
from latnas.words.forms import PackingRefused, PackingResult, read_as
from latnas.words.manifest import Check, Quantised, ReachedAccuracy

PACKING = "latnas.stages.export.packing:packing_task"
FORM = PackingResult | PackingRefused
CALIBRATION_IMAGES = 200
"""Training images whose activations set the ranges of int8."""

MOST_COMPARED = 5000
"""Images of the split `select` on which accuracy is compared, at most."""

FEED = 20


@dataclass(frozen=True)
class Packed:
    """What ships of one network.

    Attributes:
        file: the ONNX file in its form.
        check: of this file against PyTorch.
        accuracy: of this file on the test images.
        quantised: what int8 did to it; None in other precisions.
        source: the text of `model.py`; None where there is none.
        weights: a safetensors file, for `model.py` if there is one.
        standalone: why there is no `model.py`.
    """

    file: bytes
    check: Check
    accuracy: ReachedAccuracy
    quantised: Quantised | None
    source: bytes | None
    weights: bytes
    standalone: str | None


def pack(
    job: Job, architectures: Sequence[Architecture], trainings: Sequence[Task], results: Sequence[Mapping[str, Any]]
) -> list[Packed | str]:
    """What ships of each network, or why it is refused in this form, in order. What was made before is not made again.

    Args:
        trainings: of the networks.
        results: of these, in which `sha256` is of their files.

    Raises:
        LatnasError: a network cannot be had in this form.
    """
    reduce_range = presence(job.table)[0] is not None or not has_vnni()
    tasks = [
        _task(job, architecture, training, result, reduce_range)
        for architecture, training, result in zip(architectures, trainings, results, strict=True)
    ]
    with job.report.bar("packing") as bar:
        packed = run_tasks(tasks, job.config.workers, lambda done, total: bar.update(done, total, "networks"))
    return [_packed(task.folder, result) for task, result in zip(tasks, packed, strict=True)]


def _task(job: Job, architecture: Architecture, training: Task, result: Mapping[str, Any], reduce_range: bool) -> Task:
    config = job.config
    packing = {
        "data": str(job.run.read_config()["data"]), "space": job.space.name, "options": vars(job.space.options).copy(),
        "architecture": architecture.to_json(), "form": vars(config.form).copy(),
        "seed": training.config["split_seed"],  # so that int8 is judged on images that the training has held out
        "tolerance": config.int8_tolerance, "reduce_range": reduce_range,
        "trained": {name: result[name] for name in ("sha256", "check", "accuracy")},
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(packing, sort_keys=True).encode()).hexdigest()[:12]
    kept = training.folder / digest
    before = read_as(FORM, kept / RESULT) if (kept / RESULT).exists() else {}
    parts = (ONNX, WEIGHTS) if before.get("standalone") else (ONNX, WEIGHTS, SOURCE)
    if not all((kept / name).exists() for name in parts):
        (kept / RESULT).unlink(missing_ok=True)  # files that were deleted are made again; what was refused is too
    return Task(PACKING, {**packing, "data": job.data.spec, "training": str(training.folder)}, kept, FORM)


def packing_task(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Writes what ships of one trained network into `folder`.

    An int8 file that loses more accuracy than it may, and a file that does not compute what PyTorch does, are refused:
    an outcome of this network, which leaves others alone.

    Returns:
        the `sha256` of its file, `check`, `accuracy`, `quantised` or None, and why there is no `model.py`, or None; or
        why it is `refused`.
    """
    try:
        return _written(config, folder)
    except TargetMissedError as error:
        return {"refused": str(error)}


def _written(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    data, form = images_of_task(config["data"]), Form(**config["form"])
    space = make_space(config["space"], **config["options"])
    architecture = Architecture.from_json(config["architecture"])
    training = Path(config["training"])
    network = space.derive(space.network(seed=0), architecture)
    load_weights(network, load_tensors(training / WEIGHTS)[0], training / WEIGHTS)
    network.eval()
    trained = _file_of(training / ONNX, config["trained"]["sha256"])

    file, quantised = trained, None
    if form.precision == "int8":
        file, quantised = in_int8(trained, data, config, str(architecture))
    elif form.precision == "fp16":
        file = halve(trained)
    check, accuracy = config["trained"]["check"], config["trained"]["accuracy"]
    if form != PLAIN:
        file = with_metadata(form.with_input(file), form.metadata)
        check = check_against_torch(file, network, to_unit(data.test.images[:CHECKED_IMAGES]), form).model_dump()
    if form.precision != "fp32":
        reached = accuracy_of_file(file, form, data.test)
        accuracy = {"value": reached.value, "low": reached.interval[0], "high": reached.interval[1]}
    write_atomically(folder / ONNX, file)
    return {
        "sha256": hashlib.sha256(file).hexdigest(),
        "check": check,
        "accuracy": accuracy,
        "quantised": None if quantised is None else quantised.model_dump(),
        "standalone": _write_source(network, architecture, data, folder),
    }


ROUNDING = 1e-9
"""A loss of exactly what is allowed is allowed, whatever the difference of two floats says."""


def in_int8(file: bytes, data: ImageData, config: Mapping[str, Any], name: str) -> tuple[bytes, Quantised]:
    """The file in int8, and what that cost.

    Raises:
        TargetMissedError: more accuracy than it may.
        LatnasError: nothing of it can be computed in int8.
    """
    splits = splits_of(data, config["seed"])
    images = to_unit(data.train.images[splits.train[:CALIBRATION_IMAGES]]).numpy()
    feeds = [{"images": images[start : start + FEED]} for start in range(0, len(images), FEED)]
    made = quantise(file, feeds, config["reduce_range"])
    left = weighed_in_float(made)
    if left == weighed_in_float(file):
        kinds = ", ".join(left) or "no operations with weights"
        raise LatnasError(f"nothing of {name} can be computed in int8: it has {kinds}. Leave --int8 out.")
    compared = data.train.take(splits.select[:MOST_COMPARED])
    before, after = (accuracy_of_file(one, PLAIN, compared) for one in (file, made))
    quantised = Quantised(
        calibration_images=len(images),
        split="select",
        images=len(compared),
        before=before.value,
        after=after.value,
        tolerance=config["tolerance"],
        reduce_range=config["reduce_range"],
        in_float=left,
    )
    if 100 * (before.value - after.value) > config["tolerance"] + ROUNDING:
        raise TargetMissedError(
            f"in int8 {name} loses {100 * (before.value - after.value):.2g} percentage points of accuracy: "
            f"{before.value:.2%} before, {after.value:.2%} after, on {len(compared)} images of the split select; "
            f"--int8-tolerance allows {config['tolerance']:g}. It was not written. Allow more, or leave --int8 out."
        )
    return made, quantised


def _write_source(network: Classifier, architecture: Architecture, data: ImageData, folder: Path) -> str | None:
    """Writes `model.py` with its weights, or the weights alone. Returns why there is no `model.py`, if so."""
    state = {"architecture": architecture.to_json()}
    images = f"float32 [N, {data.channels}, {data.size}, {data.size}] in [0, 1]"
    title = "A network for images, found by a search for one that keeps a latency budget."
    try:
        source = model_source(network, title, images, data.classes)
    except NotPlainError as error:
        save_tensors(folder / WEIGHTS, network.state_dict(), state)
        return str(error)
    save_tensors(folder / WEIGHTS, source.weights, state)
    write_atomically(folder / SOURCE, source.text)
    return None


def _packed(folder: Path, result: Mapping[str, Any]) -> Packed | str:
    if "refused" in result:
        return str(result["refused"])
    quantised = result["quantised"]
    return Packed(
        file=_file_of(folder / ONNX, result["sha256"]),
        check=Check(**result["check"]),
        accuracy=ReachedAccuracy(split="test", **result["accuracy"]),
        quantised=None if quantised is None else Quantised(**quantised),
        source=None if result["standalone"] else read_bytes(folder / SOURCE),
        weights=read_bytes(folder / WEIGHTS),
        standalone=result["standalone"],
    )


def _file_of(path: Path, sha256: str) -> bytes:
    """The ONNX file that was made, byte for byte."""
    file = read_bytes(path)
    if hashlib.sha256(file).hexdigest() != sha256:
        raise LatnasError(f"{path} is damaged. Delete it; the same command makes it again.")
    return file
