from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from latnas.errors import LatnasError, UsageError
from latnas.latency.measure import measure
from latnas.latency.profiler import Profiler, RunSettings, choose, open_plugin
from latnas.latency.runtimes import parse_runtime
from latnas.latency.workload import Workload, identity_workload
from latnas_profilers import ort
from latnas_profilers.ort import CUDA, REMOTE, TENSORRT, OrtProfiler, OrtRunner, plugin


def conv(channels: int) -> Workload:
    return Workload(nn.Conv2d(channels, channels, 3, padding=1), torch.randn(1, channels, 16, 16))


def network() -> Workload:
    """With something to optimise: a normalisation and an activation after a convolution, and two branches."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
            self.right = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.left(x) + self.right(x)
            return out

    torch.manual_seed(0)
    return Workload(Network(), torch.randn(1, 8, 16, 16))


def opened(runtime: str, device: str = "cpu", threads: int = 1) -> Profiler:
    settings = parse_runtime(f"onnxruntime:{runtime}" if runtime else "onnxruntime").settings
    return open_plugin(plugin, device, RunSettings(threads=threads, runtime=settings))


def session_of(profiler: Profiler, work: Workload) -> OrtRunner:
    runner = profiler.prepare(work)
    assert isinstance(runner, OrtRunner)
    return runner


def test_thirty_times_the_work_is_slower_and_nothing_is_fastest() -> None:
    profiler = plugin.open("cpu", RunSettings())
    workloads = {"small": conv(16), "large": conv(88), "nothing": identity_workload(torch.zeros(1, 16, 16, 16))}
    runners = {name: profiler.prepare(work) for name, work in workloads.items()}
    items = measure(runners, anchor="small", rounds=8, burst_seconds=0.001).items
    assert items["nothing"].floor_seconds < items["small"].floor_seconds < items["large"].floor_seconds / 5


def test_seconds_are_of_all_inferences_together_and_of_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class Session:
        def get_outputs(self) -> list[Any]:
            return [SimpleNamespace(name="y")]

        def run(self, outputs: list[str], feed: Mapping[str, int]) -> None:
            assert (outputs, feed) == (["y"], {"x": 1})
            events.append("inference")

    def clock() -> float:
        events.append("clock")
        return float(len(events))

    runner = OrtRunner(Session(), {"x": 1})
    monkeypatch.setattr(time, "perf_counter", clock)
    assert runner.run(3) == 4.0
    assert events == ["clock", *["inference"] * 3, "clock"]


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
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in cuda.detail
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


def test_a_gpu_that_fails_when_it_runs_costs_the_cpu_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails:
        def __init__(self, file: bytes, options: object, providers: list[object], enable_fallback: int) -> None:
            pass

        def get_providers(self) -> list[str]:
            return [CUDA]

        def get_inputs(self) -> list[Any]:
            return [SimpleNamespace(name="x")]

        def get_outputs(self) -> list[Any]:
            return [SimpleNamespace(name="y")]

        def run(self, outputs: list[str], feed: object) -> None:
            raise RuntimeError("no kernel image is available for execution on the device")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    with monkeypatch.context() as patched:
        patched.setattr(ort.ort, "InferenceSession", Fails)
        cpu, gpu = plugin.devices()
        settings = {status.name: status for status in plugin.settings()}
    assert cpu.usable and not gpu.usable
    assert f"{CUDA} starts on cuda and then fails: no kernel image is available" in gpu.detail
    assert settings["CPUExecutionProvider"].usable and not settings[CUDA].usable
    assert choose("cpu")[0].runtime == "onnxruntime"


def test_a_gpu_is_tried_before_it_is_measured_on_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a convolution, which needs cuDNN: where it is loaded when first needed, other operations would run."""
    tried: list[tuple[str, str]] = []

    def refused(self: OrtProfiler, workload: Workload) -> OrtRunner:
        tried.append((self._device, type(workload.module).__name__))
        raise LatnasError("cudnn was not found")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(OrtProfiler, "prepare", refused)
    with pytest.raises(UsageError, match=r"cannot use cuda:1: cudnn was not found\. Install .*\[cuda,cudnn\]"):
        plugin.open("cuda:1", RunSettings())
    assert tried == [("cuda:1", "Conv2d")]


