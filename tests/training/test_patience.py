"""Stopping early: by a count of epochs written out, with the weights of the best, and resumed where it was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import copied
from small_trainings import SEED, digits, small_network
from torch import Tensor

from latnas.data.images import LabelledImages
from latnas.training import patience as patience_module
from latnas.training.averaging import recalibrate
from latnas.training.checkpoint import load_tensors
from latnas.training.evaluate import Accuracy
from latnas.training.patience import BEST, HISTORY, Patience, train_patiently
from latnas.training.trainer import Loss, Recipe, Trainer, plain_loss

EPOCHS, EPOCH = 6, 3


def trainer(ema: float = 0.0, loss: Loss = plain_loss) -> Trainer:
    recipe = Recipe(EPOCHS * EPOCH, batch_size=16, learning_rate=0.05, flip=False, ema=ema)
    return Trainer(small_network(), digits(), recipe, SEED, loss=loss)


def dying_at(step: int) -> Trainer:
    """A training that ends there as a killed process does, without a word."""

    def loss(logits: Tensor, images: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
        if training.done == step:
            raise RuntimeError("killed")
        return plain_loss(logits, images, labels, recipe)

    training = trainer(loss=loss)
    return training


def patience(epochs: int) -> Patience:
    return Patience(epochs, EPOCH, digits().take(torch.arange(100)))


def weights_after(epochs: int) -> dict[str, Tensor]:
    training = trainer()
    training.run(until=epochs * EPOCH)
    return {name: value.clone() for name, value in training.network.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(value.equal(second[name]) for name, value in first.items())


@pytest.mark.parametrize(
    ("correct", "patient", "trained", "best"),
    [
        ([10, 20, 30, 40, 50, 60], 1, 6, 6),
        ([10, 20, 20, 40, 50, 60], 1, 3, 2),
        ([10, 20, 20, 40, 30, 40], 2, 6, 4),
        ([50, 20, 30, 40, 45, 60], 3, 4, 1),
        ([50, 50, 50, 50, 50, 50], 9, 6, 1),
    ],
)
def test_it_stops_when_so_many_epochs_brought_nothing_and_keeps_the_best(
    correct: list[int], patient: int, trained: int, best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter(correct)
    monkeypatch.setattr(patience_module, "accuracy", lambda network, images: Accuracy(next(asked), len(images)))
    training = trainer()
    assert train_patiently(training, patience(patient), tmp_path / "c", every=2) == trained
    assert training.done == trained * EPOCH
    assert same(training.network.state_dict(), weights_after(best))


def test_a_training_that_was_stopped_anywhere_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole = trainer()
    epochs = train_patiently(whole, patience(2), tmp_path / "whole" / "c", every=2)
    for stop in range(1, epochs * EPOCH, 2):
        checkpoint = tmp_path / str(stop) / "c"
        with pytest.raises(RuntimeError, match="killed"):
            train_patiently(dying_at(stop), patience(2), checkpoint, every=2)
        again = trainer()
        assert train_patiently(again, patience(2), checkpoint, every=2) == epochs
        assert same(again.tensors(), whole.tensors())


@pytest.mark.parametrize("stop", [EPOCH + 1, 3 * EPOCH - 1, None])
@pytest.mark.parametrize("deleted", [("c",), (HISTORY,), (BEST,), ("c", HISTORY), ("c", BEST), (HISTORY, BEST)])
def test_whatever_of_its_files_is_deleted_a_training_comes_to_the_same_end(
    deleted: tuple[str, ...], stop: int | None, tmp_path: Path
) -> None:
    """As messages advise where one of them is damaged."""
    whole = trainer()
    epochs = train_patiently(whole, patience(2), tmp_path / "whole" / "c", every=2)
    checkpoint = tmp_path / "again" / "c"
    if stop is None:
        copied(tmp_path / "whole", tmp_path / "again")
    else:
        with pytest.raises(RuntimeError, match="killed"):
            train_patiently(dying_at(stop), patience(2), checkpoint, every=2)
    for name in deleted:
        (tmp_path / "again" / name).unlink()
    again = trainer()
    assert train_patiently(again, patience(2), checkpoint, every=2) == epochs
    assert same(again.network.state_dict(), whole.network.state_dict())


def test_a_training_that_was_stopped_in_its_first_epoch_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train_patiently(dying_at(2), patience(2), tmp_path / "c", every=2)
    begun: list[int] = []
    real = Trainer.step

    def noted(training: Trainer, paths: Any = None) -> float:
        begun.append(training.done)
        return real(training, paths)

    monkeypatch.setattr(Trainer, "step", noted)
    train_patiently(trainer(), patience(2), tmp_path / "c", every=2)
    assert begun[0] == 2


def test_where_weights_are_averaged_the_average_is_measured_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter([10, 50, 20, 20, 20, 20])
    monkeypatch.setattr(patience_module, "accuracy", lambda network, images: Accuracy(next(asked), len(images)))
    training, until = trainer(ema=0.9), trainer(ema=0.9)
    assert train_patiently(training, patience(3), tmp_path / "c", every=2) == 5
    until.run(until=2 * EPOCH)
    assert same(training.network.state_dict(), until.averaged.state_dict())


def test_an_average_is_finished_before_each_time_that_it_is_measured_and_no_other_network_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, torch.nn.Module]] = []

    def measured(network: torch.nn.Module, images: LabelledImages) -> Accuracy:
        told.append(("measured", network))
        return Accuracy(len(told), len(images))

    monkeypatch.setattr(patience_module, "accuracy", measured)
    for training in (trainer(ema=0.9), trainer()):
        told.clear()
        folder = tmp_path / str(training.recipe.ema)
        train_patiently(
            training, patience(9), folder / "c", every=2, finish=lambda network: told.append(("finished", network))
        )
        steps = ["finished", "measured"] if training.averaged is not training.network else ["measured"]
        assert [what for what, _ in told] == steps * EPOCHS
        assert len({id(network) for _, network in told}) == 1


def test_what_is_done_to_an_average_before_it_is_measured_leaves_no_trace_in_the_training(tmp_path: Path) -> None:
    def finish(network: torch.nn.Module) -> None:
        recalibrate(network, digits().images[:64], seed=1)

    for name, done in (("as it is", None), ("finished", finish)):
        train_patiently(trainer(ema=0.9), patience(9), tmp_path / name / "c", every=2, finish=done)
    plain, finished = (load_tensors(tmp_path / name / "c")[0] for name in ("as it is", "finished"))
    assert same(plain, finished)


def test_a_training_without_steps_has_no_epoch_to_stop_at(tmp_path: Path) -> None:
    training = Trainer(small_network(), digits(), Recipe(0), SEED)
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    assert train_patiently(training, patience(2), tmp_path / "c", every=2) == 0
    assert same(training.network.state_dict(), before)
