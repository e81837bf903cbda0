"""Images of 16 bits a pixel: those that are darker than 16 bits should be."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import SIDE, refusal
from PIL import Image

from latnas.data import encoded
from latnas.data.images import ImageData
from latnas.data.sources import load_images


def deep_classes(folder: Path, highest: int, count: int = 6) -> Path:
    """As many images of each of two classes, with 16 bits, of which the last of each has the highest pixel."""
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            save(folder / name / f"{number}.png", highest if number == count - 1 else highest // 2)
    return folder


def save(file: Path, value: int) -> None:
    Image.fromarray(np.full((SIDE, SIDE), value, np.uint16)).save(file)


def dark_notes(data: ImageData) -> list[str]:
    return [note for note in data.notes if "grey levels" in note]


def test_twelve_bits_in_sixteen_are_said_with_the_grey_levels_that_they_keep(tmp_path: Path) -> None:
    for memory in (None, 1000):
        (note,) = dark_notes(load_images(str(deep_classes(tmp_path / str(memory), 4095)), available_bytes=memory))
        assert "of 12 images with 16 bits that were looked at, none has a pixel above 4095 of 65535" in note
        assert "of 256 grey levels they keep 17. If less than 65535 is white" in note


@pytest.mark.parametrize(("highest", "notes"), [(8191, 1), (8192, 0), (65535, 0)])
def test_an_eighth_of_white_is_bright_enough(tmp_path: Path, highest: int, notes: int) -> None:
    assert len(dark_notes(load_images(str(deep_classes(tmp_path, highest))))) == notes


def test_of_many_images_a_few_are_looked_at_from_all_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "MOST_LOOKED_AT", 5)
    deep_classes(tmp_path, 4095)
    assert "of 4 images with 16 bits" in dark_notes(load_images(str(tmp_path)))[0]  # every third of twelve
    save(tmp_path / "dog" / "3.png", 65535)
    assert dark_notes(load_images(str(tmp_path))) == []


def test_images_of_eight_bits_may_be_dark(tmp_path: Path) -> None:
    for file in deep_classes(tmp_path, 4095).rglob("*.png"):
        Image.new("L", (SIDE, SIDE), 3).save(file)
    assert load_images(str(tmp_path)).notes[:-1] == ()


def test_the_transparent_level_of_sixteen_bits_is_laid_on_white(tmp_path: Path) -> None:
    deep_classes(tmp_path, 65535)
    file = tmp_path / "cat" / "0.png"
    save(file, 2570)
    add_transparency(file, 2570)
    data = load_images(str(tmp_path))
    levels = sorted(torch.cat([data.train.images, data.test.images])[:, 0, 0, 0].tolist())
    assert levels == [127] * 9 + [255] * 3
    assert "1 of 12 images are transparent and are laid on white" in data.notes[0]


def add_transparency(file: Path, level: int) -> None:
    """Says in a PNG file that pixels of this level are transparent, which Pillow does not write with 16 bits."""
    header, chunk = 33, b"tRNS" + struct.pack(">H", level)
    content, length = file.read_bytes(), struct.pack(">I", 2)
    file.write_bytes(content[:header] + length + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[header:])


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    file = deep_classes(tmp_path, 4095) / "cat" / "0.png"
    file.write_bytes(file.read_bytes()[:-30])
    assert "cat/0.png is broken or was cut short" in refusal(tmp_path)
