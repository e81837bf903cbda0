"""Averages of weights against sums written out and torch's own; statistics against numpy."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from small_trainings import SEED, STEPS, digits, small_network
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from latnas.data.batches import batch_indices, to_unit
from latnas.data.randomness import generator, seed_of
from latnas.errors import LatnasError
from latnas.training.auxiliary import WithAuxiliary, auxiliary_loss, plain_network
from latnas.training.averaging import BATCH, averaged, recalibrate
from latnas.training.checkpoint import load_tensors
from latnas.training.trainer import Recipe, Trainer, plain_loss


def trainer(ema: float = 0.9, steps: int = STEPS) -> Trainer:
    return Trainer(small_network(), digits(), Recipe(steps, batch_size=16, flip=False, ema=ema), SEED)


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(value.equal(second[name]) for name, value in first.items())


# Averages


def test_the_average_is_the_sum_written_out_with_a_decay_that_grows_to_the_recipe_s() -> None:
    training = trainer(ema=0.4)
    expected: dict[str, np.ndarray] = {}
    decays = []
    for step in range(STEPS):
        training.step()
        decays.append(min(0.4, (1 + step) / (10 + step)))
        for name, parameter in training.network.named_parameters():
            now = parameter.detach().double().numpy()
            before = expected.get(name, now)
            expected[name] = now if step == 0 else decays[-1] * before + (1 - decays[-1]) * now
        for name, parameter in training.averaged.named_parameters():
            np.testing.assert_allclose(parameter.detach().numpy(), expected[name], rtol=1e-5, atol=1e-6)
    assert decays[1] < decays[4] < 0.4 == decays[-1]


def test_once_the_decay_has_grown_the_average_is_that_of_torch() -> None:
    low = 0.1  # reached at once: (1 + 1) / (10 + 1) is more
    ours = averaged(small_network(), low)
    theirs = AveragedModel(small_network(), multi_avg_fn=get_ema_multi_avg_fn(low))
    network = small_network()
    for step in range(5):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator("moved", step)))
        ours.update_parameters(network)
        theirs.update_parameters(network)
    assert same(ours.state_dict(), theirs.state_dict())


def test_a_training_is_the_same_whether_its_weights_are_averaged_or_not() -> None:
    with_average, without = trainer(), trainer(ema=0.0)
    with_average.run()
    without.run()
    assert same(with_average.network.state_dict(), without.network.state_dict())
    assert without.averaged is without.network
    assert not any(name.startswith("average.") for name in without.tensors())
    assert not same(with_average.averaged.state_dict(), without.network.state_dict())


def test_a_resumed_training_has_the_average_of_one_that_never_stopped_bit_for_bit(tmp_path: Path) -> None:
    first = trainer()
    first.run(checkpoint=tmp_path / "c", until=6)
    kept, _ = load_tensors(tmp_path / "c")
    assert int(kept["average.n_averaged"]) == 6
    resumed, unbroken = trainer(), trainer()
    torch.rand(3)
    resumed.run(checkpoint=tmp_path / "c")
    unbroken.run()
    assert same(resumed.tensors(), unbroken.tensors())
    assert same(resumed.averaged.state_dict(), unbroken.averaged.state_dict())


def test_a_checkpoint_without_an_average_is_not_gone_on_from_with_one(tmp_path: Path) -> None:
    trainer(ema=0.0).run(checkpoint=tmp_path / "c", until=2)
    with pytest.raises(LatnasError, match="Delete it to start over"):
        trainer().run(checkpoint=tmp_path / "c")


def test_the_average_of_a_network_with_a_second_classifier_has_one_of_its_own() -> None:
    inner = nn.Conv2d(1, 6, 3, padding=1)
    network = nn.Sequential(inner, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10))
    recipe = Recipe(3, batch_size=16, flip=False, auxiliary=0.4, ema=0.9)
    training = Trainer(WithAuxiliary(network, inner, 6, 10), digits(), recipe, SEED, loss=auxiliary_loss(plain_loss))
    training.run()
    mean = training.averaged.eval()
    assert mean is not training.network
    x = torch.rand(4, 1, 8, 8)
    own, second = mean(x)
    assert own.shape == second.shape == (4, 10)
    assert own.equal(plain_network(mean)(x)) and not own.equal(network(x))


# Statistics of batch normalisation


def batches_of(images: Tensor, seed: int, most: int) -> list[np.ndarray]:
    own, size = seed_of(seed, "recalibration"), min(BATCH, len(images))
    pool = torch.arange(len(images))
    count = min(most, len(images)) // size
    return [to_unit(images[batch_indices(pool, size, own, step)]).numpy() for step in range(count)]


def test_statistics_are_those_of_a_pass_that_numpy_makes() -> None:
    images = digits().images[:]
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    with torch.no_grad():
        for norm in (network[1], network[4]):
            norm.running_mean.fill_(7.0)
            norm.weight.uniform_(0.5, 2.0, generator=generator("scales"))
    weights = copy.deepcopy(dict(network.named_parameters()))
    recalibrate(network, images, seed=3)
    assert not network.training and all(p.equal(weights[name]) for name, p in network.named_parameters())

    first, second = (weights[f"{layer}.weight"].detach().numpy()[:, :, 0, 0] for layer in (0, 3))
    found: dict[str, list[np.ndarray]] = {"1": [], "4": []}
    batches = batches_of(images, 3, 10_240)
    assert len(batches) == len(images) // BATCH > 1
    for batch in batches:
        one = np.einsum("oc,nchw->nohw", first, batch) + weights["0.bias"].detach().numpy()[:, None, None]
        mean, variance = one.mean((0, 2, 3)), one.var((0, 2, 3), ddof=1)
        found["1"].append(np.stack([mean, variance]))
        scale, shift = (weights[f"1.{name}"].detach().numpy()[:, None, None] for name in ("weight", "bias"))
        biased = one.var((0, 2, 3))[:, None, None]
        normal = np.maximum((one - mean[:, None, None]) / np.sqrt(biased + 1e-5) * scale + shift, 0)
        two = np.einsum("oc,nchw->nohw", second, normal) + weights["3.bias"].detach().numpy()[:, None, None]
        found["4"].append(np.stack([two.mean((0, 2, 3)), two.var((0, 2, 3), ddof=1)]))
    state = network.state_dict()
    for layer, each in found.items():
        mean, variance = np.mean(each, axis=0)
        np.testing.assert_allclose(state[f"{layer}.running_mean"].numpy(), mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(state[f"{layer}.running_var"].numpy(), variance, rtol=1e-4, atol=1e-5)


def test_of_the_first_layer_they_are_those_of_all_images_where_batches_divide_them() -> None:
    images = digits().images[: 2 * BATCH]
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten())
    recalibrate(network, images, seed=0)
    pixels = to_unit(images).double().numpy()
    state = network.state_dict()
    assert float(state["0.running_mean"]) == pytest.approx(pixels.mean(), rel=1e-5)
    assert float(state["0.running_var"]) == pytest.approx(pixels.var(), rel=1e-3)  # without what lies between batches


def test_statistics_depend_on_the_seed_alone_and_few_images_are_one_batch() -> None:
    def found(seed: int, count: int) -> dict[str, Tensor]:
        network = small_network()  # with dropout, which draws
        recalibrate(network, digits().images[:count], seed)
        return network.state_dict()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before, one = torch.get_rng_state(), found(0, 700)
        assert torch.get_rng_state().equal(before)
        torch.manual_seed(2)
        assert same(one, found(0, 700)) and not same(one, found(1, 700))
    assert int(found(0, 20)["1.num_batches_tracked"]) == 1
    assert int(one["1.num_batches_tracked"]) == 2
