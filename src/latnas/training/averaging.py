"""Averages of weights over the steps of a training, and statistics for weights that were not trained as they are.

Averages: Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; here exponential ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from latnas.data.batches import batch_indices, to_unit
from latnas.data.images import Images
from latnas.data.randomness import seed_of
from latnas.training.devices import device_of

MOST_IMAGES = 10_240
BATCH = 256

Params = tuple[Tensor, ...] | list[Tensor]


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of the network that `update_parameters` makes the exponential average of its weights.

    After t steps min(decay, (1 + t) / (10 + t)) of the average stays: that of a short training, too, has forgotten the
    weights that it began with. Statistics of batch normalisation are the last ones: see `recalibrate`.
    """
    return AveragedModel(network, multi_avg_fn=_take_in(decay))


def _take_in(decay: float) -> Callable[[Params, Params, Tensor | int], None]:
    def update(average: Params, current: Params, taken: Tensor | int) -> None:
        steps = int(taken)
        get_ema_multi_avg_fn(min(decay, (1 + steps) / (10 + steps)))(average, current, taken)

    return update


def recalibrate(network: nn.Module, images: Images, seed: int) -> None:
    """Gives batch normalisation the mean statistics of full batches of images as they are, without augmentation.

    Args:
        network: left in evaluation mode; its weights stay.
        images: training images, of which at most 10,240 are looked at.
        seed: which of them, and in which batches.
    """
    own, size, device = seed_of(seed, "recalibration"), min(BATCH, len(images)), device_of(network)
    pool = torch.arange(len(images))

    def batches() -> Iterator[Tensor]:
        for step in range(min(MOST_IMAGES, len(images)) // size):
            yield to_unit(images[batch_indices(pool, size, own, step)].to(device))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(own)  # for what draws in training mode, as dropout does
        update_bn(batches(), network)
    network.eval()
