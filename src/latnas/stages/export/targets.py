"""Which networks an export considers for each budget: the search's choices, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

import torch

from latnas.data.randomness import generator
from latnas.errors import LatnasError
from latnas.hypernet.propose import random_within
from latnas.spaces.space import SETTING, Space
from latnas.stages.export.config import ExportConfig
from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange, budget_name
from latnas.words.costs import macs_cost
from latnas.words.front import Front
from latnas.words.latency import LatencyModel
from latnas.words.manifest import Kind
from latnas.words.solver import SearchGap, Solver

ATTEMPTS = 4
"""How many times a few candidates are measured before a budget counts as missed."""

SCANNED = 60
"""Solutions of the solver, whose costs are linear, that are predicted exactly."""


@dataclass(frozen=True)
class Target:
    """One file to be made: a budget, who chooses, and the candidates in the order in which they are preferred.

    `suffix` ends the name of its folder.
    """

    kind: Kind
    lam: float
    budget_ms: float
    candidates: tuple[Architecture, ...]
    suffix: str = ""

    @property
    def folder(self) -> str:
        """Name of its folder among the table's exports."""
        name = budget_name(self.budget_ms)
        return (name if self.kind == "search" else f"{name}-{self.kind}") + self.suffix


def make_targets(
    config: ExportConfig, front: Front, space: Space, latency: LatencyModel, certain: bool
) -> list[Target]:
    """The targets that are asked for, loosest budget first.

    Args:
        certain: only take networks whose interval's upper end is within the budget, because nothing can be measured.

    Raises:
        UsageError: a lambda or a budget outside the run's range.
    """
    targets = []
    draws = ATTEMPTS * config.finalists
    for lam, budget in _budgets(config, front.budget_range, front):
        fitting = [n.as_architecture for n in front.within(budget) if not certain or n.predicted_ms.high <= budget]
        targets.append(Target("search", lam, budget, tuple(fitting or [front.networks[0].as_architecture])))
        if config.baselines:
            random = generator(config.seed, "random baseline", budget_name(budget))
            drawn = random_fitting(space, latency, budget, draws, random)  # where too rare to draw, the fastest
            targets.append(Target("random", lam, budget, tuple(drawn or [front.networks[0].as_architecture])))
            targets.append(Target("most-macs", lam, budget, _most_macs(space, latency, budget, front, config)))
    return [replace(target, suffix=config.form.suffix) for target in targets]


def random_fitting(
    space: Space, latency: LatencyModel, budget: float, draws: int, random: torch.Generator
) -> list[Architecture]:
    """The distinct ones of `draws` random networks that are predicted to be within the budget; may be none."""
    drawn: list[Architecture] = []
    with suppress(LatnasError):  # at the tight end linear costs may be a little above all budgets
        drawn += [random_within(space, latency.cost, budget, random) for _ in range(draws)]
    return _distinct([one for one in drawn if latency.predict_ms(one) <= budget])


def _budgets(config: ExportConfig, budgets: BudgetRange, front: Front) -> list[tuple[float, float]]:
    wanted = [(lam, budgets.budget_ms(lam)) for lam in config.lambdas]
    wanted += [(budgets.lam(ms), ms) for ms in config.budgets_ms]
    if config.all:
        wanted += [(choice.lam, choice.budget_ms) for choice in front.budgets]
    by_name = {budget_name(ms): (lam, ms) for lam, ms in wanted}
    return sorted(by_name.values())


def _most_macs(
    space: Space, latency: LatencyModel, budget: float, front: Front, config: ExportConfig
) -> tuple[Architecture, ...]:
    """The networks of most multiply-adds that are predicted to be within the budget, those of the front among them."""
    found = [n.as_architecture for n in front.within(budget)]
    try:
        found += islice(_by_macs(space, latency, budget), SCANNED)
    except SearchGap as gap:
        raise LatnasError(f"the network with most multiply-adds within {budget:.4g} ms was not found: {gap}") from gap
    macs = macs_cost(space.trace)
    fitting = [one for one in _distinct(found) if latency.predict_ms(one) <= budget]
    fitting.sort(key=lambda one: (-macs.cost(one), latency.predict_ms(one), one.key))
    return tuple(fitting[: ATTEMPTS * config.finalists]) or (front.networks[0].as_architecture,)


def faster(space: Space, latency: LatencyModel, budget: float, count: int) -> list[Architecture]:
    """Up to `count` networks of most multiply-adds that are predicted to be within `budget`, scored or not."""
    found: list[Architecture] = []
    with suppress(SearchGap):  # what it has found by then are the best
        for one in islice(_by_macs(space, latency, budget), SCANNED):
            if latency.predict_ms(one) <= budget:
                found.append(one)
            if len(found) == count:
                break
    return found


def _by_macs(space: Space, latency: LatencyModel, budget: float) -> Iterator[Architecture]:
    """Networks by falling multiply-adds whose linear cost is within `budget`, as far as the linear cost can be trusted.

    Raises:
        SearchGap: there may be more, too deep to be found.
    """
    solver = Solver(
        macs_cost(space.trace).vectors(SETTING), latency.cost.vectors(SETTING), fixed=latency.cost.fixed(SETTING)
    )
    slack = 1.0 + 2.0 * latency.table.calibration.linear_error

    def architecture(indices: Sequence[int]) -> Architecture:
        return Architecture.from_indices(SETTING, space.decisions, indices)

    solutions = solver.best_first(
        slack * budget, space.solver_limits, accept=lambda indices: space.allows(architecture(indices))
    )
    return (architecture(solution.items) for solution in solutions)


def _distinct(architectures: Sequence[Architecture]) -> list[Architecture]:
    return list({architecture.key: architecture for architecture in architectures}.values())
