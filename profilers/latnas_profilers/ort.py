"""ONNX Runtime: runs the ONNX file, on the CPU, or on an NVIDIA GPU if the installed package can.

Settings are ONNX Runtime's own: which execution provider runs the file, and options of its session.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import onnxruntime as ort

from latnas.errors import LatnasError, UsageError
from latnas.latency.ort_session import (
    CPU,
    CUDA,
    DEFAULTS,
    EXECUTIONS,
    OPTIMISATIONS,
    TENSORRT,
    OrtRunner,
    ProviderError,
    open_session,
    options_in,
    providers_in,
    session_options,
    with_fallbacks,
)
from latnas.latency.precisions import PRECISIONS
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
    gpu_description,
)

# Runs a model at a cloud service, not here.
REMOTE = "AzureExecutionProvider"


class OrtProfiler:
    """ONNX Runtime on one device, with all of its graph optimisations unless the settings say otherwise.

    Raises:
        UsageError: settings that contradict one another, or that this profiler does not offer.
    """

    def __init__(self, device: str, settings: RunSettings) -> None:
        check_settings(settings, "onnxruntime", PRECISIONS)
        self._settings = settings
        self._device = device
        words = providers_in(settings.runtime)
        if len(words) > 1:
            raise UsageError(f"one execution provider runs a file, not {' and '.join(words)}. Name one.")
        self._provider = words[0] if words else CPU if device == "cpu" else CUDA
        if self._provider == TENSORRT and settings.precision == "int8":
            raise UsageError(
                f"{TENSORRT} runs no int8 of latnas: activations have no sign, and TensorRT takes symmetric ones with "
                f"a sign only. Leave --precision out, or take {CUDA}."
            )
        self._options = options_in(settings.runtime)
        if self._options["execution"] == "parallel" and settings.threads < 2:
            raise UsageError(
                "execution=parallel needs --threads 2 or more: with one thread ONNX Runtime runs sequentially."
            )

    def describe(self) -> dict[str, str]:
        """As `Profiler.describe`. Options at their defaults are left out, but for the optimisation."""
        changed = {name: value for name, value in self._options.items() if value != DEFAULTS[name]}
        if self._settings.threads > 1:
            changed.setdefault("spinning", "within calls")
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
            description |= gpu_description(device_index(self._device, "cuda"))
            description["cuda"] = _pip_version("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12")
            description["cudnn"] = _pip_version("nvidia-cudnn-cu13", "nvidia-cudnn-cu12")
        if self._provider == TENSORRT:
            description["tensorrt"] = _pip_version("tensorrt")
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
            try:
                runner.run(1)  # kernels are tried out, and engines for a free batch are built, at the first inference
            except Exception as error:
                raise LatnasError(f"{self._provider} starts on {self._device} and then fails: {error}") from error
        return runner

    def _session(self, file: bytes) -> Any:
        gpu = 0 if self._device == "cpu" else device_index(self._device, "cuda")
        providers = with_fallbacks(self._provider, gpu, self._settings.precision)
        try:
            return open_session(file, self._session_options(), providers)
        except ProviderError as error:
            raise LatnasError(f"{error} {_libraries(self._provider)}") from error
        except Exception as error:
            raise LatnasError(f"ONNX Runtime cannot run this file on {self._device}: {error}") from error

    def _session_options(self) -> Any:
        return session_options(self._settings.threads, self._options)


class OrtPlugin:
    """The plugin."""

    runtime = "onnxruntime"
    measures = "onnx"

    def devices(self) -> Sequence[DeviceStatus]:
        """The CPU, and `cuda` for any index, since ONNX Runtime does not count GPUs."""
        usable, detail = _gpu_status(CUDA)
        cuda = DeviceStatus(
            "cuda", usable, f"{gpu_description(0)['gpu']}, onnxruntime {ort.__version__}" if usable else detail
        )
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
            usable, detail = _gpu_status(CUDA, device)
            if not usable:
                raise UsageError(f"onnxruntime cannot use {device}: {detail}. See: latnas devices")
        return OrtProfiler(device, settings)


def _gpu_setting(provider: str, what: str) -> SettingStatus:
    usable, why_not = _gpu_status(provider)
    return SettingStatus(provider, what if usable else why_not, device="cuda", usable=usable)


def _gpu_status(provider: str, device: str = "cuda") -> tuple[bool, str]:
    """Whether a provider runs on a GPU of this machine, and if not, why not."""
    if provider not in ort.get_available_providers():
        short = provider.removesuffix("ExecutionProvider")
        libraries = f". {_libraries(TENSORRT)}" if provider == TENSORRT else ""
        return False, (
            f"onnxruntime {ort.__version__} has no {short} provider here; replace it: "
            f"pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'{libraries}"
        )
    try:
        import torch
        from torch import nn

        # A convolution: of libraries that are loaded when first needed it takes the most.
        work = Workload(nn.Conv2d(1, 1, 3), torch.zeros(1, 1, 3, 3))
        OrtProfiler(device, RunSettings(runtime=(provider,))).prepare(work)
    except LatnasError as error:
        advice = _libraries(provider)
        return False, str(error) if advice in str(error) else f"{str(error).rstrip('.')}. {advice}"
    return True, ""


def _libraries(provider: str) -> str:
    """What to install where a provider's libraries do not load."""
    return {
        CUDA: "Install the libraries that it needs: pip install 'onnxruntime-gpu[cuda,cudnn]'",
        TENSORRT: "It also needs TensorRT's libraries, libnvinfer among them, in LD_LIBRARY_PATH",
    }.get(provider, "Install what it needs: https://onnxruntime.ai/docs/execution-providers")


def _pip_version(*names: str) -> str:
    """Of the first of these packages that pip has installed; a system's own libraries do not tell without headers."""
    for name in names:
        with suppress(PackageNotFoundError):
            return version(name)
    return "not from pip"


plugin = OrtPlugin()
