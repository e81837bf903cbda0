"""Every command that latnas shows, in its pages, its help and its messages, is one that it understands."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from latnas.cli.app import app, with_bare_options

ROOT = Path(__file__).parents[2]
GROUP: Any = typer.main.get_command(app)
# docs/design.md also settles what is still to be built.
GUIDES = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "design.md")
PAGES = [ROOT / "README.md", ROOT / "latency_tables" / "README.md", *GUIDES]
CALLED = ("latnas ", ".venv/bin/latnas ")


def in_page(page: Path) -> Iterator[str]:
    """Lines of code blocks that call latnas, with continued lines joined; and calls between backticks in the text."""
    inside, text = False, page.read_text(encoding="utf-8").replace("\\\n", " ")
    yield from re.findall(r"(?<!`)`(latnas [^`\n]*)`(?!`)", text)
    for line in text.splitlines():
        if line.strip().startswith("```"):
            inside = not inside
        elif (inside or line.startswith("    ")) and line.strip().removeprefix("$ ").startswith(CALLED):
            yield line.strip().removeprefix("$ ")


def in_help() -> Iterator[str]:
    """What stands after `Example:` in the help of a command."""
    for command in [GROUP, *GROUP.commands.values()]:
        for text in (command.help, command.epilog):
            yield from re.findall(r"Example: (latnas .*)", text or "")


def in_messages() -> Iterator[str]:
    """Calls within the texts of the code, such as `latnas search --budget-range FASTEST:SLOWEST`."""
    for path in sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "profilers").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from re.findall(rf"latnas (?:{'|'.join(GROUP.commands)})(?: --[\w-]+(?: [\w.:]+)?)*", node.value)


EXAMPLES = sorted({line for page in PAGES for line in in_page(page)} | set(in_help()) | set(in_messages()))


def understood(line: str) -> None:
    """Parses the words of a shell line up to the first `|`, `>`, `&&` or `;`, and runs nothing."""
    words = shlex.split(re.split(r"\s(?:\||-?>|2>|&&|;)", line)[0], comments=True)[1:]
    words = ["1" if re.fullmatch("[A-Z]+", word) else word for word in words]  # N stands for a number
    # A message that ends with an option leaves its value to what follows in the text.
    if not words or words[0].startswith("-"):
        GROUP.make_context("latnas", words, resilient_parsing=True)
        return
    assert words[0] in GROUP.commands, f"No such command: {words[0]}"
    command = GROUP.commands[words[0]]
    takes_value = {flag for param in command.params for flag in param.opts if not getattr(param, "is_flag", False)}
    if words[-1] in takes_value - {"--budget-range"}:
        words.append("1")
    command.make_context(words[0], with_bare_options(words)[1:])


def test_examples_are_found_in_the_readme_the_help_and_the_messages() -> None:
    assert len(set(in_help())) >= 3 and len(set(in_messages())) >= 5
    assert any(line.startswith("latnas search") for line in EXAMPLES)


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_is_understood(line: str) -> None:
    understood(line)


@pytest.mark.parametrize(
    "line", ["latnas search --polo 3", "latnas export --lambda half", "latnas spaces extra", "latnas serch"]
)
def test_an_example_that_is_wrong_would_be_noticed(line: str) -> None:
    with pytest.raises(Exception, match=r"No such (option|command)|valid|unexpected extra argument"):
        understood(line)
