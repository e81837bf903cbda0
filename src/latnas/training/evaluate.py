"""Accuracy, with the interval that its number of images allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor, nn

from latnas.data.batches import evaluation_batches, to_unit
from latnas.data.images import Images, LabelledImages
from latnas.training.devices import device_of

BATCH = 256


@dataclass(frozen=True)
class Accuracy:
    """Share of correct images, with its 95 percent Clopper-Pearson interval."""

    correct: int
    images: int

    @property
    def value(self) -> float:
        """In [0, 1]."""
        return self.correct / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end."""
        exact = stats.binomtest(self.correct, self.images).proportion_ci(0.95, method="exact")
        return float(exact.low), float(exact.high)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 percent interval of the mean of two or more repetitions, by Student's t."""
    count = len(values)
    mean = sum(values) / count
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    half = float(stats.t.ppf(0.975, count - 1)) * (variance / count) ** 0.5
    return mean - half, mean + half


def accuracy(network: nn.Module, data: LabelledImages) -> Accuracy:
    """Accuracy of a network as it will be used: in evaluation mode."""
    network.eval()
    return Accuracy(int((predictions(network, data.images) == data.labels).sum()), len(data))


def predictions(network: nn.Module, images: Images) -> Tensor:
    """The likeliest class of each image: int64 [N], on the CPU wherever the network is."""
    device = device_of(network)
    with torch.inference_mode():
        outputs = [network(to_unit(batch.to(device))).argmax(1).cpu() for batch in evaluation_batches(images, BATCH)]
    return torch.cat(outputs)


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Within this block batch normalisation uses the statistics of the batch and forgets them.

    Running averages of a supernet mix the statistics of many paths; one-shot losses are better without them.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(module.training, module.track_running_stats) for module in norms]
    for module in norms:
        module.training, module.track_running_stats = True, False
    try:
        yield
    finally:
        for module, (training, track) in zip(norms, before, strict=True):
            module.training, module.track_running_stats = training, track
