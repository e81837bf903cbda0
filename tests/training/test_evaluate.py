"""Accuracy against a loop over images, its interval against the beta distribution's quantiles."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from small_trainings import digits, small_network, small_space
from torch import nn

from latnas.data.batches import to_unit
from latnas.data.images import LabelledImages
from latnas.data.randomness import generator
from latnas.spaces.choice import path_of, selecting
from latnas.training.evaluate import BATCH, Accuracy, accuracy, batch_statistics, mean_interval, predictions
from latnas.training.trainer import Recipe, Trainer


def test_accuracy_is_what_a_loop_over_images_counts() -> None:
    network = Trainer(small_network(), digits(), Recipe(8, 32), seed=0).run()
    network.train()  # dropout and batch statistics must not count
    some = digits().take(torch.arange(BATCH + 44))  # the last batch is not full
    measured = accuracy(network, some)
    network.eval()
    correct = 0
    for image, label in zip(some.images, some.labels, strict=True):
        with torch.no_grad():
            correct += int(network(to_unit(image[None]))[0].argmax() == label)
    assert (measured.correct, measured.images) == (correct, BATCH + 44)
    assert measured.value == correct / (BATCH + 44)
    assert 0 < correct < BATCH + 44


def test_predictions_come_in_the_order_of_the_images() -> None:
    class Brightest(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)

    places = torch.randint(0, 64, (2 * BATCH + 3,), generator=generator("places"))
    images = nn.functional.one_hot(places, 64).reshape(-1, 1, 8, 8).mul(255).to(torch.uint8)
    assert predictions(Brightest(), images).equal(places)
    assert accuracy(Brightest(), LabelledImages(images, places)).value == 1.0


@pytest.mark.parametrize(("correct", "images"), [(1, 2), (3, 50), (200, 215), (999, 1000)])
def test_the_interval_is_clopper_and_pearsons(correct: int, images: int) -> None:
    low, high = Accuracy(correct, images).interval
    assert low == pytest.approx(stats.beta.ppf(0.025, correct, images - correct + 1), rel=1e-6)
    assert high == pytest.approx(stats.beta.ppf(0.975, correct + 1, images - correct), rel=1e-6)
    assert low < correct / images < high


def test_the_interval_of_none_or_all_ends_at_zero_or_one() -> None:
    low, high = Accuracy(0, 30).interval
    assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 30)))
    low, high = Accuracy(30, 30).interval
    assert (low, high) == (pytest.approx(0.025 ** (1 / 30)), 1.0)


@pytest.mark.parametrize("values", [(0.9, 0.92), (0.5, 0.7, 0.61, 0.66)])
def test_the_interval_of_a_mean_over_repetitions_is_student_s(values: tuple[float, ...]) -> None:
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx(tuple(expected))
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_batch_statistics_normalise_by_the_batch_and_leave_running_averages_untouched() -> None:
    network = small_network().eval()
    network.get_submodule("5").p = 0.0  # dropout would differ between the two modes
    x = to_unit(digits().images[:32])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        running = network(x)
        with batch_statistics(network):
            inside = network(x)
        assert network(x).equal(running)
        assert all(value.equal(before[name]) for name, value in network.state_dict().items())
        assert inside.equal(network.train()(x))
    assert not inside.equal(running)


def test_batch_statistics_end_with_the_block_even_after_an_error() -> None:
    space = small_space()
    network = space.network(0)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    norms[0].eval()
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    path = path_of(space.random(generator("path")), space.decisions)
    with pytest.raises(RuntimeError, match=r"shape|size"), batch_statistics(network), selecting(path):
        network(torch.zeros(2, 1, 8))
    assert [(norm.training, norm.track_running_stats) for norm in norms] == before
