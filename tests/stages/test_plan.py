"""The stage `plan`: ranges, shares and times, against the table and against what a search would take."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small import Heard, as_typed, contents, copied, latnas, profile_config, search_config

from latnas.cli.show_plan import plan_json, show_plan
from latnas.data.randomness import generator
from latnas.data.sources import load_images
from latnas.errors import UsageError
from latnas.ranking.features import Reduction
from latnas.spaces.space import make_space
from latnas.stages.common import estimate
from latnas.stages.common.estimate import (
    PACKING_SECONDS,
    SECONDS_PER_FILE,
    ExportSizes,
    StepSeconds,
    export_seconds,
    search_seconds,
)
from latnas.stages.common.options import SearchOptions
from latnas.stages.common.reach import budget_range, predicted_ends
from latnas.stages.common.tables import latency_of, space_of
from latnas.stages.plan import DRAWS, LATENCY_DRAWS, PlanConfig, Planned, plan
from latnas.stages.profile import profile
from latnas.words.architecture import Architecture
from latnas.words.limits import RESOURCES


def plan_config(folder: Path, **changes: Any) -> PlanConfig:
    return PlanConfig(**{"data": "digits", "tables": folder / "latency_tables", "executor": "local:0", **changes})


@pytest.fixture(scope="module")
def planned(small_table: Path) -> Planned:
    return plan(plan_config(small_table, max_params="10k", budgets=3))


def test_the_budgets_are_those_of_a_search_and_their_shares_are_counted_on_random_networks(planned: Planned) -> None:
    assert planned.table is not None
    space = space_of(planned.table[1])
    latency = latency_of(planned.table[1], space)
    limited = planned.space.limited(search_config(Path(), max_params="10k").limits, planned.space.metadata_bytes)
    budgets = budget_range("auto", limited, latency)
    random = generator(0, "plan")
    drawn = [latency.predict_ms(space.random(random)) for _ in range(LATENCY_DRAWS)]
    assert [budget for budget, _ in planned.budgets] == [budgets.budget_ms(lam) for lam in (0.0, 0.5, 1.0)]
    for budget, share in planned.budgets:
        assert (share.left, share.drawn) == (sum(ms <= budget for ms in drawn), LATENCY_DRAWS)


def test_the_ranges_are_those_of_the_space_and_of_what_the_limits_leave(planned: Planned) -> None:
    assert planned.table is not None and planned.within is not None
    latency = latency_of(planned.table[1], space_of(planned.table[1]))
    ends = predicted_ends(planned.space, latency)
    assert planned.whole.latency_ms == tuple(latency.predict_ms(end) for end in ends)
    for resource in RESOURCES:
        whole, within = planned.whole, planned.within
        assert whole.least.of(resource) <= within.least.of(resource)
        assert within.least.of(resource) <= within.most.of(resource) <= whole.most.of(resource)
    assert planned.within.most.params <= 10_000 < planned.whole.most.params


def test_a_limit_s_share_is_counted_on_random_networks(planned: Planned) -> None:
    ((resource, most, share),) = planned.limits
    random = generator(0, "plan")
    drawn = [planned.space.amounts(planned.space.random(random)) for _ in range(DRAWS)]
    assert (resource.name, most) == ("params", 10_000)
    assert (share.left, share.drawn) == (sum(one.params <= most for one in drawn), DRAWS)
    assert planned.all_limits == share


def test_times_are_estimated_for_each_stage_and_profile_is_left_out_where_a_table_is_there(planned: Planned) -> None:
    seconds = planned.seconds
    parts = (seconds.search.features, seconds.search.trainings, seconds.search.supernet, seconds.export)
    assert seconds.profile == 0 and all(part > 0 for part in parts)
    assert seconds.total == pytest.approx(seconds.search.total + seconds.export)


EACH = StepSeconds(full=0.05, reduced=0.01, features=0.1, evaluation=0.2)
PLAIN = ExportSizes(networks=4, epochs=10, images=6400, tested=640)
TRAINING = 10 * 100 * 0.05


def test_every_seed_of_an_export_trains_and_exports_each_network_again_and_packs_it_once() -> None:
    one, three = (export_seconds(replace(PLAIN, seeds=seeds), EACH, workers=1) for seeds in (1, 3))
    tested = 10 * 0.05 / 3
    assert three - one == pytest.approx(2 * 4 * (TRAINING + tested + SECONDS_PER_FILE))
    assert one - export_seconds(replace(PLAIN, networks=3), EACH, workers=1) == pytest.approx(
        TRAINING + tested + SECONDS_PER_FILE + PACKING_SECONDS
    )


def test_networks_that_learn_from_another_take_half_as_long_again_and_wait_for_it() -> None:
    plain, taught = (export_seconds(replace(PLAIN, distill=distill), EACH, workers=1) for distill in (False, True))
    assert 3 * 0.5 * TRAINING <= taught - plain <= 3 * 0.5 * TRAINING + 5
    alone = export_seconds(replace(PLAIN, networks=1, distill=True), EACH, workers=2)
    assert alone == export_seconds(replace(PLAIN, networks=1), EACH, workers=1)  # none to learn from, nor to run beside


def test_files_in_int8_take_longer_by_what_they_are_tested_on() -> None:
    few, many = (replace(PLAIN, tested=tested) for tested in (640, 64_000))
    more = [export_seconds(replace(one, int8=True), EACH, 1) - export_seconds(one, EACH, 1) for one in (few, many)]
    assert 0 < more[0] < more[1]


def test_what_is_timed_for_an_estimate_keeps_to_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `mbconv` hardly a random network has at most 5 million multiply-adds; the others take three times as long."""
    timed: list[Architecture] = []
    monkeypatch.setattr(estimate, "_seconds_of_step", lambda space, sample, *_: timed.extend(sample) or 1.0)
    monkeypatch.setattr(estimate, "features_of", lambda sample, *_: timed.extend(sample))
    limits = SearchOptions(max_macs="5M").limits
    space = make_space("mbconv", image_size=28, channels=1, classes=10, width=16, depth=3).limited(limits)
    estimate.time_steps(space, load_images("digits"), Reduction())
    assert timed and all(space.keeps(one) for one in timed)


