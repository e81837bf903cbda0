"""Features: sizes are those of the real network, the rest of a reduced copy; each architecture stands alone."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latnas.data.randomness import generator
from latnas.data.sources import load_images
from latnas.errors import LatnasError
from latnas.ranking.features import FEATURES, RESIZED_TOGETHER, Reduction, features_of, features_task, resized
from latnas.spaces.choice import Choice
from latnas.spaces.space import Space, SpaceOptions, make_space
from latnas.spaces.tracing import count_macs

REDUCTION = Reduction(width=2, image_size=8)
IMAGES = load_images("digits").train.images[:16]


def space_called(name: str) -> Space:
    return make_space(name, image_size=16, channels=1, classes=10, width=4, depth=1)


@pytest.mark.parametrize("name", ["nasbench201", "mbconv"])
def test_parameters_and_multiply_adds_are_those_of_the_real_network(name: str) -> None:
    space = space_called(name)
    architectures = [space.random(generator(index)) for index in range(2)]
    for architecture, features in zip(
        architectures, features_of(architectures, space, REDUCTION, IMAGES, seed=0), strict=True
    ):
        real = space.derive(space.network(0), architecture)
        assert math.exp(features["log_params"]) == pytest.approx(sum(p.numel() for p in real.parameters()))
        assert math.exp(features["log_macs"]) == pytest.approx(count_macs(real, (space.example(),)))
        assert set(features) == set(FEATURES) and all(math.isfinite(value) for value in features.values())


def test_neither_chunks_nor_order_nor_what_was_drawn_before_change_a_feature() -> None:
    space = space_called("mbconv")
    architectures = [space.random(generator(index)) for index in range(3)]
    together = features_of(architectures, space, REDUCTION, IMAGES, seed=0)
    torch.rand(3)
    alone = [features_of([architecture], space, REDUCTION, IMAGES, seed=0)[0] for architecture in architectures[::-1]]
    assert alone[::-1] == together
    assert features_of(architectures[:1], space, REDUCTION, IMAGES, seed=1)[0]["jacov"] != together[0]["jacov"]


def test_proxies_are_those_of_the_reduced_copy() -> None:
    space = space_called("mbconv")
    architecture = space.random(generator(0))
    (features,) = features_of([architecture], space, REDUCTION, IMAGES, seed=0)
    (same,) = features_of([architecture], space.reduced(2, 8), REDUCTION, IMAGES, seed=0)
    assert (features["jacov"], features["synflow"]) == (same["jacov"], same["synflow"])
    (wider,) = features_of([architecture], space, Reduction(4, 8), IMAGES, seed=0)
    assert wider["synflow"] != features["synflow"]
    assert (wider["log_params"], wider["log_macs"]) == (features["log_params"], features["log_macs"])


def test_the_task_gives_what_the_function_gives(tmp_path: Path) -> None:
    space = space_called("mbconv")
    architectures = [space.random(generator(index)) for index in range(2)]
    config = {
        "data": "digits", "space": "mbconv", "options": vars(space.options).copy(), "seed": 3,
        "reduction": asdict(REDUCTION), "images": [5, 1, 8, 2],
        "architectures": [architecture.to_json() for architecture in architectures],
    }  # fmt: skip
    images = load_images("digits").train.images[torch.tensor([5, 1, 8, 2])]
    assert features_task(config, tmp_path) == features_of(architectures, space, REDUCTION, images, seed=3)


class Exploding(nn.Module):
    def __init__(self, width: int, depth: int, image_size: int, channels: int, classes: int) -> None:
        super().__init__()
        kernels = {"one": nn.Conv2d(channels, classes, 3), "other": nn.Conv2d(channels, classes, 3, bias=False)}
        self.choice = Choice(kernels)

    def forward(self, x: Tensor) -> Tensor:
        return self.choice(x).mean((2, 3)) * 3e38 * 3e38


def test_a_network_whose_outputs_overflow_is_named() -> None:
    space = Space("exploding", Exploding, SpaceOptions(1, 1, 8, 1, 10))
    with pytest.raises(LatnasError, match=r"proxies of architecture (one|other) overflow.*fewer layers"):
        features_of([space.random(generator(0))], space, REDUCTION, IMAGES, seed=0)


def test_smaller_images_are_averages_of_areas() -> None:
    halved = resized(IMAGES, 4)
    means = IMAGES.float().reshape(16, 1, 4, 2, 4, 2).mean((3, 5))
    assert halved.dtype == torch.uint8 and halved.shape == (16, 1, 4, 4)
    assert halved.float().sub(means).abs().max() <= 0.5


def test_images_of_the_right_size_stay_and_larger_ones_keep_their_range() -> None:
    assert resized(IMAGES, 8).equal(IMAGES)
    larger = resized(IMAGES, 20)
    assert larger.dtype == torch.uint8 and larger.shape == (16, 1, 20, 20)
    assert larger.min() >= IMAGES.min() and larger.max() <= IMAGES.max()


@pytest.mark.parametrize("size", [3, 4, 5, 20])
def test_of_many_images_a_few_are_floats_at_a_time_and_each_is_what_it_is_alone(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = load_images("digits").train.images[: 3 * RESIZED_TOGETHER + 5]
    together = []
    interpolate = nn.functional.interpolate

    def counting(images: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        together.append(len(images))
        return interpolate(images, *args, **kwargs)

    monkeypatch.setattr(nn.functional, "interpolate", counting)
    found = resized(many, size)
    assert together == [RESIZED_TOGETHER] * 3 + [5]
    assert found.equal(torch.cat([resized(image, size) for image in many.split(1)]))
