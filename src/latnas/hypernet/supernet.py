"""Shared weights: one supernet, trained one path at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latnas.data.batches import channel_statistics
from latnas.data.images import ImageData, LabelledImages
from latnas.data.randomness import generator
from latnas.data.sources import images_of_task
from latnas.data.splits import splits_of
from latnas.spaces.choice import Selection, path_of
from latnas.spaces.space import Classifier, Space, make_space
from latnas.training.trainer import Recipe, Trainer, training_seed

PATHS_PER_STEP = 1
CHECKPOINT = "warm-up.safetensors"


def supernet_trainer(
    space: Space,
    data: ImageData,
    recipe: Recipe,
    seed: int,
    images: LabelledImages | None = None,
    train_on: str = "cpu",
) -> Trainer:
    """A trainer of fresh shared weights on the split `train`, or on these images."""
    own_seed = training_seed(seed, "supernet")
    network = space.network(own_seed)
    images = data.train.take(splits_of(data, seed).train) if images is None else images
    network.normalise.set_statistics(*channel_statistics(images.images))
    return Trainer(network, images, recipe, own_seed, train_on)


def uniform_paths(space: Space, seed: int, step: int) -> Sequence[Selection]:
    """The paths of a step, uniform over decisions and rejected where invalid."""
    random = generator(seed, "uniform path", step)
    return [path_of(space.random(random), space.decisions) for _ in range(PATHS_PER_STEP)]


def warm_up_task(config: Mapping[str, Any], folder: Path) -> dict[str, int]:
    """Trains the shared weights along uniform paths and leaves a checkpoint, which the joint phase goes on from."""
    data = images_of_task(config["data"])
    space = make_space(config["space"], **config["options"])
    trainer = supernet_trainer(space, data, Recipe(**config["recipe"]), config["seed"], train_on=config["train_on"])
    trainer.run(lambda step: uniform_paths(space, config["seed"], step), folder / CHECKPOINT, until=config["until"])
    if not trainer.done:  # a search may do without
        trainer.save(folder / CHECKPOINT)
    return {"steps": trainer.done}


def network_of(trainer: Trainer) -> Classifier:
    """The supernet of a trainer made by `supernet_trainer`."""
    assert isinstance(trainer.network, Classifier)
    return trainer.network
