"""The file that ships: one ONNX file, dynamic batch, normalisation inside, provenance in its metadata."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latnas.data.batches import to_unit
from latnas.data.images import LabelledImages
from latnas.errors import LatnasError, TargetMissedError
from latnas.latency.onnx_export import IR_VERSION, OPSET, check_fits_one_file
from latnas.stages.common.metadata import PREFIX
from latnas.stages.export.form import PLAIN, Form
from latnas.training.evaluate import Accuracy
from latnas.words.manifest import Check

AGREEMENT = {"fp32": (1e-4, 0.999), "fp16": (2e-2, 0.98)}
"""The largest difference of outputs, relative to their scale, and the least share of images that get no other class.
Where PyTorch's own outputs differ by less than that, either class is right. int8 computes something else: what counts
there is accuracy."""

BATCH_SIZES = (1, 2, 7, 64)
BATCH = 256


def export_onnx(network: nn.Module, example: Tensor, metadata: Mapping[str, str]) -> bytes:
    """Exports with the dynamo exporter.

    Args:
        network: takes images [N, C, H, W] in [0, 1].
        example: images of the size that it takes.
        metadata: goes into the file's own metadata, readable with `session.get_modelmeta()`.

    Raises:
        LatnasError: the network cannot be exported, or is too large for one file.
    """
    check_fits_one_file(network)
    network.eval()
    batch = torch.export.Dim("batch", min=1)
    # Two images: with one, an exporter may take the batch for a constant.
    two = example[:1].expand(2, *example.shape[1:]).contiguous()
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():  # a graph without gradients is traced sooner: 7 percent
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network, (two,), dynamo=True, opset_version=OPSET, input_names=["images"], output_names=["logits"],
                dynamic_shapes=({0: batch},), external_data=False, verbose=False,
            )  # fmt: skip
    except Exception as error:
        raise LatnasError(
            f"the network cannot be exported to ONNX: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    finally:
        logger.setLevel(level)
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # class names, stack traces and paths of source files
    program.model.graph.metadata_props.clear()
    program.model.metadata_props.clear()
    program.model.metadata_props.update({f"{PREFIX}{name}": value for name, value in metadata.items()})
    program.model.producer_name = "latnas"
    program.model.ir_version = IR_VERSION
    model = program.model_proto
    for text in (model.graph.node, model.graph.value_info, model.graph.input, model.graph.output):
        for part in text:
            part.doc_string = ""
    return bytes(model.SerializeToString(deterministic=True))


def with_metadata(file: bytes, metadata: Mapping[str, str]) -> bytes:
    """The file with these entries of its metadata in the place of those of the same names, or beside them."""
    import onnx
    from onnx import helper

    model = onnx.load_from_string(file)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, entries | {f"{PREFIX}{name}": value for name, value in metadata.items()})
    return bytes(model.SerializeToString(deterministic=True))


def accuracy_of_file(file: bytes, form: Form, data: LabelledImages) -> Accuracy:
    """Accuracy in ONNX Runtime on the CPU."""
    session = _session(file)
    correct = 0
    for start in range(0, len(data), BATCH):
        images = form.input_of(to_unit(data.images[start : start + BATCH]))
        (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        correct += int((logits.argmax(1) == data.labels[start : start + BATCH].numpy()).sum())
    return Accuracy(correct, len(data))


def _session(file: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def check_against_torch(file: bytes, network: nn.Module, images: Tensor, form: Form = PLAIN) -> Check:
    """Runs the file in ONNX Runtime and the network in PyTorch on the same images, in batches of several sizes.

    Args:
        images: [N, C, H, W] in [0, 1].
        form: of the file.

    Raises:
        TargetMissedError: they differ by more than is usual for the precision: see `AGREEMENT`.
    """
    session = _session(file)
    most, least = AGREEMENT.get(form.precision, (np.inf, 0.0))
    largest, same, other, count, start = 0.0, 0, 0, 0, 0
    turn = 0
    while start < len(images):
        batch = images[start : start + BATCH_SIZES[turn % len(BATCH_SIZES)]]
        start, turn = start + len(batch), turn + 1
        with torch.inference_mode():
            expected = network(batch).numpy()
        (got,) = session.run(None, {session.get_inputs()[0].name: form.input_of(batch).numpy()})
        if not np.isfinite(got).all():
            raise TargetMissedError(
                f"the exported file computes outputs that are infinite or no numbers. It was not written{_then(form)}"
            )
        scale = max(float(np.abs(expected).max()), 1e-6)
        largest = max(largest, float(np.abs(expected - got).max()) / scale)
        same += int((expected.argmax(1) == got.argmax(1)).sum())
        behind = expected.max(1) - np.take_along_axis(expected, got.argmax(1)[:, None], 1)[:, 0]
        other += int((behind > most * scale).sum())
        count += len(batch)
    if not largest <= most or count - other < least * count:
        raise TargetMissedError(
            f"the exported file does not compute what the network computes: outputs differ by {largest:.2e} of their "
            f"scale, {other} of {count} images get another class. It was not written{_then(form)}"
        )
    return Check(images=count, largest_difference=largest, same_class=same / count)


def _then(form: Form) -> str:
    """What to do about a file that is refused. In fp16 numbers end at 65,504, and what networks compute may not."""
    return "; please report this." if form.precision == "fp32" else f". Leave --{form.precision} out."
