"""The operations that built-in spaces choose from, and the pieces of their fixed rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGE_IMAGE = 64
"""Images of this size and above are halved once more, by the stem of the spaces that do so."""


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


class SeparableConv(nn.Sequential):
    """DARTS' `sep_conv`: ReLU, depthwise and 1x1 convolution, normalisation; the same again, without the stride."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(
            *_depthwise_then_pointwise(channels, kernel, stride, dilation=1),
            *_depthwise_then_pointwise(channels, kernel, 1, dilation=1),
        )


class DilatedConv(nn.Sequential):
    """DARTS' `dil_conv`: ReLU, depthwise convolution of every second pixel, 1x1 convolution, normalisation."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(*_depthwise_then_pointwise(channels, kernel, stride, dilation=2))


def _depthwise_then_pointwise(channels: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    ]


class FactorizedReduction(nn.Module):
    """Halves an image: two 1x1 convolutions of stride 2, one of them a pixel further on, side by side.

    Source: DARTS' `FactorizedReduce`. Images of an odd `size` get a row and a column of zeros for the second.
    """

    def __init__(self, channels_in: int, channels: int, size: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(channels_in, channels - channels // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(channels_in, channels // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        further = (functional.pad(x, (0, 1, 0, 1)) if self.size % 2 else x)[:, :, 1:, 1:]
        out: Tensor = self.norm(torch.cat([self.even(x), self.odd(further)], dim=1))
        return out


class OnInput(nn.Module):
    """An operation on one of a node's inputs: a part of a choice that is given several.

    Tracing looks through it, so that equal operations on inputs of equal shapes are one, whichever input it is.
    """

    def __init__(self, source: int, operation: nn.Module) -> None:
        super().__init__()
        self.source = source
        self.operation = operation

    def forward(self, *inputs: Tensor) -> Tensor:
        out: Tensor = self.operation(inputs[self.source])
        return out


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
