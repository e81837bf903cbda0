"""The one trainer: shared weights, short trainings and exported networks all go through it.

A step is a function of (seed, step): batch, augmentation, path and learning rate. So a training that was killed and
resumed from a checkpoint equals one that never stopped, bit for bit on CPU. What modules draw for themselves, as
dropout does, is a function of (seed, step) too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from latnas.data.batches import augment, batch_indices, to_unit
from latnas.data.images import LabelledImages
from latnas.data.lazy import Ahead
from latnas.data.randomness import generator, seed_of
from latnas.errors import LatnasError
from latnas.spaces.choice import Selection, selecting
from latnas.training.averaging import averaged
from latnas.training.checkpoint import load_tensors, load_weights, save_tensors, step_in
from latnas.training.interruption import undivided
from latnas.training.layout import layout_of
from latnas.training.tasks import tell_share

Paths = Callable[[int], Sequence[Selection]]
"""The paths of a supernet that step `step` trains."""


@dataclass(frozen=True)
class Recipe:
    """How to train: SGD with Nesterov momentum, linear warm-up, cosine to zero.

    Attributes:
        auxiliary: weight of a second classifier's loss: see `latnas.training.auxiliary`.
        ema: decay of the exponential average of weights; 0 for none.
        distill: share of the loss that is the distance to a teacher's logits, taken at `temperature`.
    """

    steps: int
    batch_size: int = 64
    learning_rate: float = 0.1
    warmup_steps: int = 50
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    clip_norm: float = 5.0
    pad: int | None = None
    flip: bool = True
    cutout: int = 0
    auxiliary: float = 0.0
    ema: float = 0.0
    distill: float = 0.0
    temperature: float = 4.0

    @property
    def recorded(self) -> dict[str, Any]:
        """All but what recipes have learnt since trainings were first kept and this one does not use: an identity."""
        kept = vars(self).items()
        return {name: value for name, value in kept if name not in LATER or value != getattr(Recipe, name)}

    @property
    def warmup(self) -> int:
        """The steps in which the rate rises: `warmup_steps`, or a fifth of a training that is short."""
        return min(self.warmup_steps, max(self.steps // 5, 1))

    def rate(self, step: int) -> float:
        """Learning rate of one step."""
        warmup = self.warmup
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(self.steps - warmup, 1)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


LATER = ("ema", "distill", "temperature")


def plain_loss(logits: Any, images: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    """Cross-entropy."""
    return functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)


Loss = Callable[[Any, Tensor, Tensor, Recipe], Tensor]
"""The loss of what a network gives, logits [N, K] for most, for images [N, C, H, W] with labels [N]."""


class Trainer:
    """A network, its optimiser and the number of steps done.

    Args:
        network: trained in place; a supernet if steps are given paths.
        data: the images that may be trained on.
        recipe: how.
        seed: the seed of every random draw of this training.
        device: where to train.
        loss: what is minimised.
        advice: what to try where it diverges.
        what: this training, where it is told of.
    """

    def __init__(
        self,
        network: nn.Module,
        data: LabelledImages,
        recipe: Recipe,
        seed: int,
        device: str = "cpu",
        loss: Loss = plain_loss,
        advice: str = "Try another seed.",
        what: str = "training",
    ) -> None:
        self._layout = layout_of(network, device)
        self.network: nn.Module = network.to(device, memory_format=self._layout)  # type: ignore[call-overload]
        self.recipe = recipe
        self.seed = seed
        self.device = device
        self.done = 0
        self._loss_of = loss
        self._advice = advice
        self._what = what
        self._data = data
        self._pool = torch.arange(len(data))
        # What is in memory is there at once; what is not is decoded while the step before it trains.
        self._chosen = self._choose if isinstance(data.images, Tensor) else Ahead(self._choose)
        self._optimizer = torch.optim.SGD(
            _decay_groups(network, recipe.weight_decay),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=True,
        )
        self._average = averaged(self.network, recipe.ema) if recipe.ema else None

    @property
    def averaged(self) -> nn.Module:
        """The network with its weights averaged over the steps; the very network where the recipe does not average."""
        return self.network if self._average is None else self._average.module

    def step(self, paths: Sequence[Selection] | None = None, drawn: str = "") -> float:
        """Trains one batch, along each of `paths` if there are any; returns the mean loss.

        Gradients are averaged part by part over the paths that used the part; unused parts keep `grad=None`, so that
        neither momentum nor weight decay moves them.

        Args:
            paths: of a supernet.
            drawn: how the paths were drawn, where one of them is told of.

        Raises:
            LatnasError: the loss or its gradient is not finite, or the device has no memory left.
        """
        images, labels = self.batch(self.done)
        self.network.train()
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.done)
        parameters = list(self.network.parameters())
        along: Sequence[Selection | None] = paths or [None]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.seed, "dropout", self.done))
            try:
                losses = [self._loss(images, labels, path, drawn) for path in along]
                loss = _sum_gradients(parameters, losses) / len(along)
            except torch.OutOfMemoryError as error:
                raise LatnasError(
                    f"{self.device} has no memory left for {self._what}: {str(error)[:200]} Type the same command to "
                    "go on, with fewer at once: --executor local:1; or begin anew with smaller images: --data X@32"
                ) from error
        norm = nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], self.recipe.clip_norm)
        if not norm.isfinite():  # clipped by it all weights would be lost
            raise self._diverged("norm of the gradient", norm, along[0] if len(along) == 1 else None, drawn)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update_parameters(self.network)
        self.done += 1
        return loss

    def run(
        self,
        paths: Paths | None = None,
        checkpoint: Path | None = None,
        *,
        until: int | None = None,
        every: int = 100,
    ) -> nn.Module:
        """All remaining steps (or those before `until`), from `checkpoint` on where that exists.

        The checkpoint is written every `every` steps, at the end, and when Ctrl-C or SIGTERM end the training.
        """
        end = self.recipe.steps if until is None else min(until, self.recipe.steps)
        if checkpoint is not None and checkpoint.exists():
            self.load(checkpoint)
        try:
            while self.done < end:
                with undivided():
                    self.step(paths(self.done) if paths is not None else None)
                tell_share(self.done / self.recipe.steps)
                if checkpoint is not None and (self.done % every == 0 or self.done == end):
                    self.save(checkpoint)
        except KeyboardInterrupt:
            if checkpoint is not None:
                self.save(checkpoint)
            raise
        return self.network.eval()

    def save(self, path: Path) -> None:
        """Writes a checkpoint."""
        with undivided():
            save_tensors(path, self.tensors(), self.state)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Augmented images in [0, 1] and labels of a step."""
        chosen, labels = self._chosen(step)
        random = generator(self.seed, "augment", step)
        recipe = self.recipe
        there = chosen.to(self.device)
        images = augment(there, random, pad=recipe.pad, flip=recipe.flip, cutout=recipe.cutout)
        pixels = to_unit(images).contiguous(memory_format=self._layout)
        return pixels, labels.to(self.device)

    def _choose(self, step: int) -> tuple[Tensor, Tensor]:
        return self._data.batch(batch_indices(self._pool, self.recipe.batch_size, self.seed, step))

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint says beside the tensors."""
        return {"step": self.done, "seed": self.seed}

    def tensors(self) -> dict[str, Tensor]:
        """Weights, their averages and momentum, by name."""
        found = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        if self._average is not None:
            found |= {f"average.{name}": value for name, value in self._average.state_dict().items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            if state.get("momentum_buffer") is not None:
                found[f"momentum.{index}"] = state["momentum_buffer"]
        return found

    def load(self, path: Path) -> None:
        """Continues from a checkpoint.

        Raises:
            LatnasError: it is no checkpoint, or that of another network or seed.
        """
        tensors, state = load_tensors(path)
        if state.get("seed") != self.seed:
            raise LatnasError(
                f"{path} belongs to a training with seed {state.get('seed')}, not {self.seed}. Name another run."
            )
        self.restore(tensors, state, path)

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any], path: Path) -> None:
        """The inverse of `tensors` and `state`; `path` is where they were read, for messages."""
        load_weights(self.network, _below("network.", tensors), path)
        if self._average is not None:
            load_weights(self._average, _below("average.", tensors), path)
        optimizer = self._optimizer.state_dict()
        optimizer["state"] = {
            int(index): {"momentum_buffer": value} for index, value in _below("momentum.", tensors).items()
        }
        self._optimizer.load_state_dict(optimizer)
        self.done = step_in(state, "step", path)

    def _loss(self, images: Tensor, labels: Tensor, path: Selection | None, drawn: str) -> Callable[[], Tensor]:
        def compute() -> Tensor:
            with selecting(path) if path is not None else nullcontext():
                loss = self._loss_of(self.network(images), images, labels, self.recipe)
            if not loss.isfinite():
                raise self._diverged("loss", loss.detach(), path, drawn)
            return loss

        return compute

    def _diverged(self, what: str, value: Tensor, path: Selection | None, drawn: str) -> LatnasError:
        where = _along(path) + (f", {drawn}" if drawn else "")
        return LatnasError(
            f"{self._what} diverged at step {self.done}: the {what} is {float(value)}{where}. {self._advice}"
        )


def training_seed(seed: int, *parts: str | int) -> int:
    """The seed of one named training of a run."""
    return seed_of(seed, "training", *parts)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _sum_gradients(parameters: list[nn.Parameter], losses: Sequence[Callable[[], Tensor]]) -> float:
    """Leaves in each parameter's grad the mean over the losses that reached it; returns the sum of the losses."""
    if len(losses) == 1:
        loss = losses[0]()
        loss.backward()
        return float(loss.detach())
    sums: list[Tensor | None] = [None] * len(parameters)
    used = [0] * len(parameters)
    result = 0.0
    for compute in losses:
        loss = compute()
        loss.backward()
        result += float(loss.detach())
        for index, parameter in enumerate(parameters):
            if parameter.grad is not None:
                known = sums[index]
                sums[index] = parameter.grad if known is None else known + parameter.grad
                used[index] += 1
                parameter.grad = None
    for parameter, gradient, count in zip(parameters, sums, used, strict=True):
        parameter.grad = None if gradient is None else gradient / count
    return result


def _decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only: on batch normalisation and biases it does nothing useful."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _along(path: Selection | None) -> str:
    if path is None:
        return ""
    parts = {name: "+".join(run) if isinstance(run, tuple) else "weighted parts" for name, run in path.items()}
    return " along the path " + ", ".join(f"{name}: {run}" for name, run in parts.items())
