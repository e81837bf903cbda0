"""`manifest.json`: what export says of one file. The fields at its top are the published schema (docs/design.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from latnas.words.estimate import Estimate
from latnas.words.files import write_atomically
from latnas.words.limits import RESOURCES, Amounts, Limits
from latnas.words.table import ArchitectureJson, Positive
from latnas.words.versioned import Frozen, read_versioned

SCHEMA: Final = "latnas-manifest-1"

Status = Literal["verified", "verified-in-pytorch", "unverified", "missed"]
Kind = Literal["search", "random", "most-macs"]
Precision = Literal["fp32", "fp16", "int8"]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Measured(Frozen):
    """Floor of the measured artefact, and the floor times the table's frozen factors."""

    floor: Positive
    p50: Positive
    p90: Positive


class RawTimes(Frozen):
    """Median and 90th percentile of single calls as they were at export, neighbours included."""

    p50: float
    p90: float


class MeasuredOn(Frozen):
    """The device and settings of the table, its frozen factors, and its anchor's floor in ms: what it takes to measure
    the file as it was measured (`measure.py` reads it). `anchor` is what the anchor's own file says of itself."""

    device: str
    threads: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    precision: str
    p50_factor: Positive
    p90_factor: Positive
    anchor_ms: Positive
    anchor: str | None = None


class ReachedAccuracy(Frozen):
    """Share of correct images with its 95 percent interval."""

    split: Literal["test"]
    value: Fraction
    low: Fraction
    high: Fraction


class Repeats(Frozen):
    """Test accuracies of the same training from several seeds, and their mean with its 95 percent interval (Student's).

    The first seed's network is the one that ships. Where that is in int8 or fp16, these are from before.
    """

    seeds: tuple[int, ...]
    values: tuple[Fraction, ...]
    mean: Fraction
    low: Fraction
    high: Fraction


class Check(Frozen):
    """ONNX Runtime against PyTorch: the largest difference relative to the outputs' scale, and equal classes."""

    images: int
    largest_difference: float
    same_class: Fraction


class Quantised(Frozen):
    """What int8 did to a network.

    Activations have the ranges that `calibration_images` of the training images reach. `before` and `after` are
    accuracies on images of a split that is no test, which the network has seen unless they were held out; `tolerance`
    is the most that it might lose, in percentage points.
    With `reduce_range` weights use 7 bits, as processors without VNNI need it. `in_float` counts the operations with
    weights that are not in int8.
    """

    calibration_images: int
    split: Literal["select"]
    images: int
    before: Fraction
    after: Fraction
    tolerance: float
    reduce_range: bool
    in_float: dict[str, int]


class Attempt(Frozen):
    """One network that was measured for a budget, in the quoted statistic, at the table's speed or slower.

    A finalist is measured before its training, and fits where it leaves the room that a file needs. `architecture` is
    as latnas prints it, with | between items.
    """

    architecture: str
    predicted_ms: float
    measured_ms: float
    what: Literal["finalist", "shipped file"]
    fits: bool


class LimitReached(Frozen):
    """The most of a resource that the search allowed, if it said, and what the network takes."""

    most: int | None
    reached: int


class LimitsReached(Frozen):
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


class Manifest(Frozen):
    """One exported network. What has a default is not in manifests of before it was there.

    `measured_ms` is as measured. `within_budget`, `status` and `margin`, the unused share of the budget, go by the time
    at the table's speed where the anchor shows that the device was faster: it will be slower again. `attempts` are
    in the order in which they were measured. `nearest_ms` is the nearest budget within reach of one that was missed.
    `recipe_digest` is of all that the same command typed again would go by.
    `device` and `anchor_drift` say what the file was measured on, and what the table's anchor took meanwhile, over what
    it took for the table.
    `quantised` is there in int8 only. `standalone` says why there is no `model.py`; None where there is one.
    """

    manifest_schema: Literal["latnas-manifest-1"] = Field(SCHEMA, alias="schema")
    budget_ms: Annotated[float, Field(gt=0)]
    predicted_ms: Estimate
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
    margin: float | None = None
    attempts: tuple[Attempt, ...] = ()
    nearest_ms: Annotated[float, Field(gt=0)] | None = None
    recipe_digest: str | None = None
    device: MeasuredOn | None = None
    anchor_drift: Positive | None = None
    precision: Precision = "fp32"
    quantised: Quantised | None = None
    standalone: str | None = None
    repeats: Repeats | None = None

    @property
    def is_computed(self) -> bool:
        """Whether the runtime of the table is a formula, so that `measured_ms` was computed."""
        return self.measured_artifact == "none"

    @property
    def text(self) -> str:
        """What is in its file."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"

    def save(self, path: Path) -> None:
        """Writes the manifest, whole or not at all."""
        write_atomically(path, self.text)


def load_manifest(path: Path) -> Manifest:
    """Reads and validates a manifest.

    Raises:
        LatnasError: not a manifest, or of another version.
    """
    return read_versioned(
        Manifest,
        path,
        SCHEMA,
        "manifest",
        "Export again by the command that made it, or remove its folder and the set.json beside that",
    )
