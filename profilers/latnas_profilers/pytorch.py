"""PyTorch: runs the module itself, on the CPU or an NVIDIA GPU, where no ONNX runtime can use the device.

Eagerly and with contiguous tensors, unless the settings of `modes.py` say otherwise.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from latnas.errors import UsageError
from latnas.latency.profiler import DeviceStatus, Profiler, RunSettings
from latnas.latency.runtimes import SettingStatus
from latnas.latency.workload import Workload
from latnas_profilers import modes
from latnas_profilers.host import check_batch, check_settings, cpu_name, describe_host, describe_settings, gpu_driver
from latnas_profilers.host import device_index as index_of

WARM_UPS = 3


class CpuRunner:
    """A module on the CPU, or what it was compiled to."""

    def __init__(self, module: Callable[..., object], inputs: tuple[Tensor, ...], threads: int) -> None:
        self._module = module
        self._inputs = inputs
        self._threads = threads

    def run(self, n: int) -> float:
        """Seconds for `n` inferences."""
        module, inputs = self._module, self._inputs
        with _threads(self._threads), torch.inference_mode():
            start = time.perf_counter()
            for _ in range(n):
                module(*inputs)
            return time.perf_counter() - start


class CudaRunner:
    """A module on a GPU, or what it was compiled or captured to, inputs and outputs in its memory.

    Kernels are only launched when a call returns. So each inference is waited for, and the time is what the
    caller waits: launching included, which at batch 1 is most of it.
    """

    def __init__(self, module: Callable[..., object], inputs: tuple[Tensor, ...], device: torch.device) -> None:
        self._module = module
        self._inputs = inputs
        self._device = device

    def run(self, n: int) -> float:
        """Seconds for `n` inferences, the device idle before the first and after each."""
        module, inputs, device = self._module, self._inputs, self._device
        with torch.cuda.device(device), _cudnn_without_search(), torch.inference_mode():
            torch.cuda.synchronize(device)
            start = time.perf_counter()
            for _ in range(n):
                module(*inputs)
                torch.cuda.synchronize(device)
            return time.perf_counter() - start

    def captured(self) -> CudaRunner:
        """The same with all kernels of an inference recorded once, in a CUDA graph, and launched as one.

        As PyTorch asks for it: first warmed up on a side stream, and the same inputs in place at every replay. The
        module stays, since the graph reads its weights where they are.
        """
        module, inputs, device = self._module, self._inputs, self._device
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), _cudnn_without_search(), torch.inference_mode():
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    module(*inputs)
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph, stream=side):
                outputs = module(*inputs)
        return CudaRunner(Replay(graph, (module, inputs, outputs)), (), device)


class Replay:
    """Launches a graph. `kept` is what it reads and writes: the module, its inputs and outputs."""

    def __init__(
        self, graph: torch.cuda.CUDAGraph, kept: tuple[Callable[..., object], tuple[Tensor, ...], Any]
    ) -> None:
        self._graph = graph
        self.kept = kept

    def __call__(self) -> None:
        self._graph.replay()


class CpuProfiler:
    """PyTorch on the CPU."""

    def __init__(self, settings: RunSettings) -> None:
        check_settings(settings, "torch")
        self._settings = settings

    def describe(self) -> dict[str, str]:
        """As `Profiler.describe`."""
        return {
            "runtime": "torch",
            "runtime_version": torch.__version__,
            "quantity": "host wall time of a call",
            **modes.describe(self._settings.runtime),
            **describe_settings(self._settings),
            **describe_host(),
        }

    def prepare(self, workload: Workload) -> CpuRunner:
        """As `Profiler.prepare`.

        Raises:
            LatnasError: the module cannot be compiled.
        """
        check_batch(workload, self._settings)
        chosen = self._settings.runtime
        module, inputs = workload.module, workload.example
        if modes.CHANNELS_LAST in chosen:
            module, inputs = modes.channels_last(copy.deepcopy(module), inputs)
        if modes.COMPILE not in chosen:
            return CpuRunner(module, inputs, self._settings.threads)
        runner = CpuRunner(modes.compiled(module), inputs, self._settings.threads)
        # Under the very conditions of a measurement: what is compiled for others is compiled anew.
        with modes.compiling():
            runner.run(WARM_UPS)
        return runner


class CudaProfiler:
    """PyTorch on one NVIDIA GPU."""

    def __init__(self, index: int, settings: RunSettings) -> None:
        check_settings(settings, "torch")
        self._device = torch.device("cuda", index)
        self._settings = settings

    def describe(self) -> dict[str, str]:
        """As `Profiler.describe`."""
        properties = torch.cuda.get_device_properties(self._device)
        return {
            "runtime": "torch",
            "runtime_version": torch.__version__,
            "gpu": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
            **gpu_driver(),
            "cudnn_benchmark": "off",
            "tf32": f"convolutions {torch.backends.cudnn.allow_tf32}, matrices {torch.backends.cuda.matmul.allow_tf32}",
            "quantity": "host wall time, synchronised after each inference, tensors in device memory",
            **modes.describe(self._settings.runtime),
            **describe_settings(self._settings),
            **describe_host(),
        }

    def prepare(self, workload: Workload) -> CudaRunner:
        """As `Profiler.prepare`. The workload keeps its module where it is; a copy goes to the device.

        Raises:
            LatnasError: the module cannot be compiled.
        """
        check_batch(workload, self._settings)
        chosen = self._settings.runtime
        module = copy.deepcopy(workload.module).to(self._device)
        inputs = tuple(tensor.to(self._device) for tensor in workload.example)
        if modes.CHANNELS_LAST in chosen:
            module, inputs = modes.channels_last(module, inputs)
        if modes.COMPILE in chosen:
            runner = CudaRunner(modes.compiled(module), inputs, self._device)
            with modes.compiling():
                runner.run(WARM_UPS)
        else:
            runner = CudaRunner(module, inputs, self._device)
        if modes.CUDA_GRAPHS in chosen:
            runner = runner.captured()
        runner.run(WARM_UPS)
        return runner


class TorchPlugin:
    """The plugin."""

    runtime = "torch"
    measures = "torch"

    def devices(self) -> Sequence[DeviceStatus]:
        """The CPU, and each GPU by its index."""
        version = f"torch {torch.__version__}"
        cpu = DeviceStatus("cpu", True, f"{cpu_name()}, {version}")
        if not torch.cuda.is_available():
            return [cpu, DeviceStatus("cuda", False, modes.why_no_gpu())]
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return [
            cpu,
            *(DeviceStatus(f"cuda:{index}", True, f"{name}, {version}") for index, name in enumerate(names)),
        ]

    def settings(self) -> Sequence[SettingStatus]:
        """How the module is run; without any of these eagerly."""
        return modes.statuses()

    def open(self, device: str, settings: RunSettings) -> Profiler:
        """A profiler of `cpu`, `cuda` or `cuda:N`."""
        if device == "cpu":
            return CpuProfiler(settings)
        index = index_of(device, "cuda")
        if not torch.cuda.is_available():  # where a driver does not fit, GPUs are counted all the same
            raise UsageError(f"torch cannot use {device}: {modes.why_no_gpu()}. See: latnas devices")
        if index >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise UsageError(f"torch sees {count} CUDA devices, and none is {device}. See: latnas devices")
        return CudaProfiler(index, settings)


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    """So many threads within an operation; afterwards as many as before, since training may go on beside."""
    before = torch.get_num_threads()
    if before == wanted:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _cudnn_without_search() -> Iterator[None]:
    """Keeps cuDNN from trying kernels out: times would depend on what else was busy at that moment."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


plugin = TorchPlugin()
