"""The commands. Each fills a stage's config and calls the stage; everything heavy is imported inside."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from latnas import __version__
from latnas.cli.export_command import export
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
from latnas.cli.plan_command import plan
from latnas.cli.variables import warnings_of_unknown
from latnas.cli.verify_command import verify
from latnas.errors import one_line
from latnas.training.interruption import terminate

app = typer.Typer(
    name="latnas",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a target not met, 130 interrupted, 143 terminated.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,  # plain help pages take half the time: 0.17 instead of 0.33 CPU-seconds
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"latnas {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """One search, many latency budgets: one ONNX model for each, measured on your device."""
    commands = {one.callback.__name__: one.callback for one in app.registered_commands if one.callback is not None}
    if texts := warnings_of_unknown(commands):
        from latnas.cli.console import ConsoleReporter

        for text in texts:
            ConsoleReporter().warn(one_line(text))


@app.command()
def profile(
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, analytic; see latnas devices. Default cpu.")
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="onnxruntime, torch, analytic, or a plugin's name; and settings: torch:compile, "
            "onnxruntime:optimisation=basic,spinning=off; see latnas devices."
        ),
    ] = None,
    space: SpaceName = None,
    width: Width = None,
    depth: Depth = None,
    data: Data = None,
    batch: Annotated[int | None, typer.Option(help="Images at a time. Default 1.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the runtime. Default 1.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="What is measured: fp32 (default); with ONNX Runtime also fp16 or int8.")
    ] = None,
    quote: Annotated[str | None, typer.Option(help="What budgets apply to: p50 (default), floor or p90.")] = None,
    calibrate: Annotated[int | None, typer.Option(help="Whole networks to calibrate on. Default 40.")] = None,
    operations: Annotated[
        bool | None,
        typer.Option("--operations/--no-operations", help="Measure operations too (default), or whole networks only."),
    ] = None,
    verify: Annotated[
        int | None, typer.Option(help="Then predict and measure so many fresh networks; uses the table if it exists.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Bursts of each item at most. Default 800.")] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="An item has settled when halves agree within this. Default 0.005.")
    ] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Stop measuring after this long. Default 180.")] = None,
    seed: Seed = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the table. Default latency_tables.")
    ] = None,
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure what each operation of a space costs on a device, and write a latency table.

    Example: latnas profile --device cpu --space mbconv --width 8
    """
    flags = typed(locals())
    with reporting(quiet) as report:
        from latnas.cli import show, show_latency
        from latnas.cli.layers import resolve
        from latnas.stages import profile as stage

        settings = resolve(stage.ProfileConfig, flags, config, "profile")
        if settings.verify:
            verified = stage.verify(settings, report)
            if json:
                show.print_json(show_latency.verified_json(verified))
            else:
                show_latency.show_verified(verified)
            return
        result = stage.profile(settings, report)
        if json:
            show.print_json(show_latency.profiled_json(result))
        else:
            show_latency.show_profiled(result)


app.command()(plan)


