"""Learning from a teacher: the loss against numpy, and what it leads to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_trainings import SEED, digits, small_network
from torch import Tensor, nn
from torch.nn import functional

from latnas.data.batches import to_unit
from latnas.data.randomness import generator
from latnas.training.auxiliary import WithAuxiliary, auxiliary_loss
from latnas.training.distillation import distilled_loss, soft_loss
from latnas.training.trainer import Recipe, Trainer, plain_loss

RECIPE = Recipe(60, 32, 0.1, flip=False, pad=0, distill=0.9)


def logits(seed: int) -> Tensor:
    return 3 * torch.randn(7, 10, generator=generator("logits", seed))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_soft_loss_is_the_divergence_of_softened_classes_written_out(temperature: float) -> None:
    def softened(values: Tensor) -> np.ndarray:
        powers = np.exp(values.double().numpy() / temperature)
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    taught, own = softened(logits(0)), softened(logits(1))
    by_hand = temperature**2 * (taught * np.log(taught / own)).sum(axis=1).mean()
    assert soft_loss(logits(1), logits(0), temperature).item() == pytest.approx(by_hand, rel=1e-5)
    student, teacher = functional.log_softmax(logits(1) / temperature, 1), torch.softmax(logits(0) / temperature, 1)
    of_torch = temperature**2 * functional.kl_div(student, teacher, reduction="batchmean")
    assert soft_loss(logits(1), logits(0), temperature).item() == pytest.approx(of_torch.item(), rel=1e-5)


def test_who_says_what_the_teacher_says_loses_nothing_however_sure_it_is() -> None:
    assert soft_loss(logits(0), logits(0) + 5.0, 4.0).item() == pytest.approx(0.0, abs=1e-5)
    far = torch.tensor([[400.0, -400.0]])
    assert soft_loss(-far, far, 1.0).isfinite()


def test_the_loss_is_shared_between_labels_and_teacher_as_the_recipe_says() -> None:
    teacher, labels = small_network(seed=4), digits().labels[:7]
    images = to_unit(digits().images[:7])
    teacher.eval()
    with torch.no_grad():
        soft = soft_loss(logits(1), teacher(images), 4.0)
    hard = functional.cross_entropy(logits(1), labels, label_smoothing=0.1)
    for share in (0.0, 0.3, 1.0):
        recipe = Recipe(1, label_smoothing=0.1, distill=share)
        found = distilled_loss(teacher)(logits(1), images, labels, recipe)
        assert found.item() == pytest.approx(((1 - share) * hard + share * soft).item(), rel=1e-5)


def test_a_teacher_sees_the_augmented_batch_in_evaluation_mode_and_learns_nothing() -> None:
    teacher = small_network(seed=4)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    seen: list[Tensor] = []
    teacher.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    training = Trainer(small_network(), digits(), RECIPE, SEED, loss=distilled_loss(teacher))
    training.step()
    assert len(seen) == 1 and seen[0].equal(training.batch(0)[0])
    assert not teacher.training and all(parameter.grad is None for parameter in teacher.parameters())
    assert all(value.equal(before[name]) for name, value in teacher.state_dict().items())


def test_a_student_comes_nearer_to_its_teacher_than_a_network_that_learns_from_labels() -> None:
    teacher = Trainer(small_network(seed=4, width=16), digits(), Recipe(150, 32, 0.2, flip=False), seed=1).run()
    student = Trainer(small_network(), digits(), RECIPE, SEED, loss=distilled_loss(teacher)).run()
    other = Trainer(small_network(), digits(), RECIPE, SEED).run()
    images = to_unit(digits().images[:500])
    with torch.no_grad():
        near, far = (soft_loss(network(images), teacher(images), 4.0).item() for network in (student, other))
    assert near < 0.8 * far


def test_with_a_second_classifier_the_network_s_own_learns_from_the_teacher() -> None:
    inner = nn.Conv2d(1, 6, 3, padding=1)
    network = nn.Sequential(inner, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10))
    both, teacher = WithAuxiliary(network, inner, 6, 10).eval(), small_network(seed=4)
    images, labels = to_unit(digits().images[:5]), digits().labels[:5]
    recipe = Recipe(1, auxiliary=0.4, distill=0.9)
    own, second = both(images)
    loss = distilled_loss(teacher)
    expected = loss(own, images, labels, recipe) + 0.4 * plain_loss(second, images, labels, recipe)
    assert auxiliary_loss(loss)((own, second), images, labels, recipe).item() == pytest.approx(expected.item())
