"""What a search is asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from latnas.data.sources import DEFAULT, absolute
from latnas.errors import UsageError
from latnas.stages.common.options import SearchOptions, WithTrainings
from latnas.stages.common.runs import RUNS
from latnas.stages.common.tables import FOLDER
from latnas.words.budgets import parse_range

PLACES = {"name", "out", "table", "tables", "executor", "train_on", "from_run", "resume", "tensorboard"}
"""Where things lie and how they are run: the same search under another of these is the same search."""

OF_A_FRONT = ("budget_range", "budgets", "hypernetwork_steps", "rounds", "draws", "extra_minutes")
"""What a front that joins a finished run may have otherwise: all that is done after the accuracy model is made."""


def _folder_name(name: str | None) -> str | None:
    """The name of a folder in `out`, never a way out of it."""
    if name is not None and not re.fullmatch(r"[^./\\][^/\\]*", name):
        raise UsageError(
            f"--name {name!r} is no name of a run: it has no / or \\, and does not begin with a dot. Folder: --out"
        )
    return name


class SearchConfig(WithTrainings, SearchOptions):
    """One search."""

    space: str | None = None
    data: str = DEFAULT
    table: Path | None = None
    tables: Path = FOLDER
    name: Annotated[str | None, AfterValidator(_folder_name)] = None
    out: Path = RUNS
    seed: int = Field(0, ge=0, lt=2**63)
    from_run: str | None = None
    extra_minutes: float = Field(0.0, ge=0, le=100_000)
    resume: str | None = None
    tensorboard: bool = False

    @property
    def wanted_range(self) -> tuple[float, float] | None:
        """(fastest, slowest) in ms, or None for `auto`."""
        return parse_range(self.budget_range)

    def recorded(self, space: str, fingerprint: str) -> dict[str, Any]:
        """What `config.toml` of a run records: everything that decides its own front."""
        values = self.model_dump(mode="json", exclude={*PLACES, "extra_minutes"})
        # Absolute, as export may run in another folder.
        values |= {"space": space, "data": absolute(self.data), "images": fingerprint}
        return {key: value for key, value in values.items() if value is not None}
