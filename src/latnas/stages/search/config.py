"""What a search is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from latnas.training.tasks import parse_executor
from latnas.words.budgets import parse_range

NOT_PART_OF_THE_RUN = {"name", "out", "table", "tables", "executor"}
"""Where things lie and how they are run: the same search under another of these is the same search."""


class SearchConfig(BaseModel):
    """One search. Steps are gradient steps; see `docs/search.md` for what each costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str | None = None
    data: str = "fashion-mini"
    table: Path | None = None
    tables: Path = Path("latency_tables")
    budget_range: str = "auto"
    budgets: int = Field(5, ge=1, le=100)
    name: str | None = Field(None, pattern=r"^[^./\\][^/\\]*$")  # of a folder in `out`, never a way out of it
    out: Path = Path("runs")
    seed: int = Field(0, ge=0, lt=2**63)
    executor: str = "local:2"

    pool: int = Field(200, ge=8, le=100_000)
    trainings: int = Field(8, ge=4, le=10_000)
    training_steps: int = Field(150, ge=1, le=10_000_000)
    reduced_width: int = Field(8, ge=1, le=1024)
    reduced_size: int = Field(16, ge=8, le=1024)
    warmup_steps: int = Field(300, ge=0, le=10_000_000)
    joint_steps: int = Field(100, ge=0, le=10_000_000)
    hypernetwork_steps: int = Field(200, ge=1, le=10_000_000)
    rounds: int = Field(2, ge=1, le=20)
    draws: int = Field(6, ge=1, le=1000)

    @property
    def workers(self) -> int:
        """Processes for independent tasks."""
        return parse_executor(self.executor)

    @property
    def wanted_range(self) -> tuple[float, float] | None:
        """(fastest, slowest) in ms, or None for `auto`."""
        return parse_range(self.budget_range)

    def recorded(self, space: str, fingerprint: str) -> dict[str, Any]:
        """What `config.toml` records: everything that decides the result."""
        values = self.model_dump(mode="json", exclude=NOT_PART_OF_THE_RUN)
        is_file = self.data.lower().endswith(".npz")
        data = str(Path(self.data).resolve()) if is_file else self.data  # export may run in another folder
        values |= {"space": space, "data": data, "images": fingerprint}
        return {key: value for key, value in values.items() if value is not None}
