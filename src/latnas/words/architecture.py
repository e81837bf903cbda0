"""What can be decided in a search space, and one way of deciding it.

A *decision* has *items*; an item is a set of *parts* that run together. For a plain choice of one candidate an item is
one part. For a node of a DARTS cell an item is two parts: an operation on each of two distinct inputs. Architecture
parameters alpha belong to parts, probabilities and costs to items; `Decision.incidence` leads from one to the other.

Shapes: I items, P parts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from latnas.errors import LatnasError


@dataclass(frozen=True)
class Item:
    """One outcome of a decision: the parts that then run together."""

    name: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """One thing to decide, at one or (tied) several places of a network."""

    name: str
    parts: tuple[str, ...]
    items: tuple[Item, ...]

    def __post_init__(self) -> None:
        if not self.items:
            raise ValueError(f"decision {self.name!r} has no items")
        names = [item.name for item in self.items]
        if len(set(names)) != len(names) or len(set(self.parts)) != len(self.parts):
            raise ValueError(f"decision {self.name!r} has two items or two parts of one name")
        unknown = {part for item in self.items for part in item.parts} - set(self.parts)
        if unknown:
            raise ValueError(f"decision {self.name!r} has items of unknown parts: {', '.join(sorted(unknown))}")

    @cached_property
    def incidence(self) -> np.ndarray:
        """[I, P] of 0 and 1: which parts an item is made of. Item logits are incidence @ alpha."""
        matrix = np.zeros((len(self.items), len(self.parts)))
        for row, item in enumerate(self.items):
            for part in item.parts:
                matrix[row, self.parts.index(part)] = 1.0
        return matrix

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Position of each item, by name."""
        return {item.name: position for position, item in enumerate(self.items)}

    def item(self, name: str) -> Item:
        """The item called `name`.

        Raises:
            LatnasError: there is none.
        """
        if name not in self.index:
            known = ", ".join(list(self.index)[:8]) + (", ..." if len(self.items) > 8 else "")
            raise LatnasError(f"decision {self.name!r} has no item {name!r}. Known: {known}.")
        return self.items[self.index[name]]


@dataclass(frozen=True, eq=False)
class Architecture:
    """A setting, and for every decision the name of the chosen item. Names, never indices: they survive reordering.

    Two are equal if their keys are: the order of decisions does not count.
    """

    setting: str
    chosen: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, setting: str, chosen: Mapping[str, str]) -> Architecture:
        """The architecture with these items, in the mapping's order."""
        return cls(setting, tuple(chosen.items()))

    @classmethod
    def from_indices(cls, setting: str, decisions: Sequence[Decision], indices: Sequence[int]) -> Architecture:
        """The architecture whose item in each decision stands at the given position."""
        pairs = zip(decisions, indices, strict=True)
        return cls(setting, tuple((decision.name, decision.items[index].name) for decision, index in pairs))

    @cached_property
    def items(self) -> Mapping[str, str]:
        """Item name by decision name."""
        return dict(self.chosen)

    def indices(self, decisions: Sequence[Decision]) -> tuple[int, ...]:
        """Positions of the chosen items. Raises LatnasError where a decision or an item does not fit."""
        self.check(decisions)
        return tuple(decision.index[self.items[decision.name]] for decision in decisions)

    def check(self, decisions: Sequence[Decision]) -> None:
        """Raises LatnasError unless this decides exactly these decisions, each by one of its items."""
        names = {decision.name for decision in decisions}
        missing, unknown = sorted(names - self.items.keys()), sorted(self.items.keys() - names)
        if missing or unknown:
            raise LatnasError(
                "the architecture does not belong to this space: "
                f"undecided {missing[:3] or 'nothing'}, unknown decisions {unknown[:3] or 'none'}."
            )
        for decision in decisions:
            decision.item(self.items[decision.name])

    def parts(self, decisions: Sequence[Decision]) -> dict[str, tuple[str, ...]]:
        """Parts that run, by decision. Raises LatnasError where a decision or an item does not fit."""
        self.check(decisions)
        return {decision.name: decision.item(self.items[decision.name]).parts for decision in decisions}

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"setting": self.setting, "items": dict(self.chosen)}

    @classmethod
    def from_json(cls, value: Any) -> Architecture:
        """The inverse of `to_json`. Raises LatnasError where the value has another form."""
        if not (isinstance(value, dict) and isinstance(value.get("setting"), str)):
            raise LatnasError("an architecture is an object with a 'setting' and its 'items'.")
        items = value.get("items")
        if not isinstance(items, dict) or not all(isinstance(item, str) for item in items.values()):
            raise LatnasError("an architecture's 'items' map names of decisions to names of items.")
        return cls.of(value["setting"], items)

    @cached_property
    def key(self) -> str:
        """A short name that tells architectures apart: the head of a sha256, whatever the order of the decisions."""
        text = json.dumps([self.setting, sorted(self.chosen)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return "|".join(item for _, item in self.chosen)


def distinct(architectures: Iterable[Architecture]) -> list[Architecture]:
    """Each once, in order of their first appearance."""
    return list(dict.fromkeys(architectures))


def count_architectures(decisions: Sequence[Decision]) -> int:
    """Number of ways to decide everything, equal computations and invalid ones included."""
    total = 1
    for decision in decisions:
        total *= len(decision.items)
    return total
