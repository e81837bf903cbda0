"""ONNX files in 16 and in 8 bits, made of files in 32.

What ONNX Runtime's own tools make: `quantise` int8 with QuantizeLinear and DequantizeLinear around each operation,
`halve` fp16 with inputs and outputs as they were.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latnas.errors import LatnasError
from latnas.latency.onnx_export import IR_VERSION

if TYPE_CHECKING:
    import onnx

PRECISIONS = ("fp32", "fp16", "int8")
WEIGHED = ("Conv", "Gemm", "MatMul")
"""Operations with weights: what int8 is for."""

HEAD = ("Mul", "Add")
"""Operations that normalise images at the head of a graph, in this order."""

VNNI = ("avx512_vnni", "avx_vnni")


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor is known to add up products of 8 bits without saturating.

    Others add pairs of them in 16 bits: weights that use all 8 lost 28 percent of the signal (relative L2 0.28 against
    0.012 with 7 bits).
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(flag in line.split() for line in lines if line.startswith("flags") for flag in VNNI)


def quantise(file: bytes, feeds: Sequence[Mapping[str, Any]], reduce_range: bool) -> bytes:
    """The file in int8: activations in 8 bits without sign, weights with a sign and a scale for each channel.

    The same file and feeds give the same bytes.

    Args:
        file: an ONNX file in fp32. The normalisation at its head, a Mul and an Add, stays in fp32.
        feeds: inputs by name, arrays of float32: the ranges of activations are what these reach.
        reduce_range: weights use 7 bits. Needed where `has_vnni` is false.

    Raises:
        LatnasError: an operation cannot be quantised.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            before, prepared, after = (Path(folder) / name for name in ("before", "prepared", "after"))
            before.write_bytes(file)
            quant_pre_process(str(before), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(after),
                _reader(feeds),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=reduce_range,
                nodes_to_exclude=_head(onnx.load(str(prepared))),
            )
            return _finished(onnx.load(str(after)), onnx.load_from_string(file))
    except Exception as error:
        raise LatnasError(
            f"the network cannot be quantised: {type(error).__name__}: {str(error)[:300]}. Stay with fp32, or take "
            "another space."
        ) from error


def halve(file: bytes) -> bytes:
    """The file in fp16, but for inputs and outputs.

    Raises:
        LatnasError: it cannot be converted.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    original = onnx.load_from_string(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numbers too small for 16 bits
            model = convert_float_to_float16(onnx.load_from_string(file), keep_io_types=True)
        OnnxModel(model).topological_sort()  # the conversion appends the Cast that everything else reads
    except Exception as error:
        raise LatnasError(
            f"the network cannot be converted to fp16: {type(error).__name__}: {str(error)[:300]}. Leave --fp16 out."
        ) from error
    return _finished(model, original)


def quantise_for_measuring(file: bytes, shapes: Sequence[tuple[int, ...]]) -> bytes:
    """A file in int8 that is only to be timed: its ranges are those of random numbers.

    Args:
        shapes: of its inputs, in their order.
    """
    import numpy as np
    import onnx

    names = [given.name for given in onnx.load_from_string(file).graph.input]
    draws = np.random.default_rng(0)
    feeds = [
        {name: draws.random(shape, np.float32) for name, shape in zip(names, shapes, strict=True)} for _ in range(2)
    ]
    return quantise(file, feeds, reduce_range=not has_vnni())


def weighed_in_float(file: bytes) -> dict[str, int]:
    """How many operations with weights of a file run in fp32 or fp16, by type; those in int8 are not counted."""
    import onnx

    graph = onnx.load_from_string(file).graph
    dequantised = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    counts: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in WEIGHED and not {*node.input[:2]} <= dequantised:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the tools log on the root logger, such as that a weight of rank 1 has no channels, and the runtime
    in the sessions that they make, such as that an initializer is not used."""
    import onnxruntime

    from latnas.latency.ort_session import ERRORS_ONLY, WARNINGS

    root, silent = logging.getLogger(), logging.NullHandler()

    def is_other(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    root.addHandler(silent)  # without a handler, the first message would set one up for good
    root.addFilter(is_other)
    onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(WARNINGS)
        root.removeFilter(is_other)
        root.removeHandler(silent)


def _reader(feeds: Sequence[Mapping[str, Any]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """One feed after the other, None at the end."""

        def __init__(self) -> None:
            self._left: Iterator[dict[str, Any]] = iter([dict(feed) for feed in feeds])

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

    return Reader()


def _head(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that normalise the input."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    names, value = [], model.graph.input[0].name
    for kind in HEAD:
        if [node.op_type for node in readers.get(value, [])] == [kind]:
            node = readers[value][0]
            names.append(node.name)
            value = node.output[0]
    return names


def _finished(model: onnx.ModelProto, original: onnx.ModelProto) -> bytes:
    """Without what the tools say of themselves, and with what the file said before."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = original.producer_name, original.producer_version
    model.ClearField("metadata_props")
    model.metadata_props.extend(original.metadata_props)
    model.graph.ClearField("value_info")
    used = {node.domain for node in model.graph.node} | {""}
    versions = [opset for opset in model.opset_import if opset.domain in used]
    model.ClearField("opset_import")
    model.opset_import.extend(versions)
    return bytes(model.SerializeToString(deterministic=True))
