"""Interruptions, by Ctrl-C (SIGINT) or by whoever stops a container (SIGTERM): between steps, never within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from latnas.errors import Terminated

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def terminate(*_: object) -> NoReturn:
    """The handler of SIGTERM in every process of latnas that has something to keep."""
    raise Terminated


@contextmanager
def undivided() -> Iterator[None]:
    """Within this block both signals wait for its end: what it changes is changed whole.

    Signals come to the main thread alone; in others nothing waits.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[signal.Signals] = []
    before = {
        number: signal.signal(number, lambda number, _: waiting.append(signal.Signals(number))) for number in SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for told in waiting:
            signal.raise_signal(told)
