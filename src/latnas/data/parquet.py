"""Parquet files in the layout of Hugging Face data sets: a column of encoded images and one of labels.

Rows of a Parquet file cannot be read one by one, and training reads them in random order. So all encoded images are
copied first, a few at a time, to a temporary file without a name, from which any of them is read in one call.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
import weakref
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from shlex import quote
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from latnas.data.classes import as_labels, check_labelled, checked_names
from latnas.data.encoded import TEST, TRAIN, VALIDATION, Encoded
from latnas.data.npz import Array, in_one_line, open_file, what_it_is
from latnas.errors import LatnasError, UsageError

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label", "labels")
LAYOUT = (
    "It takes the layout of Hugging Face data sets: a column image or img with the bytes of image files, "
    "and a column label with integers."
)
NAMES = re.compile(r"(train|test|validation|val)(?:[-_.].*?)??(?:-(\d+)-of-(\d+))?\.parquet", re.IGNORECASE)
PARTS = {"train": TRAIN, "test": TEST, "validation": VALIDATION, "val": VALIDATION}
NOT_HIDDEN = "[!.]*." + "".join(f"[{letter}{letter.upper()}]" for letter in "parquet")
"""What matches names of Parquet files, in any case of letters, wherever the disk tells one from another."""

MAGIC = b"PAR1"
ROWS_AT_A_TIME = 64
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class _Columns:
    """Which columns of a file are read, and the names of its classes if it has them."""

    image: str
    label: str
    nested: bool  # bytes in a struct, beside a path
    classes: tuple[str, ...] | None


class _Spool:
    """Encoded images, one after another in a temporary file that is gone when the process is."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as its images may be read)
        weakref.finalize(self, self._file.close)
        self._ends = [0]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, image: Any) -> None:
        try:
            self._file.write(image)
            self._file.flush()
        except OSError as error:
            raise LatnasError(
                f"cannot copy images to {tempfile.gettempdir()}: {error.strerror}. Set TMPDIR to a folder with room."
            ) from error
        self._ends.append(self._ends[-1] + len(image))

    def open(self, row: int) -> IO[bytes]:
        start, end = self._ends[row], self._ends[row + 1]
        return io.BytesIO(os.pread(self._file.fileno(), end - start, start))


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files in a folder, or in the one folder in it that has any; none if it is a folder of another kind.

    Hidden ones are left out, such as those in which macOS keeps what other disks have no place for.

    Raises:
        LatnasError: several folders in it have some.
    """
    if own := sorted(folder.glob(NOT_HIDDEN)):
        return own
    below = sorted(folder.glob(f"[!.]*/{NOT_HIDDEN}"))
    folders = sorted({str(file.parent) for file in below})
    if len(folders) > 1:
        raise LatnasError(f"{folder} has Parquet files in several folders. Name one of them: {', '.join(folders)}.")
    return below


def parts_of(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by the parts that their names begin with: train-00000-of-00002.parquet, test.parquet.

    Raises:
        LatnasError: a name begins with something else, or one of several numbered files is missing.
    """
    parts: dict[str, list[Path]] = {}
    numbers: dict[tuple[str, int], set[int]] = {}
    for file in files:
        matched = NAMES.fullmatch(file.name)
        if matched is None:
            raise LatnasError(f"{file} is named after none of {', '.join(PARTS)}. Rename it, or name one file alone.")
        part, number, count_text = matched.groups()
        parts.setdefault(PARTS[part.lower()], []).append(file)
        if number is not None:
            numbers.setdefault((part, int(count_text)), set()).add(int(number))
    for (part, count), present in numbers.items():
        absent = next((number for number in range(count) if number not in present), None)
        if absent is not None:
            raise LatnasError(
                f"of the {count} files {part}-NUMBER-of-{count} in {files[0].parent}, number {absent} is missing. "
                "Fetch it."
            )
    if TRAIN not in parts:
        raise LatnasError(f"{files[0].parent} has no file train*.parquet. Add it, or name one file alone.")
    return dict(sorted(parts.items()))


def encoded_parquet(parts: dict[str, list[Path]]) -> Encoded:
    """The images of Parquet files, given by the part that they belong to.

    Raises:
        UsageError: there is no such file, or pyarrow is not installed.
        LatnasError: a file is damaged, or lacks the columns; two files name the classes differently.
    """
    spool, labels, rows, firsts = _Spool(), [], {}, []
    names: dict[Path, tuple[str, ...]] = {}
    for part, files in parts.items():
        first_of_part = len(spool)
        for file in files:
            firsts.append(len(spool))
            of_file, named = _read_file(file, part, spool)
            labels.append(of_file)
            if named is not None:
                names[file] = named
        rows[part] = torch.arange(first_of_part, len(spool))
    _check_one_naming(names)
    classes = next((names[file] for file in parts[TRAIN] if file in names), None)
    every_file = [file for files in parts.values() for file in files]

    def describe(row: int) -> str:
        number = bisect_right(firsts, row) - 1
        return f"{every_file[number]}: row {row - firsts[number]}"

    return Encoded(spool.open, describe, torch.cat(labels), rows, classes)


