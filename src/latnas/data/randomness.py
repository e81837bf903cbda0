"""Where every random number comes from: a generator named by its use, such as (seed, "supernet", step).

Nothing draws from a global generator, so that a stage that is resumed at step 1,000 draws what it would have
drawn had it never stopped.
"""

from __future__ import annotations

import hashlib
import json

import torch


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed that depends on `parts` alone: not on the process, the machine, or Python."""
    # JSON keeps 1 apart from "1", and ("a", "b") apart from ("ab",).
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A generator on the CPU, whatever the training device: the same numbers are drawn on every device.

    torch seeds it with the lower 32 bits only. The chance that any two of 10,000 generators are equal is 1 %,
    and all that follows is that two steps draw the same numbers.
    """
    return torch.Generator().manual_seed(seed_of(*parts))


def drawn_below(end: int, random: torch.Generator) -> int:
    """One whole number from 0 up to `end`, itself left out."""
    return int(torch.randint(end, (), generator=random))
