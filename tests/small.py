"""The smallest stages that are still whole: the analytic device, embedded digits, a narrow space.

The fixtures `small_table`, `small_run` and `exported_run` in conftest.py are made of these once for all tests. A test
that changes files does so in a copy (`copied`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from torch import Tensor, nn
from typer.testing import CliRunner

from latnas.cli.app import app, with_bare_options
from latnas.hypernet import mixture
from latnas.spaces.choice import Choice
from latnas.spaces.space import Space
from latnas.stages.common.tables import latency_of, space_of
from latnas.stages.export import ExportConfig
from latnas.stages.profile import ProfileConfig
from latnas.stages.search import SearchConfig, Searched, search
from latnas.words.front import Front, load_front
from latnas.words.latency import LatencyModel
from latnas.words.reporting import Reporter, Silent
from latnas.words.table import load_table

PROFILE: dict[str, Any] = {
    "device": "analytic", "data": "digits", "width": 4, "depth": 1, "calibrate": 4, "rounds": 4,
}  # fmt: skip
SEARCH: dict[str, Any] = {
    "data": "digits", "budgets": 2, "pool": 8, "trainings": 4, "training_steps": 2, "long_trainings": 0,
    "reduced_width": 4, "reduced_size": 8, "warmup_steps": 3, "joint_steps": 4, "hypernetwork_steps": 6, "rounds": 2,
    "draws": 1, "executor": "local:0",
}  # fmt: skip
EXPORT: dict[str, Any] = {"epochs": 1, "rounds": 4, "finalists": 2, "executor": "local:0"}


def profile_config(folder: Path, **changes: Any) -> ProfileConfig:
    """Writes tables to `folder`/latency_tables."""
    return ProfileConfig(**{**PROFILE, "out": folder / "latency_tables", **changes})


def search_config(folder: Path, **changes: Any) -> SearchConfig:
    """Looks for tables in `folder`/latency_tables and writes runs to `folder`/runs."""
    places = {"tables": folder / "latency_tables", "out": folder / "runs"}
    return SearchConfig(**{**SEARCH, **places, **changes})


def export_config(folder: Path, **changes: Any) -> ExportConfig:
    """Exports from `folder`/runs, as `exported_run` was exported."""
    return ExportConfig(**{**EXPORT, "runs": folder / "runs", **changes})


def quick_search(config: SearchConfig, report: Reporter | None = None) -> Searched:
    """`search`, with fewer of the candidates that it screens."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mixture, "CHANGED", 3)
        return search(config, report)


def as_typed(sizes: dict[str, Any]) -> list[str]:
    """The same sizes as flags of the command line."""
    return [word for name, size in sizes.items() for word in (f"--{name.replace('_', '-')}", str(size))]


def copied(source: Path, target: Path) -> Path:
    """A copy of a folder that a test may damage; `runs/latest` stays a link."""
    return Path(shutil.copytree(source, target, symlinks=True))


def run_in(folder: Path) -> Path:
    """The only run of a folder made by the fixtures."""
    (config,) = (path for path in folder.glob("runs/*/config.toml") if path.parent.name != "latest")
    return config.parent


def front_in(folder: Path) -> Path:
    """The folder of its only front."""
    (front,) = run_in(folder).glob("fronts/*")
    return front


def judged_in(folder: Path) -> tuple[Front, Space, LatencyModel]:
    """Its only front, the space of its table, and the latencies by it."""
    front = front_in(folder)
    table = load_table(front / "table.json")
    space = space_of(table)
    return load_front(front / "front.json"), space, latency_of(table, space)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` by its path, with what it holds; locks apart."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


get_command_once = cache(typer.main.get_command)
"""The tree of commands, which takes ten times as long as most of what is typed. A process of latnas builds it once."""


@dataclass(frozen=True)
class Typed:
    """What a command line did. `raised` is an exception that would have been shown with its traceback."""

    code: int
    stdout: str
    stderr: str
    raised: BaseException | None


def latnas(*words: object) -> Typed:
    """Runs the command line in this process, in the current folder."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(typer.testing, "_get_command", get_command_once)
        result = CliRunner().invoke(app, with_bare_options([str(word) for word in words]), prog_name="latnas")
    raised = None if isinstance(result.exception, SystemExit) else result.exception
    return Typed(result.exit_code, result.stdout, result.stderr, raised)


class TwoByTwo(nn.Module):
    """A space of four networks: every one can be measured."""

    def __init__(self, width: int, channels: int, classes: int, **_: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3)
        self.first, self.second = (
            Choice({str(size): nn.Conv2d(width, width, size, padding=size // 2) for size in (1, 3)}) for _ in range(2)
        )
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.second(self.first(self.stem(x))).mean((2, 3)))
        return out


class Heard(Silent):
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []
        self.bars: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    @contextmanager
    def bar(self, name: str) -> Iterator[Any]:
        self.bars.append(name)
        with super().bar(name) as bar:
            yield bar
