"""Long benchmarks in pieces: a limit on time, and seconds that are added up over sessions."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil
from report import parser, positive

from latnas.errors import INTERRUPTED, LatnasError
from latnas.stages.common.tables import why_stale
from latnas.stages.profile import ProfileConfig, profile
from latnas.words.files import read_json, write_json
from latnas.words.reporting import Progress, Reporter
from latnas.words.table import load_table
from latnas_profilers.host import cpu_name

KEPT_EVERY_CPU_SECONDS = 5.0
ALARM_SECONDS = 5.0


class OutOfTimeError(BaseException):
    """The minutes that this piece was given are over. Like Ctrl-C: nothing may take it for a failure of its own."""


@contextmanager
def at_most(minutes: float | None) -> Iterator[None]:
    """Raises OutOfTimeError within this block after so many minutes. What is on disk by then is whole."""
    if minutes is None:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    # Again and again: Python swallows what is raised while it collects garbage.
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes, ALARM_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def piecewise_parser(description: str | None, work: Path, seeds: Sequence[int] = ()) -> argparse.ArgumentParser:
    """An argument parser with what all benchmarks take that keep their work in a folder and go on there."""
    made = parser(description, seeds)
    made.add_argument(
        "--work", type=Path, default=work, metavar="FOLDER", help=f"keeps everything; {work} unless named"
    )
    made.add_argument("--executor", default="local:2", metavar="local:N", help="N processes (default local:2)")
    made.add_argument("--minutes", type=positive, help="stop after so many; the same command goes on")
    return made


def in_pieces(minutes: float | None, report: Reporter, work: Callable[[], None], written: Callable[[], None]) -> int:
    """Works until all is done, the minutes are over or Ctrl-C comes, and writes down what there is by then.

    Returns:
        the exit code. Of a failure nothing is written.
    """
    code = 0
    try:
        with at_most(minutes):
            work()
    except OutOfTimeError:
        report.say("to be continued: type the same command again")
    except KeyboardInterrupt:
        report.say("interrupted: the same command goes on")
        code = INTERRUPTED
    written()
    return code


def digest_of(*values: object) -> str:
    """Eight hexadecimal digits that differ where any of these JSON values does: folders of work are named by them."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def of_version(folder: Path, version: int) -> Path:
    """The folder of work of a version of a benchmark. That of the first has no mark: it is older than versions are."""
    return folder if version == 1 else folder.with_name(f"{folder.name}-v{version}")


def profile_once(config: ProfileConfig, report: Reporter) -> None:
    """`latnas profile`, unless its folder has tables.

    Raises:
        LatnasError: one of these is of another device, or was measured under other conditions than those here.
    """
    paths, elsewhere = sorted(config.out.glob("*.json")), "Name another folder: --work FOLDER"
    for path in paths:
        found = load_table(path)
        if found.device != config.device:
            raise LatnasError(f"{path} is a table of {found.device}, not {config.device}. {elsewhere}")
        if (stale := why_stale(found)) is not None:
            raise LatnasError(f"{path} was measured under other conditions: {stale}. {elsewhere}")
    if not paths:
        profile(config, report)


def this_cpu(executor: str = "") -> str:
    """What results say of the device: the processor by name, since seconds and what fits into them depend on it."""
    named = f"cpu: {cpu_name()}, {len(os.sched_getaffinity(0))} cores"
    return f"{named}, {executor}" if executor else named


def device_of(name: str) -> str:
    """The same of a device as latnas names it."""
    return this_cpu() if name == "cpu" else name


def cpu_seconds() -> float:
    """CPU seconds of this process and of all that it started, those that still run included."""
    own = psutil.Process()
    total = _with_ended_children(own)
    for child in own.children(recursive=True):
        with suppress(psutil.Error):  # it ended just now, and is counted the next time
            total += _with_ended_children(child)
    return total


def _with_ended_children(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


CLOCKS: dict[str, Callable[[], float]] = {"cpu_seconds": cpu_seconds, "seconds": time.monotonic}


class Meter:
    """The seconds of a piece of work that may take several sessions: what each adds is kept in a file.

    A session that is killed outright loses what it spent after its last `keep`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before: dict[str, float] = read_json(path) if path.exists() else dict.fromkeys(CLOCKS, 0.0)
        self._began = {name: clock() for name, clock in CLOCKS.items()}
        self._kept = self._began["cpu_seconds"]

    @property
    def spent(self) -> dict[str, float]:
        """All sessions together, by each of `CLOCKS`: CPU seconds, and those by the clock on the wall."""
        return {name: self._before[name] + clock() - self._began[name] for name, clock in CLOCKS.items()}

    def keep(self) -> None:
        """Writes the seconds down."""
        write_json(self._path, self.spent)

    @contextmanager
    def running(self, report: Reporter) -> Iterator[Reporter]:
        """Around the work, which reports to what this gives: the seconds are kept now and then, and at the end."""
        try:
            yield Noticing(report, self.keep_now_and_then)
        finally:
            self.keep()

    def keep_now_and_then(self) -> None:
        """`keep`, if some seconds were spent since the last time."""
        now = cpu_seconds()
        if now - self._kept >= KEPT_EVERY_CPU_SECONDS:
            self._kept = now
            self.keep()


class Noticing:
    """A reporter that also calls `notice` whenever a bar moves."""

    def __init__(self, inner: Reporter, notice: Callable[[], None]) -> None:
        self._inner, self._notice = inner, notice

    def say(self, text: str) -> None:
        self._inner.say(text)

    def warn(self, text: str) -> None:
        self._inner.warn(text)

    @contextmanager
    def bar(self, name: str) -> Iterator[Progress]:
        with self._inner.bar(name) as bar:
            yield _NoticingBar(bar, self._notice)


class _NoticingBar:
    def __init__(self, inner: Progress, notice: Callable[[], None]) -> None:
        self._inner, self._notice = inner, notice

    def update(self, done: float, total: float, note: str = "") -> None:
        self._inner.update(done, total, note)
        self._notice()
