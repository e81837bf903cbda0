"""An export that was stopped in its trainings goes on with the networks that it had chosen, on a device with noise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from small import Heard, copied, export_config, run_in

from latnas.errors import LatnasError
from latnas.stages.export import ExportedFile, deriving, export, stage
from latnas.stages.export.lessons import FILE, FINALIST, MODULE
from latnas.stages.export.measuring import Bench, Times
from latnas.training.trainer import Trainer
from latnas.words.architecture import Architecture

SHORT: dict[str, Any] = {"batch_size": 512}
"""Other trainings than those that the run of the fixture has, of a few steps."""


class Noisy(Bench):
    """The analytic device, on which some networks take longer at one time than at another."""

    finalists: ClassVar[dict[str, float]] = {}
    files: ClassVar[dict[str, float]] = {}
    """How many times as long as they should they take, by key."""
    asked: ClassVar[list[Architecture]] = []
    """The finalists that were measured."""

    def measure(self, workloads: Any, names: Mapping[str, Architecture], what: str) -> dict[str, Times]:
        slower = {FINALIST: self.finalists, FILE: self.files, MODULE: self.files}[what]
        self.asked.extend(names.values() if what == FINALIST else [])
        found = super().measure(workloads, names, what)
        return {key: slowed(times, slower.get(names[key].key, 1.0)) for key, times in found.items()}


def slowed(times: Times, factor: float) -> Times:
    return Times(times.measured, times.raw, factor * times.quoted_ms, times.drift)


@pytest.fixture(autouse=True)
def noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "Bench", Noisy)
    for name in ("finalists", "files"):
        monkeypatch.setattr(Noisy, name, {})
    monkeypatch.setattr(Noisy, "asked", [])


def stopped(folder: Path, lot: int = 1, **options: Any) -> list[dict[str, Architecture]]:
    """Ctrl-C in the first training of the `lot`-th lot; what was chosen for each folder, lot by lot."""
    lots: list[dict[str, Architecture]] = []
    train_each, step = deriving.train_each, Trainer.step

    def noted(job: Any, chosen: Any, teacher: Any) -> Any:
        lots.append({target.folder: one for target, one in chosen})
        return train_each(job, chosen, teacher)

    def interrupted(trainer: Trainer, paths: Any = None) -> Any:
        if len(lots) == lot and trainer.done == 1:
            raise KeyboardInterrupt
        return step(trainer, paths)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(deriving, "train_each", noted)
        patched.setattr(Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export(export_config(folder, **SHORT, **options))
    return lots


def finished(folder: Path, heard: Heard | None = None, **options: Any) -> dict[str, ExportedFile]:
    return {file.folder.name: file for file in export(export_config(folder, **SHORT, **options), heard)}


def chosen_in(file: ExportedFile) -> Architecture:
    return Architecture.from_json(file.manifest.architecture)


def trainings(folder: Path) -> set[str]:
    return {path.name for path in run_in(folder).glob("exports/*/.trainings/*") if path.is_dir()}


def decisions(folder: Path) -> list[Path]:
    return sorted(run_in(folder).glob("exports/*/.trainings/*.json"))


def now_slower(*networks: Architecture) -> None:
    """By what these measure from now on before their training, they fit no budget that they were chosen for."""
    Noisy.finalists.update({one.key: 2.0 for one in networks})


@pytest.mark.parametrize("options", [{}, {"distill": True, "seeds": 2}])
def test_an_export_stopped_in_its_trainings_goes_on_with_the_same_networks_whatever_they_measure_by_then(
    here: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    undisturbed = finished(copied(here, tmp_path / "undisturbed"), all=True, **options)
    (chosen,) = stopped(here, all=True, **options)
    begun = trainings(here)
    now_slower(*chosen.values())
    Noisy.asked.clear()
    files = finished(here, heard := Heard(), all=True, **options)
    assert Noisy.asked == [], "nothing was left to decide"
    assert {name: chosen_in(file) for name, file in files.items()} == chosen
    assert begun <= trainings(here) == trainings(tmp_path / "undisturbed")
    for name, file in files.items():
        assert file.manifest.attempts == undisturbed[name].manifest.attempts
        assert f"{name}: going on with what was chosen before the export was stopped" in heard.said
    assert decisions(here) == []


def test_without_an_interruption_what_measures_too_slow_is_not_chosen(here: Path) -> None:
    """So that the tests here would see another choice."""
    first = finished(here, lambdas=(0.0,))
    now_slower(*map(chosen_in, first.values()))
    again = finished(here, lambdas=(0.0,))
    assert list(map(chosen_in, first.values())) != list(map(chosen_in, again.values()))


@pytest.mark.parametrize("distill", [False, True])
def test_an_export_stopped_after_a_file_that_missed_goes_on_with_the_next_network(
    here: Path, tmp_path: Path, distill: bool
) -> None:
    """The file that missed, which would pass by now, is not measured again; nor is what it taught forgotten."""
    options: dict[str, Any] = {"all": True, "distill": distill}
    other = copied(here, tmp_path / "other")
    (first,) = stopped(here, **options)
    loose, tight = first
    Noisy.files.update({first[loose].key: 1.2})
    undisturbed = finished(copied(here, tmp_path / "undisturbed"), **options)
    lots = stopped(other, lot=2, **options)
    assert lots[0] == first and set(lots[1]) == {loose}
    begun = trainings(other)
    Noisy.files.clear()
    now_slower(lots[1][loose], *([first[tight]] if distill else []))
    files = finished(other, **options)
    assert chosen_in(files[loose]) == lots[1][loose] == chosen_in(undisturbed[loose])
    assert files[loose].manifest.attempts == undisturbed[loose].manifest.attempts
    assert begun == trainings(other) == trainings(tmp_path / "undisturbed")
    assert decisions(other) == []


def test_what_was_chosen_for_one_budget_of_several_counts_for_that_budget_alone_too(here: Path) -> None:
    (chosen,) = stopped(here, all=True)
    now_slower(*chosen.values())
    (loose,) = finished(here, lambdas=(0.0,)).values()
    assert chosen_in(loose) == chosen[loose.folder.name]
    assert [path.name.partition("ms-")[0] + "ms" for path in decisions(here)] == [
        name for name in chosen if name != loose.folder.name
    ]


def test_other_options_and_another_budget_of_the_same_name_are_decided_anew(here: Path) -> None:
    (chosen,) = stopped(here, lambdas=(0.5,))
    (name,), (one,) = chosen, chosen.values()
    now_slower(one)
    (other,) = finished(here, lambdas=(0.5,), learning_rate=0.05).values()
    assert (other.folder.name, chosen_in(other) == one) == (name, False)
    (path,) = decisions(here)
    path.write_text(path.read_text().replace(f'"budget_ms": {other.manifest.budget_ms}', '"budget_ms": 1.0'))
    (other,) = finished(here, lambdas=(0.5,)).values()
    assert (other.folder.name, chosen_in(other) == one) == (name, False)


def test_a_training_that_was_deleted_is_done_again_of_the_same_network(here: Path) -> None:
    (chosen,) = stopped(here, lambdas=(0.0,))
    for checkpoint in run_in(here).glob("exports/*/.trainings/*/checkpoint.safetensors"):
        checkpoint.unlink()
    now_slower(*chosen.values())
    assert [chosen_in(file) for file in finished(here, lambdas=(0.0,)).values()] == list(chosen.values())


def test_a_file_that_was_finished_and_lost_since_is_decided_anew(here: Path) -> None:
    stopped(here, lambdas=(0.0,))
    (file,) = finished(here, lambdas=(0.0,)).values()
    assert decisions(here) == []
    file.onnx.unlink()
    Noisy.asked.clear()
    finished(here, lambdas=(0.0,))
    assert Noisy.asked != []


@pytest.mark.parametrize("text", ["{", "[]", '{"budget_ms": 1, "decided": []}'])
def test_a_decision_that_was_damaged_is_named_and_may_be_deleted(here: Path, text: str) -> None:
    stopped(here, lambdas=(0.0,))
    (path,) = decisions(here)
    path.write_text(text)
    with pytest.raises(LatnasError, match="Delete it") as caught:
        finished(here, lambdas=(0.0,))
    assert str(path) in str(caught.value)
    path.unlink()
    assert finished(here, lambdas=(0.0,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda decided: decided.append({**decided[0], "looks": []}), "before a file was measured"),
        (lambda decided: decided[0].update(looks=[]), "that was not measured"),
    ],
)
def test_a_decision_that_does_not_hold_together_is_damaged(here: Path, change: Any, message: str) -> None:
    stopped(here, lambdas=(0.0,))
    (path,) = decisions(here)
    value = json.loads(path.read_text())
    change(value["decided"])
    path.write_text(json.dumps(value))
    with pytest.raises(LatnasError, match=message):
        finished(here, lambdas=(0.0,))
