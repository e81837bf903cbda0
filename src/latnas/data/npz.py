"""Opening an npz file that may be anything: nothing in it is executed, and what is wrong is said."""

from __future__ import annotations

import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from latnas.errors import LatnasError, UsageError
from latnas.words.files import check_is_file

Array = NDArray[Any]
IMAGE_KEYS = ("x_train", "y_train", "x_test", "y_test")
HOW_TO_SAVE = "Save it with numpy.savez_compressed(FILE, x_train=..., y_train=..., x_test=..., y_test=...)."
# What numpy, zipfile and the parser of array headers raise at random damage: found by trying.
BROKEN = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
)


def open_file(path: Path) -> IO[bytes]:
    """The file at `path`, open for reading.

    Raises:
        UsageError: there is no such file, or it cannot be read.
        LatnasError: it is a pipe or a device.
    """
    try:
        check_is_file(path)
        return path.open("rb")
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}. Check the path given as --data.") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}. Check the path given as --data.") from error


def read_arrays(stream: IO[bytes], file: str) -> dict[str, Array]:
    """The arrays x_train and y_train of an npz file, and x_test, y_test and classes where it has them.

    Raises:
        LatnasError: it is no npz file, it is damaged, it lacks a key, or it holds Python objects.
    """
    start = stream.read(6)
    if not start.startswith(b"PK"):
        raise LatnasError(f"{file} is not an npz file: {what_it_is(start, 'a zip archive', b'PK')}. {HOW_TO_SAVE}")
    stream.seek(0)
    try:
        with np.load(stream, allow_pickle=False) as archive:
            wanted = _wanted_keys(archive.files, file)
            return {key: _read_array(archive, key, file) for key in wanted}
    except BROKEN as error:
        raise LatnasError(f"{file} is damaged or was cut short ({error}). Copy or save it again.") from error


def in_one_line(error: BaseException) -> str:
    """What an exception of another library says, for the middle of a sentence."""
    return " ".join(str(error).split()) or type(error).__name__


def what_it_is(start: bytes, wanted: str, magic: bytes) -> str:
    """What a file is that begins with `start`, where `wanted` would begin with `magic`."""
    if not start:
        return "it is empty"
    if start == b"\x93NUMPY":
        return "it is a single npy array"
    if start.startswith(b"\x80"):
        return "it looks like a Python pickle, which could execute code and is never opened"
    return f"it begins with {start[:4]!r} where {wanted} begins with {magic!r}"


def _wanted_keys(present: list[str], file: str) -> list[str]:
    has_test = "x_test" in present or "y_test" in present
    needed = IMAGE_KEYS if has_test else IMAGE_KEYS[:2]
    if missing := [key for key in needed if key not in present]:
        raise LatnasError(
            f"{file} lacks {', '.join(missing)}; it holds {', '.join(present) or 'nothing'}. {HOW_TO_SAVE} "
            "Without x_test and y_test, a sixth of the training images is held out."
        )
    return [*needed, *(["classes"] if "classes" in present else [])]


def _read_array(archive: Any, key: str, file: str) -> Array:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that files of Python 2 load slowly
            array = archive[key]
    except MemoryError as error:
        raise LatnasError(f"{file}: {key} does not fit in memory. Save fewer or smaller images, as uint8.") from error
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise LatnasError(
            f"{file}: {key} holds Python objects, which could execute code and are never loaded. "
            f"Save an array of numbers: numpy.stack(list({key}))."
        ) from error
    if not isinstance(array, np.ndarray):
        raise LatnasError(f"{file}: {key} is not a numpy array. {HOW_TO_SAVE}")
    return array
