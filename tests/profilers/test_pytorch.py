from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from latnas.errors import UsageError
from latnas.latency.measure import measure
from latnas.latency.profiler import RunSettings
from latnas.latency.workload import Workload, identity_workload
from latnas_profilers.pytorch import CudaProfiler, CudaRunner, plugin


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


def test_a_device_that_torch_does_not_see_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="and none is cuda:99"):
        plugin.open("cuda:99", RunSettings())


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
