"""The console script, before anything is imported that takes time."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from pathlib import Path

from latnas.errors import how_stopped


def main() -> None:
    """Runs the command line; who stops it while it still starts sees no traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell (>&-): nobody reads what is written there
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  it is never closed
    if isinstance(sys.stdout, TextIOWrapper):  # what its encoding lacks is written as an escape, as on stderr
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        from latnas.cli.app import main as run

        run()
    except KeyboardInterrupt as stop:
        how, code = how_stopped(stop)
        print(f"latnas: {how} before anything was begun.", file=sys.stderr)
        sys.exit(code)
