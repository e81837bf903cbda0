"""Trainings of a few milliseconds a step. Run as a program, it waits in the middle to be killed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import nn

from latnas.data.images import LabelledImages
from latnas.data.randomness import generator
from latnas.data.sources import load_images
from latnas.spaces.choice import Selection, path_of
from latnas.spaces.space import Space, make_space
from latnas.training import trainer as trainer_module
from latnas.training.trainer import Paths, Recipe, Trainer

STEPS = 14
EVERY = 2
SEED = 5
KINDS = ("network", "supernet")
RATE = 0.01
SIMPLE = Recipe(100, 16, RATE, warmup_steps=0, weight_decay=0.0, clip_norm=1e9, flip=False)
NESTEROV = 1.9
"""The first step of SGD with Nesterov momentum 0.9 moves by 1.9 times the gradient."""


@cache
def digits() -> LabelledImages:
    return load_images("digits").train


@cache
def small_space() -> Space:
    return make_space("mbconv", image_size=8, channels=1, classes=10, width=2, depth=1)


def small_network(seed: int = 0, width: int = 3) -> nn.Module:
    """Everything that a resume could forget: momentum, running averages, and dropout's draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.AvgPool2d(3), nn.Flatten(),
            nn.Dropout(0.2), nn.Linear(4 * width, 10),
        )  # fmt: skip


def two_paths(step: int) -> Sequence[Selection]:
    random, space = generator(SEED, "two paths", step), small_space()
    return [path_of(space.random(random), space.decisions) for _ in range(2)]


def training(kind: str) -> tuple[Trainer, Paths | None]:
    recipe = Recipe(STEPS, batch_size=16, flip=False)
    if kind == "network":
        return Trainer(small_network(), digits(), recipe, SEED), None
    return Trainer(small_space().network(SEED), digits(), recipe, SEED), two_paths


if __name__ == "__main__":
    trainer_module.tell_share = lambda _: time.sleep(0.03)
    trainings = {kind: training(kind) for kind in KINDS}
    for step in (EVERY, 2 * EVERY):
        for kind, (trainer, paths) in trainings.items():
            trainer.run(paths, Path(sys.argv[1]) / kind, until=step)
    time.sleep(60)  # by then it has been killed