def test_an_evaluation_takes_as_long_as_its_images_of_which_there_is_a_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_seconds_of_step", lambda *_: 0.3)
    monkeypatch.setattr(estimate, "features_of", lambda *_: None)
    space, digits = make_space("mbconv", image_size=8, channels=1, classes=10, width=4, depth=1), load_images("digits")
    assert estimate.time_steps(space, digits, Reduction(), 50).evaluation == pytest.approx(0.15 * 1437 / 50 * 0.1)
    halved = replace(digits, validation=100)
    assert estimate.time_steps(space, halved, Reduction(), 50).evaluation == pytest.approx(50 / 50 * 0.1)
    monkeypatch.setattr(estimate, "MOST_EVALUATED", 20)
    assert estimate.time_steps(space, digits, Reduction(), 50).evaluation == pytest.approx(20 / 50 * 0.1)


def test_a_plan_says_what_the_options_of_its_export_add(small_table: Path, planned: Planned) -> None:
    asked = {"budgets": 3, "seeds": 3, "distill": True, "int8": True, "epochs": 20, "baselines": True}
    found = plan(plan_config(small_table, **asked))
    assert found.seconds.export > 2 * planned.seconds.export
    words = (
        "--budgets",
        3,
        "--seeds",
        3,
        "--distill",
        "--int8",
        "--baselines",
        "--tables",
        small_table / "latency_tables",
    )
    typed = latnas("plan", "--data", "digits", "--executor", "local:0", "--quiet", *words)
    assert (typed.code, typed.raised) == (0, None)
    assert "export of 3 files, 3 seeds, baselines, distill, int8" in typed.stdout


def test_a_plan_counts_each_training_that_is_asked_for_and_says_the_search_that_does_them(small_table: Path) -> None:
    asked = {"pool": 9, "trainings": 12, "training_steps": 40, "halvings": 1, "long_trainings": 6}
    steps = 12 * 40 + 4 * 120 + 6 * 5 * 120
    seconds = steps * EACH.reduced + (12 + 4 + 6) * EACH.evaluation
    assert search_seconds(SearchOptions(**asked), EACH, workers=1).trainings == pytest.approx(seconds)
    shown = latnas("plan", "--data", "digits", "--tables", small_table / "latency_tables", "-q", *as_typed(asked))
    assert (shown.code, shown.raised) == (0, None)
    assert " ".join(as_typed(asked)) in shown.stdout.splitlines()[-1]


def test_limits_in_the_search_that_a_plan_names_can_be_typed(small_table: Path) -> None:
    limits = ("--max-size", "500kB", "--max-memory", "300kB", "--max-params", "9000")
    words = ("--data", "digits", "--tables", small_table / "latency_tables", "-q")
    shown = latnas("plan", *words, *limits)
    assert (shown.code, shown.raised) == (0, None)
    again = latnas("plan", *words, *shlex.split(shown.stdout.splitlines()[-1])[5:])
    assert (again.code, again.raised) == (0, None)
    assert again.stdout.splitlines()[-1] == shown.stdout.splitlines()[-1]


def test_a_plan_takes_every_option_that_decides_how_long_a_search_takes_and_passes_it_on(small_table: Path) -> None:
    fields = {name: field.default for name, field in SearchOptions.model_fields.items() if "max_" not in name}
    asked: dict[str, Any] = {name: 2 * default for name, default in fields.items() if isinstance(default, int)}
    assert len(asked) > 10
    asked |= {"executor": "local:1", "train_on": "cpu"}
    shown = latnas("plan", "--data", "digits", "--tables", small_table / "latency_tables", "-q", *as_typed(asked))
    assert (shown.code, shown.raised) == (0, None)
    assert all(" ".join(as_typed({name: value})) in shown.stdout for name, value in asked.items() if value)


