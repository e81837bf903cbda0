from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latnas.errors import LatnasError, UsageError
from latnas.latency.measure import measure
from latnas.latency.profiler import Profiler, RunSettings, open_plugin
from latnas.latency.runtimes import parse_runtime
from latnas.latency.workload import Workload, identity_workload
from latnas_profilers import modes
from latnas_profilers.pytorch import CpuRunner, CudaProfiler, CudaRunner, Replay, plugin


def conv(channels: int) -> Workload:
    return Workload(nn.Conv2d(channels, channels, 3, padding=1), torch.randn(1, channels, 16, 16))


class Watcher(nn.Module):
    """Remembers under which conditions it was run."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()
        self.inference: set[bool] = set()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.threads.add(torch.get_num_threads())
        self.inference.add(torch.is_inference_mode_enabled())
        self.calls += 1
        return x


def test_thirty_times_the_work_is_slower_and_nothing_is_fastest() -> None:
    profiler = plugin.open("cpu", RunSettings())
    workloads = {"small": conv(16), "large": conv(88), "nothing": identity_workload(torch.zeros(1, 16, 16, 16))}
    runners = {name: profiler.prepare(work) for name, work in workloads.items()}
    items = measure(runners, anchor="small", rounds=8, burst_seconds=0.001).items
    assert items["nothing"].floor_seconds < items["small"].floor_seconds < items["large"].floor_seconds / 3


def test_the_threads_asked_for_are_used_and_then_put_back() -> None:
    before = torch.get_num_threads()
    watcher = Watcher()
    runner = plugin.open("cpu", RunSettings(threads=before + 1)).prepare(Workload(watcher, torch.zeros(1, 1)))
    assert runner.run(3) > 0
    assert watcher.calls == 3
    assert watcher.threads == {before + 1}
    assert watcher.inference == {True}
    assert torch.get_num_threads() == before


def test_the_threads_are_put_back_after_a_failure() -> None:
    before = torch.get_num_threads()
    wrong = Workload(nn.Linear(3, 3), torch.zeros(1, 4))
    runner = plugin.open("cpu", RunSettings(threads=before + 1)).prepare(wrong)
    with pytest.raises(RuntimeError):
        runner.run(1)
    assert torch.get_num_threads() == before


def test_a_device_that_torch_does_not_see_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UsageError, match="and none is cuda:99"):
        plugin.open("cuda:99", RunSettings())


def test_a_gpu_whose_driver_does_not_fit_is_counted_and_yet_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(
        UsageError, match=r"torch cannot use cuda: torch .* finds no GPU or no driver: nvidia-smi tells"
    ):
        plugin.open("cuda", RunSettings())


def test_without_a_gpu_cuda_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    cpu, cuda = plugin.devices()
    assert (cpu.device, cpu.usable) == ("cpu", True)
    assert (cuda.device, cuda.usable) == ("cuda", False)
    assert "is built without CUDA; install a build of torch that has it" in cuda.detail
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert "nvidia-smi" in plugin.devices()[1].detail


def test_each_gpu_is_listed_by_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Acme {index}")
    assert [(status.device, status.detail[:6]) for status in plugin.devices()[1:]] == [
        ("cuda:0", "Acme 0"),
        ("cuda:1", "Acme 1"),
    ]


def test_on_a_gpu_every_inference_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU here: the calls are recorded in their order instead."""
    events: list[str] = []

    class Recorder(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert not torch.backends.cudnn.benchmark
            events.append("inference")
            return x

    def clock() -> float:
        events.append("clock")
        return float(len(events))

    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append("wait"))
    monkeypatch.setattr(time, "perf_counter", clock)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    runner = CudaRunner(Recorder(), (torch.zeros(1),), torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.inference_mode())
    assert runner.run(2) == 5.0
    assert events == ["wait", "clock", "inference", "wait", "inference", "wait", "clock"]
    assert torch.backends.cudnn.benchmark


@pytest.mark.gpu
def test_a_gpu_takes_longer_for_a_hundred_times_the_work() -> None:
    profiler = plugin.open("cuda", RunSettings(batch=64))
    assert isinstance(profiler, CudaProfiler)
    runners = {}
    for width in (16, 512):
        work = Workload(nn.Conv2d(width, width, 3, padding=1), torch.randn(64, width, 32, 32))
        runners[str(width)] = profiler.prepare(work)
        assert next(work.module.parameters()).device.type == "cpu"
    items = measure(runners, anchor="16", rounds=5).items
    assert items["16"].floor_seconds < items["512"].floor_seconds
    assert profiler.describe()["gpu"]


# Settings


def opened(settings: str, device: str = "cpu") -> Profiler:
    return open_plugin(plugin, device, RunSettings(runtime=parse_runtime(f"torch:{settings}").settings))


def image_network() -> Workload:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
    return Workload(nn.Sequential(*layers), torch.randn(2, 3, 9, 9)[:1])


def output_of(runner: Any) -> Tensor:
    with torch.inference_mode():
        out: Tensor = runner._module(*runner._inputs)
    return out.cpu()


