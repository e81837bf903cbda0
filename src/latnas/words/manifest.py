"""`manifest.json`: what export says of one file. The fields at its top are the published schema (docs/design.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latnas.errors import LatnasError
from latnas.words.files import read_json, write_atomically
from latnas.words.table import ArchitectureJson, first_problem

SCHEMA: Final = "latnas-manifest-1"

Status = Literal["verified", "verified-in-pytorch", "unverified", "missed"]
Kind = Literal["search", "random", "most-macs"]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Predicted(_Frozen):
    """Predicted latency with its 90 percent interval, in the quoted statistic."""

    value: float
    low: float
    high: float


class Measured(_Frozen):
    """Floor of the measured artefact, and the floor times the table's frozen factors."""

    floor: float
    p50: float
    p90: float


class RawTimes(_Frozen):
    """Median and 90th percentile of single calls as they were at export, neighbours included."""

    p50: float
    p90: float


class ReachedAccuracy(_Frozen):
    """Share of correct images with its 95 percent interval."""

    split: Literal["test"]
    value: Fraction
    low: Fraction
    high: Fraction


class Check(_Frozen):
    """ONNX Runtime against PyTorch: the largest difference relative to the outputs' scale, and equal classes."""

    images: int
    largest_difference: float
    same_class: Fraction


class Manifest(_Frozen):
    """One exported network."""

    manifest_schema: Literal["latnas-manifest-1"] = Field(SCHEMA, alias="schema")
    budget_ms: Annotated[float, Field(gt=0)]
    predicted_ms: Predicted
    measured_ms: Measured | None
    raw_ms: RawTimes | None
    quote: Literal["floor", "p50", "p90"]
    within_budget: bool | None
    status: Status
    runtime: str
    measured_artifact: Literal["onnx", "torch", "none"]
    sha256: str
    accuracy: ReachedAccuracy
    params: int
    macs: int
    architecture: ArchitectureJson
    lam: float | None = Field(alias="lambda")
    table: str
    seed: int
    versions: dict[str, str]
    kind: Kind
    data: str
    classes: tuple[str, ...]
    input: dict[str, Any]
    training: dict[str, Any]
    check: Check
    created: str

    def save(self, path: Path) -> None:
        """Writes the manifest, whole or not at all."""
        write_atomically(path, self.model_dump_json(by_alias=True, indent=1) + "\n")


def load_manifest(path: Path) -> Manifest:
    """Reads and validates a manifest.

    Raises:
        LatnasError: not a manifest, or of another version.
    """
    value = read_json(path)
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise LatnasError(f"{path} is not a manifest of this version ({SCHEMA}). Export again: latnas export")
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        raise LatnasError(
            f"{path} is not a valid manifest: {first_problem(error)}. Export again: latnas export"
        ) from error
