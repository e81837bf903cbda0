"""Where a search and an export are told to train: everything that is trained is trained there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import Heard, copied, export_config, judged_in, quick_search, run_in, search_config

from latnas.errors import UsageError
from latnas.stages import plan as planning
from latnas.stages.export import export
from latnas.stages.export import stage as exporting
from latnas.stages.plan import PlanConfig, plan
from latnas.stages.search import SearchConfig
from latnas.stages.search import stage as searching
from latnas.training.trainer import Trainer


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Devices that trainings were given, for each training; they run on the CPU."""
    devices: list[str] = []
    begin = Trainer.__init__

    def on_the_cpu(
        self: Trainer, network: Any, data: Any, recipe: Any, seed: int, device: str = "cpu", *others: Any, **more: Any
    ) -> None:
        devices.append(device)
        begin(self, network, data, recipe, seed, "cpu", *others, **more)

    monkeypatch.setattr(Trainer, "__init__", on_the_cpu)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    for stage in (searching, exporting, planning):
        monkeypatch.setattr(stage, "check_trainable", lambda device: None)
    return devices


def test_a_search_and_a_front_that_joins_it_train_on_what_was_asked_for(
    small_table: Path, tmp_path: Path, asked: list[str]
) -> None:
    here, heard = copied(small_table, tmp_path / "here"), Heard()
    quick_search(search_config(here, train_on="cuda:1", long_trainings=4), heard)
    assert {*asked} == {"cuda:1"} and len(asked) == 4 + 4 + 2  # short, long, and the supernet's two parts
    asked.clear()
    assert any(line.endswith(" --train-on cuda:1") and "after a stop: latnas search" in line for line in heard.said)
    front, _, _ = judged_in(here)
    ends = f"{1.1 * front.fastest_ms:.4g}ms:{0.9 * front.slowest_ms:.4g}ms"
    how = {"tables": here / "latency_tables", "out": here / "runs", "executor": "local:0", "train_on": "cuda"}
    quick_search(SearchConfig(from_run=str(run_in(here)), budget_range=ends, extra_minutes=0.01, **how))
    assert {*asked} == {"cuda"}


def test_an_export_trains_on_what_was_asked_for_and_again_is_the_same_export(
    small_run: Path, tmp_path: Path, asked: list[str]
) -> None:
    here = copied(small_run, tmp_path / "here")
    (there,) = export(export_config(here, lambdas=(0.0,), train_on="cuda"))
    (again,) = export(export_config(here, lambdas=(0.0,)))
    assert asked == ["cuda"] and again.manifest.recipe_digest == there.manifest.recipe_digest


def test_a_plan_times_steps_where_trainings_will_run(small_table: Path, asked: list[str]) -> None:
    plan(PlanConfig(data="digits", tables=small_table / "latency_tables", executor="local:0", train_on="cuda"))
    assert {*asked} == {"cuda"}


def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(small_table: Path, tmp_path: Path) -> None:
    here = copied(small_table, tmp_path / "here")
    for config in (search_config(here, train_on="cuda:99"), search_config(here, train_on="cuda:99", name="mine")):
        with pytest.raises(UsageError, match="nothing can be trained on cuda:99 here"):
            quick_search(config)
    assert not (here / "runs").exists()
