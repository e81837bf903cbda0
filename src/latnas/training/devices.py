"""What trainings run on: the CPU, or a GPU that PyTorch can use.

Features are computed and hypernetworks learn on the CPU whatever trainings run on: their networks are too small for a
GPU to be worth it.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

from latnas.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

TRAINABLE = re.compile(r"cpu|cuda(:\d{1,3})?", re.ASCII)


def parse_train_on(text: str) -> str:
    """`cpu`, `cuda` or `cuda:1`, as it is.

    Raises:
        UsageError: it is not of that form.
    """
    if TRAINABLE.fullmatch(text) is None:
        raise UsageError(f"nothing can be trained on {text!r}. Use --train-on cpu, cuda, or cuda:1 for a second GPU.")
    return text


def check_trainable(device: str) -> None:
    """Computes a convolution and its gradient on the device, before hours are planned on it.

    Raises:
        UsageError: PyTorch cannot do that here.
    """
    if device == "cpu":
        return
    import torch
    from torch.nn import functional

    try:
        images, kernels = (torch.ones((1, 1, 3, 3), device=device, requires_grad=True) for _ in range(2))
        functional.conv2d(images, kernels).sum().backward()
        wait_for(device)
    except (RuntimeError, AssertionError) as error:  # a PyTorch without CUDA asserts
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(
            f"nothing can be trained on {device} here ({reason}). Leave --train-on out to train on the CPU, or install "
            "PyTorch for this GPU and its driver."
        ) from error


def device_of(network: nn.Module) -> torch.device:
    """Where its weights are, or what else it keeps; the CPU for one that keeps nothing."""
    import torch

    kept = next(chain(network.parameters(), network.buffers()), None)
    return torch.device("cpu") if kept is None else kept.device


def wait_for(device: str) -> None:
    """Returns when all that was given to a GPU is done; at once for the CPU."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize(device)
