"""Many commands in a row: what they all compute alike is computed once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from once import exported_once

from latnas.hypernet import mixture


@pytest.fixture(scope="module", autouse=True)
def _once(spaces_once: None) -> Iterator[None]:
    """Traces each space once, and exports each trained network once."""
    with exported_once():
        yield


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at fewer neighbours, which take most of a small search."""
    monkeypatch.setattr(mixture, "CHANGED", 3)
