"""Processes of one thread, each of which does one thing at a time.

Each has a pipe of its own, and is given something only when it has nothing to do. So nothing lies in a queue that one
of them could begin after all were told to end, and none waits for what another held when it was killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pickle import PicklingError
from tempfile import gettempdir
from traceback import format_exc, format_exception
from typing import Any

from latnas.errors import LatnasError, Terminated
from latnas.training.interruption import undivided

PRELOADED = ["torch", "torch._dynamo", "scipy.stats", "pydantic", "PIL.Image"]
"""Imported once for all workers; some of it torch leaves to the first step of a training."""

LONGEST_SOCKET = 103
"""Bytes of the path of a socket, such as the one of the server that forks workers; a few more on some systems."""

DEATH_SECONDS = 1.0
"""How long a process may take to be gone after its pipe."""

Work = Callable[[Any, Callable[[float], None]], Any]
"""A function of a module: of what is given, and of what listens to how much of it is done, from 0 to 1."""


@dataclass(frozen=True, eq=False)
class _Worker:
    number: int
    process: BaseProcess
    pipe: Connection


class Workers:
    """Processes, `most` of them at most, that call `work` with what they are given, until `close`.

    Attributes:
        idle: those that have nothing to do.
        busy: those that have, and the number by which that is known.
    """

    def __init__(self, work: Work, most: int) -> None:
        self._work = work
        try:
            self._shares: MutableSequence[float] = _fresh_processes().RawArray("d", most)
        except OSError as error:
            raise LatnasError(
                f"processes cannot share memory here: {error}. Mount /dev/shm, or train in this one: --executor local:0"
            ) from error
        self.idle: list[_Worker] = []
        self.busy: dict[_Worker, int] = {}

    def start(self, count: int) -> None:
        """Starts what is missing of so many; they get ready by themselves."""
        context = _fresh_processes()
        # One whose start was cut short could not be found to be ended; and Ctrl-C reaches the server of forks too.
        with undivided(), _deaf_to_ctrl_c():
            for number in range(len(self.idle) + len(self.busy), count):
                pipe, theirs = context.Pipe()
                process = context.Process(target=_live, args=(theirs, self._work, self._shares, number))
                process.start()
                theirs.close()  # so that the end of the process is the end of what can be read
                self.idle.append(_Worker(number, process, pipe))

    def give(self, index: int, what: Any) -> None:
        """Has an idle one work on `what`, to be known by `index`."""
        worker = self.idle.pop()
        self.busy[worker] = index
        self._shares[worker.number] = 0.0
        with self._death_told():
            worker.pipe.send(what)

    def finished(self, timeout_seconds: float) -> list[tuple[int, Any]]:
        """Index and value of everything that is done, as soon as something is; nothing if nothing is for so long.

        Raises:
            LatnasError: a process was killed.
            BaseException: whatever one of them raised.
        """
        by_pipe = {worker.pipe: worker for worker in self.busy}
        found = []
        for pipe in wait(list(by_pipe), timeout_seconds):
            assert isinstance(pipe, Connection)
            with self._death_told():
                value, error = pipe.recv()
            if error is not None:
                raise error
            self.idle.append(by_pipe[pipe])
            found.append((self.busy.pop(by_pipe[pipe]), value))
        return found

    def shares(self) -> Iterator[tuple[int, float]]:
        """Index of everything that is worked on, and how much of it is done."""
        return ((index, self._shares[worker.number]) for worker, index in self.busy.items())

    def close(self) -> None:
        """Ends them: what is idle at once, a training when it has left its checkpoint. Ctrl-C meanwhile kills them."""
        workers = [*self.idle, *self.busy]
        try:
            for worker in workers:
                worker.process.terminate()
                worker.pipe.close()
            for worker in workers:
                worker.process.join()
        finally:
            with undivided():  # whoever goes on from here may rely on their being gone
                for worker in workers:
                    worker.process.kill()
                    worker.process.join()
                self.idle.clear()
                self.busy.clear()

    @contextmanager
    def _death_told(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            raise LatnasError(self._how_one_died()) from error

    def _how_one_died(self) -> str:
        """Whoever wants memory back kills with SIGKILL; any other signal is of the process itself."""
        workers = [*self.idle, *self.busy]
        wait([worker.process.sentinel for worker in workers], DEATH_SECONDS)  # the pipe may have ended before it
        signals = {-(worker.process.exitcode or 0) for worker in workers} - {0, signal.SIGKILL, signal.SIGTERM}
        known = [one.name for one in signal.Signals if one.value in signals]
        if known:
            return (
                f"a worker process crashed ({', '.join(known)}), by a fault of PyTorch or of what it computes with. "
                "Type the same command to go on; if that happens again, with another version of torch, or begin anew "
                "in a space of another --width"
            )
        return (
            "a worker process was killed, perhaps for want of memory. Type the same command to go on; if that "
            f"happens again, with --executor local:{len(self._shares) // 2}, or begin anew with smaller images: "
            "--data X@32"
        )


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started within this block never get Ctrl-C; this one gets it at the end of it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # else started with the first process, and it lets Ctrl-C through from then on
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _fresh_processes() -> ForkServerContext | SpawnContext:
    """Workers that know nothing of this process, forked from one that has imported what takes seconds, where it can be.

    PyTorch takes each of them two to three seconds.
    """
    longest = f"{gettempdir()}/pymp-12345678/listener-12345678"
    if "forkserver" not in multiprocessing.get_all_start_methods() or len(os.fsencode(longest)) > LONGEST_SOCKET:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _live(pipe: Connection, work: Work, shares: MutableSequence[float], number: int) -> None:
    """All that a worker does: what it is given, until it is told to end or its parent has."""
    _get_ready(len(shares))
    with suppress(EOFError, OSError):
        while True:
            value, error = _outcome(partial(work, pipe.recv(), partial(shares.__setitem__, number)))
            try:
                pipe.send((value, error))
            except (PicklingError, TypeError, AttributeError):  # an error that holds what goes through no pipe
                pipe.send((None, RuntimeError("".join(format_exception(error)))))
            if isinstance(error, Terminated):
                return


def _outcome(call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """What it returns, or what it raises: `Terminated` if the process is told to end. One that is idle just ends."""
    try:
        signal.signal(signal.SIGTERM, _terminate_once)
        try:
            return call(), None
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except BaseException as error:  # noqa: BLE001  the parent raises it
        if not isinstance(error, LatnasError | Terminated):
            error.add_note(f"In a worker process:\n{format_exc()}")
        return None, error


def _terminate_once(*_: object) -> None:
    """Told twice, as by its parent and by whoever ends all processes of a container, it still leaves a checkpoint."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _get_ready(workers: int) -> None:
    """One thread of arithmetic, its part of the memory, no Ctrl-C of its own, and no life after the parent's."""
    import torch

    from latnas.data.encoded import share_memory

    parent = multiprocessing.parent_process()  # not the one that forked this process
    assert parent is not None

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    share_memory(workers + 1)  # the parent may hold the same images

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
