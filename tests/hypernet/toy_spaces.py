"""A space whose losses, scores and costs are known: layers of four sizes, the larger the better and the dearer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from latnas.spaces.choice import Choice
from latnas.spaces.space import SETTING, Space, SpaceOptions
from latnas.words.costs import AdditiveCost

SIZES = (1, 2, 3, 4)
FIXED_MS = 2.0


class Boost(nn.Module):
    """Adds to the logit of class 0."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, logits: Tensor) -> Tensor:
        out: Tensor = logits + self.by * torch.eye(logits.shape[1])[0]
        return out


class Boosts(nn.Module):
    """`depth` layers, of which each adds its size, over twice the depth, to the logit of class 0."""

    def __init__(self, width: int, depth: int, image_size: int, channels: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.layers = nn.ModuleList(
            Choice({f"size{size}": Boost(size / 2 / depth) for size in SIZES}, tie=f"layer{number}")
            for number in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits = x.new_zeros(len(x), self.classes)
        for layer in self.layers:
            logits = layer(logits)
        return logits


def toy_space(depth: int) -> Space:
    return Space("boosts", Boosts, SpaceOptions(1, depth, 8, 1, 10))


def toy_cost(space: Space) -> AdditiveCost:
    """Layer l of size s costs s (1 + l / 2) ms."""
    vectors = {d.name: np.array(SIZES) * (1 + number / 2) for number, d in enumerate(space.decisions)}
    return AdditiveCost("ms", space.decisions, {SETTING: FIXED_MS}, {SETTING: vectors})


def toy_surrogate(space: Space, weight: float = 1.0) -> Callable[[Tensor], Tensor]:
    """A layer of size s scores sqrt(s), times `weight`."""
    scores_I = weight * torch.tensor(SIZES).sqrt().repeat(len(space.decisions))
    return lambda one_hot_NI: one_hot_NI @ scores_I
