"""Primitive operations: an example by hand, liveness against brute force, and what counts as memory."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from latnas.data.randomness import generator
from latnas.spaces.choice import path_of
from latnas.spaces.primitives import Primitive, PrimitiveRun, run_primitives
from latnas.spaces.space import make_space


class Branching(nn.Module):
    """4 x 8 x 8 in; a 1x1 convolution to 6 channels, ReLU, both added; the mean of these leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return (y + torch.relu(y)).reshape(1, 6, 64).mean(2)


def test_the_peak_of_a_small_network_is_what_one_computes_by_hand() -> None:
    run = run_primitives(Branching(), [torch.zeros(1, 4, 8, 8)])
    assert [operation.kind for operation in run.operations] == ["convolution", "relu", "add", "mean"]
    image, wide, mean = 4 * 64 * 4, 6 * 64 * 4, 6 * 4
    assert run.bytes_of == (image, wide, wide, wide, mean)  # the reshaped sum is the sum itself
    # While adding: y, relu(y) and their sum. The image is gone since the convolution.
    assert run.peak_bytes == 3 * wide
    assert run.stored == 4 * 6 + 6


def test_an_input_that_is_read_late_stays() -> None:
    class Residual(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.relu(torch.relu(x))

    assert run_primitives(Residual(), [torch.zeros(1, 2, 4, 4)]).peak_bytes == 3 * 2 * 16 * 4


def test_an_operation_in_place_takes_no_memory_of_its_own() -> None:
    module = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(inplace=True))
    assert run_primitives(module, [torch.zeros(1, 1, 4, 4)]).peak_bytes == (1 + 3) * 16 * 4


def peak_by_brute_force(run: PrimitiveRun) -> int:
    """At every step, all values that were written by then and are read from then on."""
    steps = range(len(run.operations))
    written = {value: step for step, one in enumerate(run.operations) for value in one.writes}
    peaks = []
    for step in steps:
        later = {value for one in run.operations[step:] for value in one.reads} | set(run.outputs)
        own = set(run.operations[step].writes)
        live = [v for v in range(len(run.bytes_of)) if written.get(v, -1) <= step and v in later | own]
        peaks.append(sum(run.bytes_of[value] for value in live))
    return max(peaks)


def test_peaks_are_those_of_brute_force_on_random_graphs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(1, 12))
        operations = [
            Primitive("any", tuple({int(v) for v in rng.integers(0, step + 1, rng.integers(1, 4))}), (step + 1,), ())
            for step in range(count)
        ]
        sizes = tuple(int(size) for size in rng.integers(1, 100, count + 1))
        run = PrimitiveRun(tuple(operations), sizes, (count,), 0, 0)
        assert run.peak_bytes == peak_by_brute_force(run)


def test_peaks_are_those_of_brute_force_on_networks_of_both_spaces_and_derived_networks_agree() -> None:
    for name in ("nasbench201", "mbconv"):
        space = make_space(name, image_size=12, channels=3, classes=10, width=4, depth=1)
        supernet = space.network(0)
        for seed in range(5):
            architecture = space.random(generator(seed))
            run = run_primitives(supernet, [space.example()], path_of(architecture, space.decisions))
            assert run.peak_bytes == peak_by_brute_force(run) == space.amounts(architecture).memory_bytes
            assert run_primitives(space.derive(supernet, architecture), [space.example()]) == run
