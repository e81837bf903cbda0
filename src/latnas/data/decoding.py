"""From one encoded image, of any kind that Pillow reads, to a square of uint8 pixels, or what is wrong with it.

Shapes: C channels, S pixels along a side.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import IO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from latnas.data.npz import Array, in_one_line
from latnas.errors import LatnasError

ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
SIXTEEN_TO_EIGHT = 257
WHITE_IN_SIXTEEN = 255 * SIXTEEN_TO_EIGHT
# Encapsulated PostScript is a program, which Pillow would have Ghostscript run; the others have no decoder.
NEVER_OPENED = ("EPS", "WMF", "BUFR", "GRIB", "HDF5")
# What Pillow's decoders raise at random damage: found by trying.
BROKEN = (
    OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, AttributeError, OverflowError,
    NotImplementedError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the orientation that EXIF has: how an image becomes upright."""


@dataclass(frozen=True)
class Header:
    """What an image says of itself before its pixels are decoded; `mode` is Pillow's."""

    width: int
    height: int
    mode: str
    transparent: bool

    @property
    def deep(self) -> bool:
        """More than 8 bits a pixel."""
        return self.mode.startswith("I")

    @property
    def grey(self) -> bool:
        return self.deep or self.mode in ("1", "L", "LA", "La")

    @property
    def palette(self) -> bool:
        return self.mode in ("P", "PA")


@contextmanager
def huge_images_refused() -> Iterator[None]:
    """Within this block Pillow's warning of a suspiciously large image is an error. Not for several threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_header(stream: IO[bytes], name: str) -> Header:
    """The header of an image; `name` is what messages call it.

    Raises:
        LatnasError: it is no image that Pillow opens, has pixels of a kind that has no scale, or is huge.
    """
    with _named(name), stream, Image.open(stream, formats=_formats()) as image:
        header = Header(*image.size, image.mode, image.mode in ALPHA_MODES or "transparency" in image.info)
    if header.mode == "F":
        raise LatnasError(f"{name} has floating-point pixels, of which white is unknown. Save it with 8 or 16 bits.")
    return header


def decode(stream: IO[bytes], name: str, size: int, channels: int) -> Array:
    """An image as uint8 [C, S, S]: its first frame, upright, on white where it is transparent, fitted to `size`.

    Raises:
        LatnasError: it is broken, cut short, or has pixels of more than 16 bits.
    """
    with _named(name), stream, Image.open(stream, formats=_formats()) as image:
        image.load()
        upright = _upright(image)
        plain = _eight_bits(upright, name) if upright.mode.startswith("I") else _on_white(upright)
        pixels = np.asarray(fitted(plain.convert("L" if channels == 1 else "RGB"), size))
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def brightest(stream: IO[bytes], name: str) -> int:
    """The largest pixel of an image of more than 8 bits a pixel.

    Raises:
        LatnasError: it is broken, cut short, or has pixels of more than 16 bits.
    """
    with _named(name), stream, Image.open(stream, formats=_formats()) as image:
        image.load()
        return int(_sixteen_bits(image, name).max())


def fitted(image: Image.Image, size: int) -> Image.Image:
    """Shorter side scaled to `size` with Pillow's antialiased bilinear filter, then the centre cropped."""
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = ((length - side) / 2 for length in image.size)
    # In one step: what is cropped away of a long image may not fit into memory when scaled up.
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)


def _upright(image: Image.Image) -> Image.Image:
    """The image as its orientation says. EXIF that cannot be read says nothing: the pixels are whole all the same.

    Nothing else of EXIF is looked at. `ImageOps.exif_transpose` writes all of it anew, and fails at any odd tag.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except BROKEN:
        return image
    return image.transpose(TURNED[orientation]) if orientation in TURNED else image


def _sixteen_bits(image: Image.Image, name: str) -> Array:
    values: Array = np.asarray(image)
    if values.min() < 0 or values.max() > WHITE_IN_SIXTEEN:
        raise LatnasError(f"{name} has pixels of more than 16 bits. Save it with 8 or 16 bits.")
    return values


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    values = _sixteen_bits(image, name)
    if (transparent := image.info.get("transparency")) is not None:
        values = np.where(values == transparent, WHITE_IN_SIXTEEN, values)
    return Image.fromarray(np.rint(values / SIXTEEN_TO_EIGHT).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in ALPHA_MODES and "transparency" not in image.info:
        return image
    colours = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(sorted(set(Image.OPEN) - set(NEVER_OPENED)))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Names the image in whatever goes wrong with it. What Pillow only finds odd is not shown: it can be decoded.

    Not shown by this process from now on: `warnings.catch_warnings` is not for several threads.
    """
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    try:
        yield
    except LatnasError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise LatnasError(
            f"{name} claims to have more than {Image.MAX_IMAGE_PIXELS:,} pixels. Save it smaller, or take it out."
        ) from error
    except UnidentifiedImageError as error:
        raise LatnasError(
            f"{name} is not an image that Pillow opens. Take it out, or save it as PNG or JPEG."
        ) from error
    except MemoryError as error:
        raise LatnasError(f"{name} does not fit in memory. Save it smaller, or take it out.") from error
    except BROKEN as error:
        raise LatnasError(
            f"{name} is broken or was cut short ({in_one_line(error)}). Copy or save it again, or take it out."
        ) from error
