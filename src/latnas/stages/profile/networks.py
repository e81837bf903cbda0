"""Which whole networks are measured: random ones, and ones near the front that a search will use.

A search picks what the model under-predicts, so intervals earned on random networks alone do not hold for what it
picks. The front is not known yet; many parameters and multiply-adds for their latency come near it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import nn

from latnas.data.randomness import drawn_below
from latnas.errors import LatnasError
from latnas.latency.calibration import LEAST_NETWORKS
from latnas.latency.design import most_informative
from latnas.latency.problem import Sample
from latnas.spaces.operations import Nothing
from latnas.spaces.solving import extremes, item_noise, noisy_best_within
from latnas.spaces.space import SETTING, Space
from latnas.words.architecture import Architecture, distinct
from latnas.words.costs import AdditiveCost, PartCosts, macs_cost, params_cost, rough_work

Drawn = Literal["end", "random", "front"]
Contexts = Callable[[Architecture], Mapping[str, float]]

CANDIDATES = 100
"""Networks of either kind that those to be measured are chosen from. With 60 they are as good, with 40 worse."""

DRAWS_IN_VAIN = 200
NOISE = 0.5
"""Gumbel noise on scores, in units of their mean deviation within a decision: diverse, and still near the front."""

ANCHORS = 9
PROBES = 3
PROBE_DRAWS = 300
LEAST_DEAD = 0.15


@dataclass(frozen=True)
class DrawnNetwork:
    """A network to measure, and how it came in."""

    architecture: Architecture
    drawn: Drawn


@dataclass(frozen=True)
class Chosen:
    """Networks to calibrate on, and those that they were chosen from: what predictions will be wanted for."""

    measured: tuple[DrawnNetwork, ...]
    typical: tuple[DrawnNetwork, ...]


def calibration_networks(
    space: Space, prior: PartCosts, contexts: Contexts, count: int, random: torch.Generator
) -> Chosen:
    """The cheapest and the dearest network, then random ones and ones near the front, half of each.

    The ends are in, because a budget range begins and ends there, and a fit extrapolates badly. Of more random
    networks, and more near the front, than are wanted the most informative are taken.

    Raises:
        LatnasError: the space has fewer distinct architectures.
    """
    cost = prior.of_items("ms")
    ends = [DrawnNetwork(architecture, "end") for architecture in distinct(extremes(space, cost))]
    known = [one.architecture for one in ends]
    front = near_front(space, cost, max(CANDIDATES, count), random, known)
    drawn = [*ends, *front, *at_random(space, max(CANDIDATES, count), random, known)]
    sample = sample_of([one.architecture for one in drawn], contexts)
    chosen = list(range(len(ends)))
    chosen += most_informative(
        sample, prior, chosen, range(len(ends), len(ends) + len(front)), (count - len(ends)) // 2
    )
    keys = {drawn[position].architecture.key for position in chosen}
    others = [n for n in range(len(ends) + len(front), len(drawn)) if drawn[n].architecture.key not in keys]
    chosen += most_informative(sample, prior, chosen, others, count - len(chosen))
    if len(chosen) < LEAST_NETWORKS:
        raise LatnasError(
            f"space {space.name!r} has {len(chosen)} distinct networks, too few to calibrate on: measure them by "
            "export."
        )
    if len(chosen) < count:
        raise LatnasError(
            f"space {space.name!r} gave {len(chosen)} distinct networks, and then no new one in {DRAWS_IN_VAIN} draws; "
            f"use --calibrate {len(chosen)} or fewer."
        )
    return Chosen(tuple(drawn[position] for position in chosen), tuple(drawn[len(ends) :]))


def candidates(count: int) -> int:
    """How many networks `count` to calibrate on are chosen from, in a space that has so many."""
    return 2 + 2 * max(CANDIDATES, count)


def sample_of(networks: Sequence[Architecture], contexts: Contexts) -> Sample:
    """The networks with what is merged in each."""
    return Sample(tuple(networks), tuple(contexts(network) for network in networks))


def at_random(space: Space, count: int, random: torch.Generator, without: Sequence[Architecture]) -> list[DrawnNetwork]:
    """Up to `count` distinct random networks, none of them in `without`."""
    return _distinct(lambda: space.random(random), "random", count, without)


def near_front(
    space: Space, cost: AdditiveCost, count: int, random: torch.Generator, without: Sequence[Architecture]
) -> list[DrawnNetwork]:
    """Up to `count` distinct networks with much in them for their cost, over the whole range of costs.

    Perturb and solve: a random mixture of parameters and multiply-adds, and noise, to be maximised within a budget.
    """
    cheapest, dearest = (cost.cost(architecture) for architecture in extremes(space, cost))
    scores = [_normalised(model.vectors(SETTING)) for model in (params_cost(space.trace), macs_cost(space.trace))]

    def draw() -> Architecture | None:
        position, share = torch.rand(2, generator=random).tolist()
        budget = cheapest + (dearest - cheapest) * position**2  # more of the tight budgets: they are the hard ones
        mixed = [
            share * one + (1 - share) * other + NOISE * item_noise(len(one), random)
            for one, other in zip(*scores, strict=True)
        ]
        return noisy_best_within(space, mixed, cost, budget)

    return _distinct(draw, "front", count, without)


def _distinct(
    draw: Callable[[], Architecture | None], drawn: Drawn, count: int, without: Sequence[Architecture]
) -> list[DrawnNetwork]:
    """Draws until there are `count` new ones, or many draws in a row have brought nothing new."""
    keys = {architecture.key for architecture in without}
    found: list[DrawnNetwork] = []
    in_vain = 0
    while len(found) < count and in_vain < DRAWS_IN_VAIN:
        architecture = draw()
        if architecture is None or architecture.key in keys:
            in_vain += 1
            continue
        keys.add(architecture.key)
        found.append(DrawnNetwork(architecture, drawn))
        in_vain = 0
    return found


def anchor_network(space: Space, random: torch.Generator) -> Architecture:
    """A network of middling work: the median of a few random ones."""
    work = rough_work(space.trace)
    drawn = sorted((space.random(random) for _ in range(ANCHORS)), key=lambda one: (work.cost(one), one.key))
    return drawn[ANCHORS // 2]


def probe_networks(space: Space, cost: AdditiveCost, random: torch.Generator) -> list[Architecture]:
    """Up to three networks of which much does not reach the output: their canonical forms cost a good deal less."""
    found: dict[str, tuple[float, Architecture]] = {}
    for _ in range(PROBE_DRAWS):
        indices = [drawn_below(len(d.items), random) for d in space.decisions]
        raw = Architecture.from_indices(SETTING, space.decisions, indices)
        if space.is_valid(raw):
            dead = 1.0 - cost.cost(space.canonical(raw)) / cost.cost(raw)
            if dead > LEAST_DEAD:
                found[raw.key] = (dead, raw)
    ranked = sorted(found.values(), key=lambda pair: (-pair[0], pair[1].key))
    supernet = space.network(seed=0)
    running = (raw for _, raw in ranked if _runs_all_of_it(space.derive_as_written(supernet, raw), space))
    return list(islice(running, PROBES))


def _runs_all_of_it(network: nn.Module, space: Space) -> bool:
    """Whether every module runs: dead parts that nothing reaches do not, and would prove nothing."""
    waiting = {module for module in network.modules() if not (list(module.children()) or isinstance(module, Nothing))}

    def ran(module: nn.Module, *_: object) -> None:
        waiting.discard(module)

    hooks = [module.register_forward_hook(ran) for module in tuple(waiting)]
    with torch.no_grad():
        network.eval()(space.example())
    for hook in hooks:
        hook.remove()
    return not waiting


def _normalised(vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
    deviation = float(np.mean([vector.std() for vector in vectors]))
    return [vector / max(deviation, 1e-12) for vector in vectors]
