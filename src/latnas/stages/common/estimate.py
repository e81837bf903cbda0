"""How long a search and an export will take on this machine, from a few timed steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from latnas.data.images import ImageData, LabelledImages
from latnas.data.randomness import generator
from latnas.ranking.features import Reduction, features_of, resized
from latnas.spaces.space import Space
from latnas.training.trainer import Recipe, Trainer
from latnas.words.architecture import Architecture

STEPS = 3
SAMPLE = 5


@dataclass(frozen=True)
class StepSeconds:
    """Seconds on one thread for a network of middling size: a training step, full and reduced; a set of features."""

    full: float
    reduced: float
    features: float


def time_steps(space: Space, data: ImageData, reduction: Reduction, batch_size: int = 64) -> StepSeconds:
    """Times a few steps; takes some seconds itself."""
    random = generator(0, "estimate")
    sample = [space.random(random) for _ in range(SAMPLE)]
    small = space.reduced(reduction.width, reduction.image_size)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        full = _seconds_of_step(space, sample[:3], data, batch_size)
        reduced = _seconds_of_step(small, sample[:3], data, batch_size)
        images = data.train.images[:64]
        features = _seconds(lambda: features_of(sample, space, reduction, images, 0)) / SAMPLE
    finally:
        torch.set_num_threads(threads)
    return StepSeconds(full, reduced, features)


def _seconds_of_step(space: Space, architectures: Sequence[Architecture], data: ImageData, batch_size: int) -> float:
    images = LabelledImages(
        resized(data.train.images[:batch_size], space.options.image_size), data.train.labels[:batch_size]
    )
    seconds = 0.0
    for architecture in architectures:
        trainer = Trainer(space.derive(space.network(0), architecture), images, Recipe(STEPS + 1, batch_size), 0)
        trainer.step()
        seconds += _seconds(trainer.run) / STEPS
    return seconds / len(architectures)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
