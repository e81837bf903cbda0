"""PyTorch: runs the module itself, on the CPU or an NVIDIA GPU, where no ONNX runtime can use the device."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from latnas.errors import UsageError
from latnas.latency.profiler import DeviceStatus, Profiler, RunSettings
from latnas.latency.workload import Workload
from latnas_profilers.host import check_batch, check_settings, cpu_name, describe_host, describe_settings
from latnas_profilers.host import device_index as index_of

WARM_UPS = 3


class CpuRunner:
    """A module on the CPU."""

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> None:
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
    """A module on a GPU, inputs and outputs in its memory.

    Kernels are only launched when a call returns. So each inference is waited for, and the time is what the
    caller waits: launching included, which at batch 1 is most of it.
    """

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...], device: torch.device) -> None:
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
            **describe_settings(self._settings),
            **describe_host(),
        }

    def prepare(self, workload: Workload) -> CpuRunner:
        """As `Profiler.prepare`."""
        check_batch(workload, self._settings)
        return CpuRunner(workload.module, workload.example, self._settings.threads)


class CudaProfiler:
    """PyTorch on one NVIDIA GPU, in eager mode, tensors contiguous."""

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
            "cudnn_benchmark": "off",
            "tf32": f"convolutions {torch.backends.cudnn.allow_tf32}, matrices {torch.backends.cuda.matmul.allow_tf32}",
            "quantity": "host wall time, synchronised after each inference, tensors in device memory",
            **describe_settings(self._settings),
            **describe_host(),
        }

    def prepare(self, workload: Workload) -> CudaRunner:
        """As `Profiler.prepare`. The workload keeps its module where it is; a copy goes to the device."""
        check_batch(workload, self._settings)
        module = copy.deepcopy(workload.module).to(self._device)
        inputs = tuple(tensor.to(self._device) for tensor in workload.example)
        runner = CudaRunner(module, inputs, self._device)
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
            why = (
                "finds no GPU or no driver: nvidia-smi tells which"
                if torch.version.cuda
                else "is built without CUDA; install a build of torch that has it"
            )
            return [cpu, DeviceStatus("cuda", False, f"{version} {why}")]
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return [
            cpu,
            *(DeviceStatus(f"cuda:{index}", True, f"{name}, {version}") for index, name in enumerate(names)),
        ]

    def open(self, device: str, settings: RunSettings) -> Profiler:
        """A profiler of `cpu`, `cuda` or `cuda:N`."""
        if device == "cpu":
            return CpuProfiler(settings)
        index = index_of(device, "cuda")
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
