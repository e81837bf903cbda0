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

import numpy as np
from report import Reach, as_row, failures_in_one_line, finish, parser, positive, whole

from latnas.cli.console import ConsoleReporter
from latnas.data.randomness import generator
from latnas.latency.agreement import agreement
from latnas.latency.calibration import Fit, calibrate, freedoms
from latnas.latency.measure import Measurements
from latnas.latency.problem import Freedom
from latnas.spaces.space import SPACES, Space
from latnas.stages.profile import ProfileConfig, profile
from latnas.stages.profile.networks import Chosen, Contexts, at_random, calibration_networks, near_front, sample_of
from latnas.stages.profile.rig import Rig
from latnas.stages.profile.stage import setting_of
from latnas.words.architecture import Architecture
from latnas.words.costs import PartCosts
from latnas.words.latency import parts_of_operations
from latnas.words.table import Quality

DRAWS, CALIBRATE = 5, 40
DERIVED_PER_DRAW = 12
REFERENCES = 20
METHODS = ("plain sum", "scale and offset", "latnas")
POINTS = 100.0


@dataclass(frozen=True)
class Drawn:
    """One calibration set, what was fitted to it, and the networks that it derives."""

    fit: Fit
    affine: Fit
    derived: tuple[Architecture, ...]


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


def benchmark_space(
    config: ProfileConfig, held_out: int, draws: int, pool_seconds: float
) -> tuple[list[dict[str, object]], dict[str, float]]:
    """One row for each method; and the figures that are pooled or reached, by name."""
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

    truth = np.array([floors[one.key] for one in networks])
    sums = prior.of_items("ms")
    halves = [measured.items[one.key].halves for one in networks]
    results: dict[str, list[Quality]] = {method: [] for method in METHODS}
    covered: dict[str, list[float]] = {"random": [], "derived": []}
    derived_errors: list[float] = []
    for drawn in sets:
        by_method = {
            "plain sum": np.array([sums.cost(one) for one in networks]),
            "scale and offset": drawn.affine.predict_ms(sample_of(networks, contexts)),
            "latnas": drawn.fit.predict_ms(sample_of(networks, contexts)),
        }
        for method, predicted in by_method.items():
            results[method].append(agreement(predicted.tolist(), truth.tolist()))
        own_truth = np.array([again[one.key] for one in drawn.derived]) / drift
        own_ratio = own_truth / drawn.fit.predict_ms(sample_of(drawn.derived, contexts))
        derived_errors += np.abs(1 / own_ratio - 1).tolist()
        for kind, ratio in (("random", truth / by_method["latnas"]), ("derived", own_ratio)):
            covered[kind] += ((drawn.fit.low <= ratio) & (ratio <= drawn.fit.high)).astype(float).tolist()
    rows = []
    for method, qualities in results.items():
        mean = {
            name: float(np.mean([getattr(quality, name) for quality in qualities]))
            for name in ("mean_error", "within5", "within10", "worst", "spearman", "kendall")
        }
        row: dict[str, object] = as_row(
            space=space.name, runtime=given.plugin.runtime, method=method, held_out=len(networks), draws=draws,
            calibrated_on=0 if method == "plain sum" else CALIBRATE, mape=POINTS * mean["mean_error"],
            within5=POINTS * mean["within5"], within10=POINTS * mean["within10"], worst=POINTS * mean["worst"],
            spearman=mean["spearman"], kendall=mean["kendall"],
        )  # fmt: skip
        if method == "latnas":
            row |= as_row(
                coverage_random=POINTS * float(np.mean(covered["random"])),
                coverage_derived=POINTS * float(np.mean(covered["derived"])),
                interval=POINTS * float(np.mean([drawn.fit.high - 1.0 for drawn in sets])),
                mape_derived=POINTS * float(np.mean(derived_errors)),
                halves_mean=POINTS * float(np.mean(halves)), halves_p95=POINTS * float(np.quantile(halves, 0.95)),
                drift=drift, table_seconds=table.seconds,
            )  # fmt: skip
        rows.append(row)
    figures = {name: rows[-1][name] for name in rows[-1] if isinstance(rows[-1][name], float)}
    figures |= {"covered_random": sum(covered["random"]), "all_random": len(covered["random"])}
    figures |= {"covered_derived": sum(covered["derived"]), "all_derived": len(covered["derived"])}
    return rows, figures  # type: ignore[return-value]


def reach(figures: dict[str, dict[str, float]]) -> list[Reach]:
    """What issue and README promise, space by space; coverage pooled over the spaces."""
    found = []
    for space, values in figures.items():
        found += [
            Reach(f"{space}: mape, held-out networks", values["mape"], 1.2, "lower"),
            Reach(f"{space}: within 5 %", values["within5"], 99.0, "higher"),
            Reach(f"{space}: Spearman", values["spearman"], 0.985, "higher"),
            Reach(f"{space}: two halves, mean", values["halves_mean"], 0.3, "lower"),
            Reach(f"{space}: two halves, 95th percentile", values["halves_p95"], 1.0, "lower"),
            Reach(f"{space}: seconds of a calibrated table", values["table_seconds"], 240.0, "lower"),
        ]
    shares = {
        kind: POINTS * sum(one[f"covered_{kind}"] for one in figures.values())
        / max(sum(one[f"all_{kind}"] for one in figures.values()), 1)
        for kind in ("random", "derived")
    }  # fmt: skip
    found.append(Reach("coverage of random networks, distance from 90 %", abs(shares["random"] - 90), 4.0, "lower"))
    found.append(Reach("coverage of derived networks", shares["derived"], 80.0, "higher"))
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
    rows: list[dict[str, object]] = []
    figures: dict[str, dict[str, float]] = {}
    device = ""
    with tempfile.TemporaryDirectory() as folder:
        for space in given.spaces:
            config = ProfileConfig(
                device=given.device, runtime=given.runtime, space=space, width=given.width, depth=given.depth,
                max_seconds=given.max_seconds, seed=given.seed, out=Path(folder),
            )  # fmt: skip
            more, figures[space] = benchmark_space(config, given.held_out, given.draws, given.pool_seconds)
            rows += more
            environment = setting_of(config, ConsoleReporter(quiet=True)).environment
            device = f"{given.device}: {environment.get('gpu') or environment.get('cpu', '')}, {environment['runtime']}"
    finish("latency_model", rows, reach(figures), device, given.json)


if __name__ == "__main__":
    main()
