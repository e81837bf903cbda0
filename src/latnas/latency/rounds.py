"""What one round of measurements found, as it is kept on disk until a table is whole.

This file needs the standard library only, and Python 3.9: it goes to devices as a part of `measure.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Burst(NamedTuple):
    """So many inferences back to back, and the seconds that each of them took on average."""

    inferences: int
    seconds: float


@dataclass(frozen=True)
class RoundRecord:
    """One round: a burst of every item that had not settled, and single calls of the anchor and of other witnesses.

    `discarded` names an item once for every time of it that was no time: not finite, zero or negative.
    """

    index: int
    bursts: Mapping[str, Burst]
    singles: Mapping[str, tuple[float, ...]]
    discarded: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "round": self.index,
            "bursts": {name: list(burst) for name, burst in self.bursts.items()},
            "singles": {name: list(seconds) for name, seconds in self.singles.items()},
            "discarded": list(self.discarded),
        }

    @classmethod
    def from_json(cls, value: Any) -> RoundRecord:
        """The record that `to_json` wrote.

        Raises:
            ValueError: `value` is anything else.
        """
        try:
            bursts = {str(name): Burst(int(n), float(s)) for name, (n, s) in value["bursts"].items()}
            singles = {str(name): tuple(float(s) for s in seconds) for name, seconds in value["singles"].items()}
            record = cls(int(value["round"]), bursts, singles, tuple(str(name) for name in value["discarded"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"not a record of a round of measurements: {error!r}") from error
        times = [second for seconds in singles.values() for second in seconds]
        times += [burst.seconds for burst in bursts.values()]
        if not all(map(is_a_time, times)) or any(burst.inferences < 1 for burst in bursts.values()):
            raise ValueError(f"round {record.index} holds a time or a number that is not positive")
        return record


def is_a_time(seconds: float) -> bool:
    """Whether it is finite and positive."""
    return math.isfinite(seconds) and seconds > 0
