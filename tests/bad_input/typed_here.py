"""Typing a command in a folder that was damaged, and what must hold whatever the damage was."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType

from damages import clear
from small import Typed, latnas

FAILED, WRONG_USAGE = 1, 2
PATIENCE_SECONDS = 30.0
"""Commands here take a second; on a machine that does much else, ten."""


class Hung(BaseException):
    """A command that did not end."""


def everything(folder: Path) -> dict[str, bytes | str]:
    """Whatever is below `folder`, by its path: contents of files, targets of links, and what the rest is."""
    found: dict[str, bytes | str] = {}
    for where, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(where, name)
            key = str(path.relative_to(folder))
            if path.is_symlink():
                found[key] = f"a link to {os.readlink(path)}"
            elif path.is_file():
                found[key] = path.read_bytes()
            else:
                found[key] = "a folder" if path.is_dir() else "neither"
    return found


def complaint(
    shown: Typed, before: dict[str, bytes | str], after: dict[str, bytes | str], may_change: Sequence[str] = ()
) -> str | None:
    """What is wrong with how a command took what it was given; None if nothing is."""
    if shown.raised is not None:
        return f"a traceback: {type(shown.raised).__name__}: {str(shown.raised)[:300]}"
    if left := [path for path in after if path.endswith((".part", ".tmp"))]:
        return f"left {left}"
    if shown.code == 0:
        return None
    if shown.code not in (FAILED, WRONG_USAGE):
        return f"exit code {shown.code}: {shown.stderr[:300]}"
    if fault := _fault_of(shown):
        return f"{fault}: {shown.stderr[:300]!r}, stdout {shown.stdout[:100]!r}"
    differing = [path for path in {*before, *after} if before.get(path) != after.get(path)]
    changed = [path for path in sorted(differing) if not any(fnmatch(path, pattern) for pattern in may_change)]
    return f"refused ({shown.stderr[:100]!r}) and changed {changed}" if changed else None


def _fault_of(shown: Typed) -> str | None:
    """Of a refusal: stdout is empty, stderr is one message of latnas', or a complaint about usage; all printable."""
    lines = [line for line in shown.stderr.split("\n")[:-1] if not line.startswith("warning: ")]
    if shown.stdout:
        return "a refusal and output"
    if "Traceback" in shown.stderr:
        return "a traceback in the message"
    if not all(line.isprintable() for line in lines):
        return "a message with control characters"
    if lines and lines[0].startswith(("Usage: latnas", "Error: ")):  # typer's own
        return None if shown.stderr.count("Error: ") == 1 and shown.code == WRONG_USAGE else "not one error on usage"
    if not lines or not lines[0].startswith("latnas: ") or not all(line.startswith("  --") for line in lines[1:]):
        return "not one message"
    return None


@contextmanager
def patience(seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Raises Hung in what takes longer; the suite's own timer goes on afterwards."""

    def hung(signum: int, frame: FrameType | None) -> None:
        raise Hung

    handler = signal.signal(signal.SIGALRM, hung)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, handler)


def type_here(words: Sequence[object]) -> Typed:
    """As `latnas`, but a command that hangs is one that raised."""
    try:
        with patience():
            return latnas(*words)
    except Hung as error:
        return Typed(-1, "", "", error)


def table_of(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def restore(folder: Path, found: dict[str, bytes | str], wanted: dict[str, bytes | str]) -> None:
    """Undoes what happened to `folder`, in which there is everything that was `found`, since that was `wanted`."""
    different = {path for path in {*found, *wanted} if found.get(path) != wanted.get(path)}
    for path in sorted(different & found.keys(), reverse=True):  # what is inside of a folder goes before it
        clear(folder / path)
    for path in sorted(different & wanted.keys()):
        content = wanted[path]
        if isinstance(content, bytes):
            (folder / path).write_bytes(content)
        elif content == "a folder":
            (folder / path).mkdir()
        else:
            (folder / path).symlink_to(content.removeprefix("a link to "))
