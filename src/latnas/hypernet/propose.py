"""Proposals by perturb-and-solve: noise on the items' log-probabilities, then the solver within the budget.

That gives diverse, valid architectures inside the budget, where the most probable ones of a product distribution are
near-duplicates. Without noise and probabilities the same gives random architectures, and exact extremes of a cost.
Everything here keeps to the limits of the space that it is given (`Space.limited`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch

from latnas.errors import LatnasError
from latnas.hypernet.hypernetwork import Hypernetwork, gumbel
from latnas.spaces.space import SETTING, Space
from latnas.words.architecture import Architecture
from latnas.words.costs import AdditiveCost
from latnas.words.limits import NO_LIMITS
from latnas.words.solver import Solver, or_nearly

NODE_LIMIT, LIMITED_NODE_LIMIT = 50_000, 5_000
"""Of the solver, without limits and within them: there it knows less of what is left, and looking on brings little."""


def best_within(space: Space, scores: Sequence[np.ndarray], cost: AdditiveCost, budget: float) -> Architecture | None:
    """The canonical architecture of highest summed score whose cost is within `budget`; None if there is none."""
    found = _of_highest_score(space, scores, cost, 1, budget)
    return found[0] if found else None


def propose(
    hypernetwork: Hypernetwork,
    space: Space,
    cost: AdditiveCost,
    lambdas_and_budgets: Sequence[tuple[float, float]],
    draws: int,
    random: torch.Generator,
) -> list[Architecture]:
    """Distinct proposals: for each (lambda, budget) the likeliest architecture, and `draws` perturbed ones."""
    found: dict[str, Architecture] = {}
    for lam, budget in lambdas_and_budgets:
        log_probabilities = hypernetwork.item_log_probabilities(lam)
        for draw in range(draws + 1):
            scores = [values + (_noise(len(values), random) if draw else 0.0) for values in log_probabilities]
            proposal = best_within(space, scores, cost, budget)
            if proposal is not None:
                found.setdefault(proposal.key, proposal)
    return list(found.values())


def random_within(
    space: Space, cost: AdditiveCost, budget: float, random: torch.Generator, draws: int = 2000
) -> Architecture:
    """A random valid architecture within `budget`: uniform where that is not too rare, else solved under pure noise.

    Raises:
        LatnasError: no architecture is within the budget.
    """
    for _ in range(draws):
        drawn = space.random(random)
        if cost.cost(drawn) <= budget and space.keeps(drawn):
            return drawn
    scores = [_noise(len(decision.items), random) for decision in space.decisions]
    found = best_within(space, scores, cost, budget)
    if found is None:  # or the solver, which rounds costs up, passed over the few that are barely within
        found, _ = extremes(space, cost)
    if cost.cost(found) > budget:
        raise LatnasError(f"no architecture of space {space.name!r} is within {budget:.4g} {cost.unit}. Allow more.")
    return found


def cheapest(space: Space, cost: AdditiveCost, count: int) -> list[Architecture]:
    """Up to `count` canonical architectures of least cost, the cheapest first."""
    return _of_highest_score(space, [-vector for vector in cost.vectors(SETTING)], cost, count)


def dearest(space: Space, cost: AdditiveCost, count: int) -> list[Architecture]:
    """Up to `count` canonical architectures of greatest cost, the dearest first."""
    scores = list(cost.vectors(SETTING))
    found = _of_highest_score(space, scores, cost, count)
    if (most := limit_on(cost, space)) < math.inf:
        found = sorted(
            {*found, *_of_highest_score(space, scores, cost, count, most)}, key=lambda a: (-cost.cost(a), a.key)
        )
    return found[:count]


def limit_on(cost: AdditiveCost, space: Space) -> float:
    """The space's limit on this very cost; infinite where it has none.

    As its budget a solver knows the limit but for 1/4096 of the range, and has no trouble with sums just below it.
    """
    vectors = cost.vectors(SETTING)
    same = (limit.most for limit in space.solver_limits if all(map(np.array_equal, limit.costs, vectors)))
    return min(same, default=math.inf)


def extremes(space: Space, cost: AdditiveCost) -> tuple[Architecture, Architecture]:
    """The cheapest and the dearest canonical architecture: the ends of the reachable range."""
    low, high = cheapest(space, cost, 1), dearest(space, cost, 1)
    if not low or not high:
        why = "" if space.limits == NO_LIMITS else " within the limits: loosen them"
        raise LatnasError(f"space {space.name!r} has no valid architecture{why}.")
    return low[0], high[0]


def _of_highest_score(
    space: Space, scores: Sequence[np.ndarray], cost: AdditiveCost, count: int, budget: float = math.inf
) -> list[Architecture]:
    """The canonical architectures of highest summed score whose cost is within `budget`, and the space's limits."""
    solver = Solver(scores, cost.vectors(SETTING), fixed=cost.fixed(SETTING))

    def accept(indices: tuple[int, ...]) -> bool:
        return space.allows(Architecture.from_indices(SETTING, space.decisions, indices))

    # Where the best canonical ones lie too deep among equal computations there are fewer.
    solutions = or_nearly(solver.best_first(budget, space.solver_limits, accept, node_limit(space)))
    return [Architecture.from_indices(SETTING, space.decisions, one.items) for one in islice(solutions, count)]


def node_limit(space: Space) -> int:
    """How many partial solutions are looked at before nearly the best have to do."""
    return NODE_LIMIT if space.limits == NO_LIMITS else LIMITED_NODE_LIMIT


def _noise(size: int, random: torch.Generator) -> np.ndarray:
    return gumbel((size,), random).double().numpy()
