"""`latnas search --from RUN` and `--resume RUN`: another device or range in a run that is there, and going on."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from functools import partial
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from killing import Write, watched_writes
from small import Heard, contents, copied, export_config, front_in, latnas, quick_search, run_in, search_config

from latnas.data.randomness import generator
from latnas.errors import LatnasError, UsageError
from latnas.ranking.long_model import DOUBT
from latnas.stages.common.estimate import StepSeconds
from latnas.stages.common.runs import RunFolder, choose_front
from latnas.stages.common.tables import latency_of, shipped_tables, space_of
from latnas.stages.export import export
from latnas.stages.predict import PredictConfig, predict
from latnas.stages.search import SearchConfig, Searched, joining, search, stage
from latnas.stages.search.accuracy import AccuracyModel
from latnas.stages.search.beginning import Beginning
from latnas.stages.search.learning import Problem, Shared
from latnas.stages.search.pool import within_budgets
from latnas.words.architecture import Architecture
from latnas.words.front import load_front
from latnas.words.reporting import Reporter
from latnas.words.table import load_table


def other_table(here: Path, **environment: str) -> Path:
    """The table of another device, on which convolutions of 3x3 cost more and everything else as much."""
    (path,) = (here / "latency_tables").glob("*.json")
    table = json.loads(path.read_text())
    table["environment"] |= {"threads": "2", **environment}
    for prices in (table["calibration"]["prices"], table["calibration"]["linear"]):
        for parts in prices["parts_ms"]["default"].values():
            parts["nor_conv_3x3"] *= 3
    other = here / "other.json"
    other.write_text(json.dumps({**table, "threads": 2}))
    return other


def joined(here: Path, **changes: Any) -> SearchConfig:
    """As people type it: nothing that the run records."""
    how = {"out": here / "runs", "tables": here / "latency_tables", "executor": "local:0"}
    return SearchConfig(**{**how, "from_run": run_in(here).name, **changes})


def finished(here: Path, **changes: Any) -> Searched:
    return quick_search(joined(here, **changes))


def a_step_takes_a_second(patched: pytest.MonkeyPatch) -> None:
    """So that a tenth of a minute is three trainings of two steps."""
    patched.setattr(joining, "time_steps", lambda *_: StepSeconds(full=1, reduced=1, features=1, evaluation=0))


class Stopped(BaseException):
    """What a search is stopped by here."""


def stop_at(name: str, count: int) -> Callable[[Write], None]:
    """Ends a search just before its `count`-th write to a file of this name."""

    def stop(write: Write) -> None:
        nonlocal count
        count -= write[0] == name
        if write[0] == name and count == 0:
            raise Stopped

    return stop


def stopped(config: SearchConfig, name: str, count: int) -> None:
    with watched_writes(stop_at(name, count)), pytest.raises(Stopped):
        quick_search(config)


def test_another_device_gets_a_front_of_its_own_by_the_run_s_judge_without_any_training(
    small_run: Path, tmp_path: Path
) -> None:
    here = copied(small_run, tmp_path / "here")
    first, before = load_front(front_in(here) / "front.json"), contents(run_in(here))
    found = finished(here, table=other_table(here))
    after = contents(run_in(here))
    assert {path: after[path] for path in before} == before, "nothing that was there has changed"
    assert found.run == run_in(here) and found.front_path == run_in(here) / "fronts" / found.front.table / "front.json"
    places = {path.partition("/")[0] + path.partition("/")[2].partition("/")[0] for path in after.keys() - before}
    assert places == {"accuracyfeatures", "fronts" + found.front.table}

    table = load_table(found.front_path.with_name("table.json"))
    latency = latency_of(table, space_of(table))
    scored = {network.as_architecture.key: network for network in found.front.networks}
    assert all(scored[network.as_architecture.key].score == network.score for network in first.networks)
    assert len(scored) > len(first.networks)
    for network in found.front.networks[::7]:
        assert network.predicted_ms.value == latency.predict_ms(network.as_architecture)
    recorded = RunFolder(run_in(here)).read_config()
    random = generator(int(recorded["seed"]), "joining", table.name)
    drawn = islice(within_budgets(space_of(table), joined(here), latency, random), int(recorded["pool"]) // 2)
    assert scored.keys() >= {one.key for one in drawn}, "as the run's pool was drawn within its own budgets"


def test_long_trainings_of_a_run_rank_the_networks_of_another_device_as_they_did_those_of_its_own(
    small_table: Path, tmp_path: Path
) -> None:
    here, before, heard = copied(small_table, tmp_path / "here"), Heard(), Heard()
    first = quick_search(search_config(here, long_trainings=8), before).front
    found = quick_search(joined(here, table=other_table(here)), heard).front
    assert {"short trainings of 2 steps", "long trainings of 10 steps"} <= set(before.bars)
    assert "features" not in heard.bars, "nothing to be computed is no progress"
    scored = {network.as_architecture.key: network.score for network in found.networks}
    assert len(scored) > len(first.networks)
    assert [scored[network.as_architecture.key] for network in first.networks] == [one.score for one in first.networks]
    assert any("8 networks trained 10 steps each" in text and "by the run's searches" in text for text in heard.said)
    assert len(list(run_in(here).glob("accuracy/short/*-10/result.json"))) == 8


def test_another_range_lies_beside_the_first_and_export_finds_both(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    own, front = front_in(here).name, load_front(front_in(here) / "front.json")
    ends = [f"{1.1 * front.fastest_ms:.4g}ms", f"{0.9 * front.slowest_ms:.4g}ms"]
    found = finished(here, budget_range=":".join(ends), budgets=3)
    name = found.front_path.parent.name
    assert name == "-".join([own, *ends]) and found.front.table == own and len(found.front.budgets) == 3
    assert RunFolder(found.run).fronts() == [own, name]
    with pytest.raises(UsageError, match=rf"has several fronts; name one: --table {own} \| --table {name}"):
        export(export_config(here, all=True, epochs=0))
    (file,) = export(export_config(here, lambdas=(1.0,), epochs=0, table=name))
    assert file.folder.parent == RunFolder(run_in(here)).exports(name)
    assert file.manifest.table == own and file.manifest.budget_ms == found.front.fastest_ms
    with pytest.raises(UsageError, match=rf"has several fronts; name one: --table {own} \| --table {name}"):
        predict(PredictConfig(run=str(run_in(here)), data="digits"))
    ranged = predict(PredictConfig(run=str(run_in(here)), data="digits", table=Path(name)))
    assert len(ranged.networks) == 3
    shown = predict(PredictConfig(run=str(run_in(here)), data="digits", table=Path(own)))
    assert [network.name for network in shown.networks] == ["lambda 0.00", "lambda 1.00"], "the run's own"


@pytest.mark.parametrize("tables", ["several", "none"])
def test_without_a_named_table_another_range_is_one_of_the_run_s_own_table(
    tables: str, small_run: Path, tmp_path: Path
) -> None:
    here = copied(small_run, tmp_path / "here")
    own, front = front_in(here), load_front(front_in(here) / "front.json")
    if tables == "several":
        shutil.move(other_table(here), here / "latency_tables" / "other.json")
    else:
        shutil.rmtree(here / "latency_tables")
    found = finished(here, budget_range=f"{1.1 * front.fastest_ms:.4g}ms:{0.9 * front.slowest_ms:.4g}ms")
    assert load_table(found.front_path.with_name("table.json")) == load_table(own / "table.json")


def test_a_front_that_joins_goes_on_after_a_stop_and_comes_out_the_same(small_run: Path, tmp_path: Path) -> None:
    whole, here = copied(small_run, tmp_path / "whole"), copied(small_run, tmp_path / "here")
    found = finished(whole, table=other_table(whole))
    resumed = joined(here, from_run=None, resume=run_in(here).name)
    with watched_writes(stop_at("proposals-0.json", 1)), pytest.raises(Stopped):
        quick_search(joined(here, table=other_table(here)), heard := Heard())
    again = f"after a stop: latnas search --resume {run_in(here)} --table {found.front_path.parent.name}"
    assert f"{again} --executor local:0" in heard.said[0], "whatever other fronts are not finished by then"
    stopped(joined(here, table=other_table(here)), "metrics.jsonl", 4)
    stopped(resumed, "front.json", 1)  # the one front that is not finished
    assert not (RunFolder(run_in(here)).front(found.front.table) / "front.json").exists()
    assert quick_search(resumed).front_path.read_bytes() == found.front_path.read_bytes()
    assert contents(run_in(here)).keys() >= contents(run_in(whole)).keys()


@pytest.mark.parametrize("resumes", [True, False], ids=["goes on", "joins"])
def test_shared_weights_that_are_gone_are_made_again_by_the_command_that_is_named_whatever_else_is_unfinished(
    resumes: bool, small_run: Path, tmp_path: Path, plain_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here := copied(small_run, tmp_path / "here"))
    own, lost = front_in(here).name, run_in(here) / "supernet" / "weights.safetensors"
    stopped(joined(here, table=other_table(here)), "proposals-0.json", 1)
    lost.unlink()
    (name,) = (name for name in RunFolder(run_in(here)).begun() if name != own)
    resumed = joined(here, from_run=None, resume=run_in(here).name, table=name)
    with pytest.raises(LatnasError) as caught:
        search(resumed if resumes else joined(here, table=here / "other.json"))
    command = shlex.split(str(caught.value).partition(": latnas ")[2])
    assert command == ["search", "--resume", str(run_in(here)), "--table", own]
    assert latnas(*command, "--quiet").code == 0 and lost.exists()


def test_extra_minutes_are_short_trainings_along_the_new_front_that_the_run_keeps(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_step_takes_a_second(monkeypatch)
    whole, here = copied(small_run, tmp_path / "whole"), copied(small_run, tmp_path / "here")
    before = {path.parent.name for path in run_in(whole).glob("accuracy/short/*/result.json")}
    found = finished(whole, table=other_table(whole), extra_minutes=0.1)
    extra = {path.parent.name for path in run_in(whole).glob("accuracy/short/*/result.json")} - before
    scored = {network.as_architecture.key: network for network in found.front.networks}
    assert len(extra) == 3 and {name.removesuffix("-2") for name in extra} <= scored.keys()
    assert json.loads((run_in(whole) / "accuracy" / "judge.json").read_text())["labels"] == len(before) + 3

    typed = joined(here, table=other_table(here), extra_minutes=0.1)
    stopped(typed, "result.json", 4)  # features of two rounds, and one of the three trainings
    monkeypatch.setattr(joining, "time_steps", lambda *_: pytest.fail("how many they are has been decided"))
    assert quick_search(typed).front_path.read_bytes() == found.front_path.read_bytes()


@pytest.mark.parametrize("helps", [True, False])
def test_what_is_said_of_the_features_is_the_run_s_when_a_front_joins_and_when_it_is_typed_again(
    helps: bool, small_run: Path, tmp_path: Path
) -> None:
    here = copied(small_run, tmp_path / "here")
    judge = run_in(here) / "accuracy" / "judge.json"
    judge.write_text(json.dumps(json.loads(judge.read_text()) | {"features_help": helps}))
    other = other_table(here)
    assert [finished(here, table=other).features_help for _ in range(2)] == [helps, helps]


@pytest.mark.parametrize("lost", ["weights.safetensors", "judge.json"])
def test_what_another_front_has_added_does_not_change_the_run_s_own_that_is_made_again(
    lost: str, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_step_takes_a_second(monkeypatch)
    here = copied(small_run, tmp_path / "here")
    own, before = front_in(here), contents(run_in(here))
    finished(here, table=other_table(here), extra_minutes=0.1)
    (run_in(here) / ("supernet" if lost.startswith("weights") else "accuracy") / lost).unlink()
    quick_search(joined(here, from_run=None, resume=run_in(here).name, table=Path(own.name)))
    assert {path: contents(run_in(here))[path] for path in before} == before


@pytest.mark.parametrize("long_trainings", [0, 8])
def test_extra_trainings_are_the_best_within_each_budget_as_those_of_the_run_itself_are(
    long_trainings: int, small_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what ranks the front, without caution; with those trained before they reach as far within each budget."""
    a_step_takes_a_second(monkeypatch)
    here, seen = copied(small_table, tmp_path / "here"), list[tuple[Problem, Shared, list[Architecture]]]()

    def trained_further(
        begun: Beginning, problem: Problem, shared: Shared, found: list[Architecture], report: Reporter
    ) -> AccuracyModel:
        seen.append((problem, shared, found))
        return joining.trained_further(begun, problem, shared, found, report)

    monkeypatch.setattr(stage, "trained_further", trained_further)
    quick_search(search_config(here, long_trainings=long_trainings, budgets=4))
    added = finished(here, table=other_table(here), extra_minutes=0.1).front_path.with_name("extra.json")
    extra = {Architecture.from_json(value).key for value in json.loads(added.read_text())}
    ((problem, shared, found),) = seen
    model, budgets = shared.model, problem.budgets
    assert (model.long is not None) == bool(long_trainings) and len(extra) == 3
    score = partial(model.judge.score, caution=0.0) if model.long is None else partial(model.long.score, caution=-DOUBT)
    values = {one.key: score(one.key, model.scores.of(one.key)).value for one in found}
    trained = extra | model.judge.labels.keys()
    ranked = [
        sorted(
            (one.key for one in found if problem.latency.predict_ms(one) <= budgets.budget_ms(lam)),
            key=lambda key: -values[key],
        )
        for lam in budgets.spread(4)
    ]
    reached = min(next((rank for rank, key in enumerate(keys) if key not in trained), len(found)) for keys in ranked)
    assert max(min(keys.index(key) for keys in ranked if key in keys) for key in extra) <= reached


