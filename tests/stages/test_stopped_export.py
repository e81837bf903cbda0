"""An export that Ctrl-C ends goes on with the same command, and leaves what was exported before as it was."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import EXPORT, Typed, as_typed, contents, copied, latnas, run_in

from latnas.errors import FAILED, INTERRUPTED, TERMINATED, LatnasError, Terminated
from latnas.stages.export import deriving, packing, writing
from latnas.stages.export.measuring import Bench
from latnas.training.trainer import Trainer
from latnas.words.export_set import SET, changed_files, load_set
from latnas.words.manifest import load_manifest

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


@pytest.mark.parametrize(
    ("how", "code"), [(LatnasError("no luck"), FAILED), (KeyboardInterrupt(), INTERRUPTED), (Terminated(), TERMINATED)]
)
def test_what_was_written_before_an_export_failed_or_was_stopped_is_in_the_set(
    here: Path, how: BaseException, code: int
) -> None:
    """What is finished by then lies there, and is told of."""
    (run,) = (run_in(here),)

    def fail(*_: Any) -> None:
        raise how

    with pytest.MonkeyPatch.context() as patched:
        real, calls = deriving.write, []
        patched.setattr(deriving, "write", lambda *given: fail() if calls else calls.append(1) or real(*given))
        typed = latnas("export", "--lambda", "0", "--lambda", "0.5", *as_typed(LONGER), "--quiet")
    assert (typed.code, typed.raised) == (code, None)
    (exports,) = run.glob("exports/*")
    networks = json.loads((exports / "set.json").read_text())["networks"]
    listed = {one["folder"]: one["files"]["model.onnx"] for one in networks}
    there = {path.parent.name: json.loads(path.read_text())["sha256"] for path in exports.glob("*/manifest.json")}
    assert len(there) > 1 and listed == there


@pytest.mark.usefixtures("signals_handled")
def test_a_file_and_its_manifest_are_written_both_or_neither(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = writing.write_together

    def stopped_here(*given: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        real(*given)

    monkeypatch.setattr(writing, "write_together", stopped_here)
    assert latnas(*WORDS).code == INTERRUPTED
    (exports,) = run_in(here).glob("exports/*")
    manifests = [load_manifest(path) for path in exports.glob("*/manifest.json")]
    assert sorted(one.training["epochs"] for one in manifests) == [1, 2]
    assert changed_files(exports, load_set(exports / SET).networks) == []


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