def test_without_a_table_latencies_are_left_out_and_said_to_be(tmp_path: Path) -> None:
    heard = Heard()
    found = plan(plan_config(tmp_path, width=4, depth=1), heard)
    assert found.table is None and found.budgets == () and found.whole.latency_ms is None
    assert found.seconds.profile > 0 and found.whole.most.params > found.whole.least.params
    assert any("no latency table fits" in text for text in heard.warned)


def test_where_no_table_fits_a_plan_says_why_and_the_profile_that_it_names_makes_one_that_does(
    small_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    here, heard = copied(small_table, tmp_path / "my own"), Heard()
    (path,) = here.glob("latency_tables/*.json")
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "environment": {**table["environment"], "host": "elsewhere"}}))
    show_plan(plan(plan_config(here, width=4, depth=1), heard))
    (told,) = heard.warned
    out = f"--out '{path.parent}'"
    wanted = f"latnas profile --space nasbench201 --width 4 --depth 1 --data digits {out}"
    assert f"Measure one: {wanted}. In {path.parent}: {path.name} was measured under other con" in told
    assert "host was 'elsewhere' and is" in told
    next_command = capsys.readouterr().out.splitlines()[-1]
    assert next_command == f"next: {wanted}"


def test_several_tables_must_be_told_apart_by_name_or_by_width(small_table: Path, tmp_path: Path) -> None:
    here = tmp_path / "my tables"
    widths = {profile(profile_config(here, width=width)).path: width for width in (4, 2)}
    with pytest.raises(UsageError, match="several tables fit") as caught:
        plan(plan_config(here))
    listed = sorted(str(caught.value).splitlines()[1:])
    assert listed == sorted(f"  --table '{path}'  # analytic with analytic, width {n}" for path, n in widths.items())
    *_, other = widths
    found = plan(plan_config(here, width=2))
    assert found.table is not None and found.table[0] == other
    with pytest.raises(UsageError, match="is for nasbench201 with width 2"):
        plan(plan_config(here, table=other, width=4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"max_params": "100"},
            "the smallest number of parameters is .* other options and type: latnas plan --max-params",
        ),
        ({"budget_range": "1us:2us"}, "out of reach"),
        ({"budget_range": "8ms:2ms"}, "reversed"),
        ({"max_size": "2"}, "has no unit"),
    ],
)
def test_what_is_out_of_reach_is_refused_with_what_is_reachable(
    changes: dict[str, str], message: str, small_table: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        plan(plan_config(small_table, **changes))


@pytest.mark.parametrize("wanted", ["1us:2us", "1s:2s"])
def test_what_a_plan_offers_in_the_place_of_a_range_out_of_reach_is_a_plan_that_takes_its_other_options(
    wanted: str, small_table: Path
) -> None:
    others = ("--data", "digits", "--tables", small_table / "latency_tables", "--width", 4, "--seeds", 2, "-q")
    refused = latnas("plan", *others, "--budget-range", wanted)
    _, found, offered = refused.stderr.partition("Keep the other options and type: ")
    assert refused.code == 2 and found
    taken = latnas(*shlex.split(offered)[1:], *others)
    assert (taken.code, taken.raised) == (0, None), taken.stderr


def test_the_command_prints_json_of_what_the_stage_finds_and_writes_nothing(
    small_table: Path, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_table)
    before = contents(small_table)
    words = ("plan", "--data", "digits", "--executor", "local:0", "--budgets", 3, "--quiet")
    typed = latnas(*words, "--max-params", "10k", "--json")
    assert (typed.code, typed.raised) == (0, None)
    found, expected = json.loads(typed.stdout), plan_json(planned)
    for name in ("space", "options", "reachable", "within_limits", "budgets", "limits", "all_limits"):
        assert found[name] == json.loads(json.dumps(expected[name]))
    assert found["table"]["stale"] is None
    assert latnas(*words, "--max-params", 10).code == 2
    assert contents(small_table) == before


def test_a_plan_is_shown_with_ranges_shares_times_and_the_next_command(
    planned: Planned, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show_plan(planned)
    shown = capsys.readouterr().out
    for text in (
        "number of parameters",
        "within the limits",
        "--max-params 10,000",
        "export of 3 files",
        "its error: ",
    ):
        assert text in shown
    assert planned.table is not None
    (command,) = [line.removeprefix("next: ") for line in shown.splitlines() if line.startswith("next: ")]
    assert command.startswith(f"latnas search --table {planned.table[0]} ")
    for option in (f"--data {planned.config.data}", "--budgets 3", "--max-params 10000"):
        assert option in command
