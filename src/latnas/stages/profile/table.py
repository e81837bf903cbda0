"""What was measured and fitted, as it is written down in a latency table."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latnas.latency.agreement import agreement
from latnas.latency.calibration import Fit
from latnas.latency.measure import NO_HALVES, Measurements
from latnas.latency.profiler import Profiler, ProfilerPlugin
from latnas.spaces.space import Space
from latnas.stages.profile.config import ProfileConfig
from latnas.stages.profile.doubts import doubtful_operations
from latnas.stages.profile.networks import Chosen, Contexts, DrawnNetwork
from latnas.stages.profile.rig import ANCHOR
from latnas.words.architecture import Architecture
from latnas.words.costs import PartCosts
from latnas.words.table import (
    SCHEMA,
    Anchor,
    Calibration,
    DeadParts,
    LatencyTable,
    NetworkEntry,
    Noise,
    OperationEntry,
    Prices,
    Witness,
)


@dataclass(frozen=True)
class Setup:
    """What is measured, and with what. `runtime` is the plugin's with its settings."""

    space: Space
    plugin: ProfilerPlugin
    runtime: str
    profiler: Profiler
    environment: dict[str, str]
    name: str
    device: str

    @property
    def measured_on(self) -> str | None:
        """The device; None where the runtime computes its times."""
        return None if self.plugin.measures == "none" else self.device


@dataclass(frozen=True)
class Found:
    """What was measured: operations by digest, and networks and probes by key in `measured`; and by which prior and
    contexts the networks were chosen."""

    operations: Mapping[str, OperationEntry]
    prior: PartCosts
    contexts: Contexts
    networks: Chosen
    probes: Sequence[Architecture]
    measured: Measurements

    @property
    def floors_ms(self) -> list[float]:
        """Of the networks to calibrate on."""
        return [self.measured.items[one.architecture.key].floor_ms for one in self.networks.measured]


@dataclass(frozen=True)
class Fits:
    """What pieces cost inside networks, contexts included; and without these, as solvers need it."""

    all: Fit
    linear: Fit


def make_table(
    config: ProfileConfig, given: Setup, anchor: Architecture, found: Found, fits: Fits, seconds: float
) -> LatencyTable:
    """Everything that was measured and fitted, as it is written down."""
    trace, measured = given.space.trace, found.measured
    halves = [measured.items[one.architecture.key].halves for one in found.networks.measured]
    return LatencyTable(
        table_schema=SCHEMA,
        device=config.device,
        runtime=given.runtime,
        measures=given.plugin.measures,
        environment=given.environment,
        batch=config.batch,
        threads=config.threads,
        precision=config.precision,
        space=given.space.name,
        options=dict(trace.options),
        space_digest=trace.digest,
        quote=config.quote,
        operations=found.operations,
        calibration=_calibration(found, fits, halves),
        anchor=Anchor(
            architecture=anchor.to_json(),
            floor_ms=measured.items[ANCHOR].floor_ms,
            p50_factor=measured.p50_factor,
            p90_factor=measured.p90_factor,
            calm_rounds=measured.calm_rounds,
            rounds=measured.rounds,
            witnesses=tuple(
                Witness(floor_ms=measured.items[key].floor_ms, p50_factor=p50, p90_factor=p90)
                for key, (p50, p90) in measured.factors.items()
            ),
        ),
        dead_parts=_dead_parts(given.space, found, fits.linear),
        noise=noise_of(halves),
        unsettled=tuple(_readable(measured, found.networks.measured)),
        doubtful=doubtful_operations(found.operations, trace),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=seconds,
    )


def noise_of(halves: Sequence[float]) -> Noise:
    """Of the networks that have two halves; if none has, nothing is known, and all of a time may be noise."""
    known = [half for half in halves if half != NO_HALVES] or [NO_HALVES]
    return Noise(mean=float(np.mean(known)), p95=float(np.quantile(known, 0.95)))


def _calibration(found: Found, fits: Fits, halves: Sequence[float]) -> Calibration:
    """What was fitted, and how well it predicts networks that were left out.

    Args:
        halves: by how much two halves of the rounds differ, of each measured network.
    """
    fit, floors, sums = fits.all, found.floors_ms, found.prior.of_items("ms")
    left_out = [floor / (1 + error) for floor, error in zip(floors, fit.left_out, strict=True)]
    return Calibration(
        prior="operations" if found.operations else "work",
        freedom=fit.freedom.name,
        prices=_prices(fit),
        linear=_prices(fits.linear),
        linear_error=fits.linear.mean_error,
        low=fit.low,
        high=fit.high,
        quality=agreement(left_out, floors),
        tried=dict(fit.errors),
        networks=tuple(
            NetworkEntry(
                architecture=one.architecture.to_json(), drawn=one.drawn, floor_ms=floor,
                sum_ms=sums.cost(one.architecture), left_out=error, halves=half,
            )
            for one, floor, error, half in zip(found.networks.measured, floors, fit.left_out, halves, strict=True)
        ),
    )  # fmt: skip


def _dead_parts(space: Space, found: Found, linear: Fit) -> DeadParts | None:
    """The share of their price that dead parts cost, by the median probe. None where no probe's have a price."""
    cost = linear.parts.of_items("ms")
    shares = []
    for probe in found.probes:
        dead, live = (found.measured.items[f"{kind} {probe.key}"].floor_ms for kind in ("dead", "live"))
        price = cost.cost(probe) - cost.cost(space.canonical(probe))
        if price > 0:
            shares.append((dead - live) / price)
    return DeadParts(share=float(np.median(shares)), probes=len(shares)) if shares else None


def _prices(fit: Fit) -> Prices:
    return Prices(
        fixed_ms=dict(fit.parts.fixed_of),
        parts_ms={
            setting: {d.name: dict(zip(d.parts, vectors[d.name].tolist(), strict=True)) for d in fit.parts.decisions}
            for setting, vectors in fit.parts.parts_of.items()
        },
        contexts_ms={name: ms for name, ms in fit.context_ms.items() if ms},
    )


def _readable(measured: Measurements, networks: Sequence[DrawnNetwork]) -> list[str]:
    by_key: Mapping[str, str] = {one.architecture.key: str(one.architecture) for one in networks}
    return [by_key[key] for key in measured.unsettled() if key in by_key]
