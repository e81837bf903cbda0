"""NAS-Bench-201: its published counts, and equal computations against a second implementation of what equal means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from itertools import permutations, product

import pytest
import torch
from torch import Tensor, nn

from latnas.errors import LatnasError
from latnas.spaces.choice import Choice, path_of, selecting
from latnas.spaces.nasbench201 import EDGES, OPERATIONS, Cell, NasBench201
from latnas.spaces.operations import ReluConvNorm
from latnas.spaces.space import SETTING, Classifier, Space, derive_module, make_space
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost, params_cost

CELLS = list(product(OPERATIONS, repeat=6))
Operations = tuple[str, ...]
Value = tuple[tuple[str, int, "Value"], ...]


def items(cell: Operations) -> dict[str, str]:
    return dict(zip(EDGES, cell, strict=True))


def architecture(*cell: str) -> Architecture:
    return Architecture.of(SETTING, items(cell))


def value_of(cell: Operations, weights: Mapping[str, int], node: int = 3) -> Value:
    """What arrives at a node: sorted terms of an operation, its weights' number, and what it is applied to."""
    if node == 0:
        return (("input", 0, ()),)
    terms: list[tuple[str, int, Value]] = []
    for operation, (edge, (source, target)) in zip(cell, EDGES.items(), strict=True):
        value = value_of(cell, weights, source) if target == node and operation != "none" else ()
        if operation == "skip_connect":
            terms += value
        elif value:
            terms.append((operation, weights.get(edge, 0), value))
    return tuple(sorted(terms))


def computes(cell: Operations) -> Value:
    """The least of its values over all ways to hand its weights to its convolutions; () if nothing arrives."""
    kinds = [[edge for edge, one in items(cell).items() if one == kind] for kind in ("nor_conv_1x1", "nor_conv_3x3")]
    orders = product(*(permutations(range(len(edges))) for edges in kinds))
    return min(
        value_of(cell, dict(zip((*kinds[0], *kinds[1]), (*first, *second), strict=True))) for first, second in orders
    )


@cache
def computed() -> dict[Operations, Value]:
    return {cell: computes(cell) for cell in CELLS}


@cache
def representatives() -> dict[Value, Operations]:
    """Of the cells that compute the same, the one of fewest operations; of those, the first."""
    groups: dict[Value, list[Operations]] = {}
    for cell, value in computed().items():
        groups.setdefault(value, []).append(cell)
    del groups[()]
    return {value: min(group, key=lambda cell: 6 - cell.count("none")) for value, group in groups.items()}


@cache
def small() -> tuple[Space, Classifier]:
    space = make_space("nasbench201", width=4, depth=1, image_size=8, channels=3, classes=5)
    network = space.network(seed=0)
    random = torch.Generator().manual_seed(0)
    for module in network.modules():  # so that normalisation does something in evaluation, too
        if isinstance(module, nn.BatchNorm2d):
            module.get_buffer("running_mean").uniform_(-0.2, 0.2, generator=random)
            module.get_buffer("running_var").uniform_(0.5, 2.0, generator=random)
    return space, network.eval()


def images() -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def output_of_path(chosen: Architecture) -> Tensor:
    space, network = small()
    with torch.no_grad(), selecting(path_of(chosen, space.decisions)):
        out = network(images())
    assert isinstance(out, Tensor)
    return out


def test_of_15625_cells_341_do_not_connect_input_to_output() -> None:
    space, _ = small()
    assert space.trace.architectures == len(CELLS) == 15_625
    assert list(computed().values()).count(()) == 341
    assert all(NasBench201.is_valid(items(cell)) == bool(value) for cell, value in computed().items())


def test_5259_distinct_cells_stand_for_all_and_agree_with_a_second_implementation() -> None:
    expected = representatives()
    assert len(expected) == 5259
    for cell, value in computed().items():
        found = NasBench201.canonical(items(cell))
        assert tuple(found[edge] for edge in EDGES) == (expected[value] if value else cell)


def test_a_canonical_cell_is_its_own_canonical_form() -> None:
    for cell in representatives().values():
        assert NasBench201.canonical(items(cell)) == items(cell)


def test_the_search_sees_exactly_the_representatives() -> None:
    space, _ = small()
    some = CELLS[::31]
    assert [cell for cell in some if space.is_canonical(architecture(*cell))] == [
        cell for cell in some if cell in set(representatives().values())
    ]


def test_edges_that_do_not_reach_the_output_change_nothing() -> None:
    space, network = small()
    checked = 0
    for cell in CELLS[7::389]:
        whole = architecture(*cell)
        if not space.is_valid(whole):
            continue
        canonical = space.canonical(whole)
        if any(canonical.items[edge] not in ("none", whole.items[edge]) for edge in EDGES) or canonical == whole:
            continue  # then an operation stands on another edge, which has other weights
        with torch.no_grad():
            out = derive_module(network, whole, space.decisions)(images())
        assert torch.equal(out, space.derive(network, whole)(images()))
        assert torch.equal(out, output_of_path(canonical))
        checked += 1
    assert checked >= 5


