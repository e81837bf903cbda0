"""The methods that benchmarks/proposers.py compares. Each sees what was scored so far and names what to score next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import count as counting

import numpy as np
import torch
from torch import Tensor, nn

from latnas.data.images import LabelledImages
from latnas.data.randomness import drawn_below, generator
from latnas.hypernet.hypernetwork import Hypernetwork
from latnas.hypernet.learn import Learner, Learning
from latnas.hypernet.mixture import ELITES, Scored, changed, crossed, near, proposed, screened
from latnas.hypernet.surrogate import fit_surrogate
from latnas.spaces.solving import random_within
from latnas.spaces.space import Space
from latnas.words.architecture import Architecture, Decision
from latnas.words.budgets import BudgetRange
from latnas.words.costs import AdditiveCost, macs_cost, params_cost

LAMBDAS = 9
STEPS = 100
ATTEMPTS = 50
POPULATION, OFFSPRING = 40, 20
UNIFORM_DRAWS = 20
ALPHAS_LEARNING_RATE = 0.8
"""Of 0.02 to 1 nearly the best that was tried: alphas are the parameters themselves, not a perceptron's output."""

NOTHING = LabelledImages(torch.zeros(0, 3, 8, 8, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
"""The judge is fixed, so that H learns from the surrogate alone."""


@dataclass(frozen=True)
class Problem:
    """One table: a space, its latency, the range of budgets."""

    space: Space
    cost: AdditiveCost
    budgets: BudgetRange
    seed: int

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """As many lambdas as a search for five budgets proposes for, with their budgets."""
        return [(lam, self.budgets.budget_ms(lam)) for lam in self.budgets.spread(LAMBDAS)]

    def fits(self, architecture: Architecture, budget: float) -> bool:
        return self.cost.cost(architecture) <= budget

    def best(self, scored: Scored, budget: float, count: int) -> list[Architecture]:
        """The best within a budget."""
        return scored.best(lambda architecture: self.fits(architecture, budget), count)


Method = Callable[[Scored, int], list[Architecture]]
"""Given what is known, up to so many architectures to score next."""


class Alphas(Hypernetwork):
    """No hypernetwork: architecture parameters for each of the budgets, that share nothing."""

    def __init__(self, decisions: Sequence[Decision], seed: int) -> None:
        super().__init__(decisions, seed)
        self.layers = nn.Sequential()
        self.alpha_BP = nn.Parameter(torch.zeros(LAMBDAS, self.incidence_IP.shape[1]))

    def forward(self, condition_MC: Tensor) -> Tensor:
        return self.alpha_BP[(condition_MC[:, 0] * (LAMBDAS - 1)).round().long()]

    def draw_lambdas(self, count: int, random: torch.Generator) -> Tensor:
        return torch.arange(count) % LAMBDAS / (LAMBDAS - 1)


def at_random(problem: Problem) -> Method:
    """Random networks within each of the budgets in turn."""
    numbers = counting()

    def method(scored: Scored, count: int) -> list[Architecture]:
        found = []
        for _ in range(count):
            number = next(numbers)
            budget = problem.pairs[number % LAMBDAS][1]
            random = generator(problem.seed, "random", number)
            found.append(random_within(problem.space, problem.cost, budget, random, UNIFORM_DRAWS))
        return found

    return method


def local_search(problem: Problem) -> Method:
    """For each budget in turn, a valid change of the best within it that is not known yet."""
    numbers = counting()

    def method(scored: Scored, count: int) -> list[Architecture]:
        random = generator(problem.seed, "local", next(numbers))
        found: dict[str, Architecture] = {}
        known = {architecture.key for architecture in scored.architectures}
        for _, budget in problem.pairs:
            for parent in problem.best(scored, budget, 1):
                child = _fresh(partial(changed, parent, problem.space, random), problem, budget, known | found.keys())
                found |= {child.key: child} if child is not None else {}
        return list(found.values())[:count]

    return method


def _fresh(draw: Callable[[], Architecture], problem: Problem, budget: float, known: Set[str]) -> Architecture | None:
    """The first draw that is valid, within the budget, and not known."""
    for _ in range(ATTEMPTS):
        child = draw()
        if problem.space.is_valid(child):
            child = problem.space.canonical(child)
            if child.key not in known and problem.fits(child, budget):
                return child
    return None


def nsga2(problem: Problem) -> Method:
    """Parents by fronts of dominance, then crowding; binary tournaments, uniform crossover, mutation.

    Source: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (2002). Survivors come from
    everything that was scored.
    """
    numbers = counting()

    def method(scored: Scored, count: int) -> list[Architecture]:
        random = generator(problem.seed, "nsga", next(numbers))
        slowest = problem.budgets.slowest_ms
        inside = [i for i, one in enumerate(scored.architectures) if problem.fits(one, slowest)]
        points = np.array([[problem.cost.cost(scored.architectures[i]), -scored.scores[i]] for i in inside])
        points[:, 0] = np.log(points[:, 0])
        parents = [scored.architectures[inside[i]] for i in by_dominance_and_crowding(points)[:POPULATION]]
        known = {architecture.key for architecture in scored.architectures}
        found: dict[str, Architecture] = {}
        for _ in range(min(OFFSPRING, count)):
            child = _fresh(partial(_child, parents, problem.space, random), problem, slowest, known | found.keys())
            found |= {child.key: child} if child is not None else {}
        return list(found.values())

    return method


def _child(parents: Sequence[Architecture], space: Space, random: torch.Generator) -> Architecture:
    one, other = (parents[min(drawn_below(len(parents), random), drawn_below(len(parents), random))] for _ in range(2))
    indices = list(crossed(one, other, space, random).indices(space.decisions))
    for position, decision in enumerate(space.decisions):
        if drawn_below(len(indices), random) == 0:
            indices[position] = drawn_below(len(decision.items), random)
    return Architecture.from_indices(one.setting, space.decisions, indices)


def by_dominance_and_crowding(points: np.ndarray) -> list[int]:
    """All points, the first front first; within a front the least crowded first. Both columns are to be small."""
    left = np.arange(len(points))
    ordered: list[int] = []
    while len(left):
        cheap_first = left[np.lexsort((points[left, 1], points[left, 0]))]
        best, front = np.inf, []
        for index in cheap_first:
            if points[index, 1] < best:
                best = points[index, 1]
                front.append(int(index))
        spread = np.maximum(np.ptp(points[front], axis=0), 1e-12)
        crowding = np.full(len(front), np.inf)
        for i in range(1, len(front) - 1):
            crowding[i] = float((np.abs(points[front[i + 1]] - points[front[i - 1]]) / spread).sum())
        ordered += [front[i] for i in np.argsort(-crowding, kind="stable")]
        left = np.setdiff1d(left, front)
    return ordered


def learnt(problem: Problem, proposer: Hypernetwork | None, neighbours: bool) -> Method:
    """Rounds as in a search: fit the surrogate, let `proposer` learn from it, screen what it and the front yield."""
    numbers = counting()
    rate = ALPHAS_LEARNING_RATE if isinstance(proposer, Alphas) else Learning.learning_rate
    learning = Learning(steps=STEPS, learning_rate=rate)
    learner = Learner(problem.space, problem.cost, problem.budgets, learning, problem.seed, proposer)
    sizes = [params_cost(problem.space.trace), macs_cost(problem.space.trace)]

    def method(scored: Scored, count: int) -> list[Architecture]:
        number = next(numbers)
        random = generator(problem.seed, "proposals", number)
        surrogate = fit_surrogate(scored.architectures, scored.scores, problem.space.decisions, sizes)
        candidates: list[Architecture] = []
        if proposer is not None:
            for step in range(number * STEPS, (number + 1) * STEPS):
                learner.step(step, surrogate, None, NOTHING)
            candidates += proposed(proposer, problem.space, problem.cost, problem.pairs, random)
        if neighbours:
            elites = {a.key: a for _, budget in problem.pairs for a in problem.best(scored, budget, ELITES)}
            candidates += near(list(elites.values()), problem.space, random)
        budgets = [budget for _, budget in problem.pairs]
        return screened(candidates, surrogate, scored, problem.space, problem.cost, budgets, problem.fits, count)

    return method


def _hypernetwork(problem: Problem) -> Hypernetwork:
    return Hypernetwork(problem.space.decisions, problem.seed)


def _alphas(problem: Problem) -> Hypernetwork:
    return Alphas(problem.space.decisions, problem.seed)


METHODS: Mapping[str, Callable[[Problem], Method]] = {
    "H + local search": lambda problem: learnt(problem, _hypernetwork(problem), neighbours=True),
    "H": lambda problem: learnt(problem, _hypernetwork(problem), neighbours=False),
    "alphas + local search": lambda problem: learnt(problem, _alphas(problem), neighbours=True),
    "alphas": lambda problem: learnt(problem, _alphas(problem), neighbours=False),
    "surrogate + local search": lambda problem: learnt(problem, None, neighbours=True),
    "local search": local_search,
    "NSGA-II": nsga2,
    "random": at_random,
}
