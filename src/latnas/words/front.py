"""`front.json`: every architecture that a search scored for one table, and the judge's choice within each budget."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange
from latnas.words.estimate import Estimate
from latnas.words.files import write_atomically
from latnas.words.table import ArchitectureJson
from latnas.words.versioned import Frozen, read_versioned

SCHEMA: Final = "latnas-front-1"


class ScoredNetwork(Frozen):
    """One architecture as the search saw it. `score` is the accuracy model's, not an accuracy that was measured."""

    architecture: ArchitectureJson
    predicted_ms: Estimate
    score: Estimate
    params: int
    macs: int

    @property
    def as_architecture(self) -> Architecture:
        """The architecture, out of its JSON."""
        return Architecture.from_json(self.architecture)


class BudgetChoice(Frozen):
    """The judge's choice within one budget: a position in `Front.networks`."""

    lam: float = Field(alias="lambda", ge=0, le=1)
    budget_ms: float = Field(gt=0)
    network: int = Field(ge=0)


class Front(Frozen):
    """What a search leaves for export. `networks` is sorted by predicted latency."""

    front_schema: Literal["latnas-front-1"] = Field(SCHEMA, alias="schema")
    table: str
    quote: str
    fastest_ms: float = Field(gt=0)
    slowest_ms: float = Field(gt=0)
    seed: int
    networks: tuple[ScoredNetwork, ...] = Field(min_length=1)
    pareto: tuple[int, ...] = Field(min_length=1)
    budgets: tuple[BudgetChoice, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_positions(self) -> Self:
        positions = {*self.pareto, *(choice.network for choice in self.budgets)}
        if not positions <= set(range(len(self.networks))):
            raise ValueError(f"a position beyond the {len(self.networks)} networks")
        return self

    @property
    def budget_range(self) -> BudgetRange:
        """The range that lambda spans."""
        return BudgetRange(self.fastest_ms, self.slowest_ms)

    def within(self, budget_ms: float) -> list[ScoredNetwork]:
        """Networks predicted to be within a budget, the best score first; of equal scores the faster."""
        fitting = [network for network in self.networks if network.predicted_ms.value <= budget_ms]
        return sorted(fitting, key=lambda network: (-network.score.value, network.predicted_ms.value))

    def save(self, path: Path) -> None:
        """Writes the front, whole or not at all."""
        write_atomically(path, self.model_dump_json(by_alias=True, indent=1) + "\n")


def load_front(path: Path) -> Front:
    """Reads and validates a front.

    Raises:
        LatnasError: not a front, or of another version.
    """
    return read_versioned(Front, path, SCHEMA, "front", "Search again: latnas search")
