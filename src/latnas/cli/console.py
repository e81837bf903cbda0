"""What a person sees: progress and remarks on stderr, results on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from latnas.words.reporting import duration

PLAIN_INTERVAL_SECONDS, PLAIN_INTERVAL_SHARE = 10.0, 0.05
"""Between lines of a log: at least so long, and such a share of the time so far, or nights would fill thousands."""


class ConsoleReporter:
    """Shows bars on a terminal, and a line now and then where stderr is no terminal."""

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
        self._quiet = quiet

    def say(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text)

    def warn(self, text: str) -> None:
        self._console.print(f"warning: {text}", style="yellow")

    @contextmanager
    def bar(self, name: str) -> Iterator[_Bar]:
        if self._quiet:
            yield _Bar()
        elif self._console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(24),
                TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[note]}", markup=False),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self._console) as progress:
                yield _RichBar(progress, progress.add_task(name, total=1, note=""))
        else:
            bar = _PlainBar(name, self._console)
            yield bar
            bar.finish()


class _Bar:
    def update(self, done: float, total: float, note: str = "") -> None:
        pass


class _RichBar(_Bar):
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def update(self, done: float, total: float, note: str = "") -> None:
        self._progress.update(self._task, completed=done, total=max(total, 1e-9), note=note)


class _PlainBar(_Bar):
    def __init__(self, name: str, console: Console) -> None:
        self._name, self._console = name, console
        self._began = self._said = time.monotonic()
        self._start: tuple[float, float] | None = None
        self._last = ""

    def update(self, done: float, total: float, note: str = "") -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = (now, done)  # what an earlier process had done took this one no time
        self._last = f"{_counted(done)}/{_counted(total)} {note}".rstrip()
        interval = max(PLAIN_INTERVAL_SECONDS, PLAIN_INTERVAL_SHARE * (now - self._began))
        if now - self._said >= interval and done < total:
            began, before = self._start
            seconds = (now - began) * (total - done) / (done - before) if done > before else None
            left = "" if seconds is None else f", about {duration(seconds)} left"
            self._console.print(f"{self._name}: {self._last}{left}")
            self._said = now

    def finish(self) -> None:
        told = f"{self._last}, " if self._last else ""
        self._console.print(f"{self._name}: {told}{time.monotonic() - self._began:.1f} s")


def _counted(number: float) -> str:
    """With one decimal where it is no whole number."""
    return f"{number:.1f}".removesuffix(".0")


def print_table(title: str, columns: list[str], rows: list[list[str]], left: int = 1) -> None:
    """A table on stdout; the first `left` columns are text, the others numbers. Plain where stdout is no terminal."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False, markup=False, emoji=False).print(table)
