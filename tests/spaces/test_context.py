"""Classes of primitive operations: against counts by hand, and against what really runs, operation by operation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from latnas.data.randomness import generator
from latnas.errors import LatnasError
from latnas.spaces.choice import Choice, path_of, selecting
from latnas.spaces.context import LeafTracer, PathTracer
from latnas.spaces.nasbench201 import EDGES
from latnas.spaces.space import SETTING, Space, SpaceOptions, make_space
from latnas.words.architecture import Architecture

SMALL: dict[str, Any] = {"width": 4, "depth": 1, "image_size": 8, "channels": 3, "classes": 5}
OPTIONS = SpaceOptions(**SMALL)

CELLS = (256 + 128 + 64) / 1000
"""Thousands of elements of one edge in three cells: 4 channels of 8x8, 8 of 4x4, 16 of 2x2."""


SHORTCUTS = (64 + 32) / 1000
"""Of the poolings in reductions, before their channels double."""


@cache
def small(name: str) -> Space:
    return make_space(name, **SMALL)


def cell(**chosen: str) -> Architecture:
    """The cell with these edges, such as a03 for 0->3, and `none` elsewhere."""
    named = {f"{name[1]}->{name[2]}": item for name, item in chosen.items()}
    return Architecture.of(SETTING, {edge: named.get(edge, "none") for edge in EDGES})


def context(**chosen: str) -> Mapping[str, float]:
    return small("nasbench201").context(cell(**chosen))


# By hand


def test_one_convolution_is_counted_by_hand() -> None:
    assert context(a03="nor_conv_3x3") == pytest.approx(
        {
            "mul": 0.192,  # normalisation of 3x8x8
            "mul()": 0.192,
            "add": 0.192 + 0.128 + 0.064,  # normalisation, and one for each reduction
            "add(mul)": 0.192,
            "add(BatchNorm2d+Conv2d)": 0.128 + 0.064,
            "Conv2d": 0.256 + 3 * 0.128 + 3 * 0.064 + CELLS,  # the stem, three for each reduction, the cells
            "Conv2d(add)": 0.256,
            "Conv2d(ReLU)": 2 * 0.128 + 2 * 0.064 + CELLS,
            "Conv2d(AvgPool2d)": 0.128 + 0.064,
            "BatchNorm2d": 0.256 + 2 * 0.128 + 2 * 0.064 + 0.064 + CELLS,
            "BatchNorm2d(Conv2d)": 0.256 + 2 * 0.128 + 2 * 0.064 + CELLS,
            "BatchNorm2d(BatchNorm2d)": 0.064,  # that behind the last cell
            "ReLU": 0.256 + 2 * 0.128 + 0.064 + 0.064 + CELLS,
            "ReLU()": 0.256 + 0.128,  # at the heads of reductions: the shortcut reads the same
            "ReLU(BatchNorm2d)": 0.256 + 0.128 + 0.064 + 0.064,  # the first cell, inside of reductions, and the last
            "ReLU(add)": 0.128 + 0.064,  # the cells behind reductions
            "AvgPool2d": SHORTCUTS,
            "AvgPool2d()": SHORTCUTS,
            "mean": 0.001,
            "mean(ReLU)": 0.001,
            "Linear": 0.005,
            "Linear(mean)": 0.005,
        }
    )


def test_equal_poolings_of_one_input_count_once() -> None:
    once = context(a01="avg_pool_3x3", a13="nor_conv_3x3")
    twice = context(a01="avg_pool_3x3", a02="avg_pool_3x3", a13="nor_conv_3x3", a23="nor_conv_1x1")
    assert once["AvgPool2d"] == pytest.approx(SHORTCUTS + CELLS)
    assert twice["AvgPool2d"] == pytest.approx(SHORTCUTS + CELLS)
    # So do the two ReLUs of what they give; the convolutions have weights of their own.
    assert twice["ReLU"] == pytest.approx(once["ReLU"])
    assert twice["Conv2d"] == pytest.approx(once["Conv2d"] + CELLS)


def test_poolings_of_different_inputs_count_each() -> None:
    chain = context(a01="avg_pool_3x3", a13="avg_pool_3x3")
    assert chain["AvgPool2d"] == pytest.approx(SHORTCUTS + 2 * CELLS)
    assert chain["AvgPool2d(AvgPool2d)"] == pytest.approx(CELLS)


def test_skips_are_no_operations() -> None:
    assert context(a01="skip_connect", a13="nor_conv_3x3") == context(a03="nor_conv_3x3")
    assert context(a02="nor_conv_3x3", a23="skip_connect") == context(a03="nor_conv_3x3")


def test_a_relu_belongs_to_the_addition_only_where_nothing_else_reads_it() -> None:
    alone = context(a03="nor_conv_3x3")
    shared = context(a03="skip_connect", a01="nor_conv_3x3", a13="skip_connect")
    assert alone["ReLU(add)"] == pytest.approx(0.128 + 0.064)
    # The output of the cell is an addition as well, which the shortcut of a reduction reads beside its ReLU.
    assert "ReLU(add)" not in shared
    assert shared["ReLU()"] == pytest.approx(alone["ReLU()"] + 0.256 + 0.128 + 0.064)
    assert shared["BatchNorm2d(add)"] == pytest.approx(0.064)


def test_parts_that_do_not_reach_the_output_count_nothing() -> None:
    assert context(a01="nor_conv_3x3", a03="nor_conv_1x1") == context(a03="nor_conv_1x1")


def test_names_alone_add_up_to_names_with_what_is_consumed() -> None:
    amounts = context(
        a01="nor_conv_3x3", a02="avg_pool_3x3", a12="nor_conv_1x1", a03="skip_connect", a23="nor_conv_3x3"
    )
    for kind in [name for name in amounts if "(" not in name]:
        within = [amount for name, amount in amounts.items() if name.startswith(f"{kind}(")]
        assert sum(within) == pytest.approx(amounts[kind])


# Against what really runs

KINDS = {
    "convolution": "Conv2d", "native_batch_norm": "BatchNorm2d", "relu": "ReLU", "avg_pool2d": "AvgPool2d",
    "addmm": "Linear", "add": "add", "mul": "mul", "mean": "mean",
}  # fmt: skip


class Run(TorchDispatchMode):
    """Every operation that ran: its kind, the tensors that it read and wrote, and what else it was given."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[str, list[Tensor], str, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        kind = func.overloadpacket.__name__
        if kind in KINDS:
            tensors = [value for value in args if isinstance(value, Tensor)]
            constants = str([value for value in args if not isinstance(value, Tensor)])
            output = result[0] if isinstance(result, tuple) else result
            self.operations.append((KINDS[kind], tensors, constants, output))
        return result


