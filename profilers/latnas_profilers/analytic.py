"""A device that is a formula: the same times everywhere, at once, to the last bit. For tests and first tries.

    seconds = call + sum over leaf modules of (kernel + max(multiply-adds / peak, bytes / bandwidth))

Bytes are those that a leaf reads (inputs, parameters, buffers) and writes (outputs). Only modules count: what
a network computes between them, such as an addition, is free here. Neither threads nor the host matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from latnas.errors import UsageError
from latnas.latency.profiler import DeviceStatus, Profiler, RunSettings
from latnas.latency.workload import Workload
from latnas_profilers.host import check_batch, check_settings, describe_settings

# The order of magnitude of one core of a small CPU. Changing any of these makes every analytic table stale.
CALL_SECONDS = 20e-6
KERNEL_SECONDS = 2e-6
PEAK_MACS_PER_SECOND = 20e9
BANDWIDTH_BYTES_PER_SECOND = 10e9

# Nothing of these is left at inference; a Sequential is a leaf only if it is empty.
FREE = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Sequential)


class AnalyticRunner:
    """Knows what an inference takes, and takes no time itself."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def run(self, n: int) -> float:
        """`n` times the seconds of one inference."""
        return n * self._seconds


class AnalyticProfiler:
    """The formula."""

    def __init__(self, settings: RunSettings) -> None:
        check_settings(settings, "analytic")
        self._settings = settings

    def describe(self) -> dict[str, str]:
        """As `Profiler.describe`: the constants stand for the hardware."""
        return {
            "runtime": "analytic",
            "runtime_version": "1",
            "quantity": "computed, not measured",
            "call_seconds": repr(CALL_SECONDS),
            "kernel_seconds": repr(KERNEL_SECONDS),
            "peak_macs_per_second": repr(PEAK_MACS_PER_SECOND),
            "bandwidth_bytes_per_second": repr(BANDWIDTH_BYTES_PER_SECOND),
            **describe_settings(self._settings),
        }

    def prepare(self, workload: Workload) -> AnalyticRunner:
        """As `Profiler.prepare`."""
        check_batch(workload, self._settings)
        return AnalyticRunner(inference_seconds(workload.module, workload.example))


class AnalyticPlugin:
    """The plugin."""

    runtime = "analytic"
    measures = "none"

    def devices(self) -> Sequence[DeviceStatus]:
        """The one device."""
        return [DeviceStatus("analytic", True, "a formula in multiply-adds and bytes: nothing is measured")]

    def open(self, device: str, settings: RunSettings) -> Profiler:
        """A profiler of `analytic`."""
        if device != "analytic":
            raise UsageError(f"the analytic runtime has no device {device!r}. Its only one: --device analytic")
        return AnalyticProfiler(settings)


def inference_seconds(module: nn.Module, example: tuple[Tensor, ...]) -> float:
    """The formula, for one inference of `module` on `example`. A module that is called twice counts twice."""
    seconds = [CALL_SECONDS]

    def add(leaf: nn.Module, inputs: Any, keywords: Any, outputs: Any) -> None:
        read = [*_tensors((inputs, keywords)), *leaf.parameters(), *leaf.buffers()]
        moved = sum(x.numel() * x.element_size() for x in [*read, *_tensors(outputs)])
        arithmetic = _macs(leaf, inputs, outputs) / PEAK_MACS_PER_SECOND
        seconds.append(KERNEL_SECONDS + max(arithmetic, moved / BANDWIDTH_BYTES_PER_SECOND))

    leaves = [leaf for leaf in module.modules() if next(leaf.children(), None) is None]
    counted = [leaf for leaf in leaves if not isinstance(leaf, FREE)]
    handles = [leaf.register_forward_hook(add, with_kwargs=True) for leaf in counted]
    try:
        with torch.inference_mode():
            module(*example)
    finally:
        for handle in handles:
            handle.remove()
    return math.fsum(seconds)


def _macs(leaf: nn.Module, inputs: Any, outputs: Any) -> int:
    """Multiply-adds of a convolution or linear layer; nothing else is arithmetic enough to count."""
    if isinstance(leaf, nn.Linear):
        return int(outputs.numel()) * leaf.in_features
    if isinstance(leaf, nn.modules.conv._ConvTransposeNd):
        return int(inputs[0].numel()) * leaf.out_channels // leaf.groups * math.prod(leaf.kernel_size)
    if isinstance(leaf, nn.modules.conv._ConvNd):
        return int(outputs.numel()) * leaf.in_channels // leaf.groups * math.prod(leaf.kernel_size)
    return 0


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in whatever a module takes or returns."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


plugin = AnalyticPlugin()
