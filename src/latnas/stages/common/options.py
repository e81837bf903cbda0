"""Fields that the configs of several stages share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator

from latnas.words.limits import RESOURCES


def _limit(option: str) -> Callable[[Any], int | None]:
    (resource,) = (one for one in RESOURCES if one.option == option)
    return resource.most_of


MaxParams = Annotated[int | None, BeforeValidator(_limit("max_params"))]
MaxMacs = Annotated[int | None, BeforeValidator(_limit("max_macs"))]
MaxSize = Annotated[int | None, BeforeValidator(_limit("max_size"))]
MaxMemory = Annotated[int | None, BeforeValidator(_limit("max_memory"))]
