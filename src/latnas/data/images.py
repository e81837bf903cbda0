"""Labelled images, as every stage sees them: uint8, channels first, in memory or decoded when they are asked for.

Shapes: N images, B of them, C channels, H rows, W columns.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

CHUNK = 1024
"""Images that are looked at together, where all are looked at in turn."""


class Images(Protocol):
    """uint8 images [N, C, H, W]: a Tensor, or `latnas.data.lazy.LazyImages`."""

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, index: Tensor | slice, /) -> Tensor:
        """These images, decoded: uint8 [B, C, H, W]."""

    def index_select(self, dim: int, index: Tensor, /) -> Images:
        """The images at `index` of dimension 0, in that order, which need not be decoded yet."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """`images` is uint8 [N, C, H, W], `labels` int64 [N]."""

    images: Images
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> LabelledImages:
        """The images at `indices`, in that order. What was not in memory still is not."""
        return LabelledImages(self.images.index_select(0, indices), self.labels[indices])

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The images at `indices`, decoded, and their labels."""
        return self.images[indices], self.labels[indices]


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set. `test` is looked at once, by export; all else is decided on `train`.

    Attributes:
        name: what the data set is called in messages and manifests.
        classes: the name of class k at position k; every class has training images.
        notes: what was done to the data that the user should know, one sentence each.
        validation: so many images, the last of `train`, are a validation split that the source came with.
        spec: what to type as --data for it.
        mirrors: whether an image and its mirror image mean the same, so that training may take either: not for digits.
    """

    name: str
    train: LabelledImages
    test: LabelledImages
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    validation: int = 0
    spec: str = ""
    mirrors: bool = True

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]

    @property
    def size(self) -> int:
        """Pixels along one side: images are square."""
        return self.train.images.shape[-1]

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any pixel or label, and with which images are for validation.

        They change neither with the names of classes nor with where the pixels are held.

        Images that are not in memory are all decoded for it, so that a broken one is found now.
        """
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            digest.update(repr(tuple(part.images.shape)).encode())
            for start in range(0, len(part), CHUNK):
                digest.update(part.images[start : start + CHUNK].contiguous().numpy().data)
            digest.update(repr(tuple(part.labels.shape)).encode())
            digest.update(part.labels.contiguous().numpy().data)
        if self.validation:
            digest.update(repr(self.validation).encode())
        return digest.hexdigest()[:16]
