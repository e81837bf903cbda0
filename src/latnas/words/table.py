"""The latency table: what one device needs for each operation of one space, and how far the sums can be trusted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from latnas.errors import LatnasError
from latnas.words.architecture import Architecture
from latnas.words.files import read_json, write_atomically

SCHEMA = "latnas-table-1"

Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
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


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OperationEntry(_Frozen):
    """One operation at one shape, measured alone.

    `floor_ms` is its fastest burst, the runtime's cost of a call included; `overhead_ms` is that of an empty graph with
    the same input. `halves` is the relative difference between the floors of the odd and the even rounds.
    """

    label: str
    floor_ms: Milliseconds
    overhead_ms: Milliseconds
    halves: Milliseconds

    @property
    def cost_ms(self) -> float:
        """What the operation adds to a network."""
        return max(self.floor_ms - self.overhead_ms, 0.0)


class NetworkEntry(_Frozen):
    """One whole network, measured, beside the sum of its operations."""

    architecture: ArchitectureJson
    floor_ms: Positive
    sum_ms: Milliseconds
    halves: Milliseconds


class Calibration(_Frozen):
    """floor = scale x sum + offset, with relative errors seen when each network was left out in turn.

    `low` and `high` multiply a prediction to give its 90 percent interval.
    """

    kind: Literal["affine"] = "affine"
    scale: Positive
    offset_ms: Annotated[float, Field(allow_inf_nan=False)]
    low: Annotated[float, Field(gt=0, le=1)]
    high: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    mean_error: Milliseconds
    networks: Annotated[tuple[NetworkEntry, ...], Field(min_length=4)]


class Anchor(_Frozen):
    """The network measured throughout: its floor, and the frozen factors from floor to typical latency."""

    architecture: ArchitectureJson
    floor_ms: Positive
    p50_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    p90_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    calm_rounds: int
    rounds: int


class LatencyTable(_Frozen):
    """Everything that `latnas profile` found out, and under which conditions. See latency_tables/README.md."""

    table_schema: Literal["latnas-table-1"] = Field(alias="schema")
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
    unsettled: tuple[str, ...]
    created: str
    seconds: Milliseconds

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
    """`<device>-<runtime>-<space>-<hash>`, without what a file name must not contain: cuda:0 becomes cuda0."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    return re.sub(r"[^\w.-]", "", f"{device}-{runtime}-{space}-{digest}")


def factor_of(table: LatencyTable, quote: str) -> float:
    """What floors are multiplied by to give the statistic `quote`."""
    return {"floor": 1.0, "p50": table.anchor.p50_factor, "p90": table.anchor.p90_factor}[quote]


def load_table(path: Path) -> LatencyTable:
    """Reads and validates a table.

    Raises:
        LatnasError: not JSON, of another version, or with fields missing, of the wrong type or out of range.
    """
    value = read_json(path)
    again = "Measure it again: latnas profile"
    if not isinstance(value, dict) or "schema" not in value:
        raise LatnasError(f"{path} is not a latency table: it names no schema. {again}")
    if value["schema"] != SCHEMA:
        raise LatnasError(f"{path} has schema {str(value['schema'])[:40]!r}; this latnas reads {SCHEMA!r}. {again}")
    try:
        return LatencyTable.model_validate(value)
    except ValidationError as error:
        raise LatnasError(f"{path} is not a valid latency table: {first_problem(error)}. {again}") from error


def first_problem(error: ValidationError) -> str:
    """The first of pydantic's complaints, in one line: where and what."""
    problem = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(step) for step in problem["loc"])[:120]
    more = error.error_count() - 1
    text = f"{where or 'value'}: {problem['msg']}" + (f" (and {more} more)" if more else "")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
