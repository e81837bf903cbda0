"""The trainings of an export: each chosen network, from each seed, beside or after the one that it learns from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from latnas.stages.common.metadata import file_metadata
from latnas.stages.export.final_training import CHECKPOINTS, ONNX, WEIGHTS, is_recalibrated
from latnas.stages.export.job import Job
from latnas.stages.export.targets import Target, scored_within
from latnas.training.distillation import SHARE
from latnas.training.evaluate import mean_interval
from latnas.training.tasks import RESULT, Task, run_tasks
from latnas.training.trainer import Recipe
from latnas.words.architecture import Architecture
from latnas.words.forms import TrainingResult
from latnas.words.front import Front
from latnas.words.manifest import Repeats
from latnas.words.reporting import Progress

KEPT = ".trainings"
"""Where they lie in the folder of a front's exports."""

TRAINING = "latnas.stages.export.final_training:final_training_task"
NAMED_AT = "0.1.0"
"""Stands for the version of latnas in what names a training: a release keeps what others have trained. One that trains
otherwise is to change this."""


@dataclass(frozen=True)
class Trained:
    """A trained network: the task and what it came to, and what a manifest says. Of several seeds the first one's."""

    task: Task
    result: Mapping[str, Any]
    repeats: Repeats | None
    training: Mapping[str, Any]


def teacher_among(job: Job, front: Front, chosen: Sequence[tuple[Target, Architecture]]) -> Architecture | None:
    """The search's own of most multiply-adds, if the others are to learn from it. Warns where there are no others.

    Args:
        chosen: what is exported, each with its target; baselines learn, and never teach.
    """
    if not job.config.distill:
        return None
    searched = [(target, architecture) for target, architecture in chosen if target.kind == "search"]
    if searched and len({architecture for _, architecture in chosen}) > 1:
        return max((one for _, one in searched), key=lambda one: (job.space.amounts(one).macs, one.key))
    more = not job.config.all and _are_several(front, searched)
    job.report.warn(
        "a single network is exported, so there is none for it to learn from: it is trained on labels alone. "
        + ("Name several budgets, or --all." if more else "All budgets come to the same one: leave --distill out.")
    )
    return None


def _are_several(front: Front, chosen: Sequence[tuple[Target, Architecture]]) -> bool:
    """Whether the search has another network than these for one of its budgets, within the same limits."""
    spaces = {target.limits: target.space for target, _ in chosen}.values()
    best = [scored_within(front, space, budget.budget_ms)[:1] for space in spaces for budget in front.budgets]
    return len({*(architecture for _, architecture in chosen), *(one for first in best for one in first)}) > 1


def train(job: Job, architectures: Sequence[Architecture], teacher: Architecture | None) -> dict[str, Trained]:
    """Trains each distinct architecture once from each seed and exports it, the teacher first; by key.

    A student learns from the teacher of its own seed, so that repeats differ by all that a seed decides.
    """
    by_key = {architecture.key: architecture for architecture in architectures}
    seeds = range(job.config.seed, job.config.seed + job.config.seeds)
    taught_by: dict[int, Task | None] = dict.fromkeys(seeds)
    tasks: dict[tuple[str, int], Task] = {}
    if teacher is not None:
        taught_by |= {seed: training_task(job, teacher, seed, None) for seed in seeds}
        tasks = {(teacher.key, seed): task for seed, task in taught_by.items() if task is not None}
    first = list(tasks.values())
    for key, architecture in by_key.items():
        for seed in seeds:
            if (key, seed) not in tasks:
                tasks[key, seed] = training_task(job, architecture, seed, taught_by[seed])
    rest = list(tasks.values())[len(first) :]
    with job.report.bar("training and exporting") as bar:
        results = run_tasks(first, job.config.workers, partial(_further, bar, 0, len(rest)))
        results += run_tasks(rest, job.config.workers, partial(_further, bar, len(first), 0))
    found = dict(zip(tasks, results, strict=True))
    return {
        key: _trained(job, [tasks[key, seed] for seed in seeds], [found[key, seed] for seed in seeds], teacher)
        for key in by_key
    }


