"""Shared weights: uniform paths, and a warm-up that the joint phase goes on from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from latnas.data.sources import load_images
from latnas.data.splits import make_splits
from latnas.hypernet.supernet import CHECKPOINT, network_of, supernet_trainer, uniform_paths, warm_up_task
from latnas.spaces.choice import selecting
from latnas.spaces.space import make_space
from latnas.training.trainer import Recipe

SPACE = make_space("mbconv", image_size=8, channels=1, classes=10, width=2, depth=1)
RECIPE = Recipe(8, 16, flip=False)


def test_paths_are_a_function_of_seed_and_step() -> None:
    first = [uniform_paths(SPACE, 0, step) for step in range(20)]
    assert [uniform_paths(SPACE, 0, step) for step in reversed(range(20))] == first[::-1]
    assert [uniform_paths(SPACE, 1, step) for step in range(20)] != first


def test_paths_are_uniform_over_the_items_of_a_decision() -> None:
    decision = SPACE.decisions[0]
    drawn = [path[decision.name] for step in range(2000) for path in uniform_paths(SPACE, 0, step)]
    counts = np.array([drawn.count(item.parts) for item in decision.items])
    assert counts.sum() == len(drawn) and stats.chisquare(counts).pvalue > 1e-3


def test_paths_of_a_space_with_invalid_architectures_all_reach_the_output() -> None:
    space = make_space("nasbench201", image_size=8, channels=1, classes=10, width=2, depth=1)
    network = space.network(0).eval()
    for step in range(40):
        for path in uniform_paths(space, 0, step):
            with torch.no_grad(), selecting(path):
                assert network(space.example()).shape == (1, 10)


def test_the_warm_up_leaves_a_checkpoint_that_the_joint_phase_goes_on_from_bit_for_bit(tmp_path: Path) -> None:
    config = {
        "data": "digits", "space": "mbconv", "options": vars(SPACE.options).copy(), "seed": 3,
        "recipe": asdict(RECIPE), "until": 5, "train_on": "cpu",
    }  # fmt: skip
    assert warm_up_task(config, tmp_path) == {"steps": 5}
    data = load_images("digits")
    joint, unbroken = (supernet_trainer(SPACE, data, RECIPE, seed=3) for _ in range(2))
    joint.load(tmp_path / CHECKPOINT)
    assert joint.done == 5
    for trainer in (joint, unbroken):
        trainer.run(lambda step: uniform_paths(SPACE, 3, step))
    wanted = unbroken.tensors()
    assert all(value.equal(wanted[name]) for name, value in joint.tensors().items())


def test_the_supernet_normalises_by_the_images_that_it_is_trained_on() -> None:
    data = load_images("digits")
    normalise = network_of(supernet_trainer(SPACE, data, RECIPE, seed=0)).normalise
    unit = data.train.images[make_splits(data.train.labels, 0).train].double() / 255
    normalised = normalise(unit.float()).double()
    assert abs(float(normalised.mean())) < 1e-4 and abs(float(normalised.std()) - 1) < 1e-3
