"""The layer-wise space: skips where shapes allow, at the end among layers that are alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from latnas.spaces.mbconv import EXPANSIONS, KERNELS, SKIP
from latnas.spaces.operations import InvertedResidual
from latnas.spaces.space import SETTING, Classifier, Space, derive_module, make_space
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost, params_cost

CONVOLUTIONS = [f"k{kernel}_e{expansion}" for expansion in EXPANSIONS for kernel in KERNELS]


@cache
def small(depth: int = 3) -> tuple[Space, Classifier]:
    space = make_space("mbconv", width=4, depth=depth, image_size=8, channels=3, classes=5)
    return space, space.network(seed=0).eval()


def architecture(*items: str) -> Architecture:
    space, _ = small(len(items) // 3)
    return Architecture.of(
        SETTING, {decision.name: item for decision, item in zip(space.decisions, items, strict=True)}
    )


def skips(chosen: Architecture) -> list[bool]:
    return [item == SKIP for item in chosen.items.values()]


def test_only_layers_that_keep_the_shape_can_be_skipped() -> None:
    space, _ = small()
    sizes = {decision.name: len(decision.items) for decision in space.decisions}
    assert sizes == {
        f"stage{stage}.layer{layer}": 9 if stage > 1 and layer == 1 else 10
        for stage in (1, 2, 3)
        for layer in (1, 2, 3)
    }
    for decision in space.decisions:
        assert [item.name for item in decision.items] == [*CONVOLUTIONS, SKIP][: sizes[decision.name]]


def test_skips_move_to_the_end_of_layers_that_are_alike_and_the_others_keep_their_order() -> None:
    space, _ = small()
    a, b, c = "k3_e1", "k5_e6", "k7_e3"
    before = architecture(SKIP, a, SKIP, c, SKIP, b, a, b, a)
    after = architecture(a, SKIP, SKIP, c, b, SKIP, a, b, a)
    assert space.canonical(before) == after
    assert space.canonical(after) == after and space.is_canonical(after) and not space.is_canonical(before)


def test_where_a_layer_is_left_out_makes_no_difference_to_the_size_and_the_computation(
    count_by_hand: Callable[[nn.Module, Tensor], int],
) -> None:
    space, network = small()
    a, b = "k3_e3", "k5_e1"
    before = architecture(SKIP, a, b, a, SKIP, b, a, SKIP, SKIP)
    expected, derived = derive_module(network, before, space.decisions), space.derive(network, before)
    # The same operations in the same order: so the one's weights are the other's, in order.
    expected_state, names = expected.state_dict(), list(derived.state_dict())
    assert [value.shape for value in expected_state.values()] == [
        value.shape for value in derived.state_dict().values()
    ]
    derived.load_state_dict(dict(zip(names, expected_state.values(), strict=True)))
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(derived(images), expected.eval()(images))
    assert count_by_hand(derived, space.example()) == count_by_hand(expected, space.example())


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_canonical_forms_are_counted_as_by_hand(depth: int) -> None:
    """Skips only: of m layers that are alike, m + 1 forms; a layer that cannot be skipped is no part of them."""
    space, _ = small(depth)
    alike = [depth, depth - 1, depth - 1]
    patterns = set()
    for bits in range(2 ** (3 * depth)):
        chosen = {d.name: SKIP if bits >> n & 1 and SKIP in d.index else "k3_e1" for n, d in enumerate(space.decisions)}
        patterns.add(space.canonical(Architecture.of(SETTING, chosen)).key)
    assert len(patterns) == (alike[0] + 1) * (alike[1] + 1) * (alike[2] + 1)


def test_parameters_and_multiply_adds_are_those_of_the_derived_network(
    count_by_hand: Callable[[nn.Module, Tensor], int],
) -> None:
    space, network = small()
    params, macs = params_cost(space.trace), macs_cost(space.trace)
    random = torch.Generator().manual_seed(0)
    smallest = architecture(*[SKIP] * 3, "k3_e1", SKIP, SKIP, "k3_e1", SKIP, SKIP)
    for chosen in [smallest, architecture(*["k7_e6"] * 9), *(space.random(random) for _ in range(12))]:
        derived = space.derive(network, chosen)
        assert params.cost(chosen) == sum(parameter.numel() for parameter in derived.parameters())
        assert macs.cost(chosen) == count_by_hand(derived, space.example())


def test_a_skipped_layer_leaves_nothing_behind() -> None:
    space, network = small()
    derived = space.derive(network, architecture(*[SKIP] * 3, "k3_e1", SKIP, SKIP, "k3_e1", SKIP, SKIP))
    blocks = [module for module in derived.modules() if isinstance(module, InvertedResidual)]
    assert len(blocks) == 2
    with torch.no_grad():
        assert derived(space.example(2)).shape == (2, 5)


@pytest.mark.parametrize(("channels", "stride", "residual"), [(4, 1, True), (8, 1, False), (4, 2, False)])
def test_the_residual_is_added_exactly_where_shapes_allow(channels: int, stride: int, residual: bool) -> None:
    block = InvertedResidual(4, channels, kernel=3, expansion=3, stride=stride).eval()
    x = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = block.layers(x)
        assert out.shape == (1, channels, 8 // stride, 8 // stride)
        assert torch.equal(block(x), x + out if residual else out)


@pytest.mark.parametrize(("image_size", "at_the_end"), [(8, 2), (63, 16), (64, 8)])
def test_large_images_are_halved_once_more(image_size: int, at_the_end: int) -> None:
    space = make_space("mbconv", width=1, depth=1, image_size=image_size, channels=1, classes=2)
    last = next(site for site in space.trace.sites[SETTING] if site.part == "body.last")
    assert last.input_shapes[0][2:] == (at_the_end, at_the_end)
