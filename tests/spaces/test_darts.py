"""Cells of DARTS: the sizes of the space, the published network in it, and nodes that may change places."""

from __future__ import annotations

import networkx
import pytest
import torch
from torch import nn
from torch.nn import functional

from latnas.data.randomness import generator
from latnas.errors import UsageError
from latnas.spaces.choice import path_of, selecting
from latnas.spaces.darts import OPERATIONS, Darts
from latnas.spaces.operations import FactorizedReduction
from latnas.spaces.space import SETTING, Space, make_space
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost, params_cost

# Two operations for each of four nodes, as the authors' code prints them: their second-order network for CIFAR-10.
NORMAL = [
    ("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
    ("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2),
]  # fmt: skip
REDUCE = [
    ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1),
    ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1),
]  # fmt: skip
PARAMETERS_OF_DARTS_V2 = 3_349_342
"""With 36 channels and 20 cells, the auxiliary head left out: 3.3 million in table 1 of the paper."""


def small() -> Space:
    return make_space("darts", width=4, depth=3, image_size=8, channels=1, classes=3)


def written(genotype: list[tuple[str, int]], kind: str) -> dict[str, str]:
    """A genotype in the words of this space."""
    items = {}
    for node in range(4):
        parts = sorted((source, name) for name, source in genotype[2 * node : 2 * node + 2])
        items[f"{kind}/{node + 2}"] = "+".join(f"{source}/{name}" for source, name in parts)
    return items


def as_graph(items: dict[str, str], kind: str) -> networkx.DiGraph:
    """A cell without the numbers of its nodes: inputs are told apart, nodes only by what they read."""
    graph = networkx.DiGraph()
    graph.add_nodes_from([(0, {"is": "older"}), (1, {"is": "younger"})])
    for node in range(2, 6):
        graph.add_node(node, **{"is": "node"})
        for part in items[f"{kind}/{node}"].split("+"):
            source, name = part.split("/")
            graph.add_edge(int(source), node, operation=name)
    return graph


def are_one_cell(one: dict[str, str], other: dict[str, str], kind: str) -> bool:
    return bool(
        networkx.is_isomorphic(
            as_graph(one, kind),
            as_graph(other, kind),
            node_match=lambda a, b: a == b,
            edge_match=lambda a, b: a == b,
        )
    )


def test_the_space_has_as_many_architectures_as_two_cells_of_the_paper_allow() -> None:
    trace = small().trace
    assert [decision.name for decision in trace.decisions] == [
        f"{k}/{n}" for k in ("normal", "reduce") for n in range(2, 6)
    ]
    assert [len(decision.items) for decision in trace.decisions] == [49, 147, 294, 490] * 2
    assert trace.architectures == (49 * 147 * 294 * 490) ** 2
    assert not any("none" in part for decision in trace.decisions for part in decision.parts)


def test_no_node_reads_one_input_twice() -> None:
    for decision in small().decisions:
        for item in decision.items:
            assert len({part.split("/")[0] for part in item.parts}) == 2


def test_the_published_network_has_its_published_number_of_parameters() -> None:
    space = make_space("darts", width=36, depth=20, image_size=32, channels=3, classes=10)
    items = written(NORMAL, "normal") | written(REDUCE, "reduce")
    architecture = Architecture(SETTING, tuple(items.items()))
    network = space.derive_as_written(space.network(seed=0), architecture)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS_OF_DARTS_V2


def test_equal_operations_on_inputs_of_equal_shape_are_measured_once() -> None:
    sites = small().trace.sites[SETTING]
    of_third_cell_like = {
        site.operation for site in sites if site.part.endswith("/sep_conv_3x3") and site.decision == "normal/5"
    }
    assert len(of_third_cell_like) == 1, "five inputs of one shape"
    reducing = {site.operation for site in sites if site.part.endswith("/sep_conv_3x3") and site.decision == "reduce/5"}
    assert len(reducing) == 4, "in each of two reduction cells with stride 2 and without"