# Settings


@pytest.mark.parametrize(
    "runtime",
    [
        "optimisation=none", "optimisation=basic", "optimisation=extended", "optimisation=all", "spinning=off",
        "arena=off", "execution=parallel", "CPUExecutionProvider,arena=off,execution=parallel,optimisation=basic",
    ],
)  # fmt: skip
def test_whatever_the_settings_the_session_computes_what_the_module_computes(runtime: str) -> None:
    work = network()
    runner = session_of(opened(runtime, threads=2), work)
    assert runner.run(2) > 0
    (actual,) = runner._session.run(runner._outputs, runner._feed)
    with torch.inference_mode():
        np.testing.assert_allclose(actual, work.module(*work.example).numpy(), atol=1e-5)


def test_the_session_has_the_settings_that_were_asked_for() -> None:
    levels = onnxruntime.GraphOptimizationLevel
    for value, level in {
        "none": levels.ORT_DISABLE_ALL, "basic": levels.ORT_ENABLE_BASIC, "extended": levels.ORT_ENABLE_EXTENDED,
    }.items():  # fmt: skip
        options = session_of(opened(f"optimisation={value}"), conv(8))._session.get_session_options()
        assert options.graph_optimization_level == level
    options = session_of(opened("spinning=off,arena=off,execution=parallel", threads=2), conv(8))._session
    options = options.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.inter_op.allow_spinning") == "0"
    assert not options.enable_cpu_mem_arena
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 2)


def test_where_there_are_several_threads_they_spin_within_calls_alone() -> None:
    """Else those of one session would slow the next. A single thread has nothing to wait for."""
    one, two = opened("", threads=1), opened("", threads=2)
    options = session_of(two, conv(8))._session.get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
    with pytest.raises(RuntimeError, match="force_spinning_stop"):
        session_of(one, conv(8))._session.get_session_options().get_session_config_entry("session.force_spinning_stop")
    assert two.describe()["spinning"] == "within calls" and "spinning" not in one.describe()


def test_optimising_less_leaves_more_nodes(tmp_path: Path) -> None:
    """That a level is more than a word: counted in the graphs that ONNX Runtime makes of one file."""
    counts = []
    for value in ("none", "extended"):
        options = OrtProfiler("cpu", RunSettings(runtime=(f"optimisation={value}",)))._session_options()
        options.optimized_model_filepath = str(tmp_path / f"{value}.onnx")
        onnxruntime.InferenceSession(network().onnx(), options, providers=["CPUExecutionProvider"])
        counts.append(len(onnx.load(tmp_path / f"{value}.onnx").graph.node))
    assert counts[0] > counts[1]


def test_settings_make_another_description_and_their_order_or_a_default_does_not() -> None:
    def description(runtime: str) -> frozenset[tuple[str, str]]:
        return frozenset(opened(runtime, threads=2).describe().items())

    changes = ["", "optimisation=none", "optimisation=basic", "spinning=off", "arena=off", "execution=parallel"]
    assert len({description(runtime) for runtime in changes}) == len(changes)
    assert description("spinning=off,arena=off") == description("arena=off,spinning=off")
    defaults = "CPUExecutionProvider,optimisation=all,execution=sequential,spinning=on,arena=on"
    assert description(defaults) == description("")


def test_parallel_execution_needs_a_second_thread() -> None:
    with pytest.raises(UsageError, match="execution=parallel needs --threads 2 or more"):
        opened("execution=parallel")


def test_one_provider_runs_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["AcmeExecutionProvider", REMOTE])
    assert opened("AcmeExecutionProvider").describe()["provider"] == "AcmeExecutionProvider"
    with pytest.raises(UsageError, match="not AcmeExecutionProvider and CPUExecutionProvider"):
        opened("CPUExecutionProvider,AcmeExecutionProvider")
    with pytest.raises(UsageError, match=f"has no setting '{REMOTE}'"):
        opened(REMOTE)


