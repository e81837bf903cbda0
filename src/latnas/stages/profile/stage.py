"""Stage `profile`: a latency table from isolated operations and whole networks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

from latnas.data.randomness import generator
from latnas.data.sources import load_images
from latnas.errors import LatnasError
from latnas.latency.calibration import ContradictionError, Fit, calibrate, freedoms
from latnas.latency.measure import Measurements
from latnas.latency.problem import NoPriorError
from latnas.latency.profiler import RunSettings, choose, described, open_plugin
from latnas.latency.runtimes import Runtime, parse_runtime
from latnas.latency.workload import Workload, identity_workload
from latnas.spaces.space import Space, make_space
from latnas.stages.profile.config import ProfileConfig, longer, of_whole_networks
from latnas.stages.profile.networks import (
    Chosen,
    Contexts,
    DrawnNetwork,
    anchor_network,
    calibration_networks,
    candidates,
    probe_networks,
    sample_of,
)
from latnas.stages.profile.rig import NETWORKS, OPERATIONS, Rig, alone, hardly_calm, partial_folder
from latnas.stages.profile.table import Fits, Found, Setup, make_table
from latnas.words.architecture import Architecture
from latnas.words.costs import PartCosts, parts_of_sites
from latnas.words.files import read_json, write_json
from latnas.words.latency import parts_of_operations
from latnas.words.reporting import Progress, Reporter, Silent
from latnas.words.table import (
    LatencyTable,
    OperationEntry,
    identity_of,
    load_table,
    table_name,
)

SHARE_OF_OPERATIONS = 0.25
"""Of the time for measuring. A prior need not be as exact as what corrects it."""

TYPICAL_MS_PER_MAC = 1e-7
"""The prior without operations: only its proportions matter, since its scale is fitted."""

MOST_ERROR = 0.15
"""Of predictions of networks that were left out. Tables of a quiet device reach 1 or 2 percent; with more than
this, budgets that a search sets side by side can no longer be told apart."""

MOST_UNSETTLED = 0.5
"""Of all networks. A few that are hard to measure do not spoil a table."""


@dataclass(frozen=True)
class Profiled:
    """The table and where it lies, and what was asked for."""

    path: Path
    table: LatencyTable
    config: ProfileConfig


def profile(config: ProfileConfig, report: Reporter | None = None) -> Profiled:
    """Measures operations and whole networks round-robin, fits what pieces cost inside networks, writes the table.

    Every finished round is kept at once in `<out>/.partial/`: the same call again goes on from there.

    Raises:
        UsageError: unknown space, data, device or runtime.
        LatnasError: something could not be run or measured, the measurements contradict one another, or another
            process measures for this table.
    """
    report = report or Silent()
    began = time.monotonic()
    given = setting_of(config, report)
    anchor = anchor_network(given.space, generator(config.seed, "calibration"))
    partial = partial_folder(config.out) / _call_name(given.name, config)
    rig = Rig(given.space, given.profiler, anchor, config, partial, report)
    report.say(
        f"{given.name}: {len(given.space.trace.operations) if config.operations else 'no'} distinct operations and "
        f"{config.calibrate} networks of {given.space.name}, on {config.device} with {given.runtime}"
        + ("" if config.max_seconds is None else f"; measuring takes at most {config.max_seconds:.0f} s")
    )
    chosen = Path(f"{partial}-networks.json")
    path = config.out / f"{given.name}.json"
    _warn_of_another_quote(path, config, report)
    with alone(config.out, given.name, given.measured_on):
        try:
            found = _measured(config, given.space, rig, chosen, report)
            fits = _fitted(config, found)
        except NoPriorError as error:
            raise LatnasError(f"{error}. Measure whole networks only: {of_whole_networks(config)}") from error
        table = make_table(config, given, anchor, found, fits, round(time.monotonic() - began, 1))
        _warn(config, fits.all, table, found.measured, report)
        table.save(path)
        rig.forget(OPERATIONS, NETWORKS)
        chosen.unlink(missing_ok=True)
    return Profiled(path, table, config)


def _measured(config: ProfileConfig, space: Space, rig: Rig, chosen: Path, report: Reporter) -> Found:
    """Measures operations, chooses networks by what they say, and measures these.

    Args:
        chosen: the file that keeps the networks, once they are chosen: nothing may then change the prior that they
            were chosen by.
    """
    seconds = config.max_seconds
    operations: dict[str, OperationEntry] = {}
    if config.operations:
        settled = chosen.exists() and rig.has_rounds(OPERATIONS)
        limit = 0.0 if settled else None if seconds is None else SHARE_OF_OPERATIONS * seconds
        operations = _measure_operations(space, rig, limit, config.batch)
    prior = parts_of_operations(operations, space.trace) if operations else _rough_prior(space)
    contexts = _contexts_of(space, report)
    networks = _networks(space, prior, contexts, config, chosen, report)
    probes = probe_networks(space, prior.of_items("ms"), generator(config.seed, "probes"))
    left = None if seconds is None else (1.0 - SHARE_OF_OPERATIONS * bool(operations)) * seconds
    measured = _measure_networks(rig, networks.measured, probes, left)
    return Found(operations, prior, contexts, networks, probes, measured)


def _fitted(config: ProfileConfig, found: Found) -> Fits:
    """What pieces cost, by the networks that were measured.

    Raises:
        LatnasError: the measurements contradict one another.
    """
    sample, typical = (
        sample_of([one.architecture for one in some], found.contexts)
        for some in (found.networks.measured, found.networks.typical)
    )
    try:
        fit = calibrate(sample, found.floors_ms, found.prior, typical=typical)
        linear = calibrate(sample, found.floors_ms, found.prior, freedoms(contexts=False))
    except ContradictionError as error:
        raise LatnasError(f"{error}. What was measured is kept; to add to it: {longer(config)}") from error
    return Fits(fit, linear)


def _warn_of_another_quote(path: Path, config: ProfileConfig, report: Reporter) -> None:
    """Says that the table that lies here quotes another statistic: its name does not tell."""
    try:
        before = load_table(path).quote if path.exists() else config.quote
    except LatnasError:
        return  # whatever cannot be read is no loss when it is replaced
    if before != config.quote:
        report.warn(
            f"{path} quotes {before} and will be replaced by a table that quotes {config.quote}, to which budgets then "
            "apply. To keep both, name another folder: --out"
        )


def _warn(config: ProfileConfig, fit: Fit, table: LatencyTable, measured: Measurements, report: Reporter) -> None:
    """Says what makes the table doubtful."""
    error, unsettled, networks = (
        table.calibration.quality.mean_error, len(table.unsettled), len(table.calibration.networks),
    )  # fmt: skip
    if not fit.is_informative:
        report.warn(
            f"predictions are off by {fit.mean_error:.0%}, and guessing the same time for every network by "
            f"{fit.error_of_a_constant:.0%}: the device was busy, or too few networks were measured. Measure again in "
            f"quiet: {longer(config, max(60, config.calibrate))}"
        )
    elif error > MOST_ERROR:
        report.warn(
            f"predictions of networks that were left out are off by {error:.0%} on average: budgets of a search by "
            f"this table would hardly differ, and be missed. Measure again in quiet: {longer(config)}"
        )
    if unsettled > MOST_UNSETTLED * networks:
        report.warn(
            f"{unsettled} of {networks} networks have not settled: there was too little time, or the device was busy. "
            f"Measure again in quiet: {longer(config)}"
        )
    doubt = hardly_calm(measured)
    if doubt is not None:
        report.warn(f"{doubt}. Measure again in quiet: {longer(config)}")


def setting_of(config: ProfileConfig, report: Reporter) -> Setup:
    """The space and the device that a config names.

    Raises:
        UsageError: one of them does not exist here, or the runtime does not offer what is asked of it.
    """
    data = load_images(config.data)
    for note in data.notes:
        report.say(note)
    space = make_space(
        config.space, width=config.width, depth=config.depth,
        image_size=data.size, channels=data.channels, classes=len(data.classes),
    )  # fmt: skip
    wanted = None if config.runtime is None else parse_runtime(config.runtime)
    plugin, note = choose(config.device, wanted.name if wanted else None)
    if note:
        report.warn(note)
    runtime = Runtime(plugin.runtime, wanted.settings if wanted else ())
    settings = RunSettings(config.batch, config.threads, config.precision, runtime.settings)
    profiler = open_plugin(plugin, config.device, settings)
    environment = described(profiler, config.device)
    identity = identity_of(space.trace.digest, environment, config.batch, config.threads, config.precision)
    name = table_name(config.device, plugin.runtime, config.space, identity)
    return Setup(space, plugin, str(runtime), profiler, environment, name, config.device)


def _measure_operations(space: Space, rig: Rig, max_seconds: float | None, batch: int) -> dict[str, OperationEntry]:
    """Every distinct operation, and an empty graph for each shape of input."""
    workloads: dict[str, Workload] = {}
    names = {}
    for digest, site in space.trace.operations.items():
        operation = space.operation(digest)
        example = tuple(value.expand(batch, *value.shape[1:]).contiguous() for value in operation.example)
        workloads[f"operation {digest}"] = Workload(operation.module, example)
        names[f"operation {digest}"] = f"operation {site.label!r}"
        workloads.setdefault(f"overhead {_shape_key(site.input_shapes)}", identity_workload(example))
    measured = rig.measure(OPERATIONS, workloads, max_seconds, names=names)
    return {
        digest: OperationEntry(
            label=site.label,
            floor_ms=measured.items[f"operation {digest}"].floor_ms,
            overhead_ms=measured.items[f"overhead {_shape_key(site.input_shapes)}"].floor_ms,
            halves=measured.items[f"operation {digest}"].halves,
        )
        for digest, site in space.trace.operations.items()
    }


def _measure_networks(
    rig: Rig, networks: Sequence[DrawnNetwork], probes: Sequence[Architecture], max_seconds: float | None
) -> Measurements:
    """The networks to calibrate on, and each probe with its dead parts and without."""
    workloads = {one.architecture.key: rig.network(one.architecture) for one in networks}
    for probe in probes:
        workloads[f"dead {probe.key}"] = rig.network_with_dead_parts(probe)
        workloads[f"live {probe.key}"] = rig.network(probe)
    names = {one.architecture.key: f"network {one.architecture}" for one in networks}
    ends = [one.architecture.key for one in networks if one.drawn == "end"]
    return rig.measure(NETWORKS, workloads, max_seconds, witnesses=ends, names=names)


def _networks(
    space: Space, prior: PartCosts, contexts: Contexts, config: ProfileConfig, path: Path, report: Reporter
) -> Chosen:
    """Those of the interrupted call, if there was one; they are kept so that floors may settle otherwise."""
    if not path.exists():
        random = generator(config.seed, "networks")
        with report.bar("choosing networks") as bar:
            traced = _told(contexts, bar, candidates(config.calibrate))
            drawn = calibration_networks(space, prior, traced, config.calibrate, random)
        write_json(
            path, [[[o.architecture.to_json(), o.drawn] for o in some] for some in (drawn.measured, drawn.typical)]
        )
    again = "Delete this file to choose networks again."
    kept = read_json(path, again)
    try:
        measured, typical = (
            tuple(DrawnNetwork(Architecture.from_json(architecture), drawn) for architecture, drawn in some)
            for some in kept
        )
    except (TypeError, ValueError, LatnasError) as error:
        raise LatnasError(f"{path} is damaged: {str(error).rstrip('.')}. {again}") from error
    return Chosen(measured, typical)


def _told(contexts: Contexts, bar: Progress, total: int) -> Contexts:
    """The same, and each network that is traced is told of."""
    done = count(1)
    bar.update(0, total, "networks")

    def told(architecture: Architecture) -> Mapping[str, float]:
        found = contexts(architecture)
        bar.update(next(done), total, "networks")
        return found

    return told


def _call_name(name: str, config: ProfileConfig) -> str:
    """What an interrupted call is continued by: the table, and what was to be measured for it."""
    return f"{name}-{config.seed}-{config.calibrate}" + ("" if config.operations else "-networks-only")


def _rough_prior(space: Space) -> PartCosts:
    return parts_of_sites(space.trace, lambda site: TYPICAL_MS_PER_MAC * (site.macs + 10 * site.output_elements))


def _contexts_of(space: Space, report: Reporter) -> Contexts:
    """The space's own; none where it cannot be traced, and then predictions go by parts alone."""
    try:
        space.context(space.random(generator("whether the space can be traced")))
    except LatnasError as error:
        report.warn(f"what the runtime merges in these networks is not predicted: {error}")
        return lambda architecture: {}
    return cache(space.context)  # a network may be measured, and be typical too


def _shape_key(shapes: Sequence[tuple[int, ...]]) -> str:
    return ",".join("x".join(map(str, shape[1:])) for shape in shapes)
