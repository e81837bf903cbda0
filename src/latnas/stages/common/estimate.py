"""How long the stages will take on this machine, from a few timed steps."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from latnas.data.images import ImageData, LabelledImages
from latnas.data.randomness import generator
from latnas.data.splits import FRACTIONS
from latnas.ranking.features import Reduction, features_of, resized
from latnas.ranking.short_training import MOST_EVALUATED
from latnas.spaces.solving import random_within
from latnas.spaces.space import Space
from latnas.stages.common.options import SearchOptions
from latnas.training.devices import wait_for
from latnas.training.trainer import Recipe, Trainer
from latnas.words.architecture import Architecture
from latnas.words.costs import params_cost

STEPS = 3
BATCH_SIZE = 64
SAMPLE = 5

SECONDS_PER_FILE = 7
"""What the exporter that PyTorch maintains takes for one network."""

STARTING_SECONDS = 2.0
SECONDS_PER_OPERATION = 0.02
SECONDS_PER_NETWORK = 0.3
"""What the exporter that serves measuring takes."""

FIRST_POOL_SECONDS = 3
POOL_SECONDS = 1
"""Processes have started and read the images; those of the first pool wait for PyTorch's import."""

HYPERNETWORK_STEP_SECONDS = 0.06
MEASURING_SECONDS = 10

FORWARD = 1 / 3
"""What a network's output costs of a training step."""

TEACHING = 0.5
"""What the teacher adds to a step of a network that learns from it: of three spaces 1.2 to 1.8 plain steps in all."""

PACKING_SECONDS = 1.0
INT8_SECONDS, INT8_TESTS = 1.0, 2
"""What int8 adds to packing a network, beside its accuracy on the test images, and before and after on others."""

STEPS_WORTH_TIMING = 5000
"""A stage of fewer steps than these is over within minutes: nothing has to be said of it first."""

BESIDE_ONE_ANOTHER = 0.4
"""What each process more adds to the speed of one: two cores share caches and memory."""


@dataclass(frozen=True)
class StepSeconds:
    """Seconds on one thread for a network of middling size.

    Attributes:
        full: of a training step.
        reduced: of a training step of a reduced copy.
        features: of a set of features.
        evaluation: of a reduced copy's accuracy, after a short or long training.
    """

    full: float
    reduced: float
    features: float
    evaluation: float


@dataclass(frozen=True)
class SearchSeconds:
    """What a search spends, by what it spends it on."""

    features: float
    trainings: float
    supernet: float
    hypernetwork: float
    starting: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.features + self.trainings + self.supernet + self.hypernetwork + self.starting


def profile_seconds(operations: int, networks: int, measuring_seconds: float) -> float:
    """Preparing what is measured, and measuring it; more than this only for networks that are slow to export."""
    preparing = STARTING_SECONDS + operations * SECONDS_PER_OPERATION + networks * SECONDS_PER_NETWORK
    return preparing + measuring_seconds


def search_seconds(sizes: SearchOptions, each: StepSeconds, workers: int) -> SearchSeconds:
    """A whole search, nothing of which exists yet."""
    proposals = sizes.rounds * sizes.draws * max(2 * sizes.budgets - 1, 5)
    speed = speed_of(workers)
    trained = sum(networks for networks, _ in sizes.lengths) + sizes.long_trainings
    return SearchSeconds(
        features=(sizes.pool + proposals) * each.features / speed,
        trainings=(sizes.all_training_steps * each.reduced + trained * each.evaluation) / speed,
        supernet=sizes.warmup_steps * each.full / speed + sizes.joint_steps * each.full,
        hypernetwork=sizes.rounds * sizes.hypernetwork_steps * HYPERNETWORK_STEP_SECONDS,
        starting=FIRST_POOL_SECONDS,
    )


def trainings_within(seconds: float, steps: int, each: StepSeconds, workers: int) -> int:
    """How many short trainings of so many steps take about so long; at least one."""
    return max(int(seconds * speed_of(workers) / (steps * each.reduced + each.evaluation)), 1)


