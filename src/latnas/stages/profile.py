"""Stage `profile`: measures what each operation of a space costs on a device, and writes a latency table."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field

from latnas.data.randomness import generator
from latnas.data.sources import load_images
from latnas.errors import LatnasError
from latnas.hypernet.propose import extremes
from latnas.latency.calibration import AffineFit, fit_affine
from latnas.latency.measure import ItemTimes, MeasurementError, Measurements, RoundRecord, Runner, measure
from latnas.latency.profiler import Profiler, RunSettings, choose
from latnas.latency.workload import Workload, identity_workload
from latnas.spaces.space import Space, make_space
from latnas.words.architecture import Architecture
from latnas.words.costs import rough_work
from latnas.words.files import append_line, read_lines
from latnas.words.latency import sum_of_operations
from latnas.words.reporting import Reporter, Silent
from latnas.words.table import (
    Anchor,
    Calibration,
    LatencyTable,
    NetworkEntry,
    OperationEntry,
    Quote,
    identity_of,
    table_name,
)

CANDIDATES = 200
ANCHOR = "anchor"


class ProfileConfig(BaseModel):
    """What to measure, where, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = "cpu"
    runtime: str | None = None
    space: str = "nasbench201"
    width: int | None = None
    depth: int | None = None
    data: str = "fashion-mini"
    batch: int = Field(1, ge=1, le=4096)
    threads: int = Field(1, ge=1, le=1024)
    precision: str = "fp32"
    quote: Quote = "p50"
    networks: int = Field(12, ge=4, le=1000)
    rounds: int = Field(100, ge=4, le=100_000)
    max_seconds: float | None = Field(None, gt=0)
    seed: int = Field(0, ge=0)
    out: Path = Path("latency_tables")


@dataclass(frozen=True)
class Profiled:
    """The table and where it lies. `fit` says how well it predicts the networks that it was calibrated on."""

    path: Path
    table: LatencyTable
    fit: AffineFit
    noise_mean: float


def profile(config: ProfileConfig, report: Reporter | None = None) -> Profiled:
    """Measures operations and whole networks round-robin and writes the table.

    Every finished round is kept at once in `<out>/.partial/`: the same call again goes on from there.

    Raises:
        UsageError: unknown space, data, device or runtime.
        LatnasError: something could not be run or measured.
    """
    report = report or Silent()
    began = time.monotonic()
    data = load_images(config.data)
    space = make_space(
        config.space, width=config.width, depth=config.depth,
        image_size=data.size, channels=data.channels, classes=len(data.classes),
    )  # fmt: skip
    plugin, note = choose(config.device, config.runtime)
    if note:
        report.warn(note)
    settings = RunSettings(batch=config.batch, threads=config.threads, precision=config.precision)
    profiler = plugin.open(config.device, settings)
    environment = profiler.describe()
    trace = space.trace
    identity = identity_of(trace.digest, environment, config.batch, config.threads, config.precision)
    name = table_name(config.device, plugin.runtime, config.space, identity)

    networks = calibration_networks(space, config.networks, config.seed)
    report.say(
        f"{name}: {len(trace.operations)} distinct operations and {len(networks)} networks of {space.name}, "
        f"{config.rounds} rounds on {config.device} with {plugin.runtime}"
    )
    runners = _prepare(space, profiler, networks, config.batch, report)
    partial = config.out / ".partial" / f"{name}-{config.seed}.jsonl"
    measured = _measure(runners, partial, config, report)

    operations, overhead_of = {}, _overheads(measured)
    for digest, site in trace.operations.items():
        times = measured.items[f"operation {digest}"]
        operations[digest] = OperationEntry(
            label=site.label,
            floor_ms=_ms(times),
            overhead_ms=overhead_of[_shape_key(site.input_shapes)],
            halves=times.halves,
        )
    sums = sum_of_operations(operations, trace)
    entries = tuple(
        NetworkEntry(
            architecture=network.to_json(),
            floor_ms=_ms(measured.items[f"network {network.key}"]),
            sum_ms=sums.cost(network),
            halves=measured.items[f"network {network.key}"].halves,
        )
        for network in networks
    )
    fit = fit_affine([entry.sum_ms for entry in entries], [entry.floor_ms for entry in entries])
    table = LatencyTable(
        schema="latnas-table-1",
        device=config.device,
        runtime=plugin.runtime,
        measures=plugin.measures,
        environment=environment,
        batch=config.batch,
        threads=config.threads,
        precision=config.precision,
        space=space.name,
        options=dict(trace.options),
        space_digest=trace.digest,
        quote=config.quote,
        operations=operations,
        calibration=Calibration(
            scale=fit.scale,
            offset_ms=fit.offset_ms,
            low=fit.low,
            high=fit.high,
            mean_error=fit.mean_error,
            networks=entries,
        ),
        anchor=Anchor(
            architecture=networks[_anchor_index(networks)].to_json(),
            floor_ms=_ms(measured.items[ANCHOR]),
            p50_factor=measured.p50_factor,
            p90_factor=measured.p90_factor,
            calm_rounds=measured.calm_rounds,
            rounds=measured.rounds,
        ),
        unsettled=tuple(_readable(item, operations) for item in measured.unsettled()),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - began, 1),
    )
    path = config.out / f"{name}.json"
    table.save(path)
    partial.unlink(missing_ok=True)
    halves = [times.halves for times in measured.items.values()]
    return Profiled(path, table, fit, sum(halves) / len(halves))


