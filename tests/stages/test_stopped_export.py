"""An export that Ctrl-C ends goes on with the same command, and leaves what was exported before as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import EXPORT, Typed, as_typed, contents, copied, latnas, run_in

from latnas.errors import INTERRUPTED
from latnas.stages.export import packing
from latnas.stages.export.measuring import Bench
from latnas.training.trainer import Trainer

LONGER = {**EXPORT, "epochs": 2}
WORDS = ("export", "--lambda", "1", *as_typed(LONGER), "--quiet")


def stopped(owner: Any, name: str, when: Callable[[Any], bool]) -> Typed:
    """The command, which Ctrl-C ends in a function, the first time that `when` holds of its first argument."""
    real = getattr(owner, name)

    def call(first: Any, *others: Any) -> Any:
        if when(first):
            raise KeyboardInterrupt
        return real(first, *others)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, name, call)
        return latnas(*WORDS)


def exported(folder: Path) -> dict[str, Any]:
    """What lies in the folders of budgets; of manifests, all but when they were made and single calls as they came."""
    found: dict[str, Any] = {}
    for path, content in contents(run_in(folder) / "exports").items():
        if ".trainings" in path or Path(path).suffix in (".jsonl", ".md") or path.endswith("set.json"):
            continue
        told = json.loads(content) if path.endswith(".json") else content
        found[path] = {n: v for n, v in told.items() if n not in ("created", "raw_ms")} if told != content else content
    return found


def test_an_export_that_was_interrupted_anywhere_goes_on_with_the_same_command_to_the_same_files(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = copied(here, tmp_path / "undisturbed")
    before = exported(here)
    for owner, name, when in (
        (Bench, "measure", lambda bench: True),
        (Trainer, "step", lambda trainer: trainer.done == 30),
        (packing, "_write_source", lambda network: True),
    ):
        typed = stopped(owner, name, when)
        assert (typed.code, typed.raised) == (INTERRUPTED, None), name
        assert "interrupted. What was finished is kept; type the same command to go on." in typed.stderr
        assert exported(here) == before, name
    steps: list[int] = []
    monkeypatch.setattr(Trainer, "step", lambda trainer, paths=None: steps.append(trainer.done))
    assert latnas(*WORDS).code == 0
    assert steps == [], "the training was finished before"
    monkeypatch.undo()
    monkeypatch.chdir(undisturbed)
    assert latnas(*WORDS).code == 0
    assert exported(here) == exported(undisturbed) != before
