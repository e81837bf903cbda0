"""Run folders: `runs/<name>/`, where a search leaves everything that export reads."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from latnas.errors import LatnasError, UsageError
from latnas.words.files import read_text, write_atomically
from latnas.words.limits import Limits

SCHEMA = "latnas-run-1"
LATEST = "latest"
NEEDED = ("space", "data", "images")
"""What other stages read in a run's config."""


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

    def front(self, table: str) -> Path:
        """Folder of one table's front: copy of the table, hypernetwork, metrics.jsonl, front.json."""
        return self.path / "fronts" / table

    def exports(self, table: str) -> Path:
        """Folder of one table's exports."""
        return self.path / "exports" / table

    def tables(self) -> list[str]:
        """Names of the tables that have a finished front."""
        return sorted(found.parent.name for found in self.path.glob("fronts/*/front.json"))

    def read_config(self) -> dict[str, Any]:
        """The resolved config, as run.

        Raises:
            UsageError: this is no run folder.
            LatnasError: it is one of another version, or its config is damaged.
        """
        if not self.config.is_file():
            raise UsageError(f"{self.path} is not a run folder: it has no config.toml. Make one: latnas search")
        try:
            config = tomllib.loads(read_text(self.config))
        except (ValueError, RecursionError, LatnasError) as error:
            raise LatnasError(f"{self.config} cannot be read ({error}). Search again: latnas search") from error
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
            temporary.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Within this block no other process writes to the run.

        Raises:
            LatnasError: another one does.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise LatnasError(
                f"another latnas is working on {self.path}. Wait for it, or choose another --name."
            ) from error
        except OSError as error:
            raise LatnasError(f"cannot lock {self.path}: {error}. Copy the run to where you may write.") from error
        try:
            yield
        finally:
            lock.release()


def open_run(name: str | None, runs: Path) -> RunFolder:
    """The run called `name`, a path or a name within `runs`; the latest one if `name` is None.

    Raises:
        UsageError: there is none.
    """
    if name is None:
        latest = runs / LATEST
        if not latest.exists():
            raise UsageError(f"there is no run yet in {runs}. Make one: latnas search")
        folder = RunFolder(latest.resolve())
    else:
        path = Path(name)
        folder = RunFolder(path if path.is_dir() else runs / name)
        if not folder.path.is_dir():
            folders = [found.parent for found in runs.glob("*/config.toml")]
            known = ", ".join(sorted(folder.name for folder in folders if not folder.is_symlink())) or "none"
            raise UsageError(f"there is no run {name!r}. Runs in {runs}: {known}. Make one: latnas search")
    folder.read_config()
    return folder


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


def to_toml(values: Mapping[str, Any]) -> str:
    """Flat TOML of strings, numbers and booleans; None is left out."""
    lines = []
    for name, value in values.items():
        if value is None:
            continue
        # A JSON string is a TOML basic string, and JSON's numbers and booleans are TOML's.
        lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"
