"""Where images come from: `--data` names an embedded data set or a file."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from latnas.data.classes import as_labels, class_names, given_names
from latnas.data.images import ImageData, LabelledImages
from latnas.data.npz import Array, open_file, read_arrays
from latnas.data.pixels import as_uint8, check_images
from latnas.data.randomness import generator
from latnas.data.splits import FRACTIONS, divide
from latnas.errors import LatnasError, UsageError

DEFAULT = "fashion-mini"
HELD_OUT = 1 / 6


def load_images(spec: str, root: Path | None = None) -> ImageData:
    """The data set `spec`: a name in `DATA_SETS`, or an npz file, whose path is relative to `root` if given.

    Raises:
        UsageError: there is no such data set or file.
        LatnasError: the file does not hold labelled images as `from_arrays` describes them.
    """
    if spec in DATA_SETS:
        return DATA_SETS[spec]()
    if not spec.lower().endswith(".npz"):
        raise UsageError(
            f"there is no data set {spec!r}. Known: {', '.join(DATA_SETS)}. "
            "Or name a file with the arrays x_train, y_train, x_test and y_test: --data FILE.npz"
        )
    path = (root or Path()) / Path(spec).expanduser()
    with open_file(path) as stream:
        return from_arrays(read_arrays(stream, str(path)), path.stem, str(path))


def from_arrays(arrays: dict[str, Array], name: str, file: str) -> ImageData:
    """A data set of arrays that may be anything.

    Args:
        arrays: x_train and y_train; x_test, y_test and classes if there are any. Images are [N, H, W] or
            [N, H, W, C], uint8 or float in [0, 1] or [0, 255]; labels are [N] or [N, 1], integers 0..K-1.
        name: what the data set will be called.
        file: where the arrays come from, in messages.

    Raises:
        LatnasError: they are anything else.
    """
    keys = [key for key in ("x_train", "x_test") if key in arrays]
    for key in keys:
        check_images(arrays[key], f"{file}: {key}")
    _check_alike(arrays["x_train"], arrays[keys[-1]], file)
    pixel_type = arrays["x_train"].dtype
    # Decided for both together: a dark test set must not be brightened.
    unit = pixel_type.kind == "f" and max(arrays[key].max() for key in keys) <= 1
    notes = []
    if pixel_type != "uint8":
        scale = "[0, 1] were multiplied by 255 and" if unit else "[0, 255] were"
        notes.append(f"{file}: pixels of type {pixel_type} in {scale} rounded to uint8.")

    def part(x: str, y: str) -> LabelledImages:
        return LabelledImages(as_uint8(arrays[x], unit), as_labels(arrays[y], len(arrays[x]), f"{file}: {y}"))

    train_part = part("x_train", "y_train")
    names = given_names(arrays["classes"], f"{file}: classes") if "classes" in arrays else None
    held_out = "x_test" not in arrays
    fewest = len(FRACTIONS) + held_out
    classes = class_names(names, train_part.labels, fewest, f"{file}: y_train")
    if not held_out:
        test_part = part("x_test", "y_test")
        _check_known(test_part, len(classes), file)
        return ImageData(name, train_part, test_part, classes, tuple(notes))
    # The same file is always divided in the same way, whatever the seed of the run.
    train, test = divide(train_part.labels, (1 - HELD_OUT, HELD_OUT), generator("held-out test set"))
    notes.append(
        f"{file} has no x_test and y_test: {len(test)} of its {len(train_part)} training images, "
        "a sixth of each class, are held out as the test set."
    )
    return ImageData(name, train_part.take(train), train_part.take(test), classes, tuple(notes))


def _check_alike(train: Array, test: Array, file: str) -> None:
    shapes = [(*x.shape[1:], 1)[:3] for x in (train, test)]
    if shapes[0] != shapes[1]:
        of_train, of_test = ("x".join(map(str, shape)) for shape in shapes)
        raise LatnasError(f"{file}: x_train has images of {of_train}, x_test of {of_test}. Resize one of them.")
    if train.dtype != test.dtype:
        raise LatnasError(f"{file}: x_train holds {train.dtype}, x_test {test.dtype}. Save both on one scale.")


def _check_known(test: LabelledImages, classes: int, file: str) -> None:
    if (highest := int(test.labels.max())) >= classes:
        raise LatnasError(
            f"{file}: y_test has the label {highest}, but y_train only 0..{classes - 1}. "
            "Drop these test images, or add training images like them."
        )


def _embedded(name: str) -> ImageData:
    resource = resources.files("latnas.data").joinpath("embedded", f"{name}.npz")
    try:
        stream = resource.open("rb")
    except OSError as error:
        raise LatnasError(f"the installed package lacks {resource.name}. Install latnas again.") from error
    with stream:
        return from_arrays(read_arrays(stream, resource.name), name, resource.name)


DATA_SETS: dict[str, Callable[[], ImageData]] = {
    "fashion-mini": lambda: _embedded("fashion-mini"),
    "digits": lambda: _embedded("digits"),
}
