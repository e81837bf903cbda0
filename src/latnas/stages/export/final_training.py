"""The training of a network that ships, and its ONNX file, as one task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from latnas.data.batches import channel_statistics, to_unit
from latnas.data.images import ImageData
from latnas.data.sources import images_of_task
from latnas.spaces.space import Classifier, Space, make_space
from latnas.stages.export.onnx_file import check_against_torch, export_onnx
from latnas.training.auxiliary import HasAuxiliaryPoint, WithAuxiliary, auxiliary_loss
from latnas.training.checkpoint import load_tensors, load_weights, save_tensors
from latnas.training.evaluate import accuracy
from latnas.training.trainer import Recipe, Trainer, training_seed
from latnas.words.architecture import Architecture
from latnas.words.files import write_atomically

WEIGHTS = "weights.safetensors"
ONNX = "model.onnx"
CHECKPOINT = "checkpoint.safetensors"
CHECKED_IMAGES = 500
LONG_TRAINING = 30


def final_training_task(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Trains one architecture on all training images, looks at the test images once, and exports it.

    All splits of the training images are used: nothing is selected on them any more.

    Returns:
        `accuracy` with its interval, the `check` of the ONNX file in `folder` against PyTorch, and its `sha256`.
    """
    data = images_of_task(config["data"])
    space = make_space(config["space"], **config["options"])
    architecture = Architecture.from_json(config["architecture"])
    seed = training_seed(config["seed"], "final", architecture.key)
    network = derived_network(space, architecture, seed, config["inherit"])
    network.normalise.set_statistics(*channel_statistics(data.train.images))
    recipe = Recipe(**config["recipe"])
    _train(network, data, recipe, seed, folder / CHECKPOINT)
    reached = accuracy(network, data.test)
    low, high = reached.interval
    save_tensors(folder / WEIGHTS, network.state_dict(), {"steps": recipe.steps})

    images = to_unit(data.test.images[:CHECKED_IMAGES])
    file = export_onnx(network, images[:1], config["metadata"])
    check = check_against_torch(file, network, images)
    write_atomically(folder / ONNX, file)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return {
        "accuracy": {"value": reached.value, "low": low, "high": high},
        "test_images": reached.images,
        "check": check.model_dump(),
        "sha256": hashlib.sha256(file).hexdigest(),
    }


def _train(network: Classifier, data: ImageData, recipe: Recipe, seed: int, checkpoint: Path) -> None:
    if not recipe.auxiliary:
        Trainer(network, data.train, recipe, seed).run(checkpoint=checkpoint, every=50)
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training_seed(seed, "auxiliary"))
        inner, channels = cast(HasAuxiliaryPoint, network.body).auxiliary_point()
        both = WithAuxiliary(network, inner, channels, len(data.classes))
    Trainer(both, data.train, recipe, seed, loss=auxiliary_loss).run(checkpoint=checkpoint, every=50)
    both.plain().eval()


def derived_network(space: Space, architecture: Architecture, seed: int, inherit: str | None) -> Classifier:
    """A fresh network, or one with the weights of the supernet stored at `inherit`."""
    supernet = space.network(seed)
    if inherit is not None:
        path = Path(inherit)
        tensors, _ = load_tensors(path)
        load_weights(supernet, tensors, path)
    return space.derive(supernet, architecture)


def recipe_for(data: ImageData, epochs: int, batch_size: int, learning_rate: float, auxiliary: float = 0.0) -> Recipe:
    """The recipe of final trainings.

    Random crops and label smoothing only from 30 epochs on: networks that see each image a few times have not learnt
    it by heart, and regularisation then costs accuracy (4,000 images, 6 epochs, one network: .868 without, .822 with).
    """
    steps = epochs * max(len(data.train) // batch_size, 1)
    long = epochs >= LONG_TRAINING
    return Recipe(
        steps,
        batch_size,
        learning_rate,
        label_smoothing=0.1 if long else 0.0,
        pad=None if long else 0,
        flip=data.mirrors,
        auxiliary=auxiliary,
    )
