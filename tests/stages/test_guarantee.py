"""The measured guarantee: which network is exported for a budget, against brute force over made-up devices.

What a network and its file take on such a device is given; trainings are stood in for, since nothing depends on them.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import Heard, contents, copied, export_config, front_in, run_in
from torch import nn

from latnas.data.randomness import generator
from latnas.data.sources import load_images
from latnas.errors import LatnasError
from latnas.spaces.space import Space
from latnas.stages.common import runs
from latnas.stages.common.largest import largest_within
from latnas.stages.common.reach import budget_range, predicted_ends
from latnas.stages.common.runs import RunFolder
from latnas.stages.common.tables import latency_of, profile_again, space_of
from latnas.stages.export import ExportConfig, ExportedFile, advice_of, deriving, export, kept, stage
from latnas.stages.export.advice import Missed, advice_on
from latnas.stages.export.deriving import TRAININGS, derive
from latnas.stages.export.job import Job
from latnas.stages.export.lessons import HEADROOM, MODULE, Lessons, read_lessons
from latnas.stages.export.measuring import Bench, Times
from latnas.stages.export.packing import Packed
from latnas.stages.export.shipments import Refused, Shipment
from latnas.stages.export.stage import MEASUREMENTS
from latnas.stages.export.targets import Target, make_targets
from latnas.stages.export.trainings import Trained
from latnas.training.tasks import Task
from latnas.words.architecture import Architecture
from latnas.words.budgets import budget_name
from latnas.words.export_set import SET, ExportedNetwork, changed_files, load_set
from latnas.words.files import append_line
from latnas.words.front import Estimate, Front, ScoredNetwork, load_front
from latnas.words.latency import LatencyModel
from latnas.words.limits import Limits
from latnas.words.manifest import Check, Manifest, Measured, RawTimes, ReachedAccuracy, load_manifest
from latnas.words.table import load_table

LOW, HIGH = 0.95, 1.05
Milliseconds = Callable[[Architecture], float]


@dataclass(frozen=True)
class World:
    """A run in a folder of its own, whose device is made up."""

    job: Job
    front: Front
    heard: Heard

    @property
    def latency(self) -> LatencyModel:
        return self.job.latency

    def budget_ms(self, lam: float) -> float:
        return self.front.budget_range.budget_ms(lam)

    def derive(self, bench: MadeUpBench | None, *budgets: float) -> list[ExportedFile]:
        """Exports each budget, going by what `measurements.jsonl` says."""
        targets = [
            Target("search", 0.5, ms, tuple(n.as_architecture for n in self.front.within(ms)), self.job.space)
            for ms in budgets
        ]
        device: Any = bench
        return derive(self.job, self.front, targets, device, self.lessons())

    def lessons(self) -> Lessons:
        return read_lessons(self.job.exports / MEASUREMENTS, self.front, self.latency)


class MadeUpBench:
    """A device on which networks and their files take what they are said to. It keeps the log, as the real one does."""

    takes_files = False
    example = torch.zeros(1, 1, 8, 8)

    def __init__(
        self, world: World, finalist_ms: Milliseconds, file_ms: Milliseconds, drift: float = 1.0, then: float = 1.0
    ) -> None:
        """`drift` is the device's while finalists are measured, times `then` while files are."""
        self._log, self._factor = world.job.exports / MEASUREMENTS, world.job.table.factor
        self._finalist_ms, self._file_ms = finalist_ms, file_ms
        self._drifts = {"untrained module": drift, "trained module": drift * then}
        self.finalists, self.files = list[list[Architecture]](), list[list[Architecture]]()

    def network(self, architecture: Architecture) -> nn.Module:
        """Nothing of it is run."""
        return nn.Identity()

    def measure(self, workloads: Mapping[str, Any], names: Mapping[str, Architecture], what: str) -> dict[str, Times]:
        kind, _, _ = what.partition(",")  # the form stands after it
        asked, takes = {
            "untrained module": (self.finalists, self._finalist_ms),
            "trained module": (self.files, self._file_ms),
        }[kind]
        asked.append([names[key] for key in workloads])
        found, drift = {}, self._drifts[kind]
        for key in workloads:
            ms = takes(names[key]) * drift
            found[key] = Times(Measured(floor=ms, p50=ms, p90=ms), RawTimes(p50=ms, p90=ms), ms, drift)
            line = {"floor_ms": ms / self._factor, "anchor_drift": drift}
            append_line(self._log, {"architecture": names[key].to_json(), "what": what, **line})
        return found

    def warn_of_slow_calls(self, found: Iterable[Times]) -> None:
        assert all(times.single_over("p50") == 1.0 for times in found)


class CalmsDown(MadeUpBench):
    """A device that is `drift` times as slow as for the table until the first file is measured, and calm after that."""

    def __init__(self, world: World, finalist_ms: Milliseconds, file_ms: Milliseconds, drift: float) -> None:
        super().__init__(world, finalist_ms, file_ms, drift, then=1 / drift)

    def measure(self, workloads: Mapping[str, Any], names: Mapping[str, Architecture], what: str) -> dict[str, Times]:
        found = super().measure(workloads, names, what)
        if self.files:
            self._drifts["untrained module"] = 1.0
        return found


def stand_in(
    job: Job, chosen: Sequence[tuple[Target, Architecture]], teacher: Architecture | None = None
) -> list[Shipment]:
    """What training each of these would hand on."""
    check = Check(images=1, largest_difference=0.0, same_class=1.0)
    reached = ReachedAccuracy(split="test", value=0.5, low=0.4, high=0.6)
    packed = [Packed(str(one).encode(), check, reached, None, None, b"", None) for _, one in chosen]
    trained = Trained(Task("", {}, job.exports), {}, None, {"test_images": 1})
    return [Shipment(target, one, trained, each) for (target, one), each in zip(chosen, packed, strict=True)]


@pytest.fixture(scope="module")
def judged(small_run: Path) -> tuple[Front, Space, LatencyModel]:
    """Forty random networks, the slower mostly the better, and a table that says it was measured."""
    table, found = load_table(front_in(small_run) / "table.json"), load_front(front_in(small_run) / "front.json")
    calibration = table.calibration.model_copy(update={"low": LOW, "high": HIGH})
    table = table.model_copy(update={"measures": "onnx", "calibration": calibration})
    space = space_of(table)
    latency = latency_of(table, space)
    return made_up_front(found, space, latency), space, latency


