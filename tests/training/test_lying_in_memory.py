"""Where channels come last in memory, and that gradients are right whichever way they lie."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

import pytest
import torch
from small_trainings import NESTEROV, RATE, SIMPLE, digits
from torch import Tensor, nn
from torch.nn import functional

from latnas.data.randomness import generator
from latnas.spaces.space import SPACES, Classifier, make_space
from latnas.training.layout import layout_of
from latnas.training.trainer import Trainer


def network_of(name: str, width: int, seed: int) -> Classifier:
    space = make_space(name, image_size=8, channels=1, classes=10, width=width, depth=SPACES[name].least_depth)
    return space.derive(space.network(0), space.random(generator(seed, "layout")))


def flat(values: Iterable[Tensor]) -> Tensor:
    return torch.cat([value.detach().double().flatten() for value in values])


def reduced(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.Conv2d(16, 4, 1), nn.Conv2d(channels, 8, 1, 2))


@pytest.mark.parametrize(
    ("processor", "channels", "device", "expected"),
    [
        ("AVX2", 7, "cpu", torch.contiguous_format),
        ("AVX2", 8, "cpu", torch.channels_last),
        ("AVX512", 15, "cpu", torch.contiguous_format),
        ("AVX512", 16, "cpu", torch.channels_last),
        ("AVX2", 8, "cuda:1", torch.contiguous_format),
    ],
)
def test_channels_come_last_where_gradients_are_right(
    processor: str, channels: int, device: str, expected: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    assert layout_of(reduced(channels), device) == expected


@pytest.mark.parametrize(("name", "width"), [("nasbench201", 4), ("mbconv", 4), ("darts", 2), ("darts", 4)])
def test_one_step_goes_along_the_gradient_in_double_precision(name: str, width: int) -> None:
    for seed in range(3):
        trainer = Trainer(network_of(name, width, seed), digits(), SIMPLE, seed)
        reference = network_of(name, width, seed).double().train()
        images, labels = trainer.batch(0)
        functional.cross_entropy(reference(images.contiguous().double()), labels).backward()
        before = flat(trainer.network.parameters())
        trainer.step()
        expected = -RATE * NESTEROV * flat(value.grad for value in reference.parameters() if value.grad is not None)
        moved = flat(trainer.network.parameters()) - before
        assert torch.linalg.norm(moved - expected) < 0.01 * torch.linalg.norm(expected)


def test_networks_of_few_channels_whose_skips_halve_images_train_without_harm_to_the_process() -> None:
    """The library that checks the heap ends a process that wrote where it must not."""
    code = (
        "from dataclasses import replace\nimport test_lying_in_memory as t\n"
        "data = t.digits()\n"
        "for seed in range(4): t.Trainer(t.network_of('darts', 2, seed), data, replace(t.SIMPLE, steps=3), 0).run()\n"
        "print('unharmed')\n"
    )
    env = {**os.environ, "MALLOC_CHECK_": "3", "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=100)
    assert (found.returncode, found.stdout) == (0, "unharmed\n"), found.stderr
