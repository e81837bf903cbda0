"""What every space is checked against: multiply-adds counted by hand, layer by layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

Count = Callable[[nn.Module, Tensor], int]


@pytest.fixture
def count_by_hand() -> Count:
    """Multiply-adds of one run of a plain network, from the shapes of its convolutions and linear layers."""
    return _count_by_hand


def _count_by_hand(network: nn.Module, example: Tensor) -> int:
    counted = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        if isinstance(module, nn.Conv2d):
            counted += output.numel() * module.in_channels // module.groups * module.kernel_size[0] ** 2
        elif isinstance(module, nn.Linear):
            counted += output.numel() * module.in_features

    hooks = [module.register_forward_hook(add) for module in network.modules()]
    with torch.no_grad():
        network.eval()(example)
    for hook in hooks:
        hook.remove()
    return counted
