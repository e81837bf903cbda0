"""Limits beside the latency budget: parameters, multiply-adds, size of the exported file, peak memory.

Units: parameters and multiply-adds (for one image) are counted, sizes are bytes. One list of resources serves
configs, messages, tables and manifests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from latnas.errors import UsageError
from latnas.words.quantities import exact_bytes, format_bytes, format_count, parse_bytes, parse_count


@dataclass(frozen=True)
class Resource:
    """Something that a network takes, and that may be limited by the config's field `option`.

    An amount is `shown` to people, rounded, and `written` so that it reads back as it was.
    """

    name: str
    option: str
    label: str
    parse: Callable[[str], int]
    shown: Callable[[float], str]
    written: Callable[[int], str]

    def most_of(self, value: Any) -> int | None:
        """A limit as a config has it: None, a whole number, or as people write it.

        Raises:
            UsageError: it is none of these, or less than 1.
        """
        if isinstance(value, str):
            return self.parse(value)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            return value
        raise UsageError(f"{self.option} is {value!r}, which is no limit. Write {self.typed(1_000_000)}.")

    @property
    def flag(self) -> str:
        """As it is typed: --max-params."""
        return f"--{self.option.replace('_', '-')}"

    def typed(self, most: int) -> str:
        """The flag with this very limit: --max-size 1.84MB."""
        return f"{self.flag} {self.written(most)}"


RESOURCES = (
    Resource("params", "max_params", "number of parameters", parse_count, format_count, str),
    Resource("macs", "max_macs", "number of multiply-adds", parse_count, format_count, str),
    Resource("file_bytes", "max_size", "size of the ONNX file", parse_bytes, format_bytes, exact_bytes),
    Resource("memory_bytes", "max_memory", "peak memory of activations", parse_bytes, format_bytes, exact_bytes),
)


@dataclass(frozen=True)
class Amounts:
    """What one network takes. `file_bytes` is an estimate from above until the file is written."""

    params: int
    macs: int
    file_bytes: int
    memory_bytes: int

    def of(self, resource: Resource) -> int:
        """The amount of one resource."""
        return int(getattr(self, resource.name))


@dataclass(frozen=True)
class Limits:
    """The most that a network may take of each resource; None is no limit."""

    params: int | None = None
    macs: int | None = None
    file_bytes: int | None = None
    memory_bytes: int | None = None

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Limits:
        """The limits in a config, as a search is given or has recorded them: max_params and so on.

        Raises:
            UsageError: a value is no limit.
        """
        return cls(**{resource.name: resource.most_of(config.get(resource.option)) for resource in RESOURCES})

    def most(self, resource: Resource) -> int | None:
        """The limit on one resource."""
        value: int | None = getattr(self, resource.name)
        return value

    def allow(self, amounts: Amounts) -> bool:
        """Whether a network that takes this keeps to every limit."""
        return not self.exceeded(amounts)

    def exceeded(self, amounts: Amounts) -> tuple[Resource, ...]:
        """The resources of which a network takes too much."""
        return tuple(one for one in self.limited if amounts.of(one) > (self.most(one) or 0))

    def and_also(self, others: Limits) -> Limits:
        """Both: of each resource the lower limit."""
        both = {
            one.name: [most for most in (self.most(one), others.most(one)) if most is not None] for one in RESOURCES
        }
        return Limits(**{name: min(given, default=None) for name, given in both.items()})

    def without(self, resource: Resource) -> Limits:
        """The other limits."""
        return Limits(**{f.name: getattr(self, f.name) for f in fields(self) if f.name != resource.name})

    @property
    def limited(self) -> tuple[Resource, ...]:
        """The resources that are limited at all."""
        return tuple(resource for resource in RESOURCES if self.most(resource) is not None)

    @property
    def typed(self) -> str:
        """The flags that ask for these limits."""
        return " ".join(one.typed(self.most(one) or 0) for one in self.limited)


NO_LIMITS = Limits()
