"""The surrogate: a differentiable model of the scores on one-hot items, which H and screening learn from.

A Gaussian process: linear in the parts that run and in the logarithms of additive costs (parameters, multiply-adds),
plus a smooth term in the parts. Costs are known exactly for every architecture, so that what a few scores have to tell
is what size does not. Amplitude, noise and the share of the smooth term are those of the largest marginal likelihood
among few; a fit takes milliseconds, and is done again whenever scores were added.

Shapes: N architectures, K known ones, I items of all decisions together, P their parts, C costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from latnas.data.randomness import generator
from latnas.ranking.gaussian import Solved, solved
from latnas.spaces.space import SETTING
from latnas.words.architecture import Architecture, Decision
from latnas.words.costs import AdditiveCost

SMOOTH = (0.0, 0.1, 0.3, 1.0)
SHARPNESS = (1.0, 3.0, 10.0)
NOISE = (0.01, 0.03, 0.1, 0.3, 1.0)
MOST_KNOWN = 1000
"""A fit takes time cubic in the number of known architectures. Half are the last, which were proposed lately; the
others are drawn from all before."""

LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class Kernel:
    """How alike two architectures are: `smooth` weighs the smooth term, `sharpness` is its inverse square length."""

    smooth: float
    sharpness: float

    def __call__(self, one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
        """[N, K] from the parts and costs of both."""
        (parts_NP, costs_NC), (parts_KP, costs_KC) = one, other
        alike_NK = parts_NP @ parts_KP.T
        linear_NK = 1.0 + alike_NK + costs_NC @ costs_KC.T
        if not self.smooth:
            return linear_NK
        squares_NK = parts_NP.square().sum(1)[:, None] + parts_KP.square().sum(1) - 2 * alike_NK
        return linear_NK + self.smooth * torch.exp(-self.sharpness * squares_NK / 2)


@dataclass(frozen=True)
class Surrogate:
    """A fitted surrogate."""

    incidence_IP: Tensor
    fixed_C: Tensor
    items_CI: Tensor
    mean_C: Tensor
    spread_C: Tensor
    kernel: Kernel
    known: tuple[Tensor, Tensor]
    weights_K: Tensor

    def __call__(self, one_hot_NI: Tensor) -> Tensor:
        """Standardised scores [N], differentiable."""
        values_N: Tensor = self.kernel(self.described(one_hot_NI.double()), self.known) @ self.weights_K
        return values_N.float()

    def described(self, one_hot_NI: Tensor) -> tuple[Tensor, Tensor]:
        """Parts [N, P], of length one together, and standardised logarithms of costs [N, C]."""
        costs_NC = torch.log(self.fixed_C + one_hot_NI @ self.items_CI.T)
        return one_hot_NI @ self.incidence_IP, (costs_NC - self.mean_C) / self.spread_C


def one_hot_items(architectures: Sequence[Architecture], decisions: Sequence[Decision]) -> Tensor:
    """[N, I]: the items of all decisions, one after the other."""
    rows = []
    for architecture in architectures:
        indices = architecture.indices(decisions)
        rows.append(
            torch.cat(
                [
                    functional.one_hot(torch.tensor(index), len(decision.items))
                    for index, decision in zip(indices, decisions, strict=True)
                ]
            )
        )
    return torch.stack(rows).float()


def fit_surrogate(
    architectures: Sequence[Architecture],
    scores: Sequence[float],
    decisions: Sequence[Decision],
    costs: Sequence[AdditiveCost],
) -> Surrogate:
    """Fits to at least two architectures; deterministic. Scores are standardised first, by all that are known.

    Args:
        costs: that the scores are expected to follow, such as parameters and multiply-adds.
    """
    all_scores = torch.tensor(list(scores), dtype=torch.float64)
    kept_K = _kept(len(architectures))
    one_hot_KI = one_hot_items([architectures[index] for index in kept_K], decisions).double()
    targets_K = ((all_scores - all_scores.mean()) / all_scores.std().clamp_min(LEAST_SPREAD))[kept_K]
    incidence_IP = torch.block_diag(*(torch.from_numpy(decision.incidence) for decision in decisions))
    parts_run = float((one_hot_KI @ incidence_IP).sum(1).mean())
    vectors = [torch.cat([torch.from_numpy(v) for v in cost.vectors(SETTING)]) for cost in costs]
    fixed_C = torch.tensor([cost.fixed(SETTING) for cost in costs], dtype=torch.float64)
    logs_KC = torch.log(fixed_C + one_hot_KI @ torch.stack(vectors).double().T)
    model = Surrogate(
        incidence_IP / parts_run**0.5, fixed_C, torch.stack(vectors).double(),
        logs_KC.mean(0), logs_KC.std(0).clamp_min(LEAST_SPREAD),
        Kernel(0.0, 1.0), (torch.empty(0), torch.empty(0)), torch.empty(0),
    )  # fmt: skip
    known = model.described(one_hot_KI)

    def fits() -> Iterator[tuple[Solved, Kernel]]:
        # One at a time, as each has a matrix of its own.
        for smooth, sharpness in product(SMOOTH, SHARPNESS):
            if smooth or sharpness == SHARPNESS[0]:
                kernel = Kernel(smooth, sharpness)
                gram_KK = kernel(known, known).numpy()
                yield from ((solved(gram_KK, noise, targets_K.numpy()), kernel) for noise in NOISE)

    best, kernel = max(fits(), key=lambda fit: fit[0].likelihood)
    return replace(model, kernel=kernel, known=known, weights_K=torch.from_numpy(best.weights_K))


def _kept(count: int) -> list[int]:
    """Places of those of `count` architectures that a fit has time for, in order."""
    latest = MOST_KNOWN // 2
    if count <= MOST_KNOWN:
        return list(range(count))
    drawn = torch.randperm(count - latest, generator=generator(0, "what a surrogate is fitted to"))
    return [*sorted(drawn[: MOST_KNOWN - latest].tolist()), *range(count - latest, count)]
