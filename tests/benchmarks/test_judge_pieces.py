"""The judge's pieces on a tiny search: the whole judge is what the search was judged by, and opinions add up to it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import judge_pieces
import numpy as np
import pytest
import search_nasbench201
from judge_pieces import JUDGE, PIECES, opinions
from made_up_table import write_table
from nasbench201_scores import load_found
from tiny_search import TINY

from latnas.data.sources import load_images
from latnas.words.reporting import Silent


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Runs of two seeds, and a table of the cells that both know."""
    folder = tmp_path_factory.mktemp("searched")
    runs, shared = folder / "runs", set[str]()
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(search_nasbench201.PRESETS, "cpu", TINY)
        for seed in (0, 1):
            run = search_nasbench201.run_of(runs, "cpu", seed)
            search_nasbench201.search(TINY, seed, load_images("digits"), run, Silent())
            found = load_found(run.path / "scores.json")
            shared = shared & set(found.cells) if shared else set(found.cells)
    cells = [dict(zip(found.edges, cell.split("|"), strict=True)) for cell in sorted(shared)]
    return runs, write_table(folder / "table.npz", cells)


def typed(monkeypatch: pytest.MonkeyPatch, *words: object) -> int | str | None:
    """Types the command; returns the exit code."""
    monkeypatch.setitem(search_nasbench201.PRESETS, "cpu", TINY)
    monkeypatch.setattr(sys, "argv", ["judge_pieces.py", "--data", "digits", *map(str, words)])
    try:
        judge_pieces.main()
    except SystemExit as stopped:
        return stopped.code
    return 0


def test_each_piece_has_a_row_and_the_judge_s_is_what_the_searches_were_judged_by(
    searched: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, table = searched
    words = ("--latencies", table, "--runs", runs, "--seeds", "0,1")
    assert typed(monkeypatch, *words, "--json", tmp_path / "pieces.json") == 0
    rows = json.loads((tmp_path / "pieces.json").read_text())["rows"]
    assert [row["piece"] for row in rows] == list(PIECES) and rows[0]["difference"] == 0
    monkeypatch.setattr(
        sys, "argv", ["search_nasbench201.py", *map(str, words), "--json", str(tmp_path / "whole.json")]
    )
    search_nasbench201.main()
    (whole,) = (
        row
        for row in json.loads((tmp_path / "whole.json").read_text())["rows"]
        if row.get("method") == "ours" and "worst" in row
    )
    assert [rows[0][name] for name in ("hypervolume", "worst", "regret")] == pytest.approx(
        [whole[name] for name in ("hypervolume", "worst", "regret")]
    )
    for row in rows:
        assert row["difference"] == pytest.approx(row["hypervolume"] - rows[0]["hypervolume"])
        assert row["low"] <= row["difference"] <= row["high"]


def test_the_judge_is_its_opinions_as_it_weighs_them(searched: tuple[Path, Path]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(search_nasbench201.PRESETS, "cpu", TINY)
        patched.setitem(PIECES, "as weighted", opinions(1, 1, None))
        run = search_nasbench201.run_of(searched[0], "cpu", 0)
        _, values = judge_pieces.values_of(run, load_images("digits"), "cpu")
    order = {name: np.argsort(found, kind="stable").tolist() for name, found in values.items()}
    assert order["as weighted"] == order[JUDGE] != order["short training"]
    assert order["prior"] != order["size"]


def test_a_search_that_is_not_there_is_asked_for(
    searched: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, table = searched
    assert typed(monkeypatch, "--latencies", table, "--runs", runs, "--seeds", 7) == 1
    assert "holds no search. Make it: python benchmarks/search_nasbench201.py" in capsys.readouterr().err
