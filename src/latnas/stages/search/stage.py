"""Stage `search`: one search for every budget of a table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote

from latnas.data.images import ImageData
from latnas.data.sources import mirroring
from latnas.ranking.features import Reduction
from latnas.spaces.space import Space
from latnas.stages.common.estimate import STEPS_WORTH_TIMING, search_seconds, time_steps
from latnas.stages.common.limits import check_enough, limited_space
from latnas.stages.common.options import WithTrainings, typed
from latnas.stages.common.reach import budget_range
from latnas.stages.common.runs import FRONT
from latnas.stages.common.tables import latency_of, space_of, warn_if_stale
from latnas.stages.search import accuracy
from latnas.stages.search.beginning import Beginning, begin, named_data
from latnas.stages.search.config import SearchConfig
from latnas.stages.search.founding import learnt, taught
from latnas.stages.search.front import make_front
from latnas.stages.search.joining import inherited, trained_further
from latnas.stages.search.learning import Problem, Rounds, with_largest
from latnas.stages.search.metrics import Metrics, summary_writer, tensorboard_writer
from latnas.training.devices import check_trainable
from latnas.training.tasks import one_thread, workers_kept
from latnas.words.budgets import BudgetRange, format_ms
from latnas.words.front import Front, load_front
from latnas.words.reporting import Reporter, Silent, duration


@dataclass(frozen=True)
class Searched:
    """Where the run lies, its front, and whether the run's accuracy model, as it is now, found its features of use."""

    run: Path
    front_path: Path
    front: Front
    features_help: bool


def search(config: SearchConfig, report: Reporter | None = None) -> Searched:
    """Scores a pool, learns the hypernetwork, lets it propose, and leaves the front of everything scored.

    The same config again goes on where it stopped, or returns what it had finished. With `from_run` only the front is
    made, in that run; with `resume` a run goes on by the config that it records.

    Raises:
        UsageError: no table or run fits, the range is out of reach, limits leave too few networks, or nothing can be
            trained on what was asked for.
        LatnasError: a file is broken, a training diverged, another process works on this run.
    """
    report = report or Silent()
    if config.tensorboard:
        tensorboard_writer()  # refused now where it is not installed
    begun, moved_to = begin(config), named_data(config)
    check_trainable(begun.config.train_on)
    config, run, data, folder = begun.config, begun.run, begun.data, begun.folder
    warn_if_stale(begun.table, report)
    space = limited_space(space_of(begun.table), config.limits, data.classes, begun.table.name)
    latency = latency_of(begun.table, space)
    begun.check_measurement()
    check_enough(space)
    budgets = budget_range(config.budget_range, space, latency)
    run.create(begun.recorded)
    is_named = config.resume is not None or config.from_run is not None
    _introduce(begun, budgets, moved_to if is_named else None, is_named, report)

    otherwise = "" if is_named else ", or choose another --name"
    # One thread is faster for networks this small, and the same on any number of cores as far as PyTorch computes.
    with (
        run.lock(otherwise),
        one_thread(),
        workers_kept(config.workers),
        summary_writer(folder, config.tensorboard) as writer,
    ):
        if begun.is_finished:
            report.say("this search is finished already; nothing to do")
            if writer is not None:
                Metrics(folder, config.rounds * config.hypernetwork_steps, writer)
            return Searched(run.path, folder / FRONT, load_front(folder / FRONT), accuracy.features_help(run))
        begun.record()
        if not begun.joins and not run.accuracy.exists():
            _say_how_long(config, space, data, report)
        problem = Problem(space, latency, budgets)
        shared = (inherited if begun.joins else learnt)(begun, problem, report)
        rounds = Rounds(problem, config, data, shared.trainer, folder, writer)
        found = rounds.run(shared.pool, partial(shared.model.of, report=report), report)
        found = with_largest(found, problem, config.budgets, report)
        shared.model.scores.compute(found, report, "last features")
        model = (trained_further if begun.joins else taught)(begun, problem, shared, found, report)
        scores = model.of(found, "scores", report)
        front = make_front(space, latency, budgets, found, scores, config)
        front.save(folder / FRONT)
    return Searched(run.path, folder / FRONT, front, accuracy.features_help(run))


def _say_how_long(config: SearchConfig, space: Space, data: ImageData, report: Reporter) -> None:
    """Before a search that nobody would sit and watch, and where nothing of it is done yet."""
    if config.all_training_steps < STEPS_WORTH_TIMING:
        return
    with report.bar("timing a few steps"):
        each = time_steps(space, data, Reduction(config.reduced_width, config.reduced_size), train_on=config.train_on)
    seconds = search_seconds(config, each, config.workers).total
    report.say(
        f"this search will take about {duration(seconds)} here, of which "
        "--trainings, --training-steps and --long-trainings decide the most"
    )


def _introduce(begun: Beginning, budgets: BudgetRange, moved_to: str | None, is_named: bool, report: Reporter) -> None:
    config, shown = begun.config, "reachable" if begun.config.wanted_range is None else "given"
    run = begun.run.path
    front = f" --table {begun.name}" if begun.joins else ""
    images = "" if moved_to is None else f" --data {quote(moved_to)}"
    again = typed(f"latnas search --resume {quote(str(run))}{front}{images}", config, *WithTrainings.model_fields)
    report.say(f"run {run}, table {begun.table_path}; after a stop: {again}")
    report.say(f"budgets from {format_ms(budgets.fastest_ms)} to {format_ms(budgets.slowest_ms)} ({shown} range)")
    for resource in config.limits.limited:
        report.say(f"limit on {resource.label}: {resource.shown(config.limits.most(resource) or 0)}")
    # A run that is named mirrors images as it did when it was begun, where this was told.
    for note in [*begun.data.notes, *([] if is_named else mirroring(begun.data))]:
        report.say(note)