@pytest.fixture
def world(
    small_run: Path, judged: tuple[Front, Space, LatencyModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    monkeypatch.setattr(deriving, "train_each", stand_in)
    front, space, latency = judged
    run = RunFolder(tmp_path / run_in(small_run).name)
    copied(front_in(small_run), run.front(front_in(small_run).name))
    heard, config = Heard(), export_config(tmp_path, all=True, finalists=3)
    exports = run.exports(front_in(small_run).name)
    return World(Job(config, run, exports, space, latency, load_images("digits"), heard), front, heard)


def made_up_front(found: Front, space: Space, latency: LatencyModel) -> Front:
    random = torch.Generator().manual_seed(0)
    drawn = list({one.key: one for one in (space.random(random) for _ in range(60))}.values())[:40]
    drawn.sort(key=latency.predict_ms)
    noise = torch.randn(len(drawn), generator=random).tolist()
    networks = tuple(
        scored(one, latency.predict_ms(one), rank / len(drawn) + 0.2 * noise[rank]) for rank, one in enumerate(drawn)
    )
    fastest, slowest = networks[0].predicted_ms.value, networks[-1].predicted_ms.value
    changed = {"networks": networks, "fastest_ms": 1.1 * fastest, "slowest_ms": slowest, "pareto": (0,)}
    return found.model_copy(update=changed)


def scored(one: Architecture, ms: float, score: float) -> ScoredNetwork:
    return ScoredNetwork(
        architecture=one.to_json(), predicted_ms=Estimate(value=ms, low=LOW * ms, high=HIGH * ms),
        score=Estimate(value=score, low=score, high=score), params=1, macs=1,
    )  # fmt: skip


def wrong_by(world: World, factor: float, seed: int) -> Milliseconds:
    """Times of the front's networks `factor` times as predicted, give or take what the intervals allow."""
    random = torch.Generator().manual_seed(seed)
    each = (0.97 + 0.06 * torch.rand(len(world.front.networks), generator=random)).tolist()
    by_key = {
        network.as_architecture.key: factor * error * network.predicted_ms.value
        for network, error in zip(world.front.networks, each, strict=True)
    }
    return lambda one: by_key[one.key] if one.key in by_key else factor * world.latency.predict_ms(one)


def with_options(world: World, **options: Any) -> World:
    return replace(world, job=replace(world.job, config=export_config(world.job.config.runs, **options)))


def chosen_in(file: ExportedFile) -> Architecture:
    return Architecture.from_json(file.manifest.architecture)


# Which network


@pytest.mark.parametrize("slower", [1.0, 1.08])
@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_scored_network_whose_file_fits_is_exported_as_brute_force_finds_it(
    world: World, slower: float, factor: float, seed: int
) -> None:
    """Where files take no longer than finalists, those count as fitting that leave the usual room."""
    takes = wrong_by(world, factor, seed)
    bench = MadeUpBench(world, takes, lambda one: slower * takes(one))
    ranked = [network.as_architecture for network in world.front.within(math.inf)]
    budgets = [1.05 * takes(ranked[0]), *(world.budget_ms(lam) for lam in (0.1, 0.5, 0.7))]
    files = world.derive(bench, *budgets)
    for file, budget in zip(files, budgets, strict=True):
        fitting = [one for one in ranked if takes(one) * max(slower, HEADROOM) <= budget]
        assert chosen_in(file) == fitting[0]
        manifest = file.manifest
        assert (manifest.status, manifest.within_budget, manifest.nearest_ms) == ("verified", True, None)
        assert manifest.margin == pytest.approx(1 - slower * takes(fitting[0]) / budget)
        made = [attempt for attempt in manifest.attempts if attempt.what == "shipped file"]
        assert len(made) <= 2, "one file that misses teaches the margin that is needed"
    assert sum(map(len, bench.finalists)) <= 30, "measured are a few for each budget, and not the whole front"


def test_a_better_network_just_above_its_budget_that_measures_within_is_used(world: World) -> None:
    *_, good, best = sorted(world.front.networks, key=lambda network: network.predicted_ms.value)[:20]
    others = [
        scored(n.as_architecture, n.predicted_ms.value, 0.0) for n in world.front.networks if n not in (good, best)
    ]
    budget = 0.97 * best.predicted_ms.value
    good, best = scored(good.as_architecture, 0.9 * budget, 1.0), scored(best.as_architecture, budget / 0.97, 2.0)
    front = world.front.model_copy(update={"networks": (*others, good, best)})
    measured = {good.as_architecture.key: 0.9 * budget, best.as_architecture.key: 0.95 * budget}
    takes: Milliseconds = lambda one: measured.get(one.key) or world.latency.predict_ms(one)  # noqa: E731
    changed = replace(world, front=front)
    (file,) = changed.derive(MadeUpBench(changed, takes, takes), budget)
    assert chosen_in(file) == best.as_architecture
    assert file.manifest.predicted_ms.value > budget and file.manifest.within_budget


def test_where_much_of_a_budget_is_left_every_better_network_that_may_fit_is_measured(world: World) -> None:
    """Twelve better ones measure over the budget; it goes on to those after them, and not to the first that is safe."""
    budget = world.budget_ms(0.5)
    drawn = [network.as_architecture for network in world.front.networks]
    over, within, safe = drawn[:12], drawn[12], drawn[13]
    just_above = [scored(one, 1.01 * budget, 100.0 - rank) for rank, one in enumerate([*over, within])]
    front = world.front.model_copy(update={"networks": (scored(safe, 0.5 * budget, 1.0), *just_above)})
    takes_ms = {one.key: 1.0 * budget for one in over} | {within.key: 0.96 * budget, safe.key: 0.5 * budget}
    takes: Milliseconds = lambda one: takes_ms[one.key]  # noqa: E731
    changed = replace(world, front=front)
    (file,) = changed.derive(MadeUpBench(changed, takes, takes), budget)
    assert chosen_in(file) == within and file.manifest.margin == pytest.approx(0.04)


def test_a_device_that_is_faster_than_when_its_table_was_measured_is_expected_to_slow_down_again(world: World) -> None:
    budget = world.budget_ms(0.3)
    takes: Milliseconds = world.latency.predict_ms
    (file,) = world.derive(MadeUpBench(world, takes, takes, drift=0.9), budget)
    ranked = [network.as_architecture for network in world.front.within(budget)]
    assert chosen_in(file) == next(one for one in ranked if takes(one) * HEADROOM <= budget)


def test_a_file_that_keeps_its_budget_only_while_the_device_is_fast_does_not_count(world: World) -> None:
    takes: Milliseconds = world.latency.predict_ms
    first = world.front.within(math.inf)[0].as_architecture
    budget = 1.05 * takes(first)
    (file,) = world.derive(MadeUpBench(world, takes, lambda one: 1.08 * takes(one), then=0.7), budget)
    ranked = [network.as_architecture for network in world.front.within(math.inf)]
    assert chosen_in(file) == next(one for one in ranked if 1.08 * takes(one) <= budget) != first
    assert file.manifest.measured_ms is not None and file.manifest.margin is not None
    assert file.manifest.measured_ms.p50 == pytest.approx(0.7 * (1 - file.manifest.margin) * budget)


@pytest.mark.parametrize("lam", [0.1, 0.3, 0.5])
def test_after_a_device_was_busy_while_networks_were_chosen_a_better_one_takes_the_place_of_a_file_that_leaves_much(
    world: World, lam: float
) -> None:
    budget, takes = world.budget_ms(lam), wrong_by(world, 1.0, seed=0)
    bench = CalmsDown(world, takes, takes, drift=1.3)
    (file,) = world.derive(bench, budget)
    ranked = [network.as_architecture for network in world.front.within(math.inf)]
    first, busy = (next(one for one in ranked if slow * takes(one) * HEADROOM <= budget) for slow in (1.0, 1.3))
    assert takes(busy) < 0.93 * budget and first != busy, "otherwise there is nothing to make up for"
    assert chosen_in(file) == first and file.manifest.status == "verified"
    assert file.manifest.margin == pytest.approx(1 - takes(first) / budget)
    shipped = [one for one in file.manifest.attempts if one.what == "shipped file"]
    assert [one.architecture for one in shipped] == [str(busy), str(first)]
    assert any(f"{1 - takes(busy) / budget:.0%} below it: looking again at" in text for text in world.heard.said)


def test_a_network_that_another_budget_has_measured_on_a_busy_device_is_looked_at_again_too(world: World) -> None:
    takes: Milliseconds = world.latency.predict_ms
    budgets = [world.budget_ms(lam) for lam in (0.1, 0.2, 0.3)]
    files = world.derive(CalmsDown(world, takes, takes, drift=1.3), *budgets)
    ranked = [network.as_architecture for network in world.front.within(math.inf)]
    for file, budget in zip(files, budgets, strict=True):
        assert chosen_in(file) == next(one for one in ranked if takes(one) * HEADROOM <= budget)


def test_a_file_that_leaves_much_of_its_budget_stays_where_the_file_of_a_better_network_misses_it(world: World) -> None:
    """All better ones fit before their training on the calm device, and none does after it."""
    budget, takes = world.budget_ms(0.3), world.latency.predict_ms
    made = list[Architecture]()

    def file_ms(one: Architecture) -> float:
        made.extend([one] if one not in made else [])
        return takes(one) if one == made[0] else 1.01 * budget

    (file,) = world.derive(CalmsDown(world, takes, file_ms, drift=1.3), budget)
    assert 1 < len(made) <= TRAININGS and chosen_in(file) == made[0]
    assert (file.manifest.status, file.manifest.nearest_ms) == ("verified", None)
    assert load_manifest(file.folder / "manifest.json") == file.manifest


@pytest.mark.parametrize(("slower", "status"), [(1.0, "verified"), (1.08, "missed")])
def test_what_was_made_for_a_budget_stays_where_the_next_network_is_refused_in_its_form(
    world: World, monkeypatch: pytest.MonkeyPatch, slower: float, status: str
) -> None:
    """The first file leaves much of its budget, or misses it."""
    lots: list[list[Architecture]] = []

    def refused(job: Job, chosen: Sequence[tuple[Target, Architecture]], teacher: None) -> Sequence[Shipment | Refused]:
        lots.append([one for _, one in chosen])
        return stand_in(job, chosen) if len(lots) == 1 else [Refused(target, "It lost much.") for target, _ in chosen]

    monkeypatch.setattr(deriving, "train_each", refused)
    takes = world.latency.predict_ms
    budget = (
        world.budget_ms(0.3) if status == "verified" else 1.05 * takes(world.front.within(math.inf)[0].as_architecture)
    )
    bench = CalmsDown(world, takes, lambda one: slower * takes(one), drift=1.3 if status == "verified" else 1.0)
    (file,) = world.derive(bench, budget)
    assert len(lots) == 2 and [chosen_in(file)] == lots[0] and file.manifest.status == status
    assert any(text.startswith(f"{file.folder.name}: It lost much. ") for text in world.heard.warned)


def test_an_export_stopped_while_it_trains_that_better_network_goes_on_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, takes = world.budget_ms(0.3), world.latency.predict_ms
    lots: list[list[Architecture]] = []

    def interrupted(job: Job, chosen: Sequence[tuple[Target, Architecture]], teacher: None) -> list[Shipment]:
        lots.append([one for _, one in chosen])
        if len(lots) == 2:
            raise KeyboardInterrupt
        return stand_in(job, chosen)

    with monkeypatch.context() as patched:
        patched.setattr(deriving, "train_each", interrupted)
        with pytest.raises(KeyboardInterrupt):
            world.derive(CalmsDown(world, takes, takes, drift=1.3), budget)
    calm = MadeUpBench(world, takes, takes)
    (file,) = world.derive(calm, budget)
    assert calm.finalists == [] and calm.files == [lots[1]], "what the first file took is known"
    assert [chosen_in(file)] == lots[1] and file.manifest.status == "verified"
    shutil.rmtree(world.job.exports)
    (undisturbed,) = world.derive(CalmsDown(world, takes, takes, drift=1.3), budget)
    assert file.manifest.attempts == undisturbed.manifest.attempts


def test_on_a_device_of_the_same_speed_a_file_that_leaves_much_of_its_budget_has_nothing_measured_again(
    world: World,
) -> None:
    takes: Milliseconds = world.latency.predict_ms
    bench = MadeUpBench(world, takes, takes, drift=1.3)
    budgets = [world.budget_ms(lam) for lam in (0.0, 0.1, 0.3, 0.5, 0.7)]
    files = world.derive(bench, *budgets)
    looks = [one.key for some in bench.finalists for one in some]
    assert len(looks) == len(set(looks)) and len(bench.files) == 1
    assert {file.manifest.status for file in files} == {"verified"}


# Files that miss


def test_each_file_that_misses_teaches_a_margin_and_the_attempts_tell_the_story(world: World) -> None:
    takes: Milliseconds = world.latency.predict_ms
    first = world.front.within(math.inf)[0].as_architecture
    budget = 1.05 * takes(first)
    bench = MadeUpBench(world, takes, lambda one: 1.08 * takes(one))
    (file,) = world.derive(bench, budget)
    attempts = file.manifest.attempts
    finalists, shipped = ([one for one in attempts if one.what == what] for what in ("finalist", "shipped file"))
    assert [one.architecture for one in shipped] == [str(first), str(chosen_in(file))]
    assert [one.fits for one in shipped] == [False, True]
    assert [one.architecture for one in finalists] == [str(one) for some in bench.finalists for one in some]
    assert all(one.measured_ms * HEADROOM <= budget for one in finalists if one.fits)
    assert any("1.08 times as long as before its training" in text for text in world.heard.said)
    assert load_manifest(file.folder / "manifest.json") == file.manifest


@pytest.mark.parametrize("lam", [1.0, 0.9])
def test_where_no_network_can_keep_a_budget_the_nearest_is_named_and_can_be_exported(world: World, lam: float) -> None:
    """A device that takes 1.7 times as long as its table says: the fastest networks miss the tight budgets."""
    takes = wrong_by(world, 1.7, seed=0)
    budget = world.budget_ms(lam)
    (file,) = world.derive(MadeUpBench(world, takes, lambda one: 1.05 * takes(one)), budget)
    fastest = min(1.05 * takes(network.as_architecture) for network in world.front.networks)
    nearest = file.manifest.nearest_ms
    assert file.manifest.status == "missed" and file.manifest.margin is not None
    assert file.manifest.margin < 0 and nearest is not None
    assert budget < nearest <= fastest * HEADROOM * 1.001
    command = f"latnas export --budget {budget_name(nearest)} --run {world.job.run.path}"
    given = " --epochs 1 --finalists 3 --rounds 4 --executor local:0"
    assert file.advice.endswith(f"within reach is {budget_name(nearest)}: {command}{given}")
    (again,) = world.derive(MadeUpBench(world, takes, lambda one: 1.05 * takes(one)), nearest)
    assert again.manifest.status == "verified" and again.advice == ""


@pytest.mark.parametrize(("form", "precision"), [({}, ""), ({"int8": True}, " --precision int8")])
def test_where_files_take_longer_than_any_network_of_the_table_quiet_or_another_table_is_advised(
    world: World, form: dict[str, Any], precision: str
) -> None:
    changed, budgets = with_options(world, all=True, **form), [world.budget_ms(0.5), world.budget_ms(0.6)]
    takes: Milliseconds = lambda one: 50 * world.latency.predict_ms(one)  # noqa: E731
    file, other = changed.derive(MadeUpBench(changed, takes, takes), *budgets)
    nearest = file.manifest.nearest_ms
    assert nearest is not None and nearest > world.front.slowest_ms
    assert advice_of([file, other]) == [file.advice], "both budgets have it in common"
    missed = ", ".join(map(budget_name, budgets))
    assert file.advice.startswith(f"Nothing nearer to {missed} than {budget_name(nearest)} is within reach now, and ")
    again = profile_again(world.job.table, "digits") + precision
    assert ": files come to about as much or more. Type the same command in quiet, or measure a new" in file.advice
    assert file.advice.endswith(f"measure a new table to search by: {again}")


@pytest.mark.parametrize(("drift", "faster"), [(0.5, True), (0.9, False)])
def test_where_files_take_longer_than_the_table_knows_on_a_device_that_is_faster_it_is_not_called_slower(
    world: World, drift: float, faster: bool
) -> None:
    """The anchor network is told of by itself where it is much faster."""
    takes: Milliseconds = lambda one: 50 * world.latency.predict_ms(one)  # noqa: E731
    (file,) = world.derive(MadeUpBench(world, takes, takes, drift=drift), world.budget_ms(0.5))
    assert (": files come to about as much or more at the speed that the device had when" in file.advice) == faster
    assert "slower" not in file.advice and ("in quiet" in file.advice) != faster
    assert file.advice.endswith(f"easure a new table to search by: {profile_again(world.job.table, 'digits')}")


@pytest.mark.parametrize(("options", "images"), [({}, ""), ({"data": "my digits.npz"}, " --data 'my digits.npz'")])
def test_beyond_the_range_of_the_front_the_search_that_is_named_can_be_typed(
    world: World, options: dict[str, Any], images: str
) -> None:
    """A front that was searched for tight budgets alone, on a device that takes half as long again."""
    tight = world.budget_ms(0.9)
    front = world.front.model_copy(update={"slowest_ms": tight})
    changed = replace(with_options(world, all=True, **options), front=front)
    takes: Milliseconds = lambda one: 1.5 * world.latency.predict_ms(one)  # noqa: E731
    (file,) = changed.derive(MadeUpBench(changed, takes, takes), tight)
    nearest = file.manifest.nearest_ms
    assert nearest is not None and nearest > tight
    start = f": latnas search --from {world.job.run.path}{images} --budget-range "
    assert start in file.advice
    wanted = budget_range(file.advice.partition(start)[2], world.job.space, world.latency)
    assert wanted.fastest_ms == pytest.approx(nearest, rel=1e-3)


def test_no_search_is_advised_of_a_range_whose_ends_are_the_same_as_they_are_written(world: World) -> None:
    slowest_ms = world.latency.predict_ms(predicted_ends(world.job.space, world.latency)[1])
    target = Target("search", 0.5, world.budget_ms(0.5), (), world.job.space)
    missed = Missed(target, size=1, nearest_ms=slowest_ms * (1 - 1e-6), faster=False)
    (advice,) = advice_on(world.job, world.front.model_copy(update={"slowest_ms": 1e-3}), [missed], [target]).values()
    assert "--budget-range" not in advice and "measure a new table to search by: latnas profile" in advice


def test_without_the_device_a_network_that_the_search_did_not_score_is_exported_where_no_other_fits(
    world: World,
) -> None:
    scored = {network.as_architecture.key for network in world.front.networks}
    drawn = (world.job.space.random(generator("unscored", index)) for index in range(100))
    unscored = next(one for one in drawn if one.key not in scored)
    target = Target("search", 0.9, world.budget_ms(0.9), (unscored,), world.job.space)
    (file,) = derive(world.job, world.front, [target], None, Lessons(world.latency))
    assert chosen_in(file) == unscored and file.manifest.status == "unverified"


def test_where_the_search_scored_no_network_that_is_fast_enough_the_solver_finds_one(world: World) -> None:
    budget = world.budget_ms(0.8)
    slow = tuple(network for network in world.front.networks if network.predicted_ms.value > 1.2 * budget)
    changed = replace(world, front=world.front.model_copy(update={"networks": slow}))
    takes: Milliseconds = world.latency.predict_ms
    (file,) = changed.derive(MadeUpBench(changed, takes, takes), budget)
    assert file.manifest.status == "verified"
    assert chosen_in(file) not in [network.as_architecture for network in slow]


def test_a_random_baseline_of_which_none_is_fast_enough_is_drawn_again(world: World) -> None:
    """What the solver would add are the largest networks within the budget: those of another baseline."""
    budget, count = world.budget_ms(0.5), world.job.config.finalists
    drawn = [network.as_architecture for network in world.front.networks[-3:]]
    takes: Milliseconds = world.latency.predict_ms
    device: Any = MadeUpBench(world, takes, takes)
    target = Target("random", 0.5, budget, tuple(drawn), world.job.space)
    (file,) = derive(world.job, world.front, [target], device, world.lessons())
    assert file.manifest.status == "verified" and chosen_in(file) not in drawn
    assert chosen_in(file) not in largest_within(world.job.space, world.latency, budget / HEADROOM, count)
    (again,) = derive(world.job, world.front, [target], device, world.lessons())
    assert chosen_in(again) == chosen_in(file), "it is drawn from the seed"


def test_no_more_networks_are_trained_for_a_budget_than_was_said(world: World) -> None:
    """Whatever is trained for it takes a little more than the budget."""
    made, budget = list[Architecture](), world.budget_ms(0.2)

    def file_ms(one: Architecture) -> float:
        made.extend([one] if one not in made else [])
        return budget * (1.001 + 0.001 * made.index(one))

    bench = MadeUpBench(world, world.latency.predict_ms, file_ms)
    (file,) = world.derive(bench, budget)
    assert file.manifest.status == "missed" and len(made) == TRAININGS
    assert chosen_in(file) == made[0], "the nearest of those that were made"


def test_a_file_is_in_its_folder_as_soon_as_it_fits_and_an_interruption_leaves_the_others_untouched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes: Milliseconds = world.latency.predict_ms
    budgets = [world.budget_ms(lam) for lam in (0.1, 0.4)]
    first_choices: list[Architecture] = []

    def file_ms(one: Architecture) -> float:
        return takes(one) * (1.2 if one == first_choices[1] else 1.0)

    def interrupted(job: Job, chosen: Sequence[tuple[Target, Architecture]], teacher: None) -> list[Shipment]:
        if first_choices:
            raise KeyboardInterrupt
        first_choices.extend(one for _, one in chosen)
        return stand_in(job, chosen)

    monkeypatch.setattr(deriving, "train_each", interrupted)
    tight = world.job.exports / budget_name(budgets[1])
    tight.mkdir(parents=True)
    (tight / "manifest.json").write_text("an earlier export")
    with pytest.raises(KeyboardInterrupt):
        world.derive(MadeUpBench(world, takes, file_ms), *budgets)
    assert load_manifest(world.job.exports / budget_name(budgets[0]) / "manifest.json").status == "verified"
    assert contents(tight) == {"manifest.json": b"an earlier export"}


# What the log teaches


def log(world: World, *lines: tuple[Architecture, str, float, float]) -> None:
    for one, what, ms, drift in lines:
        value = {"what": what, "floor_ms": ms / world.job.table.factor, "anchor_drift": drift}
        append_line(world.job.exports / MEASUREMENTS, {"architecture": one.to_json(), **value})


def test_earlier_measurements_correct_predictions_at_the_speed_of_the_table(world: World) -> None:
    assert world.lessons() == Lessons(world.latency, world.lessons().frozen)
    drawn = [network.as_architecture for network in world.front.networks]
    predicted = [network.predicted_ms.value for network in world.front.networks]
    log(
        world,
        (drawn[0], "untrained module", 1.2 * predicted[0], 1.0),
        (drawn[1], "untrained module", 2.2 * predicted[1], 2.0),
        (drawn[2], "untrained module", 1.3 * predicted[2], 1.0),
        (drawn[0], "shipped file", 1.2 * 1.06 * 1.5 * predicted[0], 1.5),
        (drawn[3], "something else", 9.0 * predicted[3], 1.0),
    )
    lessons = world.lessons()
    assert lessons.factor == pytest.approx(1.2), "the median of 1.2, 1.1 and 1.3"
    assert lessons.expected_ms(drawn[1]) == pytest.approx(1.1 * predicted[1]), "its own measurement"
    assert lessons.expected_ms(drawn[3]) == pytest.approx(1.2 * predicted[3])
    assert lessons.margin == pytest.approx(1.06)


def test_a_line_of_the_log_that_is_no_measurement_is_named(world: World) -> None:
    log(world, (world.front.networks[0].as_architecture, "untrained module", 1.0, 1.0))
    append_line(world.job.exports / MEASUREMENTS, {"what": "untrained module"})
    with pytest.raises(LatnasError, match=r"measurements\.jsonl, line 2 is no measurement: .*Remove the line"):
        world.lessons()


# Again


@pytest.fixture(scope="module")
def verified_run(exported_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose table was measured, as it says, and whose every budget is exported. Read only."""
    here = copied(exported_run, tmp_path_factory.mktemp("verified_run") / "here")
    path = front_in(here) / "table.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "measures": "torch"}))
    files = export(export_config(here, all=True))
    assert {file.manifest.status for file in files} == {"verified-in-pytorch"}
    return here


@pytest.fixture
def verified(verified_run: Path, tmp_path: Path) -> Path:
    """The same, which may be damaged."""
    return copied(verified_run, tmp_path / "here")


def test_what_is_verified_is_neither_measured_nor_written_again(
    verified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, heard = contents(verified), Heard()
    monkeypatch.setattr(stage, "Bench", None)
    monkeypatch.setattr(deriving, "train_each", None)
    files = export(export_config(verified, all=True), heard)
    assert contents(verified) == before
    assert [text for text in heard.said if "nothing to do" in text] == [
        f"{file.folder.name} is verified already; nothing to do" for file in files
    ]
    assert [file.manifest for file in files] == [load_manifest(file.folder / "manifest.json") for file in files]


def test_of_a_verified_file_of_a_busy_device_it_is_said_how_to_have_it_chosen_anew(verified: Path) -> None:
    files = export(export_config(verified, all=True))
    for file, drift in zip(files, (1.3, 1.1), strict=True):
        file.manifest.model_copy(update={"anchor_drift": drift}).save(file.folder / "manifest.json")
    export(export_config(verified, all=True), heard := Heard())
    first, second = (text for text in heard.said if "nothing to do" in text)
    assert second == f"{files[1].folder.name} is verified already; nothing to do"
    assert "the anchor network took 1.30 times what it took for the table" in first
    assert first.endswith(f"chosen anew in quiet, remove {files[0].folder} and type the same command")
    shutil.rmtree(files[0].folder)
    again, _ = export(export_config(verified, all=True))
    assert again.manifest.status == "verified-in-pytorch" and again.manifest.anchor_drift == pytest.approx(1)


def test_a_log_that_someone_keeps_beside_a_verified_file_may_change(
    verified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, second) = export(export_config(verified, all=True))
    (first.folder / "infer.log").write_text("one")
    missing_file(second.folder)
    export(export_config(verified, lambdas=(1.0,)))
    (first.folder / "infer.log").write_text("two")
    monkeypatch.setattr(stage, "Bench", None)
    assert export(export_config(verified, lambdas=(0.0,)))[0].manifest == first.manifest


def damaged_file(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"no model")


def damaged_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


def missing_file(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def damaged_weights(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"no weights")


def missing_source(folder: Path) -> None:
    (folder / "model.py").unlink()


def missed_before(folder: Path) -> None:
    value = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**value, "status": "missed"}))


@pytest.mark.parametrize(
    "damage", [damaged_file, damaged_manifest, damaged_weights, missing_file, missing_source, missed_before]
)
def test_only_what_is_missing_or_damaged_or_missed_is_made_again(
    verified: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    real = deriving.train_each

    def noted(job: Job, chosen: Sequence[tuple[Target, Architecture]], teacher: None) -> list[Shipment]:
        asked.extend(target.budget_ms for target, _ in chosen)
        return real(job, chosen, teacher)

    monkeypatch.setattr(deriving, "train_each", noted)
    first, second = export(export_config(verified, all=True))
    whole = {path.name: path.read_bytes() for path in first.folder.iterdir() if path.name != "manifest.json"}
    damage(first.folder)
    again, other = export(export_config(verified, all=True))
    assert asked == [first.manifest.budget_ms]
    assert {name: (again.folder / name).read_bytes() for name in whole} == whole
    assert again.manifest.status == "verified-in-pytorch"
    assert other.manifest == second.manifest


def test_networks_that_learn_from_one_another_do_so_whichever_of_them_were_exported_before(verified: Path) -> None:
    (alone,) = export(export_config(verified, lambdas=(1.0,), distill=True))
    assert alone.manifest.training["distilled_from"] is None, "there was no other"
    teacher, student = export(export_config(verified, all=True, distill=True))
    assert teacher.manifest.training["distilled_from"] is None
    assert student.manifest.training["distilled_from"] == str(chosen_in(teacher))
    missing_file(student.folder)
    again = export(export_config(verified, all=True, distill=True))
    assert [file.manifest.training for file in again] == [teacher.manifest.training, student.manifest.training]
    assert again[1].manifest.sha256 == student.manifest.sha256


def test_verified_networks_that_learnt_from_one_another_are_left_alone_together(
    verified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(export_config(verified, all=True, distill=True))
    before = contents(verified)
    with monkeypatch.context() as patched:
        patched.setattr(stage, "Bench", None)
        patched.setattr(deriving, "train_each", None)
        files = export(export_config(verified, all=True, distill=True))
    assert {file.manifest.status for file in files} == {"verified-in-pytorch"}
    assert contents(verified) == before
    missing_file(files[1].folder)
    teacher, student = export(export_config(verified, all=True, distill=True))
    assert teacher.manifest == files[0].manifest == load_manifest(teacher.folder / "manifest.json")
    assert student.manifest.sha256 == files[1].manifest.sha256


def test_networks_that_learnt_from_one_another_are_left_alone_though_the_file_of_their_teacher_missed_its_budget(
    verified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = export(export_config(verified, all=True, distill=True))
    missing_file(first.folder)

    class Slower(Bench):
        def measure(self, workloads: Any, names: Mapping[str, Architecture], what: str) -> dict[str, Times]:
            found = super().measure(workloads, names, what)
            slow = {key for key in found if what == MODULE and names[key] == chosen_in(first)}
            return {
                key: replace(one, quoted_ms=(1.2 if key in slow else 1.0) * one.quoted_ms) for key, one in found.items()
            }

    with monkeypatch.context() as patched:
        patched.setattr(stage, "Bench", Slower)
        files = export(export_config(verified, all=True, distill=True))
    assert {file.manifest.status for file in files} == {"verified-in-pytorch"} and chosen_in(files[0]) != chosen_in(
        first
    )
    assert {file.manifest.training["distilled_from"] for file in files} == {str(chosen_in(first))}
    monkeypatch.setattr(stage, "Bench", None)
    assert export(export_config(verified, all=True, distill=True)) == files


def test_before_a_verified_file_gives_way_to_one_with_another_teacher_this_is_said(verified: Path) -> None:
    teacher, student = export(export_config(verified, all=True, distill=True), heard := Heard())
    assert not any("which learnt from" in text for text in heard.warned), "their options were others"
    export(export_config(verified, lambdas=(1.0,), distill=True), heard := Heard())
    (said,) = (text for text in heard.warned if "which learnt from" in text)
    assert said.startswith(f"{student.folder.name}: the verified file (accuracy {student.manifest.accuracy.value:.1%})")
    assert f"learnt from {chosen_in(teacher)}, is replaced by one that learns from labels alone, unless" in said


def test_before_a_verified_file_gives_way_to_another_network_because_a_budget_beside_it_was_missed_this_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks that learn from one another are chosen anew together; by then the first choice takes longer."""
    changed, takes = with_options(world, all=True, distill=True), world.latency.predict_ms
    budgets = [world.budget_ms(0.3), 0.5 * world.budget_ms(1.0)]
    loose, tight = changed.derive(MadeUpBench(changed, takes, takes), *budgets)
    assert (loose.manifest.status, tight.manifest.status) == ("verified", "missed")
    world.heard.warned.clear()
    (same, _) = changed.derive(MadeUpBench(changed, takes, takes), *budgets)
    assert same.manifest == loose.manifest and not any("is replaced" in text for text in world.heard.warned)
    slower: Milliseconds = lambda one: takes(one) * (2.0 if one == chosen_in(loose) else 1.0)  # noqa: E731
    at_training: list[str] = []

    def noted(*given: Any) -> list[Shipment]:
        at_training.extend(world.heard.warned)
        return stand_in(*given)

    monkeypatch.setattr(deriving, "train_each", noted)
    (other, _) = changed.derive(MadeUpBench(changed, slower, slower), *budgets)
    said = (
        f"{loose.folder.name}: the verified file (accuracy 50.0%) of {chosen_in(loose)} was chosen anew, and is "
        f"replaced by one of {chosen_in(other)}, unless that is missed or cannot be measured"
    )
    assert chosen_in(other) != chosen_in(loose) and said in at_training


def test_after_a_missed_budget_networks_that_learn_from_one_another_are_advised_to_be_exported_together(
    world: World,
) -> None:
    changed = with_options(world, all=True, distill=True)
    takes: Milliseconds = lambda one: 1.7 * world.latency.predict_ms(one)  # noqa: E731
    loose, *missed = changed.derive(MadeUpBench(changed, takes, takes), *map(world.budget_ms, (0.0, 0.95, 1.0)))
    nearest, kept = budget_name(missed[0].manifest.nearest_ms or 0.0), budget_name(loose.manifest.budget_ms)
    (advice,) = advice_of([loose, *missed])
    assert f": latnas export --budget {nearest} --budget {kept} --run " in advice
    assert advice.endswith(" --distill --epochs 1 --finalists 2 --rounds 4 --executor local:0")


def test_more_budgets_are_advised_for_a_network_without_a_teacher_only_where_they_come_to_another(world: World) -> None:
    takes: Milliseconds = lambda one: 0.9 * world.latency.predict_ms(one)  # noqa: E731
    several = with_options(world, lambdas=(1.0,), distill=True)
    several.derive(MadeUpBench(several, takes, takes), world.budget_ms(1.0))
    assert world.heard.warned.pop().endswith("Name several budgets, or --all.")
    changes = {"networks": world.front.networks[:1], "budgets": world.front.budgets[:1]}
    single = replace(several, front=world.front.model_copy(update=changes))
    single.derive(MadeUpBench(single, takes, takes), world.budget_ms(1.0))
    assert world.heard.warned.pop().endswith("All budgets come to the same one: leave --distill out.")
    every = replace(single, job=with_options(world, all=True, distill=True).job)
    every.derive(MadeUpBench(every, takes, takes), world.budget_ms(1.0), world.budget_ms(0.5))
    assert world.heard.warned.pop().endswith("All budgets come to the same one: leave --distill out.")


def test_where_only_baselines_miss_a_budget_the_command_that_is_advised_makes_baselines_that_keep_theirs(
    world: World,
) -> None:
    """A device that takes half as long again for all networks but the best one within the budget."""
    changed, budget = with_options(world, all=True, baselines=True), world.budget_ms(0.5)
    ranked = [network.as_architecture for network in world.front.within(budget)]
    takes: Milliseconds = lambda one: (0.9 if one == ranked[0] else 1.6) * world.latency.predict_ms(one)  # noqa: E731
    device: Any = MadeUpBench(changed, takes, takes)

    def files(budget_ms: float) -> list[ExportedFile]:
        targets = make_targets(
            changed.job.config.model_copy(update={"all": False, "budgets": (f"{budget_ms!r}ms",)}),
            world.front, world.job.space, world.latency, certain=False,
        )  # fmt: skip
        return derive(changed.job, world.front, targets, device, changed.lessons())

    chosen, *baselines = files(budget)
    assert chosen.manifest.status == "verified" and "missed" in {one.manifest.status for one in baselines}
    (advice,) = advice_of([chosen, *baselines])
    nearest = max(one.manifest.nearest_ms or 0.0 for one in baselines)
    start = f"The nearest budget to {budget_name(budget)} within reach of both baselines is {budget_name(nearest)}: "
    assert advice.startswith(f"{start}latnas export --budget {budget_name(nearest)} --baselines --run ")
    assert {file.manifest.status for file in files(nearest)} == {"verified"}


def test_where_only_a_baseline_is_too_slow_or_too_large_the_message_says_that_it_is_one(
    world: World, small_run: Path
) -> None:
    shutil.copy(run_in(small_run) / "config.toml", world.job.run.config)
    budget, space = world.budget_ms(0.5), world.job.space.limited(Limits(file_bytes=1000), 0)
    target = Target("random", 0.5, budget, (), space, Limits(file_bytes=1000))
    for nearest_ms, text in (
        (None, f"A baseline's file for {budget_name(budget)} takes 2.00 kB, more than --max-size 1.00kB. "),
        (1e3, f"Nothing nearer to {budget_name(budget)} than 1000ms is within reach of both baselines now, and "),
    ):
        missed = Missed(target, size=2000, nearest_ms=nearest_ms, faster=False)
        (advice,) = advice_on(world.job, world.front, [missed], [target]).values()
        assert advice.startswith(text)


def test_a_verified_file_gives_way_to_none_of_the_same_options_that_cannot_be_measured(
    verified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One network, taught by none, comes of the same options as those that learn from one another."""
    made = export(export_config(verified, all=True, distill=True))
    monkeypatch.setattr(stage, "presence", lambda table: ("another host", {}))
    before = contents(made[1].folder)
    (file,) = export(export_config(verified, lambdas=(1.0,), distill=True), heard := Heard())
    assert file.manifest == made[1].manifest and contents(file.folder) == before
    assert any("of an earlier export stays verified" in text for text in heard.warned)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"pri")])
def test_a_script_that_was_lost_or_damaged_is_left_again_without_measuring_and_never_becomes_the_exported_one(
    verified: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
) -> None:
    before, manifests = contents(verified), sorted(run_in(verified).glob("exports/*/*/manifest.json"))
    loose, tight = sorted(manifests, key=lambda path: -load_manifest(path).budget_ms)
    damage(loose.with_name("measure.py"))
    monkeypatch.setattr(stage, "Bench", None)
    export(export_config(verified, lambdas=(1.0,)))
    exports = tight.parents[1]
    assert changed_files(exports, load_set(exports / SET).networks) == [f"{loose.parent.name}/measure.py"]
    export(export_config(verified, all=True))
    assert contents(verified) == before


def test_another_option_is_another_export(verified: Path) -> None:
    (first,) = export(export_config(verified, lambdas=(0.0,)))
    (same,) = export(export_config(verified, lambdas=(0.0,), executor="local:1", int8_tolerance=3))
    (other,) = export(export_config(verified, lambdas=(0.0,), rounds=5))
    assert same.manifest.recipe_digest == first.manifest.recipe_digest != other.manifest.recipe_digest


@pytest.mark.parametrize("told", [None, "scratch"])
@pytest.mark.parametrize("typed", [None, "scratch"])
def test_a_start_that_is_typed_out_is_the_one_that_it_would_have_been_anyway(
    verified: Path, monkeypatch: pytest.MonkeyPatch, told: str | None, typed: str | None
) -> None:
    """`told` is what earlier versions took down in the digest."""

    def noted(job: Job, targets: Sequence[Target], listed: Mapping[str, ExportedNetwork]) -> dict[str, Manifest]:
        (target,) = targets
        path = job.exports / target.folder / "manifest.json"
        options = job.config.model_dump(mode="json", exclude=kept.WHICH | {"data", "int8_tolerance"}) | {"init": told}
        files = [hashlib.sha256((front / name).read_bytes()).hexdigest() for name in ("front.json", "table.json")]
        text = json.dumps([options, job.data.fingerprint, files, vars(target.space.limits)], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        load_manifest(path).model_copy(update={"recipe_digest": digest}).save(path)
        return kept.kept(job, targets, {})

    front = front_in(verified)
    monkeypatch.setattr(stage, "kept", noted)
    monkeypatch.setattr(stage, "Bench", None)
    export(export_config(verified, lambdas=(0.0,), init=typed), heard := Heard())
    assert any("nothing to do" in text for text in heard.said) and not heard.warned
    with pytest.raises(TypeError):  # another start is another export, which is measured
        export(export_config(verified, lambdas=(0.0,), init="supernet"), heard := Heard())
    assert any("other options" in text for text in heard.warned)


def test_before_a_verified_file_gives_way_to_one_of_other_options_this_is_said_once(
    verified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = export(export_config(verified, lambdas=(0.0,)), unchanged := Heard())
    at_training: list[str] = []
    train_each = deriving.train_each

    def noted(*given: Any) -> Any:
        at_training.extend(heard.warned)
        return train_each(*given)

    monkeypatch.setattr(deriving, "train_each", noted)
    export(export_config(verified, lambdas=(0.0,), epochs=2), heard := Heard())
    said = (
        f"{first.folder.name}: the verified file of an export with other options (accuracy "
        f"{first.manifest.accuracy.value:.1%}) is replaced, unless the new one is missed"
    )
    assert heard.warned.count(said) == at_training.count(said) == 1 and said not in unchanged.warned
    missing_file(first.folder)
    export(export_config(verified, lambdas=(0.0,), epochs=1), heard := Heard())
    assert not any("is replaced" in text for text in heard.warned), "what was damaged is no loss"


@pytest.mark.parametrize("device", ["present", "absent"])
def test_a_budget_typed_as_the_folder_is_called_is_the_one_that_was_exported(
    verified: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    made = export(export_config(verified, lambdas=(0.4,))) + export(export_config(verified, all=True))
    before = contents(verified)
    monkeypatch.setattr(stage, "Bench", None)
    if device == "absent":
        monkeypatch.setattr(stage, "presence", lambda table: ("another host", {}))
    names = tuple(file.folder.name for file in made)
    files = export(export_config(verified, budgets=names), heard := Heard())
    assert sorted(file.folder.name for file in files) == sorted(names) and contents(verified) == before
    assert not any("is replaced" in text for text in heard.warned)


def test_before_a_verified_file_gives_way_to_one_of_another_budget_of_the_same_name_this_is_said(
    verified: Path,
) -> None:
    (typed,) = (file for file in export(export_config(verified, all=True)) if file.manifest.lam == 0)
    budget_ms = typed.manifest.budget_ms * (1 - 1e-6)
    typed.manifest.model_copy(update={"budget_ms": budget_ms}).save(typed.folder / "manifest.json")
    (file,) = export(export_config(verified, lambdas=(0.0,)), heard := Heard())
    assert file.folder == typed.folder and file.manifest.budget_ms == typed.manifest.budget_ms
    accuracy, by = f"{typed.manifest.accuracy.value:.1%}", f"by one for {typed.manifest.budget_ms:.10g}ms"
    assert [text for text in heard.warned if "is replaced" in text] == [
        f"{file.folder.name}: the verified file for {budget_ms:.10g}ms (accuracy {accuracy}) is replaced {by}, unless "
        "the new one is missed"
    ]


def test_an_export_of_images_whose_classes_were_given_other_names_has_these(
    verified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(export_config(verified, lambdas=(0.0,)))
    names = tuple(f"number {digit}" for digit in range(10))
    monkeypatch.setattr(runs, "load_images", lambda spec: replace(load_images(spec), classes=names))
    (corrected,) = export(export_config(verified, lambdas=(0.0,)))
    assert corrected.manifest.classes == names


def test_a_file_that_was_verified_stays_so_where_the_device_is_not_present(
    verified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "presence", lambda table: ("another host", {}))
    before = contents(verified)
    files = export(export_config(verified, all=True))
    assert {file.manifest.status for file in files} == {"verified-in-pytorch"}
    assert contents(verified) == before


def test_a_verified_file_stays_where_an_export_with_other_options_finds_the_device_too_busy_to_keep_its_budget(
    verified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Busy(Bench):
        def measure(self, workloads: Any, names: Any, what: str) -> dict[str, Times]:
            found = super().measure(workloads, names, what)
            return {key: replace(times, quoted_ms=9 * times.quoted_ms) for key, times in found.items()}

    monkeypatch.setattr(stage, "Bench", Busy)
    config, heard = export_config(verified, lambdas=(1.0,), rounds=5), Heard()
    (folder,) = (path.parent for path in verified.glob("runs/latest/exports/*/*/manifest.json") if is_at(path, config))
    before = contents(folder)
    (file,) = export(config, heard)
    assert (file.manifest.status, file.manifest.within_budget) == ("missed", False) and "in quiet" in file.advice
    assert contents(folder) == before and load_manifest(folder / "manifest.json").status == "verified-in-pytorch"
    assert any("of an earlier export is verified and stays" in text for text in heard.warned)
    missing_file(folder)
    assert export(config)[0].manifest == load_manifest(folder / "manifest.json"), "where none lies, the nearest is kept"


def is_at(manifest: Path, config: ExportConfig) -> bool:
    (lam,) = config.lambdas
    return load_manifest(manifest).lam == pytest.approx(lam)


def test_a_real_device_on_which_files_take_longer_gets_faster_networks(
    verified: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole stage: what is measured after a training takes a tenth longer, and every budget is kept still."""

    class Slower(Bench):
        def measure(self, workloads: Any, names: Any, what: str) -> dict[str, Times]:
            slow = 1.1 if what == "trained module" else 1.0
            found = super().measure(workloads, names, what)
            return {key: replace(times, quoted_ms=slow * times.quoted_ms) for key, times in found.items()}

    monkeypatch.setattr(stage, "Bench", Slower)
    files = export(export_config(verified, all=True, rounds=5))
    assert all(file.manifest.within_budget for file in files)
