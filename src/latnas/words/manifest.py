"""`manifest.json`: what export says of one file. The fields at its top are the published schema (docs/design.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latnas.errors import LatnasError
from latnas.words.files import read_json, write_atomically
from latnas.words.limits import RESOURCES, Amounts, Limits
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


class Repeats(_Frozen):
    """Test accuracies of the same training from several seeds, and their mean with its 95 percent interval (Student's).

    The first seed's network is the one that ships.
    """

    seeds: tuple[int, ...]
    values: tuple[Fraction, ...]
    mean: Fraction
    low: Fraction
    high: Fraction


class Check(_Frozen):
    """ONNX Runtime against PyTorch: the largest difference relative to the outputs' scale, and equal classes."""

    images: int
    largest_difference: float
    same_class: Fraction


class LimitReached(_Frozen):
    """The most of a resource that the search allowed, if it said, and what the network takes."""

    most: int | None
    reached: int


class LimitsReached(_Frozen):
    """Limits of the search beside its budgets. `file_bytes` is the very file's size, the others are computed."""

    params: LimitReached
    macs: LimitReached
    file_bytes: LimitReached
    memory_bytes: LimitReached

    @classmethod
    def of(cls, limits: Limits, amounts: Amounts) -> LimitsReached:
        """What was asked for beside what was reached."""
        return cls(**{r.name: LimitReached(most=limits.most(r), reached=amounts.of(r)) for r in RESOURCES})

    @property
    def exceeded(self) -> tuple[str, ...]:
        """Labels of the resources of which the network takes more than was allowed."""
        each = [(resource.label, getattr(self, resource.name)) for resource in RESOURCES]
        return tuple(label for label, one in each if one.most is not None and one.reached > one.most)


class Manifest(_Frozen):
    """One exported network. `limits` is None in manifests of before there were any."""

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
    limits: LimitsReached | None = None
    repeats: Repeats | None = None

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
