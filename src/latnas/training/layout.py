"""How numbers lie in memory while a network trains: as is fastest, where PyTorch computes right gradients that way."""

from __future__ import annotations

import torch
from torch import nn

VECTOR = {"AVX2": 8}
"""How many numbers a processor's vectors hold, by what PyTorch calls it; of all others it is taken for 16."""


def layout_of(network: nn.Module, device: str) -> torch.memory_format:
    """Channels last on CPUs, where convolutions of few channels train about a fifth faster that way.

    Not where a 1x1 convolution that strides has fewer input channels than a vector holds: oneDNN 3.12 writes past its
    workspace when it computes the gradient of the weights (uxlfoundation/oneDNN#6035), and the process dies, or the
    gradient is wrong. Nor on GPUs: up to PyTorch 2.13 the gradient of a padded average pooling is wrong there
    (pytorch/pytorch#188344).
    """
    vector = VECTOR.get(torch.backends.cpu.get_cpu_capability(), 16)
    narrow = any(
        isinstance(part, nn.Conv2d)
        and part.kernel_size == (1, 1)
        and max(part.stride) > 1
        and part.in_channels < vector
        for part in network.modules()
    )
    return torch.channels_last if device == "cpu" and not narrow else torch.contiguous_format
