"""Short trainings, the labels of the judge."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latnas.data.batches import channel_statistics
from latnas.data.images import Images, LabelledImages
from latnas.data.lazy import LazyImages
from latnas.data.randomness import generator
from latnas.data.sources import load_images
from latnas.data.splits import make_splits
from latnas.errors import LatnasError
from latnas.ranking import features, short_training
from latnas.ranking.features import resized
from latnas.ranking.short_training import CHECKPOINT, short_training_task, statistics_of
from latnas.spaces.space import make_space
from latnas.training.evaluate import Accuracy, accuracy
from latnas.training.tasks import RESULT, Task, run_tasks
from latnas.training.trainer import Recipe, Trainer
from latnas.words.architecture import Architecture
from latnas.words.forms import Label

SPACE = make_space("mbconv", image_size=8, channels=1, classes=10, width=4, depth=1)


def config(steps: int, **changes: Any) -> dict[str, Any]:
    return {
        "data": "digits", "space": "mbconv", "options": vars(SPACE.options).copy(), "seed": 0,
        "reduction": {"width": 4, "image_size": 8}, "architecture": SPACE.random(generator(1)).to_json(),
        "recipe": asdict(Recipe(steps, 64, flip=False)), "train_on": "cpu", **changes,
    }  # fmt: skip


def test_a_short_training_is_measured_on_the_split_select_and_beats_chance(tmp_path: Path) -> None:
    task = Task("latnas.ranking.short_training:short_training_task", config(40), tmp_path, Label, (CHECKPOINT,))
    (result,) = run_tasks([task], 0)
    assert result["images"] == len(make_splits(load_images("digits").train.labels, 0).select)
    assert 0.3 < result["accuracy"] <= 1.0
    assert [path.name for path in tmp_path.iterdir()] == [RESULT]  # no checkpoint is left of what is finished
    assert short_training_task(config(40), tmp_path / "again") == result


def test_one_that_diverges_names_the_network(tmp_path: Path) -> None:
    recipe = asdict(Recipe(20, 64, learning_rate=1e20, flip=False))
    architecture = Architecture.from_json(config(20)["architecture"])
    with pytest.raises(LatnasError) as caught:
        short_training_task(config(20, recipe=recipe), tmp_path)
    assert str(caught.value).startswith(f"the training of {architecture} diverged at step ")


def test_of_a_large_split_only_the_first_images_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Tensor] = []

    def look(network: nn.Module, images: LabelledImages) -> Accuracy:
        looked_at.append(images.labels)
        return accuracy(network, images)

    labels = load_images("digits").train.labels
    monkeypatch.setattr(short_training, "MOST_EVALUATED", 50)
    monkeypatch.setattr(short_training, "accuracy", look)
    assert short_training_task(config(2), tmp_path)["images"] == 50
    assert looked_at[0].equal(labels[make_splits(labels, 0).select[:50]])


def test_who_stops_it_while_it_is_measured_loses_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    trained = Trainer.step

    def stop(*arguments: object) -> Accuracy:
        raise KeyboardInterrupt

    def count(trainer: Trainer, paths: None) -> float:
        steps.append(trainer.done)
        return trained(trainer, paths)

    expected = short_training_task(config(3), tmp_path / "whole")
    monkeypatch.setattr(Trainer, "step", count)
    monkeypatch.setattr(short_training, "accuracy", stop)
    with pytest.raises(KeyboardInterrupt):
        short_training_task(config(3), tmp_path / "stopped")
    monkeypatch.setattr(short_training, "accuracy", accuracy)
    assert short_training_task(config(3), tmp_path / "stopped") == expected
    assert steps == [0, 1, 2]


def test_a_copy_is_as_narrow_and_small_as_it_was_asked_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, torch.Size]] = []

    def look(network: nn.Module, images: LabelledImages) -> Accuracy:
        seen.append((next(network.parameters()).shape[0], images.images.shape[1:]))
        return accuracy(network, images)

    monkeypatch.setattr(short_training, "accuracy", look)
    options = {**vars(SPACE.options), "image_size": 12}
    short_training_task(config(2, options=options, reduction={"width": 3, "image_size": 10}), tmp_path / "narrow")
    short_training_task(config(2, options=options, reduction={"width": 9, "image_size": 64}), tmp_path / "whole")
    assert seen == [(3, (1, 10, 10)), (4, (1, 12, 12))]  # a copy is never larger than the network


@pytest.mark.parametrize(("small_bytes", "counted"), [(1437 * 64, 1), (1437 * 64 - 1, 4)], ids=["small", "large"])
def test_how_many_images_count_for_the_statistics_follows_from_the_data_and_not_from_where_they_are_held(
    small_bytes: int, counted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def look(images: Images, small: bool) -> tuple[Tensor, Tensor]:
        seen.append(statistics_of(images, small))
        return seen[-1]

    data = load_images("digits")
    held = data.train.images
    lazy = LazyImages(held.__getitem__, torch.arange(1437), (1, 8, 8))
    monkeypatch.setattr(short_training, "SMALL_BYTES", small_bytes)
    monkeypatch.setattr(short_training, "COUNTED_OF_MANY", 300)
    monkeypatch.setattr(short_training, "statistics_of", look)
    labels = []
    for name, images in (("held", held), ("lazy", lazy)):
        one = replace(data, train=LabelledImages(images, data.train.labels))
        monkeypatch.setattr(short_training, "images_of_task", lambda _, one=one: one)
        labels.append(short_training_task(config(2), tmp_path / name))
    expected = channel_statistics(held[make_splits(data.train.labels, 0).train][::counted])
    assert all(ours.equal(theirs) for both in seen for ours, theirs in zip(both, expected, strict=True))
    assert len(seen) == 2 and labels[0] == labels[1]


def test_of_a_large_data_set_in_memory_only_what_is_used_is_resized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []

    def look(images: Tensor, size: int) -> Tensor:
        together.append(len(images))
        return resized(images, size)

    other = {"options": {**vars(SPACE.options), "image_size": 12}, "reduction": {"width": 4, "image_size": 10}}
    monkeypatch.setattr(short_training, "COUNTED_OF_MANY", 300)
    monkeypatch.setattr(short_training, "SMALL_BYTES", 0)
    monkeypatch.setattr(features, "resized", look)
    result = short_training_task(config(2, **other), tmp_path / "lazily")
    assert set(together) == {252, 64, 215}  # statistics, batches, `select`
    monkeypatch.setattr(short_training, "lazily", lambda images: images)
    assert short_training_task(config(2, **other), tmp_path / "at once") == result
