"""Proposals by perturb-and-solve: noise on the items' log-probabilities, then the solver within the budget.

That gives diverse, valid architectures inside the budget, where the most probable ones of a product distribution are
near-duplicates. Without noise and probabilities the same gives random architectures, and exact extremes of a cost.
Everything here keeps to the limits of the space that it is given (`Space.limited`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from latnas.hypernet.hypernetwork import Hypernetwork
from latnas.spaces.solving import best_form_within, item_noise
from latnas.spaces.space import Space
from latnas.words.architecture import Architecture, distinct
from latnas.words.costs import AdditiveCost


def propose(
    hypernetwork: Hypernetwork,
    space: Space,
    cost: AdditiveCost,
    lambdas_and_budgets: Sequence[tuple[float, float]],
    draws: int,
    random: torch.Generator,
) -> list[Architecture]:
    """Distinct proposals: for each (lambda, budget) the likeliest architecture, and `draws` perturbed ones.

    H does not know which of several equal architectures is the canonical one, so each is solved for as H would write
    it.
    """
    found: list[Architecture] = []
    for lam, budget in lambdas_and_budgets:
        log_probabilities = hypernetwork.item_log_probabilities(lam)
        for draw in range(draws + 1):
            scores = [values + (item_noise(len(values), random) if draw else 0.0) for values in log_probabilities]
            proposal = best_form_within(space, scores, cost, budget)
            if proposal is not None:
                found.append(proposal)
    return distinct(found)
