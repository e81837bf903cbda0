"""Short trainings of real derived networks, on a reduced copy: the labels of the accuracy model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from latnas.data.batches import MOST_PIXELS, channel_statistics
from latnas.data.images import Images, LabelledImages
from latnas.data.lazy import lazily
from latnas.data.sources import images_of_task
from latnas.data.splits import splits_of
from latnas.ranking.features import Reduction, resized
from latnas.spaces.space import make_space
from latnas.training.evaluate import accuracy
from latnas.training.trainer import Recipe, Trainer, training_seed
from latnas.words.architecture import Architecture

CHECKPOINT = "checkpoint.safetensors"

SMALL_BYTES = 300_000_000
"""Training images of so much, decoded, are few enough for all to count for the statistics.

To decode every one of more could take longer than the training that follows. Whether they are held in memory does not
count: that may differ between two processes of one search, whose labels must not.
"""

COUNTED_OF_MANY = 4000
"""Images, evenly spread, that count for the statistics where not all do."""

MOST_EVALUATED = 10_000
"""Images of the split `select` that accuracy is measured on: its interval is then two points wide at most."""


def short_training_task(config: Mapping[str, Any], folder: Path) -> dict[str, float]:
    """Trains one reduced network on the split `train` and measures it on the first images of the split `select`.

    Returns:
        accuracy in [0, 1], and the number of images that it was measured on.
    """
    data = images_of_task(config["data"])
    reduction = Reduction(**config["reduction"])
    space = make_space(config["space"], **config["options"]).reduced(reduction.width, reduction.image_size)
    splits = splits_of(data, config["seed"])
    small = math.prod(data.train.images.shape) <= SMALL_BYTES
    # Of many images a training uses few, which are resized when they are used.
    used = data.train.images if small else lazily(data.train.images)
    images = LabelledImages(resized(used, space.options.image_size), data.train.labels)
    architecture = Architecture.from_json(config["architecture"])
    seed = training_seed(config["seed"], "short", architecture.key)
    network = space.derive(space.network(seed), architecture)
    trained_on = images.take(splits.train)
    network.normalise.set_statistics(*statistics_of(trained_on.images, small))
    what, recipe = f"the training of {architecture}", Recipe(**config["recipe"])
    trainer = Trainer(network, trained_on, recipe, seed, config["train_on"], what=what)
    trainer.run(checkpoint=folder / CHECKPOINT)
    result = accuracy(network, images.take(splits.select[:MOST_EVALUATED]))
    return {"accuracy": result.value, "images": result.images}


def statistics_of(images: Images, small: bool) -> tuple[Tensor, Tensor]:
    """`channel_statistics`, of about `COUNTED_OF_MANY` images if they are not of a small data set."""
    _, _, height, width = images.shape
    return channel_statistics(images, MOST_PIXELS if small else min(MOST_PIXELS, COUNTED_OF_MANY * height * width))
