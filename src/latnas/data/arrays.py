"""From arrays that may be anything, as an npz file or IDX files hold them, to a data set."""

from __future__ import annotations

from operator import itemgetter
from shlex import quote

from latnas.data.classes import as_labels, check_labelled, class_names, given_names, imbalance_note, untested_note
from latnas.data.images import ImageData, LabelledImages
from latnas.data.npz import Array
from latnas.data.pixels import as_uint8, check_images, resized_arrays
from latnas.data.splits import FRACTIONS, hold_out
from latnas.errors import LatnasError

UNCLEAR_BELOW = 2
"""Floats whose highest is above 1 and below this are in [0, 1] but for an error of rounding or of resizing."""


def from_arrays(arrays: dict[str, Array], name: str, file: str, size: int | None = None) -> ImageData:
    """A data set of arrays that may be anything.

    Args:
        arrays: x_train and y_train; x_test, y_test and classes if there are any. Images are [N, H, W] or
            [N, H, W, C], uint8 or float in [0, 1] or [0, 255]; labels are [N] or [N, 1], integers 0..K-1.
        name: what the data set will be called.
        file: where the arrays come from, in messages.
        size: what all images are resized to, if they are not to stay as they are, all square and of one size.

    Raises:
        LatnasError: they are anything else.
    """
    keys = [key for key in ("x_train", "x_test") if key in arrays]
    for key in keys:
        check_images(arrays[key], file, key, any_size=size is not None)
    _check_alike(arrays["x_train"], arrays[keys[-1]], file, any_size=size is not None)
    pixel_type = arrays["x_train"].dtype
    if pixel_type.kind in "ui" and max(arrays[key].max() for key in keys) == 1:
        raise LatnasError(
            f"{file}: pixels of type {pixel_type} are 0 or 1, of 255 that would be white. "
            "Where 1 is white, save 255 * x.astype('uint8')."
        )
    unit = pixel_type.kind == "f" and _is_unit({key: arrays[key] for key in keys}, file)
    notes = []
    if pixel_type != "uint8":
        scale = "[0, 1] were multiplied by 255 and" if unit else "[0, 255] were"
        notes.append(f"{file}: pixels of type {pixel_type} in {scale} rounded to uint8.")

    shape = arrays["x_train"].shape[1:3]
    if size is not None and any(arrays[key].shape[1:3] != (size, size) for key in keys):
        notes.append(
            f"{file}: images of {shape[0]}x{shape[1]} pixels are made {size}x{size}, as named: their shorter side is "
            f"scaled to {size} pixels (bilinear, antialiased) and the centre cropped."
        )

    def part(x: str, y: str) -> LabelledImages:
        labels = as_labels(arrays[y], len(arrays[x]), f"{file}: {y}")
        images = as_uint8(arrays[x], unit)
        return LabelledImages(images if size is None else resized_arrays(images, size), labels)

    train_part = part("x_train", "y_train")
    names = given_names(arrays["classes"], f"{file}: classes") if "classes" in arrays else None
    held_out = "x_test" not in arrays
    fewest = len(FRACTIONS) + held_out
    classes = class_names(names, train_part.labels, fewest, f"{file}: y_train")
    notes += imbalance_note(train_part.labels, classes, file)
    if not held_out:
        check_labelled(arrays["y_test"], f"{file}: y_test", "Leave x_test and y_test out")
        test_part = part("x_test", "y_test")
        _check_known(test_part, len(classes), file)
        notes += untested_note(test_part.labels, classes, f"{file}: x_test")
        return ImageData(name, train_part, test_part, classes, tuple(notes))
    train, test = hold_out(train_part.labels)
    notes.append(
        f"{file} has no x_test and y_test: {len(test)} of its {len(train_part)} training images, "
        "a sixth of each class, are held out as the test set."
    )
    return ImageData(name, train_part.take(train), train_part.take(test), classes, tuple(notes))


def _check_alike(train: Array, test: Array, file: str, any_size: bool) -> None:
    shapes = [(*x.shape[1:], 1)[:3] for x in (train, test)]
    if shapes[0][2 if any_size else 0 :] != shapes[1][2 if any_size else 0 :]:
        of_train, of_test = ("x".join(map(str, shape)) for shape in shapes)
        sized = f"Name a size to have both resized: --data {quote(f'{file}@{shapes[0][0]}')}"
        alike = sized if shapes[0][2] == shapes[1][2] else "Save both in colour, or both in grey."
        raise LatnasError(f"{file}: x_train has images of {of_train}, x_test of {of_test}. {alike}")
    if train.dtype != test.dtype:
        raise LatnasError(f"{file}: x_train holds {train.dtype}, x_test {test.dtype}. Save both on one scale.")


def _is_unit(floats: dict[str, Array], file: str) -> bool:
    """Whether 1 is white, decided for all arrays together: a dark test set must not be brightened.

    Raises:
        LatnasError: some are in [0, 1] and others in [0, 255], or it cannot be told which.
    """
    highest = {key: float(x.max()) for key, x in floats.items()}
    for key, most in highest.items():
        if 1 < most < UNCLEAR_BELOW:
            raise LatnasError(
                f"{file}: {key} goes up to {most!r}: slightly above [0, 1], and far from 255. Clip it to [0, 1], or "
                "scale it to [0, 255]."
            )
    unit = max(highest.values()) <= 1
    for key, most in highest.items():
        # A test set of whole numbers may be one of dark images; nobody trains on such alone.
        if most <= 1 and not unit and (key == "x_train" or (floats[key] % 1 != 0).any()):
            other, of_other = max(highest.items(), key=itemgetter(1))
            raise LatnasError(f"{file}: {key} is in [0, 1], {other} goes up to {of_other:g}. Save both on one scale.")
    return unit


def _check_known(test: LabelledImages, classes: int, file: str) -> None:
    if (highest := int(test.labels.max())) >= classes:
        raise LatnasError(
            f"{file}: y_test has the label {highest}, but y_train only 0..{classes - 1}. "
            "Drop these test images, or add training images like them."
        )
