"""Small searches in processes that end in the midst of their work. A moment is named by what is written then.

So a moment is the same on every machine: no clock decides it.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from once import computed_once, remember
from small import quick_search

from latnas.stages.search import SearchConfig, learning, metrics, pool, stage
from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange

Write = tuple[str, str]
"""The name of a file, and a digest of what is about to be written to it."""

CHECKPOINT_EVERY = 4


def in_another_process(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Starts `function` in a process that has imported latnas, traced the small space, and done nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["forked"])
    process = context.Process(target=function, args=arguments)
    with pytest.MonkeyPatch.context() as patched:
        # Python 3.11 does not tell the process that is forked from where to look; what that misses it passes over.
        patched.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        process.start()
    return process


@dataclass(frozen=True)
class Known:
    """What every process of one search computes alike beside its work, and takes half of a second for."""

    ends: tuple[Architecture, Architecture]
    budgets: BudgetRange
    contexts: Mapping[Hashable, Mapping[str, float]]


def search_and_be_told(config: SearchConfig, known: Known, moment: Write, told: int) -> None:
    """A small search that sends itself a signal when it is about to write something."""

    def tell(write: Write) -> None:
        if write == moment:
            os.kill(os.getpid(), told)

    remember(known.contexts)
    with computed_once(), watched_writes(tell), pytest.MonkeyPatch.context() as patched:
        patched.setattr(pool, "predicted_ends", lambda *_: known.ends)
        patched.setattr(stage, "budget_range", lambda *_: known.budgets)
        quick_search(config)


@contextmanager
def watched_writes(about_to: Callable[[Write], None]) -> Iterator[None]:
    """Within this block `about_to` is called before each write of a search, which has more checkpoints than usual."""
    replace, append = os.replace, metrics.append_line

    def watched_replace(source: Any, target: Any) -> None:
        about_to((Path(target).name, _digest(Path(source).read_bytes() if Path(source).is_file() else b"a link")))
        replace(source, target)

    def watched_append(path: Path, value: Any) -> None:
        about_to((path.name, _digest(repr(value).encode())))
        append(path, value)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "replace", watched_replace)
        patched.setattr(metrics, "append_line", watched_append)
        patched.setattr(learning, "EVERY", CHECKPOINT_EVERY)
        yield


def writes_of(config: SearchConfig) -> list[Write]:
    """All distinct writes of a small search that nobody stops, in their order."""
    found: list[Write] = []
    with watched_writes(found.append):
        quick_search(config)
    return list(dict.fromkeys(found))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