def another_range(here: Path) -> str:
    """Another range of budgets than the run has, by the same table."""
    front = load_front(front_in(here) / "front.json")
    return f"{1.1 * front.fastest_ms:.4g}ms:{0.9 * front.slowest_ms:.4g}ms"


@pytest.mark.parametrize("moment", [("proposals-0.json", 1), ("metrics.jsonl", 7), ("front.json", 1)])
def test_what_another_front_has_added_does_not_count_for_one_that_was_begun_before(
    moment: tuple[str, int], small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_step_takes_a_second(monkeypatch)
    whole, here = copied(small_run, tmp_path / "whole"), copied(small_run, tmp_path / "here")
    expected = finished(whole, table=other_table(whole))
    stopped(joined(here, table=other_table(here)), *moment)
    other = finished(here, budget_range=another_range(small_run), extra_minutes=0.1)
    name = expected.front_path.parent.name
    found = quick_search(joined(here, from_run=None, resume=run_in(here).name, table=Path(name)))
    assert contents(found.front_path.parent) == contents(expected.front_path.parent)

    found.front_path.unlink()
    assert finished(here, table=here / "other.json").front == expected.front, "made again it is the same"
    extra = json.loads((other.front_path.parent / "extra.json").read_text())
    added = {Architecture.from_json(value).key for value in extra}
    later = finished(here, table=here / "other.json", budget_range=another_range(small_run))
    taken = [json.loads((path.parent / "taken-over.json").read_text()) for path in (found.front_path, later.front_path)]
    assert added and {*taken[1]["trained"]} - {*taken[0]["trained"]} == added, "what begins later goes by them"


def test_a_front_whose_trainings_are_gone_is_not_finished_by_the_others(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    typed = joined(here, table=other_table(here))
    stopped(typed, "proposals-0.json", 1)
    moved = sorted(run_in(here).glob("accuracy/short/*"))[0]
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(LatnasError, match="the short trainings of 1 of the networks that the front"):
        quick_search(typed)
    (tmp_path / "elsewhere").rename(moved)
    assert quick_search(typed).front.budgets


def test_what_every_finished_front_of_a_run_has_scored_is_known_to_the_next_one(
    small_run: Path, tmp_path: Path
) -> None:
    here = copied(small_run, tmp_path / "here")
    first = finished(here, table=other_table(here))
    scored = [network.as_architecture.key for network in first.front.networks]
    own = {network.as_architecture.key for network in load_front(front_in(small_run) / "front.json").networks}
    typed, heard = joined(here, budget_range=another_range(small_run), budgets=3, rounds=1), Heard()
    found = quick_search(typed, heard).front
    known = {network.as_architecture.key: network.score for network in found.networks}
    assert {*scored} - own and {*scored} | own <= known.keys()
    assert [known[key] for key in scored] == [network.score for network in first.front.networks], "by the same judge"

    (run_in(here) / "fronts").joinpath(first.front.table, "front.json").unlink()
    front = RunFolder(run_in(here)).fronts()[1]
    (RunFolder(run_in(here)).front(front) / "front.json").unlink()
    lacking = rf"lacks the front {first.front.table} that the front {front} goes by"
    with pytest.raises(LatnasError, match=lacking) as caught:
        quick_search(typed)
    move, _, add = str(caught.value).partition(": mv ")[2].partition(", then latnas ")
    shutil.move(*shlex.split(move))
    before = RunFolder(run_in(here)).front_config(f"../lost-{front}").read_text()
    assert latnas(*shlex.split(add), "--executor", "local:0", "--quiet").code == 0
    assert RunFolder(run_in(here)).fronts()[1:] == [front]
    assert RunFolder(run_in(here)).front_config(front).read_text() == before


def test_a_table_of_a_machine_that_is_not_here_is_taken_with_a_warning(small_run: Path, tmp_path: Path) -> None:
    here, heard = copied(small_run, tmp_path / "here"), Heard()
    with watched_writes(stop_at("config.toml", 1)), pytest.raises(Stopped):
        search(joined(here, table=other_table(here, host="elsewhere")), heard)
    assert any("host was 'elsewhere' and is" in text for text in heard.warned)


def test_only_a_search_that_could_leave_images_unmirrored_is_told_how(small_run: Path, tmp_path: Path) -> None:
    here, images = copied(small_run, tmp_path / "here"), tmp_path / "digits.npz"
    images.write_bytes(resources.files("latnas.data").joinpath("embedded", "digits.npz").read_bytes())
    config = run_in(here) / "config.toml"
    config.write_text(config.read_text().replace('data = "digits"', f"data = {json.dumps(str(images))}"))
    for named in ({}, {"from_run": None, "resume": "latest"}):
        search(joined(here, **named), heard := Heard())
        assert any("finished already" in text for text in heard.said)
        assert not any("mirror" in text for text in heard.said)
    heard = Heard()
    with watched_writes(stop_at("table.json", 1)), pytest.raises(Stopped):
        search(search_config(here, data=str(images)), heard)
    assert any(text.endswith(f"--data {images}@unmirrored") for text in heard.said)


@pytest.mark.parametrize("named", [{}, {"from_run": None, "resume": "latest"}], ids=["joins", "goes on"])
def test_a_run_whose_images_were_moved_and_linked_to_is_still_one_of_this_version(
    named: dict[str, Any], small_run: Path, tmp_path: Path
) -> None:
    here, images = copied(small_run, tmp_path / "here"), tmp_path / "digits.npz"
    moved, heard = tmp_path / "moved.npz", Heard()
    moved.write_bytes(resources.files("latnas.data").joinpath("embedded", "digits.npz").read_bytes())
    images.symlink_to(moved)
    config = run_in(here) / "config.toml"
    config.write_text(config.read_text().replace('data = "digits"', f"data = {json.dumps(str(images))}"))
    before = contents(here)
    assert search(joined(here, **named), heard).front == load_front(front_in(small_run) / "front.json")
    assert contents(here) == before and "--data" not in heard.said[0]
    images.unlink()
    search(joined(here, **named, data=str(moved)), heard := Heard())
    assert f" --data {moved} --executor local:0" in heard.said[0], "they are not where the run says"


# What is refused

Change = Callable[[Path], dict[str, Any]]
"""Prepares a folder, and returns what is typed beside --from RUN."""


def unfinished(here: Path) -> dict[str, Any]:
    (front_in(here) / "front.json").unlink()
    return {}


def of_another_width(here: Path) -> dict[str, Any]:
    other = other_table(here)
    table = json.loads(other.read_text())
    other.write_text(json.dumps({**table, "options": {**table["options"], "width": 5}}))
    return {"table": other}


def of_another_version(here: Path) -> dict[str, Any]:
    path = run_in(here) / "config.toml"
    path.write_text(path.read_text().replace("draws = 1\n", ""))
    return {}


def with_no_draws(here: Path) -> dict[str, Any]:
    path = run_in(here) / "config.toml"
    path.write_text(path.read_text().replace("draws = 1\n", "draws = 0\n"))
    return {}


def begun_otherwise(here: Path) -> dict[str, Any]:
    stopped(joined(here, table=other_table(here)), "proposals-0.json", 1)
    return {"table": here / "other.json", "budgets": 3}


REFUSED: dict[str, tuple[Change | dict[str, Any], str]] = {
    "both ways": ({"resume": "latest"}, "leave one of the two out"),
    "no such run": ({"from_run": "nope"}, "there is no run 'nope'. Runs in "),
    "a run that is not finished": (unfinished, "is not finished. Go on first: latnas search --resume '"),
    "another pool": ({"pool": 9}, "was searched with pool 8, not 9, and that stays. Leave --pool out (of variables"),
    "a limit": ({"max_params": "10k"}, "with max_params without limit, not 10000, and that stays. Leave --max-params"),
    "another space": ({"space": "mbconv"}, "was searched with space nasbench201, not mbconv"),
    "another seed": ({"seed": 1}, "was searched with seed 0, not 1"),
    "extra minutes without a run": ({"from_run": None, "extra_minutes": 1}, "to a finished run: name it with --from"),
    "a new name": ({"name": "mine"}, "and keeps its name. Leave --name out."),
    "other images": ({"data": "fashion-mini"}, "the images of fashion-mini are not those that "),
    "a table of another width": (of_another_width, "Measure one that fits: latnas profile --device analytic "),
    "a front that was begun otherwise": (begun_otherwise, "It is kept as it is: latnas search --resume '"),
    "a run of another version": (of_another_version, "is of another version of latnas, with other options."),
    "a run whose config was edited": (with_no_draws, "has a config that is damaged: draws: Input should be greater"),
}  # fmt: skip


def test_for_a_table_of_other_images_the_profile_that_is_advised_makes_one_that_joins_the_run(
    small_run: Path, tmp_path: Path, plain_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = copied(small_run, tmp_path / "here")
    other = of_another_width(here)["table"]
    table = json.loads(other.read_text())
    other.write_text(json.dumps({**table, "options": {**table["options"], "image_size": 28}}))
    monkeypatch.chdir(here)
    there = {*here.glob("latency_tables/*.json")}
    with pytest.raises(UsageError, match="is for others") as caught:
        search(joined(here, table=other))
    advised = str(caught.value).partition("Measure one that fits: latnas ")[2]
    measured = latnas(*shlex.split(advised), "--calibrate", 4, "--rounds", 4, "-q")
    assert (measured.code, measured.raised) == (0, None)
    (made,) = {*here.glob("latency_tables/*.json")} - there
    stopped(joined(here, table=made), "config.toml", 1)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_added_to_a_run_is_refused_and_changes_nothing(
    name: str, small_run: Path, tmp_path: Path
) -> None:
    here = copied(small_run, tmp_path / "my runs")
    change, message = REFUSED[name]
    typed = change if isinstance(change, dict) else change(here)
    before = contents(here)
    with pytest.raises(LatnasError) as caught:
        search(joined(here, **typed))
    assert message in str(caught.value)
    assert contents(here) == before


def test_a_run_that_was_copied_without_its_trainings_is_told_of(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    shutil.rmtree(run_in(here) / "accuracy" / "short")
    with pytest.raises(LatnasError, match=r"accuracy/short holds none of the run's trainings\. Copy all of the run"):
        finished(here, table=other_table(here))


def test_a_run_that_is_named_goes_on_only_as_it_was_begun(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    resumed = partial(joined, here, from_run=None, resume="latest")
    with pytest.raises(UsageError, match=r"with budgets 2, not 3, and that stays\. Leave --budgets out"):
        search(resumed(budgets=3))
    with pytest.raises(UsageError, match=r"has no front for table 'other'\. It has: analytic"):
        search(resumed(table=Path("other")))
    before, heard = contents(here), Heard()
    assert search(resumed(table=next(here.glob("latency_tables/*.json")))).run.resolve() == run_in(here).resolve()
    again = search(resumed(), heard)
    assert any("finished already" in text for text in heard.said) and contents(here) == before
    assert again.run.resolve() == run_in(here).resolve() == (here / "runs" / "latest").resolve()

    begun_otherwise(here)
    (RunFolder(run_in(here)).front(RunFolder(run_in(here)).begun()[0]) / "front.json").unlink()
    with pytest.raises(UsageError, match="has several unfinished fronts; name one: --table analytic"):
        search(resumed())
    for path in run_in(here).glob("fronts/*/table.json"):
        path.unlink()
    with pytest.raises(UsageError, match=r"had hardly begun\. Type its command again: latnas search"):
        search(resumed())


def test_a_run_that_lost_its_own_front_is_not_taken_for_that_of_one_that_joined_it(
    small_run: Path, tmp_path: Path
) -> None:
    here = copied(small_run, tmp_path / "here")
    own = front_in(here)
    finished(here, table=other_table(here))
    shutil.rmtree(own)
    for how in ({"resume": "latest", "from_run": None}, {"budget_range": another_range(small_run)}):
        with pytest.raises(LatnasError, match=r"lacks the one that it was begun with\. Copy all of the run"):
            search(joined(here, **how))


def test_a_range_that_is_typed_in_another_way_is_the_same(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    found = finished(here, budget_range=(typed := another_range(small_run)))
    resumed = partial(joined, here, from_run=None, resume="latest", table=Path(found.front_path.parent.name))
    assert search(resumed(budget_range=typed.replace("ms:", ":"))).front == found.front
    with pytest.raises(UsageError, match=r"with budget_range .*, not auto, and that stays"):
        search(resumed(budget_range="auto"))


def measured_again(here: Path) -> Path:
    """The table of the run, as a device that has become 1.5 times slower would have it."""
    (path,) = (here / "latency_tables").glob("*.json")
    table = json.loads(path.read_text())
    for prices in (table["calibration"]["prices"], table["calibration"]["linear"]):
        prices["fixed_ms"] = {name: 1.5 * ms for name, ms in prices["fixed_ms"].items()}
        for parts in prices["parts_ms"]["default"].values():
            parts.update({name: 1.5 * ms for name, ms in parts.items()})
    path.write_text(json.dumps({**table, "created": "2026-11-29T03:15:00+00:00"}))
    return path


def test_of_several_fronts_by_one_table_its_file_does_not_say_which_is_meant(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    other, own = other_table(here), front_in(here)
    names = [f"other-{number}" for number in (1, 2)]
    for number, name in enumerate(names, start=1):
        front = Path(shutil.copytree(own, own.with_name(name)))
        shutil.copy(other, front / "table.json")
        (front / "config.toml").touch()
        if number == 1:
            assert choose_front(RunFolder(run_in(here)), str(other)) == name
    with pytest.raises(UsageError, match=rf"several fronts of {other}; name one: --table other-1 \| --table other-2"):
        choose_front(RunFolder(run_in(here)), str(other))
    assert choose_front(RunFolder(run_in(here)), str(own / "table.json")) == own.name


def test_a_table_of_another_space_cannot_join(small_run: Path) -> None:
    other = next(shipped_tables().glob("cpu-onnxruntime-mbconv-*.json"))
    with pytest.raises(UsageError) as caught:
        search(joined(small_run, table=other))
    assert "latnas profile" in str(caught.value) and "Name one of the two" not in str(caught.value)


def test_a_table_that_was_measured_again_gives_a_front_of_its_own(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    own, first, before = front_in(here).name, load_front(front_in(here) / "front.json"), contents(run_in(here))
    table = measured_again(here)
    found = finished(here, table=table)
    assert {path: contents(run_in(here))[path] for path in before} == before, "nothing that was there has changed"
    name = found.front_path.parent.name
    assert name.startswith(f"{own}-") and found.front.table == own and RunFolder(found.run).fronts() == [own, name]
    assert found.front.fastest_ms == pytest.approx(1.5 * first.fastest_ms, rel=0.05)
    assert load_table(found.front_path.with_name("table.json")) == load_table(table)
    assert finished(here, table=table).front_path == found.front_path, "the same again is finished"
    assert finished(here).front == first, "without --table it is by the measurement that the run was searched with"
    assert quick_search(joined(here, from_run=None, resume=run_in(here).name, table=table)).front == found.front


def test_a_search_typed_again_after_its_table_was_measured_again_is_refused_with_what_to_type(
    small_run: Path, tmp_path: Path
) -> None:
    whole, here = copied(small_run, tmp_path / "whole"), tmp_path / "here"
    before = contents(run_in(whole))
    table = measured_again(whole)
    with pytest.raises(UsageError, match=rf"earlier measurement .* latnas search --from \S+ --table {table}"):
        quick_search(search_config(whole))
    assert contents(run_in(whole)) == before
    copied(whole, here)
    (front_in(here) / "front.json").unlink()
    with pytest.raises(UsageError, match=r"To go on with the earlier: latnas search --resume \S+"):
        quick_search(search_config(here))
    resumed = quick_search(joined(here, from_run=None, resume=run_in(here).name))
    assert resumed.front_path.read_bytes() == (front_in(whole) / "front.json").read_bytes()


Words = list[str]


def named(here: Path, **changes: Any) -> SearchConfig:
    """The search of the run, as one types it who has given the run a name."""
    return search_config(here, name=run_in(here).name, **changes)


def commands_in(message: str) -> list[Words]:
    """What a message says to type, as the words after `latnas`."""
    return [shlex.split(re.split(r"\. (?=[A-Z])", text)[0]) for text in message.split(": latnas ")[1:]]


def test_a_search_of_a_name_that_another_table_has_is_refused_with_the_command_that_adds_its_front(
    small_run: Path, tmp_path: Path, plain_environment: None
) -> None:
    here = copied(small_run, tmp_path / "my runs")
    own, table = front_in(here).name, other_table(here)
    before = contents(here)
    with pytest.raises(UsageError, match=f"has a search of its own, by the table {own}") as caught:
        quick_search(named(here, table=table))
    assert contents(here) == before
    (command,) = commands_in(str(caught.value))
    assert command == ["search", "--from", str(run_in(here)), "--table", str(table)]
    assert "All anew: choose another --name" in str(caught.value)
    assert latnas(*command, "--quiet", "--executor", "local:0").code == 0
    assert {path: contents(here)[path] for path in before} == before
    assert RunFolder(run_in(here)).begun()[0] == own
    with pytest.raises(UsageError, match="has a search of its own"):
        quick_search(named(here, table=table))  # a front that has joined is not the run's own either
    assert search(named(here)).front.table == own


def test_a_search_of_a_name_whose_other_table_is_not_finished_is_told_to_go_on_with_that_first(
    small_run: Path, tmp_path: Path
) -> None:
    here = copied(small_run, tmp_path / "my runs")
    (front_in(here) / "front.json").unlink()
    table = other_table(here)
    before = contents(here)
    with pytest.raises(UsageError, match="has a search of its own") as caught:
        quick_search(named(here, table=table))
    run = str(run_in(here))
    assert commands_in(str(caught.value)) == [
        ["search", "--resume", run], ["search", "--from", run, "--table", str(table)]
    ]  # fmt: skip
    assert contents(here) == before


def test_a_search_of_a_name_whose_networks_are_others_is_told_to_take_another_name(
    small_run: Path, tmp_path: Path
) -> None:
    here = copied(small_run, tmp_path / "here")
    table = of_another_width(here)["table"]
    before = contents(here)
    with pytest.raises(UsageError, match=r"Its networks are others too: choose another --name$") as caught:
        quick_search(named(here, table=table))
    assert not commands_in(str(caught.value)) and contents(here) == before


def test_the_command_that_adds_a_front_has_the_range_that_was_typed(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    config = run_in(here) / "config.toml"
    config.write_text(config.read_text().replace('budget_range = "auto"', 'budget_range = "0.11ms:0.15ms"'))
    with pytest.raises(UsageError) as caught:
        quick_search(named(here, table=other_table(here), budget_range="0.11ms:0.15ms"))
    assert commands_in(str(caught.value))[0][-2:] == ["--budget-range", "0.11ms:0.15ms"]
