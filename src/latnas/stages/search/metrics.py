"""`metrics.jsonl`, one line for each step of the hypernetwork; for TensorBoard too where that is asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from shlex import quote
from typing import Any, Protocol

from latnas.errors import LatnasError, UsageError
from latnas.words.files import append_line, make_lasting, read_lines, write_atomically

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


class Writer(Protocol):
    """What latnas uses of `torch.utils.tensorboard.SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object:
        """One point of one curve."""


def scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one line by the tag under which TensorBoard shows them; what was not measured is left out."""
    return {
        f"hypernetwork/{name}": float(value) for name, value in line.items() if name != "step" and value is not None
    }


def tensorboard_writer() -> Any:
    """TensorBoard's class of writers.

    Raises:
        UsageError: it is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            f"--tensorboard needs a package that is missing ({error}). Type: "
            f"{quote(sys.executable)} -m pip install 'latnas[tensorboard]'"
        ) from error
    return SummaryWriter


@contextmanager
def summary_writer(folder: Path, wanted: bool) -> Iterator[Writer | None]:
    """A writer for TensorBoard into a front's folder; None if it is not wanted.

    What an earlier process wrote there is hidden by this one, which writes it again.
    """
    if not wanted:
        yield None
        return
    with closing(tensorboard_writer()(str(folder / TENSORBOARD), purge_step=0)) as writer:
        yield writer


class Metrics:
    """The file of one front, from the step on at which the search goes on.

    Args:
        folder: the front's.
        steps: so many were done at the last checkpoint. Lines after that are dropped: these steps are done again.
        writer: where the numbers go as well.

    Raises:
        LatnasError: the file is damaged.
    """

    def __init__(self, folder: Path, steps: int, writer: Writer | None = None) -> None:
        self._path, self._writer = folder / METRICS, writer
        if self._path.exists():
            lines = list(read_lines(self._path))
            if not all(isinstance(line, dict) and isinstance(line.get("step"), int) for line in lines):
                raise LatnasError(f"{self._path} is damaged: a line has no step. Delete it; the search goes on.")
            kept = [line for line in lines if line["step"] < steps]
            write_atomically(self._path, "".join(json.dumps(line) + "\n" for line in kept))
            for line in kept:
                self._show(line)

    def append(self, line: Mapping[str, Any]) -> None:
        """Records one step."""
        append_line(self._path, dict(line))
        self._show(line)

    def make_lasting(self) -> None:
        """Called before a checkpoint: lines of the steps before it would not be written again after a power cut."""
        make_lasting(self._path)

    def _show(self, line: Mapping[str, Any]) -> None:
        if self._writer is not None:
            for tag, value in scalars(line).items():
                self._writer.add_scalar(tag, value, line["step"])