def _check_one_naming(names: Mapping[Path, tuple[str, ...]]) -> None:
    """Refuses files that call the same label by different names; what each file calls them is given by its path."""
    for (first, of_first), (second, of_second) in pairwise(names.items()):
        if of_first != of_second:
            pairs = enumerate(zip(of_first, of_second, strict=False))
            label = next((label for label, (one, other) in pairs if one != other), None)
            how = (
                f"{len(of_first)} and {len(of_second)} classes"
                if label is None
                else f"label {label} is {of_first[label]!r} and {of_second[label]!r}"
            )
            raise LatnasError(
                f"{first} and {second} name the classes differently: {how}. Save both with the same names."
            )


def _read_file(file: Path, part: str, spool: _Spool) -> tuple[Tensor, tuple[str, ...] | None]:
    """Appends the images of a file; returns labels, int64 [N], and the names of classes if the file has them."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UsageError(
            f"reading Parquet files needs pyarrow: {quote(sys.executable)} -m pip install 'latnas[hf]'"
        ) from error
    with open_file(file) as stream:
        start = stream.read(6)
        if not start.startswith(MAGIC):
            raise LatnasError(f"{file} is not a Parquet file: {what_it_is(start, 'a Parquet file', MAGIC)}. {LAYOUT}")
        try:
            opened = pq.ParquetFile(stream, buffer_size=READ_BYTES)
            columns = _columns(opened.schema_arrow, file)
            labels = [_append(spool, batch, columns, file) for batch in _batches(opened, columns)]
        except (pa.ArrowException, OSError, ValueError) as error:
            raise LatnasError(f"{file} is damaged or was cut short ({in_one_line(error)}). Fetch it again.") from error
    if not labels:
        raise LatnasError(f"{file} has no rows. Add some, or take it out.")
    values = np.concatenate(labels)
    if part == TEST:
        check_labelled(values, str(file), "Take the file out")
    return as_labels(values, len(values), f"{file}: {columns.label}"), columns.classes


def _batches(opened: Any, columns: _Columns) -> Iterator[Any]:
    """The rows of a file, a few at a time, whatever the size of its row groups."""
    image = f"{columns.image}.bytes" if columns.nested else columns.image
    yield from opened.iter_batches(ROWS_AT_A_TIME, columns=[image, columns.label], use_threads=False)


def _append(spool: _Spool, batch: Any, columns: _Columns, file: Path) -> Array:
    """Appends the images of a few rows; returns their labels."""
    images, labels = batch.column(columns.image), batch.column(columns.label)
    if columns.nested:
        images = images.flatten()[0]
    if images.null_count or labels.null_count:
        raise LatnasError(f"{file} has rows without the bytes of an image, or without a label. Drop them.")
    for image in images:
        spool.append(image.as_buffer())
    values: Array = labels.to_numpy(zero_copy_only=False)
    return values


def _columns(schema: Any, file: Path) -> _Columns:
    import pyarrow as pa

    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if image is None or label is None:
        raise LatnasError(f"{file} has the columns {', '.join(schema.names) or 'none'}. {LAYOUT}")
    kind = schema.field(image).type
    nested = pa.types.is_struct(kind)
    if nested:
        kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise LatnasError(f"{file}: {image} holds {schema.field(image).type}, not the bytes of image files. {LAYOUT}")
    if not pa.types.is_integer(schema.field(label).type):
        raise LatnasError(f"{file}: {label} holds {schema.field(label).type}; labels must be integers. {LAYOUT}")
    return _Columns(image, label, nested, _names(schema.metadata or {}, label, file))


def _names(metadata: Mapping[bytes, bytes], label: str, file: Path) -> tuple[str, ...] | None:
    """The names that a Hugging Face data set gives its labels."""
    if b"huggingface" not in metadata:
        return None
    where = f"{file}: the huggingface metadata"
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label].get("names")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LatnasError(
            f"{where} does not describe the column {label}. Save the file again, or without it."
        ) from error
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise LatnasError(f"{where} names the classes by what is not text. Save the file again, or without it.")
    return checked_names(tuple(names), where)
