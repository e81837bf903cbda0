"""The benchmark of a search step, of three cells: what it times, in which order, and what it makes of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import supernet_step
from supernet_step import BLOCK, FIRST, HYPERNETWORK, LARGEST, LAST, PHASES, PLAIN, SHARED, Problem

from latnas.hypernet.learn import Learning

TINY = {"width": 2, "depth": 1, "size": 8, "batch": 4}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supernet_step, "LEARNING", Learning(steps=8))


@pytest.fixture(scope="module")
def tiny() -> Problem:
    return supernet_step.problem(**TINY, seed=0)


def test_the_plain_step_is_that_of_the_network_of_most_multiply_adds(tiny: Problem) -> None:
    assert set(tiny.largest.items.values()) == {"nor_conv_3x3"}
    assert tiny.cost.cost(tiny.largest) == tiny.budgets.slowest_ms


def test_blocks_of_all_kinds_are_timed_in_turn_and_the_first_is_not_counted() -> None:
    called: list[tuple[str, int]] = []
    works = {name: (lambda step, name=name: called.append((name, step))) for name in ("a", "b", "c")}
    seconds = supernet_step.time_blocks(works, blocks=2)
    assert {name: values.shape for name, values in seconds.items()} == dict.fromkeys(works, (2,))
    assert [name for name, _ in called[::BLOCK]] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    for name in works:
        assert [step for own, step in called if own == name] == list(range(3 * BLOCK))


def test_a_ratio_is_that_of_sums_and_its_interval_has_no_width_where_blocks_agree() -> None:
    below = np.array([1.0, 2.0, 3.0])
    assert supernet_step.ratio(2 * below, below, seed=0) == (2.0, 2.0, 2.0)
    value, low, high = supernet_step.ratio(np.array([1.0, 5.0, 3.0]), below, seed=0)
    assert value == 1.5 and 1.0 <= low < value < high <= 2.5


@pytest.mark.parametrize("phase", PHASES)
def test_a_search_step_is_one_update_of_either_half(tiny: Problem, phase: str) -> None:
    works = supernet_step.search_steps(tiny, phase)
    assert list(works) == [f"{phase}: {SHARED}", f"{phase}: {HYPERNETWORK}"]
    reports = [works[f"{phase}: {HYPERNETWORK}"](step) for step in range(2 * BLOCK)]
    # The supernet's term is in every fourth.
    assert [report.supernet_loss is not None for report in reports] == [True, False, False, False] * 2
    losses = [works[f"{phase}: {SHARED}"](step) for step in range(3)]
    assert np.isfinite(losses).all()


def test_rows_are_ratios_to_the_plain_step() -> None:
    seconds = {PLAIN: np.array([1.0, 1.0])}
    for number, phase in enumerate(PHASES):
        seconds |= {
            f"{phase}: {SHARED}": np.array([0.1, 0.3]) * (number + 1),
            f"{phase}: {HYPERNETWORK}": np.full(2, 0.1),
        }
    peaks = {PLAIN: [90.0, 110.0], FIRST: [50.0, 70.0], LAST: [100.0, 120.0], LARGEST: [200.0, 200.0]}
    rows = supernet_step.summarise(seconds, peaks, seed=0)
    assert [row["time_ratio"] for row in rows] == [0.3, 0.5, 0.7]
    assert [row["memory_ratio"] for row in rows] == [0.6, 1.1, 2.0]
    assert (rows[0]["memory_low"], rows[0]["memory_high"]) == (round(50 / 110, 5), round(70 / 90, 5))
    assert rows[0]["steps"] == 2 * BLOCK and rows[0]["processes"] == 2
    # The bound is reported, and is not what was to be reached.
    assert [one.value for one in supernet_step.reach(rows)] == [0.5, 1.1]


def test_the_whole_benchmark_leaves_a_row_for_each_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [word for name, size in TINY.items() for word in (f"--{name}", str(size))]
    out = tmp_path / "out.json"
    apart: list[list[str]] = []

    def in_this_process(script: str, *words: str) -> dict[str, float]:
        apart.append(list(words))
        return {"mb": 10.0}

    monkeypatch.setattr(supernet_step, "measured_apart", in_this_process)
    monkeypatch.setattr(
        sys, "argv", ["supernet_step.py", *words, "--blocks", "1", "--processes", "2", "--json", str(out)]
    )
    supernet_step.main()
    found = json.loads(out.read_text())
    assert [row["phase"] for row in found["rows"]] == list(PHASES)
    assert {one["what"].split()[0]: one["reach"] for one in found["reach"]} == {"time": 0.7, "memory": 1.2}
    assert len(apart) == 2 * (1 + len(PHASES))


def test_a_process_for_memory_prints_what_it_added(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for name, size in TINY.items() for word in (f"--{name}", str(size))]
    monkeypatch.setattr(sys, "argv", ["supernet_step.py", *words, "--memory-blocks", "1", "--peak-of", LAST])
    supernet_step.main()
    assert json.loads(capsys.readouterr().out)["mb"] >= 0
