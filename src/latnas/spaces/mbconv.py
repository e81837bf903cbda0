"""A layer-wise space of inverted residuals, as in FBNet and ProxylessNAS.

Every layer chooses a kernel of 3, 5 or 7 and an expansion of 1, 3 or 6; where stride and channels allow, also `skip`.
Sources: Wu et al., "FBNet" (CVPR 2019), table 1; Cai et al., "ProxylessNAS" (ICLR 2019), section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

from torch import Tensor, nn

from latnas.spaces.choice import Choice
from latnas.spaces.operations import LARGE_IMAGE, InvertedResidual, classifier_head

KERNELS = (3, 5, 7)
EXPANSIONS = (1, 3, 6)
SKIP = "skip"
STAGES = 3


class MbConv(nn.Module):
    """Stem, three stages of `depth` layers at widths `width`, 2 `width`, 4 `width`, a 1x1 convolution, head."""

    def __init__(self, width: int, depth: int, image_size: int, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2 if image_size >= LARGE_IMAGE else 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.layers = nn.ModuleDict()
        self.repeats: dict[str, int] = {}  # layers of one number are alike, so that their order does not matter
        channels_in = width
        for stage in range(STAGES):
            for layer in range(depth):
                stride = 2 if stage and not layer else 1
                channels_out = width * 2**stage
                name = f"stage{stage + 1}.layer{layer + 1}"
                same_shape = stride == 1 and channels_in == channels_out
                self.layers[name.replace(".", "_")] = Choice(_candidates(channels_in, channels_out, stride), tie=name)
                self.repeats[name] = stage if same_shape else -1 - stage
                channels_in = channels_out
        self.last = nn.Sequential(
            nn.Conv2d(channels_in, 2 * channels_in, 1, bias=False), nn.BatchNorm2d(2 * channels_in), nn.ReLU()
        )
        self.head = classifier_head(2 * channels_in, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers.values():
            x = layer(x)
        out: Tensor = self.head(self.last(x))
        return out

    def canonical(self, items: Mapping[str, str]) -> dict[str, str]:
        """Skips go last among layers that are alike: where a layer is left out makes no difference."""
        result: dict[str, str] = {}
        for _, group in groupby(self.repeats, key=self.repeats.__getitem__):
            names = list(group)
            chosen = [items[name] for name in names]
            chosen.sort(key=lambda item: item == SKIP)  # stable: the others keep their order
            result.update(zip(names, chosen, strict=True))
        return result


def _candidates(channels_in: int, channels: int, stride: int) -> dict[str, nn.Module]:
    parts: dict[str, nn.Module] = {
        f"k{kernel}_e{expansion}": InvertedResidual(channels_in, channels, kernel, expansion, stride)
        for expansion in EXPANSIONS
        for kernel in KERNELS
    }
    if stride == 1 and channels_in == channels:
        parts[SKIP] = nn.Identity()
    return parts
