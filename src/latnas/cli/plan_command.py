"""The command `latnas plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latnas.cli.options import (
    ConfigFile,
    Data,
    Depth,
    Draws,
    Epochs,
    Executor,
    Halvings,
    HypernetworkSteps,
    JointSteps,
    Json,
    LongTrainings,
    MaxMacs,
    MaxMemory,
    MaxParams,
    MaxSize,
    Pool,
    Quiet,
    ReducedSize,
    ReducedWidth,
    Rounds,
    Seed,
    SpaceName,
    Trainings,
    TrainingSteps,
    TrainOn,
    WarmupSteps,
    Width,
    reporting,
    typed,
)


def plan(
    budget_range: Annotated[
        str | None, typer.Option(help="Such as 0.2ms:0.8ms; auto (the default, or given bare): all that is reachable.")
    ] = None,
    budgets: Annotated[int | None, typer.Option(help="How many budgets will be exported. Default 5.")] = None,
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    max_size: MaxSize = None,
    max_memory: MaxMemory = None,
    table: Annotated[Path | None, typer.Option(help="Latency table. Default: the only one that fits.")] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder to look for tables in. Default latency_tables.")] = None,
    space: SpaceName = None,
    width: Width = None,
    depth: Depth = None,
    data: Data = None,
    pool: Pool = None,
    trainings: Trainings = None,
    training_steps: TrainingSteps = None,
    halvings: Halvings = None,
    long_trainings: LongTrainings = None,
    reduced_width: ReducedWidth = None,
    reduced_size: ReducedSize = None,
    warmup_steps: WarmupSteps = None,
    joint_steps: JointSteps = None,
    hypernetwork_steps: HypernetworkSteps = None,
    rounds: Rounds = None,
    draws: Draws = None,
    epochs: Epochs = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds from which each is trained. Default 1.")] = None,
    distill: Annotated[bool, typer.Option("--distill", help="Networks will learn from the largest one.")] = False,
    baselines: Annotated[bool, typer.Option("--baselines", help="Two other networks for each budget too.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Files will be quantised.")] = False,
    executor: Executor = None,
    train_on: TrainOn = None,
    seed: Seed = None,
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say in seconds what a search could reach, what budgets and limits leave, and how long everything will take.

    Example: latnas plan --max-params 100k
    """
    flags = typed(locals()) | {
        "distill": distill or None, "baselines": baselines or None, "int8": int8 or None,
    }  # fmt: skip
    with reporting(quiet) as report:
        from latnas.cli import show, show_plan
        from latnas.cli.layers import resolve
        from latnas.stages import plan as stage

        planned = stage.plan(resolve(stage.PlanConfig, flags, config, "plan"), report)
        if json:
            show.print_json(show_plan.plan_json(planned))
        else:
            show_plan.show_plan(planned)
