"""Zero-cost proxies against numpy and against sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latnas.data.randomness import generator
from latnas.ranking.proxies import EPSILON, counting_relus, initialise, jacov, synflow

IMAGES = torch.rand(12, 1, 8, 8, generator=generator("images"))


def network(seed: int = 0) -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=3), nn.ReLU(), nn.Flatten(),
        nn.Linear(96, 5),
    )  # fmt: skip
    initialise(net, generator(seed, "network"))
    return net


def state(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


# jacov


@pytest.mark.parametrize("seed", range(3))
def test_jacov_is_what_numpy_makes_of_the_input_gradients(seed: int) -> None:
    net = network(seed).train()
    inputs = IMAGES.clone().requires_grad_()
    net(inputs).sum().backward()
    assert inputs.grad is not None
    correlation = np.corrcoef(inputs.grad.reshape(12, -1).double().numpy())
    eigenvalues = np.linalg.eigvals(correlation).real
    expected = -np.sum(np.log(eigenvalues + EPSILON) + 1 / (eigenvalues + EPSILON))
    assert jacov(network(seed), IMAGES) == pytest.approx(expected, rel=1e-6)


def test_a_linear_network_responds_alike_everywhere_which_is_the_least_jacov() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    eigenvalues = np.array([12.0] + 11 * [0.0])  # of a matrix of ones
    expected = -np.sum(np.log(eigenvalues + EPSILON) + 1 / (eigenvalues + EPSILON))
    assert jacov(linear, IMAGES) == pytest.approx(expected, rel=1e-6)
    assert jacov(network(), IMAGES) > expected


def test_jacov_of_a_network_that_overflows_is_nan() -> None:
    net = network()
    nn.init.constant_(net.get_submodule("6").weight, 3e38)
    nn.init.constant_(net.get_submodule("3").weight, 3e38)
    assert math.isnan(jacov(net, IMAGES))


# synflow


@pytest.mark.parametrize("with_norm", [False, True])
def test_synflow_of_two_layers_is_the_sum_over_paths_whatever_the_norm(with_norm: bool) -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(5, 64)), random.normal(size=(3, 5))
    bias, last_bias = random.normal(size=5), random.normal(size=3)
    norm = nn.BatchNorm2d(1)
    nn.init.constant_(norm.weight, 7.0)
    net = nn.Sequential(
        *([norm] if with_norm else []), nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3)
    )  # fmt: skip
    for layer, weight, shift in ((net[-3], first, bias), (net[-1], second, last_bias)):
        layer.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(shift)})

    # All absolute, so no ReLU is ever shut: R = sum |W2| (|W1| 1 + |b1|) + sum |b2|, and theta * dR/dtheta of each
    # parameter is the part of R that runs through it.
    onward = np.abs(second).sum(0)
    through_first = onward @ np.abs(first).sum(1)
    through_bias = onward @ np.abs(bias)
    through_second = through_first + through_bias
    expected = through_first + through_bias + through_second + np.abs(last_bias).sum()
    assert synflow(net, (1, 8, 8)) == pytest.approx(math.log(expected), rel=1e-5)


def test_synflow_leaves_the_network_as_it_was() -> None:
    net = network()
    before = state(net)
    synflow(net, (1, 8, 8))
    assert all(value.equal(before[name]) for name, value in state(net).items())
    assert net.training and not any(module._forward_hooks for module in net.modules())
    assert next(net.parameters()).dtype == torch.float32


def test_synflow_does_not_overflow_where_float32_would() -> None:
    net = nn.Sequential(nn.Flatten(), *(nn.Linear(64, 64) for _ in range(60)))
    initialise(net, generator(0))
    assert synflow(net, (1, 8, 8)) > math.log(torch.finfo(torch.float32).max)


def test_parameters_that_the_output_does_not_reach_count_for_nothing() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(64, 2, bias=False), nn.Linear(64, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x.flatten(1))

    net = Unused()
    expected = math.log(float(net.used.weight.detach().abs().sum()))
    assert synflow(net, (1, 8, 8)) == pytest.approx(expected, rel=1e-5)


# naswot


def naswot(net: nn.Module, images: Tensor) -> float:
    """As the network's own pass in training mode has it."""
    with counting_relus(net, len(images)) as counts:
        net.train()(images)
    return counts.naswot


def relu_outputs(net: nn.Module) -> list[np.ndarray]:
    """What every ReLU gives, one after the other, [12, D] each."""
    x, found = IMAGES, []
    net.train()
    for layer in net.children():
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            found.append(x.detach().flatten(1).numpy())
    return found


@pytest.mark.parametrize("seed", range(3))
def test_naswot_counts_for_each_two_images_the_relus_that_do_the_same(seed: int) -> None:
    kernel = np.eye(12)
    for outputs in relu_outputs(network(seed)):
        for i, one in enumerate(outputs):
            for j, other in enumerate(outputs):
                kernel[i, j] += np.sum((one > 0) == (other > 0))
    sign, expected = np.linalg.slogdet(kernel)
    assert sign == 1.0
    assert naswot(network(seed), IMAGES) == pytest.approx(expected, rel=1e-9)


def test_images_that_all_relus_see_alike_leave_naswot_small_and_finite() -> None:
    alike = IMAGES[:1].repeat(12, 1, 1, 1)
    everything = sum(outputs.shape[1] for outputs in relu_outputs(network()))
    assert naswot(network(), alike) == pytest.approx(math.log(1 + 12 * everything))
    assert naswot(network(), alike) < naswot(network(), IMAGES)


def test_naswot_without_relus_says_nothing_and_leaves_no_hooks() -> None:
    assert naswot(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), IMAGES) == 0.0
    net = network()
    naswot(net, IMAGES)
    assert not any(module._forward_hooks for module in net.modules())


# All of them, and the initialisation


def test_the_same_network_gets_the_same_scores_whatever_is_drawn_elsewhere() -> None:
    net = network()
    first = jacov(net, IMAGES), synflow(net, (1, 8, 8)), naswot(net, IMAGES)
    torch.rand(7)
    assert (jacov(net, IMAGES), synflow(net, (1, 8, 8)), naswot(net, IMAGES)) == first


def test_initialisation_is_a_function_of_its_generator_and_forgets_what_was_there() -> None:
    used, fresh = network(1), network(2)
    used(IMAGES)  # moves running averages
    with torch.no_grad():
        used.get_submodule("1").weight.fill_(3.0)
    before = torch.get_rng_state()
    initialise(used, generator("again"))
    initialise(fresh, generator("again"))
    assert torch.get_rng_state().equal(before)
    assert all(value.equal(state(fresh)[name]) for name, value in state(used).items())
    initialise(fresh, generator("another"))
    assert not state(used)["0.weight"].equal(state(fresh)["0.weight"])


def test_weights_are_kaiming_normal_in_fan_in_and_biases_zero() -> None:
    for layer, fan_in in (
        (nn.Linear(50, 400), 50),
        (nn.Conv2d(20, 200, 3), 180),
        (nn.Conv2d(400, 400, 3, groups=400), 9),
    ):
        initialise(layer, generator("kaiming"))
        assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)
        assert not layer.bias.any()
