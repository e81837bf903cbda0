"""The surrogate: a small differentiable model of the judge's scores, on one-hot items.

Zero-cost proxies have no gradient in alpha; this has. It is fitted again as proposals move.

Shapes: N architectures, I items of all decisions together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from latnas.data.randomness import seed_of
from latnas.words.architecture import Architecture, Decision

HIDDEN = 64
STEPS = 400
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-3


class Surrogate(nn.Module):
    """A linear model plus a small perceptron, in standardised score."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.linear = nn.Linear(items, 1)
        self.deep = nn.Sequential(nn.Linear(items, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1))

    def forward(self, one_hot_NI: Tensor) -> Tensor:
        """Standardised scores [N]."""
        out: Tensor = (self.linear(one_hot_NI) + self.deep(one_hot_NI)).squeeze(-1)
        return out


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
    architectures: Sequence[Architecture], scores: Sequence[float], decisions: Sequence[Decision], seed: int
) -> Surrogate:
    """Fits by full-batch AdamW; deterministic given the seed. Scores are standardised first."""
    inputs_NI = one_hot_items(architectures, decisions)
    targets = torch.tensor(list(scores), dtype=torch.float32)
    targets = (targets - targets.mean()) / targets.std().clamp_min(1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "surrogate"))
        model = Surrogate(inputs_NI.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(STEPS):
        loss = functional.smooth_l1_loss(model(inputs_NI), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)
