"""Files that are no npz files, or damaged, or meant to execute something: refused, each by its name."""

from __future__ import annotations

import io
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trap import Trap

from latnas.data.sources import load_images
from latnas.errors import LatnasError

ARRAYS: dict[str, Any] = {
    "x_train": np.arange(12 * 64, dtype=np.uint8).reshape(12, 8, 8),
    "y_train": np.arange(12) % 2,
    "x_test": np.ones((6, 8, 8), np.uint8),
    "y_test": np.arange(6) % 2,
    "classes": np.array(["cat", "dog"]),
}


def saved(folder: Path, arrays: dict[str, Any]) -> Path:
    np.savez_compressed(folder / "mine.npz", **arrays)
    return folder / "mine.npz"


def npy_bytes(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an npz file: it is empty"),
        (b"label,pixel\n0,255\n", "not an npz file: it begins with b'labe'"),
        (npy_bytes(np.zeros((3, 8, 8))), "a single npy array"),
        (pickle.dumps(Trap()), "looks like a Python pickle, which could execute code and is never opened"),
    ],
)
def test_what_is_no_npz_file_is_told_apart(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(LatnasError) as caught:
        load_images("mine.npz", root=tmp_path)
    assert message in str(caught.value) and "numpy.savez_compressed(FILE, x_train=" in str(caught.value)


def test_a_file_cut_in_half_is_called_damaged(tmp_path: Path) -> None:
    file = saved(tmp_path, ARRAYS)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(LatnasError, match="is damaged or was cut short"):
        load_images(str(file))


def test_random_damage_to_arrays_and_their_headers_is_harmless_or_named(tmp_path: Path) -> None:
    draws = random.Random(0)
    members = {key: npy_bytes(value) for key, value in ARRAYS.items()}
    refused = 0
    for _ in range(500):
        # Damaged before it is zipped: otherwise the checksums of the archive catch it first.
        with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
            for key, content in members.items():
                damaged = bytearray(content)
                damaged[draws.randrange(len(content))] = draws.randrange(256)
                damaged[draws.randrange(100)] = ord(draws.choice("0123456789()[]{}'\",\\OfiU|<>"))
                archive.writestr(f"{key}.npy", bytes(damaged))
        try:
            load_images("mine.npz", root=tmp_path)
        except LatnasError:
            refused += 1
    assert refused > 250


def test_object_arrays_are_never_loaded(tmp_path: Path) -> None:
    file = saved(tmp_path, ARRAYS | {"x_train": np.array([Trap(), Trap()], dtype=object)})
    with pytest.raises(LatnasError, match=r"x_train holds Python objects, which could execute code"):
        load_images(str(file))


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("x_train", "text")
        archive.writestr("y_train.npy", npy_bytes(np.arange(2)))
    with pytest.raises(LatnasError, match="x_train is not a numpy array"):
        load_images("mine.npz", root=tmp_path)


def test_an_array_that_exceeds_memory_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**14,)})
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("x_train.npy", header.getvalue())
        archive.writestr("y_train.npy", npy_bytes(np.arange(2)))
    with pytest.raises(LatnasError, match=r"does not fit in memory|damaged"):
        load_images("mine.npz", root=tmp_path)


def test_missing_keys_are_listed_with_those_that_are_there(tmp_path: Path) -> None:
    without = {key: array for key, array in ARRAYS.items() if key != "y_test"}
    with pytest.raises(LatnasError, match=r"lacks y_test; it holds x_train, y_train, x_test, classes\."):
        load_images(str(saved(tmp_path, without)))
    with pytest.raises(LatnasError, match=r"lacks x_train, y_train; it holds images"):
        load_images(str(saved(tmp_path, {"images": np.zeros(3)})))
