"""The table's candidates and the two figures, against a second, slower way of finding each."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from made_up_table import DEVICES, random_cells, write_table
from nasbench201_table import FLOORS, Table, load_table, quality

from latnas.errors import LatnasError, UsageError
from latnas.spaces.nasbench201 import EDGES, expression

WHAT_OPERATIONS_DO = {
    "skip_connect": lambda x: x,
    "nor_conv_1x1": lambda x: math.sin(1.3 * x + 0.2),
    "nor_conv_3x3": lambda x: math.cos(0.7 * x - 0.4),
    "avg_pool_3x3": lambda x: math.tanh(0.9 * x + 0.1),
}


def output(cell: dict[str, str]) -> float | None:
    """A number that tells cells apart by what they compute: sums are told from their summands. None: disconnected."""
    nodes: list[float | None] = [0.618, None, None, None]
    for target in (1, 2, 3):
        arriving = [
            WHAT_OPERATIONS_DO[cell[f"{source}->{target}"]](value)
            for source in range(target)
            if (value := nodes[source]) is not None and cell[f"{source}->{target}"] != "none"
        ]
        if arriving:
            nodes[target] = arriving[0] if len(arriving) == 1 else math.atan(sum(arriving)) + 2.0
    return nodes[3]


def rows_by_brute_force(cells: list[dict[str, str]]) -> list[int]:
    """The row that stands for each connected computation."""
    outputs = [output(cell) for cell in cells]
    sizes = [sum(name != "none" for name in cell.values()) for cell in cells]
    rows = []
    for row, value in enumerate(outputs):
        if value is not None:
            same = [other for other, theirs in enumerate(outputs) if theirs is not None and abs(theirs - value) < 1e-9]
            if row == min(same, key=lambda other: (sizes[other], other)):
                rows.append(row)
    return rows


def best_within(latency: np.ndarray, accuracy: np.ndarray, limit: float, floor: float) -> float:
    return max([floor, *accuracy[latency <= limit]])


def area(latency: np.ndarray, accuracy: np.ndarray, slowest: float, floor: float) -> float:
    ends = [*sorted(latency), slowest]
    return sum((right - left) * (best_within(latency, accuracy, left, floor) - floor) for left, right in pairwise(ends))


@pytest.fixture(scope="module")
def cells() -> list[dict[str, str]]:
    return random_cells(300, seed=1)


@pytest.fixture(scope="module")
def file(cells: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("table") / "made_up.npz", cells)


@pytest.fixture(scope="module")
def table(file: Path) -> Table:
    return load_table(file, list(FLOORS))


def test_candidates_are_the_smallest_first_rows_of_what_connected_cells_compute(
    cells: list[dict[str, str]], file: Path, table: Table
) -> None:
    rows = rows_by_brute_force(cells)
    assert 50 < len(rows) < sum(output(cell) is not None for cell in cells) < len(cells)
    assert list(table.position) == [expression([cells[row][edge] for edge in EDGES]) for row in rows]
    with np.load(file) as written:
        np.testing.assert_array_equal(table.latency_ms, written["latency_ms"][rows])
        np.testing.assert_array_equal(table.accuracy["c100"], written["acc_c100_test200_mean"][rows])


@pytest.mark.parametrize("data", FLOORS)
@pytest.mark.parametrize("levels", [3, 10_000])
def test_share_and_regret_are_those_of_brute_force(table: Table, data: str, levels: int) -> None:
    """With three levels of scores most choices are ties."""
    scores = np.random.default_rng(levels).integers(0, levels, len(table.position)) * 1.0
    accuracy, floor = table.accuracy[data], FLOORS[data]
    for latency in table.latency_ms.T:
        slowest, fastest = latency.max(), latency.min()
        picks, regrets = [], []
        for step in range(24):
            limit = slowest * (fastest / slowest) ** (step / 23) * (1 + 1e-9)
            within = [n for n in range(len(scores)) if latency[n] <= limit]
            highest = max(scores[n] for n in within)
            tied = sorted((n for n in within if scores[n] == highest), key=lambda n: accuracy[n])
            picks.append(tied[(len(tied) - 1) // 2])
            regrets.append(best_within(latency, accuracy, limit, floor) - max(accuracy[picks[-1]], floor))
        found = quality(scores, accuracy, latency, floor)
        whole = area(latency, accuracy, slowest, floor)
        assert found.hypervolume == pytest.approx(area(latency[picks], accuracy[picks], slowest, floor) / whole)
        assert found.regret == pytest.approx(np.mean(regrets))


def test_the_truth_regrets_nothing(table: Table) -> None:
    accuracy = table.accuracy["c10"]
    assert quality(accuracy, accuracy, table.latency_ms[:, 0], FLOORS["c10"]).regret == 0.0


def test_devices_come_in_the_order_in_which_they_are_named(file: Path, table: Table) -> None:
    some = load_table(file, (), ["pixel3", "fast"])
    assert some.devices == ("pixel3", "fast") and table.devices == tuple(DEVICES)
    np.testing.assert_array_equal(some.latency_ms, table.latency_ms[:, [2, 0]])


def test_scores_are_put_in_order_and_a_missing_one_is_said(table: Table) -> None:
    scores = {text: float(n) for n, text in reversed(list(enumerate(table.position)))}
    assert table.in_order(scores).tolist() == list(range(len(scores)))
    first = next(iter(table.position))
    del scores[first]
    with pytest.raises(LatnasError, match=r"^1 of the table's \d+ cells have no score, such as "):
        table.in_order(scores)


def test_what_is_no_table_is_refused(file: Path, cells: list[dict[str, str]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no device 'gpu'.*fast, slow, pixel3"):
        load_table(file, (), ["gpu"])
    (tmp_path / "text.npz").write_text("no archive")
    for path in (tmp_path / "text.npz", tmp_path / "missing.npz"):
        with pytest.raises(LatnasError, match=f"{path.name} is no table of NAS-Bench-201.*--latencies"):
            load_table(path, ())
    with pytest.raises(LatnasError, match="acc_c10_test200_mean"):
        load_table(write_table(tmp_path / "bare.npz", cells, accuracies=()), ["c10"])
