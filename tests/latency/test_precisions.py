"""Files in 16 and 8 bits: what they compute, what stays in float, and that nothing of the making is left in them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from latnas.errors import LatnasError, UsageError
from latnas.latency.onnx_export import export_for_measuring
from latnas.latency.precisions import PRECISIONS, halve, has_vnni, quantise, weighed_in_float
from latnas.latency.workload import Workload


class Normalised(nn.Module):
    """Normalises its input and convolves it; weights of very different sizes, so that scales matter."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
            self.head = nn.Linear(16, 5)
        with torch.no_grad():
            self.first.weight *= torch.logspace(-2, 1, 16).reshape(-1, 1, 1, 1)
        self.register_buffer("scale", torch.tensor([2.0, 3.0, 4.0]).reshape(3, 1, 1))
        self.register_buffer("shift", torch.tensor([-1.0, 0.5, 2.0]).reshape(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x * self.scale + self.shift))
        out: Tensor = self.head(torch.relu(self.second(x)).mean((2, 3)))
        return out


def images(seed: int, count: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, 8, 8), np.float32)


@pytest.fixture(scope="module")
def file() -> bytes:
    model = onnx.load_from_string(export_for_measuring(Normalised(), (torch.zeros(4, 3, 8, 8),)))
    onnx.helper.set_model_props(model, {"latnas.seed": "7"})
    model.producer_name = "latnas"
    return bytes(model.SerializeToString(deterministic=True))


@pytest.fixture(scope="module")
def feeds() -> list[dict[str, Any]]:
    return [{"x": images(seed)} for seed in range(8)]


def run(file: bytes, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    (out,) = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    return np.asarray(out)


def relative_error(file: bytes) -> float:
    x = images(seed=99)
    with torch.no_grad():
        expected = Normalised()(torch.from_numpy(x)).numpy()
    return float(np.linalg.norm(run(file, x) - expected) / np.linalg.norm(expected))


def test_int8_with_seven_bits_computes_nearly_the_same_on_any_processor(file: bytes, feeds: Any) -> None:
    assert relative_error(quantise(file, feeds, reduce_range=True)) < 0.03


def test_fp16_computes_nearly_the_same(file: bytes) -> None:
    assert relative_error(halve(file)) < 2e-3


def test_weights_take_a_quarter_and_a_half_of_the_bytes(feeds: Any) -> None:
    wide = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 128, 3))
    full = export_for_measuring(wide, (torch.zeros(4, 3, 8, 8),))
    assert 0.2 < len(quantise(full, feeds, reduce_range=True)) / len(full) < 0.3
    assert 0.45 < len(halve(full)) / len(full) < 0.55


def test_the_normalisation_at_the_head_stays_in_float(file: bytes, feeds: Any) -> None:
    graph = onnx.load_from_string(quantise(file, feeds, reduce_range=True)).graph
    first = next(node for node in graph.node if "x" in node.input)
    (second,) = [node for node in graph.node if first.output[0] in node.input]
    assert (first.op_type, second.op_type) == ("Mul", "Add")
    dequantised = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    assert not dequantised & {*first.input, *second.input}


def test_every_operation_with_weights_is_in_int8_or_is_counted(file: bytes, feeds: Any) -> None:
    assert weighed_in_float(file) == {"Conv": 2, "Gemm": 1}
    assert weighed_in_float(quantise(file, feeds, reduce_range=True)) == {}


@pytest.mark.parametrize("reduce_range", [True, False])
def test_seven_bits_are_used_where_eight_would_saturate(file: bytes, feeds: Any, reduce_range: bool) -> None:
    graph = onnx.load_from_string(quantise(file, feeds, reduce_range)).graph
    weights = [onnx.numpy_helper.to_array(one) for one in graph.initializer if one.data_type == onnx.TensorProto.INT8]
    largest = max(int(np.abs(one.astype(int)).max()) for one in weights if one.size > 1)
    assert largest == (64 if reduce_range else 127)


def test_equal_files_and_images_give_equal_bytes_without_a_trace_of_the_making(file: bytes, feeds: Any) -> None:
    for made, again in (
        (quantise(file, feeds, reduce_range=True), quantise(file, feeds, reduce_range=True)),
        (halve(file), halve(file)),
    ):
        assert made == again
        assert b"/tmp" not in made and b"onnxruntime" not in made and b"onnx.quant" not in made
        before, after = onnx.load_from_string(file), onnx.load_from_string(made)
        assert after.metadata_props == before.metadata_props
        assert [(one.domain, one.version) for one in after.opset_import] == [("", before.opset_import[0].version)]
        assert (after.ir_version, after.producer_name) == (before.ir_version, "latnas")


def test_what_is_no_onnx_file_cannot_be_quantised(feeds: Any) -> None:
    with pytest.raises(LatnasError, match="cannot be quantised"):
        quantise(b"nothing", feeds, reduce_range=True)


@pytest.mark.parametrize("flags", ["fpu avx512_vnni sse", "avx_vnni"])
def test_a_processor_that_says_so_has_vnni(tmp_path: Path, flags: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert has_vnni(tmp_path / "cpuinfo")


def test_a_processor_that_does_not_say_so_is_taken_to_have_none(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("model name : avx_vnni\nflags : fpu avx512_vnni_not\n")
    assert not has_vnni(tmp_path / "cpuinfo")
    assert not has_vnni(tmp_path / "missing")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_module_can_be_measured_in_any_precision(precision: str) -> None:
    made = Workload(Normalised(), torch.zeros(2, 3, 8, 8)).onnx(precision)
    assert run(made, images(0, count=2)).shape == (2, 5)
    kinds = {node.op_type for node in onnx.load_from_string(made).graph.node}
    assert ("QuantizeLinear" in kinds) == (precision == "int8")
    assert Workload(Normalised(), torch.zeros(2, 3, 8, 8)).onnx(precision) == made


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no precision 'int4'\. Known: fp32, fp16, int8"):
        Workload(nn.ReLU(), torch.zeros(1, 1)).onnx("int4")


class NormedLast(nn.Module):
    """Has a batch normalisation that no convolution takes up: its weights have no channels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def test_what_the_tools_log_is_not_shown_and_others_may_log_afterwards(
    feeds: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), list(root.filters))
    quantise(export_for_measuring(NormedLast(), (torch.zeros(4, 3, 8, 8),)), feeds, reduce_range=True)
    assert (list(root.handlers), list(root.filters)) == before
    shown = capfd.readouterr()
    assert (shown.out, shown.err, [r for r in caplog.records if r.name == "root"]) == ("", "", [])
    root.warning("heard")
    assert caplog.messages[-1] == "heard"
