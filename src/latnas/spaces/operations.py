"""The operations that built-in spaces choose from, and the pieces of their fixed rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Nothing(nn.Module):
    """The operation `none`: contributes nothing, costs nothing, leaves no node in an exported graph."""

    def forward(self, *inputs: Tensor) -> None:
        return None


class ReluConvNorm(nn.Sequential):
    """ReLU, convolution without bias, batch normalisation: the order of DARTS and NAS-Bench-201."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels),
        )


class InvertedResidual(nn.Module):
    """MobileNetV2's block: 1x1 expansion, depthwise kernel x kernel, linear 1x1 projection, and a residual.

    The expansion is left out at ratio 1, the residual where stride or channels change. Source: Sandler et al.,
    "MobileNetV2" (CVPR 2018), figure 4b.
    """

    def __init__(self, channels_in: int, channels: int, kernel: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(channels_in, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()]
        layers += [
            nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


class ResidualReduction(nn.Module):
    """NAS-Bench-201's reduction: a basic residual block of stride 2, average-pooled shortcut.

    Source: Dong and Yang, "NAS-Bench-201" (ICLR 2020), section 2.1.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.first = ReluConvNorm(channels_in, channels, 3, 2)
        self.second = ReluConvNorm(channels, channels, 3)
        # ceil_mode keeps odd sizes equal to those of the strided convolution.
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(channels_in, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.second(self.first(x))
        return out


class Normalise(nn.Module):
    """Images in [0, 1] to zero mean and unit deviation: one Mul and one Add a channel, at the head of every network.

    Not folded into the first convolution: with padding that would not be exact.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(channels, 1, 1))
        self.register_buffer("shift", torch.zeros(channels, 1, 1))

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Takes the channels' mean and standard deviation, on the scale of [0, 1]: two tensors [channels]."""
        self.scale.copy_((1.0 / std).reshape(-1, 1, 1))
        self.shift.copy_((-mean / std).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class SpatialMean(nn.Module):
    """The mean over rows and columns: [N, C, H, W] to [N, C].

    Not pooling and `Flatten`: with a dynamic batch the maintained exporter turns these into a dozen nodes of
    shape arithmetic, which cost the fastest network of a small space 13 percent of its time.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def classifier_head(channels: int, classes: int) -> nn.Sequential:
    """Mean over the image and a linear layer."""
    return nn.Sequential(SpatialMean(), nn.Linear(channels, classes))
