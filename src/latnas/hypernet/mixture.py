"""What a round of a search scores next: proposals of H and networks near the front, screened by the surrogate.

Candidates are many, since they cost little until they are scored. The surrogate says by how much each would better the
front at its own cost; of every stretch between two budgets the most promising are taken in turn, so that no budget is
left out. `docs/search-results.md` has the figures: of H alone, of neighbours alone, and of both.

Shapes: K known architectures, N candidates.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latnas.data.randomness import drawn_below
from latnas.hypernet.hypernetwork import Hypernetwork
from latnas.hypernet.propose import propose
from latnas.hypernet.surrogate import one_hot_items
from latnas.spaces.solving import best_within, gumbel
from latnas.spaces.space import SETTING, Space
from latnas.words.architecture import Architecture, distinct
from latnas.words.costs import AdditiveCost

PERTURBED = 2
SAMPLES = 40
ELITES = 3
CHANGED, CROSSED = 60, 20
TWO_CHANGES = 0.4
LEAST_SPREAD = 1e-6

Pairs = Sequence[tuple[float, float]]
"""Lambdas, each with its budget."""


@dataclass(frozen=True)
class Scored:
    """Everything that the judge has scored so far."""

    architectures: Sequence[Architecture]
    scores: Sequence[float]

    def best(self, fits: Callable[[Architecture], bool], count: int) -> list[Architecture]:
        """The `count` best that fit, the best first; of equal scores the first by key."""
        ranked = sorted(zip(self.scores, self.architectures, strict=True), key=lambda pair: (-pair[0], pair[1].key))
        found: list[Architecture] = []
        for _, architecture in ranked:
            if len(found) == count:
                break
            if fits(architecture):
                found.append(architecture)
        return found


def proposed(
    hypernetwork: Hypernetwork, space: Space, cost: AdditiveCost, pairs: Pairs, random: torch.Generator
) -> list[Architecture]:
    """What H yields: solved within each budget, with noise and without, and sampled at each lambda.

    Samples cost a thousandth of a solution, and may exceed the budget; where limits leave few networks, only solutions
    are sure to keep to them.
    """
    found = propose(hypernetwork, space, cost, pairs, PERTURBED, random)
    for lam, _ in pairs:
        with torch.no_grad():
            logits = hypernetwork.item_logits(torch.tensor([[lam]]))
        drawn = [(values + gumbel((SAMPLES, values.shape[1]), random)).argmax(1).tolist() for values in logits]
        found += _usable((_of_indices(indices, space) for indices in zip(*drawn, strict=True)), space)
    return found


def largest(space: Space, sizes: Sequence[AdditiveCost], cost: AdditiveCost, pairs: Pairs) -> list[Architecture]:
    """Within each budget the architecture of greatest size, by each of these: what one would take without a search."""
    each = (best_within(space, size.vectors(SETTING), cost, budget) for size in sizes for _, budget in pairs)
    return [found for found in each if found is not None]


def near(elites: Sequence[Architecture], space: Space, random: torch.Generator) -> list[Architecture]:
    """For each of the elites: changes of one or two of its decisions, and crossings with another of them."""
    found: list[Architecture] = []
    for elite in elites:
        found += _usable((changed(elite, space, random) for _ in range(CHANGED)), space)
        others = [elites[drawn_below(len(elites), random)] for _ in range(CROSSED)]
        found += _usable((crossed(elite, other, space, random) for other in others), space)
    return found


def changed(architecture: Architecture, space: Space, random: torch.Generator) -> Architecture:
    """With another item for one decision, sometimes for two; as written, so that it may be invalid."""
    indices = list(architecture.indices(space.decisions))
    for _ in range(1 + (float(torch.rand((), generator=random)) < TWO_CHANGES)):
        position = drawn_below(len(indices), random)
        indices[position] = drawn_below(len(space.decisions[position].items), random)
    return _of_indices(indices, space)


def crossed(one: Architecture, other: Architecture, space: Space, random: torch.Generator) -> Architecture:
    """Each decision as one of the two has it; as written."""
    pairs = zip(one.indices(space.decisions), other.indices(space.decisions), strict=True)
    return _of_indices([pair[drawn_below(2, random)] for pair in pairs], space)


def screened(
    candidates: Iterable[Architecture],
    surrogate: Callable[[Tensor], Tensor],
    scored: Scored,
    space: Space,
    cost: AdditiveCost,
    budgets: Sequence[float],
    fits: Callable[[Architecture, float], bool],
    count: int,
) -> list[Architecture]:
    """At most `count` candidates that are not known: from each stretch between budgets in turn the greatest gain.

    Args:
        cost: places candidates and the front; `fits` has the last word on what is within a budget. What it finds too
            slow for one is offered to the next.
    """
    known = set(scored.architectures)
    fresh = distinct(one for one in candidates if one not in known)
    if not fresh:
        return []
    with torch.no_grad():
        values_N = surrogate(one_hot_items(fresh, space.decisions)).numpy()
    costs_N = np.array([cost.cost(architecture) for architecture in fresh])
    gains_N = values_N - _best_of_no_greater_cost(scored, cost, costs_N)
    ordered = sorted(budgets)
    stretches: list[list[int]] = [[] for _ in [*ordered, None]]
    for index in np.argsort(gains_N, kind="stable").tolist():
        stretches[int(np.searchsorted(ordered, costs_N[index]))].append(index)
    chosen: list[Architecture] = []
    while len(chosen) < count and any(stretches[:-1]):
        for number, budget in enumerate(ordered):
            while stretches[number] and len(chosen) < count:
                index = stretches[number].pop()
                if fits(fresh[index], budget):
                    chosen.append(fresh[index])
                    break
                insort(stretches[number + 1], index, key=gains_N.__getitem__)
    return chosen


def _best_of_no_greater_cost(scored: Scored, cost: AdditiveCost, costs_N: np.ndarray) -> np.ndarray:
    """[N]: the best standardised score known at each cost or below; below the cheapest, the cheapest's."""
    scores_K = np.array(scored.scores)
    scores_K = (scores_K - scores_K.mean()) / max(float(scores_K.std(ddof=1)), LEAST_SPREAD)
    costs_K = np.array([cost.cost(architecture) for architecture in scored.architectures])
    order = np.argsort(costs_K, kind="stable")
    front_K = np.maximum.accumulate(scores_K[order])
    best_N: np.ndarray = front_K[np.maximum(np.searchsorted(costs_K[order], costs_N, side="right") - 1, 0)]
    return best_N


def _usable(written: Iterable[Architecture], space: Space) -> list[Architecture]:
    """The valid ones, canonical, within the space's limits."""
    canonical = [space.canonical(architecture) for architecture in written if space.is_valid(architecture)]
    return [architecture for architecture in canonical if space.keeps(architecture)]


def _of_indices(indices: Sequence[int], space: Space) -> Architecture:
    return Architecture.from_indices(SETTING, space.decisions, indices)