def test_int8_is_refused_for_tensorrt_and_it_is_said_why() -> None:
    with pytest.raises(UsageError, match="activations have no sign, and TensorRT takes symmetric ones with a sign"):
        OrtProfiler("cuda", RunSettings(precision="int8", runtime=(TENSORRT,)))
    OrtProfiler("cuda", RunSettings(precision="fp16", runtime=(TENSORRT,)))


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_a_provider_that_this_package_lacks_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    status = {status.name: status for status in plugin.settings()}[provider]
    assert (status.usable, status.device) == (False, "cuda")
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in status.detail
    assert ("libnvinfer" in status.detail) == (provider == TENSORRT)
    with pytest.raises(UsageError, match=f"cannot use {provider} here: .*pip install 'onnxruntime-gpu"):
        opened(provider)


def test_tensorrt_is_tried_before_cuda_without_a_cache_and_in_the_precision_of_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No GPU here: what a session would be made with is recorded instead."""
    made: list[list[tuple[str, dict[str, str]]]] = []
    runs: list[list[str]] = []

    class Recorded:
        def __init__(self, file: bytes, options: object, providers: Any, enable_fallback: int) -> None:
            made.append(providers)

        def get_providers(self) -> list[str]:
            return [name for name, _ in made[-1]]

        def get_inputs(self) -> list[Any]:
            return [SimpleNamespace(name="x")]

        def get_outputs(self) -> list[Any]:
            return [SimpleNamespace(name="y")]

        def run(self, outputs: list[str], feed: object) -> None:
            runs.append(outputs)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(ort.ort, "InferenceSession", Recorded)
    profiler = opened(TENSORRT, "cuda:1")
    profiler.prepare(conv(8))
    assert runs[-1] == ["y"], "the engine is built before the clock runs"
    (first, options), (second, cuda_options) = made[-1]
    assert (first, second) == (TENSORRT, CUDA)
    assert options["device_id"] == cuda_options["device_id"] == "1"
    switches = ("trt_engine_cache_enable", "trt_timing_cache_enable", "trt_fp16_enable", "trt_int8_enable")
    assert {options[name] for name in switches} == {"False"}
    monkeypatch.setattr(ort, "version", installed({"nvidia-cudnn-cu12": "9.1", "tensorrt": "10.2"}))
    described = profiler.describe()
    assert described["provider"] == TENSORRT
    assert [described[library] for library in ("cuda", "cudnn", "tensorrt")] == ["not from pip", "9.1", "10.2"]
    with pytest.raises(UsageError, match=f"{TENSORRT} of onnxruntime is for cuda, not for cpu"):
        opened(TENSORRT)


def installed(packages: Mapping[str, str]) -> Callable[[str], str]:
    """What `importlib.metadata.version` says where these packages are installed."""

    def version(name: str) -> str:
        if name not in packages:
            raise PackageNotFoundError(name)
        return packages[name]

    return version


@pytest.mark.gpu
@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_a_gpu_computes_what_the_module_computes(provider: str) -> None:
    status = {status.name: status for status in plugin.settings()}[provider]
    if not status.usable:
        pytest.skip(status.detail)
    work = network()
    runner = session_of(opened(provider, "cuda"), work)
    (actual,) = runner._session.run(runner._outputs, runner._feed)
    with torch.inference_mode():
        np.testing.assert_allclose(actual, work.module(*work.example).numpy(), atol=1e-2)


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


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_module_runs_in_the_precision_of_the_settings_and_the_description_says_so(precision: str) -> None:
    profiler = plugin.open("cpu", RunSettings(precision=precision))
    assert profiler.describe()["precision"] == precision
    workload = Workload(nn.Conv2d(3, 8, 3), torch.rand(1, 3, 8, 8))
    assert profiler.prepare(workload).run(2) > 0
    other = plugin.open("cpu", RunSettings()).describe()
    assert {name for name, value in profiler.describe().items() if other[name] != value} == {"precision"}
