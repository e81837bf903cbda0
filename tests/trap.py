"""What no file of a user may be unpickled for."""

from __future__ import annotations

from typing import Any

import pytest


class Trap:
    """Fails the test that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("the file was executed",))
