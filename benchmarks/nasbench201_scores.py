"""What searches of NAS-Bench-201 leave behind, and how it compares with choosing otherwise.

A search leaves `scores.json`: for each cell the accuracy model's score, and the prior's alone. A results file has rows
of each seed, which count for a later one when `scores.json` lies elsewhere by then. Nothing here searches.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from nasbench201_table import FLOORS, Table, quality
from pydantic import BaseModel, ConfigDict, model_validator
from report import Reach, as_row, earlier_rows
from scipy import stats

from latnas.errors import LatnasError
from latnas.spaces.nasbench201 import EDGES, expression
from latnas.words.architecture import Architecture
from latnas.words.files import write_json
from latnas.words.forms import read_as
from latnas.words.table import Finite

VERSION = 3
"""Of what search_nasbench201.py measures: the search, and how its choices are judged.
Raise it when that changes: results of another version are not mixed with these."""

OURS, PRIOR, PARAMETERS, RANDOM, TRUTH = "ours", "prior alone", "most parameters", "random", "true CIFAR-10 accuracy"
GAIN = "ours - prior alone"
SET_APART = "pixel3"
"""Its latencies are erratic where cells have dead edges: it is no part of means and worst."""

MEAN = f"all but {SET_APART}"
RANDOM_DRAWS = 20
COVERAGE = 0.95


class Found(BaseModel):
    """What one search left: scores of cells, which are operations in the order of `edges` with | between them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    trainings: int
    minutes: Finite
    cpu_minutes: Finite
    edges: list[str]
    cells: list[str]
    ours: list[Finite]
    prior: list[Finite]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not len(self.cells) == len(self.ours) == len(self.prior) > 0:
            raise ValueError("each cell has two scores")
        if sorted(self.edges) != sorted(EDGES) or any(cell.count("|") != len(EDGES) - 1 for cell in self.cells):
            raise ValueError(f"each cell has {len(EDGES)} edges")
        return self

    def save(self, path: Path) -> None:
        write_json(path, self.model_dump(mode="json"))

    def by_expression(self, scores: Sequence[float]) -> dict[str, float]:
        """`ours` or `prior` by the expression of what the cell computes."""
        operations = (dict(zip(self.edges, cell.split("|"), strict=True)) for cell in self.cells)
        return dict(zip((expression([cell[edge] for edge in EDGES]) for cell in operations), scores, strict=True))


def load_found(path: Path) -> Found:
    """What `Found.save` wrote. Raises LatnasError where it is damaged."""
    return Found(**read_as(Found, path))


def cell_of(architecture: Architecture) -> str:
    """The operations of a cell, in the order of `EDGES`."""
    return "|".join(architecture.items[edge] for edge in EDGES)


@dataclass(frozen=True)
class Compared:
    """One way of choosing, run R times (seeds of searches, draws, or once), on D devices.

    Attributes:
        runs: what tells the runs apart in a row, one mapping each.
        hypervolume_RD: shares.
        regret_RD: percentage points.
    """

    method: str
    runs: tuple[Mapping[str, Any], ...]
    hypervolume_RD: np.ndarray
    regret_RD: np.ndarray


