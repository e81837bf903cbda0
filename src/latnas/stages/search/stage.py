"""Stage `search`: one search for every budget of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from latnas.data.sources import load_images
from latnas.hypernet.supernet import CHECKPOINT, network_of, supernet_trainer
from latnas.ranking.judge import Score
from latnas.stages.common.limits import limited_space
from latnas.stages.common.reach import budget_range, predicted_ends
from latnas.stages.common.runs import RunFolder, default_name
from latnas.stages.common.tables import check_images, find_table, latency_of, space_of, warn_if_stale
from latnas.stages.search import accuracy
from latnas.stages.search.config import SearchConfig
from latnas.stages.search.front import make_front
from latnas.stages.search.learning import Problem, Rounds
from latnas.training.checkpoint import save_tensors
from latnas.training.tasks import Task, one_thread, run_tasks
from latnas.training.trainer import Recipe
from latnas.words.architecture import Architecture
from latnas.words.budgets import format_ms
from latnas.words.front import Front, load_front
from latnas.words.reporting import Reporter, Silent

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Searched:
    """Where the run lies, and its front."""

    run: Path
    front_path: Path
    front: Front
    features_help: bool


def search(config: SearchConfig, report: Reporter | None = None) -> Searched:
    """Scores a pool, learns the hypernetwork, lets it propose, and leaves the front of everything scored.

    The same config again goes on where it stopped, or returns what it had finished.

    Raises:
        UsageError: no table fits, the range is out of reach, or no network keeps to the limits.
        LatnasError: a file is broken, a training diverged, another process works on this run.
    """
    report = report or Silent()
    workers = config.workers
    wanted = config.wanted_range
    data = load_images(config.data)
    table_path, table = find_table(config.table, config.space, data, config.tables)
    check_images(table, data)
    warn_if_stale(table, report)
    space = limited_space(space_of(table), config.limits, data.classes, table.name)
    latency = latency_of(table, space)
    budgets = budget_range(config.budget_range, space, latency)
    recorded = config.recorded(space.name, data.fingerprint)
    run = RunFolder(config.out / (config.name or default_name(space.name, {**recorded, "table": table.name})))
    run.create(recorded)
    folder = run.front(table.name)
    shown = "reachable" if wanted is None else "given"
    report.say(f"run {run.path}, table {table_path}")
    report.say(f"budgets from {format_ms(budgets.fastest_ms)} to {format_ms(budgets.slowest_ms)} ({shown} range)")
    for resource in config.limits.limited:
        report.say(f"limit on {resource.label}: {resource.shown(config.limits.most(resource) or 0)}")
    for note in data.notes:
        report.say(note)

    with run.lock(), one_thread():  # faster for networks this small, and the same on any number of cores
        lasting = (folder / "front.json", run.supernet / WEIGHTS, run.accuracy / accuracy.JUDGE)
        if all(path.exists() for path in lasting):
            report.say("this search is finished already; nothing to do")
            front = load_front(folder / "front.json")
            return Searched(run.path, folder / "front.json", front, accuracy.features_help(run))
        table.save(folder / "table.json")
        scores = accuracy.Scores(config, space, data, run)
        pool = accuracy.initial_pool(space, config)
        known = {architecture.key for architecture in pool}
        pool += [a for a in predicted_ends(space, latency) if a.key not in known]
        feature_tasks = scores.tasks(pool)
        recipe = Recipe(config.warmup_steps + config.joint_steps, pad=0, flip=data.mirrors)
        warm_up = Task(
            "latnas.hypernet.supernet:warm_up_task",
            {**accuracy.common_config(config, space), "recipe": asdict(recipe), "until": config.warmup_steps},
            run.supernet,
        )
        with report.bar("shared weights and features") as bar:
            tasks = [warm_up, *feature_tasks]
            results = run_tasks(tasks, workers, lambda done, total: bar.update(done, total, "tasks"))
        scores.take(feature_tasks, results[1:])
        labelled = accuracy.to_be_labelled(space, pool, scores, config)
        labels = accuracy.train_briefly(labelled, space, data, config, run, report)
        judge = accuracy.judge_of(pool, labelled, labels, scores, run)
        report.say(
            f"accuracy model: {len(labels)} short trainings from {min(judge.labels.values()):.1%} to "
            f"{max(judge.labels.values()):.1%}, left-out error {judge.loo_error:.1%}, left-out rank correlation "
            f"{judge.loo_spearman:.2f}, {judge.reliability:.0%} of the labels' variance is more than noise"
        )
        if not judge.helps:
            report.warn("the features rank no better than a constant on these trainings: take the intervals seriously")

        def judging(architectures: Sequence[Architecture], name: str) -> list[Score]:
            scores.compute(architectures, report, name)
            return accuracy.scored(judge, scores, architectures)

        trainer = supernet_trainer(space, data, recipe, config.seed)
        trainer.load(run.supernet / CHECKPOINT)
        rounds = Rounds(Problem(space, latency, budgets), config, data, trainer, folder)
        found = rounds.run(pool, judging, report)
        if not (run.supernet / WEIGHTS).exists():
            weights = network_of(trainer).state_dict()
            save_tensors(run.supernet / WEIGHTS, weights, {"step": trainer.done})
        front = make_front(space, latency, budgets, found, judging(found, "last features"), config)
        front.save(folder / "front.json")
    return Searched(run.path, folder / "front.json", front, judge.helps)
