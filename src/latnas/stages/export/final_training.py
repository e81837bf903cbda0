"""The training of a network that ships, and its ONNX file, as one task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from latnas.data.batches import channel_statistics, to_unit
from latnas.data.images import ImageData, LabelledImages
from latnas.data.sources import images_of_task
from latnas.data.splits import splits_of
from latnas.latency.onnx_export import check_fits_one_file
from latnas.spaces.space import Classifier, Space, make_space
from latnas.stages.common.inherited import supernet_weights
from latnas.stages.export.onnx_file import check_against_torch, export_onnx
from latnas.training.auxiliary import HasAuxiliaryPoint, WithAuxiliary, auxiliary_loss
from latnas.training.averaging import recalibrate
from latnas.training.checkpoint import load_tensors, load_weights, save_tensors
from latnas.training.distillation import distilled_loss
from latnas.training.evaluate import accuracy
from latnas.training.patience import BEST, HISTORY, Patience, train_patiently
from latnas.training.trainer import Loss, Recipe, Trainer, plain_loss, training_seed
from latnas.words.architecture import Architecture
from latnas.words.files import write_atomically

WEIGHTS = "weights.safetensors"
ONNX = "model.onnx"
CHECKPOINT = "checkpoint.safetensors"
CHECKPOINTS = (CHECKPOINT, HISTORY, BEST)  # deleted in this order: what a kill leaves of them can be gone on from
EVERY = 50
CHECKED_IMAGES = 500
LONG_TRAINING = 30
ADVICE = "Try a lower --learning-rate, or another --seed."


def final_training_task(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Trains one architecture, looks at the test images once, and exports it.

    All training images are used: nothing is selected on them any more. With `patience`, the split `select` tells when
    to stop instead.

    Returns:
        `accuracy` with its interval, the `check` of the ONNX file in `folder` against PyTorch, its `sha256`, and the
        epochs that it `stopped_after` if that was early.
    """
    data = images_of_task(config["data"])
    space = make_space(config["space"], **config["options"])
    architecture = Architecture.from_json(config["architecture"])
    seed = training_seed(config["seed"], "final", architecture.key)
    network = derived_network(space, architecture, seed, config["inherit"])
    check_fits_one_file(network)
    network.normalise.set_statistics(*channel_statistics(data.train.images))
    recipe = Recipe(**config["recipe"])
    trained_on, held_out = divided(data, config["split_seed"], config["patience"])
    patience = None
    if config["patience"]:
        epoch = steps_of_epoch(len(trained_on), recipe.batch_size)
        patience = Patience(config["patience"], epoch, data.train.take(held_out))
    teacher = None if config["teacher"] is None else teacher_of(config["teacher"], space)
    images = data.train if patience is None else data.train.take(trained_on)
    stopped_after = fit(network, images, recipe, seed, folder, teacher, patience, config["train_on"])
    reached = accuracy(network, data.test)
    low, high = reached.interval
    save_tensors(folder / WEIGHTS, network.state_dict(), {"steps": recipe.steps})

    images_checked = to_unit(data.test.images[:CHECKED_IMAGES])
    file = export_onnx(network, images_checked[:1], config["metadata"])
    check = check_against_torch(file, network, images_checked)
    write_atomically(folder / ONNX, file)
    return {
        "accuracy": {"value": reached.value, "low": low, "high": high},
        "test_images": reached.images,
        "check": check.model_dump(),
        "sha256": hashlib.sha256(file).hexdigest(),
        "stopped_after": stopped_after,
    }


def fit(
    network: Classifier,
    images: LabelledImages,
    recipe: Recipe,
    seed: int,
    folder: Path,
    teacher: Classifier | None = None,
    patience: Patience | None = None,
    train_on: str = "cpu",
) -> int | None:
    """Trains a network in place, from the checkpoint in `folder` on if there is one, and leaves it as it is to be used.

    That is on the CPU, with the average of its weights if the recipe takes one, and with statistics of batch
    normalisation that are those of its weights.

    Args:
        teacher: whose logits count in the loss, by `recipe.distill`.
        patience: when to stop early.
        train_on: the device.

    Returns:
        the epochs that were trained if it was stopped early.
    """
    own_loss = plain_loss if teacher is None else distilled_loss(teacher.to(train_on))
    whole: nn.Module = network
    loss: Loss = own_loss
    if recipe.auxiliary:
        whole, loss = _with_auxiliary(network, seed, int(images.labels.max()) + 1), auxiliary_loss(own_loss)
    trainer = Trainer(whole, images, recipe, seed, train_on, loss, ADVICE)
    finish = partial(recalibrate, images=images.images, seed=seed) if is_recalibrated(recipe) else None
    stopped_after = None
    if patience is None:
        trainer.run(checkpoint=folder / CHECKPOINT, every=EVERY)
        whole.load_state_dict(trainer.averaged.state_dict())
    else:
        epochs = train_patiently(trainer, patience, folder / CHECKPOINT, EVERY, finish)
        stopped_after = epochs if epochs * patience.steps < recipe.steps else None
    if isinstance(whole, WithAuxiliary):
        whole.plain()
    if finish is not None:
        finish(network)
    network.cpu().eval()
    return stopped_after


def is_recalibrated(recipe: Recipe) -> bool:
    """Whether the last step's statistics of batch normalisation are not those of the weights that are used.

    They are not those of an average; and those of a supernet are of many paths.
    """
    return recipe.ema > 0 or recipe.steps == 0


def _with_auxiliary(network: Classifier, seed: int, classes: int) -> WithAuxiliary:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training_seed(seed, "auxiliary"))
        inner, channels = cast(HasAuxiliaryPoint, network.body).auxiliary_point()
        return WithAuxiliary(network, inner, channels, classes)


def derived_network(space: Space, architecture: Architecture, seed: int, inherit: str | None) -> Classifier:
    """A fresh network, or one with the weights of the supernet stored at `inherit`."""
    supernet = space.network(seed)
    if inherit is not None:
        path = Path(inherit)
        load_weights(supernet, supernet_weights(path)[0], path)
    return space.derive(supernet, architecture)


def teacher_of(teacher: Mapping[str, Any], space: Space) -> Classifier:
    """A network that was trained before: its `architecture`, and the path of its `weights`."""
    network = space.derive(space.network(seed=0), Architecture.from_json(teacher["architecture"]))
    path = Path(teacher["weights"])
    load_weights(network, load_tensors(path)[0], path)
    return network


def divided(data: ImageData, seed: int, patience: int) -> tuple[Tensor, Tensor]:
    """The training images to train on, and those to hold out: with patience the split `select`, else none."""
    if not patience:
        return torch.arange(len(data.train)), torch.arange(0)
    splits = splits_of(data, seed)
    return torch.cat([splits.train, splits.search]), splits.select


def steps_of_epoch(images: int, batch_size: int) -> int:
    """Steps that see so many images about once."""
    return max(images // batch_size, 1)


def recipe_for(data: ImageData, images: int, epochs: int, batch_size: int, learning_rate: float) -> Recipe:
    """The recipe of final trainings on so many images.

    Random crops and label smoothing only from 30 epochs on: networks that see each image a few times have not learnt
    it by heart, and regularisation then costs accuracy (4,000 images, 6 epochs, one network: .868 without, .822 with).
    """
    long = epochs >= LONG_TRAINING
    return Recipe(
        epochs * steps_of_epoch(images, batch_size),
        batch_size,
        learning_rate,
        label_smoothing=0.1 if long else 0.0,
        pad=None if long else 0,
        flip=data.mirrors,
    )
