"""The command `latnas export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latnas.cli.options import (
    ConfigFile,
    Executor,
    Json,
    MaxMacs,
    MaxMemory,
    MaxSize,
    Quiet,
    Seed,
    TrainOn,
    reporting,
    typed,
)
from latnas.errors import TargetMissedError


def export(
    lam: Annotated[
        list[float] | None, typer.Option("--lambda", help="Position in the budget range, 0 loosest; repeatable.")
    ] = None,
    budget: Annotated[list[str] | None, typer.Option(help="Such as 0.4ms; repeatable.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every budget of the search.")] = False,
    run: Annotated[str | None, typer.Option(help="Run folder or name. Default: the latest.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of runs. Default runs.")] = None,
    table: Annotated[
        str | None, typer.Option(help="Table, by its name or file, where the run has several fronts.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The run's images, where they lie elsewhere by now. Default: as it was searched.")
    ] = None,
    max_params: Annotated[
        list[str] | None, typer.Option(help="Most parameters of a network: 200k; repeatable, a file for each.")
    ] = None,
    max_macs: MaxMacs = None,
    max_size: MaxSize = None,
    max_memory: MaxMemory = None,
    baselines: Annotated[
        bool,
        typer.Option("--baselines", help="Also a random network and the one with most multiply-adds, trained alike."),
    ] = False,
    finalists: Annotated[int | None, typer.Option(help="Networks to measure for each budget. Default 3.")] = None,
    rounds: Annotated[
        int | None,
        typer.Option(help="Least bursts of each measured network, in 60 s at most; few networks get more. Default 60."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Training of each network. Default: as the search, 20.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step. Default 64.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate. Default 0.1.")] = None,
    init: Annotated[
        str | None,
        typer.Option(help="Weights to start from: scratch (default) or supernet (without epochs, which ships them)."),
    ] = None,
    auxiliary: Annotated[
        float | None, typer.Option(help="Weight of an auxiliary head in training (darts). Default 0: none.")
    ] = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Files in int8, calibrated on training images, in a folder of their own."),
    ] = False,
    int8_tolerance: Annotated[
        float | None, typer.Option(help="Percentage points of accuracy that int8 may cost. Default 1.")
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Files in fp16: half the size; on a CPU no faster.")] = False,
    input_: Annotated[
        str | None, typer.Option("--input", help="What files take: float in [0, 1] (default), or uint8 in [0, 255].")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="Order of sides of images: nchw (default), nhwc.")] = None,
    ema: Annotated[
        float | None,
        typer.Option(help="Ship an average of weights of this decay, such as 0.999. Default 0: none."),
    ] = None,
    distill: Annotated[
        bool,
        typer.Option("--distill", help="Networks learn from the largest that the search chose here, trained first."),
    ] = False,
    patience: Annotated[
        int | None,
        typer.Option(help="Hold out images; stop after so many epochs without progress on them. Default 0: never."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Train from so many seeds and report the spread; the first ships. Default 1.")
    ] = None,
    seed: Seed = None,
    executor: Executor = None,
    train_on: TrainOn = None,
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train and export one ONNX file for each budget, and measure that very file.

    Example: latnas export --lambda 0.5
    """
    flags = typed(locals())
    flags |= {
        "lambdas": tuple(lam or ()),
        "budgets": tuple(budget or ()),
        "all": all_ or None,
        "max_params": tuple(max_params or ()),
        "baselines": baselines or None,
        "distill": distill or None,
        "int8": int8 or None,
        "fp16": fp16 or None,
        "input": input_,
    }
    with reporting(quiet) as report:
        from latnas.cli import show
        from latnas.cli.layers import resolve
        from latnas.stages import export as stage

        settings, faults = resolve(stage.ExportConfig, flags, config, "export"), list[str]()
        try:
            files = stage.export(settings, report)
        except stage.RefusedError as error:
            files = error.files
            faults.append(str(error))
        if json:
            show.print_json(show.exported_json(files))
        elif files:
            show.show_exported(files)
        missed = [file.folder.name for file in files if file.manifest.status == "missed"]
        if missed:
            faults.append(
                f"over budget, or over a limit: {', '.join(missed)}. The files were written, with that in "
                f"their manifests, where no verified ones lay. {'. '.join(stage.advice_of(files))}"
            )
        if faults:
            raise TargetMissedError(" ".join(faults))
