from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from latnas.errors import LatnasError, UsageError
from latnas.latency.measure import measure
from latnas.latency.profiler import RunSettings
from latnas.latency.workload import Workload, identity_workload
from latnas_profilers import ort
from latnas_profilers.ort import CUDA, OrtProfiler, OrtRunner, plugin


def conv(channels: int) -> Workload:
    return Workload(nn.Conv2d(channels, channels, 3, padding=1), torch.randn(1, channels, 16, 16))


def test_thirty_times_the_work_is_slower_and_nothing_is_fastest() -> None:
    profiler = plugin.open("cpu", RunSettings())
    workloads = {"small": conv(16), "large": conv(88), "nothing": identity_workload(torch.zeros(1, 16, 16, 16))}
    runners = {name: profiler.prepare(work) for name, work in workloads.items()}
    items = measure(runners, anchor="small", rounds=8, burst_seconds=0.001).items
    assert items["nothing"].floor_seconds < items["small"].floor_seconds < items["large"].floor_seconds / 5


def test_seconds_are_of_all_inferences_together() -> None:
    runner = plugin.open("cpu", RunSettings()).prepare(conv(32))
    one = min(runner.run(1) for _ in range(20))
    many = min(runner.run(50) for _ in range(20))
    assert 10 * one < many < 250 * one


def test_the_session_computes_what_the_module_computes() -> None:
    work = conv(8)
    runner = plugin.open("cpu", RunSettings()).prepare(work)
    assert isinstance(runner, OrtRunner)
    (actual,) = runner._session.run(runner._outputs, runner._feed)
    with torch.inference_mode():
        np.testing.assert_allclose(actual, work.module(*work.example).numpy(), atol=1e-5)


def test_threads_and_optimisation_are_as_described() -> None:
    profiler = plugin.open("cpu", RunSettings(threads=2))
    runner = profiler.prepare(conv(8))
    assert isinstance(runner, OrtRunner)
    options = runner._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert profiler.describe()["threads"] == "2"
    assert profiler.describe()["provider"] == "CPUExecutionProvider"


def test_a_shipped_file_with_input_names_of_its_own_is_measured_too() -> None:
    exported = conv(8)
    model = onnx.load_from_string(exported.onnx())
    model.graph.input[0].name = "image"
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name == "x":
                node.input[position] = "image"
    work = Workload.from_file(model.SerializeToString(), exported.example)
    assert plugin.open("cpu", RunSettings()).prepare(work).run(2) > 0


def test_a_file_that_is_not_onnx_or_takes_other_inputs_is_refused() -> None:
    profiler = plugin.open("cpu", RunSettings())
    x = torch.zeros(1, 8, 16, 16)
    with pytest.raises(LatnasError, match="ONNX Runtime cannot run this file on cpu"):
        profiler.prepare(Workload.from_file(b"nonsense", x))
    with pytest.raises(LatnasError, match=r"has inputs \['x'\], and 2 were given"):
        profiler.prepare(Workload.from_file(conv(8).onnx(), (x, x)))


def test_without_a_cuda_provider_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    cpu, cuda = plugin.devices()
    assert cpu.usable
    assert not cuda.usable
    assert "pip install onnxruntime-gpu" in cuda.detail
    with pytest.raises(UsageError, match="onnxruntime-gpu"):
        plugin.open("cuda:1", RunSettings())


def test_a_provider_that_does_not_start_is_not_measured_as_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime would log it and run on the CPU."""

    class FallenBack:
        def __init__(self, file: bytes, options: object, providers: list[object], enable_fallback: int) -> None:
            assert providers == [(CUDA, {"device_id": "0"})]
            assert enable_fallback == 0

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(ort.ort, "InferenceSession", FallenBack)
    status = plugin.devices()[1]
    assert not status.usable
    assert "cannot start its CUDAExecutionProvider: CPUExecutionProvider would run instead" in status.detail
    with pytest.raises(LatnasError, match="CPUExecutionProvider would run instead"):
        OrtProfiler("cuda", RunSettings()).prepare(conv(8))


@pytest.mark.gpu
def test_a_gpu_is_measured_where_the_package_has_the_provider() -> None:
    status = plugin.devices()[1]
    if not status.usable:
        pytest.skip(status.detail)
    profiler = plugin.open("cuda", RunSettings())
    assert profiler.prepare(conv(8)).run(3) > 0
    assert profiler.describe()["gpu"]


def test_nothing_is_left_in_the_home_folder_or_reported(tmp_path: Path) -> None:
    script = "import latnas, onnxruntime"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []
