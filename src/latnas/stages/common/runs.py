"""Run folders: `runs/<name>/`, where a search leaves everything that export reads."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from latnas.data.images import ImageData
from latnas.data.sources import UNMIRRORED, ending, is_mirrored, load_images
from latnas.errors import LatnasError, UsageError
from latnas.stages.common.locking import locked
from latnas.words.files import read_text, write_atomically
from latnas.words.limits import Limits
from latnas.words.table import LatencyTable, load_table

RUNS = Path("runs")
"""Where runs lie unless another folder is named."""

SCHEMA = "latnas-run-1"
LATEST = "latest"
NEEDED = ("space", "data", "images")
"""What other stages read in a run's config."""

TABLE, FRONT = "table.json", "front.json"


@dataclass(frozen=True)
class RunFolder:
    """Paths inside one run. Paths of stages' own files are made here only."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def supernet(self) -> Path:
        return self.path / "supernet"

    @property
    def accuracy(self) -> Path:
        return self.path / "accuracy"

    def front(self, name: str) -> Path:
        """Folder of one front: copy of the table, hypernetwork, metrics.jsonl, front.json; its config if it has one."""
        return self.path / "fronts" / name

    def exports(self, front: str) -> Path:
        """Folder of the exports of one front."""
        return self.path / "exports" / front

    def begun(self) -> list[str]:
        """Names of the fronts that were begun, the run's own first: the one that has no config beside the run's."""
        return self._fronts_with(TABLE)

    def own_front(self) -> str | None:
        """The one of them that the run was begun with; None where that is gone, or was not begun."""
        return next((name for name in self.begun() if not self.front_config(name).exists()), None)

    def fronts(self) -> list[str]:
        """Names of the finished fronts, the run's own first. Each is that of its table, and of its range if need be."""
        return self._fronts_with(FRONT)

    def front_config(self, name: str) -> Path:
        """What a front that joined the run later was searched with, where that may differ from the run's config."""
        return self.front(name) / "config.toml"

    def _fronts_with(self, file: str) -> list[str]:
        names = sorted(found.parent.name for found in self.path.glob(f"fronts/*/{file}"))
        return sorted(names, key=lambda name: self.front_config(name).exists())

    def read_config(self) -> dict[str, Any]:
        """The resolved config, as run.

        Raises:
            UsageError: this is no run folder.
            LatnasError: it is one of another version, or its config is damaged.
        """
        if not self.config.is_file():
            raise UsageError(f"{self.path} is not a run folder: it has no config.toml. Make one: latnas search")
        config = read_toml(self.config)
        schema = config.pop("schema", None)
        if schema != SCHEMA:
            raise LatnasError(
                f"{self.path} is a run of version {str(schema)[:40]!r}, and this latnas reads {SCHEMA!r}. "
                "Search again: latnas search"
            )
        lacking = [name for name in NEEDED if name not in config]
        if lacking:
            raise LatnasError(
                f"{self.config} lacks {', '.join(lacking)}: it was cut short or edited. Search again: latnas search"
            )
        return config

    def create(self, config: Mapping[str, Any]) -> None:
        """Makes the folder with its config, and points `latest` to it.

        Raises:
            LatnasError: the folder holds a run of another config.
        """
        if self.config.exists():
            if self.read_config() != dict(config):
                raise LatnasError(f"{self.path} holds a run with another config. Choose another --name.")
        else:
            write_atomically(self.config, to_toml({"schema": SCHEMA, **config}))
        link = self.path.parent / LATEST
        temporary = link.with_name(f".{LATEST}.{os.getpid()}")
        try:
            temporary.symlink_to(self.path.name)
            temporary.replace(link)
        except OSError:  # no symbolic links here, or `latest` is a folder of the user's: only the shorthand is lost
            with suppress(OSError):  # a file system that cannot be written to
                temporary.unlink(missing_ok=True)

    @contextmanager
    def lock(self, otherwise: str = "") -> Iterator[None]:
        """Within this block no other process writes to the run.

        Args:
            otherwise: what the message offers beside waiting.

        Raises:
            LatnasError: another one does.
        """
        elsewhere = "Copy the run to where you may write"
        with locked(self.path / ".lock", self.path, otherwise, elsewhere):
            yield


def open_run(name: str | None, runs: Path) -> RunFolder:
    """The run called `name`, a path or a name within `runs`; the latest one if `name` is None.

    Raises:
        UsageError: there is none.
    """
    places = (runs / LATEST,) if name is None else (Path(name), runs / name)
    folders = [place for place in places if place.is_dir()]
    found = next((place for place in folders if RunFolder(place).config.exists()), next(iter(folders), None))
    if found is None:
        raise UsageError(_no_run(name, places[-1], runs))
    # The link itself may be made anew while the run is at work.
    folder = RunFolder(found.parent / found.readlink() if found.is_symlink() else found)
    if not folder.config.exists():
        raise UsageError(_no_run(name, found, runs))
    folder.read_config()
    return folder


def _no_run(name: str | None, place: Path, runs: Path) -> str:
    """Why there is no run at this place, and what to do."""
    folders = [found.parent for found in runs.glob("*/config.toml")]
    known = sorted(folder.name for folder in folders if not folder.is_symlink())
    if place.is_dir():
        missing = f"{place} is not a run folder: it has no config.toml"
    elif place.is_symlink():
        missing = f"{place} points to {place.readlink()}, which is gone"
    elif name is not None:
        missing = f"there is no run {name!r}"
    elif known:
        missing = f"there is no link {place} to the last run"
    else:
        return f"there is no run yet in {runs}. Make one: latnas search"
    choose = "Name one of them, or make another" if known else "Make one"
    return f"{missing}. Runs in {runs}: {', '.join(known) or 'none'}. {choose}: latnas search"


