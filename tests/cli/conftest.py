"""The command line in a folder of its own, without what the environment of the tests may say to latnas."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small import copied


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LATNAS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")  # so that no message is broken into lines
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which latnas is typed."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def here(exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table, a finished search and its exports, in which latnas is typed."""
    folder = copied(exported_run, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder
