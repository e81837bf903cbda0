"""A second classifier half-way up: part of the loss, of the gradients and of nothing that ships."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from latnas.data.images import LabelledImages
from latnas.data.randomness import generator
from latnas.spaces.darts import Darts
from latnas.spaces.space import Classifier, make_space
from latnas.training.auxiliary import WithAuxiliary, auxiliary_loss
from latnas.training.trainer import Recipe, Trainer, plain_loss

RECIPE = Recipe(steps=3, batch_size=8, learning_rate=0.05, label_smoothing=0.1, auxiliary=0.4)


def derived() -> Classifier:
    space = make_space("darts", width=4, depth=5, image_size=16, channels=1, classes=3)
    return space.derive(space.network(seed=0), space.random(generator(1)))


def with_auxiliary(network: Classifier) -> WithAuxiliary:
    assert isinstance(network.body, Darts)
    torch.manual_seed(0)
    return WithAuxiliary(network, *network.body.auxiliary_point(), 3)


def images() -> LabelledImages:
    random = generator(2)
    pixels = torch.randint(256, (24, 1, 16, 16), generator=random).to(torch.uint8)
    return LabelledImages(pixels, torch.arange(24) % 3)


def test_the_loss_is_that_of_both_classifiers_the_second_by_its_weight() -> None:
    network = derived().eval()
    both = with_auxiliary(network).eval()
    x, labels = torch.rand(6, 1, 16, 16, generator=generator(3)), torch.arange(6) % 3
    read: list[torch.Tensor] = []
    network.body.cells[3].register_forward_hook(lambda module, inputs, output: read.append(output))  # type: ignore[operator, union-attr, index]
    own = functional.cross_entropy(network(x), labels, label_smoothing=0.1)
    second = functional.cross_entropy(both.head(read[0]), labels, label_smoothing=0.1)
    found = auxiliary_loss(plain_loss)(both(x), x, labels, RECIPE)
    assert found.item() == pytest.approx((own + 0.4 * second).item(), rel=1e-5)


def test_the_second_classifier_reads_the_second_reduction() -> None:
    network = derived()
    assert isinstance(network.body, Darts)
    inner, channels = network.body.auxiliary_point()
    assert inner is network.body.cells[3], "five cells: reductions after one and two thirds"
    assert channels == 4 * 4 * 4, "four nodes of four times the width"


def test_a_training_with_it_moves_both_and_leaves_a_plain_network() -> None:
    network = derived()
    before = {name: value.clone() for name, value in network.named_parameters()}
    both = with_auxiliary(network)
    head = [parameter.clone() for parameter in both.head.parameters()]
    Trainer(both, images(), RECIPE, seed=0, loss=auxiliary_loss(plain_loss)).run()
    plain = both.plain()
    assert plain is network and not any(module._forward_hooks for module in network.modules())
    assert all(not torch.equal(value, before[name]) for name, value in network.named_parameters() if value.dim() > 1)
    assert any(not torch.equal(old, new) for old, new in zip(head, both.head.parameters(), strict=True))
    assert plain.eval()(torch.rand(2, 1, 16, 16)).shape == (2, 3)


def test_inner_layers_are_pulled_harder_than_without_it() -> None:
    gradients = []
    for weight in (0.0, 4.0):
        network = derived()
        both = with_auxiliary(network).train()
        recipe = Recipe(steps=1, auxiliary=weight)
        x, labels = torch.rand(8, 1, 16, 16, generator=generator(4)), torch.arange(8) % 3
        auxiliary_loss(plain_loss)(both(x), x, labels, recipe).backward()
        assert isinstance(network.body, Darts)
        last, first = network.body.cells[4], network.body.stem
        gradients.append(
            [[p.grad.clone() for p in module.parameters() if p.grad is not None] for module in (first, last)]
        )
    (first_without, last_without), (first_with, last_with) = gradients
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(last_without, last_with, strict=True))
    assert any(not torch.allclose(a, b) for a, b in zip(first_without, first_with, strict=True))


def test_any_network_with_an_inner_module_can_have_one() -> None:
    inner = nn.Conv2d(1, 6, 3, padding=1)
    network = nn.Sequential(inner, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    own, second = WithAuxiliary(network, inner, 6, 2)(torch.rand(4, 1, 8, 8))
    assert own.shape == second.shape == (4, 2)
