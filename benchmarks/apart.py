"""Measuring in a process of its own, where nothing else has raised the peak of memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from latnas.errors import LatnasError


def measured_apart(script: str, *words: str) -> dict[str, Any]:
    """The JSON object that `script`, called with these words, prints in a new process.

    Raises:
        LatnasError: it failed. What it wrote to stderr stands there.
    """
    done = subprocess.run([sys.executable, script, *words], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise LatnasError(f"{Path(script).name} {' '.join(words)} ended with exit code {done.returncode}; see above.")
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def peak_mb() -> float:
    """The peak of this process' resident memory: getrusage would count that of the process which started it."""
    return _status_mb("VmHWM")


def resident_mb() -> float:
    """What is resident now."""
    return _status_mb("VmRSS")


def _status_mb(field: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(kilobytes) / 1000
