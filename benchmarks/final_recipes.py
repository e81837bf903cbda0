"""The trainings that `final_training.py` compares: one network by one recipe, on one seed's split of the images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pieces import digest_of

from latnas.data.batches import channel_statistics
from latnas.data.images import ImageData, LabelledImages
from latnas.data.randomness import generator
from latnas.data.sources import images_of_task
from latnas.data.splits import splits_of
from latnas.hypernet.supernet import supernet_trainer, uniform_paths
from latnas.spaces.space import Space, make_space
from latnas.stages.export.final_training import CHECKPOINT, WEIGHTS, derived_network, fit, steps_of_epoch, teacher_of
from latnas.training.checkpoint import save_tensors
from latnas.training.distillation import SHARE
from latnas.training.evaluate import accuracy
from latnas.training.tasks import Task
from latnas.training.trainer import Recipe, training_seed
from latnas.words.architecture import Architecture

VERSION = 2
"""Of what final_training.py measures: recipes, networks, and what they begin with.
Raise it when that changes: results of another version are not mixed with these."""

PARTS = ("crops", "smoothing", "cutout", "ema", "distill", "supernet", "rate", "decay")
NETWORKS = ("largest", "middle", "small")
DRAWN = 20


@dataclass(frozen=True)
class Setting:
    """What all trainings of a row have in common.

    Attributes:
        image: pixels of a side, to which all images are resized.
        images: so many of the split `train`, at most.
        supernet_steps: of the shared weights that the part `supernet` begins with.
        given: parts of every recipe.
    """

    image: int
    images: int
    space: str
    width: int
    depth: int
    epochs: int
    supernet_steps: int
    batch: int = 64
    given: tuple[str, ...] = ()

    def digest(self, data: ImageData) -> str:
        """Eight hexadecimal digits that differ where anything does: the images and the version too."""
        return digest_of(VERSION, data.fingerprint, asdict(self))

    def recipe(self, parts: Sequence[str], data: ImageData, images: int) -> Recipe:
        """The recipe that has these parts."""
        return Recipe(
            self.epochs * steps_of_epoch(images, self.batch),
            self.batch,
            learning_rate=0.2 if "rate" in parts else 0.1,
            weight_decay=1e-4 if "decay" in parts else 5e-4,
            pad=None if "crops" in parts else 0,
            flip=data.mirrors,
            label_smoothing=0.1 if "smoothing" in parts else 0.0,
            cutout=data.size // 2 if "cutout" in parts else 0,
            ema=0.999 if "ema" in parts else 0.0,
            distill=SHARE if "distill" in parts else 0.0,
        )


@dataclass(frozen=True)
class Cell:
    """One seed: its networks and its split of the images, and the folder that keeps their trainings."""

    data: ImageData
    space: Space
    setting: Setting
    seed: int
    folder: Path

    @cached_property
    def networks(self) -> dict[str, Architecture]:
        """The largest of a few random ones, that of median size, and that at a fifth, by multiply-adds."""
        random = generator(self.seed, "final training")
        drawn = {one.key: one for one in (self.space.random(random) for _ in range(DRAWN))}
        by_size = sorted(drawn.values(), key=lambda one: (-self.space.amounts(one).macs, one.key))
        positions = (0, len(by_size) // 2, len(by_size) * 4 // 5)
        return dict(zip(NETWORKS, (by_size[position] for position in positions), strict=True))

    @cached_property
    def supernet(self) -> Task:
        """The training of shared weights."""
        recipe = Recipe(self.setting.supernet_steps, self.setting.batch, pad=0, flip=self.data.mirrors)
        config = {**self._common, "recipe": asdict(recipe)}
        return Task("final_recipes:supernet_task", config, self.folder / "supernet", checkpoints=(CHECKPOINT,))

    def task(self, name: str, parts: Sequence[str]) -> Task:
        """The training of one of the networks by the recipe of these parts."""
        architecture, teacher = self.networks[name], None
        if "distill" in parts:
            taught_by = self.teacher(parts)
            teacher = {"architecture": taught_by.config["architecture"], "weights": str(taught_by.folder / WEIGHTS)}
        config = {
            **self._common,
            "architecture": architecture.to_json(),
            "recipe": asdict(self.setting.recipe(parts, self.data, self._images)),
            "inherit": str(self.supernet.folder / WEIGHTS) if "supernet" in parts else None,
            "teacher": teacher,
        }
        return Task("final_recipes:recipe_task", config, self.folder / named(parts) / name, checkpoints=(CHECKPOINT,))

    def teacher(self, parts: Sequence[str]) -> Task:
        """The training that these parts' `distill` learns from: the largest network, by all other parts."""
        return self.task("largest", [part for part in parts if part != "distill"])

    @cached_property
    def _images(self) -> int:
        return len(train_images(self.data, self.seed, self.setting.images))

    @property
    def _common(self) -> dict[str, Any]:
        return {
            "data": self.data.spec, "images": self.setting.images, "space": self.space.name,
            "options": vars(self.space.options).copy(), "seed": self.seed,
        }  # fmt: skip


def named(parts: Sequence[str]) -> str:
    """`crops+ema`, in the order of `PARTS`; `plain` without any."""
    return "+".join(part for part in PARTS if part in parts) or "plain"


def train_images(data: ImageData, seed: int, most: int) -> LabelledImages:
    """What is trained on: the split `train`, or as much of it as is wanted."""
    return data.train.take(splits_of(data, seed).train[:most])


def recipe_task(config: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """Trains a network as export does, measures it on `select`, and leaves its weights in `folder`."""
    data = images_of_task(config["data"])
    began = time.process_time()
    space = make_space(config["space"], **config["options"])
    architecture = Architecture.from_json(config["architecture"])
    seed = training_seed(config["seed"], "final", architecture.key)
    images = train_images(data, config["seed"], config["images"])
    network = derived_network(space, architecture, seed, config["inherit"])
    network.normalise.set_statistics(*channel_statistics(images.images))
    teacher = None if config["teacher"] is None else teacher_of(config["teacher"], space)
    fit(network, images, Recipe(**config["recipe"]), seed, folder, teacher)
    reached = accuracy(network, data.train.take(splits_of(data, config["seed"]).select))
    save_tensors(folder / WEIGHTS, network.state_dict(), {})
    return {"correct": reached.correct, "images": reached.images, "cpu_seconds": time.process_time() - began}


def supernet_task(config: Mapping[str, Any], folder: Path) -> dict[str, int]:
    """Trains shared weights along uniform paths and leaves them in `folder`."""
    data = images_of_task(config["data"])
    space = make_space(config["space"], **config["options"])
    images = train_images(data, config["seed"], config["images"])
    trainer = supernet_trainer(space, data, Recipe(**config["recipe"]), config["seed"], images)
    trainer.run(lambda step: uniform_paths(space, config["seed"], step), folder / CHECKPOINT)
    save_tensors(folder / WEIGHTS, trainer.network.state_dict(), {})
    return {"steps": trainer.done}
