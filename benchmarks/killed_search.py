"""Whether a search that is killed at random moments comes out as one that never stopped, byte for byte.

    python benchmarks/killed_search.py --kills 20 --json benchmarks/results/killed_search.json

A table of the analytic profiler is made, and a search by it that nobody stops. Then the same search is begun elsewhere,
and its whole process group gets SIGKILL after a random share of the seconds that the first one took; it is begun again,
from what it left, and killed again at the next of these moments, until it has been killed `--kills` times, at moments
spread over its whole work. A row has the seconds that the search had worked by then, over all its lives, and what was
on disk. In the end the files of both runs are compared. Workers are killed too: the executor is local:2.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import Reach, as_row, finish, parser

STARTING_SECONDS = 4.0
"""What each life takes before it goes on with the work."""

COMPARED = ("front.json", "metrics.jsonl", "weights.safetensors", "judge.json", "result.json")
SIZES = {
    "pool": 60, "training-steps": 60, "warmup-steps": 60, "joint-steps": 40, "hypernetwork-steps": 60, "draws": 2,
    "budgets": 3,
}  # fmt: skip


def latnas(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Starts a command in `folder`, in a process group of its own."""
    command = [sys.executable, "-m", "latnas", *words, "--quiet"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True)


def finished(folder: Path, *words: str) -> float:
    """Seconds that a command took that nobody stopped."""
    began = time.monotonic()
    if latnas(folder, *words).wait() != 0:
        raise SystemExit(f"latnas {' '.join(words)} failed")
    return time.monotonic() - began


def killed(folder: Path, words: list[str], seconds: float) -> bool:
    """Kills a command and its workers after so many seconds; False if it had finished by then."""
    process = latnas(folder, *words)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def results(folder: Path) -> dict[str, bytes]:
    """Path and content of everything that a search leaves for others."""
    paths = (path for path in sorted(folder.glob("runs/*/**/*")) if path.name in COMPARED)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def count(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(f"runs/nasbench201-*/{pattern}")))


def run(folder: Path, kills: int, seed: int) -> tuple[list[dict[str, Any]], int, int]:
    """Rows, how many files were compared, and how many of them differ."""
    whole, here = folder / "whole", folder / "here"
    table = folder / "latency_tables"
    whole.mkdir()
    here.mkdir()
    finished(folder, "profile", "--device", "analytic", "--data", "digits", "--width", "8", "--depth", "2")
    sizes = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
    words = ["search", "--data", "digits", "--tables", str(table), "--executor", "local:2", *sizes]
    seconds = finished(whole, *words)
    rows: list[dict[str, Any]] = []
    draws, worked = random.Random(seed), 0.0
    for number in range(kills):
        share = draws.uniform(0.5, 1.5) / kills
        lived = STARTING_SECONDS + share * seconds
        if not killed(here, words, lived):
            break
        worked += lived
        rows.append(
            as_row(
                kill=number + 1, lived=lived, worked=worked, features=count(here, "accuracy/features/*/result.json"),
                trainings=count(here, "accuracy/short/*/result.json"), checkpoints=count(here, "**/*.safetensors"),
            )
        )  # fmt: skip
    finished(here, *words)
    expected, found = results(whole), results(here)
    differing = [path for path in {*expected, *found} if expected.get(path) != found.get(path)]
    return rows, len(expected), len(differing)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--kills", type=int, default=20, help="how many times to kill the search (default 20)")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows, compared, differing = run(Path(folder), given.kills, given.seed)
    reach = [
        Reach("kills", len(rows), given.kills, "higher"),
        Reach(f"files that differ, of {compared}", differing, 0, "lower"),
    ]
    finish("killed_search", rows, reach, f"analytic, {len(os.sched_getaffinity(0))} cores", given.json)


if __name__ == "__main__":
    main()
