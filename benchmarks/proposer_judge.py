"""The fixed judge of benchmarks/proposers.py: zero-cost features of real networks, remembered on disk.

A score is the mean of four standardised features: jacov and synflow of a narrow copy at initialisation, log parameters
and log multiply-adds of the real network. The copy runs as a path through one initialised supernet, so that no network
has to be built. Median and spread are those of `SAMPLE` random networks, the same for every method, seed and table.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latnas.data.batches import channel_statistics, to_unit
from latnas.data.images import ImageData
from latnas.data.randomness import generator
from latnas.ranking.features import resized
from latnas.ranking.proxies import initialise, jacov
from latnas.spaces.choice import Selection, path_of, selecting
from latnas.spaces.space import Space, make_space
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost, params_cost
from latnas.words.files import append_line, read_lines

SAMPLE = 200
CLIP = 6.0


@dataclass(frozen=True)
class Copy:
    """On what the features are computed: width, depth and side of the narrow copy, and how many images."""

    width: int
    depth: int
    image_size: int
    images: int


COPIES = {"mbconv": Copy(8, 3, 8, 32), "darts": Copy(4, 3, 8, 16)}
"""`mbconv` keeps its nine layers; `darts` has three cells, both kinds among them, instead of eight."""


class Judge:
    """Scores architectures of one space. `seconds` is the mean CPU time that one took when it was computed."""

    def __init__(self, space: Space, data: ImageData, folder: Path) -> None:
        self._space, self._path = space, folder / f"features-{space.name}.jsonl"
        copy, options = COPIES[space.name], space.options
        small = make_space(
            space.name, image_size=copy.image_size, channels=options.channels, classes=options.classes,
            width=copy.width, depth=copy.depth,
        )  # fmt: skip
        images = data.train.images[torch.arange(copy.images)]
        self._batch = to_unit(resized(images, copy.image_size))
        self._network = small.network(0)
        initialise(self._network, generator(0, "judge"))
        self._network.normalise.set_statistics(*channel_statistics(images))
        self._linear = small.network(0).double().eval()
        self._linear.load_state_dict(self._network.state_dict())
        _make_linear(self._linear)
        self._params, self._macs = params_cost(space.trace), macs_cost(space.trace)
        self._known: dict[str, tuple[float, float, float]] = {}
        if self._path.exists():
            self._known = {key: (one, other, took) for key, one, other, took in read_lines(self._path)}
        random = generator(0, "standard")
        matrix_NF = np.array([self._features(space.random(random)) for _ in range(SAMPLE)])
        self._centre_F = np.median(matrix_NF, axis=0)
        self._spread_F = (np.percentile(matrix_NF, 84, axis=0) - np.percentile(matrix_NF, 16, axis=0)) / 2

    def score(self, architecture: Architecture) -> float:
        """The mean of the standardised features of a canonical architecture."""
        standard_F = (self._features(architecture) - self._centre_F) / self._spread_F
        return float(np.clip(standard_F, -CLIP, CLIP).mean())

    @property
    def seconds(self) -> float:
        return float(np.mean([took for *_, took in self._known.values()]))

    def _features(self, architecture: Architecture) -> np.ndarray:
        if architecture.key not in self._known:
            start = time.process_time()
            path = path_of(architecture, self._space.decisions)
            with selecting(path):
                response = jacov(self._network, self._batch)
            flow = _synflow(self._linear, self._batch.shape[1:], path)
            entry = (response, flow, time.process_time() - start)
            self._known[architecture.key] = entry
            append_line(self._path, [architecture.key, *entry])
        response, flow, _ = self._known[architecture.key]
        sizes = (math.log(self._params.cost(architecture)), math.log(self._macs.cost(architecture)))
        return np.array([response, flow, *sizes])


def _make_linear(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()


def _synflow(network: nn.Module, shape: Sequence[int], path: Selection) -> float:
    """As `latnas.ranking.proxies.synflow`, of one path through a supernet that `_make_linear` has prepared."""
    with selecting(path):
        output: Tensor = network(torch.ones(1, *shape, dtype=torch.float64)).sum()
    output.backward()
    saliency = 0.0
    for parameter in network.parameters():
        if parameter.grad is not None:
            saliency += float((parameter.detach() * parameter.grad).abs().sum())
            parameter.grad = None
    return math.log(max(saliency, 1e-300))
