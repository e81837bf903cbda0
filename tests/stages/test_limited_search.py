"""Limits through the stages: what is refused, what a search keeps to, and what export makes of a file's real size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small import (
    EXPORT,
    Heard,
    as_typed,
    contents,
    copied,
    export_config,
    latnas,
    profile_config,
    quick_search,
    run_in,
    search_config,
)
from torch import Tensor, nn

from latnas.errors import TARGET_MISSED, LatnasError, UsageError
from latnas.spaces import resources
from latnas.spaces.choice import Choice
from latnas.spaces.solving import cheapest, extremes
from latnas.spaces.space import SETTING, Space, SpaceOptions, make_space
from latnas.stages.common.limits import PLAN, SEARCH, check_enough, end_networks, limited_space, too_few
from latnas.stages.common.tables import latency_of, space_of
from latnas.stages.export import deriving, export
from latnas.stages.export.targets import make_targets
from latnas.stages.profile import profile
from latnas.stages.search import SearchConfig
from latnas.stages.search.pool import initial_pool
from latnas.words.architecture import Architecture
from latnas.words.budgets import budget_name
from latnas.words.costs import macs_cost, params_cost
from latnas.words.front import load_front
from latnas.words.limits import RESOURCES, Limits, Resource
from latnas.words.manifest import load_manifest
from latnas.words.quantities import format_bytes
from latnas.words.table import load_table

CLASSES = tuple("0123456789")


def small(limits: Limits) -> Space:
    space = make_space("mbconv", image_size=8, channels=1, classes=10, width=2, depth=1)
    return limited_space(space, limits, CLASSES, "a-table")


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_a_limit_below_every_network_is_refused_with_a_value_that_leaves_enough_to_search(resource: Resource) -> None:
    """In this space no two networks take the same, so that enough are four."""
    whole = small(Limits())
    least, *_, enough = sorted(whole.amounts(one).of(resource) for one in end_networks(whole))[:4]
    with pytest.raises(UsageError, match="the smallest") as caught:
        small(Limits(**{resource.name: least // 2}))
    assert str(caught.value).endswith(f"Keep the other options and type: latnas search {resource.typed(enough)}")
    assert f"is {resource.shown(least)}, and the 4 smallest have {resource.shown(enough)} at most." in str(caught.value)
    left = small(Limits(**{resource.name: enough}))
    check_enough(left)
    assert len(initial_pool(left, SearchConfig(pool=8)).architectures) >= 4


@pytest.mark.parametrize("command", ["search", "plan"])
def test_limits_that_leave_too_few_networks_are_refused_before_anything_is_written_with_what_leaves_enough(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = space_of(profile(profile_config(tmp_path, space="mbconv", width=2)).table)
    monkeypatch.chdir(tmp_path)
    before, cost = contents(tmp_path), params_cost(space.trace)
    *_, below, enough = [int(cost.cost(one)) for one in cheapest(space, cost, 4)]
    typed = latnas(command, "--data", "digits", "--max-params", below, "--max-size", "1MB", "-q")
    assert (typed.code, contents(tmp_path)) == (2, before)
    assert f"--max-params {below} --max-size 1.00MB leaves 3 of the networks" in typed.stderr
    offered = f"Keep the other options and type: latnas {command} --max-size 1.00MB --max-params {enough}"
    assert typed.stderr.strip().endswith(offered)
    check_enough(space.limited(Limits(params=enough)))


@pytest.mark.parametrize(("command", "more"), [(SEARCH, "; latnas plan says what limits leave"), (PLAN, "")])
def test_where_no_single_limit_is_at_fault_a_search_is_told_of_plan_and_plan_is_not(command: str, more: str) -> None:
    assert too_few(small(Limits(params=10**9)), 3, command).endswith(f" at least. Allow more{more}.")


def test_where_a_limit_on_multiply_adds_binds_the_space_has_ends_all_the_same() -> None:
    """Sums of 40 million networks fill the range so densely that the solver cannot tell the largest below the limit."""
    space = make_space("mbconv", image_size=28, channels=1, classes=10, width=16, depth=3)
    most, cost = 5_000_000, macs_cost(space.trace)
    low, high = extremes(limited_space(space, Limits(macs=most), CLASSES, "a-table"), cost)
    assert cost.cost(low) == cost.cost(extremes(space, cost)[0])
    assert 0.998 * most < cost.cost(high) <= most


class Either(nn.Module):
    """One decision: few parameters and many multiply-adds, or the other way round."""

    def __init__(self, width: int, channels: int, classes: int, **_: int) -> None:
        super().__init__()
        small = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 16 * width, 1), nn.Conv2d(16 * width, width, 1))
        self.stem = nn.Conv2d(channels, width, 1)
        self.choice = Choice({"conv": nn.Conv2d(width, width, 3, padding=1), "pooled": small}, tie="choice")
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.choice(self.stem(x)).mean((2, 3)))
        return out


def test_limits_that_exclude_every_network_only_together_are_refused_with_what_one_allows_within_the_others() -> None:
    space = Space("either", Either, SpaceOptions(width=4, depth=1, image_size=16, channels=1, classes=10))
    conv, pooled = (Architecture.of(SETTING, {"choice": name}) for name in ("conv", "pooled"))
    few, many = space.amounts(conv), space.amounts(pooled)
    assert few.params < many.params and few.macs > many.macs
    with pytest.raises(UsageError, match="within the other limits, no network of") as caught:
        limited_space(space, Limits(params=few.params, macs=many.macs), CLASSES, "a-table")
    assert str(caught.value).endswith(f"--max-macs {many.macs} --max-params {many.params}")


def test_a_search_with_limits_scores_only_networks_that_keep_to_them_and_export_s_baselines_do_too(
    small_table: Path, tmp_path: Path
) -> None:
    folder = copied(small_table, tmp_path / "here")
    heard = Heard()
    found = quick_search(search_config(folder, max_params="10k", max_size="60kB"), heard)
    assert "limit on number of parameters: 10,000" in heard.said
    front = load_front(found.front_path)
    assert max(network.params for network in front.networks) <= 10_000
    table = load_table(found.front_path.with_name("table.json"))
    space = limited_space(space_of(table), Limits(params=10_000, file_bytes=60_000), CLASSES, table.name)
    config = export_config(folder, all=True, baselines=True, epochs=0)
    targets = make_targets(config, front, space, latency_of(table, space), certain=False)
    assert len(targets) == 6
    assert all(space.allows(candidate) for target in targets for candidate in target.candidates)
    (file,) = export(export_config(folder, lambdas=(0.0,), epochs=0))
    limits = file.manifest.limits
    assert limits is not None and limits.exceeded == ()
    assert (limits.params.most, limits.macs.most, limits.file_bytes.most) == (10_000, None, 60_000)
    assert limits.params.reached == file.manifest.params <= 10_000
    assert limits.file_bytes.reached == file.onnx.stat().st_size <= 60_000


def test_a_file_over_the_limit_gives_way_to_the_next_candidate_and_else_is_called_missed(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate is made too small here, so that only the files show what they take."""
    folder = copied(exported_run, tmp_path / "here")
    plain = export(export_config(folder, lambdas=(0.0,)))[0]
    size = plain.onnx.stat().st_size
    monkeypatch.setattr(resources, "BYTES_PER_WEIGHT", 0)
    config = run_in(folder) / "config.toml"
    original = config.read_text()
    config.write_text(original + f"max_size = {size - 1}\n")
    heard = Heard()
    second = export(export_config(folder, lambdas=(0.0,)), heard)[0]
    assert second.manifest.architecture != plain.manifest.architecture
    assert second.manifest.status != "missed" and second.onnx.stat().st_size < size
    assert any("the limit is" in text for text in heard.warned)
    config.write_text(original + "max_size = 20000\n")  # less than any network's file
    monkeypatch.setattr(deriving, "TRAININGS", 2)  # else four are trained, each too large
    missed = export(export_config(folder, lambdas=(1.0,)))[0]
    assert missed.manifest.status == "missed" and missed.manifest.within_budget
    assert missed.manifest.limits is not None and missed.manifest.limits.exceeded == ("size of the ONNX file",)
    large, budget = missed.onnx.stat().st_size, budget_name(missed.manifest.budget_ms)
    assert missed.advice == (
        f"The file for {budget} takes {format_bytes(large)}, more than --max-size 20.0kB of the search. "
        f"With its other options type: latnas search {Limits(file_bytes=large).typed}"
    )
    config.write_text(original)
    words = ("--runs", str(folder / "runs"), "--lambda", "1", "--max-size", "20kB", *as_typed(EXPORT))
    typed = latnas("export", *words, "--quiet")
    assert (typed.code, typed.raised) == (TARGET_MISSED, None)
    (path,) = run_in(folder).glob(f"exports/*/{budget}-max-size-20.0kB/model.onnx")
    allowed = Limits(file_bytes=path.stat().st_size).typed
    again = f"latnas export --budget {budget} {allowed} --run {run_in(folder)} --epochs 1 "
    assert f"more than --max-size 20.0kB. To allow it: {again}" in typed.stderr


def test_a_manifest_of_before_there_were_limits_still_loads(exported_run: Path, tmp_path: Path) -> None:
    path = next(exported_run.glob("runs/*/exports/*/*/manifest.json"))
    value = json.loads(path.read_text())
    del value["limits"]
    older = tmp_path / "manifest.json"
    older.write_text(json.dumps(value))
    assert load_manifest(older).limits is None


def test_a_run_whose_limit_was_edited_into_nonsense_is_an_error_that_names_its_config(
    small_run: Path, tmp_path: Path
) -> None:
    folder = copied(small_run, tmp_path / "here")
    config = run_in(folder) / "config.toml"
    config.write_text(config.read_text() + "max_memory = true\n")
    with pytest.raises(LatnasError, match=r"config\.toml: max_memory is True"):
        export(export_config(folder, all=True))


def test_limits_do_not_change_what_a_table_is_for(small_table: Path) -> None:
    (path,) = (small_table / "latency_tables").glob("*.json")
    space = space_of(load_table(path))
    assert space.limited(Limits(params=10_000)).trace.digest == space.trace.digest