def calibration_networks(space: Space, count: int, seed: int) -> list[Architecture]:
    """The networks of least and most work, and random ones evenly spread between them, ascending.

    The ends are in, because a budget range begins and ends there, and a fit extrapolates badly: without them the
    fastest network of a small space was predicted 26 percent too fast.

    Raises:
        LatnasError: the space has fewer distinct architectures.
    """
    random, work = generator(seed, "calibration"), rough_work(space.trace)
    drawn = {architecture.key: architecture for architecture in extremes(space, work)}
    drawn |= {architecture.key: architecture for architecture in (space.random(random) for _ in range(CANDIDATES))}
    ordered = sorted(drawn.values(), key=lambda architecture: (work.cost(architecture), architecture.key))
    if len(ordered) < count:
        raise LatnasError(
            f"space {space.name!r} gave {len(ordered)} distinct architectures in {CANDIDATES} draws; "
            f"use --networks {len(ordered)} or fewer."
        )
    steps = torch.linspace(0, len(ordered) - 1, count).round().int().tolist()
    return [ordered[step] for step in steps]


def _prepare(
    space: Space, profiler: Profiler, networks: Sequence[Architecture], batch: int, report: Reporter
) -> dict[str, Runner]:
    """Runners of all operations, of an empty graph for each shape of input, of the networks, and of the anchor."""
    supernet = space.network(seed=0)
    workloads: dict[str, Workload] = {}
    for digest in space.trace.operations:
        operation = space.operation(digest)
        example = tuple(value.expand(batch, *value.shape[1:]).contiguous() for value in operation.example)
        workloads[f"operation {digest}"] = Workload(operation.module, example)
        key = _shape_key([tuple(value.shape) for value in operation.example])
        workloads.setdefault(f"overhead {key}", identity_workload(example))
    for network in networks:
        workloads[f"network {network.key}"] = Workload(space.derive(supernet, network), space.example(batch))
    anchor = networks[_anchor_index(networks)]
    workloads[ANCHOR] = Workload(space.derive(supernet, anchor), space.example(batch))
    runners: dict[str, Runner] = {}
    with report.bar("preparing") as bar:
        for number, (name, workload) in enumerate(workloads.items()):
            bar.update(number, len(workloads), name)
            try:
                runners[name] = profiler.prepare(workload)
            except LatnasError:
                raise
            except Exception as error:
                what = _label(name, space)
                raise LatnasError(
                    f"{what} cannot be run on this device: {type(error).__name__}: {str(error)[:300]}"
                ) from error
        bar.update(len(workloads), len(workloads))
    return runners


def _measure(runners: Mapping[str, Runner], partial: Path, config: ProfileConfig, report: Reporter) -> Measurements:
    try:
        previous = [RoundRecord.from_json(value) for value in read_lines(partial)]
    except ValueError as error:
        raise LatnasError(f"{partial}: {error}. Delete this file to measure from the start.") from error
    if previous:
        report.say(f"going on from {len(previous)} rounds of an interrupted profile ({partial})")
    try:
        with report.bar("measuring") as bar:
            return measure(
                runners,
                anchor=ANCHOR,
                rounds=config.rounds,
                budget_seconds=config.max_seconds,
                store=lambda record: append_line(partial, record.to_json()),
                previous=previous,
                progress=lambda done, rounds: bar.update(done, rounds, "rounds"),
                seed=config.seed,
            )
    except MeasurementError as error:
        raise LatnasError(
            f"{error}. What was measured is kept in {partial}; the same command goes on from there."
        ) from error


def _anchor_index(networks: Sequence[Architecture]) -> int:
    return len(networks) // 2


def _overheads(measured: Measurements) -> dict[str, float]:
    prefix = "overhead "
    return {name.removeprefix(prefix): _ms(times) for name, times in measured.items.items() if name.startswith(prefix)}


def _shape_key(shapes: Sequence[tuple[int, ...]]) -> str:
    return ",".join("x".join(map(str, shape[1:])) for shape in shapes)


def _ms(times: ItemTimes) -> float:
    return times.floor_seconds * 1e3


def _label(name: str, space: Space) -> str:
    kind, _, key = name.partition(" ")
    return f"operation {space.trace.operations[key].label!r}" if kind == "operation" else name


def _readable(item: str, operations: Mapping[str, OperationEntry]) -> str:
    kind, _, key = item.partition(" ")
    return operations[key].label if kind == "operation" else item
