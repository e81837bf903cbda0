"""The command `latnas verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latnas.cli.options import ConfigFile, Json, Quiet, reporting, typed
from latnas.errors import TargetMissedError, UsageError


def verify(
    run: Annotated[str | None, typer.Argument(help="Run folder or name. Default: the latest.")] = None,
    run_: Annotated[str | None, typer.Option("--run", help="The same, as other commands have it.")] = None,
    budget: Annotated[list[str] | None, typer.Option(help="Only what was exported for it; repeatable.")] = None,
    lam: Annotated[
        list[float] | None, typer.Option("--lambda", help="The same, by its position in the range; repeatable.")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of runs. Default runs.")] = None,
    table: Annotated[
        str | None, typer.Option(help="Table, by its name or file, where the run has several fronts.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="How much slower than at export a file may be. Default 0.1: 10 percent.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Least bursts of each file, in 60 s at most; few files get more. Default 60.")
    ] = None,
    sustained: Annotated[
        str | None, typer.Option(help="Then call each file without a rest for so long, such as 60s.")
    ] = None,
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure exported files again on the device of their table: exit code 3 if one is not what its manifest says.

    Example: latnas verify --sustained 60s
    """
    flags = typed(locals()) | {"lambdas": tuple(lam or ()), "budgets": tuple(budget or ()), "run": run or run_}
    with reporting(quiet) as report:
        if None not in (run, run_) and run != run_:
            raise UsageError(f"two runs are named, {run} and {run_}. Verify one after the other.")
        from latnas.cli import show, show_verify
        from latnas.cli.layers import resolve
        from latnas.stages import export as stage

        result = stage.verify(resolve(stage.VerifyConfig, flags, config, "verify"), report)
        if json:
            show.print_json(show_verify.verified_json(result))
        else:
            show_verify.show_verified(result)
        if result.failed:
            named = "; ".join(f"{file.folder.name}: {', '.join(file.faults)}" for file in result.failed)
            raise TargetMissedError(f"what was exported does not pass ({named}). {show_verify.advice(result)}")
