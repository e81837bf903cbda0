"""Where images come from: `--data` names an embedded data set, a file or a folder; docs/data.md describes them all."""

from __future__ import annotations

import multiprocessing
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from shlex import quote

from latnas.data.arrays import from_arrays
from latnas.data.encoded import TRAIN, from_encoded
from latnas.data.folder import encoded_folder
from latnas.data.idx import idx_files, read_idx_files
from latnas.data.images import ImageData
from latnas.data.npz import open_file, read_arrays
from latnas.data.parquet import encoded_parquet, parquet_files, parts_of
from latnas.data.pixels import LARGEST_SIDE, SMALLEST_SIDE
from latnas.errors import LatnasError, UsageError
from latnas.words.files import at_home

DEFAULT = "fashion-mini"
DIGITS = "digits"
UNMIRRORED = "@unmirrored"
CONTROL_OR_SURROGATE = ("Cc", "Cs")
"""Of Unicode's categories. Python has a surrogate for each byte of a path that is not UTF-8."""

KINDS = (
    "name a file with the arrays x_train, y_train, x_test and y_test: --data FILE.npz; "
    "or --data FILE.parquet; or --data FOLDER with a folder of image files for each class, Parquet or IDX files."
)

_KEEPS: ContextVar[bool] = ContextVar("keeps", default=False)
"""Whether tasks run one after another in this process."""


def load_images(spec: str, root: Path | None = None, available_bytes: int | None = None) -> ImageData:
    """The data set `spec`: a name in `DATA_SETS`, a file or a folder, whose path is relative to `root` if given.

    SPEC@64 resizes the images to 64x64 pixels; training mirrors those of SPEC@unmirrored and SPEC@64@unmirrored never.

    Args:
        spec: what was typed as --data.
        root: the current folder, unless told.
        available_bytes: memory that may be thought of as free; what is free for this process unless told. Images of a
            folder or a Parquet file that would take more than a quarter of it are decoded when they are asked for.

    Raises:
        UsageError: there is no such data set, file or folder, or its path cannot be written down.
        LatnasError: it does not hold labelled images in one of the ways that docs/data.md describes.
    """
    if not spec:
        raise UsageError("--data is empty. Name a folder, a file or a data set that comes along.")
    named, size, mirrors = _parsed(spec, root)
    if named in DATA_SETS:
        data = DATA_SETS[named](size)
        notes = data.notes
        if _exists((root or Path()) / named):
            notes += (f"{named} is the data set that comes along. What is called so here: --data ./{named}",)
        return replace(data, spec=spec, mirrors=mirrors and named != DIGITS, notes=notes)
    path = _path(named, root)
    _check_ending(named, spec, root)
    loader = _loaders(path)
    _check_can_be_recorded(path)
    return replace(loader(path, size, available_bytes), spec=spec, mirrors=mirrors)


def mirroring(data: ImageData) -> list[str]:
    """What to know before a training, at most one sentence: of images that nobody here has looked at."""
    if not data.mirrors or _parsed(data.spec, None)[0] in DATA_SETS:
        return []
    return [
        f"training mirrors images of {data.spec} left to right at random. Where that changes what they mean, as with "
        f"letters, digits and signs: --data {quote(data.spec + UNMIRRORED)}"
    ]


def images_of_task(spec: str) -> ImageData:
    """`load_images`, once in each worker process, which lives for tasks that see the same images; see `images_kept`."""
    return _kept(spec) if multiprocessing.parent_process() or _KEEPS.get() else load_images(spec)


@contextmanager
def images_kept() -> Iterator[None]:
    """Within this block `images_of_task` reads a data set once in this process too. It is let go of afterwards."""
    before = _KEEPS.set(True)
    try:
        yield
    finally:
        _KEEPS.reset(before)
        _kept.cache_clear()


def absolute(spec: str) -> str:
    """The same data set from whatever folder it is loaded: paths are made absolute."""
    named, size, mirrors = _parsed(spec, None)
    if named in DATA_SETS:
        return spec
    return f"{_path(named, None).resolve()}{'' if size is None else f'@{size}'}{'' if mirrors else UNMIRRORED}"


def ending(recorded: str) -> str:
    """What a spec that `absolute` made says beside the place: `@64`, `@unmirrored`, both or nothing."""
    matched = re.fullmatch(rf".*?((@[0-9]{{1,9}})?({UNMIRRORED})?)", recorded, re.DOTALL)
    return matched[1] if matched else ""


def is_mirrored(recorded: str) -> bool:
    """Whether training mirrors the images of a spec that `absolute` made; they need not be there any longer."""
    return not recorded.endswith(UNMIRRORED) and recorded.partition("@")[0] != DIGITS


@cache
def _kept(spec: str) -> ImageData:
    return load_images(spec)


