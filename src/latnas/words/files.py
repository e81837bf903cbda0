"""Reading and writing the files that stages hand to one another: whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

from latnas.errors import LatnasError, UsageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What a system says where there is no room left: on the disk, for this user, for one file."""


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes `content` to a temporary file beside `path`, then renames it: readers see the old file or the new one.

    What earlier writes of `path` left that were killed is deleted.

    Raises:
        LatnasError: the folder cannot be written to, or the disk is full.
    """
    write_together({path: content})


def write_together(contents: Mapping[Path, bytes | str]) -> None:
    """The same of several files: the first is renamed when all are written, so that a full disk leaves the old ones.

    Raises:
        LatnasError: a folder cannot be written to, or the disk is full.
    """
    with ExitStack() as stack:
        written = {path: stack.enter_context(_written_beside(path, content)) for path, content in contents.items()}
        for path, temporary in written.items():
            try:
                os.replace(temporary, path)
            except OSError as error:
                raise cannot_write(path, error) from error


@contextmanager
def _written_beside(path: Path, content: bytes | str) -> Iterator[Path]:
    """A temporary file beside `path`, of this content. At the end it is deleted, if it has not its own name by then."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _delete_leftovers(path)
        # Unlike a file of `tempfile` it is as open to others as this user wants.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _locks(file)  # until it has its own name
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                yield temporary
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def _delete_leftovers(path: Path) -> None:
    """Deletes temporary files of `path`, but none that a living process writes: that has it locked from the first byte.

    So it is also for processes of other containers, which have the same numbers, and other host names each time.
    """
    for left in path.parent.glob(f".{escape(path.name)}.????????.part"):
        with suppress(OSError), left.open("r+b") as file:  # it was renamed just now, or is another user's
            if os.fstat(file.fileno()).st_size and _locks(file):
                left.unlink()


def _locks(file: BinaryIO) -> bool:
    """Locks a file until it is closed. Returns False if another process has, or the file system knows no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically. NaN and infinities are refused: they are not JSON."""
    write_atomically(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def at_home(path: str, option: str = "") -> str:
    """The path with a home folder in place of its ~, which a shell leaves alone in --out=~/tables.

    Args:
        option: what the message puts before the path.

    Raises:
        UsageError: it is that of somebody who is not known here.
    """
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError as error:
        raise UsageError(f"{option}{path}: whose home folder that is, is unknown. Type the path in full.") from error


def check_is_file(path: Path) -> None:
    """Raises LatnasError where a pipe or a device stands: whoever opens a pipe may wait for ever."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise LatnasError(f"cannot read {path}: it is a pipe or a device. Name a file.")


def read_bytes(path: Path) -> bytes:
    """What is in `path`. Raises LatnasError where it is missing or unreadable."""
    try:
        check_is_file(path)
        return path.read_bytes()
    except OSError as error:
        raise LatnasError(f"cannot read {path}: {error.strerror or error}.") from error


def read_text(path: Path) -> str:
    """The text in `path`. Raises LatnasError where it is missing, unreadable, or not UTF-8."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise LatnasError(f"cannot read {path}: it is not text.") from error


def read_json(path: Path, again: str = "Make it again.") -> Any:
    """The JSON value in `path`.

    Args:
        again: what to do where it is none.

    Raises:
        LatnasError: the file is missing, unreadable, or not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # json has no class of its own for a number of 5,000 digits
        raise LatnasError(f"{path} is not valid JSON ({error}). It was cut short or edited. {again}") from error


def append_line(path: Path, value: Any) -> None:
    """Appends `value` as one JSON line, in the place of a last line that was cut short.

    Raises:
        LatnasError: the file cannot be written to, or the disk is full.
    """
    line = json.dumps(value, allow_nan=False).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            _drop_cut_line(file)
            file.write(line)
    except OSError as error:
        raise cannot_write(path, error) from error


def make_lasting(path: Path) -> None:
    """Returns once what was appended to `path` outlasts a power cut; at once where there is no such file.

    Raises:
        LatnasError: the file cannot be written to, or the disk is full.
    """
    if not path.exists():
        return
    try:
        with path.open("ab") as file:
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error


def read_lines(path: Path) -> Iterator[Any]:
    """The values of a file of JSON lines, in order; nothing if the file does not exist.

    A last line without a newline is what a killed process leaves, and is skipped.

    Raises:
        LatnasError: the file cannot be read, or a whole line is not JSON.
    """
    if not path.exists() and not path.is_symlink():
        return
    *whole, _ = read_text(path).split("\n")
    for number, line in enumerate(whole, start=1):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LatnasError(
                f"{path}, line {number} is not valid JSON ({error}). Remove the line or the file."
            ) from error


def _drop_cut_line(file: BinaryIO) -> None:
    """Truncates `file` after its last newline: what a killed process left there must not begin the next record."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def cannot_write(path: Path, error: OSError) -> LatnasError:
    """The error for a file that the system did not let us write."""
    advice = "Free space there, or name another folder" if error.errno in FULL else "Name another folder"
    return LatnasError(f"cannot write {path}: {error.strerror or error}. {advice}.")
