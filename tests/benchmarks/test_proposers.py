"""The benchmark of proposers: what its shares are shares of, with runs that are made up."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import proposers
import pytest

from latnas.errors import FAILED
from latnas.words.budgets import BudgetRange

GAIN = {"H": 2.0, "random": 1.0, "local search": 4.0}


@pytest.fixture
def _made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Runs find one network beside the fastest, and score it alike whatever the seed."""

    def run(task: Any, tables: str, method: str, seed: int, calls: int) -> dict[str, Any]:
        return {"costs": [[1.0, 2.0]], "scores": [0.0, GAIN[method]], "seconds": 1.0, "judge_seconds": 0.1}

    monkeypatch.setattr(proposers, "run", run)
    setup = SimpleNamespace(budgets=(BudgetRange(1.0, 4.0),))
    monkeypatch.setattr(proposers, "setup", lambda name, data, work: setup)
    monkeypatch.setattr(proposers, "check_images", lambda data: None)
    monkeypatch.chdir(tmp_path)


def benchmark(monkeypatch: pytest.MonkeyPatch, *words: str, work: str = "work") -> dict[str, dict[str, Any]]:
    """Types the command; rows by space and method."""
    typed = ["proposers.py", "--data", "digits", "--work", work, "--tables", "one", "--json", "out.json", *words]
    monkeypatch.setattr(sys, "argv", typed)
    proposers.main()
    return {f"{row['space']} {row['method']}": row for row in json.loads(Path("out.json").read_text())["rows"]}


@pytest.mark.usefixtures("_made_up")
def test_shares_are_of_all_runs_in_the_folder_whatever_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--spaces", "mbconv", "--methods")
    first = benchmark(monkeypatch, *words, "H", "random", "--seeds", "0,1")
    assert {name: (row["share_300"], row["seeds"]) for name, row in first.items()} == {
        "mbconv H": (1.0, 2), "mbconv random": (0.5, 2),
    }  # fmt: skip
    then = benchmark(monkeypatch, *words, "local search", "--seeds", "0")
    assert {name: (row["share_300"], row["seeds"]) for name, row in then.items()} == {
        "mbconv H": (0.5, 2), "mbconv random": (0.25, 2), "mbconv local search": (1.0, 1),
    }  # fmt: skip
    assert benchmark(monkeypatch, "--spaces", "darts", "--methods", "H", "--seeds", "0").items() > then.items()
    assert benchmark(monkeypatch, *words, "random", "--seeds", "0").items() > then.items()


@pytest.mark.usefixtures("_made_up")
def test_results_that_the_folder_lacks_are_not_written_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--spaces", "mbconv", "--methods", "H", "--seeds")
    benchmark(monkeypatch, *words, "0,1")
    before = Path("out.json").read_bytes()
    with pytest.raises(SystemExit) as stopped:
        benchmark(monkeypatch, *words, "2", work="another")
    assert stopped.value.code == FAILED and Path("out.json").read_bytes() == before
    assert "out.json has 2 seeds of mbconv, one, H, and --work has 1. Name the folder" in capsys.readouterr().err
    assert not Path("another").exists()
