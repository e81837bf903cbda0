"""Measuring networks on the device of a table, beside its anchor, in the statistic that budgets apply to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from latnas.errors import LatnasError
from latnas.latency.looks import MOST_SECONDS, calls_ms, drift_now, rounds_for, speed_at
from latnas.latency.measure import MeasurementError, Runner, measure
from latnas.latency.profiler import Profiler, prepare
from latnas.latency.workload import Workload, as_if_trained
from latnas.spaces.space import Classifier, Space
from latnas.words.architecture import Architecture
from latnas.words.files import append_line
from latnas.words.manifest import Manifest, Measured, RawTimes
from latnas.words.reporting import Reporter
from latnas.words.table import LatencyTable, Quote, factor_of

ANCHOR = "anchor"
BUSY = 1.15
"""Warn where the anchor is slower or faster than in the table by more than this, or single calls are slower than is
quoted: the device is not what it was."""
SLOWER = (
    "the device is slower now, because it is busy or has changed. Type the same command in quiet; where it stays so, "
    "measure a new table to search by: "
)
FASTER = (
    "the device is faster now, or was busy then. Budgets go by the speed that it had then, at which all takes "
    "{lasting:.2f} times what is measured now. Where it stays as fast, measure a new table to search by: "
)


@dataclass(frozen=True)
class Times:
    """One network: its floor through the table's factors, and single calls as they came.

    `drift` is what the anchor took meanwhile, over what it took when the table was measured.
    """

    measured: Measured
    raw: RawTimes
    quoted_ms: float
    drift: float

    @property
    def lasting_ms(self) -> float:
        """The quoted time at the table's speed, where the device is faster at the moment."""
        return self.quoted_ms / speed_at(self.drift)

    @property
    def is_device_faster(self) -> bool:
        """Whether the device is so much faster than for the table that it is warned of."""
        return self.drift <= 1 / BUSY

    def single_over(self, quote: Quote) -> float:
        """Single calls over what they take on a calm device: 90th percentiles if these are quoted, else medians."""
        return self.raw.p90 / self.measured.p90 if quote == "p90" else self.raw.p50 / self.measured.p50


def lasting_at_export_ms(manifest: Manifest) -> float | None:
    """What was measured at export, in the statistic and at the speed that budgets go by; None where nothing was."""
    if manifest.measured_ms is None:
        return None
    return float(getattr(manifest.measured_ms, manifest.quote)) / speed_at(manifest.anchor_drift)


def is_computed(table: LatencyTable) -> bool:
    """Whether the table's runtime is a formula, so that nothing is measured, whatever it is called."""
    return table.measures == "none"


class Bench:
    """The device of a table.

    Args:
        table: whose factors turn floors into the quoted statistic, and whose anchor is measured beside everything.
        profiler: of the table's runtime and device, on this machine.
        log: `measurements.jsonl`, to which every measurement is appended; None where nothing can be written.
        again: the command that measures the table anew.
    """

    def __init__(
        self, table: LatencyTable, profiler: Profiler, space: Space, log: Path | None, rounds: int,
        again: str, report: Reporter,
    ) -> None:  # fmt: skip
        self._table, self._profiler, self._log, self._rounds, self._report = table, profiler, log, rounds, report
        self._again, self._told = again, set[str]()
        self._space, self._supernet = space, as_if_trained(space.network(seed=0))
        anchor = Architecture.from_json(table.anchor.architecture)
        self.example = space.example(table.batch)
        self.takes_files = table.measures == "onnx"
        self._anchor = Workload(self.network(anchor), self.example)

    def network(self, architecture: Architecture) -> Classifier:
        """A network to be measured, untrained: weights do not change its time."""
        return self._space.derive(self._supernet, architecture)

    def measure(
        self, workloads: Mapping[str, Workload], names: Mapping[str, Architecture], what: str
    ) -> dict[str, Times]:
        """Measures workloads round-robin with the anchor. That the device is not what it was is told once.

        Args:
            workloads: by any key.
            names: the architecture of each, for the log.
            what: "untrained module" or "shipped file", for the log.

        Raises:
            LatnasError: one could not be run.
        """
        runners = {key: self._prepare(workload, names[key]) for key, workload in workloads.items()}
        runners[ANCHOR] = self._prepare(self._anchor, ANCHOR)
        try:
            with self._report.bar(f"measuring {len(workloads)} network{'' if len(workloads) == 1 else 's'}") as bar:
                found = measure(
                    runners,
                    anchor=ANCHOR,
                    rounds=max(self._rounds, rounds_for(len(runners))),
                    budget_seconds=MOST_SECONDS,
                    progress=lambda done, all_: bar.update(done, all_, "rounds"),
                )
            raw = {key: _raw(f"network {names[key]}", runners[key]) for key in workloads}
        except MeasurementError as error:
            raise LatnasError(f"{error}. Type the same command to try again.") from error
        drift = found.items[ANCHOR].floor_ms / self._table.anchor.floor_ms
        self._warn_of_another_speed(drift)
        result = {}
        for key in workloads:
            floor = found.items[key].floor_ms
            times = Times(
                Measured(
                    floor=floor, p50=floor * factor_of(self._table, "p50"), p90=floor * factor_of(self._table, "p90")
                ),
                raw[key],
                floor * self._table.factor,
                drift,
            )
            result[key] = times
            if self._log is not None:
                append_line(
                    self._log,
                    {
                        "architecture": names[key].to_json(),
                        "what": what,
                        "floor_ms": floor,
                        "halves": found.items[key].halves,
                        "anchor_drift": drift,
                        "raw_p50_ms": times.raw.p50,
                    },
                )
        return result

    def drift_now(self) -> float:
        """What the anchor takes at the moment, over what it took for the table.

        Raises:
            LatnasError: it could not be run.
            MeasurementError: or not be measured.
        """
        runner = self._prepare(self._anchor, ANCHOR)
        drift = drift_now(runner, self._table.anchor.floor_ms, max(self._rounds, rounds_for(1)))
        self._warn_of_another_speed(drift)
        return drift

    def warn_of_slow_calls(self, found: Iterable[Times]) -> None:
        """Says where single calls as they came are far slower than on a calm device."""
        over = max((times.single_over(self._table.quote) for times in found), default=0.0)
        if over > BUSY:
            self._report.warn(
                f"single calls take up to {over:.2f} times what they take on a calm device: other programs slow the "
                "device now, and whoever runs the files meanwhile will see that"
            )

    def _warn_of_another_speed(self, drift: float) -> None:
        """Of a slower device once, and of a faster one once: a command measures many times."""
        text = SLOWER if drift >= BUSY else FASTER if drift <= 1 / BUSY else None
        if text is not None and text not in self._told:
            self._told.add(text)
            self._report.warn(
                f"the anchor network takes {drift:.2f} times what it took when the table was measured: "
                f"{text.format(lasting=1 / drift)}{self._again}"
            )

    def _prepare(self, workload: Workload, name: Architecture | str) -> Runner:
        where = f"{self._table.device} with {self._table.runtime}"
        return prepare(self._profiler, workload, f"the network {name} cannot be run on {where}")


def _raw(name: str, runner: Runner) -> RawTimes:
    p50, p90 = calls_ms(name, runner)
    return RawTimes(p50=p50, p90=p90)
