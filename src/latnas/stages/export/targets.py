"""Which networks an export considers for each budget: the search's choices, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from latnas.data.randomness import generator
from latnas.errors import LatnasError
from latnas.spaces.solving import cheapest, random_within
from latnas.spaces.space import Space
from latnas.stages.common.largest import largest_first, largest_within
from latnas.stages.common.limits import narrowed
from latnas.stages.export.config import ExportConfig
from latnas.words.architecture import Architecture, distinct
from latnas.words.budgets import BudgetRange, budget_name
from latnas.words.front import Front
from latnas.words.latency import LatencyModel
from latnas.words.limits import NO_LIMITS, Limits
from latnas.words.manifest import Kind

ATTEMPTS = 4
"""How many times a few candidates are measured before a budget counts as missed."""


@dataclass(frozen=True)
class Target:
    """One file to be made: a budget, who chooses, and the candidates in the order in which they are preferred.

    Attributes:
        space: within the limits of the run and of this file.
        limits: those that were asked for this file.
        suffix: ends the name of its folder.
    """

    kind: Kind
    lam: float
    budget_ms: float
    candidates: tuple[Architecture, ...]
    space: Space
    limits: Limits = NO_LIMITS
    suffix: str = ""

    @property
    def folder(self) -> str:
        """Name of its folder among the table's exports."""
        chooser = "" if self.kind == "search" else f"-{self.kind}"
        limits = self.limits.typed.replace("--", "-").replace(" ", "-")
        return budget_name(self.budget_ms) + chooser + limits + self.suffix


def make_targets(
    config: ExportConfig,
    front: Front,
    space: Space,
    latency: LatencyModel,
    certain: bool,
    exported: Iterable[float] = (),
) -> list[Target]:
    """The targets that are asked for, loosest budget first.

    Args:
        space: with the limits of the run.
        certain: only take networks whose interval's upper end is within the budget, because nothing can be measured.
        exported: budgets of earlier exports in ms: typed as latnas calls them, these are meant.

    Raises:
        UsageError: a lambda or a budget outside the run's range, or no network keeps to the limits.
    """
    spaces = [(limits, narrowed(space, limits) if limits.limited else space) for limits in config.limits]
    return [
        replace(target, limits=limits, suffix=config.form.suffix)
        for lam, budget in _budgets(config, front.budget_range, front, exported)
        for limits, own in spaces
        for target in _targets_of(config, front, own, latency, (lam, budget), certain)
    ]


def _targets_of(
    config: ExportConfig, front: Front, space: Space, latency: LatencyModel, at: tuple[float, float], certain: bool
) -> Iterator[Target]:
    """Those of one budget, `at` = (lambda, ms), in a space within all limits."""
    budget, draws = at[1], ATTEMPTS * config.finalists
    within = budget / latency.table.calibration.high if certain else budget
    fallback = _unscored(front, space, latency, within, draws)
    yield Target("search", *at, tuple(scored_within(front, space, budget, certain) or fallback), space)
    if config.baselines:
        random = generator(config.seed, "random baseline", budget_name(budget))
        drawn = random_fitting(space, latency, within, draws, random)  # where too rare to draw, the fastest
        yield Target("random", *at, tuple(drawn or fallback), space)
        most_macs = _most_macs(space, latency, within, front, draws)
        yield Target("most-macs", *at, tuple(most_macs or fallback), space)


def scored_within(front: Front, space: Space, budget_ms: float, certain: bool = False) -> list[Architecture]:
    """What the search scored, within a budget and the space's limits, the best score first."""
    fitting = [n for n in front.within(budget_ms) if not certain or n.predicted_ms.high <= budget_ms]
    return [one for one in (network.as_architecture for network in fitting) if space.keeps(one)]


def _unscored(front: Front, space: Space, latency: LatencyModel, budget: float, count: int) -> list[Architecture]:
    """What to take where nothing scored fits: the fastest that the search knows, if it keeps to the limits."""
    known = [network.as_architecture for network in front.networks[:1]]
    kept = [one for one in known if space.keeps(one)]
    return kept or largest_within(space, latency, budget, count) or cheapest(space, latency.cost, count)


def random_fitting(
    space: Space, latency: LatencyModel, budget: float, draws: int, random: torch.Generator
) -> list[Architecture]:
    """The distinct ones of `draws` random networks that are predicted to be within the budget; may be none."""
    drawn: list[Architecture] = []
    with suppress(LatnasError):  # at the tight end linear costs may be a little above all budgets
        drawn += [random_within(space, latency.cost, budget, random) for _ in range(draws)]
    return distinct(one for one in drawn if latency.predict_ms(one) <= budget)


def _budgets(
    config: ExportConfig, budgets: BudgetRange, front: Front, exported: Iterable[float]
) -> list[tuple[float, float]]:
    wanted = [(lam, budgets.budget_ms(lam)) for lam in config.lambdas]
    known = [*exported, *(choice.budget_ms for choice in front.budgets), *(ms for _, ms in wanted)]
    wanted += [(budgets.lam(ms), ms) for ms in (budgets.meant(typed, known) for typed in config.budgets_ms)]
    if config.all:
        wanted += [(choice.lam, choice.budget_ms) for choice in front.budgets]
    if not wanted:  # limits alone: the best within them at any latency of the run
        wanted = [(0.0, budgets.budget_ms(0.0))]
    by_name = {budget_name(ms): (lam, ms) for lam, ms in wanted}
    return sorted(by_name.values())


def _most_macs(space: Space, latency: LatencyModel, budget: float, front: Front, count: int) -> list[Architecture]:
    """The networks of most multiply-adds that are predicted to be within the budget, those of the front among them."""
    found = [*scored_within(front, space, budget), *largest_within(space, latency, budget, count)]
    return largest_first(found, space, latency, budget)[:count]
