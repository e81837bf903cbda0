"""What the built-in profilers say of the machine, and what they check alike."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from latnas.errors import UsageError
from latnas.latency.profiler import RunSettings
from latnas.latency.workload import Workload


def describe_host() -> dict[str, str]:
    """The machine, by what changes times on it. Its name is hashed: tables are published."""
    return {
        "cpu": cpu_name(),
        "logical_cores": str(os.cpu_count()),
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "host": hashlib.sha256(platform.node().encode()).hexdigest()[:12],
    }


def describe_settings(settings: RunSettings) -> dict[str, str]:
    """The settings, as `Profiler.describe` gives them."""
    return {
        "batch": str(settings.batch),
        "threads": str(settings.threads),
        "precision": settings.precision,
    }


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as its maker writes it, where the system tells."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    # Where the processor has no name, as on ARM, the board may have one.
    return values.get("model name") or values.get("Model") or platform.processor() or platform.machine()


def gpu_description(index: int) -> dict[str, str]:
    """`gpu` and `driver` of an NVIDIA GPU, as its driver's own tool tells; for runtimes that do not tell."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    which = visible[index] if index < len(visible) else str(index)
    query = ["nvidia-smi", f"--id={which}", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {"gpu": "an NVIDIA GPU that nvidia-smi does not name"}
    name, _, driver = answer.strip().partition(", ")
    return {"gpu": name, "driver": driver}


def gpu_driver() -> dict[str, str]:
    """`driver`, one for all NVIDIA GPUs of a machine; nothing where its driver's own tool does not tell."""
    return {name: value for name, value in gpu_description(0).items() if name == "driver"}


def check_settings(settings: RunSettings, runtime: str, precisions: Sequence[str] = ("fp32",)) -> None:
    """Raises UsageError for settings that a built-in profiler does not offer."""
    if settings.precision not in precisions:
        offered = ", ".join(precisions) if len(precisions) > 1 else f"{precisions[0]} only"
        raise UsageError(f"{runtime} is measured in {offered}, not in {settings.precision!r}. Leave it out.")
    if settings.batch < 1 or settings.threads < 1:
        given = f"{settings.batch} and {settings.threads}"
        raise UsageError(f"batch and threads must be at least 1, got {given}. Leave them out for 1.")


def check_batch(workload: Workload, settings: RunSettings) -> None:
    """Raises ValueError where a workload would be measured with another batch than the table says."""
    batches = {tuple(x.shape[:1]) for x in workload.example}
    if batches != {(settings.batch,)}:
        raise ValueError(f"the settings say batch {settings.batch}, the example's inputs have {batches}")


def device_index(device: str, family: str) -> int:
    """1 of `cuda:1`, 0 of `cuda`.

    Raises:
        UsageError: the device is not one of the family.
    """
    name, _, index = device.partition(":")
    if name != family or not (index.isdecimal() or device == family):
        raise UsageError(f"no such device: {device!r}. See what there is: latnas devices")
    return int(index or 0)
