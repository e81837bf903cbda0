"""One config from four layers: flag over environment over file over default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from latnas.cli.variables import PREFIX, SECTIONS, meant
from latnas.errors import LatnasError, UsageError
from latnas.words.files import at_home, read_text

Config = TypeVar("Config", bound=BaseModel)

OPTIONS = {
    "search": {"from": "from_run"},
    "export": {"lambda": "lambdas", "budget": "budgets"},
    "verify": {"lambda": "lambdas", "budget": "budgets"},
}  # fmt: skip
"""Options that fill a field of another name, by command: a file may call them by either."""

ALTERNATIVES = {"export": ("lambdas", "budgets", "all"), "verify": ("lambdas", "budgets")}
"""Fields that name the same thing, by command: where one is typed, the others of the layers below do not count."""

TEXTS = ("run", "from_run", "resume", "table")
"""Fields that may be paths, and are text for some commands."""


def resolve(model: type[Config], flags: Mapping[str, Any], file: Path | None, section: str) -> Config:
    """Fills `model`.

    Args:
        model: the config of a stage.
        flags: what was typed; None and () mean "not typed".
        file: TOML with a table for each stage, such as [search]; keys are options as they are typed, without the
            two dashes, or the config's fields. A list of one may be written as that one.
            In the environment these are LATNAS_POOL and so on, with commas in lists; LATNAS_SEARCH_POOL is for this
            stage alone and wins over LATNAS_POOL. One that is empty is none. In every layer ~ is the home folder.
        section: which table.

    Raises:
        UsageError: a key that does not exist, or a value that the model refuses; it says which layer it came from.
    """
    typed = {name: value for name, value in flags.items() if value is not None and value != ()}
    variables = {name: variable for name in model.model_fields if (variable := _variable(section, name)) is not None}
    environment = {
        name: _parts(os.environ[variable]) if _is_list(model, name) else os.environ[variable]
        for name, variable in variables.items()
    }
    keys = _fields(_read(file, section), model, file, section) if file is not None else {}
    written = {
        name: [value] if _is_list(model, name) and not isinstance(value, list) else value
        for name, (_, value) in keys.items()
    }
    layers = {name: f"{key} in {file}" for name, (key, _) in keys.items()} | variables
    for name, value in {**environment, **typed}.items():
        if any("\ud800" <= letter <= "\udfff" for letter in str(value)):
            raise UsageError(f"{name} is no text that can be shown: {str(value)[:80]!r}. Choose a name in UTF-8.")
    typed = _with_homes(model, typed)
    given = _joined(_joined(_with_homes(model, written), _with_homes(model, environment), section), typed, section)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        name = str(problem["loc"][0]) if problem["loc"] else section
        where = f"--{name.replace('_', '-')}" if name in typed else layers.get(name, name)
        raise UsageError(f"{where}: {problem['msg']}. See latnas {section} --help") from error
    except UsageError as error:
        refused = _refused(model, {name: value for name, value in given.items() if name not in typed}, str(error))
        if refused is None:
            raise
        raise UsageError(f"{layers[refused]}: {error}") from error


def _refused(model: type[Config], values: Mapping[str, Any], complaint: str) -> str | None:
    """The one of the values that gets this complaint by itself; None where a config without any gets it too."""
    if _complaint(model, {}) == complaint:
        return None
    return next((name for name, value in values.items() if _complaint(model, {name: value}) == complaint), None)


def _complaint(model: type[Config], values: Mapping[str, Any]) -> str | None:
    """What a config says itself, by an error of ours, of these values alone."""
    try:
        model.model_validate(values)
    except UsageError as error:
        return str(error)
    except ValidationError:
        return None
    return None


def _fields(written: Mapping[str, Any], model: type[Config], file: Path, section: str) -> dict[str, tuple[str, Any]]:
    """What a file sets, by field: the key as it is written there, and its value.

    Raises:
        UsageError: a key is no option and no field, or is there twice under two names.
    """
    found: dict[str, tuple[str, Any]] = {}
    for key, value in written.items():
        name = OPTIONS.get(section, {}).get(key, key.replace("-", "_"))
        if name not in model.model_fields:
            typed = {field: option for option, field in OPTIONS.get(section, {}).items()}
            known = [typed.get(field, field.replace("_", "-")) for field in model.model_fields]
            question = meant(key.replace("_", "-"), known) or f" Known: {', '.join(known)}."
            raise UsageError(f"{file} sets {key!r} in [{section}], which does not exist.{question}")
        if name in found:
            raise UsageError(f"{file} sets {found[name][0]!r} and {key!r} in [{section}], which are one. Keep one.")
        found[name] = (key, value)
    return found


def _joined(below: Mapping[str, Any], above: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Two layers: of fields that name the same thing only those of the upper one, where it has any."""
    named = ALTERNATIVES.get(section, ())
    hidden = named if any(name in above for name in named) else ()
    return {**{name: value for name, value in below.items() if name not in hidden}, **above}


def _with_homes(model: type[Config], layer: Mapping[str, Any]) -> dict[str, Any]:
    """The layer, with home folders in its paths."""

    def is_path(name: str, value: Any) -> bool:
        annotation = model.model_fields[name].annotation
        return isinstance(value, str | Path) and (name in TEXTS or Path in (annotation, *get_args(annotation)))

    return {name: at_home(str(value)) if is_path(name, value) else value for name, value in layer.items()}


def _read(file: Path, section: str) -> dict[str, Any]:
    file = Path(at_home(str(file)))
    if not file.exists():
        raise UsageError(f"there is no config file {file}.")
    try:
        tables = tomllib.loads(read_text(file).removeprefix("\ufeff"))  # a byte order mark
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
    return next((variable for variable in both if os.environ.get(variable)), None)


def _is_list(model: type[Config], name: str) -> bool:
    """Whether an option may be given several times."""
    return get_origin(model.model_fields[name].annotation) is tuple


def _parts(text: str) -> list[str]:
    """The parts of a list in the environment, where commas stand between them."""
    return [part.strip() for part in text.split(",") if part.strip()]
