"""One process at a time works on a run or a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from latnas.errors import LatnasError
from latnas.words.files import cannot_write


@contextmanager
def locked(file: Path, what: object, otherwise: str, elsewhere: str) -> Iterator[None]:
    """Within this block no other process works on `what`.

    Args:
        file: of the lock; it stays, and means nothing by itself. Its folder is made.
        what: a run, a table or a device, as a message calls it.
        otherwise: what the message offers beside waiting.
        elsewhere: what to do where nothing may be written.

    Raises:
        LatnasError: another one does, or the folder cannot be written to.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(file, error) from error
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LatnasError(
            f"another latnas is working on {what}. Wait for it, then type the same command again{otherwise}."
        ) from error
    except OSError as error:
        raise LatnasError(f"cannot lock {what}: {error}. {elsewhere}.") from error
    try:
        yield
    finally:
        lock.release()
