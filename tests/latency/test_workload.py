from __future__ import annotations

import itertools
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from latnas.data.randomness import generator
from latnas.errors import LatnasError, UsageError
from latnas.latency import onnx_export, workload
from latnas.latency.workload import Workload, as_if_trained, identity_workload
from latnas.spaces.space import make_space


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 8 * 8, 5),
    )
    module(torch.randn(16, 3, 16, 16))
    return module


def outputs_in_onnxruntime(file: bytes, *inputs: Tensor) -> list[np.ndarray]:
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return list(session.run(None, dict(zip(names, (x.numpy() for x in inputs), strict=True))))


class Spectrum(nn.Module):
    """The tracing exporter refuses it, and prints the graph with source paths; the dynamo exporter does it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft2(x).abs()


class Refused(nn.Module):
    """Neither exporter has an ONNX form for it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x).abs()


class BranchOnShape(nn.Module):
    """Makes the tracing exporter warn that a Python condition becomes a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def test_the_onnx_file_computes_what_the_module_computes(network: nn.Module) -> None:
    x = torch.randn(2, 3, 16, 16)
    work = Workload(network, x)
    with torch.inference_mode():
        expected = work.module(x)
    (actual,) = outputs_in_onnxruntime(work.onnx(), x)
    np.testing.assert_allclose(actual, expected.numpy(), rtol=0, atol=1e-5)


def test_several_inputs_are_numbered(network: nn.Module) -> None:
    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a + 2 * b

    a, b = torch.randn(1, 4), torch.randn(1, 4)
    work = Workload(Sum(), (a, b))
    assert [given.name for given in onnx.load_from_string(work.onnx()).graph.input] == ["x0", "x1"]
    (actual,) = outputs_in_onnxruntime(work.onnx(), a, b)
    np.testing.assert_allclose(actual, (a + 2 * b).numpy(), atol=1e-6)
    one_input = onnx.load_from_string(Workload(network, torch.zeros(1, 3, 16, 16)).onnx())
    assert [given.name for given in one_input.graph.input] == ["x"]


def test_the_file_is_one_that_older_runtimes_read(network: nn.Module) -> None:
    model = onnx.load_from_string(Workload(network, torch.zeros(1, 3, 16, 16)).onnx())
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 10
    assert [opset.version for opset in model.opset_import] == [18]


def test_the_module_is_put_into_evaluation_mode(network: nn.Module) -> None:
    assert network.training
    before = {name: value.clone() for name, value in network.state_dict().items()}
    work = Workload(network, torch.randn(2, 3, 16, 16))
    work.onnx()
    assert not work.module.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_module_that_saw_no_image_yet_is_measured_with_values_that_are_all_different() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    x = torch.rand(1, 3, 4, 4)
    work = Workload(module, x)
    values = torch.stack([v for name, v in work.module.state_dict().items() if v.shape == (8,)])
    assert len(values) == 8 == len(values.unique(dim=0))
    assert values.min() > 0, "variances are positive"
    (actual,) = outputs_in_onnxruntime(work.onnx(), x)
    with torch.inference_mode():
        np.testing.assert_allclose(actual, work.module(x).numpy(), atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items()), "a copy is measured"
    assert Workload(module, x).onnx() == work.onnx(), "the same values each time"


def test_normalisations_without_factors_get_other_averages_too() -> None:
    work = Workload(nn.Sequential(nn.BatchNorm1d(4, affine=False)), torch.zeros(1, 4))
    assert len(torch.stack([v for v in work.module.state_dict().values() if v.shape == (4,)]).unique()) == 8


def test_a_module_that_was_trained_is_measured_as_it_is(network: nn.Module) -> None:
    assert Workload(network, torch.zeros(1, 3, 16, 16)).module is network


@pytest.mark.parametrize(("name", "depth"), [("nasbench201", 1), ("mbconv", 1), ("darts", 3)])
def test_networks_of_a_supernet_that_is_as_if_trained_are_measured_without_another_copy(name: str, depth: int) -> None:
    space = make_space(name, width=2, depth=depth, image_size=8, channels=1, classes=3)
    supernet = as_if_trained(space.network(seed=0))
    derived = space.derive(supernet, space.random(generator(0, "any")))
    values = [value for value in derived.state_dict().values() if value.is_floating_point()]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(values, 2))
    assert Workload(derived, space.example()).module is derived


def test_the_file_is_made_when_asked_for_and_once(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    exports = []

    def counted(module: nn.Module, example: tuple[Tensor, ...]) -> bytes:
        exports.append(module)
        return onnx_export.export_for_measuring(module, example)

    monkeypatch.setattr(workload, "export_for_measuring", counted)
    work = Workload(network, torch.zeros(1, 3, 16, 16))
    assert exports == []
    assert work.onnx() is work.onnx()
    assert len(exports) == 1


def test_equal_files_are_equal_computations_with_equal_weights(network: nn.Module) -> None:
    x = torch.zeros(1, 3, 16, 16)
    first = Workload(network, x).onnx()
    assert Workload(network, torch.ones(1, 3, 16, 16)).onnx() == first
    assert Workload(network, torch.zeros(2, 3, 16, 16)).onnx() != first
    with torch.no_grad():
        next(network.parameters()).mul_(1.01)
    assert Workload(network, x).onnx() != first


def test_no_warning_and_no_log_comes_through(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        Workload(BranchOnShape(), torch.ones(1, 2)).onnx()
    assert [str(warning.message) for warning in recwarn] == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_dynamo_exporter_takes_over_without_a_word_and_without_paths(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    x = torch.randn(1, 2, 4, 4)
    file = Workload(Spectrum(), x).onnx()
    (actual,) = outputs_in_onnxruntime(file, x)
    np.testing.assert_allclose(actual, Spectrum()(x).numpy(), atol=1e-5)
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert Path(__file__).name.encode() not in file and b"Spectrum" not in file
    assert [given.name for given in onnx.load_from_string(file).graph.input] == ["x"]


def test_a_file_says_nothing_of_where_it_was_made(network: nn.Module) -> None:
    file = Workload(network, torch.zeros(1, 3, 16, 16)).onnx()
    for trace in (str(Path(__file__).parent), str(Path(torch.__file__).parent), "test_workload", "nn.modules"):
        assert trace.encode() not in file


def test_what_neither_exporter_can_express_says_so_and_what_to_do() -> None:
    with pytest.raises(LatnasError, match=r"cannot export Refused .* Tracing: .* Dynamo: .*--runtime torch"):
        Workload(Refused(), torch.eye(3)).onnx()


def test_the_identity_copies_its_inputs_by_one_operation_each() -> None:
    a, b = torch.randn(1, 3, 4, 4), torch.randn(1, 2)
    work = identity_workload((a, b))
    assert len(onnx.load_from_string(work.onnx()).graph.node) == 2
    copies = outputs_in_onnxruntime(work.onnx(), a, b)
    assert all(np.array_equal(copy, x.numpy()) for copy, x in zip(copies, (a, b), strict=True))
    out = identity_workload(a).module(a)[0]
    assert out.data_ptr() != a.data_ptr()


def test_a_file_that_exists_is_a_workload_without_a_module(network: nn.Module) -> None:
    x = torch.zeros(1, 3, 16, 16)
    exported = Workload(network, x)
    work = Workload.from_file(exported.onnx(), x)
    assert work.onnx() == exported.onnx()
    with pytest.raises(UsageError, match=r"cannot be run as a PyTorch module\. Use --runtime onnxruntime"):
        _ = work.module


def test_a_file_is_run_as_it_is_whatever_precision_is_asked_for() -> None:
    assert Workload.from_file(b"quantised", torch.zeros(1, 3, 16, 16)).onnx("fp16") == b"quantised"


def test_an_example_must_have_an_input(network: nn.Module) -> None:
    with pytest.raises(ValueError, match="at least one input"):
        Workload(network, ())
