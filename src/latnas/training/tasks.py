"""Independent pieces of work, each a named function of a JSON value, run beside one another.

A task is (function name, JSON, folder): it can be written down, sent to another process, and run again. Results are
taken in the order of the tasks, never of completion, so that they do not depend on who was faster.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from latnas.errors import UsageError
from latnas.training.interruption import undivided
from latnas.training.workers import Workers

MOST_WORKERS = 256
RESULT = "result.json"
POLL_SECONDS = 1.0
"""How often those who wait look how far running tasks are."""

_TELL: ContextVar[Callable[[float], None]] = ContextVar("tell")
"""What the running task is listened to by."""

_KEPT: ContextVar[Workers | None] = ContextVar("kept", default=None)
"""What runs tasks one time after another; otherwise there are new processes each time."""


@dataclass(frozen=True)
class Task:
    """`function` is "module:name"; it is called with `config` and `folder`, and returns a JSON value of a `form`.

    `checkpoints` are files in `folder` that it goes on from. They are deleted, in this order, once its result is there.
    """

    function: str
    config: dict[str, Any]
    folder: Path
    form: Any = Any
    checkpoints: tuple[str, ...] = ()


def tell_share(share: float) -> None:
    """Called within a task: how much of it is done, from 0 to 1, for those who wait."""
    if (tell := _TELL.get(None)) is not None:
        tell(share)


def run_tasks(tasks: Sequence[Task], workers: int, done: Callable[[float, int], None] | None = None) -> list[Any]:
    """Results of all tasks, in their order. What a folder already holds is not done again.

    Args:
        tasks: independent of one another.
        workers: processes of one thread each; 0 runs everything in this process, on one thread too.
        done: called with (finished, all) whenever that changes; tasks that run count by what they tell of themselves.

    Raises:
        LatnasError: what a task raised, a worker that was killed, or a damaged result.
    """
    from latnas.words.forms import read_as

    results: dict[int, Any] = {
        index: read_as(task.form, task.folder / RESULT)
        for index, task in enumerate(tasks)
        if (task.folder / RESULT).exists()
    }
    for index in results:
        _delete_checkpoints(tasks[index])  # a kill may have left them beside the result
    shares = [float(index in results) for index in range(len(tasks))]
    told = -1.0

    def tell() -> None:
        nonlocal told
        if done is not None and (now := sum(shares)) != told:
            done(now, len(tasks))
            told = now

    tell()
    with closing(_run([(i, t) for i, t in enumerate(tasks) if i not in results], workers, shares, tell)) as finished:
        for index, value in finished:
            results[index] = value
            shares[index] = 1.0
            tell()
    return [results[index] for index in range(len(tasks))]


@contextmanager
def workers_kept(most: int) -> Iterator[None]:
    """Within this block `run_tasks` uses the same processes each time, so that each of them reads a data set once."""
    if not most:
        yield  # everything is done in this one
        return
    with closing(Workers(_call, most)) as workers:
        before = _KEPT.set(workers)
        try:
            yield
        finally:
            _KEPT.reset(before)


def parse_executor(text: str) -> int:
    """Workers of an executor such as `local:2`.

    Raises:
        UsageError: it is not of that form.
    """
    kind, _, count = text.partition(":")
    if kind != "local" or not count.isdecimal() or len(count) > 3 or int(count) > MOST_WORKERS:
        raise UsageError(
            f"there is no executor {text!r}. Use local:N, with N processes, {MOST_WORKERS} at most "
            "(local:0 for none but this one)."
        )
    return int(count)


def _run(
    tasks: list[tuple[int, Task]], workers: int, shares: list[float], tell: Callable[[], None]
) -> Generator[tuple[int, Any], None, None]:
    """Each task's position and result as it is finished. Meanwhile `shares` is kept, and `tell` called now and then."""
    from latnas.data.sources import images_kept

    if not tasks:
        return
    if workers == 0:
        with images_kept():
            for index, task in tasks:
                with one_thread():
                    value = _call(task, partial(_set_and_tell, shares, index, tell))
                yield index, value
        return
    kept, count = _KEPT.get(), min(workers, len(tasks))
    others = kept or Workers(_call, count)
    try:
        others.start(count)
        waiting, finished = deque(tasks), list[tuple[int, Any]]()
        while True:
            while waiting and others.idle:  # first of all, so that none waits while others see to what is finished
                others.give(*waiting.popleft())
            yield from finished
            if not others.busy:
                return
            finished = others.finished(POLL_SECONDS)
            for index, share in others.shares():
                shares[index] = share
            tell()
    finally:
        if others.busy or not kept:
            others.close()


def _set_and_tell(shares: list[float], index: int, tell: Callable[[], None], share: float) -> None:
    shares[index] = share
    tell()


def _call(task: Task, tell: Callable[[float], None]) -> Any:
    """The result of a task, which is also written at once: who is interrupted then has no need to do it again."""
    from latnas.words.files import write_json

    module, _, name = task.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    before = _TELL.set(tell)
    try:
        value = function(task.config, task.folder)
    finally:
        _TELL.reset(before)
    with undivided():
        write_json(task.folder / RESULT, value)
        _delete_checkpoints(task)
    return value


def _delete_checkpoints(task: Task) -> None:
    for name in task.checkpoints:
        (task.folder / name).unlink(missing_ok=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """Within this block one thread computes, as in a worker: sums in another order would be other results."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
