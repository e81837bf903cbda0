"""One config from four layers: flag over environment over file over default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from latnas.errors import LatnasError, UsageError

Config = TypeVar("Config", bound=BaseModel)

PREFIX = "LATNAS_"


def resolve(model: type[Config], flags: Mapping[str, Any], file: Path | None, section: str) -> Config:
    """Fills `model`.

    Args:
        model: the config of a stage.
        flags: what was typed; None and () mean "not typed".
        file: TOML with a table for each stage, such as [search]; keys are the config's fields.
        section: which table.

    Raises:
        UsageError: a key that does not exist, or a value that the model refuses; it says which layer it came from.
    """
    typed = {name: value for name, value in flags.items() if value is not None and value != ()}
    environment = {
        name: os.environ[PREFIX + name.upper()] for name in model.model_fields if PREFIX + name.upper() in os.environ
    }
    written = _read(file, section) if file is not None else {}
    unknown = sorted(written.keys() - model.model_fields.keys())
    if unknown:
        known = ", ".join(model.model_fields)
        raise UsageError(f"{file} sets {unknown[0]!r} in [{section}], which does not exist. Known: {known}.")
    try:
        return model.model_validate({**written, **environment, **typed})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        name = str(problem["loc"][0]) if problem["loc"] else section
        flag = f"--{name.replace('_', '-')}"
        where = flag if name in typed else PREFIX + name.upper() if name in environment else f"{name} in {file}"
        raise UsageError(f"{where}: {problem['msg']}. See latnas {section} --help") from error


def _read(file: Path, section: str) -> dict[str, Any]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no config file {file}.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LatnasError(f"cannot read {file}: {error}.") from error
    values = tables.get(section, {})
    if not isinstance(values, dict):
        raise UsageError(f"{file}: {section} must be a table, [{section}].")
    return values
