"""The command line without what the environment of the tests may say to latnas."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def _spaces_once(spaces_once: None) -> None:
    """For every module here."""


@pytest.fixture(autouse=True)
def _plain_environment(plain_environment: None) -> None:
    """For every test here."""


@pytest.fixture(autouse=True)
def _short_trainings_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here is told that an epoch of the digits trains a network hardly."""
    monkeypatch.setattr("latnas.stages.export.stage.FEW_STEPS", 1)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which latnas is typed."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