@dataclass(frozen=True)
class ExportSizes:
    """What an export makes.

    Attributes:
        networks: distinct ones.
        epochs: of each training.
        images: that it trains on.
        tested: images that accuracy is measured on.
        seeds: from each of which every network is trained.
        distill: whether all others learn from one of the networks, which is trained before them.
        int8: whether files are quantised.
    """

    networks: int
    epochs: int
    images: int
    tested: int
    seeds: int = 1
    distill: bool = False
    int8: bool = False


def export_seconds(sizes: ExportSizes, each: StepSeconds, workers: int) -> float:
    """Measuring finalists; training, exporting and packing all networks; measuring the files."""
    networks, seeds = sizes.networks, sizes.seeds
    steps = sizes.epochs * max(sizes.images // BATCH_SIZE, 1)
    testing = sizes.tested * each.full * FORWARD / BATCH_SIZE
    alone = steps * each.full + testing + SECONDS_PER_FILE
    packing = PACKING_SECONDS + (INT8_SECONDS + INT8_TESTS * testing if sizes.int8 else 0.0)
    seconds = MEASURING_SECONDS + 2 * FIRST_POOL_SECONDS + _beside(networks, packing, workers)
    if not sizes.distill or networks < 2:
        return seconds + _beside(networks * seeds, alone, workers)
    taught = alone + TEACHING * steps * each.full
    teachers = POOL_SECONDS + _beside(seeds, alone, workers)
    return seconds + teachers + _beside((networks - 1) * seeds, taught, workers)


def _beside(tasks: int, seconds: float, workers: int) -> float:
    """Tasks of so many seconds each, in no more processes than there are tasks."""
    return tasks * seconds / speed_of(min(workers, tasks))


def speed_of(workers: int) -> float:
    """How much faster independent trainings are in so many processes than in one."""
    return 1.0 + BESIDE_ONE_ANOTHER * (max(min(workers, os.cpu_count() or 1), 1) - 1)


def time_steps(
    space: Space, data: ImageData, reduction: Reduction, batch_size: int = BATCH_SIZE, train_on: str = "cpu"
) -> StepSeconds:
    """Times a few steps of random networks within the space's limits; takes some seconds itself.

    Args:
        train_on: where trainings will run; features are computed on the CPU.
    """
    random, size = generator(0, "estimate"), params_cost(space.trace)
    sample = [random_within(space, size, math.inf, random, draws=100) for _ in range(SAMPLE)]
    small = space.reduced(reduction.width, reduction.image_size)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        full = _seconds_of_step(space, sample[:3], data, batch_size, train_on)
        reduced = _seconds_of_step(small, sample[:3], data, batch_size, train_on)
        images = data.train.images[:64]
        features = _seconds(lambda: features_of(sample, space, reduction, images, 0)) / SAMPLE
    finally:
        torch.set_num_threads(threads)
    evaluated = min(data.validation // 2 or FRACTIONS[-1] * len(data.train), MOST_EVALUATED)
    return StepSeconds(full, reduced, features, evaluated / batch_size * FORWARD * reduced)


def _seconds_of_step(
    space: Space, architectures: Sequence[Architecture], data: ImageData, batch_size: int, train_on: str
) -> float:
    images = LabelledImages(
        resized(data.train.images[:batch_size], space.options.image_size), data.train.labels[:batch_size]
    )
    seconds = 0.0
    for architecture in architectures:
        network = space.derive(space.network(0), architecture)
        trainer = Trainer(network, images, Recipe(STEPS + 1, batch_size), 0, train_on)
        trainer.step()
        wait_for(train_on)
        seconds += _seconds(trainer.run, train_on) / STEPS
    return seconds / len(architectures)


def _seconds(work: Callable[[], object], device: str = "cpu") -> float:
    began = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - began
