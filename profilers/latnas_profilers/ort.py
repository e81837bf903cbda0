"""ONNX Runtime: runs the ONNX file, on the CPU, or on an NVIDIA GPU if the installed package can.

Settings are ONNX Runtime's own: which execution provider runs the file, and options of its session.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import onnxruntime as ort

from latnas.errors import LatnasError, UsageError
from latnas.latency.profiler import DeviceStatus, Profiler, RunSettings
from latnas.latency.runtimes import SettingStatus
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
TENSORRT = "TensorrtExecutionProvider"
# Runs a model at a cloud service, not here.
REMOTE = "AzureExecutionProvider"
ERRORS_ONLY = 3

OPTIMISATIONS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
EXECUTIONS = {"sequential": ort.ExecutionMode.ORT_SEQUENTIAL, "parallel": ort.ExecutionMode.ORT_PARALLEL}
DEFAULTS = {"optimisation": "all", "execution": "sequential", "spinning": "on", "arena": "on"}
SPINNING = ("session.intra_op.allow_spinning", "session.inter_op.allow_spinning")


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
    """ONNX Runtime on one device, with all of its graph optimisations unless the settings say otherwise.

    Raises:
        UsageError: settings that contradict one another, or that this profiler does not offer.
    """

    def __init__(self, device: str, settings: RunSettings) -> None:
        check_settings(settings, "onnxruntime")
        self._settings = settings
        self._device = device
        words = [setting for setting in settings.runtime if "=" not in setting]
        if len(words) > 1:
            raise UsageError(f"one execution provider runs a file, not {' and '.join(words)}. Name one.")
        self._provider = words[0] if words else CPU if device == "cpu" else CUDA
        self._options = DEFAULTS | dict(setting.split("=", 1) for setting in settings.runtime if "=" in setting)
        if self._options["execution"] == "parallel" and settings.threads < 2:
            raise UsageError(
                "execution=parallel needs --threads 2 or more: with one thread ONNX Runtime runs sequentially."
            )

    def describe(self) -> dict[str, str]:
        """As `Profiler.describe`. Options at their defaults are left out, but for the optimisation."""
        changed = {name: value for name, value in self._options.items() if value != DEFAULTS[name]}
        description = {
            "runtime": "onnxruntime",
            "runtime_version": ort.__version__,
            "provider": self._provider,
            "optimisation": self._options["optimisation"],
            "quantity": "host wall time of a call, inputs and outputs in host memory",
            **changed,
            **describe_settings(self._settings),
            **describe_host(),
        }
        if self._provider in (CUDA, TENSORRT):
            description["gpu"] = gpu_name(device_index(self._device, "cuda"))
        if self._provider == TENSORRT:
            description["tensorrt"] = _tensorrt_version()
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
        runner = OrtRunner(session, dict(zip(names, inputs, strict=True)))
        if self._provider in (CUDA, TENSORRT):
            runner.run(1)  # kernels are tried out, and engines for a free batch are built, at the first inference
        return runner

    def _session(self, file: bytes) -> Any:
        if self._provider in (CUDA, TENSORRT):
            _load_cuda_libraries()
        try:
            session = ort.InferenceSession(
                file, self._session_options(), providers=self._providers(), enable_fallback=0
            )
        except Exception as error:
            raise LatnasError(f"ONNX Runtime cannot run this file on {self._device}: {error}") from error
        # Where a provider's libraries do not load, it logs that and goes on with the next one.
        if session.get_providers()[0] != self._provider:
            raise LatnasError(
                f"ONNX Runtime cannot start its {self._provider}: {session.get_providers()[0]} would run "
                f"instead. {_libraries(self._provider)}"
            )
        return session

    def _session_options(self) -> Any:
        threads = self._settings.threads
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = threads if self._options["execution"] == "parallel" else 1
        options.execution_mode = EXECUTIONS[self._options["execution"]]
        options.graph_optimization_level = OPTIMISATIONS[self._options["optimisation"]]
        options.enable_cpu_mem_arena = self._options["arena"] == "on"
        if self._options["spinning"] == "off":
            for key in SPINNING:
                options.add_session_config_entry(key, "0")
        options.log_severity_level = ERRORS_ONLY
        return options

    def _providers(self) -> list[tuple[str, dict[str, str]]]:
        """The provider with its options; what it does not run, ONNX Runtime gives to the next, at last to the CPU."""
        if self._provider not in (CUDA, TENSORRT):
            return [(self._provider, {})]
        cuda = (CUDA, {"device_id": str(device_index(self._device, "cuda"))})
        if self._provider == CUDA:
            return [cuda]
        # Said aloud, since these can be set by environment variables too. An engine of a cache may be another GPU's.
        chosen = {
            "trt_fp16_enable": str(self._settings.precision == "fp16"),
            "trt_int8_enable": "False",
            "trt_engine_cache_enable": "False",
            "trt_timing_cache_enable": "False",
        }
        return [(TENSORRT, cuda[1] | chosen), cuda]


class OrtPlugin:
    """The plugin."""

    runtime = "onnxruntime"
    measures = "onnx"

    def devices(self) -> Sequence[DeviceStatus]:
        """The CPU, and `cuda` for any index, since ONNX Runtime does not count GPUs."""
        usable, detail = _gpu_status(CUDA)
        cuda = DeviceStatus("cuda", usable, f"{gpu_name(0)}, onnxruntime {ort.__version__}" if usable else detail)
        return [DeviceStatus("cpu", True, f"{cpu_name()}, onnxruntime {ort.__version__}"), cuda]

    def settings(self) -> Sequence[SettingStatus]:
        """Execution providers by their names, then options of the session."""
        others = sorted({*ort.get_available_providers()} - {CPU, CUDA, TENSORRT, REMOTE})
        return [
            SettingStatus(CPU, "the default on cpu", device="cpu"),
            _gpu_setting(CUDA, "the default on cuda"),
            _gpu_setting(TENSORRT, "what TensorRT does not run goes to CUDA"),
            *(SettingStatus(name, "what it does not run goes to the CPU", device="cpu") for name in others),
            SettingStatus("optimisation", "of the graph; default all", tuple(OPTIMISATIONS)),
            SettingStatus("execution", "of branches; parallel needs 2 threads", tuple(EXECUTIONS), "cpu"),
            SettingStatus("spinning", "of idle threads; default on", ("on", "off"), "cpu"),
            SettingStatus("arena", "for memory; default on", ("on", "off"), "cpu"),
        ]

    def open(self, device: str, settings: RunSettings) -> Profiler:
        """A profiler of `cpu`, `cuda` or `cuda:N`."""
        if device != "cpu":
            device_index(device, "cuda")
            usable, detail = _gpu_status(CUDA)
            if not usable:
                raise UsageError(f"onnxruntime cannot use {device}: {detail}. See: latnas devices")
        return OrtProfiler(device, settings)


def _gpu_setting(provider: str, what: str) -> SettingStatus:
    usable, why_not = _gpu_status(provider)
    return SettingStatus(provider, what if usable else why_not, device="cuda", usable=usable)


def _gpu_status(provider: str) -> tuple[bool, str]:
    """Whether a provider runs on this machine's first GPU, and if not, why not."""
    if provider not in ort.get_available_providers():
        short = provider.removesuffix("ExecutionProvider")
        libraries = f". {_libraries(TENSORRT)}" if provider == TENSORRT else ""
        return False, (
            f"onnxruntime {ort.__version__} has no {short} provider here; replace it: "
            f"pip uninstall onnxruntime, then pip install onnxruntime-gpu{libraries}"
        )
    try:
        import torch
        from torch import nn

        settings = RunSettings(runtime=(provider,))
        OrtProfiler("cuda", settings).prepare(Workload(nn.ReLU(), torch.zeros(1, 1)))
    except LatnasError as error:
        return False, str(error)
    return True, ""


def _libraries(provider: str) -> str:
    """What to install where a provider's libraries do not load."""
    return {
        CUDA: "Install the libraries that it needs: pip install 'onnxruntime-gpu[cuda,cudnn]'",
        TENSORRT: "It also needs TensorRT's libraries, libnvinfer among them, in LD_LIBRARY_PATH",
    }.get(provider, "Install what it needs: https://onnxruntime.ai/docs/execution-providers")


def _tensorrt_version() -> str:
    """Of the package that pip has installed; a system's own does not tell without its headers."""
    try:
        return version("tensorrt")
    except PackageNotFoundError:
        return "not from pip"


def _load_cuda_libraries() -> None:
    """Loads those that pip has installed, which the system's loader does not find. It prints on stdout."""
    with redirect_stdout(io.StringIO()):
        ort.preload_dlls()


plugin = OrtPlugin()
