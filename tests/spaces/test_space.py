"""Spaces ready for use: what identifies one, what it draws, what it derives."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from typing import Any

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latnas.errors import LatnasError, UsageError
from latnas.latency.onnx_export import export_for_measuring
from latnas.spaces.choice import contains_choice, path_of, selecting
from latnas.spaces.space import SETTING, SPACES, Space, make_space
from latnas.spaces.tracing import count_macs, digest_of
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost, params_cost

SMALL: dict[str, Any] = {"width": 4, "depth": 1, "image_size": 8, "channels": 3, "classes": 5}


def smallest(name: str) -> dict[str, Any]:
    return {**SMALL, "depth": SPACES[name].least_depth}


@cache
def small(name: str) -> Space:
    return make_space(name, **smallest(name))


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


# What identifies a space


@pytest.mark.parametrize("name", SPACES)
def test_the_digest_changes_with_every_option(name: str) -> None:
    options = smallest(name)
    changes = [{"width": 5}, {"depth": options["depth"] + 1}, {"image_size": 16}, {"channels": 1}, {"classes": 6}]
    digests = {make_space(name, **{**options, **change}).trace.digest for change in [{}, *changes]}
    assert len(digests) == 6


def test_the_digest_is_the_same_in_another_process_and_for_other_weights() -> None:
    script = f"from latnas.spaces.space import make_space\nprint(make_space('nasbench201', **{SMALL!r}).trace.digest)"
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == small("nasbench201").trace.digest


class Printed(nn.Module):
    """Prints alike whatever it holds."""

    def __init__(self, attribute: Any) -> None:
        super().__init__()
        self.attribute = attribute

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 2), (1, True), (0.5, 0.25), ("a", None), ((1, 2), (2, 1)), ([1], []), (F.relu, F.silu), ({"k": 1}, {"k": 2})],
)
def test_operations_that_print_alike_but_differ_are_told_apart(one: Any, other: Any) -> None:
    example = (torch.zeros(1, 3, 8, 8),)
    assert repr(Printed(one)) == repr(Printed(other))
    assert digest_of(Printed(one), example) != digest_of(Printed(other), example)
    assert digest_of(nn.Sequential(Printed(one)), example) != digest_of(nn.Sequential(Printed(other)), example)
    assert digest_of(Printed(one), example) == digest_of(Printed(one), example)


def test_an_operation_is_named_by_shapes_and_not_by_values() -> None:
    x = torch.zeros(1, 3, 8, 8)
    module = nn.Conv2d(3, 3, 1)
    digest = digest_of(module, (x,))
    assert digest == digest_of(nn.Conv2d(3, 3, 1).eval(), (x + 1,))
    others = [
        digest_of(module, (torch.zeros(1, 3, 8, 9),)),
        digest_of(module, (x.double(),)),
        digest_of(module, (x, x)),
        digest_of(nn.Conv2d(3, 3, 1, bias=False), (x,)),
        digest_of(nn.Conv2d(3, 3, 1, stride=2), (x,)),
        digest_of(nn.Sequential(module), (x,)),
    ]
    assert len({digest, *others}) == 7


# Options and settings


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"width": 0}, "width must be between 1 and 1024, not 0"),
        ({"width": 1025}, "width must be between 1 and 1024, not 1025"),
        ({"depth": 0}, "depth must be between 1 and 64, not 0"),
        ({"depth": -1}, "depth must be between 1 and 64, not -1"),
        ({"image_size": 7}, "image_size must be between 8 and 1024, not 7"),
        ({"channels": 0}, "channels must be between 1 and 16, not 0"),
        ({"classes": 1}, "classes must be between 2 and 100000, not 1"),
    ],
)
def test_an_option_out_of_its_range_is_refused_with_the_range(change: dict[str, int], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        make_space("mbconv", **{**SMALL, **change})


def test_an_unknown_space_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=r"no search space named 'nats'\. Known: nasbench201, mbconv, darts\. .*latnas spaces"
    ):
        make_space("nats", **SMALL)


@pytest.mark.parametrize("name", SPACES)
def test_what_is_left_out_has_the_defaults_of_the_space(name: str) -> None:
    options = make_space(name, image_size=8, channels=3, classes=5).options
    assert (options.width, options.depth) == (SPACES[name].width, SPACES[name].depth)


def test_a_built_in_space_has_one_setting_under_which_everything_stands() -> None:
    space = small("mbconv")
    assert space.trace.settings == (SETTING,)
    assert space.random(torch.Generator()).setting == SETTING
    assert list(macs_cost(space.trace).fixed_of) == [SETTING]


def test_an_unknown_setting_is_refused_with_the_known_one() -> None:
    space = small("mbconv")
    elsewhere = Architecture("wide", space.random(torch.Generator()).chosen)
    with pytest.raises(LatnasError, match=r"space 'mbconv' has no setting 'wide'\. Known: default\."):
        space.network(0, "wide")
    with pytest.raises(LatnasError, match=r"space 'mbconv' has no setting 'wide'\. Known: default\."):
        space.derive(space.network(0), elsewhere)


@pytest.mark.parametrize("name", SPACES)
def test_the_canonical_form_keeps_the_setting_and_the_order_of_the_decisions(name: str) -> None:
    space = small(name)
    canonical = space.random(torch.Generator().manual_seed(0))
    mixed = Architecture("wide", canonical.chosen[::-1])
    assert space.canonical(mixed) == Architecture("wide", canonical.chosen)


# Drawing and deriving


@pytest.mark.parametrize("name", SPACES)
def test_random_architectures_are_valid_canonical_and_follow_from_the_generator(name: str) -> None:
    space = small(name)
    random, again = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    drawn = [space.random(random) for _ in range(40)]
    assert all(space.is_valid(architecture) and space.is_canonical(architecture) for architecture in drawn)
    assert drawn == [space.random(again) for _ in range(40)]
    assert len({architecture.key for architecture in drawn}) > 30


@pytest.mark.parametrize("name", SPACES)
def test_fresh_weights_follow_from_the_seed_and_leave_the_global_generator_alone(name: str) -> None:
    space = small(name)
    state = torch.get_rng_state()
    one, again, other = space.network(1), space.network(1), space.network(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(one, again) and not same(one, other)


@pytest.mark.parametrize("name", SPACES)
def test_a_derived_network_is_plain_and_computes_what_the_supernet_does(name: str) -> None:
    space = small(name)
    network, images = space.network(0).eval(), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    random = torch.Generator().manual_seed(1)
    for _ in range(5):
        architecture = space.random(random)
        derived = space.derive(network, architecture)
        assert not contains_choice(derived)
        with torch.no_grad(), selecting(path_of(architecture, space.decisions)):
            assert torch.equal(derived(images), network(images))


@pytest.mark.parametrize("name", SPACES)
def test_a_derived_network_is_a_copy_without_the_parts_that_were_not_chosen(name: str) -> None:
    space = small(name)
    network, before = space.network(0), space.network(0)
    architecture = space.random(torch.Generator().manual_seed(2))
    derived = space.derive(network, architecture)
    assert sum(parameter.numel() for parameter in derived.parameters()) == params_cost(space.trace).cost(architecture)
    with torch.no_grad():
        for tensor in (*derived.parameters(), *derived.buffers()):
            tensor.add_(1)
    assert same(network, before)
    again = space.derive(network, architecture)
    assert not same(again, derived) and same(again, space.derive(before, architecture))


def test_gradients_of_the_supernet_are_not_copied() -> None:
    space = small("mbconv")
    network, architecture = space.network(0), space.random(torch.Generator().manual_seed(0))
    with selecting(path_of(architecture, space.decisions)):
        network(space.example(2)).sum().backward()
    assert all(parameter.grad is None for parameter in space.derive(network, architecture).parameters())


@pytest.mark.parametrize("name", SPACES)
def test_an_architecture_of_another_space_is_not_derived(name: str) -> None:
    space = small(name)
    for items in ({}, {"0->1": "none"}, {decision.name: "fast" for decision in space.decisions}):
        with pytest.raises(LatnasError):
            space.derive(space.network(0), Architecture.of(SETTING, items))


@pytest.mark.parametrize("name", SPACES)
def test_a_reduced_copy_is_narrower_and_keeps_every_layer_and_decision(name: str) -> None:
    options = {**smallest(name), "depth": SPACES[name].least_depth + 1}
    space = make_space(name, **{**options, "image_size": 16})
    reduced = space.reduced(width=2, image_size=8)
    assert vars(reduced.options) == {**options, "width": 2, "image_size": 8}
    assert reduced.decisions == space.decisions
    assert len(reduced.trace.sites[SETTING]) == len(space.trace.sites[SETTING])
    assert space.reduced(width=99, image_size=99).options == space.options


@pytest.mark.parametrize("name", SPACES)
def test_tracing_leaves_the_network_as_it_was(name: str) -> None:
    space = small(name)
    assert space.trace.operations.keys() == {site.operation for site in space.trace.sites[SETTING]}
    traced = space._blueprint.traced_network
    assert same(traced, space.network(0)) and traced.training
    assert all(not module._forward_hooks for module in traced.modules())


@pytest.mark.parametrize("name", SPACES)
def test_every_operation_can_be_run_on_its_example(name: str) -> None:
    space = small(name)
    for digest, site in space.trace.operations.items():
        operation = space.operation(digest)
        assert tuple(tuple(value.shape) for value in operation.example) == site.input_shapes
        with torch.no_grad():
            out = operation.module.eval()(*operation.example)
        assert out.numel() == site.output_elements
        assert count_macs(operation.module, operation.example) == site.macs


# Normalisation


def test_normalisation_gives_zero_mean_and_unit_deviation() -> None:
    network = small("mbconv").network(0)
    images = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.5, 0.1]).view(
        3, 1, 1
    )
    network.normalise.set_statistics(images.mean((0, 2, 3)), images.std((0, 2, 3)))
    out = network.normalise(images)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(out.std((0, 2, 3)), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize("name", SPACES)
def test_normalisation_is_a_mul_and_an_add_at_the_head_of_the_exported_graph(name: str) -> None:
    space = small(name)
    network = space.network(0)
    network.normalise.set_statistics(torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.1]))
    derived = space.derive(network, space.random(torch.Generator().manual_seed(0))).eval()
    graph = onnx.load_from_string(export_for_measuring(derived, (space.example(),))).graph
    head = [node for node in graph.node if node.op_type not in ("Constant", "Identity")][:3]
    assert [node.op_type for node in head] == ["Mul", "Add", "Conv"]
    assert head[0].input[0] == "x" and head[1].input[0] == head[0].output[0] and head[2].input[0] == head[1].output[0]
