"""The trainings of an export: what names them, who learns from whom, repeats, early ends, and inherited weights.

Files are not made here, which takes seconds each and is the same for all: see test_export.py.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from small import Heard, contents, copied, export_config, front_in, run_in

from latnas.data.batches import channel_statistics
from latnas.data.sources import load_images
from latnas.data.splits import splits_of
from latnas.errors import LatnasError, UsageError
from latnas.spaces.darts import Darts
from latnas.spaces.space import make_space
from latnas.stages.common import metadata
from latnas.stages.common.metadata import file_metadata
from latnas.stages.common.runs import RunFolder
from latnas.stages.common.tables import latency_of, space_of
from latnas.stages.export import final_training, trainings
from latnas.stages.export.final_training import CHECKPOINTS, derived_network, divided, final_training_task, fit
from latnas.stages.export.job import Job
from latnas.stages.export.targets import Kind, Target
from latnas.stages.export.trainings import Trained, teacher_among, train, training_task
from latnas.training.averaging import recalibrate
from latnas.training.checkpoint import load_tensors
from latnas.training.evaluate import accuracy
from latnas.training.patience import HISTORY, Patience
from latnas.training.tasks import RESULT, Task, run_tasks
from latnas.training.trainer import Recipe, Trainer, training_seed
from latnas.words.architecture import Architecture
from latnas.words.front import load_front
from latnas.words.manifest import Check
from latnas.words.table import load_table

STEPS = 22
"""Of an epoch of the digits, 64 at a time."""

SHIPPED = {"model.onnx", "weights.safetensors", RESULT}
"""All that is in the folder of a training that is done."""


@pytest.fixture
def here(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished search whose exports have a stand-in for the ONNX file: the weights' digest."""

    def stand_in(network: torch.nn.Module, example: torch.Tensor, metadata: Any) -> bytes:
        values = [value.numpy().tobytes() for value in network.state_dict().values()]
        return hashlib.sha256(b"".join(values)).digest()

    agrees = Check(images=1, largest_difference=0.0, same_class=1.0)
    monkeypatch.setattr(final_training, "export_onnx", stand_in)
    monkeypatch.setattr(final_training, "check_against_torch", lambda *_: agrees)
    return copied(small_run, tmp_path / "here")


def job_in(folder: Path, **options: Any) -> Job:
    front = front_in(folder)
    table, run = load_table(front / "table.json"), RunFolder(run_in(folder))
    space = space_of(table)
    config = export_config(folder, all=True, **options)
    return Job(config, run, run.exports(front.name), space, latency_of(table, space), load_images("digits"), Heard())


def some(folder: Path, count: int) -> list[Architecture]:
    """The smallest networks of the front, most multiply-adds first."""
    networks = sorted(load_front(front_in(folder) / "front.json").networks, key=lambda one: one.macs)
    different = {one.macs: one for one in networks}
    return [one.as_architecture for one in list(different.values())[:count]][::-1]


def kept(folder: Path) -> set[str]:
    return {path.name for path in run_in(folder).glob("exports/*/.trainings/*")}


def weights_of(task: Task) -> dict[str, torch.Tensor]:
    return load_tensors(task.folder / "weights.safetensors")[0]


# What names a training


