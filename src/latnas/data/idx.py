"""Folders of IDX files, as MNIST and Fashion-MNIST are distributed: train-images-idx3-ubyte, plain or as .gz.

A file begins with a magic number and one size for each dimension, each of four bytes, big-endian; then come the bytes.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import numpy as np

from latnas.data.memory import free_bytes
from latnas.data.npz import Array, open_file
from latnas.errors import LatnasError

NAMES = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx([13])-ubyte(\.gz)?")
KEYS = {"train": "train", "t10k": "test", "test": "test"}
DIMENSIONS = {"images": 3, "labels": 1}
UNSIGNED_BYTE = 8
MOST_DEFLATED = 1032
"""How many bytes one compressed byte can stand for, at most."""


def idx_files(folder: Path) -> dict[str, Path]:
    """The files in a folder by the array that they hold (x_train, ...), plain ones before compressed ones."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if matched := NAMES.fullmatch(path.name):
            found.setdefault(f"{'x' if matched[2] == 'images' else 'y'}_{KEYS[matched[1]]}", path)
    return found


def read_idx_files(files: dict[str, Path], folder: Path) -> dict[str, Array]:
    """The arrays of `idx_files`: images uint8 [N, H, W], labels uint8 [N].

    Raises:
        LatnasError: one is missing, damaged, of another kind, or does not have a label for each image.
    """
    wanted = ["x_train", "y_train", *(["x_test", "y_test"] if {"x_test", "y_test"} & files.keys() else [])]
    if missing := [key for key in wanted if key not in files]:
        raise LatnasError(
            f"{folder} lacks the {_called(missing[0])}. It needs train-images-idx3-ubyte and train-labels-idx1-ubyte, "
            "and t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte for test images; .gz may follow."
        )
    arrays = {key: read_idx(files[key], DIMENSIONS["images" if key[0] == "x" else "labels"]) for key in wanted}
    for part in {key[2:] for key in wanted}:
        images, labels = len(arrays[f"x_{part}"]), len(arrays[f"y_{part}"])
        if images != labels:
            raise LatnasError(
                f"{files[f'x_{part}']} has {images} images, {files[f'y_{part}']} {labels} labels. Fetch both again."
            )
    return arrays


def read_idx(path: Path, dimensions: int) -> Array:
    """The array of unsigned bytes in an IDX file, of so many dimensions; no more is read than its header says.

    Raises:
        UsageError: it cannot be opened.
        LatnasError: it is damaged or of another kind, or larger than memory.
    """
    with open_file(path) as file, _unpacked(file, path) as stream:
        try:
            start = stream.read(4)
            wanted = bytes([0, 0, UNSIGNED_BYTE, dimensions])
            if start != wanted:
                raise LatnasError(f"{path} begins with {start!r}, where an IDX file of this kind has {wanted!r}.")
            shape = struct.unpack(f">{dimensions}I", _exactly(stream, 4 * dimensions, path))
            size = math.prod(shape)
            _check_size(path, size, shape)
            content = _exactly(stream, size, path)
            if stream.read(1):
                raise LatnasError(f"{path} is longer than its header says: {_times(shape)} bytes. Fetch it again.")
        except (EOFError, OSError, zlib.error) as error:
            raise LatnasError(f"{path} is damaged or was cut short ({error}). Fetch it again.") from error
    return np.frombuffer(content, np.uint8).reshape(shape).copy()  # torch takes only what it may write to


def _unpacked(file: IO[bytes], path: Path) -> AbstractContextManager[IO[bytes]]:
    return gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file  # type: ignore[return-value]


def _check_size(path: Path, size: int, shape: tuple[int, ...]) -> None:
    """Refuses a header that promises more than the file can hold, or memory can, before anything is read."""
    most = path.stat().st_size * (MOST_DEFLATED if path.suffix == ".gz" else 1)
    if size > most:
        raise LatnasError(f"{path} was cut short: its header says {_times(shape)} bytes. Fetch it again.")
    if size > free_bytes():
        raise LatnasError(f"{path} does not fit in memory: its header says {_times(shape)} bytes.")


def _exactly(stream: IO[bytes], size: int, path: Path) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise LatnasError(f"{path} was cut short: {len(content)} bytes where {size} belong. Fetch it again.")
    return content


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _called(key: str) -> str:
    return f"{'images' if key[0] == 'x' else 'labels'} of {key[2:]}"
