"""Stage `search`: one search for every budget of a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from latnas.data.sources import load_images
from latnas.hypernet.supernet import CHECKPOINT, network_of, supernet_trainer
from latnas.stages.common.limits import limited_space
from latnas.stages.common.reach import budget_range
from latnas.stages.common.runs import RunFolder, default_name
from latnas.stages.common.tables import check_images, find_table, latency_of, space_of, warn_if_stale
from latnas.stages.search import accuracy
from latnas.stages.search.config import SearchConfig
from latnas.stages.search.front import make_front
from latnas.stages.search.learning import Problem, Rounds
from latnas.training.checkpoint import save_tensors
from latnas.training.tasks import Task, one_thread
from latnas.training.trainer import Recipe
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
    _ = config.workers  # an executor that does not exist is refused before anything is read
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
        recipe = Recipe(config.warmup_steps + config.joint_steps, pad=0, flip=data.mirrors)
        warm_up = Task(
            "latnas.hypernet.supernet:warm_up_task",
            {**accuracy.common_config(config, space), "recipe": asdict(recipe), "until": config.warmup_steps},
            run.supernet,
        )
        model = accuracy.accuracy_model(config, space, data, run, report, [latency], beside=[warm_up])
        judging = partial(model.of, report=report)
        trainer = supernet_trainer(space, data, recipe, config.seed)
        trainer.load(run.supernet / CHECKPOINT)
        rounds = Rounds(Problem(space, latency, budgets), config, data, trainer, folder)
        found = rounds.run(model.pool, judging, report)
        if not (run.supernet / WEIGHTS).exists():
            weights = network_of(trainer).state_dict()
            save_tensors(run.supernet / WEIGHTS, weights, {"step": trainer.done})
        front = make_front(space, latency, budgets, found, judging(found, "last features"), config)
        front.save(folder / "front.json")
    return Searched(run.path, folder / "front.json", front, model.judge.helps)
