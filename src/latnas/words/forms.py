"""The forms of JSON that stages keep for themselves, and reading a file as one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from latnas.errors import LatnasError
from latnas.words.files import read_json
from latnas.words.manifest import Attempt, Check, Measured, Quantised, RawTimes
from latnas.words.table import ArchitectureJson, Finite, Positive, Share
from latnas.words.versioned import first_problem

Features = Annotated[
    dict[Literal["jacov", "synflow", "naswot", "log_params", "log_macs"], Annotated[Finite, Field(ge=-1e9, le=1e9)]],
    Field(min_length=5),
]
"""What is computed of one architecture before any training."""

Label = Annotated[dict[Literal["accuracy", "images"], Annotated[float, Field(ge=0, le=1e9)]], Field(min_length=2)]
"""What a short training came to."""

Report = dict[str, Any]
Architectures = list[ArchitectureJson]


class TrainingResult(BaseModel):
    """What a training that ships came to, and after how many epochs if it was stopped early."""

    model_config = ConfigDict(extra="forbid")

    accuracy: Annotated[dict[Literal["value", "low", "high"], Share], Field(min_length=3)]
    test_images: int
    check: Check
    sha256: str
    stopped_after: int | None = None


class PackingResult(BaseModel):
    """What was made of a training to ship it."""

    model_config = ConfigDict(extra="forbid")

    sha256: str
    check: Check
    accuracy: Annotated[dict[Literal["value", "low", "high"], Share], Field(min_length=3)]
    quantised: Quantised | None
    standalone: str | None


class PackingRefused(BaseModel):
    """Why a training cannot ship in the form that was asked for."""

    model_config = ConfigDict(extra="forbid")

    refused: str


class LoggedMeasurement(BaseModel):
    """A line of `measurements.jsonl`, as far as a later export reads it."""

    architecture: ArchitectureJson
    what: str
    floor_ms: Positive
    anchor_drift: Positive


class FileTimes(BaseModel):
    """What a file took when it was measured."""

    model_config = ConfigDict(extra="forbid")

    measured: Measured
    raw: RawTimes
    quoted_ms: Positive
    drift: Positive


class Looked(BaseModel):
    """A network that was measured before its training, and what the manifest will say of that."""

    model_config = ConfigDict(extra="forbid")

    architecture: ArchitectureJson
    attempt: Attempt


class Decided(BaseModel):
    """A network that was chosen to be trained for a file.

    Attributes:
        fits: whether it was, as far as was known.
        looks: what was measured for that since the network before it was chosen.
        times: what its file took; None where it was not measured yet.
    """

    model_config = ConfigDict(extra="forbid")

    architecture: ArchitectureJson
    fits: bool
    looks: list[Looked]
    times: FileTimes | None = None


class Unfinished(BaseModel):
    """What was decided for a file that an export has not finished, in order."""

    model_config = ConfigDict(extra="forbid")

    budget_ms: Positive
    decided: Annotated[list[Decided], Field(min_length=1)]

    @model_validator(mode="after")
    def _goes_by_measurements(self) -> Unfinished:
        seen: list[Any] = []
        for one in self.decided:
            seen += [look.architecture for look in one.looks]
            if one.architecture not in seen:
                raise ValueError("a network was chosen that was not measured")
        if any(one.times is None for one in self.decided[:-1]):
            raise ValueError("another network was chosen before a file was measured")
        return self


class TakenOver(BaseModel):
    """What a front that joins a run goes by of what the run has, as it was when the front began.

    Attributes:
        fronts: names of the finished ones, the run's own first. What they scored is known.
        trained: keys of the networks whose short trainings count.
    """

    model_config = ConfigDict(extra="forbid")

    fronts: Annotated[list[Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]], Field(min_length=1)]
    trained: list[str]


def features_of(architectures: int) -> Any:
    """The form of the features of so many architectures."""
    return Annotated[list[Features], Field(min_length=architectures, max_length=architectures)]


def read_as(form: Any, path: Path) -> Any:
    """The JSON value in `path`, which has this form.

    Raises:
        LatnasError: the file cannot be read, or its value has another form.
    """
    again = "Delete it; the same command makes it again."
    value = read_json(path, again)
    try:
        TypeAdapter(form).validate_python(value, strict=True)
    except ValidationError as error:
        raise LatnasError(f"{path} is damaged: {first_problem(error)}. {again}") from error
    return value
