"""What every benchmark prints and writes: rows, and what was to be reached."""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from latnas.errors import LatnasError, one_line
from latnas.stages.common.metadata import versions_of
from latnas.words.files import read_json, write_json

LONG = 12
PACKAGES = ("latnas", "torch", "onnxruntime", "numpy", "scipy")


@dataclass(frozen=True)
class Reach:
    """One thing that was to be reached."""

    what: str
    value: float
    reach: float
    better: Literal["lower", "higher"]

    @property
    def met(self) -> bool:
        return self.value <= self.reach if self.better == "lower" else self.value >= self.reach


def parser(description: str | None, seeds: Sequence[int] = ()) -> argparse.ArgumentParser:
    """An argument parser with what all benchmarks take; those that repeat what they do have `--seeds` for `--seed`."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="write rows and reach to this file")
    if seeds:
        shown = ",".join(map(str, seeds))
        made.add_argument("--seeds", type=numbers, default=tuple(seeds), metavar="0,1,2", help=f"{shown} unless named")
    else:
        made.add_argument("--seed", type=whole(0), default=0)
    return made


def numbers(text: str) -> tuple[int, ...]:
    """An option's `0,1,2` as numbers."""
    return tuple(dict.fromkeys(map(whole(0), text.split(","))))


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """What makes an option's text a whole number within these bounds."""

    def number(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            wanted = f"{least} or more" if most is None else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"{text} is not {wanted}")
        return value

    return number


def positive(text: str) -> float:
    """An option's text as a number above zero."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} is no number above zero")
    return value


@contextmanager
def failures_in_one_line(benchmark: str) -> Iterator[None]:
    """Around what a benchmark does: what is wrong becomes one line on stderr and an exit code, no traceback."""
    try:
        yield
    except LatnasError as error:
        print(f"{benchmark}: {one_line(str(error))}", file=sys.stderr)
        sys.exit(error.code)


def earlier_rows(out: Path | None, benchmark: str, version: int, column: str) -> list[dict[str, Any]]:
    """The rows that sessions before have left in the results file, if there is one: those that have this column.

    Args:
        out: the file.
        benchmark: its name.
        version: of what the benchmark measures. Rows that name none are of version 1.
        column: which rows of other kinds lack.

    Raises:
        LatnasError: the file is no results file of this benchmark, or of another version of it.
    """
    if out is None or not out.exists():
        return []
    found = read_json(out)
    if not isinstance(found, dict) or found.get("benchmark") != benchmark or not isinstance(found.get("rows"), list):
        raise LatnasError(f"{out} is no results file of {benchmark}. Name another file: --json FILE")
    rows = [row for row in found["rows"] if column in row]
    for row in rows:
        if (other := row.get("version", 1)) != version:
            raise LatnasError(
                f"{out} holds results of version {other} of {benchmark}, and version {version} measures something "
                "else. Name another file: --json FILE"
            )
    return rows


def finish(
    benchmark: str,
    rows: Sequence[Mapping[str, Any]],
    reach: Sequence[Reach],
    device: str,
    out: Path | None,
    shown: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Prints the rows, or `shown` in their place, and the reach as tables; writes rows and reach as JSON.

    The form of the file is that of docs/design.md, section 10.
    """
    print_rows(benchmark, rows if shown is None else shown)
    met = [
        {"what": one.what, "value": one.value, "reach": one.reach, "better": one.better, "met": one.met}
        for one in reach
    ]
    if reach:
        print_rows("reach", [{**one, "met": "yes" if one["met"] else "no"} for one in met])
    if out is not None:
        value = {
            "benchmark": benchmark,
            "device": device,
            "versions": {"python": platform.python_version(), **versions_of(PACKAGES)},
            "command": " ".join(["python", *sys.argv]),
            "rows": list(rows),
            "reach": met,
        }
        write_json(out, json.loads(json.dumps(value)))


def print_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table on stdout. One line for each row; where rows are long, one column for each."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [[_text(row.get(name, "")) for name in columns] for row in rows]
    if len(columns) > LONG:
        lines = [[name, *values] for name, values in zip(columns, zip(*lines, strict=True), strict=True)]
        columns = ["", *(str(number + 1) for number in range(len(rows)))]
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(*line)
    Console(width=180, highlight=False, markup=False).print(table)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def as_row(**values: Any) -> dict[str, Any]:
    """A row, its numbers rounded to five digits, so that results can be compared by eye."""
    return {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in values.items()}
