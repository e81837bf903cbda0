"""How the hypernetwork learns: through hard samples, from the surrogate, the budget, and the supernet.

The loss of a step, over M lambdas that spread evenly over [0, 1]:

    - surrogate(sample) + PENALTY x relu(expected cost / budget(lambda) - 1) - ENTROPY x entropy,

and, every few steps, the score-function gradient of the supernet's loss on held-out images for two paths of one lambda,
each the other's baseline: a single executed part says nothing of the parts beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from latnas.data.batches import batch_indices, to_unit
from latnas.data.images import LabelledImages
from latnas.data.randomness import drawn_below, generator
from latnas.errors import LatnasError
from latnas.hypernet.hypernetwork import (
    Hypernetwork,
    log_probability,
    reinmax_sample,
    sampled_architecture,
)
from latnas.hypernet.supernet import uniform_paths
from latnas.spaces.choice import Selection, path_of, selecting
from latnas.spaces.space import SETTING, Space
from latnas.training.checkpoint import load_weights
from latnas.training.devices import device_of
from latnas.training.evaluate import batch_statistics
from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange
from latnas.words.costs import AdditiveCost

PENALTY = 10.0
ENTROPY = 0.01
TAU_START, TAU_FLOOR = 1.5, 1.0
ATTEMPTS = 50


Scoring = Callable[[Tensor], Tensor]
"""Standardised scores [N] of one-hot items [N, I], differentiable."""


@dataclass(frozen=True)
class Learning:
    """How long and how fast."""

    steps: int = 300
    lambdas: int = 16
    learning_rate: float = 4e-2
    supernet_every: int = 4
    supernet_weight: float = 0.3
    supernet_batch: int = 64

    def tau(self, step: int) -> float:
        """Temperature, falling geometrically to a floor above zero."""
        return float(TAU_START * (TAU_FLOOR / TAU_START) ** self._done(step))

    def rate(self, step: int) -> float:
        """Learning rate, falling linearly to a tenth: what proposals are made of has settled."""
        return self.learning_rate * (1.0 - 0.9 * self._done(step))

    def _done(self, step: int) -> float:
        return min(step / max(self.steps - 1, 1), 1.0)


@dataclass(frozen=True)
class StepReport:
    """What `metrics.jsonl` records of a step. `cost` is the expected one over the budget, `excess` what is above 1."""

    step: int
    loss: float
    cost: float
    excess: float
    entropy: float
    tau: float
    supernet_loss: float | None

    def to_json(self) -> dict[str, Any]:
        return vars(self).copy()


class Learner:
    """The hypernetwork and its optimiser.

    Args:
        space, cost, budgets: what is searched, what it costs in ms, and the range that lambda spans.
        learning: how.
        seed: of every random draw.
        hypernetwork: what learns; by default a fresh one.
    """

    def __init__(
        self,
        space: Space,
        cost: AdditiveCost,
        budgets: BudgetRange,
        learning: Learning,
        seed: int,
        hypernetwork: Hypernetwork | None = None,
    ) -> None:
        self.hypernetwork = hypernetwork or Hypernetwork(space.decisions, seed)
        self._space, self._cost, self._budgets = space, cost, budgets
        self._learning, self._seed = learning, seed
        self._optimizer = torch.optim.Adam(self.hypernetwork.parameters(), learning.learning_rate, betas=(0.5, 0.999))

    def step(self, step: int, surrogate: Scoring, supernet: nn.Module | None, held_out: LabelledImages) -> StepReport:
        """One update; `step` counts over all rounds and seeds the draws.

        Raises:
            LatnasError: the loss is not finite, or that of the supernet along a path is not.
        """
        learning, random = self._learning, generator(self._seed, "hypernetwork", step)
        lambdas_M = self.hypernetwork.draw_lambdas(learning.lambdas, random)
        budgets_M = torch.tensor([self._budgets.budget_ms(float(lam)) for lam in lambdas_M])
        logits = self.hypernetwork.item_logits(lambdas_M[:, None])
        tau = learning.tau(step % learning.steps)
        samples = [reinmax_sample(values, tau, random) for values in logits]
        probabilities = {
            decision.name: torch.softmax(values, -1)
            for decision, values in zip(self._space.decisions, logits, strict=True)
        }
        cost_M = self._cost.expected(probabilities) / budgets_M
        excess_M = functional.relu(cost_M - 1.0)
        entropy = torch.stack([-(p * p.clamp_min(1e-12).log()).sum(-1).mean() for p in probabilities.values()]).sum()
        losses_M = PENALTY * excess_M - surrogate(torch.cat(samples, dim=1))
        self._refuse_divergence(step, losses_M, lambdas_M, samples)
        loss = losses_M.mean() - ENTROPY * entropy
        supernet_loss = None
        if supernet is not None and step % learning.supernet_every == 0:
            row = drawn_below(learning.lambdas, random)
            term, supernet_loss = self._supernet_term(
                step, logits, row, float(lambdas_M[row]), supernet, held_out, random
            )
            loss = loss + learning.supernet_weight * term
        for group in self._optimizer.param_groups:
            group["lr"] = learning.rate(step % learning.steps)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.hypernetwork.parameters(), 5.0)
        self._optimizer.step()
        total, cost, excess, spread = (float(v.detach()) for v in (loss, cost_M.mean(), excess_M.mean(), entropy))
        return StepReport(step, total, cost, excess, spread, tau, supernet_loss)

    @torch.no_grad()
    def draw(self, lam: float, random: torch.Generator) -> Architecture:
        """A valid architecture from H(lambda), in canonical form; a uniform one if H yields no valid one."""
        drawn = self._draw(self.hypernetwork.item_logits(torch.tensor([[lam]])), 0, random)
        return self._space.random(random) if drawn is None else self._space.canonical(drawn)

    def paths(self, step: int) -> Sequence[Selection]:
        """The paths of a step of the shared weights: half of them from H, so that they are good near the front."""
        if step % 2:
            return uniform_paths(self._space, self._seed, step)
        lam, random = self._lambda_of(step)
        return [path_of(self.draw(lam, random), self._space.decisions)]

    def drawn(self, step: int) -> str:
        """How the paths of a step of the shared weights were drawn."""
        return "drawn uniformly" if step % 2 else f"drawn for lambda {self._lambda_of(step)[0]:.3f}"

    def tensors(self) -> dict[str, Tensor]:
        """Weights and optimiser state, by name."""
        found = {f"hypernetwork.{name}": value for name, value in self.hypernetwork.state_dict().items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            found |= {f"adam.{index}.{name}": value for name, value in state.items()}
        return found

    def restore(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """The inverse of `tensors`; `path` is where they were read, for messages."""
        prefix = "hypernetwork."
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        load_weights(self.hypernetwork, own, path)
        optimizer = self._optimizer.state_dict()
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("adam."):
                _, index, field = name.split(".", 2)
                state.setdefault(int(index), {})[field] = value
        optimizer["state"] = state
        self._optimizer.load_state_dict(optimizer)

    def _lambda_of(self, step: int) -> tuple[float, torch.Generator]:
        """The lambda for which H draws the path of a step of the shared weights, and what it goes on to draw from."""
        random = generator(self._seed, "path", step)
        return float(torch.rand((), generator=random)), random

    def _supernet_term(
        self,
        step: int,
        logits: list[Tensor],
        row: int,
        lam: float,
        supernet: nn.Module,
        held_out: LabelledImages,
        random: torch.Generator,
    ) -> tuple[Tensor, float]:
        pool = torch.arange(len(held_out))
        chosen, labels = held_out.batch(batch_indices(pool, self._learning.supernet_batch, self._seed, step))
        device, decisions = device_of(supernet), self._space.decisions
        images, labels = to_unit(chosen.to(device)), labels.to(device)
        drawn = [self._draw(logits, row, random) for _ in range(2)]
        paths = [self._space.random(random) if one is None else self._space.canonical(one) for one in drawn]
        losses = []
        with torch.no_grad(), batch_statistics(supernet):
            for path in paths:
                with selecting(path_of(path, decisions)):
                    losses.append(float(functional.cross_entropy(supernet(images), labels)))
                if not math.isfinite(losses[-1]):
                    raise LatnasError(
                        f"the search diverged at step {step}: the shared weights' loss is {losses[-1]} for lambda "
                        f"{lam:.3f} along the path {path}. Try another seed."
                    )
        # Of the paths as they were drawn: what H says of their canonical forms is the gradient of something else.
        scores = [log_probability(logits, row, one.indices(decisions)) for one in drawn if one is not None]
        if len(scores) < 2:
            return torch.zeros(()), sum(losses) / 2
        advantage = max(-1.0, min(1.0, losses[0] - losses[1]))
        return 0.5 * advantage * (scores[0] - scores[1]), sum(losses) / 2

    def _refuse_divergence(self, step: int, losses_M: Tensor, lambdas_M: Tensor, samples: list[Tensor]) -> None:
        for row in torch.nonzero(~torch.isfinite(losses_M)).flatten().tolist():
            indices = [int(values[row].argmax()) for values in samples]
            path = Architecture.from_indices(SETTING, self._space.decisions, indices)
            raise LatnasError(
                f"the search diverged at step {step}: the hypernetwork's loss is {float(losses_M[row].detach())} for "
                f"lambda {float(lambdas_M[row]):.3f} along the path {path}. Try another seed."
            )

    def _draw(self, logits: list[Tensor], row: int, random: torch.Generator) -> Architecture | None:
        """A valid one, as it was drawn; None if H yields none."""
        for _ in range(ATTEMPTS):
            drawn = sampled_architecture(logits, row, self._space.decisions, SETTING, random)
            if self._space.is_valid(drawn):
                return drawn
        return None
