"""Proposals against all 15,625 cells of NAS-Bench-201."""

from __future__ import annotations

import math

import pytest
import torch
from brute_force import CELLS, costs_of, everything, everything_written, random_cost, scores_of, space_called, within

from latnas.data.randomness import generator
from latnas.hypernet.hypernetwork import Hypernetwork
from latnas.hypernet.propose import propose


@pytest.mark.parametrize("name", ["nasbench201", "mbconv"])
def test_proposals_are_distinct_canonical_valid_and_within_their_budgets(name: str) -> None:
    space = space_called(name)
    cost = random_cost(space, 2)
    costs = costs_of(cost, everything(name))
    hypernetwork = Hypernetwork(space.decisions, seed=0)
    draws = 7
    for share in (0.0, 0.2, 0.9):
        budget = float(costs.min() + share * (costs.max() - costs.min())) * (1 + 1e-9)
        found = propose(hypernetwork, space, cost, [(1 - share, budget)], draws, generator("propose"))
        assert 1 <= len(found) <= draws + 1
        assert len({proposal.key for proposal in found}) == len(found)
        assert all(space.is_canonical(p) and within(cost, p, budget) for p in found)
    assert len(found) >= draws  # near uniform probabilities: hardly any proposal comes twice


def test_the_first_proposal_is_the_likeliest_architecture_and_noise_finds_others() -> None:
    hypernetwork = Hypernetwork(CELLS.decisions, seed=0)
    with torch.no_grad():
        hypernetwork.layers[-1].weight.mul_(30)
    written = [one for one in everything_written() if CELLS.is_valid(one)]
    rewritten = 0
    for lam in (0.0, 0.25, 0.5, 0.75, 1.0):
        scores = scores_of(hypernetwork.item_log_probabilities(lam), written, CELLS)
        likeliest = written[int(scores.argmax())]
        found = propose(hypernetwork, CELLS, random_cost(CELLS, 3), [(lam, math.inf)], 10, generator("noise"))
        assert found[0] == CELLS.canonical(likeliest)
        assert len(found) > 3
        rewritten += found[0] != likeliest
    assert rewritten


def test_proposals_without_noise_need_no_luck_and_with_it_are_a_function_of_the_generator() -> None:
    hypernetwork, cost = Hypernetwork(CELLS.decisions, seed=0), random_cost(CELLS, 4)
    pairs = [(0.0, 20.0), (1.0, 9.0)]
    first = propose(hypernetwork, CELLS, cost, pairs, 5, generator(1))
    torch.rand(5)
    assert propose(hypernetwork, CELLS, cost, pairs, 5, generator(1)) == first
    assert propose(hypernetwork, CELLS, cost, pairs, 5, generator(2)) != first
    assert propose(hypernetwork, CELLS, cost, pairs, 0, generator(1)) == propose(
        hypernetwork, CELLS, cost, pairs, 0, generator(2)
    )


def test_a_budget_out_of_reach_gives_no_proposal_and_leaves_the_others() -> None:
    hypernetwork, cost = Hypernetwork(CELLS.decisions, seed=0), random_cost(CELLS, 5)
    found = propose(hypernetwork, CELLS, cost, [(1.0, 0.1), (0.0, math.inf)], 2, generator(0))
    assert found
    assert propose(hypernetwork, CELLS, cost, [(1.0, 0.1)], 2, generator(0)) == []