def test_a_training_without_anything_new_keeps_the_name_that_it_had_before_there_was_anything_new(here: Path) -> None:
    job, (architecture,) = job_in(here), some(here, 1)
    recipe = {
        "steps": STEPS, "batch_size": 64, "learning_rate": 0.1, "warmup_steps": 50, "momentum": 0.9,
        "weight_decay": 5e-4, "label_smoothing": 0.0, "clip_norm": 5.0, "pad": 0, "flip": False, "cutout": 0,
        "auxiliary": 0.0,
    }  # fmt: skip
    identity = {
        "data": "digits", "space": job.space.name, "options": vars(job.space.options), "seed": 0,
        "architecture": architecture.to_json(), "recipe": recipe, "inherit": "scratch",
        "metadata": file_metadata(architecture, job.space, job.data.classes, job.table.name, 0) | {"version": "0.1.0"},
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    assert training_task(job, architecture, 0, None).folder.name == digest


def test_another_release_keeps_what_was_trained(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, (architecture,) = job_in(here), some(here, 1)
    before = training_task(job, architecture, 0, None)
    monkeypatch.setattr(metadata, "version", lambda package: "9.9.9")
    after = training_task(job, architecture, 0, None)
    assert before.folder == after.folder
    assert (before.config["metadata"]["version"], after.config["metadata"]["version"]) == (version("latnas"), "9.9.9")


def test_whatever_changes_a_training_changes_its_name_and_so_does_its_teacher(here: Path) -> None:
    job, (large, middle, small) = job_in(here), some(here, 3)
    teachers = [training_task(job, one, seed, None) for one in (large, middle) for seed in (0, 1)]
    teachers.append(training_task(job_in(here, ema=0.9), large, 0, None))
    names = [training_task(job, small, 0, teacher).folder.name for teacher in (None, *teachers)]
    options: list[dict[str, Any]] = [
        {"ema": 0.9}, {"ema": 0.99}, {"patience": 1}, {"patience": 2}, {"epochs": 2}, {"epochs": 0},
        {"init": "supernet"}, {"learning_rate": 0.2}, {"batch_size": 32},
    ]  # fmt: skip
    names += [training_task(job_in(here, **changed), small, 0, None).folder.name for changed in options]
    names.append(training_task(job, small, 1, None).folder.name)
    assert len(set(names)) == len(names) == 16


def test_whether_statistics_are_recalibrated_changes_the_name_of_a_training(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, (architecture,) = job_in(here), some(here, 1)
    names = set[str]()
    for recalibrated in (False, True):
        monkeypatch.setattr(trainings, "is_recalibrated", lambda recipe, said=recalibrated: said)
        names.add(training_task(job, architecture, 0, None).folder.name)
    assert len(names) == 2


def test_a_run_that_was_moved_keeps_what_its_students_learnt(here: Path, tmp_path: Path) -> None:
    moved = copied(here, tmp_path / "moved")
    large, small = some(here, 2)
    tasks = [training_task(job, small, 0, training_task(job, large, 0, None)) for job in (job_in(here), job_in(moved))]
    assert tasks[0].folder.name == tasks[1].folder.name
    assert tasks[0].config["teacher"]["weights"] != tasks[1].config["teacher"]["weights"]


# Teachers


def test_the_teacher_is_the_network_of_most_multiply_adds_if_there_is_one_to_teach(here: Path) -> None:
    large, middle, small = some(here, 3)
    job, front = job_in(here, distill=True), load_front(front_in(here) / "front.json")

    def chosen(*architectures: Architecture, kind: Kind = "search") -> list[tuple[Target, Architecture]]:
        return [(Target(kind, 0.0, 1.0, (one,), job.space), one) for one in architectures]

    assert teacher_among(job, front, chosen(small, large, middle, large)) == large
    assert teacher_among(job_in(here), front, chosen(small, large)) is None
    assert teacher_among(job, front, chosen(small) + chosen(large, kind="most-macs")) == small, "baselines only learn"
    assert isinstance(job.report, Heard) and not job.report.warned
    assert teacher_among(job, front, chosen(small, small)) is None
    assert "there is none for it to learn from" in job.report.warned[0]


def test_others_learn_from_the_teacher_which_is_trained_first_and_by_labels_alone(here: Path) -> None:
    job, (large, middle, small) = job_in(here, distill=True), some(here, 3)
    made = train(job, [small, large, middle], large)
    assert {key: one.training["distilled_from"] for key, one in made.items()} == {
        small.key: str(large), middle.key: str(large), large.key: None,
    }  # fmt: skip
    assert {key: one.training["distill"] for key, one in made.items()} == {
        small.key: 0.9,
        middle.key: 0.9,
        large.key: 0.0,
    }
    teacher = training_task(job, large, 0, None)
    student, alone = training_task(job, small, 0, teacher), training_task(job, small, 0, None)
    written = {task.folder: (task.folder / "result.json").stat().st_mtime_ns for task in (teacher, student)}
    assert written[teacher.folder] < written[student.folder]
    assert student.config["teacher"] == {
        "architecture": large.to_json(), "weights": str(teacher.folder / "weights.safetensors"),
    }  # fmt: skip
    plain = train(job_in(here), [small, large], None)
    files = [{key: one.result["sha256"] for key, one in found.items()} for found in (plain, made)]
    assert files[0][large.key] == files[1][large.key] and files[0][small.key] != files[1][small.key]
    assert alone.folder.name in kept(here) and len(kept(here)) == 4


def test_a_teacher_whose_weights_were_deleted_is_trained_again_and_its_students_stay(here: Path) -> None:
    job, (large, small) = job_in(here, distill=True), some(here, 2)
    train(job, [large, small], large)
    before = contents(here)
    (training_task(job, large, 0, None).folder / "weights.safetensors").unlink()
    train(job, [large, small], large)
    assert contents(here) == before


def test_a_teacher_whose_weights_are_damaged_is_named(here: Path) -> None:
    job, (large, small) = job_in(here, distill=True), some(here, 2)
    train(job, [large], None)
    weights = training_task(job, large, 0, None).folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(LatnasError, match="Delete it to start over") as caught:
        train(job, [large, small], large)
    assert str(weights) in str(caught.value)


# Several seeds


def test_the_first_of_several_seeds_ships_and_the_manifest_has_the_spread_of_all(here: Path) -> None:
    (architecture,) = some(here, 1)

    def trained(**options: Any) -> Trained:
        return train(job_in(here, **options), [architecture], None)[architecture.key]

    together, repeats = trained(seeds=3), trained(seeds=3).repeats
    before = contents(here)
    apart = [trained(seed=seed) for seed in range(3)]
    assert contents(here) == before, "a repeat is the training from its own seed"
    assert together.result == apart[0].result
    assert repeats is not None and repeats.seeds == (0, 1, 2)
    assert repeats.values == tuple(one.result["accuracy"]["value"] for one in apart) and len(set(repeats.values)) > 1
    assert repeats.mean == pytest.approx(sum(repeats.values) / 3)
    low, high = stats.ttest_1samp(repeats.values, 0.0).confidence_interval(0.95)
    assert (repeats.low, repeats.high) == pytest.approx((max(low, 0.0), min(high, 1.0)))
    assert all(one.repeats is None for one in apart)


def test_the_student_of_each_seed_learns_from_the_teacher_of_that_seed(here: Path) -> None:
    job, (large, small) = job_in(here, distill=True, seeds=2), some(here, 2)
    made = train(job, [small, large], large)
    for seed in (0, 1):
        student = training_task(job, small, seed, training_task(job, large, seed, None))
        assert (student.folder / "result.json").exists()
    assert all(one.repeats is not None and one.repeats.seeds == (0, 1) for one in made.values())


# Early ends


def test_with_patience_the_split_select_is_held_out_and_without_all_images_train() -> None:
    data = load_images("digits")
    trained_on, held_out = divided(data, 3, patience=5)
    assert held_out.equal(splits_of(data, 3).select)
    assert sorted([*trained_on.tolist(), *held_out.tolist()]) == list(range(len(data.train)))
    trained_on, held_out = divided(data, 3, patience=0)
    assert trained_on.equal(torch.arange(len(data.train))) and not len(held_out)


def test_what_is_held_out_of_inherited_weights_is_what_the_search_held_out(here: Path) -> None:
    (architecture,) = some(here, 1)
    searched = RunFolder(run_in(here)).read_config()["seed"]
    inherited = training_task(job_in(here, init="supernet", patience=2), architecture, searched + 1, None)
    own = training_task(job_in(here, init="scratch", patience=2), architecture, searched + 1, None)
    assert (inherited.config["split_seed"], own.config["split_seed"]) == (searched, searched + 1)
    without = training_task(job_in(here, init="supernet"), architecture, searched + 1, None)
    assert len({task.folder for task in (inherited, own, without)}) == 3


@pytest.mark.parametrize("options", [{"epochs": 2}, {"epochs": 2, "patience": 1}], ids=["plain", "patient"])
def test_a_training_that_was_killed_as_its_result_was_written_trains_no_step_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, int]
) -> None:
    (architecture,) = some(here, 1)
    task = training_task(job_in(here, **options), architecture, 0, None)
    whole, replace = final_training_task(task.config, here / "whole"), os.replace

    def killed(source: Path, target: Path) -> None:
        if target.name == RESULT:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            run_tasks([task], 0)
    monkeypatch.setattr(Trainer, "step", None)
    assert run_tasks([task], 0) == [whole]
    assert {path.name for path in task.folder.iterdir()} == SHIPPED


@pytest.mark.parametrize("killed_at", CHECKPOINTS)
def test_a_training_that_was_killed_while_it_cleaned_up_is_done_and_cleaned_up_later(
    here: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    (architecture,) = some(here, 1)
    task = training_task(job_in(here, epochs=2, patience=1), architecture, 0, None)
    unlink = Path.unlink

    def killed(self: Path, missing_ok: bool = False) -> None:
        if self.name == killed_at:
            raise KeyboardInterrupt
        unlink(self, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            run_tasks([task], 0)
    assert (task.folder / killed_at).exists()
    whole = final_training_task(task.config, here / "whole")
    monkeypatch.setattr(final_training, "final_training_task", None)
    assert run_tasks([task], 0) == [whole]
    assert {path.name for path in task.folder.iterdir()} == SHIPPED


def test_a_training_without_progress_ends_early_and_the_manifest_says_after_which_epoch(here: Path) -> None:
    (architecture,) = some(here, 1)
    job = job_in(here, epochs=30, patience=1, learning_rate=1e-9)
    training = train(job, [architecture], None)[architecture.key].training
    assert 2 <= training["stopped_after"] < 30 == training["epochs"]
    assert training["patience"] == 1 and training["steps"] < 30 * STEPS
    folder = training_task(job, architecture, 0, None).folder
    assert {path.name for path in folder.iterdir()} == SHIPPED
    whole = train(job_in(here, epochs=2, patience=9), [architecture], None)[architecture.key].training
    assert whole["stopped_after"] is None


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"ema": 0.9, "auxiliary": 0.4}])
def test_patience_goes_by_the_accuracy_of_what_ships(options: dict[str, float], tmp_path: Path) -> None:
    space = make_space("darts", width=4, depth=3, image_size=8, channels=1, classes=10)
    network = space.derive(space.network(seed=0), space.random(torch.Generator().manual_seed(0)))
    images = load_images("digits").train
    held_out = images.take(torch.arange(700, 1000))
    recipe = Recipe(9, batch_size=32, pad=0, flip=False, **options)
    fit(network, images.take(torch.arange(96)), recipe, 0, tmp_path, patience=Patience(9, 3, held_out))
    reached = json.loads((tmp_path / HISTORY).read_text())
    assert len(reached) == 3 and accuracy(network, held_out).value == max(reached)


