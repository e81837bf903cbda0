"""What a front that joins a finished run takes over from it, and the short trainings that may be added for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from shlex import quote

from latnas.data.randomness import generator
from latnas.errors import LatnasError
from latnas.hypernet.supernet import supernet_trainer
from latnas.ranking.features import Reduction
from latnas.stages.common.estimate import time_steps, trainings_within
from latnas.stages.common.inherited import supernet_weights
from latnas.stages.common.limits import limited_space
from latnas.stages.common.options import typed
from latnas.stages.common.reach import predicted_ends
from latnas.stages.common.runs import FRONT, TABLE
from latnas.stages.common.tables import latency_of, space_of
from latnas.stages.search.accuracy import AccuracyModel, Scores
from latnas.stages.search.beginning import WEIGHTS, Beginning, recipe_of
from latnas.stages.search.config import OF_A_FRONT
from latnas.stages.search.learning import Problem, Shared
from latnas.stages.search.long_trainings import contest_of, hopeful_values, with_known
from latnas.stages.search.pool import initial_pool, within_budgets
from latnas.stages.search.trainings import SHORT_BATCH, Candidates, ShortTrainings, fitted
from latnas.words.architecture import Architecture, distinct
from latnas.words.files import write_json
from latnas.words.forms import Architectures, TakenOver, read_as
from latnas.words.front import load_front
from latnas.words.reporting import Reporter
from latnas.words.table import load_table

EXTRA = "extra.json"
"""Which networks are trained briefly for this front: chosen once, by a clock."""

TAKEN_OVER = "taken-over.json"
"""What the front goes by of what the run had when it began: what other fronts add later does not count."""


def inherited(begun: Beginning, problem: Problem, report: Reporter) -> Shared:
    """From the fronts that were finished when this one began: all that they scored, and a judge of all short trainings
    there were; from the run's own its weights.

    Networks are drawn within budgets of the new table, as the run's pool was within its own. Nothing is trained.
    """
    config, data, run, space, latency = begun.config, begun.data, begun.run, problem.space, problem.latency
    own = run.front(begun.own)
    table = load_table(own / TABLE)
    own_space = limited_space(space_of(table), config.limits, data.classes, table.name)
    of_run = config.model_copy(update={"budget_range": str(begun.run.read_config()["budget_range"])})
    pool = initial_pool(own_space, of_run, [latency_of(table, own_space)])
    scores = Scores(config, space, data, run)
    scores.compute(pool.architectures, report, "features")
    trainings = ShortTrainings(config, space, data, run, report)
    taken = _taken_over(begun, scores, trainings)
    judge = fitted(pool.architectures, scores, trainings, _longest(begun), taken.trained)
    model = AccuracyModel(pool, scores, trainings, judge, first=frozenset())
    trainer = supernet_trainer(space, data, recipe_of(begun), config.seed, train_on=config.train_on)
    weights, state = supernet_weights(run.supernet / WEIGHTS)
    trainer.restore({f"network.{name}": value for name, value in weights.items()}, state, run.supernet / WEIGHTS)
    fronts = [load_front(run.front(name) / FRONT) for name in taken.fronts]
    scored = [network.as_architecture for front in fronts for network in front.networks]
    random = generator(config.seed, "joining", latency.table.name)
    drawn = [] if pool.is_whole_space else islice(within_budgets(space, config, latency, random), config.pool // 2)
    known = distinct(one for one in [*scored, *predicted_ends(space, latency), *drawn] if space.keeps(one))
    report.say(f"accuracy model of {run.path}: {len(judge.labels)} networks trained briefly, {len(known)} known")
    scores.compute(known, report, "features of what is known")
    model = with_known(model, {one.key for one in known}, report)
    return Shared(model, trainer, known)


def trained_further(
    begun: Beginning, problem: Problem, shared: Shared, found: Sequence[Architecture], report: Reporter
) -> AccuracyModel:
    """The accuracy model after short trainings along the front of a table, for about `config.extra_minutes`.

    Only how many these are depends on a clock, which is looked at once: the choice is kept in `extra.json`.

    Args:
        shared: has the model that the choice goes by; every one of `found` has been scored.
        found: the architectures to choose from: the best within each budget, as many within each, with those that were
            trained before.
    """
    config, model = begun.config, shared.model
    if not config.extra_minutes:
        return model
    trainings, kept = model.trainings, begun.folder / EXTRA
    if kept.exists():
        extra = [Architecture.from_json(value) for value in read_as(Architectures, kept)]
    else:
        reduction = Reduction(config.reduced_width, config.reduced_size)
        each = time_steps(problem.space, begun.data, reduction, SHORT_BATCH, config.train_on)
        count = trainings_within(60 * config.extra_minutes, _longest(begun), each, config.workers)
        contest, known = contest_of(found, problem, config.budgets, report), model.judge.labels.keys()
        within = Candidates.within(found, model.scores, contest.latencies_N.tolist(), contest.budgets_ms)
        values_N = within.judged(model.judge) if model.long is None else hopeful_values(model, contest)
        chosen = within.best(values_N, len(known & within.keys) + count, known)
        extra = [one for one in chosen.architectures if one.key not in known]
        write_json(kept, [one.to_json() for one in extra])
    trainings.train(extra, _longest(begun))
    counted = model.judge.labels.keys() | {one.key for one in extra}
    model = model.judged_by(fitted(model.pool.architectures, model.scores, trainings, _longest(begun), counted))
    model.tell(report)
    return model


def _taken_over(begun: Beginning, scores: Scores, trainings: ShortTrainings) -> TakenOver:
    """As it was written down when the front began, which is now unless it was before.

    Raises:
        LatnasError: something of it is gone.
    """
    kept = begun.folder / TAKEN_OVER
    there = {key for found in trainings.known(_longest(begun)).values() for key in found if scores.knows(key)}
    now = TakenOver(fronts=list(dict.fromkeys([begun.own, *begun.run.fronts()])), trained=sorted(there))
    if there and not kept.exists():
        write_json(kept, now.model_dump())
    taken = TakenOver.model_validate(read_as(TakenOver, kept)) if kept.exists() else now
    lacking = [f"the front {name}" for name in taken.fronts if not (begun.run.front(name) / FRONT).exists()]
    if gone := len({*taken.trained} - there):
        lacking.append(f"the features or the short trainings of {gone} of the networks")
    if lacking:
        run, aside = quote(str(begun.run.path)), quote(str(begun.run.path / f"lost-{begun.name}"))
        again = typed(f"latnas search --from {run} --table {aside}/{TABLE}", begun.config, *OF_A_FRONT)
        raise LatnasError(
            f"{begun.run.path} lacks {', '.join(lacking)} that the front {begun.name} goes by. Copy all of the run, or "
            f"put the front aside and add it again: mv {quote(str(begun.folder))} {aside}, then {again}"
        )
    return taken


def _longest(begun: Beginning) -> int:
    """Steps of the longest short trainings of the run."""
    return max(steps for _, steps in begun.config.lengths)
