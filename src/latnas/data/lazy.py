"""Images that are decoded when they are asked for, by threads, and what else can be done ahead of time.

What is read depends on the rows that are asked for and on nothing else: threads only decode, results come in order.

Shapes: N images, B of them, C channels, H rows, W columns.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

import torch
from torch import Tensor

from latnas.data.images import Images
from latnas.data.npz import Array

MOST_IMAGES_A_TASK = 64
TASKS_A_THREAD = 4

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class LazyImages:
    """uint8 images [N, C, H, W] that are not in memory; see `latnas.data.images.Images`.

    Attributes:
        read: from rows of the source, int64 [B], to images, uint8 [B, C, H, W].
        rows: which rows of the source these images are, int64 [N].
        image_shape: (C, H, W).
    """

    read: Callable[[Tensor], Tensor]
    rows: Tensor
    image_shape: tuple[int, int, int]

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.rows), *self.image_shape))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        return self.read(self.rows[index])

    def index_select(self, dim: int, index: Tensor) -> LazyImages:
        if dim != 0:
            raise ValueError(f"images are selected along dimension 0, not {dim}")
        return LazyImages(self.read, self.rows[index], self.image_shape)

    def then(self, change: Callable[[Tensor], Tensor], image_shape: tuple[int, int, int]) -> LazyImages:
        """The same images, each batch changed after it is decoded."""
        return LazyImages(lambda rows: change(self.read(rows)), self.rows, image_shape)


def lazily(images: Images) -> LazyImages:
    """The same images, from memory if they are there: what is done to them by `then` is done to few at a time."""
    if isinstance(images, LazyImages):
        return images
    _, channels, height, width = images.shape
    return LazyImages(images.__getitem__, torch.arange(len(images)), (channels, height, width))


def read_in_threads(decode: Callable[[int], Array], image_shape: tuple[int, int, int]) -> Callable[[Tensor], Tensor]:
    """A `LazyImages.read` that calls `decode` for each row, as many at a time as there are cores.

    Args:
        decode: from a row to its image, uint8 [C, H, W]; it may be called from any thread.
        image_shape: (C, H, W).
    """

    def read(rows_B: Tensor) -> Tensor:
        images_BCHW = torch.empty((len(rows_B), *image_shape), dtype=torch.uint8)
        wanted, into = rows_B.tolist(), images_BCHW.numpy()
        task = min(max(len(wanted) // (TASKS_A_THREAD * _cores()), 1), MOST_IMAGES_A_TASK)

        def fill(start: int) -> None:
            for position in range(start, min(start + task, len(wanted))):
                into[position] = decode(wanted[position])

        for _ in _decoders().map(fill, range(0, len(wanted), task)):
            pass  # what a thread raised is raised here
        return images_BCHW

    return read


class Ahead(Generic[Result]):
    """Calls `work(step)`, and begins `work(step + 1)` in a thread while the caller goes on.

    Args:
        work: a function of the step alone.
    """

    def __init__(self, work: Callable[[int], Result]) -> None:
        self._work = work
        self._step = -1
        self._begun: Future[Result] | None = None

    def __call__(self, step: int) -> Result:
        result = self._begun.result() if self._begun is not None and self._step == step else self._work(step)
        self._step, self._begun = step + 1, _ahead().submit(self._work, step + 1)
        return result


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@cache
def _decoders() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_cores(), "decode")


@cache
def _ahead() -> ThreadPoolExecutor:
    """Apart from the decoders, on which its work waits."""
    return ThreadPoolExecutor(1, "ahead")
