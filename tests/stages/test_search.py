"""The stage `search`, whole: what it leaves, and what it refuses."""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing
import pickle
import re
import shutil
from collections.abc import Sequence
from itertools import product
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from killing import in_another_process
from small import Heard, contents, copied, front_in, quick_search, run_in, search_config
from trap import Trap

from latnas.data.sources import load_images
from latnas.errors import LatnasError, UsageError
from latnas.spaces.choice import Selection
from latnas.spaces.nasbench201 import EDGES, OPERATIONS
from latnas.spaces.space import SETTING, Space
from latnas.stages.common import reach, tables
from latnas.stages.common.reach import budget_range, predicted_ends, reachable_range
from latnas.stages.common.runs import RunFolder
from latnas.stages.common.tables import fitting_tables, latency_of, space_of
from latnas.stages.search import search, stage
from latnas.training.trainer import Trainer
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost
from latnas.words.front import Front, load_front
from latnas.words.latency import LatencyModel
from latnas.words.table import load_table

Judged = tuple[Front, Space, LatencyModel]


@pytest.fixture(scope="module")
def found(small_run: Path) -> Judged:
    """The front of the small search, its space, and its latency model."""
    front = front_in(small_run)
    table = load_table(front / "table.json")
    space = space_of(table)
    return load_front(front / "front.json"), space, latency_of(table, space)


def cells(space: Space) -> list[Architecture]:
    """Every canonical cell of NAS-Bench-201, by enumeration."""
    drawn = (Architecture.of(SETTING, dict(zip(EDGES, cell, strict=True))) for cell in product(OPERATIONS, repeat=6))
    return [architecture for architecture in drawn if space.is_canonical(architecture)]


def test_every_scored_network_is_canonical_and_there_once(found: Judged) -> None:
    front, space, _ = found
    networks = [network.as_architecture for network in front.networks]
    assert len({network.key for network in networks}) == len(networks) > 8
    assert all(space.is_canonical(network) for network in networks)


def test_scored_networks_have_the_latency_that_the_table_predicts_and_the_parameters_they_are_made_of(
    found: Judged,
) -> None:
    front, space, latency = found
    latencies = [network.predicted_ms.value for network in front.networks]
    assert latencies == sorted(latencies)
    supernet = space.network(seed=0)
    for network in front.networks[::5]:
        architecture = network.as_architecture
        assert network.predicted_ms == latency.predict(architecture)
        assert network.params == sum(p.numel() for p in space.derive(supernet, architecture).parameters())
        assert network.macs == macs_cost(space.trace).cost(architecture)


def test_the_pareto_front_holds_exactly_the_networks_that_no_other_beats(found: Judged) -> None:
    front, _, _ = found
    points = [(network.predicted_ms.value, network.score.value) for network in front.networks]
    beaten = {
        (ms, score) for ms, score in points for a, b in points if a <= ms and b >= score and (a, b) != (ms, score)
    }
    assert {points[index] for index in front.pareto} == set(points) - beaten


def test_each_choice_is_the_best_scored_within_its_budget_and_a_tighter_one_is_never_slower(found: Judged) -> None:
    front, _, _ = found
    assert [choice.lam for choice in front.budgets] == [0.0, 1.0]
    assert [choice.budget_ms for choice in front.budgets] == [front.slowest_ms, front.fastest_ms]
    chosen = [front.networks[choice.network] for choice in front.budgets]
    for choice, network in zip(front.budgets, chosen, strict=True):
        within = [other for other in front.networks if other.predicted_ms.value <= choice.budget_ms]
        assert network in within and network.score.value == max(other.score.value for other in within)
    latencies = [network.predicted_ms.value for network in chosen]
    assert latencies == sorted(latencies, reverse=True)


def test_where_predictions_are_linear_the_ends_are_those_of_all_networks(found: Judged) -> None:
    _, space, latency = found
    calibration = latency.table.calibration
    prices = calibration.linear.model_copy(update={"contexts_ms": {}})
    linear = calibration.model_copy(update={"prices": prices, "linear": prices})
    latency = latency_of(latency.table.model_copy(update={"calibration": linear}), space)
    costs = [latency.predict_ms(cell) for cell in cells(space)]
    fastest, slowest = predicted_ends(space, latency)
    assert (latency.predict_ms(fastest), latency.predict_ms(slowest)) == pytest.approx((min(costs), max(costs)))
    assert space.is_canonical(fastest) and space.is_canonical(slowest)


