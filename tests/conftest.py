"""Tests give the same result on every run and every machine: one thread, fixed examples, no GPU needed."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# Read by torch, numpy and onnxruntime when they are first imported, and by every process that a test starts.
# So torch has one thread, and tests that do not need it do not pay for importing it.
os.environ["OMP_NUM_THREADS"] = "1"

# No database and no deadline: a machine that is busy, or has run the tests before, finds the same.
hypothesis.settings.register_profile("same-everywhere", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("same-everywhere")

# Python looks through half a million objects of torch for what nobody needs any longer: seldom is enough.
gc.set_threshold(50_000, 20, 50)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first: one that came last would keep a process busy while the others have nothing left."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """What was imported to collect the tests stays, so Python need not look through it."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and torch sees none here")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder as `make` fills it; of several processes that run the tests one does, and the others wait for it."""
    from filelock import FileLock
    from once import computed_once, exported_once

    common = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder = common / name
    with FileLock(common / f"{name}.lock"):
        if not folder.exists():
            unfinished = Path(tempfile.mkdtemp(dir=common)) / name
            with computed_once(), exported_once():
                make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def small_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `latency_tables/`, in which lies one analytic table. Read only: see small.py."""
    from small import profile_config

    from latnas.stages.profile import profile

    return made_once(tmp_path_factory, "small_table", lambda folder: profile(profile_config(folder)))


@pytest.fixture(scope="session")
def small_run(small_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with one finished search in `runs/`. Read only."""
    from small import copied, quick_search, search_config

    return made_once(
        tmp_path_factory, "small_run", lambda folder: quick_search(search_config(copied(small_table, folder)))
    )


@pytest.fixture(scope="session")
def exported_run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with every budget of the search exported. Read only."""
    from small import copied, export_config

    from latnas.stages.export import export

    return made_once(
        tmp_path_factory, "exported_run", lambda folder: export(export_config(copied(small_run, folder), all=True))
    )


@pytest.fixture(scope="module")
def spaces_once() -> Iterator[None]:
    """Within a module whose tests work on the same few spaces these are traced once: see once.py."""
    from once import computed_once

    with computed_once():
        yield


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