def classes_of_a_run(network: nn.Module, example: Tensor) -> dict[str, float]:
    """The oracle: of the operations of a run, in which equal ones on equal inputs and weights are one."""
    with torch.no_grad(), Run() as run:
        network.eval()(example)
    number: dict[int, int] = {}
    found: dict[tuple[Any, ...], int] = {}
    operations: list[tuple[str, list[int], float]] = []
    for kind, tensors, constants, output in run.operations:
        read = [number.get(id(tensor), -1) for tensor in tensors]
        weights = tuple(id(tensor) for tensor, position in zip(tensors, read, strict=True) if position < 0)
        position = found.setdefault((kind, tuple(read), weights, constants), len(operations))
        if position == len(operations):
            operations.append((kind, [one for one in read if one >= 0], output.numel() / 1000))
        number[id(output)] = position
    readers: dict[int, int] = defaultdict(int)
    for _, read, _ in operations:
        for position in set(read):
            readers[position] += 1
    amounts: dict[str, float] = defaultdict(float)
    for kind, read, elements in operations:
        alone = sorted({operations[position][0] for position in read if readers[position] == 1})
        for name in (kind, f"{kind}({'+'.join(alone)})"):
            amounts[name] += elements
    return dict(amounts)


def without_mean(amounts: Mapping[str, float]) -> dict[str, float]:
    """The mean over the image has few output elements whatever the network; they are not told apart."""
    return {name: amount for name, amount in amounts.items() if not name.startswith("mean")}


@pytest.mark.parametrize("name", ["nasbench201", "mbconv"])
def test_amounts_are_those_of_a_run_of_the_derived_network(name: str) -> None:
    space, random = small(name), torch.Generator().manual_seed(0)
    network = space.network(0)
    for _ in range(12):
        architecture = space.random(random)
        expected = classes_of_a_run(space.derive(network, architecture), space.example())
        assert without_mean(space.context(architecture)) == pytest.approx(without_mean(expected))


def test_deeper_and_larger_networks_are_counted_as_they_run() -> None:
    space = make_space("nasbench201", **{**SMALL, "depth": 2, "image_size": 11})
    chosen = {"a01": "avg_pool_3x3", "a02": "avg_pool_3x3", "a13": "nor_conv_3x3", "a23": "nor_conv_1x1"}
    architecture = space.canonical(cell(**chosen, a03="skip_connect"))
    expected = classes_of_a_run(space.derive(space.network(0), architecture), space.example())
    assert without_mean(space.context(architecture)) == pytest.approx(without_mean(expected))


# Spaces of a user's own


class Own(nn.Module):
    """Functions, modules in lists, an item of two parts."""

    def __init__(self, width: int, depth: int, image_size: int, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 1), nn.Dropout(0.5))
        parts = {"1": nn.Conv2d(width, width, 1), "3": nn.Conv2d(width, width, 3, padding=1), "skip": nn.Identity()}
        self.choice = Choice(parts, items=[("1",), ("1", "3"), ("skip",)])
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.middle(self.choice(self.stem(x))).mean((2, 3)))
        return out

    def middle(self, x: Tensor) -> Tensor:
        return F.relu(x)


