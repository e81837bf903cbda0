"""A second classifier on an inner module, for training alone: deep networks learn better with a loss half-way up.

Source: Szegedy et al., "Going Deeper with Convolutions" (CVPR 2015), section 5; the head is that of DARTS for CIFAR-10.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from latnas.training.trainer import Loss, Recipe, plain_loss

REDUCED, WIDE = 128, 768


class HasAuxiliaryPoint(Protocol):
    """What a space's module offers if networks of it can be trained so."""

    def auxiliary_point(self) -> tuple[nn.Module, int]:
        """The module whose output the second classifier reads, and the channels of that output."""


class WithAuxiliary(nn.Module):
    """A network, and a classifier on the output of one of its modules.

    Args:
        network: what is trained for; `plain` gives it back.
        inner: a module inside of it, whose output is [N, channels, H, W].
    """

    def __init__(self, network: nn.Module, inner: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.network = network
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Conv2d(channels, REDUCED, 1, bias=False),
            nn.BatchNorm2d(REDUCED),
            nn.ReLU(),
            nn.Conv2d(REDUCED, WIDE, 2, bias=False),
            nn.BatchNorm2d(WIDE),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(WIDE, classes),
        )
        self._read: list[Tensor] = []
        self._hook = inner.register_forward_hook(self._keep)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of both classifiers, the network's own first: [N, K] each."""
        logits = self.network(x)
        return logits, self.head(self._read.pop())

    def plain(self) -> nn.Module:
        """The network alone, as it was but for its weights."""
        self._hook.remove()
        return self.network

    def _keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._read[:] = [output]


def auxiliary_loss(own: Loss) -> Loss:
    """The loss `own` of the network's own classifier, and `recipe.auxiliary` times the cross-entropy of the second."""

    def loss(both: Any, images: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
        logits, second = both
        return own(logits, images, labels, recipe) + recipe.auxiliary * plain_loss(second, images, labels, recipe)

    return loss


def plain_network(network: nn.Module) -> nn.Module:
    """What gives logits alone: the network inside of a `WithAuxiliary`, or the network itself."""
    return network.network if isinstance(network, WithAuxiliary) else network
