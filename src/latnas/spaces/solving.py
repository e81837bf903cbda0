"""Exact questions to a space: the best architectures within a budget, the cheapest, the dearest, a random one.

Everything here keeps to the limits of the space that it is given (`Space.limited`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from latnas.errors import LatnasError
from latnas.spaces.space import SETTING, Space
from latnas.words.architecture import Architecture
from latnas.words.bounds import Limit
from latnas.words.costs import AdditiveCost
from latnas.words.limits import NO_LIMITS
from latnas.words.solver import Solver, or_nearly

NODE_LIMIT, LIMITED_NODE_LIMIT = 50_000, 5_000
"""Of the solver, without limits and within them: there it knows less of what is left, and looking on brings little."""
NOISE_NODE_LIMIT = 2_000
"""Before noise is content with a network in another spelling than its canonical one."""


def best_within(space: Space, scores: Sequence[np.ndarray], cost: AdditiveCost, budget: float) -> Architecture | None:
    """The canonical architecture of highest summed score whose cost is within `budget`; None if there is none."""
    found = best_architectures(space, scores, cost, 1, budget)
    return found[0] if found else None


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
    scores = [item_noise(len(decision.items), random) for decision in space.decisions]
    found = noisy_best_within(space, scores, cost, budget)
    if found is None:  # or the solver, which rounds costs up, passed over the few that are barely within
        found, _ = extremes(space, cost)
    if cost.cost(found) > budget:
        raise LatnasError(f"no architecture of space {space.name!r} is within {budget:.4g} {cost.unit}. Allow more.")
    return found


def noisy_best_within(
    space: Space, scores: Sequence[np.ndarray], cost: AdditiveCost, budget: float
) -> Architecture | None:
    """The best architecture within `budget` by scores with noise in them, which know no canonical form.

    That is the canonical one of highest score if the solver soon comes to it, else the best however it is written: in a
    deep network hardly any spelling that noise likes is canonical. None if there is none.
    """
    found = _best(space, scores, cost, 1, budget, (), space.allows, NOISE_NODE_LIMIT)
    return found[0] if found else best_form_within(space, scores, cost, budget)


def cheapest(space: Space, cost: AdditiveCost, count: int) -> list[Architecture]:
    """Up to `count` canonical architectures of least cost, the cheapest first."""
    return best_architectures(space, [-vector for vector in cost.vectors(SETTING)], cost, count)


def dearest(space: Space, cost: AdditiveCost, count: int) -> list[Architecture]:
    """Up to `count` canonical architectures of greatest cost, the dearest first."""
    scores = list(cost.vectors(SETTING))
    found = best_architectures(space, scores, cost, count)
    if (most := limit_on(cost, space)) < math.inf:
        found = sorted(
            {*found, *best_architectures(space, scores, cost, count, most)}, key=lambda a: (-cost.cost(a), a.key)
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


def best_architectures(
    space: Space,
    scores: Sequence[np.ndarray],
    cost: AdditiveCost,
    count: int,
    budget: float = math.inf,
    limits: Sequence[Limit] = (),
) -> list[Architecture]:
    """The canonical architectures of highest summed score whose cost is within `budget`, the best first.

    All keep to the space's limits, and to `limits` too. Where the best lie too deep among equal computations they are
    fewer than `count`, or nearly the best.
    """
    return _best(space, scores, cost, count, budget, limits, space.allows)


def best_form_within(
    space: Space, scores: Sequence[np.ndarray], cost: AdditiveCost, budget: float
) -> Architecture | None:
    """The canonical form of the valid architecture of highest summed score, in whatever way it is written.

    For scores that know no canonical form: of equal computations `best_within` sees one, which may score low. Both as
    written and in canonical form the cost is within `budget`; None if there is none.
    """

    def keeps(written: Architecture) -> bool:
        form = space.canonical(written) if space.is_valid(written) else None
        return form is not None and cost.cost(form) <= budget and space.keeps(form)

    found = _best(space, scores, cost, 1, budget, (), keeps)
    return space.canonical(found[0]) if found else None


def _best(
    space: Space,
    scores: Sequence[np.ndarray],
    cost: AdditiveCost,
    count: int,
    budget: float,
    limits: Sequence[Limit],
    allows: Callable[[Architecture], bool],
    most_nodes: int = NODE_LIMIT,
) -> list[Architecture]:
    vectors = cost.vectors(SETTING)
    if budget == math.inf:  # what nothing asks for takes no tables over 4,096 steps of it
        vectors = tuple(np.zeros_like(vector) for vector in vectors)
    solver = Solver(scores, vectors, fixed=cost.fixed(SETTING))

    def architecture(indices: Sequence[int]) -> Architecture:
        return Architecture.from_indices(SETTING, space.decisions, indices)

    solutions = solver.best_first(
        budget,
        [*space.solver_limits, *limits],
        lambda indices: allows(architecture(indices)),
        most_nodes if space.limits == NO_LIMITS else min(most_nodes, LIMITED_NODE_LIMIT),
    )
    return [architecture(solution.items) for solution in islice(or_nearly(solutions), count)]


def gumbel(shape: Sequence[int], random: torch.Generator) -> Tensor:
    """Standard Gumbel noise."""
    uniform = torch.rand(*shape, generator=random).clamp(1e-10, 1.0 - 1e-7)
    return -torch.log(-torch.log(uniform))


def item_noise(size: int, random: torch.Generator) -> np.ndarray:
    """Gumbel noise for the log-probabilities or scores of a decision's items, [I]."""
    return gumbel((size,), random).double().numpy()
