"""Small folders of real image files, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latnas.data.images import ImageData
from latnas.data.sources import load_images
from latnas.errors import LatnasError

SIDE = 8


def noise(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture(seed: int, width: int = SIDE, height: int = SIDE, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(noise(seed, height, width, 3)).convert(mode)


def class_folder(folder: Path, count: int, first: int = 0, **how: Any) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        picture(first + number, **how).save(folder / f"{number}.png")


def two_classes(folder: Path, count: int = 6, **how: Any) -> Path:
    """`count` images of cats and as many of dogs."""
    class_folder(folder / "cat", count, **how)
    class_folder(folder / "dog", count, first=count, **how)
    return folder


def looked_at(data: ImageData) -> str:
    """The fingerprint: what is not in memory is decoded for it."""
    return data.fingerprint


def refusal(path: Path, **how: Any) -> str:
    """The message of one line that refuses a data set, decoded or not yet."""
    with pytest.raises(LatnasError) as caught:
        looked_at(load_images(str(path), **how))
    message = str(caught.value)
    assert "\n" not in message
    return message
