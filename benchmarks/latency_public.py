"""The calibration alone, on public latencies of whole NAS-Bench-201 networks: no table of operations, any device.

    python benchmarks/latency_public.py --latencies nasbench201.npz --json benchmarks/results/latency_public.json

The npz file holds `ops` [15625, 6] (indices into `op_names`, edges in the order of `edges`), `devices` and `latency_ms`
[15625, devices]. From 10, 25 and 50 random networks, five draws each, the latencies of all others that connect input
to output are predicted. Beside it stands the reference: least absolute relative error on counts of the four operations.
Latencies are HELP's (Lee et al., NeurIPS 2021) and HW-NAS-Bench's (Li et al., ICLR 2021). Those networks ran as they
are written: whether dead parts cost anything is chosen by leaving networks out, device by device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nasbench201_table import opened, operations_in
from report import Reach, as_row, failures_in_one_line, finish, parser, whole

from latnas.errors import UsageError
from latnas.latency.agreement import agreement
from latnas.latency.calibration import LEAST_NETWORKS, Fit, calibrate, freedoms
from latnas.latency.problem import Sample
from latnas.spaces.space import SETTING, Space, make_space
from latnas.words.architecture import Architecture
from latnas.words.costs import PartCosts, parts_of_sites

NETWORKS = (10, 25, 50)
DRAWS = 5
REWEIGHTINGS = 100
CANONICAL_MUST_GAIN = 1.15
POINTS = 100.0
COLUMNS = (
    "mape", "within5", "within10", "spearman", "kendall", "coverage", "interval", "reference_mape",
    "reference_within5", "reference_within10",
)  # fmt: skip


@dataclass(frozen=True)
class Public:
    """Connected cells: `raw` and `canonical` are [N, 6] indices into the space's items."""

    space: Space
    raw: np.ndarray
    canonical: np.ndarray
    devices: tuple[str, ...]
    latency_ms: np.ndarray  # [N, devices]


def load(path: Path) -> Public:
    """Reads the file; cells are put into the order of edges and operations of latnas' own space.

    Raises:
        LatnasError: it cannot be read, or is no such table.
    """
    space = make_space("nasbench201", image_size=32, channels=3, classes=10)
    with opened(path) as file:
        raw = np.vectorize(space.decisions[0].index.__getitem__)(operations_in(file))
        devices, latency_ms = tuple(file["devices"].tolist()), file["latency_ms"].astype(float)
    architectures = [Architecture.from_indices(SETTING, space.decisions, row) for row in raw.tolist()]
    kept = [row for row, architecture in enumerate(architectures) if space.is_valid(architecture)]
    canonical = [space.canonical(architectures[row]).indices(space.decisions) for row in kept]
    return Public(space, raw[kept], np.array(canonical), devices, latency_ms[kept])


def ours(public: Public, prior: PartCosts, chosen: np.ndarray, measured_ms: np.ndarray) -> tuple[Fit, np.ndarray]:
    """The better of two fits by their left-out errors, with dead parts and without; and what it predicts for all."""
    fits = []
    for cells in (public.raw, public.canonical):
        networks = [Architecture.from_indices(SETTING, public.space.decisions, row) for row in cells[chosen].tolist()]
        sample = Sample(tuple(networks), ({},) * len(networks))
        fit = calibrate(sample, measured_ms.tolist(), prior, freedoms(contexts=False))
        costs = fit.parts.of_items("ms")
        vectors = costs.vectors(SETTING)
        predicted = costs.fixed(SETTING) + sum(vectors[edge][cells[:, edge]] for edge in range(len(vectors)))
        fits.append((fit, np.maximum(predicted, 0.1 * measured_ms.min())))
    written, canonical = fits
    # They ran as they are written, so a fit without dead parts has to show that it is better.
    return canonical if canonical[0].mean_error * CANONICAL_MUST_GAIN < written[0].mean_error else written


