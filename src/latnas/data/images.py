"""Labelled images, as every stage sees them: in memory, uint8, channels first.

Shapes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """`images` is uint8 [N, C, H, W], `labels` int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> LabelledImages:
        """The images at `indices`, in that order."""
        return LabelledImages(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set. `test` is looked at once, by export; all else is decided on `train`.

    Attributes:
        name: what the data set is called in messages and manifests.
        classes: the name of class k at position k; every class has training images.
        notes: what was done to the data that the user should know, one sentence each.
    """

    name: str
    train: LabelledImages
    test: LabelledImages
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]

    @property
    def mirrors(self) -> bool:
        """Whether an image and its mirror image mean the same: not for digits."""
        return self.name != "digits"

    @property
    def size(self) -> int:
        """Pixels along one side: images are square."""
        return self.train.images.shape[-1]

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any pixel or label."""
        digest = hashlib.sha256()
        for part in (self.train.images, self.train.labels, self.test.images, self.test.labels):
            digest.update(repr(tuple(part.shape)).encode())
            digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()[:16]
