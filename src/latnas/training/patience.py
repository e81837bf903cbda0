"""Ending a training before its time: once held-out images have told of no progress for some epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from latnas.data.images import LabelledImages
from latnas.training.auxiliary import plain_network
from latnas.training.checkpoint import load_tensors, load_weights, save_tensors, step_in
from latnas.training.evaluate import accuracy
from latnas.training.trainer import Trainer
from latnas.words.files import write_json
from latnas.words.forms import read_as
from latnas.words.table import Share

BEST, HISTORY = "best.safetensors", "history.json"


@dataclass(frozen=True)
class Patience:
    """`epochs` of `steps` steps each without a higher accuracy on `held_out` are the last."""

    epochs: int
    steps: int
    held_out: LabelledImages


def train_patiently(
    trainer: Trainer,
    patience: Patience,
    checkpoint: Path,
    every: int,
    finish: Callable[[nn.Module], None] | None = None,
) -> int:
    """Trains until patience is over or the recipe is; the network then has the weights of its best epoch.

    Beside `checkpoint` two files say what was reached, so that a training that was killed goes on; where one of the
    three was deleted that the others need, it starts over. Where the recipe averages weights, it is their average that
    is measured and kept.

    Args:
        finish: what is done to an average before it ships, and so before it is measured: early averages with the
            statistics of other weights were right by chance alone (.10, and .49 with their own). It may change what is
            not trained, which the next step overwrites.

    Returns:
        the epochs that were trained.
    """
    history, best_weights = checkpoint.with_name(HISTORY), checkpoint.with_name(BEST)
    reached: list[float] = read_as(list[Share], history) if history.exists() else []
    if (reached and not best_weights.exists()) or _steps_in(checkpoint) > (len(reached) + 1) * patience.steps:
        for path in (checkpoint, history, best_weights):
            path.unlink(missing_ok=True)
        reached = []
    for epoch in range(trainer.recipe.steps // patience.steps):
        if epoch == len(reached):
            trainer.run(checkpoint=checkpoint, until=(epoch + 1) * patience.steps, every=every)
            network = plain_network(trainer.averaged)
            if finish is not None and trainer.averaged is not trainer.network:
                finish(network)
            value = accuracy(network, patience.held_out).value
            if value > max(reached, default=-1.0):
                save_tensors(best_weights, trainer.averaged.state_dict(), {"epoch": epoch + 1})
            reached.append(value)
            write_json(history, reached)
        known = reached[: epoch + 1]
        if epoch - known.index(max(known)) >= patience.epochs:
            break
    if reached:
        load_weights(trainer.network, load_tensors(best_weights)[0], best_weights)
    return len(reached)


def _steps_in(checkpoint: Path) -> int:
    """Steps that were done when it was written; none without one."""
    return step_in(load_tensors(checkpoint)[1], "step", checkpoint) if checkpoint.exists() else 0
