"""Benchmarks import one another by name, as scripts in one folder do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture(scope="module", autouse=True)
def _spaces_once(spaces_once: None) -> None:
    """For every module here."""
