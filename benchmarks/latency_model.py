"""How well latencies are predicted on this device: the plain sum of operations, a scale and an offset, and latnas.

    python benchmarks/latency_model.py --spaces nasbench201 mbconv --json benchmarks/results/latency_model.json

For each space: a table is made as `latnas profile` makes it, and timed. Then five sets of 40 networks, chosen as
`latnas profile` chooses them from other draws, and at least 120 held-out random networks are measured together. Each
set is fitted, predicts the held-out networks, and derives networks near its own front, which are measured too: a search
selects what a model under-predicts. They are measured beside some of the networks before, by which drift is told.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from report import Reach, as_row, failures_in_one_line, finish, parser, positive, whole

from latnas.cli.console import ConsoleReporter
from latnas.data.randomness import generator
from latnas.latency.agreement import agreement
from latnas.latency.calibration import Fit, calibrate, freedoms
from latnas.latency.measure import Measurements
from latnas.latency.problem import Freedom, Sample
from latnas.spaces.space import SPACES, Space
from latnas.stages.profile import ProfileConfig, profile
from latnas.stages.profile.networks import Chosen, Contexts, at_random, calibration_networks, near_front, sample_of
from latnas.stages.profile.rig import Rig
from latnas.stages.profile.stage import setting_of
from latnas.words.architecture import Architecture
from latnas.words.costs import PartCosts
from latnas.words.latency import parts_of_operations
from latnas.words.table import LatencyTable

DRAWS, CALIBRATE = 5, 40
DERIVED_PER_DRAW = 12
REFERENCES = 20
OURS = "latnas"
QUALITIES = ("mean_error", "within5", "within10", "worst", "spearman", "kendall")
POINTS = 100.0

REACH: tuple[tuple[str, str, float, Literal["lower", "higher"]], ...] = (
    ("mape, held-out networks", "mape", 1.2, "lower"),
    ("within 5 %", "within5", 99.0, "higher"),
    ("Spearman", "spearman", 0.985, "higher"),
    ("two halves, mean", "halves_mean", 0.3, "lower"),
    ("two halves, 95th percentile", "halves_p95", 1.0, "lower"),
    ("seconds of a calibrated table", "table_seconds", 240.0, "lower"),
)
"""Of each space: what it is called, its column, what was to be reached."""


@dataclass(frozen=True)
class Drawn:
    """One calibration set, what was fitted to it, and the networks that it derives."""

    fit: Fit
    affine: Fit
    derived: tuple[Architecture, ...]


@dataclass(frozen=True)
class MeasuredSpace:
    """What one space took on the device, in ms.

    Attributes:
        table: as `latnas profile` makes it.
        prior: what its operations say.
        held_out, truth_ms, halves: random networks that no set has seen, with what they took, and how far two halves of
            that measurement differ.
        sets: what was fitted.
        derived, derived_ms: of each set, the networks that it derives and what they took, at the speed that the device
            had before.
        drift: how much longer the device took by then.
    """

    table: LatencyTable
    prior: PartCosts
    held_out: Sample
    truth_ms: np.ndarray
    halves: np.ndarray
    sets: Sequence[Drawn]
    derived: Sequence[Sample]
    derived_ms: Sequence[np.ndarray]
    drift: float


def fit_sets(
    space: Space, prior: PartCosts, sets: Sequence[Chosen], contexts: Contexts, floors: Mapping[str, float], seed: int
) -> list[Drawn]:
    """Fits each set, and derives networks that none of them has seen."""
    found = []
    known = [one.architecture for chosen in sets for one in chosen.measured]
    for number, chosen in enumerate(sets):
        sample = sample_of([one.architecture for one in chosen.measured], contexts)
        times = [floors[network.key] for network in sample.networks]
        fit = calibrate(sample, times, prior, typical=sample_of([one.architecture for one in chosen.typical], contexts))
        linear = calibrate(sample, times, prior, freedoms(contexts=False))
        affine = calibrate(sample, times, prior, [Freedom(), Freedom(absolute=True)])
        guide = linear.parts.of_items("ms")
        derived = near_front(space, guide, DERIVED_PER_DRAW, generator(seed, "derived", number), known)
        known += [one.architecture for one in derived]
        found.append(Drawn(fit, affine, tuple(one.architecture for one in derived)))
    return found


def floors_of(measured: Measurements) -> dict[str, float]:
    return {key: 1e3 * times.floor_seconds for key, times in measured.items.items()}


def measured_space(config: ProfileConfig, held_out: int, draws: int, pool_seconds: float) -> MeasuredSpace:
    """Makes the table, then measures networks to fit and held-out ones, then what is derived from each fit."""
    report = ConsoleReporter()
    table = profile(config, report).table
    given = setting_of(config, report)
    space = given.space
    anchor = Architecture.from_json(table.anchor.architecture)
    rig = Rig(space, given.profiler, anchor, config, config.out / ".partial" / f"benchmark-{space.name}", report)
    prior = parts_of_operations(table.operations, space.trace)
    contexts = cache(space.context)
    chosen = [
        calibration_networks(space, prior, contexts, CALIBRATE, generator(config.seed, "set", number))
        for number in range(draws)
    ]
    pool = list(dict.fromkeys(one.architecture for some in chosen for one in some.measured))
    networks = [one.architecture for one in at_random(space, held_out, generator(config.seed, "held out"), pool)]
    workloads = {network.key: rig.network(network) for network in [*pool, *networks]}
    measured = rig.measure("networks to fit and held-out ones", workloads, pool_seconds)
    floors = floors_of(measured)
    sets = fit_sets(space, prior, chosen, contexts, floors, config.seed)
    references = networks[:REFERENCES]
    derived = [network for drawn in sets for network in drawn.derived]
    workloads = {network.key: rig.network(network) for network in [*references, *derived]}
    again = floors_of(rig.measure("derived networks", workloads, pool_seconds))
    drift = float(np.median([again[network.key] / floors[network.key] for network in references]))
    return MeasuredSpace(
        table, prior, sample_of(networks, contexts), np.array([floors[network.key] for network in networks]),
        np.array([measured.items[network.key].halves for network in networks]), sets,
        [sample_of(drawn.derived, contexts) for drawn in sets],
        [np.array([again[network.key] for network in drawn.derived]) / drift for drawn in sets], drift,
    )  # fmt: skip


def rows_of(measured: MeasuredSpace) -> list[dict[str, Any]]:
    """One row for each method: means over the sets."""
    truth_ms, sets = measured.truth_ms, measured.sets
    sums = measured.prior.of_items("ms")
    plain_ms = [sums.cost(one) for one in measured.held_out.networks]
    own_ms = [drawn.fit.predict_ms(measured.held_out) for drawn in sets]
    by_method = {
        "plain sum": [plain_ms] * len(sets),
        "scale and offset": [drawn.affine.predict_ms(measured.held_out).tolist() for drawn in sets],
        OURS: [predicted.tolist() for predicted in own_ms],
    }
    rows = []
    for method, predictions in by_method.items():
        qualities = [agreement(predicted, truth_ms.tolist()) for predicted in predictions]
        mean = {name: float(np.mean([getattr(quality, name) for quality in qualities])) for name in QUALITIES}
        rows.append(as_row(
            space=measured.table.space, runtime=measured.table.runtime, method=method, held_out=len(truth_ms),
            draws=len(sets), calibrated_on=0 if method == "plain sum" else CALIBRATE, mape=POINTS * mean["mean_error"],
            within5=POINTS * mean["within5"], within10=POINTS * mean["within10"], worst=POINTS * mean["worst"],
            spearman=mean["spearman"], kendall=mean["kendall"],
        ))  # fmt: skip
    random = [truth_ms / predicted for predicted in own_ms]
    derived = [
        truth / drawn.fit.predict_ms(sample)
        for drawn, sample, truth in zip(sets, measured.derived, measured.derived_ms, strict=True)
    ]
    rows[-1] |= as_row(
        coverage_random=POINTS * coverage(sets, random), coverage_derived=POINTS * coverage(sets, derived),
        derived=sum(map(len, derived)), interval=POINTS * float(np.mean([drawn.fit.high - 1.0 for drawn in sets])),
        mape_derived=POINTS * float(np.mean(np.abs(1 / np.concatenate(derived) - 1))),
        halves_mean=POINTS * float(measured.halves.mean()),
        halves_p95=POINTS * float(np.quantile(measured.halves, 0.95)),
        drift=measured.drift, table_seconds=measured.table.seconds,
    )  # fmt: skip
    return rows


def coverage(sets: Sequence[Drawn], ratios: Sequence[np.ndarray]) -> float:
    """The share of ratios of measured to predicted latency, some of each set, that are within that set's interval."""
    pairs = zip(sets, ratios, strict=True)
    return float(np.mean(np.concatenate([(one.fit.low <= own) & (own <= one.fit.high) for one, own in pairs])))


