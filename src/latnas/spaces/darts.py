"""The space of DARTS: normal and reduction cells of four nodes, each the sum of two operations on different inputs.

A node may read the outputs of the two cells before and of the nodes before it. Which two inputs it reads, and with
which operations, is one decision, so no network with both from one input exists and none has to be repaired. Cells of
one type share their decisions. `none` is no operation here: where every node reads two inputs it would be half a node.

Source: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search" (ICLR 2019), sections 2.1 and 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations, permutations, product

import torch
from torch import Tensor, nn

from latnas.spaces.choice import Choice
from latnas.spaces.operations import (
    LARGE_IMAGE,
    DilatedConv,
    FactorizedReduction,
    OnInput,
    ReluConvNorm,
    SeparableConv,
    classifier_head,
)

OPERATIONS = (
    "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5",
)  # fmt: skip
NODES = 4
INPUTS = 2
LEAST_CELLS = 3
STEM_MULTIPLIER = 3


class Cell(nn.Module):
    """Two inputs, brought to `channels` and one size, and four nodes, whose outputs are put side by side.

    Args:
        before: channels of the two inputs, the older one first.
        sizes: pixels along one side of each. The older is larger where a reduction lies between them.
    """

    def __init__(self, before: tuple[int, int], sizes: tuple[int, int], channels: int, reduction: bool) -> None:
        super().__init__()
        older, size = sizes
        self.older = (
            ReluConvNorm(before[0], channels, 1) if older == size else FactorizedReduction(before[0], channels, older)
        )
        self.younger = ReluConvNorm(before[1], channels, 1)
        kind = "reduce" if reduction else "normal"
        self.nodes = nn.ModuleList(
            _node(f"{kind}/{inputs}", inputs, channels, reduction, size) for inputs in range(INPUTS, INPUTS + NODES)
        )

    def forward(self, older: Tensor, younger: Tensor) -> Tensor:
        states = [self.older(older), self.younger(younger)]
        for node in self.nodes:
            states.append(node(*states))
        return torch.cat(states[INPUTS:], dim=1)


class Darts(nn.Module):
    """Stem, `depth` cells in all, of which those after one and two thirds are reductions that double `width`, head."""

    def __init__(self, width: int, depth: int, image_size: int, channels: int, classes: int) -> None:
        super().__init__()
        large = image_size >= LARGE_IMAGE
        first = STEM_MULTIPLIER * width
        self.stem = nn.Sequential(
            nn.Conv2d(channels, first, 3, 2 if large else 1, 1, bias=False), nn.BatchNorm2d(first)
        )
        size = -(-image_size // 2) if large else image_size
        before, sizes = (first, first), (size, size)
        self.reductions = {depth // 3, 2 * depth // 3}
        self.cells = nn.ModuleList()
        for number in range(depth):
            reduction = number in self.reductions
            width *= 2 if reduction else 1
            self.cells.append(Cell(before, sizes, width, reduction))
            before = (before[1], NODES * width)
            sizes = (sizes[1], -(-sizes[1] // 2) if reduction else sizes[1])
        self.auxiliary_channels = NODES * width  # after the second reduction the width stays
        self.head = classifier_head(NODES * width, classes)

    def auxiliary_point(self) -> tuple[nn.Module, int]:
        """The second reduction cell, and the channels of its output."""
        return self.cells[max(self.reductions)], self.auxiliary_channels

    def forward(self, x: Tensor) -> Tensor:
        older = younger = self.stem(x)
        for cell in self.cells:
            older, younger = younger, cell(older, younger)
        out: Tensor = self.head(younger)
        return out

    @staticmethod
    def canonical(items: Mapping[str, str]) -> dict[str, str]:
        """Nodes that do not read one another may change places: of all orders of the nodes the first by name.

        The outputs of nodes lie side by side, so that another order is another order of channels and no other network.
        """
        result = dict(items)
        for kind in ("normal", "reduce"):
            names = [f"{kind}/{inputs}" for inputs in range(INPUTS, INPUTS + NODES)]
            result.update(zip(names, _first_order(tuple(items[name] for name in names)), strict=True))
        return result


@lru_cache(maxsize=1 << 16)
def _first_order(cell: tuple[str, ...]) -> tuple[str, ...]:
    """A cell's items under the first, by name, of the orders of its nodes in which each reads only what comes before.

    Remembered, because a solver asks for the same cells again and again.
    """
    nodes = [[_split(part) for part in item.split("+")] for item in cell]
    reads = [{source - INPUTS for source, _ in parts if source >= INPUTS} for parts in nodes]
    found = []
    for order in permutations(range(NODES)):
        if any(reads[node] - set(order[:position]) for position, node in enumerate(order)):
            continue
        place = {INPUTS + node: INPUTS + position for position, node in enumerate(order)}
        moved = [sorted((place.get(source, source), name) for source, name in nodes[node]) for node in order]
        found.append(tuple("+".join(f"{source}/{name}" for source, name in parts) for parts in moved))
    return min(found)


def _split(part: str) -> tuple[int, str]:
    source, _, name = part.partition("/")
    return int(source), name


def _node(decision: str, inputs: int, channels: int, reduction: bool, size: int) -> Choice:
    parts = {
        f"{source}/{name}": OnInput(source, _operation(name, channels, reduction and source < INPUTS, size))
        for source in range(inputs)
        for name in OPERATIONS
    }
    items = [
        (f"{first}/{one}", f"{second}/{other}")
        for first, second in combinations(range(inputs), 2)
        for one, other in product(OPERATIONS, repeat=2)
    ]
    return Choice(parts, tie=decision, items=items)


def _operation(name: str, channels: int, halve: bool, size: int) -> nn.Module:
    stride = 2 if halve else 1
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    if name == "skip_connect":
        return FactorizedReduction(channels, channels, size) if halve else nn.Identity()
    kind, _, kernel = name.partition("_conv_")
    build = SeparableConv if kind == "sep" else DilatedConv
    return build(channels, int(kernel[0]), stride)
