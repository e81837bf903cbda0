"""The file that ships computes what was measured while searching, and no more."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from latnas.errors import TargetMissedError
from latnas.latency.precisions import PRECISIONS, halve, has_vnni, quantise
from latnas.latency.workload import Workload
from latnas.spaces.space import SPACES, make_space
from latnas.stages.export import onnx_file
from latnas.stages.export.form import Form
from latnas.stages.export.onnx_file import check_against_torch, export_onnx

IMAGES = torch.rand(20, 1, 16, 16, generator=torch.Generator().manual_seed(1))


@cache
def measured_and_trained(name: str) -> tuple[Workload, bytes]:
    """A network of a space as it is measured before its training, and its file after one step."""
    space = make_space(name, image_size=16, channels=1, classes=3, width=8, depth=SPACES[name].least_depth)
    one = space.random(torch.Generator().manual_seed(0))
    before, trained = (space.derive(space.network(0), one) for _ in range(2))
    trained.normalise.set_statistics(torch.tensor([0.3]), torch.tensor([0.2]))
    trained.train()(IMAGES).logsumexp(1).mean().backward()
    torch.optim.SGD(trained.parameters(), lr=0.1).step()
    return Workload(before, space.example()), export_onnx(trained.eval(), space.example(), {"seed": "0"})


@pytest.mark.parametrize("name", SPACES)
def test_the_file_that_ships_has_the_operations_that_were_measured_and_no_shape_arithmetic(name: str) -> None:
    before, shipped = measured_and_trained(name)
    models = [onnx.load_from_string(file) for file in (before.onnx(), shipped)]
    versions = [(model.ir_version, model.opset_import[0].version) for model in models]
    assert versions[0] == versions[1], "a runtime has other kernels for other opsets"
    ignored = {"Constant", "Identity"}  # the runtime drops them when it loads the file
    measured, written = (sorted(n.op_type for n in model.graph.node if n.op_type not in ignored) for model in models)
    assert measured == written


def operations_of(file: bytes, path: Path) -> list[str]:
    """What ONNX Runtime makes of a file when it loads it, sorted."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(path), 3  # it warns that the file is its own
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return sorted(node.op_type for node in onnx.load(path).graph.node)


AGAIN = """
import sys
import torch
from latnas.spaces.space import make_space
from latnas.stages.export.onnx_file import export_onnx

space = make_space("mbconv", image_size=8, channels=1, classes=3, width=2, depth=1)
network = space.derive(space.network(0), space.random(torch.Generator().manual_seed(0)))
sys.stdout.buffer.write(export_onnx(network, space.example(), {"seed": "0"}))
"""


def test_a_network_has_the_same_file_in_every_process() -> None:
    space = make_space("mbconv", image_size=8, channels=1, classes=3, width=2, depth=1)
    network = space.derive(space.network(0), space.random(torch.Generator().manual_seed(0)))
    here = export_onnx(network, space.example(), {"seed": "0"})
    env = {**os.environ, "PYTHONHASHSEED": "1"}
    again = subprocess.run([sys.executable, "-c", AGAIN], capture_output=True, check=True, env=env).stdout
    assert onnx.load_from_string(again).graph.node and again == here


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", SPACES)
def test_the_runtime_runs_the_same_operations_of_a_network_before_its_training_and_of_its_file(
    name: str, precision: str, tmp_path: Path
) -> None:
    before, shipped = measured_and_trained(name)
    if precision == "int8":
        shipped = quantise(shipped, [{"images": IMAGES.numpy()}], reduce_range=not has_vnni())
    elif precision == "fp16":
        shipped = halve(shipped)
    measured = before.onnx(precision)
    assert operations_of(measured, tmp_path / "measured.onnx") == operations_of(shipped, tmp_path / "shipped.onnx")


class MadeUpFile:
    """A session whose outputs are its images flattened, plus what is given for their classes."""

    def __init__(self, *added: float) -> None:
        self._added = np.array(added, np.float32)

    def get_inputs(self) -> list[Any]:
        return [onnx.ValueInfoProto(name="images")]

    def run(self, _: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [given["images"].reshape(-1, 2) + self._added]


def outputs(ahead: float) -> torch.Tensor:
    """Images [N, C, 1, 1] that are their own logits: in the first ten the first class is so far ahead, in 490 by 1."""
    images = torch.tensor([1.0, 0.0]).repeat(500, 1)
    images[:10, 1] = 1.0 - ahead
    return images.reshape(500, 2, 1, 1)


def test_a_tie_that_rounding_decides_otherwise_is_no_other_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "_session", lambda file: MadeUpFile(0.0, 5e-6))
    check = check_against_torch(b"", nn.Flatten(), outputs(ahead=1e-6))
    assert check.same_class == 490 / 500 and check.largest_difference == pytest.approx(5e-6, rel=0.1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("precision", "then"),
    [("fp32", "; please report this."), ("fp16", ". Leave --fp16 out."), ("int8", ". Leave --int8 out.")],
)
def test_a_file_whose_outputs_are_no_numbers_is_refused_in_any_precision(
    precision: Literal["fp32", "fp16", "int8"], then: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "_session", lambda file: MadeUpFile(0.0, value))
    with pytest.raises(TargetMissedError) as caught:
        check_against_torch(b"", nn.Flatten(), outputs(ahead=0.5), Form(precision))
    said = "the exported file computes outputs that are infinite or no numbers. It was not written"
    assert str(caught.value) == said + then


def test_a_file_that_differs_too_much_is_refused_with_how_many_images_clearly_get_another_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_file, "_session", lambda file: MadeUpFile(-1e-3, 1e-3))
    for ahead, others in ((1e-5, 0), (1e-3, 10)):
        with pytest.raises(TargetMissedError, match=rf"1\.00e-03 of their scale, {others} of 500 images get another"):
            check_against_torch(b"", nn.Flatten(), outputs(ahead))
    monkeypatch.setattr(onnx_file, "_session", lambda file: MadeUpFile(-0.95e-4, 0.95e-4))
    with pytest.raises(TargetMissedError, match=r"9\.5\de-05 of their scale, 10 of 500 images get another class"):
        check_against_torch(b"", nn.Flatten(), outputs(ahead=1.5e-4))
