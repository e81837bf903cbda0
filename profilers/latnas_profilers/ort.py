"""ONNX Runtime: runs the ONNX file, on the CPU, or on an NVIDIA GPU if the installed package can."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import onnxruntime as ort

from latnas.errors import LatnasError, UsageError
from latnas.latency.profiler import DeviceStatus, Profiler, RunSettings
from latnas.latency.workload import Workload
from latnas_profilers.host import (
    check_batch,
    check_settings,
    cpu_name,
    describe_host,
    describe_settings,
    device_index,
    gpu_name,
)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
ERRORS_ONLY = 3


class OrtRunner:
    """One session. Inputs and outputs are in the host's memory, as they are for whoever uses the file."""

    def __init__(self, session: Any, feed: Mapping[str, Any]) -> None:
        self._session = session
        self._feed = dict(feed)
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, n: int) -> float:
        """Seconds for `n` inferences; a session's `run` returns when its outputs are there."""
        run, outputs, feed = self._session.run, self._outputs, self._feed
        start = time.perf_counter()
        for _ in range(n):
            run(outputs, feed)
        return time.perf_counter() - start


class OrtProfiler:
    """ONNX Runtime on one device, with all of its graph optimisations, as it does unless told otherwise."""

    def __init__(self, device: str, settings: RunSettings) -> None:
        check_settings(settings, "onnxruntime")
        self._settings = settings
        self._device = device
        if device == "cpu":
            self._provider, self._provider_options = CPU, {}
        else:
            self._provider = CUDA
            self._provider_options = {"device_id": str(device_index(device, "cuda"))}

    def describe(self) -> dict[str, str]:
        """As `Profiler.describe`."""
        description = {
            "runtime": "onnxruntime",
            "runtime_version": ort.__version__,
            "provider": self._provider,
            "optimisation": "all",
            "quantity": "host wall time of a call, inputs and outputs in host memory",
            **describe_settings(self._settings),
            **describe_host(),
        }
        if self._provider == CUDA:
            description["gpu"] = gpu_name(int(self._provider_options["device_id"]))
        return description

    def prepare(self, workload: Workload) -> OrtRunner:
        """As `Profiler.prepare`.

        Raises:
            LatnasError: ONNX Runtime refuses the file, or would run it elsewhere than on the device.
        """
        check_batch(workload, self._settings)
        session = self._session(workload.onnx(self._settings.precision))
        names = [given.name for given in session.get_inputs()]
        if len(names) != len(workload.example):
            raise LatnasError(f"the ONNX file has inputs {names}, and {len(workload.example)} were given.")
        # Contiguous copies of their own: nothing is converted while the clock runs.
        inputs = [tensor.detach().contiguous().numpy().copy() for tensor in workload.example]
        return OrtRunner(session, dict(zip(names, inputs, strict=True)))

    def _session(self, file: bytes) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._settings.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = ERRORS_ONLY
        if self._provider == CUDA:
            _load_cuda_libraries()
        providers = [(self._provider, self._provider_options)]
        try:
            session = ort.InferenceSession(file, options, providers=providers, enable_fallback=0)
        except Exception as error:
            raise LatnasError(f"ONNX Runtime cannot run this file on {self._device}: {error}") from error
        # Where a provider's libraries do not load, it logs that and goes on with the CPU.
        if session.get_providers()[0] != self._provider:
            raise LatnasError(
                f"ONNX Runtime cannot start its {self._provider}: {self._device} would be the CPU. "
                "Install the libraries that it needs: pip install 'onnxruntime-gpu[cuda,cudnn]'"
            )
        return session


class OrtPlugin:
    """The plugin."""

    runtime = "onnxruntime"
    measures = "onnx"

    def devices(self) -> Sequence[DeviceStatus]:
        """The CPU, and `cuda` for any index, since ONNX Runtime does not count GPUs."""
        return [DeviceStatus("cpu", True, f"{cpu_name()}, onnxruntime {ort.__version__}"), _cuda_status()]

    def open(self, device: str, settings: RunSettings) -> Profiler:
        """A profiler of `cpu`, `cuda` or `cuda:N`."""
        if device != "cpu":
            device_index(device, "cuda")
            status = _cuda_status()
            if not status.usable:
                raise UsageError(f"onnxruntime cannot use {device}: {status.detail}. See: latnas devices")
        return OrtProfiler(device, settings)


def _cuda_status() -> DeviceStatus:
    if CUDA not in ort.get_available_providers():
        return DeviceStatus(
            "cuda",
            False,
            f"onnxruntime {ort.__version__} has no CUDA provider here; replace it: "
            "pip uninstall onnxruntime, then pip install onnxruntime-gpu",
        )
    try:
        import torch
        from torch import nn

        OrtProfiler("cuda", RunSettings()).prepare(Workload(nn.ReLU(), torch.zeros(1, 1)))
    except LatnasError as error:
        return DeviceStatus("cuda", False, str(error))
    return DeviceStatus("cuda", True, f"{gpu_name(0)}, onnxruntime {ort.__version__}")


def _load_cuda_libraries() -> None:
    """Loads those that pip has installed, which the system's loader does not find. It prints on stdout."""
    with redirect_stdout(io.StringIO()):
        ort.preload_dlls()


plugin = OrtPlugin()
