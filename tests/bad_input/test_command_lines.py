"""Every option of every command, from the command tree itself, with nonsense: no traceback, no harm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel
from small import EXPORT, PROFILE, SEARCH, as_typed
from typed_here import WRONG_USAGE, complaint, everything, restore, table_of, type_here

from latnas.cli.app import app

SIZES: dict[str, dict[str, Any]] = {
    "profile": PROFILE, "search": SEARCH, "export": EXPORT, "predict": {"data": "digits", "random": 1}, "spaces": {},
    "plan": {"data": "nothing.npz"}, "verify": {"rounds": 4},
    "devices": {}, "demo": {"preset": "none"},
}  # fmt: skip
"""What else is typed: small stages. A demo is no small stage: it is typed with a preset that there is not."""

NUMBERS = ["", " ", "x", "-1", "1e999", "nan", "-inf", "9" * 30, "0x10", "1,5", "\u00bd", "\n"]
TEXTS = ["", "x" * 5000, "a\nb\x1b[31m", "\udcff", "../../nothing", ".", "/dev/null/x", "-"]
ENDS_QUICKLY = {"search --name", "search --out", "profile --out", "export --seed"}
"""Options of which most of these values make sense, so that whole stages run: they get the hostile ones only."""


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """(command and option, words)."""
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for option in command.params:
            flag = max(option.opts, key=len)
            if option.param_type_name == "argument":
                for text in TEXTS:
                    yield f"{name} {option.name}", [*_others(name, ""), "--", text]
                continue
            if "help" in option.name:
                continue
            words = _others(name, flag)
            yield f"{name} {flag}", [*words, f"{flag}x"]
            if option.is_flag:
                yield f"{name} {flag}", [*words, f"{flag}=1"]
                continue
            if flag != "--budget-range":  # which may stand bare
                yield f"{name} {flag}", [*words, flag]
            values = NUMBERS if option.type_descriptor.annotation in (int, float) else TEXTS
            for value in values[1:5:2] if f"{name} {flag}" in ENDS_QUICKLY else values:
                yield f"{name} {flag}", [*words, f"{flag}={value}"]
        yield f"{name} of a word too many", [*_others(name, ""), "--quietly"]
        yield f"{name} of an unknown flag", [*_others(name, ""), "-Z"]


def _others(command: str, flag: str) -> list[str]:
    sizes = {name: value for name, value in SIZES[command].items() if f"--{name.replace('_', '-')}" != flag}
    named = ["--lambda", "0"] if command == "export" and flag != "--lambda" else []
    return [command, *as_typed(sizes), *named]


@pytest.mark.parametrize("command", SIZES)
def test_options_with_values_that_make_no_sense(command: str, here: Path) -> None:
    start = everything(here)
    faults, counts = [], Counter[str]()
    for name, words in command_lines():
        if words[0] != command:
            continue
        quiet = [] if command in ("spaces", "devices") else ["--quiet"]
        shown = type_here([words[0], *quiet, *words[1:]])
        counts[f"{name}: {'taken' if shown.code == 0 else 'refused'}"] += 1
        found = everything(here)
        fault = complaint(shown, start, found, ("*/measurements.jsonl",))
        faults += [f"{words}: {fault}"] if fault else []
        restore(here, found, start)
    assert not faults, f"{table_of(counts)}\n" + "\n".join(fault[:400] for fault in faults)


@pytest.mark.parametrize("name", ["../../nothing", "/nothing", "a/b", ".", "..", ".hidden"])
def test_a_run_s_name_leads_nowhere_else(name: str, here: Path) -> None:
    start = everything(here.parent)
    shown = type_here(["search", *as_typed(SEARCH), "--name", name, "--quiet"])
    assert shown.code == WRONG_USAGE
    assert complaint(shown, start, everything(here.parent)) is None


def test_every_command_and_option_is_typed_with_nonsense() -> None:
    counts = Counter(name.partition(" ")[0] for name, _ in command_lines())
    assert counts.keys() == SIZES.keys(), "say in SIZES what a new command is typed with"
    assert counts.total() >= 100, table_of(counts)


# The environment, which is a layer of the same configs


def configs() -> dict[str, type[BaseModel]]:
    from latnas.stages.export import ExportConfig, VerifyConfig
    from latnas.stages.predict import PredictConfig
    from latnas.stages.profile import ProfileConfig
    from latnas.stages.search import SearchConfig

    return {
        "profile": ProfileConfig, "search": SearchConfig, "export": ExportConfig, "verify": VerifyConfig,
        "predict": PredictConfig,
    }  # fmt: skip


@pytest.mark.parametrize("command", ["profile", "search", "export", "verify", "predict"])
def test_an_environment_that_makes_no_sense(command: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = everything(here)
    faults = []
    for name in configs()[command].model_fields:
        if name in ("out", "name", "all", "operations", "baselines"):
            continue
        variable = f"LATNAS_{name.upper()}"
        words = _others(command, f"--{name.replace('_', '-')}")
        for value in ("nothing/\x1b[31m", "-1"):
            monkeypatch.setenv(variable, value)
            shown = type_here([*words, "--quiet"])
            found = everything(here)
            fault = complaint(shown, start, found, ("*/measurements.jsonl",))
            faults += [f"{variable}={value!r}: {fault}"] if fault else []
            restore(here, found, start)
        monkeypatch.delenv(variable)
    assert not faults, "\n".join(faults)
