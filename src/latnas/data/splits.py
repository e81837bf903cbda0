"""Which training image serves which purpose, balanced over the classes.

`train` fits weights, `search` the hypernetwork, `select` the accuracy model, `--patience` and what int8 costs.
The test images are no part of this: they are a set of their own, looked at once, by export.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latnas.data.images import ImageData
from latnas.data.randomness import generator
from latnas.errors import LatnasError, UsageError

FRACTIONS = (0.7, 0.15, 0.15)
HELD_OUT = 1 / 6


@dataclass(frozen=True, eq=False)
class Splits:
    """Indices into the training images, each in random order: its first k are a fair sample of it."""

    train: Tensor
    search: Tensor
    select: Tensor


def splits_of(data: ImageData, seed: int) -> Splits:
    """The splits of a data set: at random, or its own validation images halved into `search` and `select`.

    Raises:
        LatnasError: a class has too few images.
    """
    if not data.validation:
        return make_splits(data.train.labels, seed)
    first, draws = len(data.train) - data.validation, generator(seed, "splits")
    train = torch.randperm(first, generator=draws)
    search, select = divide(data.train.labels[first:], (0.5, 0.5), draws)
    return Splits(train, search + first, select + first)


def make_splits(labels: Tensor, seed: int) -> Splits:
    """Divides the training images: every image is in one of the splits, every class in all three.

    Raises:
        LatnasError: a class has fewer than three images.
    """
    return Splits(*divide(labels, FRACTIONS, generator(seed, "splits")))


def hold_out(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The training and the test images of a data set that has no test images: a sixth of each class.

    The same labels are always divided in the same way, whatever the seed of the run.

    Raises:
        LatnasError: a class has fewer than two images.
    """
    train, test = divide(labels, (1 - HELD_OUT, HELD_OUT), generator("held-out test set"))
    return train, test


def divide(labels: Tensor, fractions: Sequence[float], draws: torch.Generator) -> list[Tensor]:
    """A random partition of `range(len(labels))`: part i gets `fractions[i]` of each class, at least one.

    Raises:
        UsageError: `fractions` are not positive or do not sum to 1.
        LatnasError: a class has fewer images than there are parts.
    """
    if not all(fraction > 0 for fraction in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(f"the fractions of a split must be positive and sum to 1, got {list(fractions)}.")
    counts = torch.bincount(labels).tolist()
    for label, count in enumerate(counts):
        if count < len(fractions):
            raise LatnasError(
                f"class {label} has {count} of {len(labels)} images, too few for {len(fractions)} splits. "
                "Add images of this class, or leave it out."
            )
    members: list[list[Tensor]] = [[] for _ in fractions]
    for label, count in enumerate(counts):
        of_class = torch.nonzero(labels == label).flatten()
        shuffled = of_class[torch.randperm(count, generator=draws)]
        for part, piece in zip(members, torch.split(shuffled, _apportion(count, fractions)), strict=True):
            part.append(piece)
    parts = [torch.cat(pieces) for pieces in members]
    return [part[torch.randperm(len(part), generator=draws)] for part in parts]


def _apportion(total: int, fractions: Sequence[float]) -> list[int]:
    """`total` divided by largest remainders, with at least one each."""
    shares = [total * fraction for fraction in fractions]
    counts = [max(1, math.floor(share)) for share in shares]
    while (short := total - sum(counts)) != 0:
        step = 1 if short > 0 else -1
        # A part of one may not shrink; otherwise the part that is furthest from its share moves.
        movable = [part for part in range(len(counts)) if counts[part] + step >= 1]
        furthest = max(movable, key=lambda part: step * (shares[part] - counts[part]))
        counts[furthest] += step
    return counts
