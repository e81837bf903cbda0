"""Many commands in a row: what they all compute alike is computed once."""

from __future__ import annotations

from functools import cache

import pytest

from latnas.hypernet import mixture
from latnas.spaces import space
from latnas.stages.common import tables
from latnas.stages.profile import stage


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces each space once, and looks at fewer neighbours, which take most of a small search."""
    for module in (space, tables, stage):
        monkeypatch.setattr(module, "make_space", make_space_once)
    monkeypatch.setattr(mixture, "CHANGED", 3)


make_space_once = cache(space.make_space)
