"""The stage `profile` on the analytic device, whose times are a formula: what it writes can be computed by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small import Heard, TwoByTwo, as_typed, contents, copied, profile_config
from torch import nn

from latnas.data.randomness import generator
from latnas.errors import LatnasError
from latnas.latency.measure import NO_HALVES
from latnas.spaces.operations import Nothing
from latnas.spaces.space import SETTING, Space, SpaceOptions, make_space
from latnas.stages.common.tables import latency_of
from latnas.stages.profile import Profiled, profile
from latnas.stages.profile.config import longer, of_whole_networks
from latnas.stages.profile.doubts import doubtful_operations
from latnas.stages.profile.networks import (
    DrawnNetwork,
    anchor_network,
    calibration_networks,
    near_front,
    probe_networks,
)
from latnas.stages.profile.rig import alone
from latnas.stages.profile.table import noise_of
from latnas.words.architecture import Architecture
from latnas.words.costs import AdditiveCost, macs_cost, params_cost, parts_of_sites, rough_work
from latnas.words.latency import parts_of_operations
from latnas.words.sites import Site, SpaceTrace
from latnas.words.table import LatencyTable, Noise, OperationEntry, load_table
from latnas_profilers import analytic
from latnas_profilers.analytic import AnalyticProfiler, AnalyticRunner, inference_seconds

DIGITS = {"image_size": 8, "channels": 1, "classes": 10}
RUN = AnalyticRunner.run


def small_space() -> Space:
    return make_space("nasbench201", width=4, depth=1, **DIGITS)


def seconds_of(module: nn.Module) -> float:
    """What the device takes for a network of the small space."""
    return inference_seconds(module.eval(), (small_space().example(),))


def rough_cost(space: Space) -> AdditiveCost:
    return rough_work(space.trace)


def chosen_of(space: Space, count: int, seed: int = 0) -> list[DrawnNetwork]:
    prior = parts_of_sites(space.trace, lambda site: float(site.macs + 10 * site.output_elements))
    return list(calibration_networks(space, prior, space.context, count, generator(seed)).measured)


def networks_of(table: LatencyTable) -> list[Architecture]:
    return [Architecture.from_json(entry.architecture) for entry in table.calibration.networks]


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
    entries = profiled.table.calibration.networks
    assert len(entries) == 4
    for entry, architecture in zip(entries, networks_of(profiled.table), strict=True):
        assert entry.floor_ms == pytest.approx(1e3 * seconds_of(space.derive(space.network(0), architecture)), rel=1e-9)
        assert entry.halves == 0
    anchor = profiled.table.anchor
    network = space.derive(space.network(0), Architecture.from_json(anchor.architecture))
    assert anchor.floor_ms == pytest.approx(1e3 * seconds_of(network), rel=1e-9)


def test_the_sum_beside_a_network_adds_the_operations_that_it_runs_and_no_other(profiled: Profiled) -> None:
    space, operations = small_space(), profiled.table.operations
    for entry in profiled.table.calibration.networks:
        architecture = Architecture.from_json(entry.architecture)
        run = [s for s in space.trace.sites["default"] if architecture.items.get(s.decision, s.part) == s.part]
        assert entry.sum_ms == pytest.approx(sum(operations[site.operation].cost_ms for site in run), rel=1e-9)


def test_a_formula_has_no_noise_and_nothing_of_it_is_doubtful(profiled: Profiled) -> None:
    table = profiled.table
    assert (table.noise.mean, table.noise.p95) == (0, 0)
    assert (table.unsettled, table.doubtful) == ((), {})
    assert (table.anchor.p50_factor, table.anchor.p90_factor) == (1, 1)


def test_the_calibration_counts_its_own_left_out_errors(profiled: Profiled) -> None:
    calibration = profiled.table.calibration
    # What is left out is measured / predicted - 1, and quality is relative to what was measured.
    errors = [abs(1 / (1 + entry.left_out) - 1) for entry in calibration.networks]
    assert calibration.quality.networks == len(errors) == 4
    assert calibration.quality.mean_error == pytest.approx(sum(errors) / 4)
    assert calibration.quality.worst == pytest.approx(max(errors))
    assert calibration.quality.within5 == sum(error <= 0.05 for error in errors) / 4
    assert calibration.quality.within10 == sum(error <= 0.1 for error in errors) / 4
    assert calibration.freedom in calibration.tried
    assert calibration.low <= 1 <= calibration.high
    assert not any(calibration.linear.contexts_ms.values()), "a solver knows nothing of contexts"


def test_the_witnesses_are_the_anchor_and_the_ends_of_the_range(profiled: Profiled) -> None:
    table = profiled.table
    ends = {entry.floor_ms for entry in table.calibration.networks if entry.drawn == "end"}
    assert len(ends) == 2
    assert table.anchor.witnesses[0].floor_ms == table.anchor.floor_ms
    assert {witness.floor_ms for witness in table.anchor.witnesses} == ends | {table.anchor.floor_ms}
    assert {(witness.p50_factor, witness.p90_factor) for witness in table.anchor.witnesses} == {(1, 1)}


# Without operations


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> LatencyTable:
    """A table of whole networks only."""
    return profile(profile_config(tmp_path_factory.mktemp("whole"), operations=False, calibrate=12)).table


def test_without_operations_the_table_has_whole_networks_and_says_what_the_fit_began_with(
    whole: LatencyTable, profiled: Profiled
) -> None:
    assert whole.operations == {} and whole.doubtful == {}
    assert (whole.calibration.prior, profiled.table.calibration.prior) == ("work", "operations")
    assert len(whole.calibration.networks) == 12
    space = small_space()
    for entry, architecture in zip(whole.calibration.networks, networks_of(whole), strict=True):
        assert entry.floor_ms == pytest.approx(1e3 * seconds_of(space.derive(space.network(0), architecture)), rel=1e-9)
    assert whole.name == profiled.table.name, "the conditions are the same"


def test_without_operations_no_operation_is_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, prepared = AnalyticProfiler.prepare, list[str]()

    def noted(self: AnalyticProfiler, workload: Any) -> AnalyticRunner:
        prepared.append(type(workload.module).__name__)
        return prepare(self, workload)

    monkeypatch.setattr(AnalyticProfiler, "prepare", noted)
    heard = Heard()
    profile(profile_config(tmp_path, operations=False), heard)
    assert set(prepared) == {"Classifier"}
    assert any("no distinct operations and 4 networks" in line for line in heard.said)
    assert "measuring operations" not in heard.bars and {"choosing networks", "measuring networks"} <= {*heard.bars}


def test_without_operations_prices_of_more_work_are_still_higher(whole: LatencyTable) -> None:
    """A cell of convolutions is dearer than the same cell of skips, by the fitted prices."""
    (parts,) = whole.calibration.prices.parts_ms.values()
    assert all(of["nor_conv_3x3"] > of["skip_connect"] for of in parts.values())


# Which networks


def test_the_ends_of_the_range_come_first_and_half_of_the_others_is_near_the_front(whole: LatencyTable) -> None:
    drawn = [entry.drawn for entry in whole.calibration.networks]
    assert drawn[:2] == ["end", "end"]
    assert (drawn.count("front"), drawn.count("random")) == (5, 5)
    space = small_space()
    assert all(space.is_canonical(architecture) for architecture in networks_of(whole))
    assert len(set(networks_of(whole))) == 12


@pytest.mark.parametrize("name", ["nasbench201", "mbconv"])
@pytest.mark.parametrize("count", [4, 5, 21])
def test_networks_to_calibrate_on_are_distinct_canonical_and_as_many_as_were_asked_for(name: str, count: int) -> None:
    space = make_space(name, width=4, depth=1, **DIGITS)
    found = chosen_of(space, count)
    architectures = [one.architecture for one in found]
    assert len(set(architectures)) == len(found) == count
    assert all(space.is_canonical(architecture) for architecture in architectures)
    assert [one.drawn for one in found].count("end") == 2
    assert [one.drawn for one in found].count("front") == (count - 2) // 2


def test_no_network_is_cheaper_or_dearer_than_the_ends() -> None:
    space = small_space()
    cost = rough_cost(space)
    found = chosen_of(space, 12)
    low, high = (cost.cost(one.architecture) for one in found if one.drawn == "end")
    random = generator(7)
    sample = [cost.cost(space.random(random)) for _ in range(1000)]
    assert low <= min(sample) and high >= max(sample), "a fit extrapolates badly"


def test_networks_are_a_function_of_the_generator() -> None:
    space = small_space()
    assert chosen_of(space, 12, seed=0) == chosen_of(space, 12, seed=0)
    assert chosen_of(space, 12, seed=0) != chosen_of(space, 12, seed=1)


def test_networks_near_the_front_have_more_in_them_than_random_ones_of_their_cost() -> None:
    space = small_space()
    cost, params, macs = rough_cost(space), params_cost(space.trace), macs_cost(space.trace)
    random = generator(7)
    sample = [space.random(random) for _ in range(600)]
    found = [one.architecture for one in near_front(space, cost, 20, generator(0), [])]
    assert len(set(found)) == 20

    def rank(architecture: Architecture) -> float:
        """The share of random networks that are no dearer and have less in them."""
        rivals = [one for one in sample if cost.cost(one) <= cost.cost(architecture)]
        beaten = [
            params.cost(one) + macs.cost(one) <= params.cost(architecture) + macs.cost(architecture) for one in rivals
        ]
        return sum(beaten) / max(len(beaten), 1)

    ranks = sorted(rank(architecture) for architecture in found)
    assert ranks[len(ranks) // 2] > 0.9
    costs = sorted(cost.cost(architecture) for architecture in found)
    assert costs[-1] > 1.5 * costs[0], "the whole range is to be calibrated"


def test_networks_that_are_known_are_not_drawn_again() -> None:
    space = small_space()
    known = [one.architecture for one in near_front(space, rough_cost(space), 10, generator(0), [])]
    again = [one.architecture for one in near_front(space, rough_cost(space), 10, generator(0), known)]
    assert len(again) == 10 and not set(again) & set(known)


def test_the_anchor_is_a_network_of_middling_work() -> None:
    space = small_space()
    work, random = rough_cost(space), generator(7)
    costs = sorted(work.cost(space.random(random)) for _ in range(500))
    for seed in range(5):
        anchor = anchor_network(space, generator(seed))
        assert space.is_canonical(anchor)
        assert costs[50] < work.cost(anchor) < costs[-50]


# Parts that do not reach the output


def test_a_network_as_it_is_written_takes_the_time_of_its_dead_parts_too() -> None:
    space = small_space()
    supernet = space.network(0)
    items = {**dict.fromkeys((d.name for d in space.decisions), "none"), "0->2": "nor_conv_3x3", "0->3": "skip_connect"}
    raw = Architecture.of(SETTING, items)
    live = space.canonical(raw)
    assert str(live) == "none|none|none|skip_connect|none|none"
    sites = space.trace.sites[SETTING]
    dead = [site for site in sites if (site.decision, site.part) == ("0->2", "nor_conv_3x3")]
    assert len(dead) == 3, "one edge in each of three stages"
    operations = [space.operation(site.operation) for site in dead]
    price = sum(inference_seconds(one.module.eval(), one.example) - analytic.CALL_SECONDS for one in operations)
    whole, canonical = space.derive_as_written(supernet, raw), space.derive(supernet, raw)
    assert seconds_of(whole) - seconds_of(canonical) == pytest.approx(price, rel=1e-9)
    example = torch.rand(2, 1, 8, 8)
    assert torch.equal(whole.eval()(example), canonical.eval()(example)), "they compute the same"


@pytest.mark.parametrize("seed", range(3))
def test_probes_are_valid_and_lose_much_in_their_canonical_form(seed: int) -> None:
    space = small_space()
    cost = rough_cost(space)
    probes = probe_networks(space, cost, generator(seed))
    assert len({probe.key for probe in probes}) == len(probes) == 3
    for probe in probes:
        assert space.is_valid(probe) and not space.is_canonical(probe)
        assert cost.cost(space.canonical(probe)) < 0.85 * cost.cost(probe)


def test_the_share_of_dead_parts_is_the_median_over_the_probes(profiled: Profiled) -> None:
    table, space = profiled.table, small_space()
    cost, supernet = parts_of_operations(table.operations, space.trace).of_items("ms"), space.network(0)
    linear = latency_of(table, space).cost
    probes, shares = probe_networks(space, cost, generator(0, "probes")), list[float]()
    for probe in probes:
        written, live = (seconds_of(derive(supernet, probe)) for derive in (space.derive_as_written, space.derive))
        shares.append(1e3 * (written - live) / (linear.cost(probe) - linear.cost(space.canonical(probe))))
    assert table.dead_parts is not None and table.dead_parts.probes == len(probes) == 3
    assert table.dead_parts.share == pytest.approx(sorted(shares)[1], abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_every_part_of_a_probe_runs(seed: int) -> None:
    space = small_space()
    for probe in probe_networks(space, rough_cost(space), generator(seed)):
        network = space.derive_as_written(space.network(0), probe).eval()
        leaves = [module for module in network.modules() if next(module.children(), None) is None]
        ran = those_that_run(network, space.example())
        assert not [leaf for leaf in leaves if leaf not in ran and not isinstance(leaf, Nothing)]


def those_that_run(network: nn.Module, example: torch.Tensor) -> set[nn.Module]:
    ran = set[nn.Module]()
    for module in network.modules():
        module.register_forward_hook(lambda module, inputs, output: ran.add(module))
    network(example)
    return ran


def test_on_a_device_that_drops_nothing_dead_parts_cost_their_price(tmp_path: Path) -> None:
    dead = profile(profile_config(tmp_path, calibrate=20)).table.dead_parts
    assert dead is not None and dead.share == pytest.approx(1.0, abs=0.2)


def test_a_space_without_dead_parts_has_no_probes(tmp_path: Path) -> None:
    space = make_space("mbconv", width=4, depth=1, **DIGITS)
    assert probe_networks(space, rough_cost(space), generator(0)) == []
    assert profile(profile_config(tmp_path, space="mbconv")).table.dead_parts is None


# Doubtful operations


def site(name: str, macs: int, elements: int = 64, params: int = 10, decision: str = "layer", part: str = "k3") -> Site:
    return Site(decision, part, name, name, ((1, 4, 8, 8),), params, macs, elements)


def doubts(measured: Mapping[Site, tuple[float, float]]) -> dict[str, str]:
    """The doubts of sites that cost so many milliseconds, with halves so far apart."""
    trace = SpaceTrace("own", {}, (), {SETTING: tuple(measured)})
    entries = {
        site.operation: OperationEntry(label=site.label, floor_ms=1 + cost, overhead_ms=1, halves=halves)
        for site, (cost, halves) in measured.items()
    }
    return doubtful_operations(entries, trace)


def test_operations_that_cost_more_the_more_they_do_are_not_doubtful() -> None:
    assert doubts({site("small", 100): (0.1, 0.05), site("large", 200): (0.2, 0)}) == {}
    assert doubts({site("small", 100): (0.1, 0), site("large", 200): (0.095, 0)}) == {}, "as good as equal"


def test_an_operation_whose_halves_lie_far_apart_is_doubtful() -> None:
    assert doubts({site("small", 100): (0.1, 0.2)}) == {"small": "two halves of its rounds differ by 20%"}


def test_an_operation_of_a_single_round_is_doubtful_and_what_to_do_is_said() -> None:
    found = doubts({site("small", 100): (0.1, NO_HALVES)})
    assert found == {"small": "was measured in one round only: give more --max-seconds"}


def test_networks_of_a_single_round_are_no_noise(tmp_path: Path) -> None:
    assert noise_of([0.01, 0.03, NO_HALVES]).mean == pytest.approx(0.02)
    assert noise_of([0.01, 0.01, NO_HALVES]).p95 == pytest.approx(0.01)
    assert profile(profile_config(tmp_path, max_seconds=1e-9)).table.noise == Noise(mean=1, p95=1), "nothing is known"


def test_an_operation_that_multiplies_and_takes_no_time_is_doubtful() -> None:
    assert doubts({site("conv", 100): (0, 0)}) == {"conv": "takes no longer than an empty graph"}
    assert doubts({site("conv", 100): (-0.5, 0)}) == {"conv": "takes no longer than an empty graph"}
    assert doubts({site("skip", 0): (0, 0)}) == {}, "a skip is free"


@pytest.mark.parametrize("first", ["small", "large"])
def test_an_operation_faster_than_one_of_its_kind_that_does_less_is_doubtful(first: str) -> None:
    measured = {site("small", 100): (0.2, 0.0), site("large", 200): (0.1, 0.0)}
    ordered = measured if first == "small" else dict(reversed(measured.items()))
    assert doubts(ordered) == {"large": "is faster than small, which does less"}


def test_a_part_that_does_twice_as_much_at_the_same_place_must_not_be_faster() -> None:
    measured = {site("small", 100): (0.2, 0.0), site("large", 200, part="k5"): (0.1, 0.0)}
    assert doubts(measured) == {"large": "is faster than small, which does less"}
    pooling = {site("pool", 0, params=0): (0.2, 0.0), site("conv", 200, part="k5"): (0.1, 0.0)}
    assert doubts(pooling) == {}, "what multiplies nothing is not less of a convolution"


@pytest.mark.parametrize(
    "other",
    [
        site("other", 150, part="k5"),
        site("other", 200, decision="another layer"),
        site("other", 200, elements=32),
        site("other", 200, params=5),
        site("other", 100),
    ],
    ids=["another part that does a little more", "another place", "smaller output", "fewer weights", "as much work"],
)
def test_operations_that_are_not_more_of_the_same_are_not_compared(other: Site) -> None:
    assert doubts({site("small", 100): (0.2, 0), other: (0.1, 0)}) == {}


def test_an_operation_that_was_not_measured_is_passed_over() -> None:
    trace = SpaceTrace("own", {}, (), {SETTING: (site("small", 100), site("large", 200))})
    small = OperationEntry(label="small", floor_ms=2, overhead_ms=1, halves=0)
    assert doubtful_operations({"small": small}, trace) == {}


# Which table


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
    again = profile(profile_config(tmp_path, calibrate=5, rounds=5, seed=1, quote="floor")).table
    assert again.name == profiled.table.name
    assert again.operations == profiled.table.operations, "the formula does not depend on how often it is asked"


def test_that_a_table_of_another_quote_is_replaced_is_said_before_anything_is_measured(
    profiled: Profiled, tmp_path: Path
) -> None:
    here = copied(profiled.path.parent, tmp_path / "latency_tables") / profiled.path.name
    profile(profile_config(tmp_path), heard := Heard())
    assert heard.warned == []
    profile(profile_config(tmp_path, quote="p90"), heard)
    (warning,) = heard.warned
    assert warning.startswith(f"{here} quotes p50 and will be replaced by a table that quotes p90")
    here.write_text("damaged")
    assert profile(profile_config(tmp_path)).table.quote == "p50"


# Interrupted


def kept_of(name: str, *phases: str) -> set[str]:
    return {f"latency_tables/.partial/{name}-0-4-{phase}" for phase in phases}


@pytest.mark.parametrize(
    ("finished", "phases"),
    [
        (1, {"operations.jsonl": 1}),
        (3, {"operations.jsonl": 3}),
        (4, {"operations.jsonl": 4, "networks.json": None}),
        (6, {"operations.jsonl": 4, "networks.json": None, "networks.jsonl": 2}),
    ],
)
def test_an_interrupted_profile_goes_on_and_ends_with_the_table_of_an_uninterrupted_one(
    profiled: Profiled,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    finished: int,
    phases: dict[str, int | None],
) -> None:
    with monkeypatch.context() as patched:
        fail_in_round(patched, tmp_path, finished, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            profile(profile_config(tmp_path))
    kept = contents(tmp_path)
    assert kept.keys() == kept_of(profiled.table.name, *phases)
    for path, content in kept.items():
        if path.endswith(".jsonl"):
            rounds = [json.loads(line)["round"] for line in content.decode().splitlines()]
            assert rounds == list(range(next(n or 0 for name, n in phases.items() if path.endswith(name))))

    heard = Heard()
    resumed = profile(profile_config(tmp_path), heard)
    for rounds_of_phase in filter(None, phases.values()):
        assert any(f"going on from {rounds_of_phase} rounds" in line for line in heard.said)
    assert lasting(resumed.table) == lasting(profiled.table)
    assert contents(tmp_path).keys() == {f"latency_tables/{profiled.table.name}.json"}


def test_networks_once_chosen_are_those_that_are_measured_when_it_goes_on(
    profiled: Profiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Floors of operations settle a little otherwise in every process, and so might the choice."""
    with monkeypatch.context() as patched:
        fail_in_round(patched, tmp_path, 4, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            profile(profile_config(tmp_path))
    (chosen,) = tmp_path.rglob("*-networks.json")
    space, random, kept = small_space(), generator(5), json.loads(chosen.read_text())
    others = {architecture.key: architecture for architecture in (space.random(random) for _ in range(20))}
    for architecture in networks_of(profiled.table):
        others.pop(architecture.key, None)
    other = next(iter(others.values()))
    kept[0][-1] = [other.to_json(), "random"]
    chosen.write_text(json.dumps(kept))
    resumed = profile(profile_config(tmp_path)).table
    assert networks_of(resumed) == [*networks_of(profiled.table)[:-1], other]


def test_once_the_networks_are_chosen_operations_get_no_further_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        fail_in_round(patched, tmp_path, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            profile(profile_config(tmp_path, max_seconds=1e-9))
    (operations,) = tmp_path.rglob("*-operations.jsonl")
    assert list(tmp_path.rglob("*-networks.json"))
    fail_in_round(monkeypatch, tmp_path, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        profile(profile_config(tmp_path, max_seconds=None))
    assert len(operations.read_text().splitlines()) == 1
    (networks,) = tmp_path.rglob("*-networks.jsonl")
    assert len(networks.read_text().splitlines()) == 2


def test_operations_that_were_deleted_after_the_networks_were_chosen_are_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        fail_in_round(patched, tmp_path, 6, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            profile(profile_config(tmp_path))
    (operations,) = tmp_path.rglob("*-operations.jsonl")
    operations.unlink()
    table = profile(profile_config(tmp_path)).table
    assert {entry.halves for entry in table.operations.values()} == {0.0}, "one round has no two halves"


def test_a_finished_profile_leaves_the_rounds_of_another_call_for_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        fail_in_round(patched, tmp_path, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            profile(profile_config(tmp_path, operations=False))
    kept = contents(tmp_path)
    assert len(kept) == 2
    profile(profile_config(tmp_path))
    assert contents(tmp_path).items() > kept.items()


def test_an_interruption_before_the_first_round_is_over_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_round(monkeypatch, tmp_path, 0, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        profile(profile_config(tmp_path))
    assert contents(tmp_path) == {}


def test_a_round_that_a_crash_cut_short_is_measured_again(profiled: Profiled, tmp_path: Path) -> None:
    for phase in ("operations", "networks"):
        partial = tmp_path / "latency_tables" / ".partial" / f"{profiled.table.name}-0-4-{phase}.jsonl"
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text('{"round": 0, "bursts": {"anch')
    assert lasting(profile(profile_config(tmp_path)).table) == lasting(profiled.table)


@pytest.mark.parametrize("phase", ["operations", "networks"])
def test_damaged_rounds_are_refused_by_the_name_of_their_file(profiled: Profiled, tmp_path: Path, phase: str) -> None:
    partial = tmp_path / "latency_tables" / ".partial" / f"{profiled.table.name}-0-4-{phase}.jsonl"
    partial.parent.mkdir(parents=True)
    partial.write_text('{"round": 0}\n')
    with pytest.raises(LatnasError, match="Delete this file to measure from the start") as caught:
        profile(profile_config(tmp_path))
    assert str(partial) in str(caught.value)
    assert partial.read_text() == '{"round": 0}\n'
    partial.unlink()
    assert lasting(profile(profile_config(tmp_path)).table) == lasting(profiled.table)


def test_chosen_networks_that_cannot_be_read_are_refused_by_the_name_of_their_file(
    profiled: Profiled, tmp_path: Path
) -> None:
    chosen = tmp_path / "latency_tables" / ".partial" / f"{profiled.table.name}-0-4-networks.json"
    chosen.parent.mkdir(parents=True)
    chosen.write_text('[[{"setting": ')
    with pytest.raises(LatnasError, match="is not valid JSON") as caught:
        profile(profile_config(tmp_path))
    assert str(chosen) in str(caught.value)


# Devices that fail


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
    assert "no kernel for pooling. Another runtime may: latnas devices, or measure whole networks" in str(caught.value)
    assert "latnas profile --no-operations --device analytic --width 4" in str(caught.value)
    assert contents(tmp_path) == {}


def test_what_measures_whole_networks_instead_measures_the_same_table_with_all_that_was_asked_of_it(
    tmp_path: Path,
) -> None:
    given: dict[str, Any] = {"quote": "p90", "seed": 3, "calibrate": 12}
    instead = of_whole_networks(profile_config(tmp_path, **given))
    assert instead.startswith("latnas profile --no-operations --device analytic --width 4")
    assert all(" ".join(as_typed({name: value})) in instead for name, value in given.items())


def test_measuring_for_twice_as_long_can_be_typed_after_a_fraction_of_a_second(tmp_path: Path) -> None:
    assert " --max-seconds 1 " in longer(profile_config(tmp_path, max_seconds=0.2))
    assert longer(profile_config(tmp_path, tolerance=0.02)).endswith(" --tolerance 0.02 --calibrate 4")


def test_while_a_device_is_measured_for_one_table_it_is_not_for_another_of_the_folder(tmp_path: Path) -> None:
    given = {"device": "cpu", "operations": False, "max_seconds": 1.0}
    config, folder = profile_config(tmp_path, **given), tmp_path / "latency_tables"
    with alone(folder, "another-table", "cpu"), pytest.raises(LatnasError) as caught:
        profile(config)
    assert f"another latnas is working on cpu for a table in {folder}. Wait for it" in str(caught.value)
    with alone(folder, "one", "cuda"), pytest.raises(LatnasError), alone(folder, "another", "cuda:0"):
        pass  # they are one device
    with alone(folder, "another-table", "cuda:1"):
        assert profile(config).table.device == "cpu"


def test_a_network_that_the_runtime_cannot_run_is_named_and_what_was_measured_is_kept(
    profiled: Profiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, asked = AnalyticProfiler.prepare, [0]

    def once_only(self: AnalyticProfiler, workload: Any) -> AnalyticRunner:
        asked[0] += type(workload.module).__name__ == "Classifier"
        if asked[0] == 2:  # the first is the anchor
            raise RuntimeError("out of memory")
        return prepare(self, workload)

    with monkeypatch.context() as patched:
        patched.setattr(AnalyticProfiler, "prepare", once_only)
        with pytest.raises(LatnasError) as caught:
            profile(profile_config(tmp_path))
    first = networks_of(profiled.table)[0]
    said = f"network {first} cannot be run on this device: RuntimeError: out of memory. Another runtime may: "
    assert said in str(caught.value) and "alone" not in str(caught.value)  # whole networks are what failed
    assert contents(tmp_path).keys() == kept_of(profiled.table.name, "operations.jsonl", "networks.json")
    assert lasting(profile(profile_config(tmp_path)).table) == lasting(profiled.table)


@pytest.mark.parametrize(("finished", "phase"), [(2, "operations"), (5, "networks")])
def test_a_device_that_fails_in_the_middle_keeps_what_was_measured(
    profiled: Profiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: int, phase: str
) -> None:
    with monkeypatch.context() as patched:
        fail_in_round(patched, tmp_path, finished, OSError("the device was unplugged"))
        with pytest.raises(LatnasError, match="the device was unplugged") as caught:
            profile(profile_config(tmp_path))
    (partial,) = tmp_path.rglob(f"*-{phase}.jsonl")
    assert "goes on from what it has measured" in str(caught.value) and str(partial) in str(caught.value)
    assert lasting(profile(profile_config(tmp_path)).table) == lasting(profiled.table)


# Out of time


def test_a_profile_out_of_time_says_which_networks_have_not_settled(tmp_path: Path) -> None:
    table = profile(profile_config(tmp_path, max_seconds=1e-9)).table
    assert table.anchor.rounds == 1
    networks = {str(architecture) for architecture in networks_of(table)}
    assert set(table.unsettled) == networks, "one round has no two halves that could agree"
    assert {entry.halves for entry in table.calibration.networks} == {1.0}
    assert table.doubtful.keys() >= {entry.label for entry in table.operations.values()}


def test_networks_that_have_mostly_not_settled_are_warned_of(tmp_path: Path) -> None:
    heard = Heard()
    profile(profile_config(tmp_path, max_seconds=1e-9), heard)
    (warning,) = heard.warned
    assert warning.startswith("4 of 4 networks have not settled") and "latnas profile --rounds 8" in warning


def test_a_table_that_predicts_badly_is_warned_of_with_a_command_for_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_random(self: AnalyticRunner, n: int) -> float:
        is_slow = hashlib.sha256(repr(RUN(self, 1)).encode()).digest()[-1] % 2
        return RUN(self, n) * (1.5 if is_slow else 1.0)

    monkeypatch.setattr(AnalyticRunner, "run", at_random)
    heard = Heard()
    quality = profile(profile_config(tmp_path), heard).table.calibration.quality
    (warning,) = heard.warned
    assert quality.mean_error > 0.15
    assert warning.startswith(f"predictions of networks that were left out are off by {quality.mean_error:.0%}")
    assert "latnas profile --rounds 8" in warning


def test_a_device_that_is_hardly_ever_calm_is_warned_of_with_a_command_for_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [0]

    def slower_and_slower(self: AnalyticRunner, n: int) -> float:
        calls[0] += 1
        return RUN(self, n) * 1.004 ** calls[0]

    monkeypatch.setattr(AnalyticRunner, "run", slower_and_slower)
    heard = Heard()
    profile(profile_config(tmp_path, rounds=8, max_seconds=180.0), heard)
    (warning,) = (text for text in heard.warned if "rounds were calm" in text)
    command = "latnas profile --rounds 16 --max-seconds 360 --device analytic --width 4 --depth 1 --data digits"
    assert command in warning and "--calibrate 4" in warning


def test_operations_that_take_no_longer_than_an_empty_graph_end_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnalyticRunner, "run", lambda self, n: n * 1e-3)
    command = "Measure whole networks only: latnas profile --no-operations --device analytic --width 4 --depth 1"
    with pytest.raises(LatnasError, match=f"{command} --data digits"):
        profile(profile_config(tmp_path))
    assert profile(profile_config(tmp_path, operations=False)).table.operations == {}


def test_what_has_settled_gets_no_more_rounds_than_it_needs(tmp_path: Path) -> None:
    """The formula agrees with itself at once: forty rounds are the least."""
    table = profile(profile_config(tmp_path, rounds=1000)).table
    assert (table.anchor.rounds, table.anchor.calm_rounds, table.unsettled) == (40, 40, ())


def test_a_space_with_too_few_networks_says_how_many_can_be_asked_for() -> None:
    space = Space("own", TwoByTwo, SpaceOptions(width=4, depth=1, **DIGITS))
    with pytest.raises(
        LatnasError, match="gave 4 distinct networks, and then no new one in 200 draws; use --calibrate 4 or"
    ):
        chosen_of(space, 6)
    assert len({one.architecture for one in chosen_of(space, 4)}) == 4


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


def test_a_space_that_cannot_be_traced_is_predicted_by_parts_alone_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untraceable(self: Space, architecture: Architecture) -> Any:
        raise LatnasError("Classifier cannot be traced")

    monkeypatch.setattr(Space, "context", untraceable)
    heard = Heard()
    prices = profile(profile_config(tmp_path), heard).table.calibration.prices
    assert prices.contexts_ms == {}
    assert any(
        "merges in these networks is not predicted" in line and "cannot be traced" in line for line in heard.warned
    )
