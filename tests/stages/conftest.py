"""Whole stages, most of them in one small space."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _spaces_once(spaces_once: None) -> None:
    """For every module here."""
