"""Whatever bytes a file holds, loading it gives a data set or one message: never another exception."""

from __future__ import annotations

import gzip
import io
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from latnas.data.images import ImageData
from latnas.data.sources import load_images
from latnas.errors import LatnasError

SMALL = st.sampled_from([0, 1, 2, 3, 7, 8, 12, 28])
HOSTILE = st.sampled_from([2**31, 2**32 - 1, 65536])
PARTS = ("train", "t10k")


def outcome(files: dict[str, bytes], spec: str) -> ImageData | str:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        try:
            data = load_images(str(Path(folder) / spec))
        except LatnasError as error:
            return str(error)
    assert len(data.train) > 0 and len(data.test) > 0 and data.size >= 8
    return data


@st.composite
def idx_bytes(draw: st.DrawFn, dimensions: int) -> bytes:
    """An IDX file that is right, or wrong in its magic number, its sizes or its length."""
    right = draw(st.booleans())
    shape = [12, 8, 8][:dimensions] if right else draw(st.lists(SMALL | HOSTILE, min_size=1, max_size=3))
    length = int(np.prod(shape)) if right else draw(st.integers(0, 3000))
    magic = bytes([0, 0, 8, dimensions]) if draw(st.booleans()) else draw(st.binary(max_size=4))
    content = (np.arange(length) % draw(st.integers(1, 4))).astype(np.uint8).tobytes() if length < 10_000 else b""
    whole = magic + struct.pack(f">{len(shape)}I", *shape) + content
    return whole if draw(st.booleans()) else whole[: draw(st.integers(0, len(whole)))]


@settings(max_examples=150)
@given(st.data(), st.sampled_from(["", ".gz"]))
def test_any_bytes_in_idx_files(data: st.DataObject, suffix: str) -> None:
    files = {}
    for part in PARTS[: data.draw(st.integers(1, 2))]:
        for kind, dimensions in (("images", 3), ("labels", 1)):
            content = data.draw(idx_bytes(dimensions) | st.binary(max_size=60))
            packed = gzip.compress(content) if suffix and data.draw(st.booleans()) else content
            files[f"{part}-{kind}-idx{dimensions}-ubyte{suffix}"] = packed
    outcome(files, "")


def test_these_files_would_be_read_if_they_were_right() -> None:
    images = struct.pack(">BBBBIII", 0, 0, 8, 3, 12, 8, 8) + bytes(12 * 64)
    labels = struct.pack(">BBBBI", 0, 0, 8, 1, 12) + bytes(np.arange(12, dtype=np.uint8) % 2)
    assert isinstance(outcome({"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": labels}, ""), ImageData)


@st.composite
def npy_bytes(draw: st.DrawFn) -> bytes:
    """An array of any kind and shape, or a header that promises one, or anything."""
    shape = tuple(draw(st.lists(SMALL, max_size=4)))
    dtype = draw(st.sampled_from(["u1", "i8", "f2", "f4", "f8", "?", "U1", "S2", "c8", "M8[s]", "V3"]))
    buffer = io.BytesIO()
    if draw(st.booleans()) and np.prod(shape) < 10_000:
        np.save(buffer, np.zeros(shape, np.dtype(dtype)))
    else:
        header = {"descr": dtype, "fortran_order": False, "shape": (*shape, draw(SMALL | HOSTILE))}
        np.lib.format.write_array_header_1_0(buffer, header)
        buffer.write(draw(st.binary(max_size=100)))
    return buffer.getvalue()


@settings(max_examples=150)
@given(
    st.dictionaries(st.sampled_from(["x_train", "y_train", "x_test", "y_test", "classes"]), npy_bytes(), min_size=2),
    st.binary(max_size=20),
    st.sampled_from(["", "@16"]),
)
def test_any_arrays_in_an_npz_file(members: dict[str, bytes], after: bytes, size: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    outcome({"mine.npz": buffer.getvalue() + after}, f"mine.npz{size}")


@settings(max_examples=100)
@given(st.binary(max_size=200), st.sampled_from(["mine.npz", "mine.parquet"]), st.sampled_from([b"", b"PK", b"PAR1"]))
def test_any_bytes_in_a_file(content: bytes, name: str, start: bytes) -> None:
    assert isinstance(outcome({name: start + content}, name), str)
