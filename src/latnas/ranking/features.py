"""Features of architectures, computed on a reduced copy of the network: narrower, smaller images, every layer kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from latnas.data.batches import channel_statistics, to_unit
from latnas.data.images import Images
from latnas.data.lazy import LazyImages
from latnas.data.randomness import generator
from latnas.data.sources import images_of_task
from latnas.errors import LatnasError
from latnas.ranking.proxies import counting_relus, initialise, jacov, synflow
from latnas.spaces.space import Space, make_space
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost, params_cost

FEATURES = ("jacov", "synflow", "naswot", "log_params", "log_macs")
"""What is computed of every architecture. How much each counts is found out for each space."""

SIZES = ("log_params", "log_macs")
"""Those that are counted; all others are computed of a network's outputs and gradients."""

PROXY_BATCH = 64

RESIZED_TOGETHER = 64
"""Images that are floats at a time: floats of a whole training set would take four times its bytes."""


@dataclass(frozen=True)
class Reduction:
    """How much narrower and smaller the copies are on which architectures are ranked."""

    width: int = 8
    image_size: int = 16


@overload
def resized(images: Tensor, size: int) -> Tensor: ...
@overload
def resized(images: Images, size: int) -> Images: ...
def resized(images: Images, size: int) -> Images:
    """uint8 images [N, C, H, W] at another size, by area averaging downwards and bilinear interpolation upwards.

    What is not in memory is resized after it is decoded.
    """
    if images.shape[-1] == size:
        return images
    if isinstance(images, LazyImages):
        return images.then(lambda batch: resized(batch, size), (images.shape[1], size, size))
    assert isinstance(images, Tensor)
    mode = "area" if size < images.shape[-1] else "bilinear"
    result = images.new_empty((*images.shape[:2], size, size))
    for few, into in zip(images.split(RESIZED_TOGETHER), result.split(RESIZED_TOGETHER), strict=True):
        into.copy_(torch.nn.functional.interpolate(few.float(), (size, size), mode=mode).round_().clamp_(0, 255))
    return result


def features_of(
    architectures: Sequence[Architecture], space: Space, reduction: Reduction, images: Tensor, seed: int
) -> list[dict[str, float]]:
    """The features of each architecture.

    Args:
        architectures: canonical ones of `space`.
        space: the real space; parameters and multiply-adds are those of the real network.
        images: uint8 [B, C, H, W], of any size.
        seed: of the one initialisation, the same for all architectures.

    Raises:
        LatnasError: a network is so deep or wide that its zero-cost proxies overflow.
    """
    small = space.reduced(reduction.width, reduction.image_size)
    batch = to_unit(resized(images, small.options.image_size))
    supernet = small.network(seed)
    supernet.normalise.set_statistics(*channel_statistics(images))
    params, macs = params_cost(space.trace), macs_cost(space.trace)
    shape = (small.options.channels, small.options.image_size, small.options.image_size)
    found = []
    for architecture in architectures:
        network = small.derive(supernet, architecture)
        initialise(network, generator(seed, "proxy"))
        with counting_relus(network, len(batch)) as counts:  # what jacov computes serves both
            response = jacov(network, batch)
        features = {
            "jacov": response,
            "synflow": synflow(network, shape),
            "naswot": counts.naswot,
            "log_params": math.log(params.cost(architecture)),
            "log_macs": math.log(macs.cost(architecture)),
        }
        if not all(math.isfinite(value) for value in features.values()):
            raise LatnasError(
                f"the zero-cost proxies of architecture {architecture} overflow ({features}). "
                "Use a space of fewer layers: latnas profile --depth N"
            )
        found.append(features)
    return found


def features_task(config: Mapping[str, Any], folder: Path) -> list[dict[str, float]]:
    """`features_of` as a task: everything it needs is named in `config`."""
    data = images_of_task(config["data"])
    space = _kept_space(config["space"], **config["options"])
    architectures = [Architecture.from_json(value) for value in config["architectures"]]
    images = data.train.images[torch.tensor(config["images"])]
    return features_of(architectures, space, Reduction(**config["reduction"]), images, config["seed"])


@lru_cache(maxsize=2)
def _kept_space(name: str, **options: int) -> Space:
    """Tracing a deep space takes as long as the features of ten of its networks, and a search has hundreds of tasks."""
    return make_space(name, **options)