def reach(rows: Sequence[Mapping[str, Any]]) -> list[Reach]:
    """What issue and README promise, space by space; coverage pooled over the spaces."""
    ours = [row for row in rows if row["method"] == OURS]
    found = [Reach(f"{row['space']}: {what}", row[name], to, how) for row in ours for what, name, to, how in REACH]
    random = np.average(
        [row["coverage_random"] for row in ours], weights=[row["held_out"] * row["draws"] for row in ours]
    )
    derived = np.average([row["coverage_derived"] for row in ours], weights=[row["derived"] for row in ours])
    found.append(Reach("coverage of random networks, distance from 90 %", abs(float(random) - 90), 4.0, "lower"))
    found.append(Reach("coverage of derived networks", float(derived), 80.0, "higher"))
    return found


@failures_in_one_line("latency_model")
def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--spaces", nargs="+", default=list(SPACES), choices=list(SPACES))
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--runtime", default=None)
    arguments.add_argument("--width", type=int, default=None)
    arguments.add_argument("--depth", type=int, default=None)
    arguments.add_argument("--held-out", type=whole(REFERENCES), default=120)
    arguments.add_argument("--draws", type=whole(1), default=DRAWS)
    arguments.add_argument("--max-seconds", type=positive, default=ProfileConfig().max_seconds)
    arguments.add_argument("--pool-seconds", type=positive, default=400.0)
    given = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    device = ""
    with tempfile.TemporaryDirectory() as folder:
        for space in given.spaces:
            config = ProfileConfig(
                device=given.device, runtime=given.runtime, space=space, width=given.width, depth=given.depth,
                max_seconds=given.max_seconds, seed=given.seed, out=Path(folder),
            )  # fmt: skip
            measured = measured_space(config, given.held_out, given.draws, given.pool_seconds)
            rows += rows_of(measured)
            environment = measured.table.environment
            device = f"{given.device}: {environment.get('gpu') or environment.get('cpu', '')}, {environment['runtime']}"
    finish("latency_model", rows, reach(rows), device, given.json)


if __name__ == "__main__":
    main()
