"""From an array that may be anything to labels 0..K-1 and their names, or one sentence on what is wrong.

`where` names the file and the array in messages.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latnas.data.npz import Array
from latnas.errors import LatnasError

RENUMBER = "Renumber them: numpy.unique(y, return_inverse=True)[1]."
UNLABELLED = -1
"""What Hugging Face data sets have in place of labels that are kept secret."""

MOST_CLASSES = 2**31
IMBALANCED = 10


def as_labels(y: Array, images: int, where: str) -> Tensor:
    """Labels [N] or [N, 1] as int64 [N]: one for each of `images` images, none negative."""
    shape = list(y.shape)
    if y.ndim == 2 and shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        remedy = " One-hot labels can be saved as y.argmax(axis=1)." if y.ndim == 2 else ""
        raise LatnasError(f"{where} has shape {shape}; labels are [N] or [N, 1].{remedy}")
    if len(y) != images:
        raise LatnasError(f"{where} has {len(y)} labels for {images} images. Save one label for each image.")
    if y.dtype.kind not in "ui":
        remedy = "Save y.astype('int64')." if y.dtype.kind == "f" else RENUMBER
        raise LatnasError(f"{where} holds {y.dtype}; labels must be integers. {remedy}")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high > MOST_CLASSES:
        worst = low if low < 0 else high
        remedy = f"If it means no label, drop these images or label them. If it is a class: {RENUMBER}"
        raise LatnasError(f"{where} has the label {worst}; labels must be 0..K-1. {remedy if low < 0 else RENUMBER}")
    return torch.from_numpy(y.astype(np.int64))


def check_labelled(y: Array, where: str, remedy: str) -> None:
    """Refuses test labels that are all -1; `remedy` says how to do without these images."""
    if y.dtype.kind == "i" and y.size and (y == UNLABELLED).all():
        raise LatnasError(
            f"{where} is unlabelled: every label is {UNLABELLED}. {remedy}: a sixth of the training images is then "
            "held out instead."
        )


def class_names(names: tuple[str, ...] | None, labels: Tensor, fewest: int, where: str) -> tuple[str, ...]:
    """One name for each class of `labels`: `names`, or "0", "1", ... if there are none.

    Raises:
        LatnasError: there is one class only; the labels are not 0..K-1 for the K names; a class has fewer
            than `fewest` images.
    """
    found, counts = (part.tolist() for part in torch.unique(labels, return_counts=True))
    if len(found) < 2:
        only = repr(names[found[0]]) if names and found[0] < len(names) else found[0]
        raise LatnasError(f"{where} has one class only, {only}. Save images of two classes or more.")
    number = len(names) if names else found[-1] + 1
    if found[-1] >= number:
        raise LatnasError(f"{where} has the label {found[-1]}, but classes names 0..{number - 1} only. Name all.")
    if absent := _absent(number, found):
        if names:
            remedy = f"classes names 0..{number - 1}. Add images of these classes, or take out their names."
        else:
            remedy = f"labels must be 0..K-1, with images of each. {RENUMBER}"
        raise LatnasError(f"{where} lacks the labels {absent}; {remedy}")
    names = names or tuple(map(str, found))
    for name, count in zip(names, counts, strict=True):
        if count < fewest:
            raise LatnasError(
                f"{where} has {count} of class {name!r}; at least {fewest} are needed, one for each split. "
                "Add images of it, or leave the class out."
            )
    return names


def imbalance_note(labels: Tensor, names: tuple[str, ...], where: str) -> list[str]:
    """One sentence if the largest class has over ten times the images of the smallest; otherwise nothing."""
    counts = torch.bincount(labels)
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[most] <= IMBALANCED * counts[least]:
        return []
    return [
        f"{where} has {int(counts[most])} training images of class {names[most]!r} and {int(counts[least])} of "
        f"{names[least]!r}. Classes are not weighted: accuracy counts every image alike, so it says little of small "
        "classes."
    ]


def untested_note(labels: Tensor, names: tuple[str, ...], where: str) -> list[str]:
    """One sentence if some classes have no images among these test images; otherwise nothing."""
    counts = torch.bincount(labels, minlength=len(names)).tolist()
    absent = [name for name, count in zip(names, counts, strict=True) if not count]
    if not absent:
        return []
    return [
        f"{where} has no images of {len(absent)} of {len(names)} classes, such as {absent[0]!r}: accuracy on it says "
        "nothing of them."
    ]


def given_names(classes: Array, where: str) -> tuple[str, ...]:
    """The class names in an array of strings.

    Raises:
        LatnasError: it is no list of strings, or two classes cannot be told apart by name.
    """
    if classes.ndim != 1 or classes.size == 0 or classes.dtype.kind not in "US":
        raise LatnasError(f"{where} must be one name per class. Save numpy.array(['cat', 'dog']).")
    if classes.dtype.kind == "S":
        classes = np.char.decode(classes, "utf-8", "replace")
    try:
        names = tuple(map(str, classes))
    except (ValueError, SystemError) as error:  # a code point that Unicode does not have
        raise LatnasError(f"{where} holds what is not text. Save numpy.array(['cat', 'dog']).") from error
    return checked_names(names, where)


def checked_names(names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """These names, if each can be printed and told from the others.

    Raises:
        LatnasError: otherwise.
    """
    if len(set(names)) < len(names) or not all(name and name.isprintable() for name in names):
        raise LatnasError(f"{where} has a name twice, or an empty or unprintable one. Give each class its own.")
    return names


def _absent(number: int, found: list[int], shown: int = 10) -> str:
    """The first few labels below `number` that were not found; empty if all were."""
    present = set(found)
    # A stray label of a billion must not be answered with a list of a billion numbers.
    first = [label for label in range(min(number, len(found) + shown)) if label not in present][:shown]
    more = number - len(found) - len(first)
    return ", ".join(map(str, first)) + (f" and {more} more" if more else "")