def test_what_is_selected_in_the_supernet_is_what_is_derived() -> None:
    space, random = small(), generator(0)
    network = space.network(seed=1).eval()
    images = torch.rand(2, 1, 8, 8, generator=random)
    for _ in range(5):
        architecture = space.random(random)
        with torch.no_grad(), selecting(path_of(architecture, space.decisions)):
            expected = network(images)
        with torch.no_grad():
            assert torch.equal(space.derive(network, architecture).eval()(images), expected)


def test_costs_of_sites_are_those_of_derived_networks() -> None:
    space, random = small(), generator(1)
    network, params = space.network(seed=1), params_cost(space.trace)
    for _ in range(5):
        architecture = space.random(random)
        derived = space.derive(network, architecture)
        assert params.cost(architecture) == sum(parameter.numel() for parameter in derived.parameters())


@pytest.mark.parametrize("kind", ["normal", "reduce"])
def test_two_cells_are_one_architecture_exactly_if_their_graphs_are_isomorphic(kind: str) -> None:
    random = generator(3)
    space = small()
    drawn = [
        Architecture.from_indices(
            SETTING, space.decisions, [int(torch.randint(len(d.items), (), generator=random)) for d in space.decisions]
        )
        for _ in range(60)
    ]
    for architecture in drawn:
        canonical = Darts.canonical(architecture.items)
        assert are_one_cell(dict(architecture.items), canonical, kind)
        assert Darts.canonical(canonical) == canonical
    # Few operations, so that equal cells occur among those drawn.
    plain = [{name: _with_one_operation(item) for name, item in one.items.items()} for one in drawn]
    same = 0
    for position, one in enumerate(plain):
        for other in plain[:position]:
            names = [f"{kind}/{node}" for node in range(2, 6)]
            first, second = Darts.canonical(one), Darts.canonical(other)
            equal = all(first[name] == second[name] for name in names)
            assert equal == are_one_cell(one, other, kind)
            same += equal and any(one[name] != other[name] for name in names)
    assert same > 5


def _with_one_operation(item: str) -> str:
    return "+".join(f"{part.split('/')[0]}/{OPERATIONS[0]}" for part in item.split("+"))


def test_the_canonical_form_costs_what_the_architecture_costs() -> None:
    space, random = small(), generator(5)
    macs = macs_cost(space.trace)
    for _ in range(20):
        indices = [int(torch.randint(len(d.items), (), generator=random)) for d in space.decisions]
        architecture = Architecture.from_indices(SETTING, space.decisions, indices)
        assert macs.cost(space.canonical(architecture)) == macs.cost(architecture)


@pytest.mark.parametrize("size", [8, 9, 28, 33, 64, 65])
@pytest.mark.parametrize("depth", [3, 5])
def test_images_of_odd_and_of_large_sizes_pass(size: int, depth: int) -> None:
    space = make_space("darts", width=2, depth=depth, image_size=size, channels=3, classes=2)
    assert space.derive(space.network(seed=0), space.random(generator(2)))(torch.rand(2, 3, size, size)).shape == (2, 2)


def test_a_halved_image_has_every_second_pixel_and_those_between() -> None:
    """The authors' own formula, for an even size."""
    halve = FactorizedReduction(4, 6, 8).eval()
    x = torch.randn(2, 4, 8, 8, generator=generator(0))
    rectified = functional.relu(x)
    columns = [halve.even(rectified), halve.odd(rectified[:, :, 1:, 1:])]
    assert torch.equal(halve(x), halve.norm(torch.cat(columns, dim=1)))
    assert (
        FactorizedReduction(4, 6, 9)(torch.zeros(1, 4, 9, 9)).shape
        == nn.MaxPool2d(3, 2, 1)(torch.zeros(1, 6, 9, 9)).shape
    )


def test_two_cells_alone_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 3 cells, not 2"):
        make_space("darts", depth=2, image_size=8, channels=1, classes=2)