def limits_of(run: RunFolder) -> Limits:
    """The limits that a run was searched with.

    Raises:
        LatnasError: its config was edited into something that is no limit.
    """
    try:
        return Limits.of_config(run.read_config())
    except UsageError as error:
        raise LatnasError(f"{run.config}: {error}") from error


def default_name(space: str, config: Mapping[str, Any]) -> str:
    """A name that follows from the config, so that the same command typed again finds the same run."""
    text = json.dumps(dict(config), sort_keys=True)
    return f"{space}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def choose_front(run: RunFolder, named: str | None) -> str:
    """The name of a finished front: the one that is named, by itself or by the file of its table, or the only one.

    Raises:
        UsageError: there is none of that name, none at all, or several to choose from.
        LatnasError: a file is named that is no table.
    """
    known = run.fronts()
    named = None if named is None else front_of(run, Path(named), known)
    if named is not None and named not in known:
        raise UsageError(
            f"run {run.path} has no finished front for table {named!r}. It has: {', '.join(known) or 'none'}."
        )
    if not known:
        raise UsageError(f"the search of {run.path} is not finished. Go on: {resume_own(run)}")
    if named is None and len(known) > 1:
        raise UsageError(f"run {run.path} has several fronts; name one: --table {' | --table '.join(known)}")
    return named or known[0]


def front_of(run: RunFolder, typed: Path, begun: list[str]) -> str:
    """The front that --table means: by its own name, or by the file of its table.

    Raises:
        UsageError: several fronts are of that table, none of them by its whole range.
        LatnasError: the file is no table.
    """
    if str(typed) in begun or not typed.is_file():
        return str(typed)
    table = load_table(typed)
    same = [name for name in begun if not is_of_another_measurement(run, name, table)]
    if len(same) > 1 and table.name not in same:
        raise UsageError(f"run {run.path} has several fronts of {typed}; name one: --table {' | --table '.join(same)}")
    return table.name if table.name in same or not same else same[0]


def is_of_another_measurement(run: RunFolder, name: str, table: LatencyTable) -> bool:
    """Whether a front of this name was begun by a table that measured the same conditions at another time."""
    kept = run.front(name) / TABLE
    return kept.exists() and load_table(kept) != table


def which_run(run: RunFolder, flag: str = "--run ") -> str:
    """What names a run in a command, where it is not the one that is meant without; `latnas verify` has no flag."""
    latest = RUNS / LATEST
    return "" if latest.exists() and latest.resolve() == run.path.resolve() else f" {flag}{quote(str(run.path))}"


def which_front(run: RunFolder, front: str) -> str:
    """The flag that names a front, where its run has several."""
    return f" --table {front}" if len(run.fronts()) > 1 else ""


def resume_own(run: RunFolder) -> str:
    """The command that goes on with the front that began a run, whichever of others are not finished either."""
    begun = run.begun()
    return f"latnas search --resume {quote(str(run.path))}" + (f" --table {begun[0]}" if len(begun) > 1 else "")


def search_again(run: RunFolder, front: str, data: str | None) -> str:
    """The command that adds a front of another range by the table of this one; the range is to follow.

    Args:
        data: where the run's images lie by now, if that was typed.
    """
    table = f" --table {quote(str(run.front(front) / TABLE))}" if len(run.fronts()) > 1 else ""
    images = "" if data is None else f" --data {quote(data)}"
    return f"latnas search --from {quote(str(run.path))}{table}{images} --budget-range"


def images_of(run: RunFolder, named: str | None = None) -> ImageData:
    """The images that a run was searched with: those at the place that it records, or at the one that is named.

    Raises:
        UsageError: they are not there, or those that are named would be mirrored otherwise than the run's.
        LatnasError: they are others.
    """
    recorded = run.read_config()
    place = str(recorded["data"])
    elsewhere = f"If the images lie elsewhere, type the same command with --data PLACE{ending(place)}"
    try:
        data = load_images(named or place)
    except LatnasError as error:
        if named is not None:
            raise
        why = "is not here" if isinstance(error, UsageError) else "cannot be read"
        raise type(error)(f"{run.path} was searched with --data {place}, which {why}: {error} {elsewhere}") from error
    if data.fingerprint != recorded["images"]:
        raise LatnasError(
            f"the images of {data.name} are not those that {run.path} was searched with. "
            + (f"{elsewhere}. " if named is None else "")
            + f"Search again, with the other options of the run: latnas search --data {quote(data.spec)}"
        )
    if named is not None and data.mirrors != is_mirrored(place):
        how, spec = ("never mirror", named + UNMIRRORED) if data.mirrors else ("mirror", named.removesuffix(UNMIRRORED))
        raise UsageError(f"trainings of {run.path} {how} its images, and that stays. Type: --data {quote(spec)}")
    return data


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file that a search wrote. Raises LatnasError where it cannot be read."""
    try:
        return tomllib.loads(read_text(path))
    except (ValueError, RecursionError, LatnasError) as error:
        raise LatnasError(f"{path} cannot be read ({error}). Search again: latnas search") from error


def to_toml(values: Mapping[str, Any]) -> str:
    """Flat TOML of strings, numbers and booleans; None is left out."""
    lines = []
    for name, value in values.items():
        if value is None:
            continue
        # A JSON string is a TOML basic string, and JSON's numbers and booleans are TOML's.
        lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"
