"""The JSON files that latnas publishes the form of: what their values have in common, and reading them by schema."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from latnas.errors import LatnasError, printable
from latnas.words.files import read_json

Form = TypeVar("Form", bound=BaseModel)


class Frozen(BaseModel):
    """A value in such a file: it never changes, has no other fields, and numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


def read_versioned(form: type[Form], path: Path, schema: str, what: str, again: str) -> Form:
    """Reads and validates a file.

    Args:
        form: what it should hold.
        schema: which it should name.
        what: the file is, for messages.
        again: what to do where it is not, with the command.

    Raises:
        LatnasError: not JSON, of another version, or with fields missing, of the wrong type or out of range.
    """
    value = read_json(path, again)
    if not isinstance(value, dict) or "schema" not in value:
        raise LatnasError(f"{path} is not a {what}: it names no schema. {again}")
    if value["schema"] != schema:
        raise LatnasError(f"{path} has schema {str(value['schema'])[:40]!r}; this latnas reads {schema!r}. {again}")
    try:
        return form.model_validate(value)
    except ValidationError as error:
        raise LatnasError(f"{path} is not a valid {what}: {first_problem(error)}. {again}") from error


def first_problem(error: ValidationError) -> str:
    """The first of pydantic's complaints, in one line: where and what."""
    problem = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(step) for step in problem["loc"])[:120]
    more = error.error_count() - 1
    text = f"{where or 'value'}: {problem['msg']}" + (f" (and {more} more)" if more else "")
    return printable(text)
