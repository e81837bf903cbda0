"""Fields that the configs of several stages share."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from latnas.errors import UsageError
from latnas.ranking.long_model import LEAST_LONG
from latnas.training.devices import parse_train_on
from latnas.training.tasks import parse_executor
from latnas.words.budgets import parse_ms, parse_range
from latnas.words.limits import RESOURCES, Limits


def _limit(option: str) -> Callable[[Any], int | None]:
    (resource,) = (one for one in RESOURCES if one.option == option)
    return resource.most_of


def _checked_by(parse: Callable[[str], object]) -> AfterValidator:
    """Keeps a text as it is, once it has been parsed: what cannot be is refused before anything is done."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


MostParams = Annotated[int, BeforeValidator(_limit("max_params"))]
MaxParams = Annotated[int | None, BeforeValidator(_limit("max_params"))]
MaxMacs = Annotated[int | None, BeforeValidator(_limit("max_macs"))]
MaxSize = Annotated[int | None, BeforeValidator(_limit("max_size"))]
MaxMemory = Annotated[int | None, BeforeValidator(_limit("max_memory"))]
Executor = Annotated[str, _checked_by(parse_executor)]
TrainOn = Annotated[str, _checked_by(parse_train_on)]
BudgetRange = Annotated[str, _checked_by(parse_range)]
Budget = Annotated[str, _checked_by(parse_ms)]


EPOCHS = 20
"""Of the training of every exported network, by which a search goes too."""

Epochs = Annotated[int, Field(ge=0, le=10_000)]

KEPT = 3
"""At each halving one network of so many is trained on, so many times as long."""


LONG = 5
"""Long trainings, by which budgets are decided, take so many times the steps of the longest short ones."""


class WithTrainings(BaseModel):
    """A stage that hands independent trainings to other processes, in which they run on the CPU or a GPU."""

    executor: Executor = "local:2"
    train_on: TrainOn = "cpu"

    @property
    def workers(self) -> int:
        """Processes for independent tasks."""
        return parse_executor(self.executor)


class SearchOptions(BaseModel):
    """What decides how far a search reaches and how long it takes. Steps are gradient steps: see `docs/search.md`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget_range: BudgetRange = "auto"
    budgets: int = Field(5, ge=1, le=100)
    max_params: MaxParams = None
    max_macs: MaxMacs = None
    max_size: MaxSize = None
    max_memory: MaxMemory = None
    pool: int = Field(200, ge=8, le=100_000)
    trainings: int = Field(44, ge=4, le=10_000)
    training_steps: int = Field(240, ge=1, le=10_000_000)
    halvings: int = Field(0, ge=0, le=6)
    long_trainings: int = Field(12, ge=0, le=10_000)
    epochs: Epochs = EPOCHS
    reduced_width: int = Field(8, ge=1, le=1024)
    reduced_size: int = Field(16, ge=8, le=1024)
    warmup_steps: int = Field(300, ge=0, le=10_000_000)
    joint_steps: int = Field(100, ge=0, le=10_000_000)
    hypernetwork_steps: int = Field(120, ge=1, le=10_000_000)
    rounds: int = Field(3, ge=1, le=20)
    draws: int = Field(8, ge=1, le=1000)

    @model_validator(mode="after")
    def _trains_enough_to_learn_from(self) -> SearchOptions:
        if 0 < self.long_trainings < LEAST_LONG:
            raise UsageError(
                f"{self.long_trainings} long trainings are too few to learn from. Use --long-trainings {LEAST_LONG} or "
                "more, or 0 for none."
            )
        return self

    @property
    def limits(self) -> Limits:
        """What every network of the search keeps to."""
        return Limits.of_config(self.model_dump(include={resource.option for resource in RESOURCES}))

    @property
    def lengths(self) -> list[tuple[int, int]]:
        """(networks, steps of each) of every length of short trainings: the most and shortest first."""
        return [
            (math.ceil(self.trainings / KEPT**halving), self.training_steps * KEPT**halving)
            for halving in range(self.halvings + 1)
        ]

    @property
    def long_steps(self) -> int:
        """Steps of each long training."""
        return LONG * self.lengths[-1][1]

    @property
    def all_training_steps(self) -> int:
        """Gradient steps of all trainings of single networks, short and long."""
        return sum(networks * steps for networks, steps in self.lengths) + self.long_trainings * self.long_steps


def typed(command: str, config: BaseModel, *names: str) -> str:
    """The command with those of the config's fields that were given, as flags."""
    limits = {resource.option: resource.typed for resource in RESOURCES}
    flags = []
    for name in names:
        value = getattr(config, name)
        if name not in config.model_fields_set or value is None or value is False:
            continue
        flag = f"--{name.replace('_', '-')}"
        if name in limits:
            flags.append(limits[name](value))
        else:
            flags.append(flag if value is True else f"{flag} {shlex.quote(str(value))}")
    return " ".join([command, *flags])
