"""`latnas demo`, of whose stages those of a small run take the places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small import latnas, profile_config, quick_search, search_config

from latnas.cli import demo
from latnas.stages.export import ExportedFile
from latnas.stages.profile import Profiled
from latnas.words.manifest import load_manifest
from latnas.words.table import load_table


@pytest.mark.parametrize("words", [[], ["--json"]], ids=["shown", "json"])
def test_a_demo_in_which_budgets_are_missed_says_how_many_and_what_to_type(
    here: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    first, *others = (
        ExportedFile(path.parent, load_manifest(path))
        for path in sorted(here.glob("runs/*-*/exports/*/*/manifest.json"))
    )
    changes: dict[str, Any] = {"status": "missed", "within_budget": False}
    missed = ExportedFile(first.folder, first.manifest.model_copy(update=changes), advice="Type something else")
    (table,) = here.glob("latency_tables/*.json")
    profiled = Profiled(table, load_table(table), profile_config(here))
    monkeypatch.setattr(demo, "_plan", lambda sizes: [])
    monkeypatch.setattr(demo, "_profiled", lambda config, report: profiled)
    monkeypatch.setattr(demo, "search", lambda config, report: quick_search(search_config(here), report))
    monkeypatch.setattr(demo, "export", lambda config, report: [missed, *others])
    shown = latnas("demo", "--quiet", *words)
    assert (shown.code, shown.raised) == (0, None)
    if words:
        assert json.loads(shown.stdout)["exports"][0]["status"] == "missed"
    else:
        assert f"\n1 of {1 + len(others)} over budget\n" in shown.stdout
    assert shown.stderr.splitlines()[-1] == "warning: Type something else"
