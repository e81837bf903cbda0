"""The space of NAS-Bench-201: one cell of four nodes, six edges, five operations, repeated through three stages.

Source: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search" (ICLR 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import product

from torch import Tensor, nn

from latnas.spaces.choice import Choice, total
from latnas.spaces.operations import Nothing, ReluConvNorm, ResidualReduction, classifier_head

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
WEIGHTED = ("nor_conv_1x1", "nor_conv_3x3")
EDGES = {f"{source}->{target}": (source, target) for target in (1, 2, 3) for source in range(target)}
STAGES = 3


class Cell(nn.Module):
    """Node 0 is the input, node 3 the output; a node is the sum of its incoming edges."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict({name: Choice(_candidates(channels), tie=name) for name in EDGES})

    def forward(self, x: Tensor) -> Tensor:
        nodes: list[Tensor | None] = [x, None, None, None]
        for target in (1, 2, 3):
            nodes[target] = total(
                self.edges[name](nodes[source])
                for name, (source, end) in EDGES.items()
                if end == target and nodes[source] is not None
            )
        if nodes[3] is None:
            raise ValueError("the cell does not connect its input to its output: is_valid says so beforehand")
        return nodes[3]


class NasBench201(nn.Module):
    """Stem, three stages of `depth` cells at widths `width`, 2 `width`, 4 `width`, two reductions, head."""

    def __init__(self, width: int, depth: int, image_size: int, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        layers: list[nn.Module] = []
        for stage in range(STAGES):
            if stage:
                layers.append(ResidualReduction(width * 2 ** (stage - 1), width * 2**stage))
            layers += [Cell(width * 2**stage) for _ in range(depth)]
        self.layers = nn.Sequential(*layers)
        last = width * 2 ** (STAGES - 1)
        self.last = nn.Sequential(nn.BatchNorm2d(last), nn.ReLU())
        self.head = classifier_head(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.last(self.layers(self.stem(x))))
        return out

    @staticmethod
    def is_valid(items: Mapping[str, str]) -> bool:
        """Whether the cell connects its input to its output: 341 of 15,625 do not."""
        return bool(expression([items[name] for name in EDGES]))

    @staticmethod
    def canonical(items: Mapping[str, str]) -> dict[str, str]:
        """The cell of fewest operations that computes the same; of those, the first in the order of `OPERATIONS`."""
        representative = _representatives().get(expression([items[name] for name in EDGES]))
        return dict(items) if representative is None else dict(zip(EDGES, representative, strict=True))


def _candidates(channels: int) -> dict[str, nn.Module]:
    return {
        "none": Nothing(),
        "skip_connect": nn.Identity(),
        "nor_conv_1x1": ReluConvNorm(channels, channels, 1),
        "nor_conv_3x3": ReluConvNorm(channels, channels, 3),
        "avg_pool_3x3": nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    }


def expression(operations: list[str] | tuple[str, ...]) -> str:
    """What a cell computes, as text, one operation for each edge in the order of `EDGES`; '' if nothing arrives.

    Cells have the same text if and only if they compute the same for some exchange of weights between operations, but
    that pooling is linear: a sum that is pooled and the sum of what is pooled have texts of their own, since they take
    the time of one pooling and of two. (The 5,259 texts are 5,043 computations.) A skip adds the terms of what it hands
    on, so that it does not matter in which order they are summed. A convolution whose output is used twice is marked:
    two convolutions have weights of their own and compute something else. Only that of the first edge can be used
    twice, since all others lead to a node that is used once.
    """
    by_edge = dict(zip(EDGES, operations, strict=True))
    twice = all(by_edge[edge] != "none" for edge in ("1->2", "1->3", "2->3"))
    nodes: list[list[str]] = [["x"], [], [], []]
    for edge, (source, target) in EDGES.items():
        operation, terms = by_edge[edge], nodes[source]
        if operation == "skip_connect":
            nodes[target] += terms
        elif operation != "none" and terms:
            mark = "'" if twice and edge == "0->1" and operation in WEIGHTED else ""
            nodes[target].append(f"{operation}{mark}({'+'.join(sorted(terms))})")
    return "+".join(sorted(nodes[3]))


@cache
def _representatives() -> dict[str, tuple[str, ...]]:
    """For each computation the cell that stands for it. Enumerates the 15,625 cells once, in about 0.2 s."""
    best: dict[str, tuple[int, tuple[str, ...]]] = {}
    for operations in product(OPERATIONS, repeat=len(EDGES)):
        text = expression(operations)
        size = len(EDGES) - operations.count("none")
        if text and (text not in best or size < best[text][0]):
            best[text] = (size, operations)
    return {text: operations for text, (_, operations) in best.items()}
