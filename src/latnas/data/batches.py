"""Batches for training and evaluation, and what is done to their pixels.

A batch is a function of (seed, step) and nothing else: a training that was killed and resumed sees the
batches that it would have seen.

Shapes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from latnas.data import randomness
from latnas.data.images import CHUNK, Images

ONE_GREY_LEVEL = 1 / 255
MOST_PIXELS = 100_000_000


def batch_indices(pool: Tensor, batch_size: int, seed: int, step: int) -> Tensor:
    """The `batch_size` indices out of `pool` that step `step` trains on.

    Steps read one endless row of permutations of the pool, a new one each epoch. So every index comes once an
    epoch, and every batch is full: one that reaches the end of an epoch continues in the next.
    """
    if len(pool) == 0 or batch_size < 1 or step < 0:
        raise ValueError(f"no batch {step} of size {batch_size} from a pool of {len(pool)}")
    epoch, offset = divmod(step * batch_size, len(pool))
    pieces: list[Tensor] = []
    missing = batch_size
    while missing > 0:
        pieces.append(_order(len(pool), seed, epoch)[offset : offset + missing])
        missing -= len(pieces[-1])
        epoch, offset = epoch + 1, 0
    return pool[torch.cat(pieces).to(pool.device)]


# Drawn for every step anew, the order of a million images would take 10 ms of it. Four: this epoch and the next, for
# what is trained and for what its losses are asked of in between.
@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=randomness.generator(seed, "epoch", epoch))


def evaluation_batches(images: Images, batch_size: int) -> Iterator[Tensor]:
    """All images in order, once each; the last batch may be smaller."""
    return (images[start : start + batch_size] for start in range(0, len(images), batch_size))


def to_unit(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1], which is what every network and every exported file takes."""
    if images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8, got {images.dtype}: they may have been scaled already")
    return images.to(torch.float32).div_(255)


def channel_statistics(images: Images, most_pixels: int = MOST_PIXELS) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, float32 [C], of uint8 images [N, C, H, W] on the scale of [0, 1].

    The deviation is at least one grey level, so that a channel that is constant can still be divided by it. Of images
    with more than `most_pixels` in all, only every second, third, ... is looked at: their mean does not need them all,
    and those that are not in memory would all be decoded.
    """
    count, channels, height, width = images.shape
    looked_at = torch.arange(0, count, math.ceil(count * height * width / most_pixels))
    levels = torch.arange(256)
    # Sums of whole numbers are exact: the result depends neither on threads nor on the machine.
    histograms = torch.zeros((channels, 256), dtype=torch.int64)
    for indices in torch.split(looked_at, CHUNK):
        for histogram, channel in zip(histograms, images[indices].unbind(dim=1), strict=True):
            histogram += torch.bincount(channel.flatten(), minlength=256).cpu()
    number = len(looked_at) * height * width
    means, deviations = [], []
    for counts in histograms:
        total, total_of_squares = int((counts * levels).sum()), int((counts * levels**2).sum())
        means.append(total / number / 255)
        deviation = math.sqrt(number * total_of_squares - total**2) / number / 255
        deviations.append(max(deviation, ONE_GREY_LEVEL))
    return torch.tensor(means), torch.tensor(deviations)


def augment(
    images: Tensor,
    generator: torch.Generator,
    *,
    pad: int | None = None,
    flip: bool = True,
    reflect: bool = True,
    cutout: int = 0,
) -> Tensor:
    """A randomly moved, mirrored and partly blanked copy of square images [N, C, H, W], uint8 or float.

    All of it is one gather on the device of the images.

    Args:
        images: each is treated independently.
        generator: draws, in this order: shifts of rows and columns, mirrorings, centres of cutouts.
        pad: pixels that an image moves at most, each way; an eighth of its side unless told.
        flip: mirror left to right with probability one half; not where it changes the meaning, as in digits.
        reflect: what moves in from outside is the image mirrored at its border; otherwise zeros.
        cutout: side in pixels of a square that is set to 0, which may lie partly outside the image.
    """
    count, channels, _, size = images.shape
    pad = size // 8 if pad is None else pad
    if not 0 <= pad < size:
        raise ValueError(f"an image of {size} pixels cannot be moved by {pad}")
    on = images.device
    shifts = torch.randint(-pad, pad + 1, (2, count, 1), generator=generator, device=generator.device).to(on)
    rows_NH, columns_NW = torch.arange(size, device=on) + shifts
    if flip:
        mirrored = torch.rand((count, 1), generator=generator, device=generator.device).to(on) < 0.5
        columns_NW = torch.where(mirrored, columns_NW.flip(1), columns_NW)
    blank = torch.zeros((count, size, size), dtype=torch.bool, device=on)
    if not reflect:
        blank = _outside(rows_NH, size)[:, :, None] | _outside(columns_NW, size)[:, None, :]
    if cutout:
        # The paper blanks to the mean; here normalisation is part of the network, so 0 is black.
        centres = torch.randint(0, size, (2, count, 1), generator=generator, device=generator.device).to(on)
        from_corner = torch.arange(size, device=on) - (centres - cutout // 2)
        hit_rows, hit_columns = (from_corner >= 0) & (from_corner < cutout)
        blank = blank | (hit_rows[:, :, None] & hit_columns[:, None, :])
    source_NHW = _reflected(rows_NH, size)[:, :, None] * size + _reflected(columns_NW, size)[:, None, :]
    source = source_NHW.view(count, 1, -1).expand(-1, channels, -1)
    moved = images.flatten(2).gather(2, source).view_as(images)
    return moved.masked_fill_(blank[:, None], 0)


def _outside(positions: Tensor, size: int) -> Tensor:
    return (positions < 0) | (positions >= size)


def _reflected(positions: Tensor, size: int) -> Tensor:
    """Positions folded back at the borders, whose own pixels are not repeated: -1 becomes 1."""
    last = size - 1
    return last - (last - positions.abs()).abs()
