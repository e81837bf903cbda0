"""From encoded images, such as a folder of files, to a data set: one size, one number of channels, three parts.

Shapes: N images, C channels, S pixels along a side.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from shlex import quote
from typing import IO

import torch
from torch import Tensor

from latnas.data.classes import class_names, imbalance_note, untested_note
from latnas.data.decoding import (
    SIXTEEN_TO_EIGHT,
    WHITE_IN_SIXTEEN,
    Header,
    brightest,
    decode,
    huge_images_refused,
    read_header,
)
from latnas.data.images import ImageData, Images, LabelledImages
from latnas.data.lazy import LazyImages, read_in_threads
from latnas.data.memory import free_bytes
from latnas.data.npz import Array
from latnas.data.splits import FRACTIONS, hold_out
from latnas.errors import LatnasError

SMALLEST_OWN_SIDE, LARGEST_OWN_SIDE = 8, 224
"""What a size is clamped to that the user did not name."""

DARK = (WHITE_IN_SIXTEEN + 1) // 8
"""Where no 16-bit image has a pixel of so much, these are likely of 12 or 10 bits."""

MOST_LOOKED_AT = 100
"""Images of 16 bits that are decoded to see how bright they are."""

SHARE_OF_MEMORY = 1 / 4
_SHARED_BY: ContextVar[int] = ContextVar("shared by", default=1)
"""Processes that may hold the same images at a time."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"


def share_memory(processes: int) -> None:
    """From now on this process is one of so many that may hold the same images."""
    _SHARED_BY.set(processes)


@dataclass(frozen=True, eq=False)
class Encoded:
    """N encoded images.

    Attributes:
        open: opens the content of a row, from any thread.
        describe: what messages call a row.
        labels: int64 [N].
        parts: rows of TRAIN, and of VALIDATION and TEST where the source has them.
        classes: their names, if the source has any.
    """

    open: Callable[[int], IO[bytes]]
    describe: Callable[[int], str]
    labels: Tensor
    parts: Mapping[str, Tensor]
    classes: tuple[str, ...] | None


def from_encoded(
    encoded: Encoded, name: str, where: str, size: int | None, available_bytes: int | None = None
) -> ImageData:
    """A data set of encoded images.

    All become squares of S pixels: S is `size`, or the most common shorter side of the training images (the larger of
    two that are equally common), clamped to 8..224. The shorter side is scaled to S by Pillow's antialiased bilinear
    filter, then the centre is cropped. There is one channel if all images are grey, else three.

    Images that would take more than a quarter of the memory are not held but decoded when they are asked for:
    a quarter for all processes together that may hold them.

    Args:
        encoded: where the images are.
        name: what the data set will be called.
        where: the folder or file, in messages.
        size: S, if the user named it.
        available_bytes: memory that may be thought of as free; what is free for this process unless told.

    Raises:
        LatnasError: an image is broken, or a class has too few.
    """
    train_labels = encoded.labels[encoded.parts[TRAIN]]
    fewest = (1 if VALIDATION in encoded.parts else len(FRACTIONS)) + (TEST not in encoded.parts)
    classes = class_names(encoded.classes, train_labels, fewest, f"{where}: {TRAIN}")
    _check_parts(encoded, classes, where)
    headers = _headers(encoded)
    side = size or _most_common_side([headers[row] for row in encoded.parts[TRAIN].tolist()])
    image_shape = (1 if all(header.grey for header in headers) else 3, side, side)
    notes = imbalance_note(train_labels, classes, where)
    if TEST in encoded.parts:
        notes += untested_note(encoded.labels[encoded.parts[TEST]], classes, f"{where}: {TEST}")
    notes += _pixel_notes(headers, image_shape[0], where) + _dark_note(encoded, headers, where)
    notes += _size_notes(headers, side, size is not None, where)
    parts = _three_parts(encoded, where, notes)
    held = _fits_memory(len(headers) * math.prod(image_shape), available_bytes, where, notes)

    def decoded(row: int) -> Array:
        return decode(encoded.open(row), encoded.describe(row), side, image_shape[0])

    def part(rows: Tensor) -> LabelledImages:
        images: Images = LazyImages(read_in_threads(decoded, image_shape), rows, image_shape)
        return LabelledImages(images[:] if held else images, encoded.labels[rows])

    train = part(torch.cat([parts[TRAIN], parts[VALIDATION]]))
    return ImageData(name, train, part(parts[TEST]), classes, tuple(notes), len(parts[VALIDATION]))


