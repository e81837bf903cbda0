"""Tests give the same result on every run and every machine: one thread, fixed examples, no GPU needed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# Read by torch, numpy and onnxruntime when they are first imported, and by every process that a test starts.
# So torch has one thread, and tests that do not need it do not pay for importing it.
os.environ["OMP_NUM_THREADS"] = "1"

# No database and no deadline: a machine that is busy, or has run the tests before, finds the same.
hypothesis.settings.register_profile("same-everywhere", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("same-everywhere")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and torch sees none here")


@pytest.fixture(scope="session")
def small_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `latency_tables/`, in which lies one analytic table. Read only: see small.py."""
    from small import profile_config

    from latnas.stages.profile import profile

    folder = tmp_path_factory.mktemp("small_table")
    profile(profile_config(folder))
    return folder


@pytest.fixture(scope="session")
def small_run(small_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with one finished search in `runs/`. Read only."""
    from small import copied, quick_search, search_config

    folder = copied(small_table, tmp_path_factory.mktemp("small_run") / "here")
    quick_search(search_config(folder))
    return folder


@pytest.fixture(scope="session")
def exported_run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with every budget of the search exported. Read only."""
    from small import copied, export_config

    from latnas.stages.export import export

    folder = copied(small_run, tmp_path_factory.mktemp("exported_run") / "here")
    export(export_config(folder, all=True))
    return folder


@pytest.fixture
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the environment of the tests may say to latnas."""
    for name in [name for name in os.environ if name.startswith("LATNAS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")  # so that no message is broken into lines
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def here(plain_environment: None, exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table, a finished search and its exports, in which latnas is typed."""
    from small import copied

    folder = copied(exported_run, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def signals_handled() -> Iterator[None]:
    """SIGTERM as the console script handles it, Ctrl-C as Python does, which a process in the background ignores."""
    from latnas.training.interruption import terminate

    before = signal.signal(signal.SIGTERM, terminate), signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before[0])
    signal.signal(signal.SIGINT, before[1])
