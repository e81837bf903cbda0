"""A folder with one folder of image files for each class, or with `train`, `test` and `validation` of such folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import IO

import torch

from latnas.data.encoded import TEST, TRAIN, VALIDATION, Encoded
from latnas.errors import LatnasError

PARTS = {
    "train": TRAIN, "test": TEST, "validation": VALIDATION, "valid": VALIDATION, "val": VALIDATION,
    "training": TRAIN, "testing": TEST,
}  # fmt: skip
SIDE_FILES = {"thumbs.db", "desktop.ini", "license", "readme"}
SIDE_SUFFIXES = {".txt", ".json", ".jsonl", ".csv", ".tsv", ".md", ".xml", ".yaml", ".yml", ".html"}
LAYOUT = "Images lie in one folder for each class: FOLDER/cat/1.png, or FOLDER/train/cat/1.png and FOLDER/test/cat/..."

FEWEST_SHARED = 2
"""Classes that two parts have in common, at least. Folders of classes may well hold one folder `images` each."""


def encoded_folder(folder: Path) -> Encoded:
    """The image files below `folder`. Classes are the sorted names of folders; hidden and side files are left out.

    Raises:
        LatnasError: it is laid out in another way, a class has no files, something cannot be read.
    """
    parts = _parts(folder)
    names = [class_folder.name for class_folder in _class_folders(parts[TRAIN])]
    paths: list[Path] = []
    labels: list[int] = []
    rows = {}
    for part, own in parts.items():
        first = len(paths)
        for class_folder in _class_folders(own):
            if class_folder.name not in names:
                raise LatnasError(f"{shown(class_folder)} is a class without training images. Add some to {TRAIN}.")
            files = list(_images_below(class_folder, frozenset()))
            if not files:
                raise LatnasError(f"{shown(class_folder)} holds no images. Add some, or take the folder out.")
            paths += files
            labels += [names.index(class_folder.name)] * len(files)
        rows[part] = torch.arange(first, len(paths))

    def opened(row: int) -> IO[bytes]:
        try:
            return paths[row].open("rb")
        except OSError as error:
            raise _unreadable(paths[row], error) from error

    return Encoded(opened, lambda row: shown(paths[row]), torch.tensor(labels), rows, tuple(names))


def shown(path: Path) -> str:
    """A path for a message, of one line whatever is in the name."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def is_side_file(path: Path) -> bool:
    """Whether a file is one that often lies beside images: hidden, a note, a list."""
    name = path.name.lower()
    return name.startswith(".") or name in SIDE_FILES or path.suffix.lower() in SIDE_SUFFIXES


def entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files in a folder, sorted by name, hidden and side files left out.

    Raises:
        LatnasError: the folder cannot be read, or something in it is neither.
    """
    folders, files = [], []
    try:
        with os.scandir(folder) as found:
            for entry in sorted(found, key=lambda entry: entry.name):
                path = folder / entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(path)
                elif is_side_file(path):
                    continue
                elif entry.is_file() or entry.is_symlink():  # a broken link is named when it is opened
                    files.append(path)
                else:
                    raise LatnasError(f"{shown(path)} is neither a file nor a folder. Take it out.")
    except OSError as error:
        raise _unreadable(folder, error) from error
    return folders, files


def _parts(folder: Path) -> dict[str, Path]:
    """The folders of class folders: `folder` itself as TRAIN, or its folders that are named after parts."""
    folders, files = entries(folder)
    if files and not folders:
        raise LatnasError(f"{shown(folder)} holds files, such as {shown(files[0])}, and no class folders. {LAYOUT}")
    named = [path for path in folders if path.name.lower() in PARTS and entries(path)[0]]
    if not named:
        _check_are_classes(folder, folders)
    parts = _named_parts(folders) if named else {TRAIN: folder}
    if TRAIN not in parts:
        raise LatnasError(f"{shown(folder)} has a folder {named[0].name} and no folder {TRAIN}. {LAYOUT}")
    for above in [folder, *parts.values()]:
        inner, stray = entries(above)
        if stray:
            raise LatnasError(f"{shown(stray[0])} lies beside folders, in none of them. Move it, or take it out.")
        if not inner:
            raise LatnasError(f"{shown(above)} has no class folders. {LAYOUT}")
    return parts


def _check_are_classes(folder: Path, folders: list[Path]) -> None:
    """Refuses a single folder of folders, and several that hold folders of the same names, as parts do."""
    holders: dict[str, list[str]] = {}
    for path in folders:
        inner, files = entries(path)
        if files or not inner:
            return
        # An unpacked archive often has a folder in one of its own name.
        for below in entries(inner[0])[0] if len(inner) == 1 else inner:
            holders.setdefault(below.name, []).append(path.name)
    if len(folders) == 1:
        raise LatnasError(
            f"{shown(folder)} has one class only, {folders[0].name!r}, which holds folders. If these are the classes, "
            f"name the folder that they lie in: --data {quote(shown(folders[0]))}"
        )
    shared = [name for name, of_folders in holders.items() if len(of_folders) > 1]
    if len(shared) < FEWEST_SHARED:
        return
    first, second = holders[shared[0]][:2]
    raise LatnasError(
        f"{shown(folder)}: the folders {first!r} and {second!r} hold folders of the same names, such as "
        f"{shared[0]!r} and {shared[1]!r}. If they are parts of one data set, rename them to train and test. "
        f"If they are classes, move their images out of the folders in them. {LAYOUT}"
    )


def _named_parts(folders: list[Path]) -> dict[str, Path]:
    parts: dict[str, Path] = {}
    for path in folders:
        part = PARTS.get(path.name.lower())
        if part is None or part in parts:
            raise LatnasError(f"{shown(path)} lies beside parts, and is not one of {', '.join(PARTS)}. Take it out.")
        parts[part] = path
    return parts


def _class_folders(folder: Path) -> list[Path]:
    found = entries(folder)[0]
    for path in found:
        if not path.name.isprintable():
            raise LatnasError(f"{shown(path)} names a class by what cannot be printed. Rename the folder.")
    return found


def _images_below(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    """All files below a folder; `above` identifies the folders that it lies in."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        raise LatnasError(f"{shown(folder)} is a link to a folder that it lies in. Take the link out.")
    folders, files = entries(folder)
    yield from files
    for inner in folders:
        yield from _images_below(inner, above | {identity})


def _unreadable(path: Path, error: OSError) -> LatnasError:
    return LatnasError(f"cannot read {shown(path)}: {error.strerror or error}. Check its permissions and links.")
