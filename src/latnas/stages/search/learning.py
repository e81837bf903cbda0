"""The part of a search that belongs to one table: hypernetwork and shared weights, round by round, and proposals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from latnas.data.images import ImageData, LabelledImages
from latnas.data.randomness import generator
from latnas.data.splits import splits_of
from latnas.hypernet.learn import Learner, Learning, StepReport
from latnas.hypernet.mixture import ELITES, Scored, largest, near, proposed, screened
from latnas.hypernet.supernet import network_of
from latnas.hypernet.surrogate import Surrogate, fit_surrogate
from latnas.spaces.space import Space
from latnas.stages.common.largest import largest_within
from latnas.stages.search.accuracy import AccuracyModel
from latnas.stages.search.config import SearchConfig
from latnas.stages.search.metrics import Metrics, Writer
from latnas.training.checkpoint import load_tensors, save_tensors, step_in
from latnas.training.interruption import undivided
from latnas.training.trainer import Trainer
from latnas.words.architecture import Architecture, distinct
from latnas.words.budgets import BudgetRange
from latnas.words.costs import AdditiveCost, macs_cost, params_cost
from latnas.words.estimate import Estimate
from latnas.words.files import write_json
from latnas.words.forms import Architectures, read_as
from latnas.words.latency import LatencyModel
from latnas.words.reporting import Reporter

CHECKPOINT = "search.safetensors"
EVERY = 25

Judging = Callable[[Sequence[Architecture], str], list[Estimate]]
"""Scores architectures, computing their features first where they are unknown; the text names the bar."""


@dataclass(frozen=True)
class Problem:
    """What is searched: a space, its latency in ms, and the budgets."""

    space: Space
    latency: LatencyModel
    budgets: BudgetRange

    @property
    def cost(self) -> AdditiveCost:
        """For gradients and the solver, which need a cost that is linear in the items."""
        return self.latency.cost


@dataclass(frozen=True)
class Shared:
    """What a front starts from: accuracy model and shared weights, which know no device, and architectures."""

    model: AccuracyModel
    trainer: Trainer
    pool: list[Architecture]


class Rounds:
    """Learn, propose, score; then again with what was learnt. Resumes at the last checkpoint, bit for bit."""

    def __init__(
        self,
        problem: Problem,
        config: SearchConfig,
        data: ImageData,
        trainer: Trainer,
        folder: Path,
        writer: Writer | None = None,
    ) -> None:
        self._problem, self._config, self._trainer, self._folder = problem, config, trainer, folder
        learning = Learning(steps=config.hypernetwork_steps)
        self._learner = Learner(problem.space, problem.cost, problem.budgets, learning, config.seed)
        self._held_out: LabelledImages = data.train.take(splits_of(data, config.seed).search)
        self._sizes = [params_cost(problem.space.trace), macs_cost(problem.space.trace)]
        self._step = self._restored_step()
        self._metrics = Metrics(folder, self._step, writer)

    def run(self, pool: Sequence[Architecture], judging: Judging, report: Reporter) -> list[Architecture]:
        """All rounds; returns the pool and every proposal, in the order in which they came up."""
        known = {architecture.key: architecture for architecture in pool}
        finished = self._step // self._config.hypernetwork_steps
        for number in range(self._config.rounds):
            kept = self._proposals(number)
            if number < finished and kept.exists():
                proposals = [Architecture.from_json(value) for value in read_as(Architectures, kept)]
            else:
                judged = judging(list(known.values()), f"round {number + 1}: features")
                scored = Scored(list(known.values()), [score.value for score in judged])
                decisions = self._problem.space.decisions
                surrogate = fit_surrogate(scored.architectures, scored.scores, decisions, self._sizes)
                self._learn(number, surrogate, report)
                predicted_ms(self._problem.latency, scored.architectures, report)
                with report.bar(f"round {number + 1}: proposals"):
                    proposals = self._propose(number, surrogate, scored)
                write_json(kept, [proposal.to_json() for proposal in proposals])
            for proposal in proposals:
                known.setdefault(proposal.key, proposal)
        return list(known.values())

    def _learn(self, number: int, surrogate: Surrogate, report: Reporter) -> None:
        steps = self._config.hypernetwork_steps
        end = (number + 1) * steps
        with report.bar(f"round {number + 1}: hypernetwork") as bar:
            try:
                while self._step < end:
                    metrics = self._learn_step(surrogate)
                    if self._step % EVERY == 0 or self._step == end:
                        self._save()
                    note = (
                        f"loss {metrics.loss:.3f}, expected cost {metrics.cost:.2f} of the budget "
                        f"({100 * metrics.excess:.1f} % over), entropy {metrics.entropy:.2f}"
                    )
                    bar.update(self._step - number * steps, steps, note)
            except KeyboardInterrupt:
                self._save()
                raise

    def _learn_step(self, surrogate: Surrogate) -> StepReport:
        """One step of the hypernetwork, and the steps of the shared weights that belong after it."""
        with undivided():
            metrics = self._learner.step(self._step, surrogate, network_of(self._trainer), self._held_out)
            self._metrics.append(metrics.to_json())
            self._step += 1
            for _ in range(self._due()):
                done = self._trainer.done
                self._trainer.step(self._learner.paths(done), self._learner.drawn(done))
        return metrics

    def _due(self) -> int:
        """Steps of the shared weights that belong before the next step of the hypernetwork: spread evenly."""
        config = self._config
        all_steps = config.rounds * config.hypernetwork_steps
        wanted = config.warmup_steps + config.joint_steps * self._step // all_steps
        return max(wanted - self._trainer.done, 0)

    def _propose(self, number: int, surrogate: Surrogate, scored: Scored) -> list[Architecture]:
        """What H yields and what lies near the front, as far as the surrogate finds it worth a score."""
        space, cost, budgets = self._problem.space, self._problem.cost, self._problem.budgets
        pairs = [(lam, budgets.budget_ms(lam)) for lam in budgets.spread(max(2 * self._config.budgets - 1, 5))]
        fits = partial(_fits, self._problem.latency)
        elites = distinct(one for _, ms in pairs for one in scored.best(partial(fits, budget_ms=ms), ELITES))
        random = generator(self._config.seed, "proposals", number)
        candidates = proposed(self._learner.hypernetwork, space, cost, pairs, random)
        candidates += near(elites, space, random)
        candidates += largest(space, self._sizes, cost, pairs)
        count = self._config.draws * len(pairs)
        return screened(candidates, surrogate, scored, space, cost, [ms for _, ms in pairs], fits, count)

    def _save(self) -> None:
        tensors = self._learner.tensors() | {
            f"supernet.{name}": value for name, value in self._trainer.tensors().items()
        }
        with undivided():
            self._metrics.make_lasting()
            save_tensors(self._folder / CHECKPOINT, tensors, {"search_step": self._step, **self._trainer.state})

    def _proposals(self, number: int) -> Path:
        return self._folder / f"proposals-{number}.json"

    def _restored_step(self) -> int:
        """The step of the last checkpoint, which is taken over; 0 where there is none, or it cannot be gone on from.

        What a round of before it proposed cannot be made again by what was learnt since: then all begins anew.
        """
        path = self._folder / CHECKPOINT
        if not path.exists():
            return 0
        tensors, state = load_tensors(path)
        step = step_in(state, "search_step", path)
        if not all(self._proposals(number).exists() for number in range((step - 1) // self._config.hypernetwork_steps)):
            return 0
        self._learner.restore(tensors, path)
        prefix = "supernet."
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        self._trainer.restore(own, state, path)
        return step


def predicted_ms(latency: LatencyModel, found: Sequence[Architecture], report: Reporter) -> list[float]:
    """Of each network, under a bar where some were not predicted before: with some tables each of these is traced."""
    if unknown := [one for one in found if not latency.knows(one)]:
        with report.bar("latencies") as bar:
            for number, one in enumerate(unknown, start=1):
                latency.predict_ms(one)
                bar.update(number, len(unknown), "networks")
    return [latency.predict_ms(one) for one in found]


def with_largest(found: Sequence[Architecture], problem: Problem, budgets: int, report: Reporter) -> list[Architecture]:
    """With what one would take without a search: the network of most multiply-adds within each of so many budgets."""
    known = list(found)
    with report.bar("the largest within each budget") as bar:
        for number, lam in enumerate(problem.budgets.spread(budgets), start=1):
            known += largest_within(problem.space, problem.latency, problem.budgets.budget_ms(lam), 1)
            bar.update(number, budgets, "budgets")
    return distinct(known)


def _fits(latency: LatencyModel, architecture: Architecture, budget_ms: float) -> bool:
    return latency.predict_ms(architecture) <= budget_ms
