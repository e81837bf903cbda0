"""Short trainings, the labels of the judge."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latnas.data.batches import channel_statistics
from latnas.data.images import LabelledImages
from latnas.data.lazy import LazyImages
from latnas.data.randomness import generator
from latnas.data.sources import load_images
from latnas.data.splits import make_splits
from latnas.ranking import short_training
from latnas.ranking.short_training import short_training_task, statistics_of
from latnas.spaces.space import make_space
from latnas.training.evaluate import Accuracy, accuracy
from latnas.training.trainer import Recipe, Trainer

SPACE = make_space("mbconv", image_size=8, channels=1, classes=10, width=4, depth=1)


def config(steps: int, **changes: Any) -> dict[str, Any]:
    return {
        "data": "digits", "space": "mbconv", "options": vars(SPACE.options).copy(), "seed": 0,
        "reduction": {"width": 4, "image_size": 8}, "architecture": SPACE.random(generator(1)).to_json(),
        "recipe": asdict(Recipe(steps, 64, flip=False)), "device": "cpu", **changes,
    }  # fmt: skip


def test_a_short_training_is_measured_on_the_split_select_and_beats_chance(tmp_path: Path) -> None:
    result = short_training_task(config(40), tmp_path)
    assert result["images"] == len(make_splits(load_images("digits").train.labels, 0).select)
    assert 0.3 < result["accuracy"] <= 1.0
    assert list(tmp_path.iterdir()) == []  # no checkpoint is left of what is finished
    assert short_training_task(config(40), tmp_path) == result


def test_of_a_large_split_only_the_first_images_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Tensor] = []

    def look(network: nn.Module, images: LabelledImages, device: str) -> Accuracy:
        looked_at.append(images.labels)
        return accuracy(network, images, device)

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

    def look(network: nn.Module, images: LabelledImages, device: str) -> Accuracy:
        seen.append((next(network.parameters()).shape[0], images.images.shape[1:]))
        return accuracy(network, images, device)

    monkeypatch.setattr(short_training, "accuracy", look)
    options = {**vars(SPACE.options), "image_size": 12}
    short_training_task(config(2, options=options, reduction={"width": 3, "image_size": 10}), tmp_path)
    short_training_task(config(2, options=options, reduction={"width": 9, "image_size": 64}), tmp_path)
    assert seen == [(3, (1, 10, 10)), (4, (1, 12, 12))]  # a copy is never larger than the network


def test_of_images_that_are_not_held_a_few_are_decoded_for_the_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    held = load_images("digits").train.images[:1000]
    decoded: list[int] = []

    def read(rows: Tensor) -> Tensor:
        decoded.extend(rows.tolist())
        return held[rows]

    images = LazyImages(read, torch.arange(1000), (1, 8, 8))
    for ours, all_of_them in zip(statistics_of(images), channel_statistics(held), strict=True):
        assert ours.equal(all_of_them)
    decoded.clear()
    monkeypatch.setattr(short_training, "DECODED_FOR_STATISTICS", 300)
    for ours, of_few in zip(statistics_of(images), channel_statistics(held[::4]), strict=True):
        assert ours.equal(of_few)
    assert decoded == list(range(0, 1000, 4))
    for ours, all_of_them in zip(statistics_of(held), channel_statistics(held), strict=True):
        assert ours.equal(all_of_them)