class Earlier:
    """Rows of seeds that a results file has, in the place of searches that lie elsewhere by now."""

    def __init__(self, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self._rows = rows
        self._results = {
            (row["seed"], row["method"], row["accuracy"], row["device"]): (row["hypervolume"], row["regret"])
            for row in rows
            if "seed" in row and "device" in row
        }
        self.costs = [dict(row) for row in rows if "minutes" in row]

    def whole(self, accuracies: Collection[str], devices: Collection[str]) -> Earlier:
        """The seeds that have all results and what their search took."""
        needed = [(m, a, d) for m in (OURS, PRIOR) for a in accuracies for d in devices]
        kept = [seed for seed in self.seeds if all((seed, *one) in self._results for one in needed)]
        return Earlier([row for row in self._rows if row.get("seed") in kept])

    def without(self, seeds: Collection[int]) -> Earlier:
        """All but these seeds."""
        return Earlier([row for row in self._rows if row.get("seed") not in seeds])

    def by_others_than(self, accuracies: Collection[str]) -> list[Mapping[str, Any]]:
        """The rows that are judged by other accuracies, means among them."""
        return [row for row in self._rows if "accuracy" in row and row["accuracy"] not in accuracies]

    @property
    def seeds(self) -> list[int]:
        """Those that have a row of what the search took."""
        return [row["seed"] for row in self.costs]

    def joined(self, fresh: Compared, accuracy: str, devices: Sequence[str]) -> Compared:
        """`fresh` and the runs of the same way of choosing that are here, by seed."""
        keys_RD = [[(seed, fresh.method, accuracy, device) for device in devices] for seed in self.seeds]
        results_RD2 = np.array([[self._results[key] for key in keys_D] for keys_D in keys_RD])
        results_RD2 = results_RD2.reshape(len(keys_RD), len(devices), 2)
        runs = [*fresh.runs, *({"seed": seed} for seed in self.seeds)]
        order = sorted(range(len(runs)), key=lambda run: int(runs[run]["seed"]))
        shares_RD = np.concatenate([fresh.hypervolume_RD.reshape(-1, len(devices)), results_RD2[..., 0]])[order]
        regrets_RD = np.concatenate([fresh.regret_RD.reshape(-1, len(devices)), results_RD2[..., 1]])[order]
        return Compared(fresh.method, tuple(runs[run] for run in order), shares_RD, regrets_RD)


def earlier_in(out: Path | None, preset: str, devices: Collection[str]) -> Earlier:
    """What a results file has; nothing where there is none.

    Raises:
        LatnasError: it is of another benchmark, or another version, its searches of another preset, or
            its results on other devices.
    """
    rows = earlier_rows(out, "search_nasbench201", VERSION, "method")
    found = Earlier(rows)
    if any(row.get("preset") != preset for row in found.costs):
        raise LatnasError(f"{out} holds searches of another preset. Name another file: --json FILE")
    if {row["device"] for row in rows if "device" in row} - {MEAN} not in (set(), set(devices)):
        raise LatnasError(f"{out} holds results on other devices. Name another file: --json FILE")
    return found


def compare(
    table: Table, accuracy: str, found: Sequence[Found], earlier: Earlier, params: Mapping[str, float], seed: int
) -> list[Compared]:
    """All ways of choosing, judged by one of the table's accuracies.

    Args:
        table: with the accuracies on CIFAR-10 too.
        accuracy: its name.
        found, earlier: each seed in one of them.
        params: number of parameters of each cell, by expression.
        seed: of the random choices.
    """
    random = np.random.default_rng(seed)
    seeds = [{"seed": one.seed} for one in found]
    ours = [table.in_order(one.by_expression(one.ours)) for one in found]
    prior = [table.in_order(one.by_expression(one.prior)) for one in found]
    return [
        earlier.joined(judged(table, accuracy, OURS, ours, seeds), accuracy, table.devices),
        earlier.joined(judged(table, accuracy, PRIOR, prior, seeds), accuracy, table.devices),
        judged(table, accuracy, PARAMETERS, [table.in_order(params)], [{}]),
        judged(
            table,
            accuracy,
            RANDOM,
            [random.random(len(table.position)) for _ in range(RANDOM_DRAWS)],
            [{}] * RANDOM_DRAWS,
        ),
        judged(table, accuracy, TRUTH, [table.accuracy["c10"]], [{}]),
    ]


def judged(
    table: Table, accuracy: str, method: str, scores_RN: Sequence[np.ndarray], runs: Sequence[Mapping[str, Any]]
) -> Compared:
    """One way of choosing, judged by one of the table's accuracies on all of its devices.

    Args:
        scores_RN: one for each run, in the table's order.
        runs: what tells the runs apart.
    """
    truth_N, floor = table.accuracy[accuracy], FLOORS[accuracy]
    results = [
        [quality(scores_N, truth_N, latency_N, floor) for latency_N in table.latency_ms.T] for scores_N in scores_RN
    ]
    shares = np.array([[one.hypervolume for one in row] for row in results])
    return Compared(method, tuple(runs), shares, np.array([[one.regret for one in row] for row in results]))


def kept_devices(devices: Sequence[str]) -> list[int]:
    """Positions of those that means are taken over."""
    return [index for index, device in enumerate(devices) if device != SET_APART] or list(range(len(devices)))


def rows_of(compared: Sequence[Compared], accuracy: str, devices: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each method, seed and device; random draws are averaged."""
    rows = []
    for one in compared:
        runs = one.runs if any(one.runs) else ({},)
        shares, regrets = (
            values if any(one.runs) else values.mean(0, keepdims=True) for values in (one.hypervolume_RD, one.regret_RD)
        )
        rows += [
            as_row(
                accuracy=accuracy, method=one.method, **run, device=device,
                hypervolume=float(shares[r, d]), regret=float(regrets[r, d]), version=VERSION,
            )
            for r, run in enumerate(runs)
            for d, device in enumerate(devices)
        ]  # fmt: skip
    return rows


def means_of(compared: Sequence[Compared], accuracy: str, devices: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each method, and one for what ours gains over the prior, on all devices but the one set apart.

    `hypervolume` is a mean over devices and runs. `worst` is that of the worst device in each run, mean over runs.
    `low` to `high` holds the mean with 95 percent: see `interval` and `crossed_interval`.
    """
    kept, rows = kept_devices(devices), []
    for one in compared:
        shares = one.hypervolume_RD[:, kept]
        rows.append(
            as_row(
                accuracy=accuracy, method=one.method, device=MEAN, runs=len(one.runs), hypervolume=float(shares.mean()),
                **_ends(interval(shares.mean(1))), worst=float(shares.min(1).mean()),
                regret=float(one.regret_RD[:, kept].mean()), version=VERSION,
            )
        )  # fmt: skip
    ours, prior = (next(one for one in compared if one.method == method) for method in (OURS, PRIOR))
    gain = (ours.hypervolume_RD - prior.hypervolume_RD)[:, kept]
    rows.append(
        as_row(
            accuracy=accuracy, method=GAIN, device=MEAN, runs=len(gain), hypervolume=float(gain.mean()),
            **_ends(crossed_interval(gain)), regret=float((ours.regret_RD - prior.regret_RD)[:, kept].mean()),
            version=VERSION,
        )
    )  # fmt: skip
    return rows


def by_device(compared: Sequence[Compared], devices: Sequence[str]) -> list[dict[str, Any]]:
    """For each device the hypervolume share of each method, mean over its runs: to be read, not kept."""
    means = {one.method: one.hypervolume_RD.mean(0) for one in compared}
    return [
        as_row(device=device, **{method: float(shares_D[column]) for method, shares_D in means.items()})
        for column, device in enumerate(devices)
    ]


def costs_of(found: Sequence[Found], earlier: Earlier, preset: str) -> list[dict[str, Any]]:
    """One row for each search: what it took."""
    fresh = [
        as_row(
            method=OURS, preset=preset, seed=one.seed, trainings=one.trainings, minutes=one.minutes,
            cpu_minutes=one.cpu_minutes, version=VERSION,
        )
        for one in found
    ]  # fmt: skip
    return sorted([*fresh, *earlier.costs], key=lambda row: int(row["seed"]))


def interval(values_R: np.ndarray) -> tuple[float, float] | None:
    """Of a mean over runs: Student's t. None for a single run, which says nothing of spread."""
    return crossed_interval(values_R[:, None])


def crossed_interval(values_RD: np.ndarray) -> tuple[float, float] | None:
    """Of a mean over runs and devices, both taken as drawn from more of their kind.

    Runs share their devices and devices their runs, so that R x D values are far fewer independent ones. The variance
    of the mean is that of the means of runs by R, plus that of the means of devices by D (both hold the rest's, which
    errs on the wide side); Student's t has Welch and Satterthwaite's degrees of freedom. None for a single run.
    """
    runs, devices = values_RD.shape
    if runs < 2:
        return None
    parts = [(float(values_RD.mean(1).var(ddof=1)) / runs, runs - 1)]
    if devices > 1:
        parts.append((float(values_RD.mean(0).var(ddof=1)) / devices, devices - 1))
    variance, mean = sum(part for part, _ in parts), float(values_RD.mean())
    if variance == 0:
        return mean, mean
    freedom = variance**2 / sum(part**2 / own for part, own in parts)
    half = float(stats.t.ppf(0.5 + COVERAGE / 2, freedom)) * variance**0.5
    return mean - half, mean + half


def _ends(found: tuple[float, float] | None) -> dict[str, float]:
    return {} if found is None else {"low": found[0], "high": found[1]}


def reach_of(means: Sequence[Mapping[str, Any]], costs: Sequence[Mapping[str, Any]], preset: str) -> list[Reach]:
    """What of the rows of `means_of` and `costs_of` was to be reached; what was not run is left out."""
    by_name = {(row["accuracy"], row["method"]): row for row in means}
    wanted = [
        ("cpu", "c10", OURS, "hypervolume", 0.975, "CIFAR-10: hypervolume share"),
        ("cpu", "c10", OURS, "worst", 0.965, "CIFAR-10: hypervolume share, worst device"),
        ("cpu", "c10", GAIN, "low", 0.0, "CIFAR-10: share above the prior's, lower end of the 95 % interval"),
        ("cpu", "c100", OURS, "hypervolume", 0.93, "CIFAR-100: hypervolume share"),
        ("cpu", "in16", OURS, "hypervolume", 0.94, "ImageNet16: hypervolume share"),
        ("gpu", "c10", OURS, "hypervolume", 0.983, "CIFAR-10: hypervolume share, GPU preset"),
    ]
    reached = [
        Reach(what, float(by_name[accuracy, method][column]), least, "higher")
        for own, accuracy, method, column, least, what in wanted
        if own == preset and column in by_name.get((accuracy, method), {})
    ]
    longest = max(float(row["minutes"]) for row in costs)
    return [*reached, Reach("minutes of a search, the longest", longest, MOST_MINUTES[preset], "lower")]


MOST_MINUTES = {"cpu": 60.0, "gpu": 40.0}
