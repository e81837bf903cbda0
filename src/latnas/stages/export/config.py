"""What an export is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from latnas.errors import LatnasError, UsageError
from latnas.stages.common.options import EPOCHS, Budget, Epochs, MaxMacs, MaxMemory, MaxSize, MostParams, WithTrainings
from latnas.stages.common.runs import RUNS, RunFolder
from latnas.stages.export.form import Form
from latnas.words.budgets import parse_ms
from latnas.words.limits import Limits
from latnas.words.versioned import first_problem


class WhichExports(BaseModel):
    """Which run, which of its fronts, which budgets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str | None = None
    runs: Path = RUNS
    table: str | None = None
    lambdas: tuple[float, ...] = ()
    budgets: tuple[Budget, ...] = ()

    @property
    def budgets_ms(self) -> tuple[float, ...]:
        """`budgets` in ms."""
        return tuple(parse_ms(text) for text in self.budgets)


class ExportConfig(WhichExports, WithTrainings):
    """Which budgets, and how to measure and train."""

    all: bool = False
    data: str | None = None
    max_params: tuple[MostParams, ...] = ()
    max_macs: MaxMacs = None
    max_size: MaxSize = None
    max_memory: MaxMemory = None
    baselines: bool = False
    finalists: int = Field(3, ge=1, le=50)
    rounds: int = Field(60, ge=4, le=100_000)
    epochs: Epochs = EPOCHS
    batch_size: int = Field(64, ge=2, le=65_536)
    learning_rate: float = Field(0.1, gt=0, le=10, allow_inf_nan=False)
    init: Literal["scratch", "supernet"] | None = None
    auxiliary: float = Field(0.0, ge=0, le=10, allow_inf_nan=False)
    ema: float = Field(0.0, ge=0, lt=1)
    distill: bool = False
    patience: int = Field(0, ge=0, le=10_000)
    seeds: int = Field(1, ge=1, le=100)
    seed: int = Field(0, ge=0, lt=2**63)
    int8: bool = False
    int8_tolerance: float = Field(1.0, ge=0, le=100)
    fp16: bool = False
    input: Literal["float", "uint8"] = "float"
    layout: Literal["nchw", "nhwc"] = "nchw"

    @model_validator(mode="after")
    def _names_something(self) -> ExportConfig:
        if not (self.lambdas or self.budgets or self.all or any(limits.limited for limits in self.limits)):
            raise UsageError(
                "name what to export: --lambda 0.5, --budget 0.4ms, --max-params 200k (all repeatable), or --all."
            )
        return self

    @model_validator(mode="after")
    def _is_of_one_precision(self) -> ExportConfig:
        if self.int8 and self.fp16:
            raise UsageError("one file is of one precision: name --int8 or --fp16. The other is another export.")
        return self

    @model_validator(mode="after")
    def _trains_what_it_ships(self) -> ExportConfig:
        if self.epochs == 0 and self.init == "scratch":
            raise UsageError("--epochs 0 ships the supernet's weights; those of --init scratch have learnt nothing.")
        if self.epochs == 0 and self.distill:
            raise UsageError("--epochs 0 trains nothing, so there is nothing to --distill. Leave one of them out.")
        if self.epochs == 0 and self.seeds > 1:
            raise UsageError("--epochs 0 trains nothing, so that all --seeds come to the same. Leave one of them out.")
        for name in ("ema", "patience", "auxiliary"):
            if self.epochs == 0 and getattr(self, name):
                raise UsageError(f"--epochs 0 trains nothing, and --{name} is of a training. Leave one of them out.")
        return self

    @property
    def limits(self) -> tuple[Limits, ...]:
        """What files keep to beside a budget and the limits of the run: one for each number of parameters."""
        others = {"macs": self.max_macs, "file_bytes": self.max_size, "memory_bytes": self.max_memory}
        return tuple(Limits(params=most, **others) for most in dict.fromkeys(self.max_params or (None,)))

    def in_run(self, run: RunFolder) -> ExportConfig:
        """With as many epochs as the run's search went by, unless others were asked for.

        Raises:
            UsageError: the options contradict these.
            LatnasError: the run's config was edited into something that is no number of epochs.
        """
        epochs = run.read_config().get("epochs", EPOCHS)
        if epochs == self.epochs or "epochs" in self.model_fields_set:
            return self
        try:
            return ExportConfig(**{**self.model_dump(exclude_unset=True), "epochs": epochs})
        except ValidationError as error:
            raise LatnasError(f"{run.config}: {first_problem(error)}") from error

    @property
    def usual_start(self) -> Literal["scratch", "supernet"]:
        """What `init` is where it is not given."""
        return "scratch" if self.epochs else "supernet"

    @property
    def starts_from(self) -> Literal["scratch", "supernet"]:
        """The weights that trainings begin with; without any training those that were inherited ship."""
        return self.init or self.usual_start

    @property
    def form(self) -> Form:
        """In which files ship."""
        return Form("int8" if self.int8 else "fp16" if self.fp16 else "fp32", self.input, self.layout)
