"""NAS-Bench-201 as a table of truths: its distinct cells, and how good a choice among them is.

Candidates are the distinct connected cells. Of the cells that compute the same, the row of fewest operations that are
not `none` stands for all, the first of these rows in the file: latency and accuracy are that row's.

- Budgets: 24, logarithmic from a device's slowest candidate to its fastest. Within each the candidate of the highest
  score is chosen; of candidates that tie for it, the one of median accuracy.
- Hypervolume share: the area under the chosen candidates' front, accuracy above a floor over latency from 0 to the
  slowest candidate, over the same area for all candidates.
- Regret: by how many points the best accuracy within a budget exceeds the chosen one's, mean over the budgets.

Shapes: N candidates, D devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from latnas.errors import LatnasError, UsageError
from latnas.spaces.nasbench201 import EDGES, expression
from latnas.words.pareto import hypervolume

FLOORS = {"c10": 85.0, "c100": 60.0, "in16": 30.0}
"""Accuracies in percent that count for nothing, by data set."""

BUDGETS = 24
NONE = "none"


@dataclass(frozen=True)
class Table:
    """N candidates in the order of their rows.

    Attributes:
        position: of a candidate, by the expression of what its cell computes.
        devices: D names.
        latency_ms: [N, D].
        accuracy: percent [N], by data set.
    """

    position: Mapping[str, int]
    devices: tuple[str, ...]
    latency_ms: np.ndarray
    accuracy: Mapping[str, np.ndarray]

    def in_order(self, scores: Mapping[str, float]) -> np.ndarray:
        """[N]: scores of cells, by expression, in the order of the candidates.

        Raises:
            LatnasError: a candidate has no score.
        """
        missing = [text for text in self.position if text not in scores]
        if missing:
            raise LatnasError(
                f"{len(missing)} of the table's {len(self.position)} cells have no score, such as {missing[0]}."
            )
        return np.array([scores[text] for text in self.position])


@dataclass(frozen=True)
class Quality:
    """How good the choices within the budgets of one device are: a share, and percentage points."""

    hypervolume: float
    regret: float


@contextmanager
def opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of a file in the form of this table.

    Raises:
        LatnasError: it cannot be read, or lacks what the block takes from it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise LatnasError(f"{path} is no table of NAS-Bench-201 ({error}). Name another: --latencies FILE") from error


def operations_in(file: Mapping[str, np.ndarray]) -> np.ndarray:
    """Names of operations [rows, 6], edges in the order of latnas' own space."""
    edges = [f"{source}->{target}" for source, target in file["edges"].tolist()]
    names: np.ndarray = file["op_names"][file["ops"]][:, [edges.index(edge) for edge in EDGES]]
    return names


def load_table(path: Path, accuracies: Sequence[str], devices: Sequence[str] = ()) -> Table:
    """Reads the candidates' latencies, of all devices unless some are named, and these accuracies.

    Raises:
        UsageError: the file has no such device.
        LatnasError: it cannot be read, or is no such table.
    """
    with opened(path) as file:
        rows = candidates(operations_in(file))
        known, latency_ms = file["devices"].tolist(), file["latency_ms"].astype(float)
        accuracy = {name: file[f"acc_{name}_test200_mean"].astype(float) for name in accuracies}
    unknown = [device for device in devices if device not in known]
    if unknown:
        raise UsageError(f"{path} has no device {unknown[0]!r}. It has: {', '.join(known)}.")
    chosen = tuple(devices) or tuple(known)
    kept = list(rows.values())
    columns = [known.index(device) for device in chosen]
    return Table(
        {text: position for position, text in enumerate(rows)},
        chosen,
        latency_ms[np.ix_(kept, columns)],
        {name: values[kept] for name, values in accuracy.items()},
    )


def candidates(operations: np.ndarray) -> dict[str, int]:
    """By expression the row that stands for it, rows ascending; `operations` are names [rows, 6]."""
    best: dict[str, tuple[int, int]] = {}
    for row, cell in enumerate(operations.tolist()):
        text, size = expression(cell), len(cell) - cell.count(NONE)
        if text and (text not in best or size < best[text][0]):
            best[text] = (size, row)
    return {text: row for text, (_, row) in sorted(best.items(), key=lambda pair: pair[1][1])}


def choices(scores_N: np.ndarray, accuracy_N: np.ndarray, latency_N: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """For each budget the candidates within it, and the one that is chosen."""
    slowest, fastest = latency_N.max(), latency_N.min()
    found = []
    for budget in slowest * (fastest / slowest) ** np.linspace(0, 1, BUDGETS):
        within = np.flatnonzero(latency_N <= budget * (1 + 1e-9))
        top = within[scores_N[within] == scores_N[within].max()]
        by_accuracy = top[np.argsort(accuracy_N[top], kind="stable")]
        found.append((within, int(by_accuracy[(len(top) - 1) // 2])))
    return found


def quality(scores_N: np.ndarray, accuracy_N: np.ndarray, latency_N: np.ndarray, floor: float) -> Quality:
    """How good it is to choose by these scores on one device; accuracies and their floor in percent."""
    found = choices(scores_N, accuracy_N, latency_N)
    counted_N = np.maximum(accuracy_N, floor)
    regret = [counted_N[within].max() - counted_N[pick] for within, pick in found]
    picks = [pick for _, pick in found]
    areas = [
        hypervolume(latency_N[some].tolist(), accuracy_N[some].tolist(), float(latency_N.max()), floor)
        for some in (picks, slice(None))
    ]
    return Quality(areas[0] / areas[1], float(np.mean(regret)))
