"""The forms of JSON that stages keep for themselves, and reading a file as one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from latnas.errors import LatnasError
from latnas.words.files import read_json
from latnas.words.manifest import Check, Quantised
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


class LoggedMeasurement(BaseModel):
    """A line of `measurements.jsonl`, as far as a later export reads it."""

    architecture: ArchitectureJson
    what: str
    floor_ms: Positive
    anchor_drift: Positive


def features_of(architectures: int) -> Any:
    """The form of the features of so many architectures."""
    return Annotated[list[Features], Field(min_length=architectures, max_length=architectures)]


def read_as(form: Any, path: Path) -> Any:
    """The JSON value in `path`, which has this form.

    Raises:
        LatnasError: the file cannot be read, or its value has another form.
    """
    value = read_json(path)
    try:
        TypeAdapter(form).validate_python(value, strict=True)
    except ValidationError as error:
        raise LatnasError(f"{path} is damaged: {first_problem(error)}. Delete it to make it again.") from error
    return value
