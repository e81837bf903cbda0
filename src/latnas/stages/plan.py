"""Stage `plan`: what a search and an export could reach here and would take, before anything costly runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from latnas.data.images import ImageData
from latnas.data.randomness import generator
from latnas.data.sources import DEFAULT, load_images
from latnas.errors import UsageError
from latnas.ranking.features import Reduction
from latnas.spaces.solving import cheapest
from latnas.spaces.space import Space, make_space
from latnas.stages.common.estimate import (
    ExportSizes,
    SearchSeconds,
    export_seconds,
    profile_seconds,
    search_seconds,
    time_steps,
)
from latnas.stages.common.limits import PLAN, check_enough, end_networks, ends_of, limited_space
from latnas.stages.common.options import SearchOptions, WithTrainings, typed
from latnas.stages.common.reach import budget_range, predicted_ends
from latnas.stages.common.tables import (
    FOLDER,
    check_images,
    find_table,
    fitting_tables,
    latency_of,
    only_one,
    space_of,
    why_not,
    why_stale,
    written_to,
)
from latnas.training.devices import check_trainable
from latnas.training.tasks import one_thread
from latnas.words.architecture import Architecture, distinct
from latnas.words.budgets import parse_range
from latnas.words.costs import params_cost
from latnas.words.latency import LatencyModel
from latnas.words.limits import NO_LIMITS, Amounts, Limits, Resource
from latnas.words.reporting import Reporter, Silent
from latnas.words.table import LatencyTable

DEFAULT_SPACE = "nasbench201"
DRAWS = 500
LATENCY_DRAWS = 100
"""Fewer: predicting the latency of a large network takes 30 ms."""

PROFILED_NETWORKS, PROFILE_SECONDS = 40, 180.0
"""What `latnas profile` measures by default, and for how long at most."""


class PlanConfig(WithTrainings, SearchOptions):
    """A search and an export that might follow. `width` and `depth` choose among tables, or a space without a table."""

    space: str | None = None
    width: int | None = None
    depth: int | None = None
    data: str = DEFAULT
    table: Path | None = None
    tables: Path = FOLDER
    seeds: int = Field(1, ge=1, le=100)
    distill: bool = False
    baselines: bool = False
    int8: bool = False
    seed: int = Field(0, ge=0, lt=2**63)

    def sizes(self, data: ImageData) -> ExportSizes:
        """Of the export: a network for each budget, three with baselines."""
        images, tested = len(data.train), len(data.test)
        networks = self.budgets * (3 if self.baselines else 1)
        return ExportSizes(networks, self.epochs, images, tested, self.seeds, self.distill, self.int8)


@dataclass(frozen=True)
class Share:
    """How many of some random networks a budget or a limit leaves."""

    left: int
    drawn: int


@dataclass(frozen=True)
class Reach:
    """The ends of every resource over a set of networks, each by itself; `latency_ms` is None without a table."""

    least: Amounts
    most: Amounts
    latency_ms: tuple[float, float] | None


@dataclass(frozen=True)
class Seconds:
    """Estimates for this machine, each of the stage as a whole; `profile` is 0 where a table is there."""

    profile: float
    search: SearchSeconds
    export: float

    @property
    def total(self) -> float:
        """All stages."""
        return self.profile + self.search.total + self.export


@dataclass(frozen=True)
class Planned:
    """What is reachable and what it would take.

    `within` is what the limits leave, `all_limits` how many random networks keep to all of them; both are None where
    there are no limits. `budgets` are in ms, the loosest first; empty without a table.
    """

    space: Space
    data: str
    table: tuple[Path, LatencyTable] | None
    stale: str | None
    whole: Reach
    within: Reach | None
    budgets: tuple[tuple[float, Share], ...]
    limits: tuple[tuple[Resource, int, Share], ...]
    all_limits: Share | None
    config: PlanConfig
    seconds: Seconds


def plan(config: PlanConfig, report: Reporter | None = None) -> Planned:
    """Looks at the space, the table and this machine for some seconds; writes nothing.

    Raises:
        UsageError: several tables fit, the named one does not, the range or a limit is out of reach, or nothing can be
            trained on what was asked for.
        LatnasError: a file is broken.
    """
    report = report or Silent()
    parse_range(config.budget_range)
    check_trainable(config.train_on)
    data = load_images(config.data)
    table = _table(config, data)
    stale = None if table is None else why_stale(table[1])
    if stale is not None:
        report.warn(f"the table was not measured under the conditions here: {stale}")
    named = "unknown" if table is None else table[1].name
    whole = limited_space(_space(config, table, data), NO_LIMITS, data.classes, named)
    space = limited_space(whole, config.limits, data.classes, named, PLAN)
    check_enough(space, PLAN)
    latency = None if table is None else latency_of(table[1], whole)
    if latency is None:
        measure, why = measured_by(config, whole), why_not(config.tables, config.space, data)
        report.warn(f"no latency table fits, so that budgets are left out. Measure one: {measure}{why}")
    with report.bar("planning") as bar, one_thread():
        ends = end_networks(whole)
        random = generator(config.seed, "plan")
        drawn = [whole.random(random) for _ in range(DRAWS)]
        reach = _reach(whole, ends, latency)
        bar.update(1, 4, "reachable ranges")
        within = (
            None
            if config.limits == NO_LIMITS
            else _reach(space, _networks_within(config, space, [*ends, *drawn]), latency)
        )
        bar.update(2, 4, "within the limits")
        budgets = () if latency is None else _budgets(config, space, latency, drawn)
        limits, all_limits = _limits(config.limits, whole, drawn)
        bar.update(3, 4, "random networks")
        seconds = _seconds(config, space, data, has_table=table is not None)
        bar.update(4, 4, "timed steps")
    return Planned(whole, data.name, table, stale, reach, within, budgets, limits, all_limits, config, seconds)


def measured_by(config: PlanConfig, space: Space) -> str:
    """The command that measures a table for this plan, where none fits."""
    which = f"--space {space.name} --width {space.options.width} --depth {space.options.depth}"
    return typed(f"latnas profile {which}", config, "data") + written_to(config.tables)


def _table(config: PlanConfig, data: ImageData) -> tuple[Path, LatencyTable] | None:
    """The table that a search would take; None if none fits."""
    if config.table is None:
        fitting = [
            found for found in fitting_tables(config.space, data, config.tables) if not _differs(config, found[1])
        ]
        return only_one(fitting, config.space) if fitting else None
    path, table = find_table(config.table, config.space, data, config.tables)
    check_images(table, data)
    if _differs(config, table):
        raise UsageError(
            f"the table {table.name} is for {table.space} with width {table.options['width']} and depth "
            f"{table.options['depth']}. Leave out --space, --width and --depth, or name another table."
        )
    return path, table


def _differs(config: PlanConfig, table: LatencyTable) -> bool:
    """Whether the table is for another space, width or depth than was asked for."""
    asked = (config.space, config.width, config.depth)
    there = (table.space, table.options["width"], table.options["depth"])
    return any(wanted is not None and wanted != is_there for wanted, is_there in zip(asked, there, strict=True))


def _space(config: PlanConfig, table: tuple[Path, LatencyTable] | None, data: ImageData) -> Space:
    if table is not None:
        return space_of(table[1])
    return make_space(
        config.space or DEFAULT_SPACE, width=config.width, depth=config.depth,
        image_size=data.size, channels=data.channels, classes=len(data.classes),
    )  # fmt: skip


def _networks_within(config: PlanConfig, space: Space, known: Sequence[Architecture]) -> list[Architecture]:
    """Networks within the limits whose amounts span what the limits leave.

    Exact ends under a limit on memory, which does not add up, can take a minute to find. Those of the whole space, the
    random networks of the plan and the fewest parameters then stand for them.
    """
    if config.limits.memory_bytes is None:
        return end_networks(space)
    candidates = [*known, *cheapest(space, params_cost(space.trace), 1)]
    return [one for one in distinct(candidates) if space.keeps(one)]


def _reach(space: Space, networks: Sequence[Architecture], latency: LatencyModel | None) -> Reach:
    amounts = ends_of([space.amounts(one) for one in networks])
    assert amounts is not None, "limited_space has refused limits that leave nothing"
    if latency is None:
        return Reach(*amounts, None)
    fastest, slowest = predicted_ends(space, latency)
    return Reach(*amounts, (latency.predict_ms(fastest), latency.predict_ms(slowest)))


def _budgets(
    config: PlanConfig, space: Space, latency: LatencyModel, drawn: Sequence[Architecture]
) -> tuple[tuple[float, Share], ...]:
    """Each budget of the search, with how many random networks are predicted to be within it."""
    budgets = budget_range(config.budget_range, space, latency, PLAN)
    predicted = [latency.predict_ms(one) for one in drawn[:LATENCY_DRAWS]]
    wanted = [budgets.budget_ms(lam) for lam in budgets.spread(config.budgets)]
    return tuple((budget, Share(sum(ms <= budget for ms in predicted), len(predicted))) for budget in wanted)


def _limits(
    limits: Limits, space: Space, drawn: Sequence[Architecture]
) -> tuple[tuple[tuple[Resource, int, Share], ...], Share | None]:
    """Each limit with how many random networks it leaves by itself, and how many all limits leave together."""
    if limits == NO_LIMITS:
        return (), None
    amounts = [space.amounts(one) for one in drawn]
    each = []
    for resource in limits.limited:
        most = limits.most(resource) or 0
        each.append((resource, most, Share(sum(one.of(resource) <= most for one in amounts), len(amounts))))
    return tuple(each), Share(sum(limits.allow(one) for one in amounts), len(amounts))


def _seconds(config: PlanConfig, space: Space, data: ImageData, has_table: bool) -> Seconds:
    each = time_steps(space, data, Reduction(config.reduced_width, config.reduced_size), train_on=config.train_on)
    operations = len(space.trace.operations)
    return Seconds(
        0.0 if has_table else profile_seconds(operations, PROFILED_NETWORKS, PROFILE_SECONDS),
        search_seconds(config, each, config.workers),
        export_seconds(config.sizes(data), each, config.workers),
    )
