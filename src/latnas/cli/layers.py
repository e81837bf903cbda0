"""One config from four layers: flag over environment over file over default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from latnas.errors import LatnasError, UsageError
from latnas.words.files import read_text

Config = TypeVar("Config", bound=BaseModel)

PREFIX = "LATNAS_"
SECTIONS = ("profile", "plan", "predict", "search", "export", "verify")


def resolve(model: type[Config], flags: Mapping[str, Any], file: Path | None, section: str) -> Config:
    """Fills `model`.

    Args:
        model: the config of a stage.
        flags: what was typed; None and () mean "not typed".
        file: TOML with a table for each stage, such as [search]; keys are the config's fields.
            In the environment these are LATNAS_POOL and so on, with commas in lists; LATNAS_SEARCH_POOL is for this
            stage alone and wins over LATNAS_POOL.
        section: which table.

    Raises:
        UsageError: a key that does not exist, or a value that the model refuses; it says which layer it came from.
    """
    typed = {name: value for name, value in flags.items() if value is not None and value != ()}
    variables = {name: variable for name in model.model_fields if (variable := _variable(section, name)) is not None}
    environment = {
        name: _parts(os.environ[variable]) if get_origin(model.model_fields[name].annotation) is tuple
        else os.environ[variable]
        for name, variable in variables.items()
    }  # fmt: skip
    written = _read(file, section) if file is not None else {}
    unknown = sorted(written.keys() - model.model_fields.keys())
    if unknown:
        known = ", ".join(model.model_fields)
        raise UsageError(f"{file} sets {unknown[0]!r} in [{section}], which does not exist. Known: {known}.")
    for name, value in {**environment, **typed}.items():
        if any("\ud800" <= letter <= "\udfff" for letter in str(value)):
            raise UsageError(f"{name} is no text that can be shown: {str(value)[:80]!r}. Choose a name in UTF-8.")
    try:
        return model.model_validate({**written, **environment, **typed})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        name = str(problem["loc"][0]) if problem["loc"] else section
        flag = f"--{name.replace('_', '-')}"
        where = flag if name in typed else variables.get(name) or f"{name} in {file}"
        raise UsageError(f"{where}: {problem['msg']}. See latnas {section} --help") from error


def _read(file: Path, section: str) -> dict[str, Any]:
    if not file.exists():
        raise UsageError(f"there is no config file {file}.")
    try:
        tables = tomllib.loads(read_text(file))
    except (ValueError, RecursionError) as error:  # tomllib has no class of its own for a number of 5,000 digits
        raise LatnasError(f"cannot read {file}: {error}.") from error
    for name, values in tables.items():
        if name not in SECTIONS:
            known = ", ".join(f"[{section}]" for section in SECTIONS)
            if not isinstance(values, dict):
                raise UsageError(f"{file} sets {name!r} outside of any table. Put it under one of {known}.")
            raise UsageError(f"{file} has a table [{name}], which does not exist. Known: {known}.")
        if not isinstance(values, dict):
            raise UsageError(f"{file}: {name} must be a table, [{name}].")
    found: dict[str, Any] = tables.get(section, {})
    return found


def _variable(section: str, name: str) -> str | None:
    """The variable of the environment that sets this field: the one of this section alone, or the one of all."""
    both = (f"{PREFIX}{section.upper()}_{name.upper()}", f"{PREFIX}{name.upper()}")
    return next((variable for variable in both if variable in os.environ), None)


def _parts(text: str) -> list[str]:
    """The parts of a list in the environment, where commas stand between them."""
    return [part.strip() for part in text.split(",") if part.strip()]
