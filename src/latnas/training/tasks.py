"""Independent pieces of work, each a named function of a JSON value, run beside one another.

A task is (function name, JSON, folder): it can be written down, sent to another process, and run again. Results are
taken in the order of the tasks, never of completion, so that they do not depend on who was faster.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, MutableSequence, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from latnas.errors import LatnasError, UsageError
from latnas.training.interruption import terminate, undivided

MOST_WORKERS = 256
RESULT = "result.json"
PRELOADED = ["torch", "torch._dynamo", "scipy.stats", "pydantic", "PIL.Image"]
"""Imported once for all workers; some of it torch leaves to the first step of a training."""

POLL_SECONDS = 1.0
"""How often those who wait look how far running tasks are."""

Shares = MutableSequence[float]
"""Of each task how much is done, from 0 to 1."""

_TELL: ContextVar[Callable[[float], None]] = ContextVar("tell")
"""What the running task is listened to by."""

_SHARES: ContextVar[Shares] = ContextVar("shares")
"""In a worker, those that its parent sees."""


@dataclass(frozen=True)
class Task:
    """`function` is "module:name"; it is called with `config` and `folder`, and returns a JSON value of a `form`."""

    function: str
    config: dict[str, Any]
    folder: Path
    form: Any = Any


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
    from latnas.words.files import write_json
    from latnas.words.forms import read_as

    results: dict[int, Any] = {
        index: read_as(task.form, task.folder / RESULT)
        for index, task in enumerate(tasks)
        if (task.folder / RESULT).exists()
    }
    shares: Shares = _fresh_processes().RawArray("d", len(tasks)) if workers else [0.0] * len(tasks)
    for index in results:
        shares[index] = 1.0
    told = -1.0

    def tell() -> None:
        nonlocal told
        if done is not None and (now := sum(shares)) != told:
            done(now, len(tasks))
            told = now

    tell()
    with closing(_run([(i, t) for i, t in enumerate(tasks) if i not in results], workers, shares, tell)) as finished:
        for index, value in finished:
            write_json(tasks[index].folder / RESULT, value)
            results[index] = value
            shares[index] = 1.0
            tell()
    return [results[index] for index in range(len(tasks))]


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
    tasks: list[tuple[int, Task]], workers: int, shares: Shares, tell: Callable[[], None]
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
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(workers, len(tasks)), _fresh_processes(), _start_worker, (shares,))
    try:
        with undivided():  # a worker whose start was cut short could not be found to be ended
            futures: dict[Future[Any], int] = {
                pool.submit(_call_in_worker, index, task): index for index, task in tasks
            }
        pending = set(futures)
        while pending:
            finished, pending = wait(pending, POLL_SECONDS, FIRST_COMPLETED)
            for future in finished:
                yield futures[future], future.result()
            tell()
    except BrokenProcessPool as error:
        raise LatnasError(
            "a worker process was killed, perhaps for want of memory. Type the same command to go on."
        ) from error
    finally:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()  # after success they are idle; after Ctrl-C a training leaves its checkpoint
        pool.shutdown(wait=True, cancel_futures=True)


def _fresh_processes() -> multiprocessing.context.BaseContext:
    """Workers that know nothing of this process, forked from one that has imported what takes seconds, where it can be.

    A search starts a pool for each of its parts, and PyTorch takes each worker two to three seconds.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _set_and_tell(shares: Shares, index: int, tell: Callable[[], None], share: float) -> None:
    shares[index] = share
    tell()


def _call(task: Task, tell: Callable[[float], None]) -> Any:
    module, _, name = task.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    before = _TELL.set(tell)
    try:
        return function(task.config, task.folder)
    finally:
        _TELL.reset(before)


def _call_in_worker(index: int, task: Task) -> Any:
    """Ends with `Terminated` when it is told to stop, so that a training leaves a checkpoint; idle workers just end."""
    signal.signal(signal.SIGTERM, terminate)
    try:
        return _call(task, partial(_SHARES.get().__setitem__, index))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


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


def _start_worker(shares: Shares) -> None:
    """One thread of arithmetic, no Ctrl-C of its own, and no life after the parent's."""
    import torch

    _SHARES.set(shares)

    parent = multiprocessing.parent_process()  # not the one that forked this process
    assert parent is not None

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
