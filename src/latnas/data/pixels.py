"""From an array that may be anything to uint8 images, or one sentence on what is wrong with it.

`where` names the file and the array in messages, `file` the file or folder alone. Shapes: N images, C channels, H rows,
W columns.
"""

from __future__ import annotations

from shlex import quote

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latnas.data.decoding import fitted
from latnas.data.npz import Array
from latnas.errors import LatnasError

SMALLEST_SIDE, LARGEST_SIDE = 8, 1024
ACCEPTED = "uint8, or float in [0, 1] or [0, 255]"


def check_images(x: Array, file: str, key: str, any_size: bool) -> None:
    """Refuses what is not a stack of images, grey or RGB, with pixels within 0 and 255; square ones unless any_size."""
    where = f"{file}: {key}"
    if x.size == 0:
        raise LatnasError(f"{where} is empty (shape {list(x.shape)}). Save at least one image.")
    _check_layout(x, where)
    if not any_size:
        _check_size(x.shape[1], x.shape[2], where, file)
    _check_pixels(x, where)


def as_uint8(x: Array, unit: bool) -> Tensor:
    """Checked images [N, H, W] or [N, H, W, C] as uint8 [N, C, H, W]; `unit` says that 1 is white."""
    if x.dtype != np.uint8:
        x = np.rint(x.astype(np.float32) * 255 if unit else x).astype(np.uint8)
    x_NHWC = x[..., None] if x.ndim == 3 else x
    return torch.from_numpy(np.ascontiguousarray(x_NHWC.transpose(0, 3, 1, 2)))


def resized_arrays(images: Tensor, size: int) -> Tensor:
    """uint8 images [N, C, H, W] as [N, C, S, S], each fitted like an encoded image."""
    count, channels = images.shape[:2]
    result = torch.empty((count, channels, size, size), dtype=torch.uint8)
    for image, into in zip(images, result, strict=True):
        pixels_HWC = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        picture = Image.fromarray(pixels_HWC[..., 0] if channels == 1 else pixels_HWC)
        into.copy_(torch.from_numpy(np.array(fitted(picture, size)).reshape(size, size, channels)).permute(2, 0, 1))
    return result


def _check_size(height: int, width: int, where: str, file: str) -> None:
    if height != width:
        side = min(max(min(height, width), SMALLEST_SIDE), LARGEST_SIDE)
        raise LatnasError(
            f"{where} has images of {height}x{width} pixels; only square ones are taken as they are. "
            f"Name a size to have them resized and cropped: --data {quote(f'{file}@{side}')}"
        )
    if not SMALLEST_SIDE <= height <= LARGEST_SIDE:
        raise LatnasError(
            f"{where} has images of {height}x{width} pixels; a side has {SMALLEST_SIDE} to {LARGEST_SIDE}. "
            f"Name a size to have them resized: --data {quote(f'{file}@32')}"
        )


def _check_layout(x: Array, where: str) -> None:
    shape = list(x.shape)
    if x.ndim not in (3, 4):
        remedy = " Flattened images can be saved as x.reshape(-1, side, side)." if x.ndim == 2 else ""
        raise LatnasError(f"{where} has shape {shape}; images are [N, H, W], or [N, H, W, C] with C 1 or 3.{remedy}")
    if x.ndim == 4 and shape[3] not in (1, 3):
        channels_first = shape[1] in (1, 3)
        remedy = "Save x.transpose(0, 2, 3, 1)." if channels_first else "Save grey or RGB images."
        raise LatnasError(f"{where} has shape {shape}; channels come last, and are 1 or 3. {remedy}")


def _check_pixels(x: Array, where: str) -> None:
    if x.dtype.kind not in "uif":
        how = "Save 255 * x.astype('uint8')." if x.dtype.kind == "b" else "Convert them with x.astype."
        raise LatnasError(f"{where} holds {x.dtype}; pixels must be {ACCEPTED}. {how}")
    finite = np.isfinite(x)
    if not finite.all():
        broken = np.flatnonzero(~finite.reshape(len(x), -1).all(axis=1))
        raise LatnasError(
            f"{where} has NaN or infinite pixels in {len(broken)} of {len(x)} images, "
            f"first at index {broken[0]}. Repair or drop them."
        )
    low, high = x.min(), x.max()
    if low < 0 or high > 255:
        raise LatnasError(
            f"{where} has pixels from {low:g} to {high:g}; they must be {ACCEPTED}. "
            "Save them as they were before any normalisation: the network does its own."
        )
