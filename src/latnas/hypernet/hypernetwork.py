"""The hypernetwork H: from a condition (a position lambda in the budget range) to architecture parameters alpha.

One search serves every budget: lambda is drawn anew at each step, and the distribution for another budget is one more
forward pass. H owns all architecture parameters; the supernet is handed selections and keeps none. Source: Firsov and
Bakhteev, "Optimization of the neural network architecture with hardware difficulty control": structural parameters are
functions of the complexity. A deviation: H is smooth in lambda, where DARTS-CC's pivots make alpha jump.

Shapes: M conditions, C entries of a condition, P parts and I items of all decisions together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from latnas.data.randomness import seed_of
from latnas.spaces.solving import gumbel
from latnas.words.architecture import Architecture, Decision

WAVES = 4
HIDDEN = 64


class Hypernetwork(nn.Module):
    """A perceptron on cosines of the condition; near uniform at first, so that everything is tried."""

    incidence_IP: Tensor

    def __init__(self, decisions: Sequence[Decision], seed: int, entries: int = 1) -> None:
        super().__init__()
        self.decisions = tuple(decisions)
        blocks = [torch.from_numpy(decision.incidence).float() for decision in decisions]
        self.register_buffer("incidence_IP", torch.block_diag(*blocks))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, "hypernetwork"))
            self.layers = nn.Sequential(
                nn.Linear(entries * (WAVES + 1), HIDDEN),
                nn.SiLU(),
                nn.Linear(HIDDEN, HIDDEN),
                nn.SiLU(),
                nn.Linear(HIDDEN, self.incidence_IP.shape[1]),
            )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.zero_()

    def forward(self, condition_MC: Tensor) -> Tensor:
        """alpha [M, P]."""
        waves = torch.arange(WAVES + 1, dtype=condition_MC.dtype) * math.pi
        out: Tensor = self.layers(torch.cos(condition_MC[..., None] * waves).flatten(1))
        return out

    def item_logits(self, condition_MC: Tensor) -> list[Tensor]:
        """For each decision the logits [M, I] of its items: the sums of their parts' alphas."""
        logits_MI = self(condition_MC) @ self.incidence_IP.T
        return list(logits_MI.split([len(decision.items) for decision in self.decisions], dim=1))

    def draw_lambdas(self, count: int, random: torch.Generator) -> Tensor:
        """[M] lambdas to learn from, ascending: both ends at every step, and one in each of M - 2 equal parts between.

        Without the ends themselves H learns a little less than the loosest budget there, and leaves it unused.
        """
        inner = (torch.arange(count - 2) + torch.rand((), generator=random)) / (count - 2)
        return torch.cat([torch.zeros(1), inner, torch.ones(1)])

    @torch.no_grad()
    def item_log_probabilities(self, lam: float) -> list[np.ndarray]:
        """For each decision log softmax of its item logits at one lambda: what proposals start from."""
        logits = self.item_logits(torch.tensor([[lam]]))
        return [torch.log_softmax(values[0].double(), 0).numpy() for values in logits]


def reinmax_sample(logits_MI: Tensor, tau: float, generator: torch.Generator) -> Tensor:
    """One-hot samples [M, I] by Gumbel-max: hard forward, and backward a gradient that is right to second order.

    The forward sample is exactly softmax(logits)'s, whatever tau. At tau 1 the expected gradient of a quadratic
    function of the sample is exact, where that of a straight-through Gumbel-softmax sample is biased.
    Source: Liu et al., "Bridging Discrete and Backpropagation" (NeurIPS 2023), algorithm 2.
    """
    if tau <= 0:
        raise ValueError(f"tau must be above zero, got {tau}")
    plain = torch.softmax(logits_MI, dim=-1)
    chosen = (logits_MI + gumbel(logits_MI.shape, generator)).argmax(-1, keepdim=True)
    hard = torch.zeros_like(plain).scatter_(-1, chosen, 1.0)
    middle = (hard + torch.softmax(logits_MI / tau, dim=-1)) / 2
    middle = torch.softmax((torch.log(middle) - logits_MI).detach() + logits_MI, dim=-1)
    soft = 2 * middle - plain / 2
    return hard + (soft - soft.detach())  # in this order the sum is exactly one-hot


def sampled_architecture(
    logits: Sequence[Tensor], row: int, decisions: Sequence[Decision], setting: str, generator: torch.Generator
) -> Architecture:
    """An architecture drawn from the product distribution of one row of item logits."""
    indices = [int((values[row].detach() + gumbel(values[row].shape, generator)).argmax()) for values in logits]
    return Architecture.from_indices(setting, decisions, indices)


def log_probability(logits: Sequence[Tensor], row: int, indices: Sequence[int]) -> Tensor:
    """log p of an architecture, differentiable in alpha."""
    terms = [torch.log_softmax(values[row], 0)[index] for values, index in zip(logits, indices, strict=True)]
    return torch.stack(terms).sum()
