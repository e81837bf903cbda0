"""What `latnas profile` is told."""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from latnas.data.sources import DEFAULT
from latnas.stages.common.options import typed
from latnas.stages.common.tables import FOLDER
from latnas.words.table import Quote

WHICH_TABLE = ("device", "runtime", "space", "width", "depth", "data", "batch", "threads", "precision", "out")
MOST_ROUNDS = 100_000


class ProfileConfig(BaseModel):
    """What to measure, where, and for how long.

    `calibrate` whole networks are measured; `operations` may be left out, then these networks are all there is.
    `rounds` is the most that an item gets: what has settled within `tolerance` gets fewer. `max_seconds` is for
    measuring alone, preparations come on top. `verify` fresh networks are predicted and measured afterwards.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = "cpu"
    runtime: str | None = None
    space: str = "nasbench201"
    width: int | None = None
    depth: int | None = None
    data: str = DEFAULT
    batch: int = Field(1, ge=1, le=4096)
    threads: int = Field(1, ge=1, le=1024)
    precision: str = "fp32"
    quote: Quote = "p50"
    calibrate: int = Field(40, ge=4, le=200)
    operations: bool = True
    rounds: int = Field(800, ge=4, le=MOST_ROUNDS)
    tolerance: float = Field(0.005, gt=0, lt=1)
    max_seconds: float | None = Field(180.0, gt=0, allow_inf_nan=False)
    verify: int = Field(0, ge=0, le=1000)
    seed: int = Field(0, ge=0, lt=2**63)
    out: Path = FOLDER


def of_whole_networks(config: ProfileConfig) -> str:
    """The command that measures the same table from whole networks alone."""
    return typed("latnas profile --no-operations", config, *WHICH_TABLE, "quote", "calibrate", "seed")


def longer(config: ProfileConfig, calibrate: int | None = None) -> str:
    """The command that measures the same table for twice as long, and `calibrate` networks where that is given."""
    limit = "" if config.max_seconds is None else f" --max-seconds {math.ceil(2 * config.max_seconds)}"
    whole = "" if config.operations else " --no-operations"
    networks = "" if calibrate is None else f" --calibrate {calibrate}"
    which = (*WHICH_TABLE, "quote", "seed", "tolerance", *(("calibrate",) if calibrate is None else ()))
    command = f"latnas profile --rounds {min(2 * config.rounds, MOST_ROUNDS)}{limit}{whole}{networks}"
    return typed(command, config, *which)