def reference(public: Public, chosen: np.ndarray, measured_ms: np.ndarray) -> np.ndarray:
    """Least absolute relative error on a constant and four counts, by iteratively reweighted least squares."""
    names = [item.name for item in public.space.decisions[0].items]
    counted = [index for index, name in enumerate(names) if name != "none"]
    counts = np.stack([np.ones(len(public.raw)), *((public.raw == index).sum(axis=1) for index in counted)], axis=1)
    relative = counts[chosen] / measured_ms[:, None]
    weights = np.ones(len(chosen))
    solution = np.zeros(counts.shape[1])
    for _ in range(REWEIGHTINGS):
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(relative * root[:, None], root, rcond=None)[0]
        weights = 1.0 / np.maximum(np.abs(relative @ solution - 1.0), 1e-4)
    predicted: np.ndarray = np.maximum(counts @ solution, 0.1 * measured_ms.min())
    return predicted


def benchmark(public: Public, counts: Sequence[int], draws: int, seed: int) -> list[dict[str, object]]:
    """One row for each device and number of networks: means over draws, in percent."""
    prior = parts_of_sites(public.space.trace, lambda site: 1e-7 * (site.macs + 10 * site.output_elements))
    rows: list[dict[str, object]] = []
    for column, device in enumerate(public.devices):
        latency_ms = public.latency_ms[:, column]
        for count in counts:
            results = []
            for draw in range(draws):
                chosen = np.random.default_rng([seed, draw]).choice(len(latency_ms), count, replace=False)
                rest = np.setdiff1d(np.arange(len(latency_ms)), chosen)
                fit, predicted = ours(public, prior, chosen, latency_ms[chosen])
                plain = reference(public, chosen, latency_ms[chosen])
                quality, beside = (
                    agreement(one[rest].tolist(), latency_ms[rest].tolist()) for one in (predicted, plain)
                )
                ratio = latency_ms[rest] / predicted[rest]
                results.append([
                    quality.mean_error, quality.within5, quality.within10, quality.spearman or 0.0,
                    quality.kendall or 0.0, float(np.mean((fit.low <= ratio) & (ratio <= fit.high))),
                    (fit.high - fit.low) / 2, beside.mean_error, beside.within5, beside.within10,
                ])  # fmt: skip
            means = np.mean(results, axis=0)
            means[[0, 1, 2, 5, 6, 7, 8, 9]] *= POINTS
            rows.append(as_row(device=device, networks=count, **dict(zip(COLUMNS, means.tolist(), strict=True))))
    return rows


def reach(rows: Sequence[dict[str, object]]) -> list[Reach]:
    """On 25 networks: within a point of the reference everywhere, better on average."""
    at25 = [row for row in rows if row["networks"] == 25]
    if not at25:
        return []
    worse = [float(row["mape"]) - float(row["reference_mape"]) for row in at25]  # type: ignore[arg-type]
    fewer = [float(row["reference_within5"]) - float(row["within5"]) for row in at25]  # type: ignore[arg-type]
    return [
        Reach("worst device: mape above the reference, 25 networks", max(worse), 1.0, "lower"),
        Reach("all devices: mape above the reference, 25 networks", float(np.mean(worse)), 0.0, "lower"),
        Reach("worst device: points within 5 % below the reference", max(fewer), 1.0, "lower"),
        Reach("all devices: points within 5 % below the reference", float(np.mean(fewer)), 0.0, "lower"),
    ]


@failures_in_one_line("latency_public")
def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--latencies", type=Path, required=True, metavar="FILE.npz")
    arguments.add_argument("--networks", type=whole(LEAST_NETWORKS), nargs="+", default=NETWORKS)
    arguments.add_argument("--draws", type=whole(1), default=DRAWS)
    given = arguments.parse_args()
    public = load(given.latencies)
    if max(given.networks) >= len(public.raw):
        raise UsageError(f"{given.latencies} has {len(public.raw)} connected cells. Ask for fewer: --networks 25")
    rows = benchmark(public, given.networks, given.draws, given.seed)
    finish("latency_public", rows, reach(rows), "public tables", given.json)


if __name__ == "__main__":
    main()
