"""ONNX files made only to be timed: quick to export, small, and without a trace of where they came from.

The file that a user receives is exported elsewhere, by the exporter that PyTorch maintains. That one takes
seconds a network; a search measures hundreds of networks, and a table thousands of single operations.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from latnas.errors import LatnasError
from latnas.words.quantities import format_bytes

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

# Files that ship have the same: for opset 20 ONNX Runtime 1.32 has another average pooling, so that a network took
# 0.125 instead of 0.065 ms, and every network 5 microseconds more.
OPSET = 18
# What the onnx package writes by default is newer than what the ONNX Runtime of the same year reads.
IR_VERSION = 10

MOST_BYTES = 2**31 - 1
"""An ONNX file is one protobuf message, which cannot be larger."""


def check_fits_one_file(network: nn.Module) -> None:
    """Raises LatnasError for a network whose weights no ONNX file holds: before it is trained, not after."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if size > MOST_BYTES:
        raise LatnasError(
            f"the network's weights take {format_bytes(size)}, and one ONNX file holds 2 GB at most. Search within "
            "less: latnas search --max-size 2GB; or profile a narrower space: latnas profile --width"
        )


def export_for_measuring(module: nn.Module, example: tuple[Tensor, ...]) -> bytes:
    """`module`, in evaluation mode, as one ONNX file whose input shapes are those of `example`.

    The inputs are called `x`, or `x0`, `x1` and so on. The same module and example give the same bytes.

    Raises:
        LatnasError: neither of PyTorch's exporters can express the module, or no file holds its weights.
    """
    check_fits_one_file(module)
    names = ["x"] if len(example) == 1 else [f"x{index}" for index in range(len(example))]
    with _quiet():
        try:
            model = _export_by_tracing(module, example, names)
        except Exception as by_tracing:  # noqa: BLE001  whatever it stumbles over, the other one may not
            try:
                model = _export_by_dynamo(module, example, names)
            except Exception as by_dynamo:
                raise LatnasError(
                    f"cannot export {type(module).__name__} to ONNX to measure it. "
                    f"Tracing: {_brief(by_tracing)}. Dynamo: {_brief(by_dynamo)}. "
                    "Write it with other operations, or measure it in PyTorch: --runtime torch."
                ) from by_dynamo
    model.ir_version = IR_VERSION
    _remove_provenance(model)
    return bytes(model.SerializeToString(deterministic=True))


def _export_by_tracing(module: nn.Module, example: tuple[Tensor, ...], names: Sequence[str]) -> onnx.ModelProto:
    import onnx
    import torch

    file = io.BytesIO()
    # It writes to any file object, although its signature says a path.
    torch.onnx.export(module, example, cast(Any, file), dynamo=False, opset_version=OPSET, input_names=names)
    return onnx.load_from_string(file.getvalue())


def _export_by_dynamo(module: nn.Module, example: tuple[Tensor, ...], names: Sequence[str]) -> onnx.ModelProto:
    import torch

    program = torch.onnx.export(
        module,
        example,
        dynamo=True,
        opset_version=OPSET,
        input_names=names,
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the exporter returned nothing")
    return program.model_proto


def _remove_provenance(message: Any) -> None:
    """Removes class names, stack traces and absolute paths of source files, at any depth of the file."""
    for field in ("doc_string", "metadata_props"):
        if field in message.DESCRIPTOR.fields_by_name:
            message.ClearField(field)
    for _, value in message.ListFields():
        for part in value if isinstance(value, Sequence) else [value]:
            if hasattr(part, "ListFields"):
                _remove_provenance(part)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what both exporters say about themselves; what they raise comes through.

    The tracing exporter warns that it is deprecated and that a trace holds constants; when it fails it prints
    the whole graph, with paths, to the C stdout, past `sys.stdout`. The dynamo exporter logs that torchvision
    is missing.
    """
    import torch

    logger, internals = logging.getLogger("torch.onnx"), cast(Any, torch._C)
    level, print_graph = logger.level, getattr(internals, "_jit_onnx_log", None)
    logger.setLevel(logging.ERROR)
    internals._jit_onnx_log = lambda *_: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        internals._jit_onnx_log = print_graph


def _brief(error: Exception) -> str:
    """The first line of what an exporter says, which goes on for pages."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