def _three_parts(encoded: Encoded, where: str, notes: list[str]) -> dict[str, Tensor]:
    """The rows of all three parts: a test part that is missing is held out, a validation part may be empty."""
    parts = {VALIDATION: torch.arange(0), **encoded.parts}
    if TEST not in parts:
        train, test = hold_out(encoded.labels[parts[TRAIN]])
        notes.append(
            f"{where} has no test images: {len(test)} of its {len(parts[TRAIN])} training images, a sixth of each "
            "class, are held out as the test set."
        )
        parts |= {TRAIN: parts[TRAIN][train], TEST: parts[TRAIN][test]}
    if VALIDATION in encoded.parts:
        notes.append(
            f"{where}: {len(parts[VALIDATION])} validation images serve the search; the networks that are exported "
            "are trained on them too."
        )
    return parts


def _fits_memory(needed_bytes: int, available_bytes: int | None, where: str, notes: list[str]) -> bool:
    free = free_bytes() if available_bytes is None else available_bytes
    if needed_bytes <= SHARE_OF_MEMORY * free / _SHARED_BY.get():
        return True
    notes.append(
        f"{where}: decoded images would take {needed_bytes / 1e9:.3g} GB, and {free / 1e9:.3g} GB of memory are free. "
        f"They are decoded while training. Smaller ones take less: --data {quote(f'{where}@N')}"
    )
    return False


def _check_parts(encoded: Encoded, classes: tuple[str, ...], where: str) -> None:
    """Refuses test or validation images of unknown classes, and a validation part of too few of a class."""
    for name, rows in encoded.parts.items():
        highest = int(encoded.labels[rows].max())
        if highest >= len(classes):
            raise LatnasError(
                f"{where}: {name} has the label {highest}, but {TRAIN} only 0..{len(classes) - 1}. Drop these images, "
                f"or add some like them to {TRAIN}."
            )
    if VALIDATION in encoded.parts:
        counts = torch.bincount(encoded.labels[encoded.parts[VALIDATION]], minlength=len(classes)).tolist()
        for name, count in zip(classes, counts, strict=True):
            if count < 2:
                raise LatnasError(
                    f"{where}: {VALIDATION} has {count} images of class {name!r}; at least 2 are needed, one for the "
                    "search and one for the choice. Add images of it, or take the validation images out."
                )


def _headers(encoded: Encoded) -> list[Header]:
    known: dict[Header, Header] = {}  # most are alike: one object for all of them
    headers = []
    with huge_images_refused():
        for row in range(len(encoded.labels)):
            header = read_header(encoded.open(row), encoded.describe(row))
            headers.append(known.setdefault(header, header))
    return headers


def _most_common_side(headers: list[Header]) -> int:
    counts = Counter(min(header.width, header.height) for header in headers)
    side = max(counts, key=lambda side: (counts[side], side))
    return min(max(side, SMALLEST_OWN_SIDE), LARGEST_OWN_SIDE)


def _size_notes(headers: list[Header], side: int, named: bool, where: str) -> list[str]:
    changed = sum((header.width, header.height) != (side, side) for header in headers)
    if not changed:
        return []
    why = (
        "as named"
        if named
        else f"the most common shorter side of the training images, within {SMALLEST_OWN_SIDE} to {LARGEST_OWN_SIDE}"
    )
    return [
        f"{where}: {changed} of {len(headers)} images are not {side}x{side} ({why}): their shorter side is scaled to "
        f"{side} pixels (bilinear, antialiased) and the centre cropped. Another size: --data {quote(f'{where}@N')}"
    ]


def _pixel_notes(headers: list[Header], channels: int, where: str) -> list[str]:
    transparent = sum(header.transparent for header in headers)
    palette, deep = (sum(getattr(header, kind) for header in headers) for kind in ("palette", "deep"))
    grey = sum(header.grey for header in headers) if channels == 3 else 0
    said = {
        "are transparent and are laid on white": transparent,
        "have a palette and become RGB": palette,
        "have 16 bits a pixel and are divided by 257": deep,
        "are grey and become RGB, as others are in colour": grey,
    }
    return [f"{where}: {count} of {len(headers)} images {what}." for what, count in said.items() if count]


def _dark_note(encoded: Encoded, headers: list[Header], where: str) -> list[str]:
    """One sentence if 16-bit images are so dark that 8 bits keep few of their grey levels; otherwise nothing."""
    deep = [row for row, header in enumerate(headers) if header.deep]
    looked_at = deep[:: max(math.ceil(len(deep) / MOST_LOOKED_AT), 1)]
    highest = max((brightest(encoded.open(row), encoded.describe(row)) for row in looked_at), default=DARK)
    if highest >= DARK:
        return []
    return [
        f"{where}: of {len(looked_at)} images with 16 bits that were looked at, none has a pixel above {highest} of "
        f"{WHITE_IN_SIXTEEN}: of 256 grey levels they keep {round(highest / SIXTEEN_TO_EIGHT) + 1}. If less than "
        f"{WHITE_IN_SIXTEEN} is white in them, as 4095 is with 12 bits, save them again scaled to {WHITE_IN_SIXTEEN}."
    ]
