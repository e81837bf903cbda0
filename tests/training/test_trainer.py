"""The trainer: killed and resumed equals never stopped; gradients against separate backward passes."""

from __future__ import annotations

import copy
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import small_trainings
import torch
from safetensors.torch import save_file
from small_trainings import NESTEROV, RATE, SEED, SIMPLE, STEPS, digits, small_network, small_space, training, two_paths
from torch import Tensor, nn
from torch.nn import functional

from latnas.data.randomness import generator
from latnas.errors import LatnasError
from latnas.spaces.choice import Selection, path_of, selecting
from latnas.training import trainer as trainer_module
from latnas.training.checkpoint import load_tensors
from latnas.training.trainer import Recipe, Trainer


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(value.equal(second[name]) for name, value in first.items())


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def movement(trainer: Trainer, paths: list[Selection] | None = None) -> dict[str, Tensor]:
    """How far one step moves each parameter."""
    before = weights(trainer.network)
    trainer.step(paths)
    return {name: value - before[name] for name, value in weights(trainer.network).items()}


# Resuming


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints that a process left that was training a network and a supernet, in turns, when it died."""
    folder = tmp_path_factory.mktemp("killed")
    process = subprocess.Popen([sys.executable, small_trainings.__file__, str(folder)], env=dict(os.environ))
    while not all((folder / kind).exists() for kind in small_trainings.KINDS):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return folder


@pytest.mark.parametrize("kind", small_trainings.KINDS)
def test_a_killed_and_resumed_training_equals_one_that_never_stopped_bit_for_bit(
    kind: str, killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = killed / kind
    _, state = load_tensors(checkpoint)
    assert 0 < state["step"] < STEPS

    resumed, paths = training(kind)
    torch.rand(3)  # nothing may depend on the global generator
    seen: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(trainer_module, "tell_share", lambda _: seen.append(resumed.done))
        resumed.run(paths, checkpoint)
    assert seen == list(range(state["step"] + 1, STEPS + 1))
    unbroken, paths = training(kind)
    unbroken.run(paths)
    assert same(resumed.tensors(), unbroken.tensors())
    assert any(name.startswith("momentum.") for name in resumed.tensors())


def test_the_last_checkpoint_is_the_finished_training_and_running_again_does_nothing(tmp_path: Path) -> None:
    trainer, _ = training("network")
    network = trainer.run(checkpoint=tmp_path / "c", every=7)
    assert not network.training
    again, _ = training("network")
    again.run(checkpoint=tmp_path / "c")
    assert again.done == STEPS and same(again.tensors(), trainer.tensors())


def test_a_training_in_two_parts_equals_one_in_one(tmp_path: Path) -> None:
    first, paths = training("supernet")
    first.run(paths, tmp_path / "c", until=5)
    assert first.done == 5
    second, _ = training("supernet")
    second.run(paths, tmp_path / "c", until=STEPS + 100)
    whole, _ = training("supernet")
    whole.run(paths)
    assert second.done == STEPS and same(second.tensors(), whole.tensors())


def test_a_step_is_a_function_of_seed_and_step() -> None:
    def after(seed: int, global_seed: int) -> dict[str, Tensor]:
        trainer = Trainer(small_network(), digits(), SIMPLE, seed)
        torch.manual_seed(global_seed)
        for _ in range(3):
            trainer.step()
        return trainer.tensors()

    with torch.random.fork_rng(devices=[]):
        assert same(after(0, 1), after(0, 2))
        assert not same(after(0, 1), after(1, 1))
        state = torch.get_rng_state()
        Trainer(small_network(), digits(), SIMPLE, 0).step()
        assert torch.get_rng_state().equal(state)


def test_a_batch_does_not_depend_on_the_batches_before_it() -> None:
    one, other = (Trainer(small_network(), digits(), SIMPLE, 3) for _ in range(2))
    for step in range(5):
        one.batch(step)
    for value, again in zip(one.batch(5), other.batch(5), strict=True):
        assert value.equal(again)
    assert not one.batch(5)[0].equal(one.batch(6)[0])


# Gradients


def gradients_of(network: nn.Module, images: Tensor, labels: Tensor, path: Selection) -> dict[str, Tensor]:
    """One backward pass of its own; a parameter that the path does not use is absent."""
    alone = copy.deepcopy(network).train()
    with selecting(path):
        functional.cross_entropy(alone(images), labels).backward()
    return {name: p.grad for name, p in alone.named_parameters() if p.grad is not None}


def test_gradients_are_averaged_part_by_part_over_the_paths_that_used_the_part() -> None:
    space = small_space()
    random = generator("three paths")
    paths = [path_of(space.random(random), space.decisions) for _ in range(3)]
    trainer = Trainer(space.network(0), digits(), SIMPLE, seed=0)
    apart = [gradients_of(trainer.network, *trainer.batch(0), path) for path in paths]
    moved = movement(trainer, paths)
    counts = set()
    for name, moved_by in moved.items():
        using = [gradients[name] for gradients in apart if name in gradients]
        counts.add(len(using))
        if not using:
            assert not moved_by.any(), name
        else:
            expected = -RATE * NESTEROV * torch.stack(using).mean(0)
            torch.testing.assert_close(moved_by, expected, rtol=1e-3, atol=2e-7)
    assert counts >= {0, 1, 3}  # unused, used by one path alone, and the fixed rest


def test_parts_that_a_step_does_not_use_are_moved_by_neither_momentum_nor_weight_decay() -> None:
    space = small_space()
    layers = [decision.name for decision in space.decisions]
    recipe = Recipe(100, 16, 0.1, weight_decay=0.1, flip=False)
    trainer = Trainer(space.network(0), digits(), recipe, seed=0)
    first: Selection = dict.fromkeys(layers, ("k3_e1",))
    second: Selection = dict.fromkeys(layers, ("k5_e3",))
    assert any(moved.any() for name, moved in movement(trainer, [first]).items() if "k3_e1" in name)
    moved = movement(trainer, [second])
    assert not any(by.any() for name, by in moved.items() if ".parts." in name and "k5_e3" not in name)
    assert all(by.any() for name, by in moved.items() if name.endswith("weight") and "k5_e3" in name)
    assert all(parameter.grad is None for parameter in trainer.network.parameters())


def test_two_equal_paths_are_one_path() -> None:
    path = two_paths(0)[0]
    one, two = (Trainer(small_space().network(0), digits(), SIMPLE, seed=0) for _ in range(2))
    assert one.step([path]) == two.step([path, path])
    for name, value in weights(one.network).items():
        assert value.equal(weights(two.network)[name])


def test_weight_decay_acts_on_kernels_and_matrices_only() -> None:
    free, decayed = (
        Trainer(small_network(), digits(), Recipe(100, 16, RATE, 0, weight_decay=decay, clip_norm=1e9), seed=0)
        for decay in (0.0, 0.1)
    )
    before = weights(free.network)
    without, with_decay = movement(free), movement(decayed)
    for name, value in before.items():
        expected = -RATE * NESTEROV * 0.1 * value if value.dim() > 1 else torch.zeros_like(value)
        torch.testing.assert_close(with_decay[name] - without[name], expected, rtol=1e-3, atol=1e-7)


def test_gradients_are_clipped_to_the_norm_of_the_recipe() -> None:
    trainer = Trainer(small_network(), digits(), Recipe(100, 16, RATE, 0, weight_decay=0.0, clip_norm=0.01), seed=0)
    moved = torch.cat([value.flatten() for value in movement(trainer).values()])
    assert float(moved.norm()) == pytest.approx(RATE * NESTEROV * 0.01, rel=1e-3)


def test_a_short_training_learns_digits() -> None:
    trainer = Trainer(small_network(width=8), digits(), Recipe(60, 64, 0.3, flip=False), seed=0)
    losses = [trainer.step() for _ in range(60)]
    assert losses[0] > 0.9 * math.log(10) and sum(losses[-5:]) / 5 < 0.6 * math.log(10)


# The learning rate


def test_the_learning_rate_rises_linearly_and_falls_like_a_cosine() -> None:
    recipe = Recipe(400, learning_rate=0.2, warmup_steps=40)
    rates = [recipe.rate(step) for step in range(400)]
    assert rates[:40] == pytest.approx([0.2 * (step + 1) / 40 for step in range(40)])
    assert rates[40:] == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 360)) for step in range(360)])
    assert max(rates) == rates[39] == rates[40] == 0.2 and 0 < rates[-1] < 1e-4


@pytest.mark.parametrize("steps", [1, 2, 5, 30])
def test_a_short_training_warms_up_for_a_fifth_of_it_at_most(steps: int) -> None:
    recipe = Recipe(steps, learning_rate=0.2, warmup_steps=50)
    rates = [recipe.rate(step) for step in range(steps)]
    assert rates.index(max(rates)) <= max(steps // 5, 1)
    assert min(rates) > 0 and max(rates) == pytest.approx(0.2)


# What is refused


def test_a_diverging_loss_names_the_step_and_the_path_and_moves_nothing() -> None:
    space = small_space()
    network = space.network(0)
    trainer = Trainer(network, digits(), SIMPLE, seed=0)
    sound: Selection = {decision.name: ("k3_e1",) for decision in space.decisions}
    broken: Selection = {**sound, space.decisions[1].name: ("k7_e6",)}
    trainer.step([sound])
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "k7_e6" in name:
                parameter.fill_(math.nan)
    before = weights(network)
    with pytest.raises(LatnasError) as raised:
        trainer.step([sound, broken])
    message = str(raised.value)
    assert "diverged at step 1: the loss is nan along the path" in message
    assert f"{space.decisions[1].name}: k7_e6" in message and f"{space.decisions[0].name}: k3_e1" in message
    assert message.count(space.decisions[1].name) == 1  # of the path that diverged, not of the sound one
    assert all(value.equal(before[name]) for name, value in weights(network).items() if "k7_e6" not in name)


def test_a_diverging_loss_is_told_of_without_a_path_and_with_weighted_parts_too() -> None:
    network = small_network()
    nn.init.constant_(network[-1].weight, math.inf)
    with pytest.raises(LatnasError, match=r"diverged at step 0: the loss is nan\. Try another seed\."):
        Trainer(network, digits(), SIMPLE, seed=0).step()
    space = small_space()
    supernet = space.network(0)
    nn.init.constant_(supernet.body.head[-1].weight, math.nan)
    mixed: Selection = {d.name: torch.full((len(d.parts),), 1 / len(d.parts)) for d in space.decisions}
    with pytest.raises(LatnasError, match="layer1: weighted parts"):
        Trainer(supernet, digits(), SIMPLE, seed=0).step([mixed])


def test_a_device_without_memory_left_is_told_of_with_what_takes_less() -> None:
    def too_much(*_: Any) -> Any:
        def loss() -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        return loss

    trainer = Trainer(small_network(), digits(), SIMPLE, SEED, what="the training of a|b")
    trainer._loss = too_much  # type: ignore[method-assign, assignment]
    with pytest.raises(
        LatnasError, match=r"^cpu has no memory left for the training of a\|b: CUDA out of .*local:1; or"
    ):
        trainer.step()


def test_a_training_that_diverges_is_told_of_by_its_name_and_a_path_by_how_it_was_drawn() -> None:
    network = small_network()
    nn.init.constant_(network[-1].weight, math.inf)
    trainer = Trainer(network, digits(), SIMPLE, seed=0, what="the training of a|b")
    with pytest.raises(LatnasError, match=r"^the training of a\|b diverged at step 0: the loss is nan\. Try another"):
        trainer.step()
    space = small_space()
    supernet = space.network(0)
    nn.init.constant_(supernet.body.head[-1].weight, math.nan)
    path: Selection = {decision.name: ("k3_e1",) for decision in space.decisions}
    with pytest.raises(
        LatnasError, match=r"^training diverged .* along the path .*: k3_e1, drawn by lot\. Try another"
    ):
        Trainer(supernet, digits(), SIMPLE, seed=0).step([path], "drawn by lot")


def test_a_gradient_that_is_not_finite_under_a_finite_loss_names_the_step_and_moves_nothing() -> None:
    def steep(logits: Any, images: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
        return (logits * 0).sum().sqrt()

    trainer = Trainer(small_network(), digits(), SIMPLE, seed=0, loss=steep, advice="Try what helps.")
    before = weights(trainer.network)
    with pytest.raises(LatnasError, match=r"diverged at step 0: the norm of the gradient is nan\. Try what helps\."):
        trainer.step()
    assert trainer.done == 0 and same(weights(trainer.network), before)
    space = small_space()
    path: Selection = {decision.name: ("k3_e1",) for decision in space.decisions}
    with pytest.raises(LatnasError, match=r"gradient is nan along the path .*layer1: k3_e1"):
        Trainer(space.network(0), digits(), SIMPLE, seed=0, loss=steep).step([path])


def checkpoint_of(trainer: Trainer, path: Path) -> Path:
    trainer.run(checkpoint=path, until=2)
    return path


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = checkpoint_of(Trainer(small_network(), digits(), SIMPLE, SEED), tmp_path / "c")
    with pytest.raises(LatnasError, match=r"another network's weights.*Delete it to start over"):
        Trainer(small_network(width=4), digits(), SIMPLE, SEED).run(checkpoint=path)


def test_a_checkpoint_of_another_seed_is_refused(tmp_path: Path) -> None:
    path = checkpoint_of(Trainer(small_network(), digits(), SIMPLE, SEED), tmp_path / "c")
    with pytest.raises(LatnasError, match=f"seed {SEED}, not {SEED + 1}"):
        Trainer(small_network(), digits(), SIMPLE, SEED + 1).run(checkpoint=path)


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_in_place_of_a_checkpoint_is_refused_and_not_opened(tmp_path: Path) -> None:
    for name, write in {
        "pickle": lambda path: path.write_bytes(pickle.dumps(Trap(tmp_path / "sprung"))),
        "torch": lambda path: torch.save(Trap(tmp_path / "sprung"), path),
    }.items():
        write(tmp_path / name)
        with pytest.raises(LatnasError, match="not a checkpoint of latnas"):
            Trainer(small_network(), digits(), SIMPLE, SEED).run(checkpoint=tmp_path / name)
    assert not (tmp_path / "sprung").exists()
    pickle.loads((tmp_path / "pickle").read_bytes())
    assert (tmp_path / "sprung").exists()  # the trap was armed


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_a_checkpoint_that_was_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    path = checkpoint_of(Trainer(small_network(), digits(), SIMPLE, SEED), tmp_path / "c")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(LatnasError, match=r"was cut short.*Delete it to start over"):
        Trainer(small_network(), digits(), SIMPLE, SEED).run(checkpoint=path)


def test_tensors_of_another_program_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "c")
    with pytest.raises(LatnasError, match="not a checkpoint of latnas"):
        Trainer(small_network(), digits(), SIMPLE, SEED).run(checkpoint=tmp_path / "c")
