"""The shape of the project: who may import whom, how long a file may be, which flags there are.

Imports count wherever they stand, in functions and under TYPE_CHECKING too: what a module knows of is what it
depends on.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 400

# Each part of latnas, and the parts that it may import besides itself.
BASE = {"errors", "words"}
MAY_IMPORT = {
    "errors": set(),
    "words": {"errors"},
    "spaces": BASE,
    "data": BASE,
    "latency": BASE | {"data"},
    "training": BASE | {"spaces", "data", "latency"},
    "ranking": BASE | {"spaces", "data", "latency", "training"},
    "hypernet": BASE | {"spaces", "data", "latency", "training", "ranking"},
    "stages": BASE | {"spaces", "data", "latency", "training", "ranking", "hypernet"},
    "cli": BASE | {"spaces", "data", "latency", "training", "ranking", "hypernet", "stages"},
    "__main__": {"cli"},
}


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name; a package goes by its own name."""
    found = {}
    for top in (ROOT / "src", ROOT / "profilers"):
        for path in sorted(top.rglob("*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> Iterator[str]:
    """What a module imports, by dotted name: `from a import b` is a.b where that is a module, else a."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in MODULES else source


EDGES = [(name, target) for name in MODULES for target in sorted(set(imports(name)))]


def is_in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def part(module: str, level: int = 1) -> str:
    """Which part of latnas a module belongs to: latnas.words.front is of words."""
    return [*module.split("."), "", ""][level]


def test_every_part_imports_only_parts_below_it() -> None:
    parts = {part(name) for name in MODULES if is_in(name, "latnas")} - {""}
    assert parts <= MAY_IMPORT.keys(), "say in MAY_IMPORT what a new part may import"
    inside = [(a, b) for a, b in EDGES if is_in(a, "latnas") and is_in(b, "latnas") and b != "latnas"]
    assert not [(a, b) for a, b in inside if part(b) not in MAY_IMPORT.get(part(a), set()) | {part(a)}]


def test_no_stage_imports_another() -> None:
    """A stage may have helpers of its own (stages.search.*), and share those named stages.common*."""
    inside = [(a, b) for a, b in EDGES if is_in(a, "latnas.stages") and is_in(b, "latnas.stages")]
    stages = [(a, b) for a, b in inside if not part(b, level=2).startswith("common")]
    assert not [(a, b) for a, b in stages if part(a, level=2) != part(b, level=2)]


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: {b for a, b in EDGES if a == name and b in MODULES} for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" <- ".join(circle.args[1]))


def test_words_know_no_torch() -> None:
    assert not [(a, b) for a, b in EDGES if is_in(a, "latnas.words") and "torch" in b.split(".")]


def test_what_goes_to_devices_needs_numpy_onnxruntime_and_the_standard_library_only() -> None:
    """These files become one, `measure.py`, for devices that have no latnas and no torch."""
    from latnas.latency.standalone import PARTS

    parts = [f"latnas.latency.{name}" for name in PARTS]
    needed = {a: {b for x, b in EDGES if x == a} for a in parts}
    assert "numpy" in needed["latnas.latency.measure"], "the file has moved: name it here"
    for name, targets in needed.items():
        before = {target for target in targets if any(is_in(target, part) for part in parts[: parts.index(name)])}
        others = {target.split(".")[0] for target in targets - before}
        assert others <= {"numpy", "onnxruntime", *sys.stdlib_module_names}
        assert "onnxruntime" not in others or name not in {"latnas.latency.measure", "latnas.latency.sustained"}


def test_latnas_finds_profilers_only_as_plugins() -> None:
    assert not [(a, b) for a, b in EDGES if is_in(a, "latnas") and is_in(b, "latnas_profilers")]


def test_profilers_see_of_latnas_what_anyone_s_plugin_may_see() -> None:
    seen = [(a, b) for a, b in EDGES if is_in(a, "latnas_profilers") and is_in(b, "latnas")]
    assert not [(a, b) for a, b in seen if part(b) not in {"", "errors", "words", "latency"}]


def test_no_file_is_longer_than_a_reader_s_patience() -> None:
    paths = [*MODULES.values(), *(ROOT / "benchmarks").rglob("*.py")]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert not [f"{path.relative_to(ROOT)}: {n} lines" for path, n in lengths.items() if n > LONGEST_FILE]


def spelled_out(table: dict[str, list[str]]) -> set[str]:
    return {f"{command} {flag}" for command, own in table.items() for flag in ["", *own]}


def flags(command: Any, name: str = "latnas") -> dict[str, list[str]]:
    """The flags of a command and of the commands under it, each as it is typed: --int8, --no-resume, -o."""
    own = [flag for param in command.params if param.param_type_name == "option" for flag in param.opts]
    own += [flag for param in command.params for flag in param.secondary_opts]
    table = {name: sorted(own)}
    for inner, subcommand in getattr(command, "commands", {}).items():
        table |= flags(subcommand, f"{name} {inner}")
    return table


def test_every_flag_is_one_that_was_decided_on() -> None:
    """A flag is a promise: a new one is added to tests/cli_flags.json by hand, and for a reason."""
    import typer

    from latnas.cli.app import app

    decided = json.loads((ROOT / "tests" / "cli_flags.json").read_text(encoding="utf-8"))
    assert spelled_out(flags(typer.main.get_command(app))) == spelled_out(decided)


def test_help_does_not_wait_for_heavy_imports() -> None:
    heavy = {"torch", "onnx", "onnxruntime", "numpy", "scipy", "pydantic"}
    script = f"import latnas.cli.app, sys; print(*sorted({heavy!r} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (result.stdout.strip(), result.stderr) == ("", "")
