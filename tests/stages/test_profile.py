"""The stage `profile` on the analytic device, whose times are a formula: what it writes can be computed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small import Heard, contents, profile_config

from latnas.data.randomness import generator
from latnas.errors import LatnasError
from latnas.spaces.space import SPACES, Space, SpaceOptions, make_space
from latnas.stages.profile import Profiled, calibration_networks, profile
from latnas.words.architecture import Architecture
from latnas.words.costs import rough_work
from latnas.words.table import LatencyTable, load_table
from latnas_profilers import analytic
from latnas_profilers.analytic import AnalyticProfiler, AnalyticRunner, inference_seconds

DIGITS = {"image_size": 8, "channels": 1, "classes": 10}
RUN = AnalyticRunner.run


def small_space() -> Space:
    return make_space("nasbench201", width=4, depth=1, **DIGITS)


def lasting(table: LatencyTable) -> dict[str, Any]:
    """What a table says, apart from when it was made and how long that took."""
    return table.model_dump(exclude={"created", "seconds"})


def fail_in_round(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int, error: BaseException) -> None:
    """Raises `error` at the tenth call of a runner once `number` rounds are on disk."""
    left = [10]

    def run(self: AnalyticRunner, n: int) -> float:
        kept = [line for path in folder.rglob("*.jsonl") for line in path.read_text().splitlines()]
        left[0] -= len(kept) >= number
        if left[0] == 0:
            raise error
        return RUN(self, n)

    monkeypatch.setattr(AnalyticRunner, "run", run)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Profiled:
    return profile(profile_config(tmp_path_factory.mktemp("profiled")))


def test_the_table_that_is_written_validates_and_is_the_one_that_is_returned(profiled: Profiled) -> None:
    assert load_table(profiled.path) == profiled.table
    assert profiled.path.name == f"{profiled.table.name}.json"
    assert contents(profiled.path.parent).keys() == {profiled.path.name}


def test_each_distinct_operation_of_the_space_has_the_time_that_its_module_takes(profiled: Profiled) -> None:
    space = small_space()
    assert profiled.table.operations.keys() == space.trace.operations.keys()
    for digest, entry in profiled.table.operations.items():
        operation = space.operation(digest)
        alone = 1e3 * inference_seconds(operation.module.eval(), operation.example)
        assert entry.floor_ms == pytest.approx(alone, rel=1e-9)
        assert entry.halves == 0


def test_the_networks_of_the_calibration_have_the_times_that_they_take_whole(profiled: Profiled) -> None:
    space = small_space()
    networks = profiled.table.calibration.networks
    assert len(networks) == 4
    for entry in networks:
        network = space.derive(space.network(0), Architecture.from_json(entry.architecture)).eval()
        whole = 1e3 * inference_seconds(network, (space.example(),))
        assert entry.floor_ms == pytest.approx(whole, rel=1e-9)
    anchor = networks[2]
    assert (profiled.table.anchor.architecture, profiled.table.anchor.floor_ms) == (
        anchor.architecture,
        anchor.floor_ms,
    )


def test_the_sum_beside_a_network_adds_the_operations_that_it_runs_and_no_other(profiled: Profiled) -> None:
    space, operations = small_space(), profiled.table.operations
    for entry in profiled.table.calibration.networks:
        architecture = Architecture.from_json(entry.architecture)
        run = [s for s in space.trace.sites["default"] if architecture.items.get(s.decision, s.part) == s.part]
        assert entry.sum_ms == pytest.approx(sum(operations[site.operation].cost_ms for site in run), rel=1e-9)


def test_the_fit_is_reported_as_the_table_records_it(profiled: Profiled) -> None:
    calibration = profiled.table.calibration
    assert (profiled.fit.scale, profiled.fit.offset_ms) == (calibration.scale, calibration.offset_ms)
    assert (profiled.fit.low, profiled.fit.high) == (calibration.low, calibration.high)
    assert profiled.noise_mean == 0, "a formula has no noise"


@pytest.mark.parametrize(
    "changes",
    [{"width": 5}, {"depth": 2}, {"batch": 2}, {"threads": 2}, {"space": "mbconv"}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_table_under_other_conditions_is_another_table(
    profiled: Profiled, tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert profile(profile_config(tmp_path, **changes)).table.name != profiled.table.name


def test_a_table_measured_in_another_way_is_the_same_table_again(profiled: Profiled, tmp_path: Path) -> None:
    again = profile(profile_config(tmp_path, networks=5, rounds=5, seed=1, quote="floor")).table
    assert again.name == profiled.table.name
    assert again.operations == profiled.table.operations, "the formula does not depend on how often it is asked"


@pytest.mark.parametrize("finished", [1, 3])
def test_an_interrupted_profile_goes_on_and_ends_with_the_table_of_an_uninterrupted_one(
    profiled: Profiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: int
) -> None:
    with monkeypatch.context() as patched:
        fail_in_round(patched, tmp_path, finished, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            profile(profile_config(tmp_path))
    (kept,) = contents(tmp_path)
    assert kept == f"latency_tables/.partial/{profiled.table.name}-0.jsonl"
    rounds = [json.loads(line)["round"] for line in (tmp_path / kept).read_text().splitlines()]
    assert rounds == list(range(finished))

    heard = Heard()
    resumed = profile(profile_config(tmp_path), heard)
    assert any(f"going on from {finished} rounds" in line for line in heard.said)
    assert lasting(resumed.table) == lasting(profiled.table)
    assert contents(tmp_path).keys() == {f"latency_tables/{profiled.table.name}.json"}


def test_an_interruption_before_the_first_round_is_over_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_round(monkeypatch, tmp_path, 0, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        profile(profile_config(tmp_path))
    assert contents(tmp_path) == {}


def test_a_round_that_a_crash_cut_short_is_measured_again(profiled: Profiled, tmp_path: Path) -> None:
    partial = tmp_path / "latency_tables" / ".partial" / f"{profiled.table.name}-0.jsonl"
    partial.parent.mkdir(parents=True)
    partial.write_text('{"round": 0, "anchor": "anch')
    assert lasting(profile(profile_config(tmp_path)).table) == lasting(profiled.table)


def test_damaged_rounds_are_refused_by_the_name_of_their_file(profiled: Profiled, tmp_path: Path) -> None:
    partial = tmp_path / "latency_tables" / ".partial" / f"{profiled.table.name}-0.jsonl"
    partial.parent.mkdir(parents=True)
    partial.write_text('{"round": 0}\n')
    with pytest.raises(LatnasError, match="Delete this file to measure from the start") as caught:
        profile(profile_config(tmp_path))
    assert str(partial) in str(caught.value)
    assert contents(tmp_path).keys() == {str(partial.relative_to(tmp_path))}


def test_an_operation_that_the_runtime_cannot_run_is_named_and_no_table_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = AnalyticProfiler.prepare

    def without_pooling(self: AnalyticProfiler, workload: Any) -> AnalyticRunner:
        if type(workload.module).__name__ == "AvgPool2d":
            raise RuntimeError("no kernel for pooling")
        return prepare(self, workload)

    monkeypatch.setattr(AnalyticProfiler, "prepare", without_pooling)
    with pytest.raises(LatnasError) as caught:
        profile(profile_config(tmp_path))
    pooling = next(site.label for site in small_space().trace.operations.values() if "avg_pool" in site.label)
    assert f"operation {pooling!r} cannot be run" in str(caught.value)
    assert "no kernel for pooling" in str(caught.value)
    assert contents(tmp_path) == {}


def test_a_device_that_fails_in_the_middle_keeps_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_round(monkeypatch, tmp_path, 2, OSError("the device was unplugged"))
    with pytest.raises(LatnasError, match="the device was unplugged") as caught:
        profile(profile_config(tmp_path))
    (kept,) = contents(tmp_path)
    assert "the same command goes on from there" in str(caught.value) and Path(kept).name in str(caught.value)


def test_a_profile_out_of_time_says_which_items_have_not_settled(tmp_path: Path) -> None:
    table = profile(profile_config(tmp_path, max_seconds=1e-9)).table
    assert table.anchor.rounds == 1
    labels = {entry.label for entry in table.operations.values()}
    assert labels <= set(table.unsettled), "one round has no two halves that could agree"


def test_the_networks_to_calibrate_on_spread_from_least_to_most_work() -> None:
    space = small_space()
    work = [rough_work(space.trace).cost(network) for network in calibration_networks(space, 12, seed=0)]
    random = generator(7)
    sample = [rough_work(space.trace).cost(space.random(random)) for _ in range(1000)]
    assert work == sorted(work)
    assert work[0] <= min(sample) and work[-1] >= max(sample), "a fit extrapolates badly"
    assert calibration_networks(space, 12, seed=0) == calibration_networks(space, 12, seed=0)
    assert calibration_networks(space, 12, seed=0) != calibration_networks(space, 12, seed=1)


def test_a_space_with_too_few_networks_says_how_many_can_be_asked_for() -> None:
    space = Space("mbconv", SPACES["mbconv"].build, SpaceOptions(width=4, depth=1, **DIGITS))
    with pytest.raises(LatnasError, match=r"use --networks (\d+) or fewer") as caught:
        calibration_networks(space, 1000, seed=0)
    number = int(str(caught.value).split("--networks ")[1].split()[0])
    assert len(calibration_networks(space, number, seed=0)) == number


def test_other_constants_of_the_formula_make_another_table(
    profiled: Profiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analytic, "KERNEL_SECONDS", 2 * analytic.KERNEL_SECONDS)
    other = profile(profile_config(tmp_path)).table
    assert other.name != profiled.table.name
    assert all(
        other.operations[digest].floor_ms > entry.floor_ms or entry.cost_ms == 0
        for digest, entry in profiled.table.operations.items()
    )
