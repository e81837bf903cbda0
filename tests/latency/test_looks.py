"""How a network is held against a budget: how many single calls it gets."""

from __future__ import annotations

import pytest

from latnas.latency.looks import calls_ms


class Counted:
    """Each call takes a thousandth of its length longer than the one before."""

    def __init__(self, call_seconds: float) -> None:
        self.call_seconds, self.calls = call_seconds, 0

    def run(self, n: int) -> float:
        assert n == 1
        self.calls += 1
        return self.call_seconds * (1 + self.calls / 1000)


@pytest.mark.parametrize(("call_seconds", "calls"), [(0.001, 200), (0.022, 200), (0.1, 49), (3.0, 20)])
def test_slow_networks_get_fewer_single_calls_and_always_enough_for_quantiles(call_seconds: float, calls: int) -> None:
    runner = Counted(call_seconds)
    p50, p90 = calls_ms("a network", runner)
    assert runner.calls == calls
    assert p50 == pytest.approx(1e3 * call_seconds * (1 + (calls + 1) / 2000))
    assert p90 == pytest.approx(1e3 * call_seconds * (1 + (1 + 0.9 * (calls - 1)) / 1000))
