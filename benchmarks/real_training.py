"""One training of one network on real images, short or final: a task that a worker process can run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latnas.data.batches import channel_statistics
from latnas.data.sources import images_of_task
from latnas.data.splits import splits_of
from latnas.spaces.space import make_space
from latnas.training.evaluate import accuracy
from latnas.training.trainer import Recipe, Trainer, training_seed
from latnas.words.architecture import Architecture

CHECKPOINT = "checkpoint.safetensors"
EVERY = 50


def training_task(config: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """Trains on the split `train`; measures on `select`, and where `config["test"]` says so once on the test images.

    Returns:
        `select` and maybe `test`, accuracies in [0, 1]; `cpu_seconds` from when the images were there, since the last
        checkpoint if it was interrupted.
    """
    data = images_of_task(config["data"])
    began = time.process_time()
    space = make_space(config["space"], **config["options"])
    splits = splits_of(data, config["seed"])
    architecture = Architecture.from_json(config["architecture"])
    seed = training_seed(config["seed"], "benchmark", config["recipe"]["steps"], architecture.key)
    network = space.derive(space.network(seed), architecture)
    images = data.train.take(splits.train)
    network.normalise.set_statistics(*channel_statistics(images.images))
    Trainer(network, images, Recipe(**config["recipe"]), seed).run(checkpoint=folder / CHECKPOINT, every=EVERY)
    result = {"select": accuracy(network, data.train.take(splits.select)).value}
    if config["test"]:
        result["test"] = accuracy(network, data.test).value
    return {**result, "cpu_seconds": time.process_time() - began}
