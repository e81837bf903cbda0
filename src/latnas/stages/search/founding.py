"""A run's own front: shared weights and accuracy model from nothing, and what they are taught after the proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from latnas.hypernet.supernet import CHECKPOINT, network_of, supernet_trainer
from latnas.stages.search import accuracy
from latnas.stages.search.accuracy import AccuracyModel
from latnas.stages.search.beginning import WEIGHTS, Beginning, recipe_of
from latnas.stages.search.learning import Problem, Shared
from latnas.stages.search.long_trainings import (
    contest_of,
    every_opinion,
    favourites,
    first_long,
    hopeful_values,
    trained_long,
)
from latnas.stages.search.trainings import Candidates, common_config
from latnas.training.checkpoint import save_tensors
from latnas.training.tasks import RESULT, Task
from latnas.words.architecture import Architecture
from latnas.words.reporting import Reporter


def learnt(begun: Beginning, problem: Problem, report: Reporter) -> Shared:
    """What a front is proposed by, from nothing, or from what a search that was stopped has left."""
    config, run, space = begun.config, begun.run, problem.space
    recipe = recipe_of(begun)
    how = {"recipe": asdict(recipe), "until": config.warmup_steps, "train_on": config.train_on}
    warm_up = Task(
        "latnas.hypernet.supernet:warm_up_task",
        common_config(config, space) | how,
        run.supernet,
    )
    if not (run.supernet / CHECKPOINT).exists():
        (run.supernet / RESULT).unlink(missing_ok=True)  # a warm-up whose weights were deleted is not done
    model = accuracy.accuracy_model(config, space, begun.data, run, report, [problem.latency], beside=[warm_up])
    trainer = supernet_trainer(space, begun.data, recipe, config.seed, train_on=config.train_on)
    trainer.load(run.supernet / CHECKPOINT)
    pool = list(model.pool.architectures)
    if first := first_long(config.long_trainings):
        contest = contest_of(pool, problem, config.budgets, report)
        model = trained_long(model, contest, every_opinion, first, report)
    return Shared(model, trainer, pool)


def taught(
    begun: Beginning, problem: Problem, shared: Shared, found: Sequence[Architecture], report: Reporter
) -> AccuracyModel:
    """What the front is decided by: after the trainings that were left for what was proposed, short, then long.

    Leaves the shared weights, which later fronts and `--init supernet` go by.
    """
    config, run, model = begun.config, begun.run, shared.model
    if not (run.supernet / WEIGHTS).exists():
        weights = network_of(shared.trainer).state_dict()
        save_tensors(run.supernet / WEIGHTS, weights, {"step": shared.trainer.done})
    contest = contest_of(found, problem, config.budgets, report)
    if not model.pool.is_whole_space:
        within = Candidates.within(found, model.scores, contest.latencies_N.tolist(), contest.budgets_ms)
        model = model.completed(within, None if model.long is None else hopeful_values(model, contest))
        model.tell(report)
    if config.long_trainings:
        model = trained_long(model, contest, favourites, config.long_trainings, report)
    return model
