"""Sessions of ONNX Runtime: what `--runtime onnxruntime:...` means, and a runner that can be timed.

This file needs the standard library and onnxruntime only: it goes with `measure.py` to devices without PyTorch.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import onnxruntime as ort

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
WARNINGS, ERRORS_ONLY = 2, 3

OPTIMISATIONS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
EXECUTIONS = {"sequential": ort.ExecutionMode.ORT_SEQUENTIAL, "parallel": ort.ExecutionMode.ORT_PARALLEL}
DEFAULTS = {"optimisation": "all", "execution": "sequential", "spinning": "on", "arena": "on"}
SPINNING = ("session.intra_op.allow_spinning", "session.inter_op.allow_spinning")
STOPS_SPINNING = "session.force_spinning_stop"
"""Idle threads spin for some 50 ms after a call. Where sessions take turns, those of one slow the next."""


class ProviderError(RuntimeError):
    """ONNX Runtime would run a file elsewhere than it was told to."""


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


def providers_in(settings: Sequence[str]) -> list[str]:
    """The execution providers among the settings of a runtime: those without a value."""
    return [setting for setting in settings if "=" not in setting]


def options_in(settings: Sequence[str]) -> dict[str, str]:
    """The options of a session: those with a value, beside the defaults of all others."""
    return {**DEFAULTS, **dict(setting.split("=", 1) for setting in settings if "=" in setting)}


def session_options(threads: int, options: Mapping[str, str]) -> Any:
    """ONNX Runtime's own object for options as `options_in` has them."""
    made = ort.SessionOptions()
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = threads if options["execution"] == "parallel" else 1
    made.execution_mode = EXECUTIONS[options["execution"]]
    made.graph_optimization_level = OPTIMISATIONS[options["optimisation"]]
    made.enable_cpu_mem_arena = options["arena"] == "on"
    if options["spinning"] == "off":
        for key in SPINNING:
            made.add_session_config_entry(key, "0")
    elif threads > 1:
        made.add_session_config_entry(STOPS_SPINNING, "1")
    made.log_severity_level = ERRORS_ONLY
    return made


def with_fallbacks(provider: str, gpu: int, precision: str) -> list[tuple[str, dict[str, str]]]:
    """A provider with its options; what it does not run, ONNX Runtime gives to the next, at last to the CPU."""
    if provider not in (CUDA, TENSORRT):
        return [(provider, {})]
    cuda = (CUDA, {"device_id": str(gpu)})
    if provider == CUDA:
        return [cuda]
    # Said aloud, since these can be set by environment variables too. An engine of a cache may be another GPU's.
    chosen = {
        "trt_fp16_enable": str(precision == "fp16"),
        "trt_int8_enable": "False",
        "trt_engine_cache_enable": "False",
        "trt_timing_cache_enable": "False",
    }
    return [(TENSORRT, {**cuda[1], **chosen}), cuda]


def open_session(file: bytes, options: Any, providers: Sequence[tuple[str, dict[str, str]]]) -> Any:
    """A session of an ONNX file.

    Raises:
        ProviderError: the first provider does not start here.
        Exception: of ONNX Runtime's own, where it refuses the file.
    """
    wanted = providers[0][0]
    if wanted in (CUDA, TENSORRT):
        _load_cuda_libraries()
    session = ort.InferenceSession(file, options, providers=list(providers), enable_fallback=0)
    # Where a provider's libraries do not load, it logs that and goes on with the next one.
    runs = session.get_providers()[0]
    if runs != wanted:
        raise ProviderError(f"ONNX Runtime cannot start its {wanted}: {runs} would run instead.")
    return session


def _load_cuda_libraries() -> None:
    """Loads those that pip has installed, which the system's loader does not find. It prints on stdout."""
    with redirect_stdout(io.StringIO()):
        preload = getattr(ort, "preload_dlls", None)  # there since ONNX Runtime 1.21
        if preload is not None:
            preload()