def _path(named: str, root: Path | None) -> Path:
    return (root or Path()) / at_home(named, "--data ")


def _check_can_be_recorded(path: Path) -> None:
    """Refuses a path that the config of a run, which is text, could not hold; `absolute` follows links too."""
    for one in (str(path), os.path.realpath(path)):
        if any(unicodedata.category(letter) in CONTROL_OR_SURROGATE for letter in one):
            raise UsageError(
                f"the path {one!a} holds control characters, or bytes that are not UTF-8. Rename what is called so."
            )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}. Check the path given as --data.") from error


def _parsed(spec: str, root: Path | None) -> tuple[str, int | None, bool]:
    """What is named, the size that it is resized to if any, and whether training may mirror its images."""
    sized, mirrors = _mirrored(spec, root)
    return (*_named_size(sized, root), mirrors)


def _mirrored(spec: str, root: Path | None) -> tuple[str, bool]:
    """What is left of a spec, and whether training may mirror its images."""
    if not spec.endswith(UNMIRRORED) or _exists(_path(spec, root)):
        return spec, True
    return spec.removesuffix(UNMIRRORED), False


def _named_size(spec: str, root: Path | None) -> tuple[str, int | None]:
    """What is named, and the size after the last @ if one follows. A file whose own name ends so is that file."""
    matched = re.fullmatch(r"(.+)@([0-9]{1,9})", spec, re.DOTALL)
    if matched is None or _exists(_path(spec, root)):
        return spec, None
    size = int(matched[2])
    if not SMALLEST_SIDE <= size <= LARGEST_SIDE:
        raise UsageError(f"--data {spec} names a size of {size} pixels; a side has {SMALLEST_SIDE} to {LARGEST_SIDE}.")
    return matched[1], size


def _check_ending(named: str, spec: str, root: Path | None) -> None:
    """Raises UsageError where nothing has the name, and something has what stands before an @ in it."""
    if _exists(_path(named, root)):
        return
    starts = [named[: at.start()] for at in re.finditer("@", named) if at.start()]
    known = next((start for start in reversed(starts) if start in DATA_SETS or _exists(_path(start, root))), None)
    if known is not None:
        raise UsageError(
            f"--data {spec}: there is {known!r}, and {spec.removeprefix(known)!r} after it is neither a size, such as "
            f"@64, nor {UNMIRRORED}, nor the one and then the other."
        )


def _loaders(path: Path) -> Callable[[Path, int | None, int | None], ImageData]:
    """What loads the file or folder at `path`: by its ending, or by what is in it."""
    if path.suffix.lower() == ".npz":
        return _from_npz
    if path.suffix.lower() == ".parquet" and not path.is_dir():
        return _from_parquet
    if not _exists(path):
        raise UsageError(f"there is no data set {str(path)!r}. Known: {', '.join(DATA_SETS)}. Or {KINDS}")
    if not path.is_dir():
        raise UsageError(f"{path} is a file of no known kind: {KINDS}")
    try:
        if idx_files(path):
            return _from_idx
        return _from_parquet_folder if parquet_files(path) else _from_folder
    except OSError as error:
        raise LatnasError(f"cannot read {path}: {error.strerror or error}. Check its permissions.") from error


def _from_npz(path: Path, size: int | None, available_bytes: int | None) -> ImageData:
    with open_file(path) as stream:
        return from_arrays(read_arrays(stream, str(path)), path.stem, str(path), size)


def _from_idx(path: Path, size: int | None, available_bytes: int | None) -> ImageData:
    return from_arrays(read_idx_files(idx_files(path), path), path.resolve().name, str(path), size)


def _from_parquet(path: Path, size: int | None, available_bytes: int | None) -> ImageData:
    return from_encoded(encoded_parquet({TRAIN: [path]}), path.stem, str(path), size, available_bytes)


def _from_parquet_folder(path: Path, size: int | None, available_bytes: int | None) -> ImageData:
    encoded = encoded_parquet(parts_of(parquet_files(path)))
    return from_encoded(encoded, path.resolve().name, str(path), size, available_bytes)


def _from_folder(path: Path, size: int | None, available_bytes: int | None) -> ImageData:
    return from_encoded(encoded_folder(path), path.resolve().name, str(path), size, available_bytes)


def _embedded(name: str, size: int | None) -> ImageData:
    resource = resources.files("latnas.data").joinpath("embedded", f"{name}.npz")
    try:
        stream = resource.open("rb")
    except OSError as error:
        raise LatnasError(f"the installed package lacks {resource.name}. Install latnas again.") from error
    with stream:
        return from_arrays(read_arrays(stream, resource.name), name, resource.name, size)


DATA_SETS: dict[str, Callable[[int | None], ImageData]] = {
    "fashion-mini": lambda size: _embedded("fashion-mini", size),
    DIGITS: lambda size: _embedded(DIGITS, size),
}
