"""What a person sees: progress and remarks on stderr, results on stdout."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from latnas.words.reporting import duration

PLAIN_INTERVAL_SECONDS, PLAIN_INTERVAL_SHARE = 10.0, 0.05
"""Between lines of a log: at least so long, and such a share of the time so far, or nights would fill thousands."""

LEAST_SHARE = 0.001
"""Of what there is to do: before so much of it is done, tasks that do not tell how far they are belie the time left."""


UNLIMITED = 10_000
"""Columns, where nobody says how many there are. A table takes no more of them than its cells do."""

BORDERS = 3
"""Columns that a column of a table takes beside its text: a line, and a space on either side."""


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
            is_told = done - before > LEAST_SHARE * (total - before)
            seconds = (now - began) * (total - done) / (done - before) if is_told else None
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
    """A table on stdout; the first `left` columns are text, the others numbers. No word is broken: see `_print_list`.

    As wide as the terminal, or as COLUMNS says; where there is neither as wide as its cells: logs are searched by line.
    """
    # Not by rich itself: it takes COLUMNS=0, of a terminal whose size nobody knows, at its word.
    width, _ = shutil.get_terminal_size((UNLIMITED, 0))
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    widths = _widths([columns, *rows], console.width - BORDERS * len(columns) - 1)
    if widths is None:
        _print_list(console, title, columns, rows)
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for index, (column, width_of_column) in enumerate(zip(columns, widths, strict=True)):
        table.add_column(column, justify="left" if index < left else "right", width=width_of_column)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _widths(rows: list[list[str]], room: int) -> list[int] | None:
    """Of each column, the widest narrowed first where there is no room for all; None where a word would be broken."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(cell_len, texts)) for texts in columns]
    least = [max(cell_len(word) for text in texts for word in ["", *text.split()]) for texts in columns]
    if sum(least) > room:
        return None
    while sum(widths) > room:
        widths[max((i for i in range(len(widths)) if widths[i] > least[i]), key=widths.__getitem__)] -= 1
    return widths


def _print_list(console: Console, title: str, columns: list[str], rows: list[list[str]]) -> None:
    """What a table too wide for the terminal says, with a line for each cell: words stay whole and can be copied."""
    lines = [title]
    for row in rows:
        lines += ["", *(": ".join(filter(None, pair)) for pair in zip(columns, row, strict=True))]
    console.print("\n".join(lines), soft_wrap=True)
