"""Images are turned as a camera recorded, and no other word of their EXIF, right or wrong, decides anything."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import SIDE, picture, two_classes
from PIL import ExifTags, Image

from latnas.data.decoding import decode
from latnas.data.sources import load_images

ORIENTATION = ExifTags.Base.Orientation
UPRIGHT: dict[int, Callable[[Any], Any]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}
"""By orientation, as the standard of EXIF has it: from the pixels of a file [H, W, C] to those that are meant."""

SHORT, TEXT, RATIONAL, SIGNED_RATIONAL = 3, 2, 5, 10


def exif(*tags: tuple[int, int, int, bytes], after: bytes = b"") -> bytes:
    """EXIF of tags (number, type, count, four bytes), as a camera of little endian writes it."""
    entries = b"".join(struct.pack("<HHL4s", *tag) for tag in sorted(tags))
    return b"Exif\0\0II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4) + after


def turned(orientation: int, count: int = 1) -> tuple[int, int, int, bytes]:
    return ORIENTATION, SHORT, count, struct.pack("<HH", orientation, orientation)


def at(place: int, tags: int) -> bytes:
    """The four bytes of a tag whose value lies so far after the tags, of which there are so many."""
    return struct.pack("<L", 8 + 2 + 12 * tags + 4 + place)


AFTER_TWO = at(0, tags=2)
STARTS_WITH_NONSENSE = b"Exif\0\0nonsense" + bytes(20)
ODD = {
    "a width in letters": exif((ExifTags.Base.ImageWidth, TEXT, 4, b"abc\0"), turned(6)),
    "a resolution below zero": exif(
        (ExifTags.Base.XResolution, SIGNED_RATIONAL, 1, AFTER_TWO), turned(6), after=struct.pack("<ll", -72, 1)
    ),
    "a resolution that was cut off": exif((ExifTags.Base.XResolution, RATIONAL, 1, at(99, tags=2)), turned(6)),
    "a last tag that was cut short": exif(turned(6))[:-3],
    "two orientations": exif(turned(6, count=2)),
}


def saved(image: Image.Image, kind: str, **how: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **how)
    file.seek(0)
    return file


def decoded(file: io.BytesIO) -> Any:
    """uint8 [H, W, C]."""
    return decode(file, "it", SIDE, 3).transpose(1, 2, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_image_is_turned_as_its_orientation_says(orientation: int, kind: str) -> None:
    said = Image.Exif()
    said[ORIENTATION] = orientation
    stored = decoded(saved(picture(0), kind))
    assert np.array_equal(decoded(saved(picture(0), kind, exif=said)), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    assert np.array_equal(decoded(saved(picture(0), "PNG", exif=exif(turned(orientation)))), np.asarray(picture(0)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("odd", ODD)
def test_an_image_is_turned_whatever_else_its_exif_says_and_nobody_is_warned(
    odd: str, kind: str, recwarn: pytest.WarningsRecorder
) -> None:
    stored = decoded(saved(picture(0), kind))
    assert np.array_equal(decoded(saved(picture(0), kind, exif=ODD[odd])), UPRIGHT[6](stored))
    assert not recwarn.list


@pytest.mark.parametrize(
    "content",
    [STARTS_WITH_NONSENSE, b"x", b"Exif\0\0II*\0", exif(turned(6))[:20]],
    ids=["nonsense", "one byte", "no place of tags", "cut within a tag"],
)
def test_an_image_whose_exif_cannot_be_read_is_taken_as_it_is_and_nobody_is_warned(
    content: bytes, recwarn: pytest.WarningsRecorder
) -> None:
    assert np.array_equal(decoded(saved(picture(0), "PNG", exif=content)), np.asarray(picture(0)))
    assert not recwarn.list


def test_a_data_set_with_odd_exif_is_read_whether_or_not_it_is_held_and_nobody_is_warned(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    two_classes(tmp_path)
    for number, content in enumerate([*ODD.values(), STARTS_WITH_NONSENSE]):
        picture(number).save(tmp_path / "cat" / f"odd {number}.jpg", exif=content)
        picture(number).save(tmp_path / "dog" / f"odd {number}.png", exif=content)
    held, lazy = load_images(str(tmp_path)), load_images(str(tmp_path), available_bytes=1000)
    assert held.fingerprint == lazy.fingerprint
    assert not recwarn.list