@app.command()
def search(
    budget_range: Annotated[
        str | None, typer.Option(help="Such as 0.2ms:0.8ms; auto (the default, or given bare): all that is reachable.")
    ] = None,
    budgets: Annotated[int | None, typer.Option(help="How many budgets export --all serves. Default 5.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Latency table. Default: the only one that fits; with --from the run's own.")
    ] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder to look for tables in. Default latency_tables.")] = None,
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    max_size: MaxSize = None,
    max_memory: MaxMemory = None,
    space: SpaceName = None,
    data: Data = None,
    name: Annotated[str | None, typer.Option(help="Name of the run. Default: follows from the config.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of runs. Default runs.")] = None,
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
    from_run: Annotated[
        str | None,
        typer.Option("--from", help="A finished run: add a front for another table or range, in a few minutes."),
    ] = None,
    extra_minutes: Annotated[
        float | None,
        typer.Option(help="With --from: short trainings along the new front for about so long. Default 0."),
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this run, with all that it was started with.")] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the metrics for TensorBoard too, beside metrics.jsonl.")
    ] = False,
    seed: Seed = None,
    executor: Executor = None,
    train_on: TrainOn = None,
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search once for every budget of a range. The same command typed again resumes, as --resume RUN does.

    Example: latnas search --budget-range 0.2ms:0.8ms --budgets 4

    For a table of wider networks, or of a slower device. Example: latnas search --budget-range 2ms:8ms

    Another device for a finished run. Example: latnas search --from RUN --table FILE
    """
    flags = typed(locals()) | {"tensorboard": tensorboard or None}
    with reporting(quiet) as report:
        from latnas.cli import show
        from latnas.cli.layers import resolve
        from latnas.stages import search as stage

        result = stage.search(resolve(stage.SearchConfig, flags, config, "search"), report)
        if json:
            show.print_json(show.searched_json(result))
        else:
            show.show_searched(result)


app.command()(export)
app.command()(verify)


@app.command()
def predict(
    architecture: Annotated[
        list[str] | None,
        typer.Argument(help="Items with | between, as latnas prints them; or a manifest.json or a file like it."),
    ] = None,
    run: Annotated[str | None, typer.Option(help="A run folder or name: the choices of its front.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of runs. Default runs.")] = None,
    random: Annotated[int | None, typer.Option(help="So many random networks. Default 5 if nothing is named.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Latency table, or a front of the run. Default: the only one that fits.")
    ] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder to look for tables in. Default latency_tables.")] = None,
    space: SpaceName = None,
    data: Data = None,
    seed: Seed = None,
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Predict latencies from a table, each with its 90 percent interval.

    Example: latnas predict --random 10
    """
    flags = typed(locals()) | {"architecture": tuple(architecture or ())}
    with reporting(quiet) as report:
        from latnas.cli import show, show_latency
        from latnas.cli.layers import resolve
        from latnas.stages import predict as stage

        result = stage.predict(resolve(stage.PredictConfig, flags, config, "predict"), report)
        if json:
            show.print_json(show_latency.predicted_json(result))
        else:
            show_latency.show_predicted(result)


@app.command()
def spaces(
    width: Width = None,
    depth: Depth = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List the built-in search spaces with their decisions, items and number of architectures."""
    with reporting(quiet=True):
        from latnas.cli import show
        from latnas.data.sources import DEFAULT, load_images
        from latnas.spaces.space import SPACES, make_space

        images = load_images(DEFAULT if data is None else data)
        shape = {"image_size": images.size, "channels": images.channels, "classes": len(images.classes)}
        # A depth that one of them does not have is shown as the least that it has.
        depths = {name: depth and max(depth, kind.least_depth) for name, kind in SPACES.items()}
        traces = [make_space(name, width=width, depth=depths[name], **shape).trace for name in SPACES]
        if json:
            show.print_json(show.spaces_json(traces))
        else:
            show.show_spaces(traces)


@app.command()
def devices(json: Json = False) -> None:
    """List the devices that the installed profilers find, and their settings, usable or not, and why."""
    with reporting(quiet=True):
        from latnas.cli import show
        from latnas.latency.profiler import survey

        reports = survey()
        if json:
            show.print_json(show.devices_json(reports))
        else:
            show.show_devices(reports)


@app.command()
def demo(
    preset: Annotated[
        str, typer.Option(help="quick (under 8 minutes on two cores) or smoke (a check, under two).")
    ] = "quick",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything that the demo writes.")] = Path(
        "runs/demo"
    ),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Profile, search and export on this CPU with embedded images, for three budgets, beside two baselines.

    A file over its budget is told of; the exit code is 0 all the same.
    """
    with reporting(quiet) as report:
        from latnas.cli.demo import run_demo

        run_demo(preset, out, json, report)


def main() -> None:
    """The command line: `--budget-range` may stand bare, SIGTERM ends it as Ctrl-C does, errors become exit codes."""
    signal.signal(signal.SIGTERM, terminate)
    app(args=with_bare_options(sys.argv[1:]), prog_name="latnas")


def with_bare_options(arguments: Sequence[str]) -> list[str]:
    """Inserts `auto` after a `--budget-range` that has no value: typer has no options with optional values."""
    result: list[str] = []
    for position, argument in enumerate(arguments):
        result.append(argument)
        following = arguments[position + 1] if position + 1 < len(arguments) else "--"
        # A reversed or negative range is a value, to be refused as such; an option begins with a dash and a letter.
        is_option = following.startswith("-") and not following[1:2].isdigit()
        if argument == "--budget-range" and is_option:
            result.append("auto")
    return result
