"""IDX files as MNIST's are named, plain and compressed, against a reader of one line."""

from __future__ import annotations

import gzip
import shlex
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import noise, refusal

from latnas.data.sources import load_images

LABELS = np.arange(12, dtype=np.uint8) % 2


def idx(array: Any) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return bytes(header + array.astype(np.uint8).tobytes())


def saved(folder: Path, separator: str = "-", compressed: bool = False, test: str = "t10k") -> Path:
    """Twelve training and six test images of 10x10 pixels."""
    folder.mkdir(exist_ok=True)
    for part, count in (("train", 12), (test, 6)):
        for kind, array in (("images", noise(count, count, 10, 10)), ("labels", LABELS[:count])):
            name = f"{part}-{kind}{separator}idx{array.ndim}-ubyte"
            if compressed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / name).write_bytes(idx(array))
    return folder


@pytest.mark.parametrize("test", ["t10k", "test"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("separator", ["-", "."])
def test_files_are_read_under_each_of_their_usual_names(
    tmp_path: Path, separator: str, compressed: bool, test: str
) -> None:
    data = load_images(str(saved(tmp_path / "mnist", separator, compressed, test)))
    assert data.name == "mnist" and data.classes == ("0", "1") and data.notes == ()
    assert np.array_equal(data.train.images[:, 0], noise(12, 12, 10, 10))
    assert np.array_equal(data.test.images[:, 0], noise(6, 6, 10, 10))
    assert data.train.labels.tolist() == LABELS.tolist()


def test_without_test_files_a_sixth_is_held_out(tmp_path: Path) -> None:
    for file in saved(tmp_path).glob("t10k*"):
        file.unlink()
    assert torch.bincount(load_images(str(tmp_path)).test.labels).tolist() == [1, 1]


def test_another_size_is_made_of_them_and_this_is_said(tmp_path: Path) -> None:
    data = load_images(f"{saved(tmp_path)}/@16")
    assert data.train.images.shape == (12, 1, 16, 16)
    assert "images of 10x10 pixels are made 16x16, as named" in data.notes[0]


IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def cut(name: str, length: int) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length])


def begins(name: str, start: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(start + (folder / name).read_bytes()[len(start) :])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / TRAIN_LABELS).unlink(), "lacks the labels of train. It needs train-images-idx3-ubyte"),
        (lambda f: (f / "t10k-images-idx3-ubyte").unlink(), "lacks the images of test"),
        (cut(IMAGES, 100), f"{IMAGES} was cut short: its header says 12 x 10 x 10 bytes"),
        (cut(IMAGES, 10), f"{IMAGES} was cut short: 6 bytes where 12 belong"),
        (cut(IMAGES, 0), f"{IMAGES} begins with b''"),
        (begins(IMAGES, b"\x00\x00\x0d\x03"), "begins with b'\\x00\\x00\\r\\x03', where an IDX file"),
        (begins(IMAGES, b"\x80\x04\x95\x00"), "begins with b'\\x80\\x04\\x95"),
        (begins(IMAGES, b"\x00\x00\x08\x03\xff\xff\xff\xff"), "was cut short: its header says 4294967295 x 10 x 10"),
        (begins(IMAGES, b"\x00\x00\x08\x03\x00\x00\x00\x05"), "is longer than its header says: 5 x 10 x 10 bytes"),
        (begins(TRAIN_LABELS, b"\x00\x00\x08\x01\x00\x00\x00\x0b"), "is longer than its header says: 11 bytes"),
        (lambda f: (f / TRAIN_LABELS).write_bytes(idx(LABELS[:11])), "has 12 images, "),
        (lambda f: (f / TRAIN_LABELS).write_bytes(idx(LABELS * 3)), "lacks the labels 1, 2"),
        (lambda f: (f / IMAGES).write_bytes(idx(noise(0, 12, 10, 12))), "10x12 pixels; only square ones"),
        (lambda f: (f / IMAGES).write_bytes(idx(noise(0, 12, 0, 0))), "is empty"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(saved(tmp_path))
    assert message in refusal(tmp_path)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(10, 12, "10"), (12, 12, "12"), (7, 7, "32")], ids=["oblong", "unlike", "small"]
)
def test_where_sizes_do_not_do_as_they_are_the_folder_is_named_with_one_that_does(
    tmp_path: Path, height: int, width: int, size: str
) -> None:
    folder = saved(tmp_path / "my digits")
    (folder / IMAGES).write_bytes(idx(noise(0, 12, height, width)))
    offered = refusal(folder).partition(": --data ")[2]
    assert shlex.split(offered) == [f"{folder}@{size}"]
    assert load_images(f"{folder}@{size}").size == int(size)


def test_a_compressed_file_that_was_cut_or_changed_is_damaged(tmp_path: Path) -> None:
    file = saved(tmp_path, compressed=True) / f"{IMAGES}.gz"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert "is damaged or was cut short" in refusal(tmp_path)
    file.write_bytes(content[:200] + bytes(50) + content[250:])
    assert "is damaged or was cut short" in refusal(tmp_path)
    file.write_bytes(b"not compressed")
    assert "is damaged or was cut short" in refusal(tmp_path)


def test_no_more_is_unpacked_than_the_header_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(tmp_path, compressed=True) / f"{IMAGES}.gz"
    file.write_bytes(gzip.compress(idx(noise(0, 12, 10, 10)) + bytes(200_000_000), 1))
    read, asked = gzip.GzipFile.read, list[int | None]()
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: asked.append(size) or read(self, size))
    assert "is longer than its header says: 12 x 10 x 10 bytes" in refusal(tmp_path)
    assert max(asked) == 12 * 10 * 10 and min(asked) >= 1
