"""What architectures take: estimates against real files, and the solver's conditions against every architecture."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
import torch
from torch import nn

from latnas.data.randomness import generator
from latnas.spaces.space import SETTING, Space, make_space
from latnas.stages.common.metadata import file_metadata, metadata_bytes
from latnas.stages.export.onnx_file import export_onnx
from latnas.words.architecture import Architecture
from latnas.words.limits import NO_LIMITS, RESOURCES, Amounts, Limits, Resource

CLASSES = tuple(f"class {number}" for number in range(10))


@cache
def small() -> Space:
    return make_space("mbconv", image_size=8, channels=1, classes=10, width=2, depth=1)


@cache
def everything() -> tuple[Architecture, ...]:
    space = small()
    indices = product(*(range(len(decision.items)) for decision in space.decisions))
    return tuple(Architecture.from_indices(SETTING, space.decisions, chosen) for chosen in indices)


@cache
def amounts_of_everything() -> list[Amounts]:
    return [small().amounts(one) for one in everything()]


def as_trained(network: nn.Module) -> nn.Module:
    """With batch normalisations that do something: an exporter leaves out biases of zero."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                assert isinstance(values, torch.Tensor)
                values.data.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize(("name", "width", "depth"), [("nasbench201", 4, 1), ("mbconv", 8, 1), ("darts", 8, 3)])
def test_the_estimated_size_of_a_file_is_a_few_percent_above_the_real_one(name: str, width: int, depth: int) -> None:
    space = make_space(name, image_size=28, channels=1, classes=10, width=width, depth=depth)
    space = space.limited(NO_LIMITS, metadata_bytes(space, CLASSES, "a-table"))
    architecture = space.random(generator("size", name))
    torch.manual_seed(0)
    network = as_trained(space.derive(space.network(0), architecture))
    metadata = file_metadata(architecture, space, CLASSES, "a-table", seed=0)
    written = len(export_onnx(network, space.example(), metadata))
    assert written <= space.amounts(architecture).file_bytes <= 1.05 * written


@pytest.mark.parametrize("one", RESOURCES, ids=lambda one: one.name)
def test_what_keeps_to_a_limit_keeps_to_the_solver_s_conditions_too(one: Resource) -> None:
    reached = amounts_of_everything()
    amounts = sorted(found.of(one) for found in reached)
    for most in (amounts[0], amounts[len(amounts) // 3], amounts[-1]):
        space = small().limited(Limits(**{one.name: most}))
        (condition,) = space.solver_limits
        kept = passed = 0
        for architecture, found in zip(everything(), reached, strict=True):
            keeps, passes = (
                found.of(one) <= most,
                condition.spent(architecture.indices(space.decisions)) <= condition.most,
            )
            assert passes or not keeps
            assert space.keeps(architecture) == keeps
            kept, passed = kept + keeps, passed + passes
        assert kept > 0 and passed <= 1.35 * kept + 10, "conditions that rule out little are of no use"


def test_limits_do_not_change_the_space_that_they_are_taken_from() -> None:
    limited = small().limited(Limits(params=1))
    assert not any(limited.allows(one) for one in everything()[:20])
    assert all(small().allows(one) for one in everything()[:20]) and small().solver_limits == ()
    assert limited.limited(NO_LIMITS).allows(everything()[0])
