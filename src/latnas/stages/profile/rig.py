"""The device with everything that is measured on it: prepared, measured round-robin, and kept when interrupted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from latnas.errors import LatnasError
from latnas.latency.measure import MeasurementError, Measurements, Runner, measure
from latnas.latency.profiler import Profiler, prepare
from latnas.latency.rounds import RoundRecord
from latnas.latency.workload import Workload, as_if_trained
from latnas.spaces.space import Space
from latnas.stages.common.locking import locked
from latnas.stages.profile.config import ProfileConfig, of_whole_networks
from latnas.words.architecture import Architecture
from latnas.words.files import append_line, read_lines
from latnas.words.reporting import Reporter

ANCHOR = "anchor"
LEAST_ROUNDS = 40
OPERATIONS, NETWORKS, FRESH = "operations", "networks", "fresh networks"
"""What is measured: two phases of a profile, and a check of a table, which always begins anew."""
OTHER_RUNTIME = ". Another runtime may: latnas devices"


def alone(out: Path, table: str, device: str | None) -> AbstractContextManager[None]:
    """A block in which no other process measures for this table, nor on this device for another one of the folder.

    The files of finished rounds are one call's; and of two that share a device each measures the other's work too.

    Args:
        device: which the table is measured on; None if it is computed.

    Raises:
        LatnasError: another one does, or the folder cannot be written to.
    """
    same = "cuda:0" if device == "cuda" else device
    one = table if same is None else same.replace(":", "-")
    what = str(out / f"{table}.json") if device is None else f"{device} for a table in {out}"
    return locked(partial_folder(out) / f"{one}.lock", what, "", "Name another folder: --out")


def partial_folder(out: Path) -> Path:
    """Where finished rounds are kept until the table in `out` is whole."""
    return out / ".partial"


def hardly_calm(measured: Measurements) -> str | None:
    """What makes all of it doubtful, for a message; None where enough rounds were calm."""
    if not measured.too_few_calm_rounds:
        return None
    calm = f"only {measured.calm_rounds} of {measured.rounds} rounds were calm"
    return f"{calm}: the device was busy, or its clock changed"


class Rig:
    """One device, one space and one anchor network, which is measured beside everything.

    Args:
        partial: finished rounds go to `<partial>-<phase>.jsonl` at once; the same call later goes on from there.
    """

    def __init__(
        self, space: Space, profiler: Profiler, anchor: Architecture, config: ProfileConfig, partial: Path,
        report: Reporter,
    ) -> None:  # fmt: skip
        self._space, self._profiler, self._config, self._partial, self._report = (
            space,
            profiler,
            config,
            partial,
            report,
        )
        self._supernet = as_if_trained(space.network(seed=0))
        self._example = space.example(config.batch)
        self._anchor = self._prepared(self.network(anchor), f"network {anchor}")

    def network(self, architecture: Architecture) -> Workload:
        """The canonical network of an architecture, untrained: weights do not change its time."""
        return Workload(self._space.derive(self._supernet, architecture), self._example)

    def network_with_dead_parts(self, architecture: Architecture) -> Workload:
        """The network as it is written, with what does not reach its output."""
        return Workload(self._space.derive_as_written(self._supernet, architecture), self._example)

    def measure(
        self,
        phase: str,
        workloads: Mapping[str, Workload],
        max_seconds: float | None,
        witnesses: Sequence[str] = (),
        names: Mapping[str, str] | None = None,
    ) -> Measurements:
        """Measures workloads and the anchor until they have settled, or time is up.

        Args:
            phase: names the file of its rounds.
            workloads: by any key but "anchor".
            max_seconds: of measuring, without preparations.
            witnesses: keys of which single calls are noted too.
            names: what to call a workload in a message, where its key says little.

        Raises:
            LatnasError: a workload cannot be run, or the device failed; what was measured is kept.
        """
        again = "" if phase == FRESH else f": a profile goes on from what it has measured ({self._rounds(phase)})"
        instead = f", or measure whole networks alone: {of_whole_networks(self._config)}"
        remedy = OTHER_RUNTIME + (instead if phase == OPERATIONS else "")
        runners = {**self._prepare(workloads, names or {}, remedy), ANCHOR: self._anchor}
        partial = self._rounds(phase)
        try:
            previous = [RoundRecord.from_json(value) for value in read_lines(partial)]
        except ValueError as error:
            raise LatnasError(f"{partial}: {error}. Delete this file to measure from the start.") from error
        if previous:
            self._report.say(f"going on from {len(previous)} rounds of an interrupted profile ({partial})")
        config = self._config
        began = time.monotonic()
        try:
            with self._report.bar(f"measuring {phase}") as bar:
                return measure(
                    runners,
                    anchor=ANCHOR,
                    rounds=config.rounds,
                    least_rounds=LEAST_ROUNDS,
                    witnesses=witnesses,
                    tolerance=config.tolerance,
                    budget_seconds=max_seconds,
                    store=lambda record: append_line(partial, record.to_json()),
                    previous=previous,
                    progress=lambda done, rounds: bar.update(
                        *_progress(done, rounds, time.monotonic() - began, max_seconds), "rounds"
                    ),
                    seed=config.seed,
                )
        except MeasurementError as error:
            raise LatnasError(f"{error}. Type the same command again{again}.") from error

    def has_rounds(self, phase: str) -> bool:
        """Whether an interrupted call has left rounds of this phase."""
        return self._rounds(phase).exists()

    def forget(self, *phases: str) -> None:
        """Deletes the rounds of these phases: nothing is to go on from them."""
        for phase in phases:
            self._rounds(phase).unlink(missing_ok=True)

    def _rounds(self, phase: str) -> Path:
        return Path(f"{self._partial}-{phase}.jsonl")

    def _prepare(self, workloads: Mapping[str, Workload], names: Mapping[str, str], remedy: str) -> dict[str, Runner]:
        runners: dict[str, Runner] = {}
        with self._report.bar("preparing") as bar:
            for number, (key, workload) in enumerate(workloads.items()):
                bar.update(number, len(workloads))
                runners[key] = self._prepared(workload, names.get(key, key), remedy)
            bar.update(len(workloads), len(workloads))
        return runners

    def _prepared(self, workload: Workload, name: str, remedy: str = OTHER_RUNTIME) -> Runner:
        return prepare(self._profiler, workload, f"{name} cannot be run on this device", remedy)


def _progress(done: int, rounds: int, seconds: float, max_seconds: float | None) -> tuple[int, int]:
    """(done, of how many): at most as many rounds as there is time for."""
    if max_seconds is None or not done or not seconds:
        return done, rounds
    return done, max(done, min(rounds, int(done * max_seconds / seconds)))