def _further(bar: Progress, before: int, after: int, done: float, total: int) -> None:
    bar.update(before + done, before + total + after, "networks")


def training_task(job: Job, architecture: Architecture, seed: int, teacher: Task | None) -> Task:
    """The training of one network from one seed, in a folder that is named after all that decides it.

    Args:
        teacher: the training of the network that it learns from.
    """
    config, space = job.config, job.space
    recipe = job.recipe if teacher is None else replace(job.recipe, distill=SHARE)
    recorded, inherits = job.run.read_config(), config.starts_from == "supernet"
    training = {
        "data": str(recorded["data"]), "space": space.name, "options": vars(space.options).copy(),
        "seed": seed, "architecture": architecture.to_json(), "recipe": asdict(recipe),
        "inherit": str(job.run.supernet / WEIGHTS) if inherits else None,
        "metadata": file_metadata(architecture, space, job.data.classes, job.table.name, seed),
        # Inherited weights have seen the run's split `train`: what is held out must not be of it.
        "split_seed": int(recorded["seed"]) if inherits else seed,
        "patience": config.patience, "teacher": None if teacher is None else _weights_of(teacher),
    }  # fmt: skip
    kept = job.exports / KEPT / _identity(job, training, teacher)
    if not all((kept / name).exists() for name in (ONNX, WEIGHTS)):
        (kept / RESULT).unlink(missing_ok=True)  # a training whose files were deleted is not done
    # Images that lie elsewhere by now are the same: neither their place nor that of the training decides anything.
    how = {"data": job.data.spec, "train_on": config.train_on}
    return Task(TRAINING, {**training, **how}, kept, TrainingResult, CHECKPOINTS)


def _identity(job: Job, training: Mapping[str, Any], teacher: Task | None) -> str:
    """Twelve hexadecimal digits.

    By whether weights are inherited, not by their path, and the teacher's by its own identity: a run that was moved
    keeps its trainings. What exports have learnt to do since counts where it is asked for, so that those of before
    are kept too.
    """
    recipe = Recipe(**training["recipe"])
    other_split = job.config.patience and training["split_seed"] != training["seed"]
    later = {
        "patience": job.config.patience,
        "split_seed": str(training["split_seed"]) if other_split else None,
        "teacher": None if teacher is None else teacher.folder.name,
        "recalibrated": is_recalibrated(recipe),
    }
    identity = {name: value for name, value in training.items() if name not in later}
    identity |= {"inherit": job.config.starts_from, "recipe": recipe.recorded}
    identity["metadata"] = training["metadata"] | {"version": NAMED_AT}
    identity |= {name: value for name, value in later.items() if value}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def _weights_of(task: Task) -> dict[str, Any]:
    return {"architecture": task.config["architecture"], "weights": str(task.folder / WEIGHTS)}


def _trained(
    job: Job, tasks: Sequence[Task], results: Sequence[Mapping[str, Any]], teacher: Architecture | None
) -> Trained:
    """The first seed's, whatever the others reached: to ship the best one would be to choose on the test images."""
    task, result = tasks[0], results[0]
    learns = task.config["teacher"] is not None
    return Trained(
        task=task,
        result=result,
        repeats=_repeats(tasks, results),
        training={
            **task.config["recipe"],
            "warmup_steps": Recipe(**task.config["recipe"]).warmup,
            "epochs": job.config.epochs,
            "init": job.config.starts_from,
            "recalibrated": is_recalibrated(job.recipe),
            "distilled_from": str(teacher) if learns else None,
            "patience": job.config.patience,
            "stopped_after": result.get("stopped_after"),
            "test_images": result["test_images"],
        },
    )


def _repeats(tasks: Sequence[Task], results: Sequence[Mapping[str, Any]]) -> Repeats | None:
    if len(results) < 2:
        return None
    values = [result["accuracy"]["value"] for result in results]
    low, high = mean_interval(values)
    return Repeats(
        seeds=tuple(task.config["seed"] for task in tasks),
        values=tuple(values),
        mean=sum(values) / len(values),
        low=max(low, 0.0),
        high=min(high, 1.0),
    )
