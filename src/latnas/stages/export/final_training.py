"""The training of a network that ships, as a task of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latnas.data.batches import channel_statistics
from latnas.data.sources import load_images
from latnas.spaces.space import Classifier, Space, make_space
from latnas.training.checkpoint import load_tensors, load_weights, save_tensors
from latnas.training.evaluate import accuracy
from latnas.training.trainer import Recipe, Trainer, training_seed
from latnas.words.architecture import Architecture

WEIGHTS = "weights.safetensors"


def final_training_task(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Trains one architecture on all training images and looks at the test images once.

    All splits of the training images are used: nothing is selected on them any more.
    """
    data = load_images(config["data"])
    space = make_space(config["space"], **config["options"])
    architecture = Architecture.from_json(config["architecture"])
    seed = training_seed(config["seed"], "final", architecture.key)
    network = derived_network(space, architecture, seed, config["inherit"])
    network.normalise.set_statistics(*channel_statistics(data.train.images))
    recipe = Recipe(**config["recipe"])
    Trainer(network, data.train, recipe, seed).run(checkpoint=folder / "checkpoint.safetensors", every=50)
    reached = accuracy(network, data.test)
    save_tensors(folder / WEIGHTS, network.state_dict(), {"steps": recipe.steps})
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    low, high = reached.interval
    return {"value": reached.value, "low": low, "high": high, "images": reached.images}


def derived_network(space: Space, architecture: Architecture, seed: int, inherit: str | None) -> Classifier:
    """A fresh network, or one with the weights of the supernet stored at `inherit`."""
    supernet = space.network(seed)
    if inherit is not None:
        path = Path(inherit)
        tensors, _ = load_tensors(path)
        load_weights(supernet, tensors, path)
    return space.derive(supernet, architecture)


def trained_network(space: Space, architecture: Architecture, weights: Path) -> Classifier:
    """The network that a finished task left in `weights`."""
    tensors, _ = load_tensors(weights)
    network = space.derive(space.network(seed=0), architecture)
    load_weights(network, tensors, weights)
    return network.eval()


def recipe_for(images: int, epochs: int, batch_size: int, learning_rate: float, flip: bool) -> Recipe:
    """The recipe of final trainings."""
    steps = epochs * max(images // batch_size, 1)
    return Recipe(steps, batch_size, learning_rate, label_smoothing=0.1, flip=flip)