# Averages and inherited weights


def test_what_ships_of_an_averaged_training_is_the_average_with_statistics_of_its_own(here: Path) -> None:
    job, (architecture,) = job_in(here, ema=0.9), some(here, 1)
    made = train(job, [architecture], None)[architecture.key]
    assert (made.training["ema"], made.training["recalibrated"]) == (0.9, True)
    seed = training_seed(0, "final", architecture.key)
    network = derived_network(job.space, architecture, seed, None)
    images = job.data.train
    network.normalise.set_statistics(*channel_statistics(images.images))
    trainer = Trainer(network, images, job.recipe, seed)
    trainer.run()
    expected = trainer.averaged
    recalibrate(expected, images.images, seed)
    shipped = weights_of(training_task(job, architecture, 0, None))
    assert all(shipped[name].equal(value) for name, value in expected.state_dict().items())
    assert not all(shipped[name].equal(value) for name, value in network.state_dict().items())


def test_an_averaged_training_with_a_second_classifier_leaves_a_plain_network(tmp_path: Path) -> None:
    space = make_space("darts", width=4, depth=3, image_size=8, channels=1, classes=10)
    network = space.derive(space.network(seed=0), space.random(torch.Generator().manual_seed(0)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    recipe = Recipe(2, batch_size=8, pad=0, flip=False, auxiliary=0.4, ema=0.9)
    fit(network, load_images("digits").train.take(torch.arange(64)), recipe, 0, tmp_path)
    assert isinstance(network.body, Darts) and not any(module._forward_hooks for module in network.modules())
    assert network.state_dict().keys() == before.keys()
    assert any(not value.equal(before[name]) for name, value in network.state_dict().items() if value.dim() > 1)
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_where_a_training_diverges_the_options_of_the_export_are_advised(tmp_path: Path) -> None:
    space = make_space("mbconv", width=2, depth=1, image_size=8, channels=1, classes=10)
    network = space.derive(space.network(seed=0), space.random(torch.Generator().manual_seed(0)))
    recipe = Recipe(20, batch_size=8, learning_rate=1e30, flip=False)
    with pytest.raises(LatnasError, match=r"diverged at step .* Try a lower --learning-rate, or another --seed\."):
        fit(network, load_images("digits").train.take(torch.arange(64)), recipe, 0, tmp_path)


def test_without_an_epoch_the_supernet_s_weights_ship_with_statistics_of_the_network_that_was_chosen(
    here: Path,
) -> None:
    job, (architecture,) = job_in(here, epochs=0), some(here, 1)
    made = train(job, [architecture], None)[architecture.key]
    assert (made.training["init"], made.training["epochs"], made.training["recalibrated"]) == ("supernet", 0, True)
    shared = run_in(here) / "supernet" / "weights.safetensors"
    seed = training_seed(0, "final", architecture.key)
    inherited = derived_network(job.space, architecture, seed, str(shared))
    shipped = weights_of(training_task(job, architecture, 0, None))
    weights = {name for name, _ in inherited.named_parameters()}
    assert all(shipped[name].equal(inherited.state_dict()[name]) for name in weights)
    running = [name for name in shipped if name.endswith("running_var")]
    assert running and not all(shipped[name].equal(inherited.state_dict()[name]) for name in running)
    inherited.normalise.set_statistics(*channel_statistics(job.data.train.images))
    inherited.to(memory_format=torch.channels_last)  # as the trainer leaves it: sums come in another order
    recalibrate(inherited, job.data.train.images, seed)
    assert all(shipped[name].equal(inherited.state_dict()[name]) for name in shipped)


def test_weights_that_have_learnt_nothing_do_not_ship(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--epochs 0 ships the supernet's weights; those of --init scratch"):
        export_config(tmp_path, all=True, epochs=0, init="scratch")
    with pytest.raises(UsageError, match="--epochs 0 trains nothing, so there is nothing to --distill"):
        export_config(tmp_path, all=True, epochs=0, distill=True)
    with pytest.raises(UsageError, match="--epochs 0 trains nothing, so that all --seeds come to the same"):
        export_config(tmp_path, all=True, epochs=0, seeds=2)
    for name, value in (("ema", 0.9), ("patience", 1), ("auxiliary", 0.4)):
        with pytest.raises(UsageError, match=f"--epochs 0 trains nothing, and --{name} is of a training"):
            export_config(tmp_path, all=True, epochs=0, **{name: value})
    assert export_config(tmp_path, all=True, epochs=1).starts_from == "scratch"
    assert export_config(tmp_path, all=True, epochs=1, init="supernet").starts_from == "supernet"