def needs(setting: str) -> None:
    status = {status.name: status for status in plugin.settings()}[setting]
    if not status.usable:
        pytest.skip(status.detail)


def test_channels_last_computes_the_same_and_leaves_the_workload_s_own_module_alone() -> None:
    work = image_network()
    runner = opened("channels-last").prepare(work)
    assert isinstance(runner, CpuRunner) and isinstance(runner._module, nn.Sequential)
    assert runner.run(2) > 0
    assert runner._module[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert runner._inputs[0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output_of(runner), work.module(*work.example))
    assert work.module[0].weight.is_contiguous() and work.example[0].is_contiguous()  # type: ignore[index]


def test_inputs_of_other_dimensions_stay_as_they_are_under_channels_last() -> None:
    work = Workload(nn.Linear(4, 3), torch.randn(1, 4))
    torch.testing.assert_close(output_of(opened("channels-last").prepare(work)), work.module(*work.example))


def test_compiled_networks_that_share_their_code_are_all_compiled_and_compute_the_same() -> None:
    """PyTorch would compile one code for a few networks only, and run the others eagerly."""
    needs("compile")

    class Scaled(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(width))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.weight).relu()

    works = [Workload(Scaled(width), torch.randn(1, width)) for width in (3, 5)]
    profiler = opened("compile")
    with torch._dynamo.config.patch(recompile_limit=1):
        runners = [profiler.prepare(work) for work in works]
        for runner, work in zip(runners, works, strict=True):
            assert runner.run(2) > 0
            torch.testing.assert_close(output_of(runner), work.module(*work.example))
    assert "compiler" in profiler.describe()


def test_a_module_that_is_not_one_graph_is_refused_in_one_line() -> None:
    needs("compile")

    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch._dynamo.graph_break()
            return x

    with pytest.raises(LatnasError, match=r"torch\.compile failed: .*Without compiling: --runtime torch") as it:
        opened("compile").prepare(Workload(Broken(), torch.zeros(1, 2)))
    assert "\n" not in str(it.value) and len(str(it.value)) < 500


def test_without_a_compiler_compiling_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "a-compiler-that-is-not-there")
    status = {status.name: status for status in plugin.settings()}[modes.COMPILE]
    assert not status.usable
    assert "no C++ compiler 'a-compiler-that-is-not-there' here" in status.detail
    with pytest.raises(UsageError, match="torch cannot use compile here: no C"):
        opened("compile")


def test_settings_make_another_description_and_their_order_does_not() -> None:
    needs("compile")
    changes = ("channels-last", "compile", "compile,channels-last")
    descriptions = [plugin.open("cpu", RunSettings()).describe(), *(opened(one).describe() for one in changes)]
    assert len({frozenset(one.items()) for one in descriptions}) == len(descriptions)
    assert opened("channels-last,compile").describe() == descriptions[-1]


def test_cuda_graphs_are_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UsageError, match="cuda-graphs of torch is for cuda, not for cpu"):
        opened("cuda-graphs")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=f"torch cannot use cuda-graphs here: torch {torch.__version__[:3]}"):
        opened("cuda-graphs")


def test_a_graph_is_captured_after_a_warm_up_on_a_side_stream_and_each_replay_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No GPU here: the calls are recorded in their order instead."""
    events: list[str] = []

    class Stream:
        def __init__(self, name: str = "side") -> None:
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            events.append(f"{self.name} waits for {other.name}")

    class Graph:
        def replay(self) -> None:
            events.append("replay")

    class Recorder(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            events.append("inference")
            return x

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        events.append(f"on {stream.name}")
        yield
        events.append("off")

    @contextmanager
    def capturing(graph: Graph, stream: Stream) -> Iterator[None]:
        events.append(f"capture on {stream.name}")
        yield
        events.append("captured")

    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append("wait"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream("main"))
    for name, fake in {"Stream": Stream, "CUDAGraph": Graph, "stream": on, "graph": capturing}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    runner = CudaRunner(Recorder(), (torch.zeros(1),), torch.device("cuda", 0)).captured()
    warm_up = ["side waits for main", "on side", *["inference"] * 3, "off", "main waits for side"]
    assert events == [*warm_up, "capture on side", "inference", "captured"]
    events.clear()
    assert runner.run(2) > 0
    assert events == ["wait", "replay", "wait", "replay", "wait"]


@pytest.mark.gpu
@pytest.mark.parametrize("settings", ["channels-last", "cuda-graphs", "compile", "channels-last,compile,cuda-graphs"])
def test_on_a_gpu_whatever_the_settings_the_outputs_are_those_of_the_module(settings: str) -> None:
    for setting in settings.split(","):
        needs(setting)
    work = image_network()
    runner = opened(settings, "cuda").prepare(work)
    assert isinstance(runner, CudaRunner) and runner.run(3) > 0
    assert next(work.module.parameters()).device.type == "cpu"
    replay = runner._module
    actual = replay.kept[2].cpu() if isinstance(replay, Replay) else output_of(runner)
    torch.testing.assert_close(actual, work.module(*work.example), atol=1e-2, rtol=1e-2)
