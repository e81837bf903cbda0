"""What trainings run on. A device that is only pretended shows that nothing is left on the CPU; see pretended.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended import THERE, Pretended, There
from torch import Tensor

from latnas.data.randomness import generator
from latnas.data.sources import load_images
from latnas.errors import UsageError
from latnas.hypernet.learn import Learner, Learning
from latnas.hypernet.supernet import CHECKPOINT, network_of, supernet_trainer, warm_up_task
from latnas.ranking.features import Reduction
from latnas.ranking.short_training import short_training_task
from latnas.spaces.space import Space, make_space
from latnas.stages.common.estimate import time_steps
from latnas.stages.export.final_training import fit
from latnas.training import trainer
from latnas.training.checkpoint import load_tensors
from latnas.training.devices import check_trainable, device_of, parse_train_on, wait_for
from latnas.training.evaluate import accuracy
from latnas.training.patience import Patience
from latnas.training.trainer import Recipe
from latnas.words.budgets import BudgetRange
from latnas.words.costs import params_cost

MBCONV = make_space("mbconv", image_size=8, channels=1, classes=10, width=4, depth=1)
DARTS = make_space("darts", image_size=8, channels=1, classes=10, width=2, depth=3)
DIGITS = load_images("digits")
TASK: dict[str, Any] = {"data": "digits", "space": "mbconv", "options": vars(MBCONV.options).copy(), "seed": 0}
RECIPE = Recipe(5, 32, flip=False)


def short(train_on: str, folder: Path) -> dict[str, float]:
    return short_training_task(
        {
            **TASK, "reduction": {"width": 4, "image_size": 8}, "recipe": asdict(RECIPE), "train_on": train_on,
            "architecture": MBCONV.random(generator(1)).to_json(),
        },
        folder,
    )  # fmt: skip


def warm_up(train_on: str, folder: Path) -> dict[str, Tensor]:
    warm_up_task({**TASK, "recipe": asdict(RECIPE), "until": 3, "train_on": train_on}, folder)
    return load_tensors(folder / CHECKPOINT)[0]


def learning(train_on: str, folder: Path) -> dict[str, Tensor]:
    cost, images = params_cost(MBCONV.trace), DIGITS.train.take(torch.arange(64))
    supernet = network_of(supernet_trainer(MBCONV, DIGITS, RECIPE, 0, images, train_on))
    learner = Learner(MBCONV, cost, BudgetRange(500.0, 5000.0), Learning(steps=3, supernet_every=1), seed=0)
    reports = [learner.step(step, lambda one_hot: one_hot.sum(1), supernet, images) for step in range(3)]
    return {**learner.tensors(), "losses": torch.tensor([report.supernet_loss for report in reports])}


def final(train_on: str, folder: Path, space: Space = MBCONV, **recipe: Any) -> dict[str, Tensor]:
    """With a teacher, which makes it the longest way through the trainer; in pieces, so that it is read again."""
    random = generator(3)
    network, teacher = (one.derive(one.network(seed=0), one.random(random)) for one in (space, MBCONV))
    whole = Recipe(6, 32, flip=False, distill=0.5, **recipe)
    held_out = DIGITS.train.take(torch.arange(1000, 1064))
    patience = Patience(9, 3, held_out) if recipe else None
    fit(network, DIGITS.train.take(torch.arange(96)), whole, 0, folder, teacher, patience, train_on)
    assert device_of(network).type == "cpu"
    return {**network.state_dict(), "correct": torch.tensor(accuracy(network, held_out).correct)}


def averaged(train_on: str, folder: Path) -> dict[str, Tensor]:
    return final(train_on, folder, DARTS, ema=0.9, auxiliary=0.4)


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter:UserWarning")  # here it is no "no-op"
@pytest.mark.parametrize("train", [short, warm_up, learning, final, averaged])
def test_on_another_device_all_of_a_training_is_there_and_it_comes_to_the_same(
    train: Callable[[str, Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "layout_of", lambda network, device: torch.contiguous_format)  # as on a GPU
    (tmp_path / "here").mkdir()
    expected = train("cpu", tmp_path / "here")
    with Pretended():
        found = train(THERE, tmp_path / "there")
    assert found.keys() == expected.keys()
    assert all(torch.equal(torch.as_tensor(found[name]), torch.as_tensor(expected[name])) for name in expected)


def test_the_pretended_device_refuses_what_a_gpu_would_refuse() -> None:
    with Pretended():
        there = torch.ones(2).to(THERE)
        assert isinstance(there, There) and there.device.type == THERE and (there + 1.0).device.type == THERE
        assert (there * torch.tensor(2.0)).cpu().tolist() == [2.0, 2.0]  # a number beside it is no tensor elsewhere
        with pytest.raises(AssertionError, match="tensors on two devices"):
            there + torch.ones(2)


@pytest.mark.parametrize("text", ["cpu", "cuda", "cuda:0", "cuda:12"])
def test_trainings_run_on_the_cpu_or_on_a_gpu(text: str) -> None:
    assert parse_train_on(text) == text


@pytest.mark.parametrize(
    "text", ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:a", "cuda:1234", "cuda:²", "cpu:0", "tpu"]
)
def test_whatever_else_they_are_asked_to_run_on_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UsageError, match=r"nothing can be trained on .*Use --train-on cpu, cuda, or cuda:1 for"):
        parse_train_on(text)


def test_the_cpu_is_always_there() -> None:
    check_trainable("cpu")
    wait_for("cpu")


def test_a_gpu_that_is_not_there_is_refused_with_the_reason() -> None:
    device = "cuda" if not torch.cuda.is_available() else f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(UsageError, match=rf"nothing can be trained on {device} here \(.+\)\. Leave --train-on out"):
        check_trainable(device)


def test_what_a_gpu_was_given_is_waited_for_before_a_clock_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    with Pretended():
        time_steps(MBCONV, DIGITS, Reduction(4, 8), 16, THERE)
    assert waited and {*waited} == {THERE}
    waited.clear()
    time_steps(MBCONV, DIGITS, Reduction(4, 8), 16)
    assert not waited


@pytest.mark.gpu
@pytest.mark.parametrize("train", [warm_up, learning, final, averaged])
def test_a_gpu_comes_to_nearly_the_same(train: Callable[[str, Path], Any], tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    check_trainable("cuda")
    expected, found = train("cpu", tmp_path / "here"), train("cuda", tmp_path / "there")
    for name, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.cpu(), expected[name], rtol=0.02, atol=0.02)
