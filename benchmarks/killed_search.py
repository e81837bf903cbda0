"""Whether a search that is killed at random moments comes out as one that never stopped, byte for byte.

    python benchmarks/killed_search.py --kills 20 --json benchmarks/results/killed_search.json

A table of the analytic profiler is made, and a search by it that nobody stops. Then the same search is begun elsewhere
and killed, with its workers, by SIGKILL to its process group; it is begun again from what it left, and killed again,
until it has been killed `--kills` times. Each time it may get as far as one of `--kills` random amounts of work,
counted in files and lines that it leaves, and further than before, and dies up to a tenth of a second later. A row has
the work before and after this life, and the seconds that it lasted. In the end all files of both runs are compared, but
their locks. The executor is local:2.
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

from pieces import this_cpu
from report import Reach, as_row, failures_in_one_line, finish, parser, whole

from latnas.errors import LatnasError

POLL_SECONDS = 0.02
JITTER_SECONDS = 0.1

SIZES = {
    "pool": 60, "trainings": 8, "training-steps": 60, "warmup-steps": 60, "joint-steps": 40, "hypernetwork-steps": 60,
    "draws": 2, "budgets": 3, "long-trainings": 8,
}  # fmt: skip
MOST_KILLS = SIZES["hypernetwork-steps"]
"""Each kill comes at an amount of work of its own, and a search has done more in the end than these steps."""


def latnas(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Starts a command in `folder`, in a process group of its own."""
    command = [sys.executable, "-m", "latnas", *words, "--quiet"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True)


def finished(folder: Path, *words: str) -> None:
    """Runs a command that nobody stops. Raises LatnasError if it fails."""
    if latnas(folder, *words).wait() != 0:
        raise LatnasError(f"latnas {' '.join(words)} failed; see above.")


def killed(folder: Path, words: list[str], amount: int, jitter: float) -> bool:
    """Kills a command and its workers once its run has this amount of work; False if it had finished by then."""
    process = latnas(folder, *words)
    while process.poll() is None and work(folder) < amount:
        time.sleep(POLL_SECONDS)
    try:
        process.wait(jitter)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def work(folder: Path) -> int:
    """How much a search has done: files that last, and steps of the hypernetwork."""
    runs = runs_in(folder)
    files = sum(1 for run in runs for path in run.rglob("*") if path.suffix in (".json", ".safetensors"))
    lines = sum(path.read_bytes().count(b"\n") for run in runs for path in run.rglob("metrics.jsonl"))
    return files + lines


def runs_in(folder: Path) -> list[Path]:
    """The run folders, without the link to the latest of them."""
    return list(folder.glob("runs/nasbench201-*"))


def results(folder: Path) -> dict[str, bytes]:
    """Path and content of every file that a search leaves, but of hidden ones: its lock, and what a kill cut short."""
    paths = [path for run in runs_in(folder) for path in sorted(run.rglob("*"))]
    files = [path for path in paths if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def run(folder: Path, kills: int, seed: int) -> tuple[list[dict[str, Any]], int, int]:
    """Rows, how many files were compared, and how many of them differ."""
    whole, here = folder / "whole", folder / "here"
    whole.mkdir()
    here.mkdir()
    finished(folder, "profile", "--device", "analytic", "--data", "digits", "--width", "8", "--depth", "2")
    sizes = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
    words = ["search", "--data", "digits", "--tables", str(folder / "latency_tables"), "--executor", "local:2", *sizes]
    finished(whole, *words)
    draws = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number, amount in enumerate(sorted(draws.sample(range(1, work(whole)), kills))):
        began, before = time.monotonic(), work(here)
        if not killed(here, words, max(amount, before + 1), draws.uniform(0, JITTER_SECONDS)):
            break
        seconds = time.monotonic() - began
        rows.append(as_row(kill=number + 1, before=before, after=work(here), of=work(whole), seconds=seconds))
    finished(here, *words)
    expected, found = results(whole), results(here)
    differing = [path for path in {*expected, *found} if expected.get(path) != found.get(path)]
    return rows, len(expected), len(differing)


@failures_in_one_line("killed_search")
def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--kills", type=whole(1, MOST_KILLS), default=20, help="how many (default 20)")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows, compared, differing = run(Path(folder), given.kills, given.seed)
    reach = [
        Reach("kills", len(rows), given.kills, "higher"),
        Reach(f"files that differ, of {compared}", differing, 0, "lower"),
    ]
    finish("killed_search", rows, reach, f"analytic table; {this_cpu()}", given.json)


if __name__ == "__main__":
    main()
