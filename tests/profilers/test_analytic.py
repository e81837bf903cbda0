from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from latnas.latency.measure import measure
from latnas.latency.profiler import RunSettings
from latnas.latency.workload import Workload, identity_workload
from latnas_profilers.analytic import (
    BANDWIDTH_BYTES_PER_SECOND,
    CALL_SECONDS,
    KERNEL_SECONDS,
    PEAK_MACS_PER_SECOND,
    inference_seconds,
    plugin,
)


def seconds_of(module: nn.Module, *inputs: Tensor) -> float:
    """Of the module alone, without the call."""
    return inference_seconds(module.eval(), inputs) - CALL_SECONDS


def kernel(macs: int, floats: int) -> float:
    return KERNEL_SECONDS + max(macs / PEAK_MACS_PER_SECOND, 4 * floats / BANDWIDTH_BYTES_PER_SECOND)


X = torch.zeros(1, 64, 32, 32)
FLOATS = 64 * 32 * 32


@pytest.mark.parametrize(
    ("module", "macs", "parameters"),
    [
        (nn.Conv2d(64, 64, 3, padding=1, bias=False), FLOATS * 64 * 9, 64 * 64 * 9),
        (nn.Conv2d(64, 64, 3, padding=1, groups=64, bias=False), FLOATS * 9, 64 * 9),
        (nn.Conv2d(64, 64, 5, padding=2, groups=4, bias=False), FLOATS * 16 * 25, 64 * 16 * 25),
        (nn.ConvTranspose2d(64, 64, 3, padding=1, bias=False), FLOATS * 64 * 9, 64 * 64 * 9),
        (nn.ReLU(), 0, 0),
        (nn.BatchNorm2d(64, track_running_stats=False, affine=True), 0, 2 * 64),
        (nn.BatchNorm2d(64), 0, 4 * 64 + 2),  # and a 64-bit counter
    ],
)
def test_a_leaf_costs_arithmetic_or_memory_whichever_is_more(module: nn.Module, macs: int, parameters: int) -> None:
    assert seconds_of(module, X) == pytest.approx(kernel(macs, 2 * FLOATS + parameters))


def test_a_linear_layer_by_hand() -> None:
    module = nn.Linear(4096, 1000, bias=False)
    moved = 4096 * 1000 + 4096 + 1000
    assert seconds_of(module, torch.zeros(1, 4096)) == pytest.approx(kernel(4096 * 1000, moved))


def test_leaves_add_up_and_one_that_is_called_twice_counts_twice() -> None:
    class Twice(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(self.inner(x)) + x

    conv, relu = nn.Conv2d(64, 64, 1), nn.ReLU()
    pair = seconds_of(conv, X) + seconds_of(relu, X)
    assert seconds_of(nn.Sequential(conv, relu), X) == pytest.approx(pair)
    assert seconds_of(Twice(nn.Sequential(conv, relu)), X) == pytest.approx(2 * pair)


def test_what_vanishes_at_inference_is_free() -> None:
    assert seconds_of(nn.Sequential(nn.Identity(), nn.Dropout(), nn.Sequential()), X) == 0.0
    assert seconds_of(nn.Sequential(), X) == 0.0


def test_keyword_arguments_and_nested_outputs_are_counted() -> None:
    class Leaf(nn.Module):
        def forward(self, x: Tensor, *, scale: Tensor) -> dict[str, list[Tensor]]:
            return {"out": [x * scale]}

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leaf = Leaf()

        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            out: Tensor = self.leaf(x, scale=scale)["out"][0]
            return out

    assert seconds_of(Outer(), X, X) == pytest.approx(kernel(0, 3 * FLOATS))


def test_the_same_times_to_the_last_bit_and_at_once() -> None:
    profiler = plugin.open("analytic", RunSettings())
    workloads = {
        "conv": Workload(nn.Conv2d(64, 64, 3), X),
        "nothing": identity_workload(X),
        "skip": Workload(nn.Identity(), X),
    }
    runners = {name: profiler.prepare(work) for name, work in workloads.items()}
    first = measure(runners, anchor="conv", rounds=3)
    assert first == measure({n: profiler.prepare(w) for n, w in workloads.items()}, anchor="conv", rounds=3)
    assert {name: item.floor_seconds for name, item in first.items.items()} == {
        name: inference_seconds(work.module, work.example) for name, work in workloads.items()
    }
    assert first.unsettled() == ()


def test_batch_four_costs_four_times_the_arithmetic() -> None:
    conv = nn.Conv2d(64, 64, 3, padding=1)
    one, four = seconds_of(conv, X), seconds_of(conv, X.expand(4, -1, -1, -1))
    assert (four - KERNEL_SECONDS) / (one - KERNEL_SECONDS) == pytest.approx(4.0)


def test_no_hook_stays_on_the_module() -> None:
    module = nn.Sequential(nn.Conv2d(64, 8, 1), nn.ReLU()).eval()
    inference_seconds(module, (X,))
    with pytest.raises(RuntimeError):
        inference_seconds(module, (torch.zeros(1, 3, 8, 8),))
    assert all(not leaf._forward_hooks for leaf in module.modules())


def test_the_description_is_the_same_on_every_host(monkeypatch: pytest.MonkeyPatch) -> None:
    first = plugin.open("analytic", RunSettings()).describe()
    monkeypatch.setattr("platform.node", lambda: "another")
    assert plugin.open("analytic", RunSettings()).describe() == first
    assert "host" not in first
