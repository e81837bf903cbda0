"""What commands share: options, the reporter, and how errors become exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EPIPE
from pathlib import Path
from typing import Annotated, Any

import typer

from latnas.cli.variables import FIELDS, SHOWING
from latnas.errors import FAILED, LatnasError, how_stopped, one_line

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr; warnings stay.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML with a table for each command; flags and LATNAS_* win over it.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of every random draw. Default 0.")]
Data = Annotated[
    str | None,
    typer.Option(
        help="fashion-mini (embedded, the default), digits, FILE.npz, FILE.parquet, or FOLDER of images, Parquet or "
        "IDX files; @64 at the end resizes to 64 pixels."
    ),
]
SpaceName = Annotated[str | None, typer.Option(help="A search space; see latnas spaces. Default nasbench201.")]
Width = Annotated[int | None, typer.Option(help="Channels of the first stage. Default: the space's own.")]
Depth = Annotated[int | None, typer.Option(help="Cells or layers of a stage. Default: the space's own.")]
MaxParams = Annotated[str | None, typer.Option(help="Most parameters of a network: 100000, 100k, 1.2M.")]
MaxMacs = Annotated[str | None, typer.Option(help="Most multiply-adds for one image, written alike.")]
MaxSize = Annotated[str | None, typer.Option(help="Most bytes of the exported FP32 file: 500kB, 2MB, 1.5MiB.")]
MaxMemory = Annotated[str | None, typer.Option(help="Most bytes of activations of one image at a time: 4MB.")]
Pool = Annotated[
    int | None, typer.Option(help="Architectures to score first: random ones, or all there are. Default 200.")
]
Trainings = Annotated[int | None, typer.Option(help="Short trainings. Default 44.")]
TrainingSteps = Annotated[int | None, typer.Option(help="Steps of each short training. Default 240.")]
Halvings = Annotated[
    int | None, typer.Option(help="How often the best third trains anew, three times as long. Default 0.")
]
LongTrainings = Annotated[
    int | None,
    typer.Option(help="Networks that are trained five times longer to decide budgets; 0 or 4 and more. Default 12."),
]
ReducedWidth = Annotated[int | None, typer.Option(help="Width of the copies that are ranked. Default 8.")]
ReducedSize = Annotated[int | None, typer.Option(help="Image size of these copies. Default 16.")]
WarmupSteps = Annotated[int | None, typer.Option(help="Steps of the supernet along uniform paths. Default 300.")]
JointSteps = Annotated[
    int | None, typer.Option(help="Steps of it with half of the paths from the hypernetwork. Default 100.")
]
HypernetworkSteps = Annotated[int | None, typer.Option(help="Steps of the hypernetwork a round. Default 120.")]
Rounds = Annotated[int | None, typer.Option(help="Rounds of learning and proposing. Default 3.")]
Draws = Annotated[int | None, typer.Option(help="Networks to score for each budget and round. Default 8.")]
Epochs = Annotated[
    int | None, typer.Option(help="Training of each exported network, by which networks are chosen. Default 20.")
]
Executor = Annotated[str | None, typer.Option(help="Where trainings run: local:N processes. Default local:2.")]
TrainOn = Annotated[
    str | None, typer.Option(help="What each of them trains on: cpu, cuda, or cuda:1 for a second GPU. Default cpu.")
]


@contextmanager
def reporting(quiet: bool) -> Iterator[Any]:
    """A reporter; errors of the user's or the device's become one message and an exit code."""
    from latnas.cli.console import ConsoleReporter

    try:
        yield ConsoleReporter(quiet)
    except LatnasError as error:
        print(f"latnas: {one_line(str(error))}", file=sys.stderr)
        raise typer.Exit(error.code) from error
    except OSError as error:  # what a file system refuses where nobody expected it: a name that is too long
        if error.errno in (None, EPIPE):  # a bug; or nobody reads on, which click knows how to end
            raise
        place = "." if error.filename is None else f": {str(error.filename)[:200]}. Name another file or folder."
        print(f"latnas: {one_line(f'{error.strerror}{place}')}", file=sys.stderr)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as stop:
        how, code = how_stopped(stop)
        print(f"latnas: {how}. What was finished is kept; type the same command to go on.", file=sys.stderr)
        raise typer.Exit(code) from stop


def typed(values: dict[str, Any]) -> dict[str, Any]:
    """The flags of a command that are fields of its config."""
    return {name: value for name, value in values.items() if name not in {*SHOWING, *FIELDS}}
