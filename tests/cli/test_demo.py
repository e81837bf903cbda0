"""`latnas demo`, of whose stages those of a small run take the places."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small import Heard, latnas, profile_config, quick_search, search_config

from latnas.cli import demo
from latnas.cli.demo import PRESETS
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


@pytest.mark.parametrize("preset", PRESETS)
def test_each_stage_goes_on_from_the_one_before_and_a_second_demo_keeps_the_table_of_the_first(
    preset: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (table,) = here.glob("latency_tables/*.json")
    run = quick_search(search_config(here))
    manifests = sorted(here.glob("runs/*-*/exports/*/*/manifest.json"))
    files = [ExportedFile(path.parent, load_manifest(path)) for path in manifests]
    asked = list[Any]()

    def profile(config: Any, report: object) -> Profiled:
        asked.append(config)
        path = config.out / f"{demo.setting_of(config, Heard()).name}.json"
        path.parent.mkdir(parents=True)
        shutil.copy(table, path)
        return Profiled(path, load_table(path), config)

    monkeypatch.setattr(demo, "profile", profile)
    monkeypatch.setattr(demo, "search", lambda config, report: asked.append(config) or run)
    monkeypatch.setattr(demo, "export", lambda config, report: asked.append(config) or files)
    first, again = (latnas("demo", "--preset", preset, "--out", tmp_path / "demo") for _ in range(2))
    assert (first.code, again.code) == (0, 0)
    (made,) = (tmp_path / "demo" / "latency_tables").glob("*.json")
    assert "On this machine: profile about " in first.stderr and "minutes in all." in first.stderr
    assert f"measured already: {made}" in again.stderr and "measured already" not in first.stderr

    sizes, (measured, searched, exported, *repeated) = PRESETS[preset], asked
    assert repeated == [searched, exported]
    assert (measured.width, measured.depth, measured.calibrate) == (sizes.width, sizes.depth, sizes.calibrate)
    assert (searched.table, searched.out) == (made, tmp_path / "demo" / "runs")
    assert sizes.search.model_dump().items() <= searched.model_dump().items()
    assert (exported.run, exported.all, exported.baselines, exported.epochs) == (str(run.run), True, True, sizes.epochs)
