"""Variables of the environment that set options, and those that look as if they did."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any

PREFIX = "LATNAS_"
SECTIONS = ("profile", "plan", "predict", "search", "export", "verify")
"""Commands whose options variables and files set."""

SHOWING = {"config", "json", "quiet"}
"""Parameters of commands that no stage knows of: they are typed or left out."""

FIELDS = {"lam": "lambdas", "budget": "budgets", "all_": "all", "input_": "input", "run_": "run"}
"""Parameters of commands that fill a field of another name."""

NEAREST, LIKENESS = 2, 0.8
"""So many known names are offered in the place of one that is not, at least so alike by difflib's ratio."""


def warnings_of_unknown(commands: Mapping[str, Callable[..., Any]]) -> list[str]:
    """One text for each variable that sets no option of any command, with those that may have been meant."""
    names = sorted(variable.removeprefix(PREFIX) for variable in os.environ if variable.startswith(PREFIX))
    if not names:
        return []  # as nearly always: every command begins here
    known, texts = _known(commands), []
    for name in names:
        if name in known:
            continue
        texts.append(f"{PREFIX}{name} sets no option of latnas and counts for nothing.{meant(name, known, PREFIX)}")
    return texts


def meant(name: str, known: Collection[str], prefix: str = "") -> str:
    """A question after those names, with a space before it, that may have been meant; nothing where none is alike."""
    near = [f"{prefix}{one}" for one in get_close_matches(name, sorted(known), NEAREST, LIKENESS)]
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _known(commands: Mapping[str, Callable[..., Any]]) -> set[str]:
    """Names of variables, without the prefix: each for all commands, and for one alone."""
    known = set()
    for section in SECTIONS:
        for parameter in inspect.signature(commands[section]).parameters.keys() - SHOWING:
            field = FIELDS.get(parameter, parameter)
            known |= {field.upper(), f"{section}_{field}".upper()}
    return known
