"""Whole stages, most of them in one small space."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from once import exported_once


@pytest.fixture(scope="module", autouse=True)
def _once(spaces_once: None) -> Iterator[None]:
    """For every module here: traces each space once, and exports each trained network once."""
    with exported_once():
        yield


@pytest.fixture(autouse=True)
def _plain_environment(plain_environment: None) -> None:
    """For every test here."""
