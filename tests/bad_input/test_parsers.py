"""Anything at all, given to whatever reads: a value comes out, or an error that latnas can name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from latnas.cli.layers import resolve
from latnas.errors import LatnasError, one_line
from latnas.stages.common.runs import RunFolder
from latnas.stages.predict import PredictConfig
from latnas.training.checkpoint import load_tensors
from latnas.training.tasks import parse_executor
from latnas.words.architecture import Architecture
from latnas.words.budgets import format_ms, parse_ms, parse_range
from latnas.words.files import read_json, read_lines
from latnas.words.forms import Architectures, Features, Label, TrainingResult, read_as
from latnas.words.front import load_front
from latnas.words.manifest import load_manifest
from latnas.words.table import load_table

ANYTHING = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KEYS = st.sampled_from(["schema", "space", "options", "networks", "architecture", "items", "setting", "budgets"])
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS | st.text(), inner), max_leaves=12)
NEARLY_BUDGETS = st.text("0123456789.eE+-:mu\u00b5\u03bcs \t\u0661naif")
NEARLY_TOML = st.text('[]{}="\\,.\n#predict seed1e9-_truinf')
SCHEMAS = st.sampled_from(["latnas-table-2", "latnas-front-1", "latnas-manifest-1"])


def named(read: Callable[..., Any], *arguments: Any) -> Any:
    """What is read; None where an error was named."""
    try:
        return read(*arguments)
    except LatnasError as error:
        named_error = error
    assert str(named_error)
    assert named_error.code in (1, 2)
    return None


@ANYTHING
@given(st.text() | NEARLY_BUDGETS)
@example("1e999ms")
@example("1e-999s:1ms")
@example("\u0661ms")
@example("9" * 5000 + "ms")
def test_budgets_and_executors(text: str) -> None:
    for read in (parse_ms, parse_range, parse_executor):
        named(read, text)
    ms = named(parse_ms, text)
    assert ms is None or (0 < ms < float("inf") and format_ms(ms))


READERS: dict[str, Callable[[Path], Any]] = {
    "table": load_table, "front": load_front, "manifest": load_manifest, "JSON": read_json, "checkpoint": load_tensors,
    "lines": lambda path: list(read_lines(path)), "architecture": lambda path: Architecture.from_json(read_json(path)),
    "run": lambda path: RunFolder(path.parent).read_config(),
    "config": lambda path: resolve(PredictConfig, {}, path, "predict"),
    **{str(form)[:40]: lambda path, form=form: read_as(form, path)
       for form in (Architectures, Features, Label, TrainingResult)},
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
@ANYTHING
@given(content=st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | NEARLY_TOML.map(str.encode))
@example(content=b"[" * 100_000)
@example(content=b"a = " + b"[" * 100_000)
@example(content=b"9" * 5_000)
@example(content=b"predict = " + b"9" * 5_000)
@example(content=b"\xef\xbb\xbf{}")
@example(content=(2**63).to_bytes(8, "little") + b"{}")
def test_files(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    named(READERS[name], path)


@pytest.mark.parametrize("read", [load_table, load_front, load_manifest])
@ANYTHING
@given(schema=SCHEMAS, rest=st.dictionaries(KEYS | st.text(), JSON))
def test_json_that_claims_to_be_ours(
    read: Callable[[Path], Any], schema: str, rest: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "t.json").write_text(json.dumps({**rest, "schema": schema}))
    assert named(read, tmp_path / "t.json") is None


@ANYTHING
@given(message=st.text() | st.text("\n -ab\x1b\u2028\r"))
def test_messages_are_one_line_and_lines_of_choices(message: str) -> None:
    first, *more = one_line(message).split("\n")
    assert first.isprintable() and all(line.startswith("  --") and line.isprintable() for line in more)


def test_lines_of_choices_stay_lines() -> None:
    assert one_line("name one:\n  --table a\n  --table b\nc") == "name one:\n  --table a\n  --table b?c"
