"""Ctrl-C and SIGTERM: they wait for the end of a step, and a training that they end leaves its checkpoint."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from small_trainings import SEED, STEPS, digits, small_network
from torch import Tensor

from latnas.errors import Terminated
from latnas.training import trainer as trainer_module
from latnas.training.checkpoint import load_tensors
from latnas.training.interruption import undivided
from latnas.training.trainer import Loss, Recipe, Trainer, plain_loss

RAISED = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]


pytestmark = pytest.mark.usefixtures("signals_handled")


def trainer(loss: Loss = plain_loss) -> Trainer:
    return Trainer(small_network(), digits(), Recipe(STEPS, batch_size=16, flip=False), SEED, loss=loss)


@pytest.mark.parametrize("within", [True, False], ids=["within a step", "between steps"])
@pytest.mark.parametrize(("told", "raised"), RAISED)
def test_a_training_that_is_told_to_stop_leaves_a_checkpoint_of_whole_steps(
    within: bool, told: int, raised: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), told)

    def loss(logits: Tensor, images: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
        tell(stopped.done + 1)
        return plain_loss(logits, images, labels, recipe)

    stopped = trainer(loss if within else plain_loss)
    with monkeypatch.context() as patched:
        if not within:
            patched.setattr(trainer_module, "tell_share", lambda _: tell(stopped.done))
        with pytest.raises(raised):
            stopped.run(checkpoint=tmp_path / "c")
    assert load_tensors(tmp_path / "c")[1]["step"] == stopped.done == 3
    resumed, whole = trainer(), trainer()
    resumed.run(checkpoint=tmp_path / "c")
    whole.run()
    assert resumed.done == STEPS
    assert all(value.equal(whole.tensors()[name]) for name, value in resumed.tensors().items())


@pytest.mark.parametrize(("told", "raised"), RAISED)
def test_a_signal_waits_for_the_end_of_the_block_and_then_does_what_it_does_elsewhere(
    told: int, raised: type[BaseException]
) -> None:
    reached: list[str] = []

    def block() -> None:
        with undivided():
            signal.raise_signal(told)
            reached.append("the end")
        reached.append("what follows")

    with pytest.raises(raised):
        block()
    assert reached == ["the end"]
    with pytest.raises(raised):
        signal.raise_signal(told)


def test_an_error_within_the_block_stays_the_error() -> None:
    with pytest.raises(ValueError, match="its own"), undivided():
        raise ValueError("its own")


def test_other_threads_may_use_the_block_and_change_nothing() -> None:
    before, entered = signal.getsignal(signal.SIGINT), []

    def enter() -> None:
        with undivided():
            entered.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [before]
