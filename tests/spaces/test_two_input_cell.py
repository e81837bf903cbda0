"""Nodes of a DARTS cell as decisions: two distinct inputs and an operation on each, without a repair afterwards.

A part is an operation on one input, an item is two parts of different inputs. The cell here is small enough to check
every architecture: two inputs, two nodes, three operations, 9 x 27 = 243 architectures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latnas.spaces.choice import Choice, decisions_of, name_decisions, path_of, selecting
from latnas.spaces.operations import ReluConvNorm, classifier_head
from latnas.spaces.space import SETTING, Classifier, Space, SpaceOptions
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost, params_cost

DARTS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
TOY: dict[str, Callable[[int], nn.Module]] = {
    "skip": lambda channels: nn.Identity(),
    "conv_1x1": lambda channels: ReluConvNorm(channels, channels, 1),
    "conv_3x3": lambda channels: ReluConvNorm(channels, channels, 3),
}


class OnInput(nn.Module):
    """An operation on one of a node's inputs: a user's own, through which tracing does not look."""

    def __init__(self, source: int, operation: nn.Module) -> None:
        super().__init__()
        self.source = source
        self.operation = operation

    def forward(self, *inputs: Tensor) -> Tensor:
        out: Tensor = self.operation(inputs[self.source])
        return out


def pairs(inputs: int, operations: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (f"{first}/{a}", f"{second}/{b}")
        for first, second in combinations(range(inputs), 2)
        for a, b in product(operations, repeat=2)
    ]


def node(inputs: int, make: Callable[[int, str], nn.Module], operations: Sequence[str]) -> Choice:
    parts = {f"{source}/{name}": make(source, name) for source in range(inputs) for name in operations}
    return Choice(parts, items=pairs(inputs, operations))


class ToyCell(nn.Module):
    """Two stems, `depth` nodes, the nodes side by side, a head. Nothing that a user could not write."""

    def __init__(self, width: int, depth: int, image_size: int, channels: int, classes: int) -> None:
        super().__init__()
        self.stems = nn.ModuleList([nn.Conv2d(channels, width, kernel, padding=kernel // 2) for kernel in (1, 3)])
        self.nodes = nn.ModuleList(
            node(inputs, lambda source, name: OnInput(source, TOY[name](width)), tuple(TOY))
            for inputs in range(2, 2 + depth)
        )
        self.head = classifier_head(width * depth, classes)

    def forward(self, x: Tensor) -> Tensor:
        values = [stem(x) for stem in self.stems]
        for choice in self.nodes:
            values.append(choice(*values))
        out: Tensor = self.head(torch.cat(values[2:], dim=1))
        return out


@cache
def toy() -> tuple[Space, Classifier]:
    space = Space("toy-cell", ToyCell, SpaceOptions(width=3, depth=2, image_size=8, channels=1, classes=2))
    return space, space.network(seed=1).eval()


@cache
def every_architecture() -> list[Architecture]:
    space, _ = toy()
    positions = product(*(range(len(decision.items)) for decision in space.decisions))
    return [Architecture.from_indices(SETTING, space.decisions, indices) for indices in positions]


@cache
def every_derived() -> list[Classifier]:
    space, network = toy()
    return [space.derive(network, architecture) for architecture in every_architecture()]


@pytest.mark.parametrize(("inputs", "parts", "items"), [(2, 14, 49), (3, 21, 147), (4, 28, 294), (5, 35, 490)])
def test_the_nodes_of_darts_have_49_147_294_and_490_items_of_14_to_35_parts(
    inputs: int, parts: int, items: int
) -> None:
    choice = node(inputs, lambda source, name: nn.Identity(), DARTS)
    network = nn.Sequential(choice)
    name_decisions(network)
    (decision,) = decisions_of(network)
    assert (len(decision.parts), len(decision.items)) == (parts, items)
    assert decision.incidence.shape == (items, parts)
    assert np.all(decision.incidence.sum(axis=1) == 2)
    of_input = np.array([[part.startswith(f"{source}/") for part in decision.parts] for source in range(inputs)])
    assert (decision.incidence @ of_input.T).max() == 1  # never both from one input


def test_logits_of_an_item_are_the_sum_of_those_of_its_two_parts() -> None:
    space, _ = toy()
    random = np.random.default_rng(0)
    for decision in space.decisions:
        alpha = random.normal(size=len(decision.parts))
        by_part = dict(zip(decision.parts, alpha, strict=True))
        logits = decision.incidence @ alpha
        for item, logit in zip(decision.items, logits, strict=True):
            first, second = item.name.split("+")
            assert logit == pytest.approx(by_part[first] + by_part[second])


def test_the_toy_has_243_architectures() -> None:
    space, _ = toy()
    assert [len(decision.items) for decision in space.decisions] == [9, 27]
    assert len(every_architecture()) == space.trace.architectures == 243


def test_costs_equal_those_of_the_derived_network_for_every_architecture(
    count_by_hand: Callable[[nn.Module, Tensor], int],
) -> None:
    space, _ = toy()
    params, macs = params_cost(space.trace), macs_cost(space.trace)
    for architecture, derived in zip(every_architecture(), every_derived(), strict=True):
        assert params.cost(architecture) == sum(parameter.numel() for parameter in derived.parameters())
        assert macs.cost(architecture) == count_by_hand(derived, space.example())


def test_the_derived_network_computes_what_the_supernet_computes_for_every_architecture() -> None:
    space, network = toy()
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for architecture, derived in zip(every_architecture(), every_derived(), strict=True):
            with selecting(path_of(architecture, space.decisions)):
                assert torch.equal(derived(images), network(images))


def test_weights_from_the_incidence_matrix_select_what_the_names_select() -> None:
    space, network = toy()
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for architecture in every_architecture()[::10]:
            with selecting(path_of(architecture, space.decisions)):
                expected = network(images)
            weights = {
                decision.name: torch.tensor(decision.incidence[index], dtype=torch.float32)
                for decision, index in zip(space.decisions, architecture.indices(space.decisions), strict=True)
            }
            with selecting(weights):
                assert torch.allclose(network(images), expected, atol=1e-6)


def test_the_expected_cost_is_the_average_over_all_architectures_and_so_is_its_gradient() -> None:
    space, _ = toy()
    random = torch.Generator().manual_seed(3)
    alpha = {
        decision.name: torch.randn(len(decision.parts), generator=random, dtype=torch.float64, requires_grad=True)
        for decision in space.decisions
    }
    probabilities = {
        decision.name: (torch.tensor(decision.incidence) @ alpha[decision.name]).softmax(-1)
        for decision in space.decisions
    }
    for cost in (params_cost(space.trace), macs_cost(space.trace)):
        average = torch.zeros((), dtype=torch.float64)
        for architecture in every_architecture():
            chance = torch.ones((), dtype=torch.float64)
            for decision, index in zip(space.decisions, architecture.indices(space.decisions), strict=True):
                chance = chance * probabilities[decision.name][index]
            average = average + chance * cost.cost(architecture)
        expected = cost.expected(probabilities)
        assert expected.item() == pytest.approx(average.item(), rel=1e-12)
        slopes = torch.autograd.grad(expected, list(alpha.values()), retain_graph=True)
        references = torch.autograd.grad(average, list(alpha.values()), retain_graph=True)
        for slope, reference in zip(slopes, references, strict=True):
            assert torch.allclose(slope, reference, rtol=1e-9)
