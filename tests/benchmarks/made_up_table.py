"""Files in the form of the public table of NAS-Bench-201, of few cells and made-up numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

NAMES = ["skip_connect", "none", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
EDGES = [(2, 3), (0, 1), (0, 2), (1, 2), (0, 3), (1, 3)]
"""Neither names nor edges in the order of latnas: a file may have any."""

DEVICES = ["fast", "slow", "pixel3"]
ACCURACIES = ("c10", "c100", "in16")


def random_cells(count: int, seed: int) -> list[dict[str, str]]:
    """Operations by edge. Half of all edges are `none`: many cells are disconnected, many compute the same."""
    drawn = np.random.default_rng(seed).choice(NAMES, (count, 6), p=[0.2, 0.4, 0.1, 0.2, 0.1])
    return [{f"{a}->{b}": str(name) for (a, b), name in zip(EDGES, row, strict=True)} for row in drawn]


def write_table(
    path: Path, cells: Sequence[dict[str, str]], seed: int = 0, accuracies: Sequence[str] = ACCURACIES
) -> Path:
    """Latencies and accuracies are random, some accuracies equal, some below what counts; the first cell's is 95."""
    random = np.random.default_rng(seed)
    ops = [[NAMES.index(cell[f"{a}->{b}"]) for a, b in EDGES] for cell in cells]
    columns = {f"acc_{name}_test200_mean": random.integers(25, 95, len(cells)) * 1.0 for name in accuracies}
    for column in columns.values():
        column[0] = 95.0
    np.savez(
        path, ops=np.array(ops, np.uint8), op_names=np.array(NAMES), edges=np.array(EDGES), devices=np.array(DEVICES),
        latency_ms=random.uniform(1, 50, (len(cells), len(DEVICES))).astype(np.float32), **columns,
    )  # fmt: skip
    return path
