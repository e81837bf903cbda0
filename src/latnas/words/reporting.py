"""How a stage says what it is doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """One bar."""

    def update(self, done: float, total: float, note: str = "") -> None:
        """`done` of `total` is finished."""


class Reporter(Protocol):
    """Takes lines and bars. The command line shows them on stderr."""

    def say(self, text: str) -> None:
        """One line that stays."""

    def warn(self, text: str) -> None:
        """One line that stays and matters."""

    def bar(self, name: str) -> AbstractContextManager[Progress]:
        """A bar that lasts as long as the block."""


class Silent:
    """A reporter that nobody listens to: for library use and tests."""

    def say(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass

    @contextmanager
    def bar(self, name: str) -> Iterator[Progress]:
        yield _SilentProgress()


class _SilentProgress:
    def update(self, done: float, total: float, note: str = "") -> None:
        pass


def duration(seconds: float) -> str:
    """In the unit that one would say it in."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
