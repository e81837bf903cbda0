"""The latency table: what one device needs for each operation of one space, and how far the sums can be trusted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from latnas.errors import LatnasError
from latnas.words.architecture import Architecture
from latnas.words.files import write_atomically
from latnas.words.versioned import Frozen, read_versioned

SCHEMA = "latnas-table-2"

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Quote = Literal["floor", "p50", "p90"]
Option = Literal["width", "depth", "image_size", "channels", "classes"]


def _check_architecture(value: dict[str, Any]) -> dict[str, Any]:
    try:
        Architecture.from_json(value)
    except LatnasError as error:
        raise ValueError(str(error)) from error  # pydantic says where it stands
    return value


ArchitectureJson = Annotated[dict[str, Any], AfterValidator(_check_architecture)]
"""An architecture as `Architecture.to_json` gives it."""


class OperationEntry(Frozen):
    """One operation at one shape, measured alone.

    `floor_ms` is the mean of its faster bursts, the runtime's cost of a call included; `overhead_ms` is that of an
    empty graph with the same input. `halves` is the relative difference between the floors of the odd and the even
    rounds.
    """

    label: str
    floor_ms: NonNegative
    overhead_ms: NonNegative
    halves: NonNegative

    @property
    def cost_ms(self) -> float:
        """What the operation adds to a network."""
        return max(self.floor_ms - self.overhead_ms, 0.0)


class NetworkEntry(Frozen):
    """One whole network, measured, beside the sum of its operations and what it is predicted to take.

    `drawn` says how it came in: an end of the range, at random, or near the front that a search will use. `left_out` is
    measured / predicted - 1, predicted by a fit without this network.
    """

    architecture: ArchitectureJson
    drawn: Literal["end", "random", "front"]
    floor_ms: Positive
    sum_ms: NonNegative
    left_out: Finite
    halves: NonNegative


class Quality(Frozen):
    """How well predictions agree with measurements: relative errors, shares and rank correlations, all out of 1.

    Correlations are None where all networks were measured or predicted equal.
    """

    networks: Annotated[int, Field(ge=1)]
    mean_error: NonNegative
    within5: Share
    within10: Share
    worst: NonNegative
    spearman: Finite | None
    kendall: Finite | None


class Prices(Frozen):
    """The milliseconds of a network's pieces: `fixed_ms` by setting, `parts_ms` by setting, decision and part.

    `contexts_ms` is what a thousand output elements of a class of primitive operations cost beside that, such as
    `ReLU(add)`: it depends on neighbouring parts what a runtime merges.
    """

    fixed_ms: dict[str, float]
    parts_ms: dict[str, dict[str, dict[str, float]]]
    contexts_ms: dict[str, float] = Field(default={})


class Calibration(Frozen):
    """What pieces cost inside of whole networks, fitted to measured ones.

    `prior` is what the fit starts from: the measured operations, or an estimate from multiply-adds and activations.
    `freedom` says how far it was let stray, `tried` has the mean left-out error of each that was tried. `linear`
    are the best prices without contexts, for solvers and gradients, with their own left-out error. `low` and `high`
    multiply a prediction to give its 90 percent interval. `quality` is of the networks, each left out in turn.
    """

    prior: Literal["operations", "work"]
    freedom: str
    prices: Prices
    linear: Prices
    linear_error: NonNegative
    low: Annotated[float, Field(gt=0, le=1)]
    high: Annotated[float, Field(ge=1)]
    quality: Quality
    tried: dict[str, NonNegative]
    networks: Annotated[tuple[NetworkEntry, ...], Field(min_length=4)]


class DeadParts(Frozen):
    """What parts cost that do not reach the output, as a share of their price: 0 is free, 1 is full price.

    From pairs of probe networks that compute the same, one with dead parts and one without.
    """

    share: float
    probes: Annotated[int, Field(ge=1)]


class Witness(Frozen):
    """A network whose single calls were noted: whether one factor serves small and large networks."""

    floor_ms: Positive
    p50_factor: Annotated[float, Field(ge=1)]
    p90_factor: Annotated[float, Field(ge=1)]


class Anchor(Frozen):
    """The network measured throughout: its floor, and the frozen factors from floor to typical latency.

    `witnesses` are the anchor itself, the fastest and the slowest network.
    """

    architecture: ArchitectureJson
    floor_ms: Positive
    p50_factor: Annotated[float, Field(ge=1)]
    p90_factor: Annotated[float, Field(ge=1)]
    calm_rounds: int
    rounds: int
    witnesses: tuple[Witness, ...]


class Noise(Frozen):
    """How far the floors of the odd and of the even rounds lie apart over all networks that had both, relatively."""

    mean: NonNegative
    p95: NonNegative


class LatencyTable(Frozen):
    """Everything that `latnas profile` found out, and under which conditions. See latency_tables/README.md.

    `runtime` is what `--runtime` takes: its settings are part of it, and are used again wherever the table is.
    """

    table_schema: Literal["latnas-table-2"] = Field(alias="schema")
    device: str
    runtime: str
    measures: Literal["onnx", "torch", "none"]
    environment: dict[str, str]
    batch: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)]
    precision: str
    space: str
    options: Annotated[dict[Option, int], Field(min_length=5)]
    space_digest: str
    quote: Quote
    operations: dict[str, OperationEntry]
    calibration: Calibration
    anchor: Anchor
    dead_parts: DeadParts | None
    noise: Noise
    unsettled: tuple[str, ...]
    doubtful: dict[str, str]
    created: str
    seconds: NonNegative

    @property
    def name(self) -> str:
        """What runs and exports call this table; also its file name without `.json`."""
        return table_name(self.device, self.runtime, self.space, self.identity)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What makes two tables the same table: conditions, not results."""
        return identity_of(self.space_digest, self.environment, self.batch, self.threads, self.precision)

    @property
    def factor(self) -> float:
        """From floor to the quoted statistic."""
        return factor_of(self, self.quote)

    def save(self, path: Path) -> None:
        """Writes the table, whole or not at all."""
        write_atomically(path, self.model_dump_json(by_alias=True, indent=1) + "\n")


def identity_of(
    space_digest: str, environment: Mapping[str, str], batch: int, threads: int, precision: str
) -> dict[str, Any]:
    """The conditions that a table holds for."""
    return {
        "space": space_digest, "environment": dict(environment), "batch": batch, "threads": threads,
        "precision": precision,
    }  # fmt: skip


def table_name(device: str, runtime: str, space: str, identity: Mapping[str, Any]) -> str:
    """`<device>-<runtime>-<space>-<hash>`, without what a file name must not contain: cuda:0 becomes cuda0.

    The runtime's settings are in the hash alone, through the environment that they make.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    return re.sub(r"[^\w.-]", "", f"{device}-{runtime.partition(':')[0]}-{space}-{digest}")


def factor_of(table: LatencyTable, quote: str) -> float:
    """What floors are multiplied by to give the statistic `quote`."""
    return {"floor": 1.0, "p50": table.anchor.p50_factor, "p90": table.anchor.p90_factor}[quote]


def load_table(path: Path) -> LatencyTable:
    """Reads and validates a table.

    Raises:
        LatnasError: not JSON, of another version, or with fields missing, of the wrong type or out of range.
    """
    return read_versioned(LatencyTable, path, SCHEMA, "latency table", "Measure it again: latnas profile")