def own(middle: Any = None) -> Space:
    kind = Own if middle is None else type("Changed", (Own,), {"middle": lambda self, x: middle(x)})
    return Space("own", kind, OPTIONS)


def only(item: str) -> Architecture:
    return Architecture.of(SETTING, {"choice": item})


def test_functions_are_operations_like_modules() -> None:
    space = own()
    assert space.context(only("1"))["relu(Conv2d)"] == pytest.approx(0.256)
    assert space.context(only("1+3"))["relu(add)"] == pytest.approx(0.256)
    assert space.context(only("1+3"))["add(Conv2d)"] == pytest.approx(0.256)
    assert space.context(only("skip"))["relu(Conv2d)"] == pytest.approx(0.256)  # the stem's; dropout is nothing
    assert space.context(only("skip"))["Conv2d"] == pytest.approx(0.256)


@pytest.mark.parametrize(
    ("middle", "kind", "times"),
    [
        (lambda x: F.relu(x) + F.relu(x), "relu", 1),
        (lambda x: F.leaky_relu(x, 0.1) + F.leaky_relu(x, 0.1), "leaky_relu", 1),
        (lambda x: F.leaky_relu(x, 0.1) + F.leaky_relu(x, 0.2), "leaky_relu", 2),
        (lambda x: F.elu(x, alpha=0.1) + F.elu(x, alpha=0.1), "elu", 1),
        (lambda x: F.elu(x, alpha=0.1) + F.elu(x, alpha=0.2), "elu", 2),
        (lambda x: (1 - x) * (1 - x), "sub", 1),
        (lambda x: (1 - x) * (x - 1), "sub", 2),
        (lambda x: x.abs() + x.abs(), "abs", 1),
        (lambda x: x.abs() + (-x).abs(), "abs", 2),
    ],
)
def test_operations_are_one_where_they_are_given_the_same_and_only_there(middle: Any, kind: str, times: int) -> None:
    assert own(middle).context(only("1"))[kind] == pytest.approx(times * 0.256)


def test_a_network_whose_control_flow_depends_on_data_is_refused_and_not_given_no_classes() -> None:
    space = own(lambda x: F.relu(x) if x.sum() > 0 else x)
    with pytest.raises(LatnasError, match="cannot be traced: TraceError"):
        space.context(only("1"))
    assert space.derive(space.network(0), only("1"))(space.example()).shape == (1, 5)


def test_a_cell_that_is_not_connected_is_refused() -> None:
    with pytest.raises(LatnasError, match="does not connect its input to its output"):
        context(a01="nor_conv_3x3")


# What must not change


def test_looking_at_contexts_draws_no_random_numbers_and_hooks_into_nothing() -> None:
    space = make_space("nasbench201", **SMALL)
    state = torch.random.get_rng_state()
    first = space.context(cell(a03="nor_conv_3x3"))
    assert torch.equal(torch.random.get_rng_state(), state)
    network = space.network(0)
    assert network.training
    assert space.context(cell(a03="nor_conv_3x3")) == first


# Looking up once what torch.fx looks up in each trace


class OfAllKinds(nn.Module):
    """With a module, a parameter, a buffer and a plain tensor of its own beside a choice."""

    def __init__(self, width: int, channels: int, classes: int, **_: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.register_buffer("shift", torch.ones(channels, 1, 1))
        self.table = torch.ones(channels, 1, 1)
        self.choice = Choice({"conv": nn.Conv2d(channels, width, 1), "pooled": Pooled(channels, width)}, tie="choice")
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.choice((x * self.scale + self.shift) * self.table).mean((2, 3)))
        return out


class Pooled(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = torch.ones(channels, 1, 1)
        self.pool = nn.AvgPool2d(2)
        self.conv = nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(self.pool(x) * self.weight)
        return out


def traced(graph: fx.Graph) -> list[str]:
    return [node.format_node() or "" for node in graph.nodes]


@pytest.mark.parametrize("name", ["nasbench201", "mbconv", "darts", "of all kinds"])
def test_a_path_is_traced_as_torch_fx_traces_the_supernet(name: str) -> None:
    space = Space(name, OfAllKinds, OPTIONS) if name == "of all kinds" else make_space(name, **{**SMALL, "depth": 3})
    network, random = space.network(seed=0), generator("paths", name)
    tracer, before = PathTracer(network), {path: set(vars(one)) for path, one in network.named_modules()}
    for _ in range(4):
        with selecting(path_of(space.random(random), space.decisions)):
            found = traced(tracer.trace_path())
            assert {path: set(vars(one)) for path, one in network.named_modules()} == before, "constants were left"
            assert found == traced(LeafTracer().trace(network))
