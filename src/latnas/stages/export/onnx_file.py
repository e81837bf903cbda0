"""The file that ships: one ONNX file, dynamic batch, normalisation inside, provenance in its metadata."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from io import BytesIO

import numpy as np
import torch
from torch import Tensor, nn

from latnas.errors import LatnasError, TargetMissedError
from latnas.latency.onnx_export import IR_VERSION, OPSET
from latnas.words.manifest import Check

LARGEST_DIFFERENCE = 1e-4
SAME_CLASS = 0.999
BATCH_SIZES = (1, 2, 7, 64)


def export_onnx(network: nn.Module, example: Tensor, metadata: Mapping[str, str]) -> bytes:
    """Exports with the dynamo exporter.

    Args:
        network: takes images [N, C, H, W] in [0, 1].
        example: images of the size that it takes.
        metadata: goes into the file's own metadata, readable with `session.get_modelmeta()`.

    Raises:
        LatnasError: the network cannot be exported.
    """
    network.eval()
    batch = torch.export.Dim("batch", min=1)
    # Two images: with one, an exporter may take the batch for a constant.
    two = example[:1].expand(2, *example.shape[1:]).contiguous()
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
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
    program.model.metadata_props.update({f"latnas.{name}": value for name, value in metadata.items()})
    program.model.producer_name = "latnas"
    program.model.ir_version = IR_VERSION
    model = program.model_proto
    for text in (model.graph.node, model.graph.value_info, model.graph.input, model.graph.output):
        for part in text:
            part.doc_string = ""
    file = BytesIO()
    file.write(model.SerializeToString(deterministic=True))
    return file.getvalue()


def check_against_torch(file: bytes, network: nn.Module, images: Tensor) -> Check:
    """Runs the file in ONNX Runtime and the network in PyTorch on the same images, in batches of several sizes.

    Raises:
        TargetMissedError: they differ by more than 1e-4 of the outputs' scale, or in class on over 0.1 percent.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    largest, same, count, start = 0.0, 0, 0, 0
    turn = 0
    while start < len(images):
        batch = images[start : start + BATCH_SIZES[turn % len(BATCH_SIZES)]]
        start, turn = start + len(batch), turn + 1
        with torch.inference_mode():
            expected = network(batch).numpy()
        (got,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
        scale = max(float(np.abs(expected).max()), 1e-6)
        largest = max(largest, float(np.abs(expected - got).max()) / scale)
        same += int((expected.argmax(1) == got.argmax(1)).sum())
        count += len(batch)
    if largest > LARGEST_DIFFERENCE or same < SAME_CLASS * count:
        raise TargetMissedError(
            f"the exported file does not compute what the network computes: outputs differ by {largest:.2e} of their "
            f"scale, {count - same} of {count} images get another class. Nothing was written; please report this."
        )
    return Check(images=count, largest_difference=largest, same_class=same / count)