def test_the_automatic_range_begins_and_ends_with_networks_that_no_other_passes(found: Judged) -> None:
    """The rivals are cells with at most two operations, and cells without skips."""
    front, space, latency = found
    quietest = [cell for cell in cells(space) if list(cell.items.values()).count("none") >= 4]
    fullest = [cell for cell in cells(space) if set(cell.items.values()) <= {"nor_conv_3x3", "avg_pool_3x3"}]
    costs = [latency.predict_ms(cell) for cell in [*quietest, *fullest]]
    fastest, surely, slowest = reachable_range(space, latency)
    assert fastest <= min(costs) * (1 + 1e-9) and slowest >= max(costs) * (1 - 1e-9)
    assert (fastest, slowest) == tuple(latency.predict_ms(end) for end in predicted_ends(space, latency))
    assert (front.fastest_ms, front.slowest_ms) == (surely, slowest)
    assert surely >= 1.05 * fastest * latency.table.calibration.high * 0.999999


def test_where_all_networks_take_nearly_the_same_the_automatic_range_begins_with_the_fastest(
    found: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, space, latency = found
    ordered = sorted((latency.predict_ms(cell), cell.key, cell) for cell in cells(space)[::10])
    (least, _, fast), (most, _, slow) = next(
        pair for pair in itertools.pairwise(ordered) if 1.0 < pair[1][0] / pair[0][0] < 1.01
    )
    monkeypatch.setattr(reach, "predicted_ends", lambda *_: (fast, slow))
    taken = budget_range("auto", space, latency)
    assert (taken.fastest_ms, taken.slowest_ms) == (least, most)
    monkeypatch.setattr(reach, "predicted_ends", lambda *_: (fast, fast))
    for typed in ("auto", f"{least / 2}ms:{2 * least}ms"):
        with pytest.raises(UsageError, match="there is nothing to search between them"):
            budget_range(typed, space, latency)


def test_a_range_within_reach_is_taken_as_it_was_given(found: Judged, tmp_path: Path) -> None:
    front, space, latency = found
    ends = f"{front.fastest_ms * 1.1}ms:{front.slowest_ms * 0.9}ms"
    taken = budget_range(ends, space, latency)
    assert (taken.fastest_ms, taken.slowest_ms) == pytest.approx((front.fastest_ms * 1.1, front.slowest_ms * 0.9))


@pytest.mark.parametrize(
    ("fast", "slow", "reason"),
    [
        (0.5, 0.8, "partly out of reach with table .*: no network is faster"),
        (0.5, 0.0, "wholly out of reach with table .*: no network is faster"),
        (0.5, 10.0, "partly out of reach with table .*: no network is faster"),
        (0.99, 0.999, "partly out of reach with table .*: no network is faster"),
        (1.999998, 10.0, "partly out of reach with table .*: every network is faster than .*, so the loose end"),
        (1.2, 1.5, "partly out of reach with table .*: every network is faster than .*, so the loose end would be"),
        (3.0, 4.0, "wholly out of reach with table .*: every network is faster than [0-9.]+ ms. Keep"),
    ],
    ids=str,
)
def test_a_range_out_of_reach_is_refused_with_how_much_of_it_is_and_the_range_that_is_offered_instead_is_taken(
    found: Judged, tmp_path: Path, fast: float, slow: float, reason: str
) -> None:
    """`fast` is relative to the fastest network; `slow` to the slowest, or to the fastest where it is below it."""
    _, space, latency = found
    fastest, _, slowest = reachable_range(space, latency)
    low = fast * fastest if fast < 1 else fast * slowest * 0.5
    high = max(slow * slowest, low * 1.2)
    with pytest.raises(UsageError, match=reason) as caught:
        budget_range(f"{low}ms:{high}ms", space, latency)
    offered = re.search(r"type: latnas search --budget-range (\S+)$", str(caught.value))
    assert offered is not None
    taken = budget_range(offered[1], space, latency)
    assert fastest <= taken.fastest_ms < taken.slowest_ms <= slowest * 1.001


def test_the_same_search_again_changes_nothing_and_returns_the_same_front(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "my runs")
    before, heard = contents(here), Heard()
    again = search(search_config(here), heard)
    assert contents(here) == before
    assert again.front == load_front(again.front_path)
    assert any("finished already" in line for line in heard.said)
    assert heard.said[0].endswith(f"after a stop: latnas search --resume '{again.run}' --executor local:0")
    assert (here / "runs" / "latest").resolve() == again.run.resolve()
    judge = json.loads((again.run / "accuracy" / "judge.json").read_text())
    assert again.features_help == judge["features_help"], "what the search found out is still true"


def test_a_long_search_says_first_how_long_it_will_take_and_comes_out_the_same(
    small_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, heard, again = copied(small_table, tmp_path / "here"), Heard(), Heard()
    quick_search(search_config(here), heard)
    before = contents(here)
    assert not any("will take" in line for line in heard.said), "a short one is over before it matters"
    shutil.rmtree(here / "runs")
    monkeypatch.setattr(stage, "STEPS_WORTH_TIMING", 1)
    quick_search(search_config(here), heard)
    (told,) = (line for line in heard.said if "will take" in line)
    assert re.match(r"this search will take about \d+ s here, of which --trainings", told)
    assert contents(here) == before
    (front_in(here) / "front.json").unlink()
    search(search_config(here), again)
    assert not any("will take" in line for line in again.said), "most of it is done"


@pytest.mark.parametrize("long_trainings", [0, 8])
def test_what_may_take_long_for_a_large_pool_is_told_of_and_each_network_once(
    long_trainings: int, small_table: Path, tmp_path: Path
) -> None:
    here, heard = copied(small_table, tmp_path / "here"), Heard()
    quick_search(search_config(here, long_trainings=long_trainings), heard)
    assert heard.bars.count("latencies") == 1, "what is proposed is predicted as it is screened"
    assert [name for name in heard.bars if name.endswith("proposals")] == ["round 1: proposals", "round 2: proposals"]
    assert heard.bars.index("latencies") < heard.bars.index("round 1: proposals")


def test_a_search_may_do_without_a_warm_up(small_table: Path, tmp_path: Path) -> None:
    here = copied(small_table, tmp_path / "here")
    assert quick_search(search_config(here, warmup_steps=0)).front.budgets


def test_shared_weights_that_diverge_end_the_search_with_the_step_the_path_and_lambda(
    small_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, step = copied(small_table, tmp_path / "here"), Trainer.step

    def broken(trainer: Trainer, paths: Sequence[Selection] | None = None, *told: str) -> float:
        if paths and trainer.done == 4:  # the first of a path from H: uniform ones are warmed up with
            for parameter in trainer.network.parameters():
                parameter.data.fill_(math.nan)
        return step(trainer, paths, *told)

    monkeypatch.setattr(Trainer, "step", broken)
    with pytest.raises(
        LatnasError, match=r"diverged at step 4: the loss is nan along the path .*, drawn for lambda 0\."
    ):
        quick_search(search_config(here))


def test_the_config_that_a_run_records_is_what_decided_it(small_run: Path) -> None:
    recorded = RunFolder(run_in(small_run)).read_config()
    config = search_config(small_run)
    assert recorded == config.recorded("nasbench201", load_images("digits").fingerprint)
    assert str(small_run) not in str(recorded), "a run can be moved"


# Twice, and damaged


def hold_lock(run: Path, is_held: Event, may_go: Event) -> None:
    with RunFolder(run).lock():
        is_held.set()
        may_go.wait(60)


def test_a_run_that_another_process_works_on_is_left_alone(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    (front_in(here) / "front.json").unlink()
    before, context = contents(here), multiprocessing.get_context("forkserver")
    is_held, may_go = context.Event(), context.Event()
    process = in_another_process(hold_lock, run_in(here), is_held, may_go)
    assert is_held.wait(60)
    with pytest.raises(
        LatnasError, match=r"another latnas is working on .*\. Wait for it, .*, or choose another --name"
    ):
        search(search_config(here))
    with pytest.raises(LatnasError, match=r"Wait for it, then type the same command again\.$"):
        search(search_config(here, resume=str(run_in(here))))
    may_go.set()
    process.join(60)
    assert contents(here) == before
    assert search(search_config(here)).front == load_front(front_in(small_run) / "front.json")


@pytest.mark.parametrize("lost", ["front.json", "weights.safetensors"])
def test_a_finished_search_makes_a_lost_file_again_as_it_was(small_run: Path, tmp_path: Path, lost: str) -> None:
    here = copied(small_run, tmp_path / "here")
    before = contents(here)
    (path,) = run_in(here).rglob(lost)
    path.unlink()
    search(search_config(here))
    assert contents(here) == before


def test_a_pickle_in_place_of_a_checkpoint_is_not_opened(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    (front_in(here) / "front.json").unlink()
    checkpoint = front_in(here) / "search.safetensors"
    checkpoint.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(LatnasError, match="Delete it to start over") as caught:
        search(search_config(here))
    assert str(checkpoint) in str(caught.value)
    checkpoint.unlink()
    assert quick_search(search_config(here)).front == load_front(front_in(small_run) / "front.json")


def test_a_run_of_another_config_is_not_overwritten(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    before = contents(here)
    with pytest.raises(LatnasError, match=r"holds a run with another config\. Choose another --name"):
        search(search_config(here, name=run_in(here).name, draws=2))
    assert contents(here) == before


def test_tables_that_do_not_fit_or_cannot_be_read_are_passed_over(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    (path,) = (here / "latency_tables").glob("*.json")
    table = json.loads(path.read_text())
    for name, text in {
        "a_stranger": '{"schema": "something-else"}',
        "broken": path.read_text()[:300],
        "without_options": json.dumps({**table, "options": {}}),
        "of_another_host": json.dumps({**table, "environment": {**table["environment"], "host": "elsewhere"}}),
        "the_same_again": path.read_text(),
    }.items():
        (here / "latency_tables" / f"{name}.json").write_text(text)
    assert search(search_config(here)).front.table == front_in(here).name


def test_where_no_table_fits_the_message_says_why_those_that_lie_there_do_not(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    (path,) = (here / "latency_tables").glob("*.json")
    table = json.loads(path.read_text())
    environment = {**table["environment"], "host": "elsewhere"}
    for name, text in {
        path.name: json.dumps({**table, "environment": environment}),
        "cut.json": path.read_text()[:300],
        "of_other_images.json": json.dumps({**table, "options": {**table["options"], "classes": 3}}),
        "y.json": "{}",
        "z.json": "[]",
    }.items():
        (path.parent / name).write_text(text)
    with pytest.raises(
        UsageError, match=r"no latency table .* was measured on this host\. .* or measure one"
    ) as caught:
        search(search_config(here))
    message = str(caught.value)
    assert f"{path.name} was measured under other conditions: host was 'elsewhere' and is" in message
    assert "cut.json is not valid JSON" in message and "of_other_images" not in message
    assert message.endswith("; and 2 more")
    for name in (path.name, "cut.json", "y.json", "z.json"):
        (path.parent / name).unlink()
    with pytest.raises(UsageError, match=r"of_other_images\.json is for 1x8x8 images with 3 classes$"):
        search(search_config(here))


def test_a_table_of_one_s_own_comes_before_those_that_ship(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = copied(small_run, tmp_path / "here")
    (own,) = (here / "latency_tables").glob("*.json")
    table = json.loads(own.read_text())
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    environment = {**table["environment"], "threads": "2"}
    (shipped / "other.json").write_text(json.dumps({**table, "threads": 2, "environment": environment}))
    monkeypatch.setattr(tables, "shipped_tables", lambda: shipped)
    data = load_images("digits")
    assert [path for path, _ in fitting_tables(None, data, here / "latency_tables")] == [own]
    assert [path for path, _ in fitting_tables(None, data, tmp_path / "none")] == [shipped / "other.json"]


def test_where_several_tables_fit_the_message_lists_what_to_type(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    (path,) = (here / "latency_tables").glob("*.json")
    other = path.with_name("other.json")
    table = json.loads(path.read_text())
    environment = {**table["environment"], "threads": "2"}
    other.write_text(json.dumps({**table, "threads": 2, "environment": environment}))
    with pytest.raises(UsageError, match="several tables fit") as caught:
        search(search_config(here))
    listed = sorted(str(caught.value).splitlines()[1:])
    threads = {path: 1, other: 2}
    assert listed == sorted(f"  --table {one}  # analytic with analytic, threads {n}" for one, n in threads.items())
    assert search(search_config(here, table=path)).front.table == path.stem