@pytest.mark.parametrize(
    ("whole", "canonical", "moved"),
    [
        # x -> skip -> 1 -> convolution -> 3 is the convolution on the direct edge.
        (
            ("skip_connect", "none", "none", "none", "nor_conv_3x3", "none"),
            ("none", "none", "none", "nor_conv_3x3", "none", "none"),
            {"1->3": "0->3"},
        ),
        # A convolution, handed on by a skip.
        (
            ("nor_conv_1x1", "none", "skip_connect", "nor_conv_3x3", "none", "skip_connect"),
            ("none", "skip_connect", "none", "nor_conv_1x1", "none", "nor_conv_3x3"),
            {"0->1": "0->3", "0->3": "2->3"},
        ),
        # What node 1 did, node 2 does.
        (
            ("nor_conv_3x3", "none", "none", "avg_pool_3x3", "nor_conv_1x1", "none"),
            ("none", "nor_conv_3x3", "none", "avg_pool_3x3", "none", "nor_conv_1x1"),
            {"0->1": "0->2", "1->3": "2->3"},
        ),
    ],
)
def test_an_operation_that_moves_computes_the_same_with_its_own_weights(
    whole: Operations, canonical: Operations, moved: dict[str, str]
) -> None:
    space, network = small()
    before, after = architecture(*whole), architecture(*canonical)
    assert space.canonical(before) == after
    expected = derive_module(network, before, space.decisions)
    derived = space.derive(network, before)
    weights, from_edge = expected.state_dict(), {target: source for source, target in moved.items()}

    def origin(name: str) -> str:
        head, edges, tail = name.partition(".edges.")
        edge, dot, rest = tail.partition(".")
        return head + edges + from_edge.get(edge, edge) + dot + rest

    derived.load_state_dict({name: weights[origin(name)] for name in derived.state_dict()})
    with torch.no_grad():
        assert torch.allclose(derived(images()), expected(images()), atol=1e-6)


def test_two_convolutions_do_not_stand_for_one_whose_output_is_used_twice() -> None:
    space, network = small()
    once = architecture("nor_conv_3x3", "none", "skip_connect", "none", "skip_connect", "skip_connect")
    two = architecture("none", "skip_connect", "none", "nor_conv_3x3", "none", "nor_conv_3x3")
    assert space.canonical(once) != space.canonical(two)
    for one, convolutions in ((once, 1), (two, 2)):
        cell = space.derive(network, one).body.get_submodule("layers.0")
        assert sum(isinstance(part, ReluConvNorm) for part in cell.modules()) == convolutions


def test_sums_of_the_same_terms_are_the_same_however_skips_group_them() -> None:
    space, _ = small()
    grouped = architecture("skip_connect", "none", "skip_connect", "skip_connect", "skip_connect", "skip_connect")
    another = architecture("skip_connect", "skip_connect", "skip_connect", "none", "skip_connect", "skip_connect")
    assert space.canonical(grouped) == space.canonical(another)
    assert torch.allclose(output_of_path(grouped), output_of_path(another), atol=1e-6)


def test_parameters_and_multiply_adds_are_those_of_the_derived_network(
    count_by_hand: Callable[[nn.Module, Tensor], int],
) -> None:
    space, network = small()
    params, macs = params_cost(space.trace), macs_cost(space.trace)
    for cell in [*list(representatives().values())[::481], ("nor_conv_3x3",) * 6]:
        derived = space.derive(network, architecture(*cell))
        assert params.cost(architecture(*cell)) == sum(parameter.numel() for parameter in derived.parameters())
        assert macs.cost(architecture(*cell)) == count_by_hand(derived, space.example())


def test_a_cell_is_the_sum_over_the_edges_of_its_nodes() -> None:
    cell = Cell(channels=4).eval()
    operations = ("nor_conv_3x3", "avg_pool_3x3", "nor_conv_1x1", "skip_connect", "nor_conv_3x3", "nor_conv_1x1")
    x = torch.rand(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))

    def edge(name: str, value: Tensor) -> Tensor:
        choice = cell.edges[name]
        assert isinstance(choice, Choice)
        out: Tensor = choice.part(items(operations)[name])(value)
        return out

    with torch.no_grad(), selecting({name: (operation,) for name, operation in items(operations).items()}):
        one = edge("0->1", x)
        two = edge("0->2", x) + edge("1->2", one)
        assert torch.allclose(cell(x), edge("0->3", x) + edge("1->3", one) + edge("2->3", two), atol=1e-6)


def test_convolutions_begin_with_relu_and_end_with_normalisation() -> None:
    assert [type(layer) for layer in ReluConvNorm(4, 4, 3)] == [nn.ReLU, nn.Conv2d, nn.BatchNorm2d]


def test_a_cell_that_does_not_connect_is_refused_and_not_the_fastest() -> None:
    space, network = small()
    disconnected = architecture("nor_conv_3x3", "none", "nor_conv_3x3", "none", "none", "none")
    assert not space.is_valid(disconnected) and not space.is_canonical(disconnected)
    with pytest.raises(LatnasError, match="does not connect its input to its output"):
        space.derive(network, disconnected)
    with pytest.raises(ValueError, match="does not connect its input to its output"):
        output_of_path(disconnected)


@pytest.mark.parametrize("depth", [1, 3])
def test_each_operation_stands_in_every_cell_of_every_stage(depth: int) -> None:
    space = make_space("nasbench201", width=4, depth=depth, image_size=8, channels=3, classes=5)
    counts = Counter((site.decision, site.part) for site in space.trace.sites[SETTING] if site.decision)
    assert counts == {(edge, part): 3 * depth for edge in EDGES for part in OPERATIONS if part != "none"}
    assert len([site for site in space.trace.operations.values() if site.decision]) == 3 * 4  # one for each width
