"""Where each part of a search space runs, as one trace found it: the bridge between operations and costs.

A *site* is a part (or a module of the fixed rest) together with the shapes that reach it. Sites of equal operation and
shapes share one measurement, so `operation` names what is run and a latency table is keyed by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from latnas.words.architecture import Decision, count_architectures

FIXED = ""
"""The decision name of sites that belong to no decision: stem, reductions, head."""


@dataclass(frozen=True)
class Site:
    """A part, or a fixed module, at one place of the network.

    `operation` is the digest of the module and its input shapes; `params` and `macs` (multiply-adds for one image)
    and `output_elements` (activations for one image) are of this place alone.
    """

    decision: str
    part: str
    operation: str
    label: str
    input_shapes: tuple[tuple[int, ...], ...]
    params: int
    macs: int
    output_elements: int


@dataclass(frozen=True)
class SpaceTrace:
    """A search space without its modules: decisions, and the sites of each setting."""

    space: str
    options: Mapping[str, Any]
    decisions: tuple[Decision, ...]
    sites: Mapping[str, tuple[Site, ...]]

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings (input resolution, width multiplier), the default one first."""
        return tuple(self.sites)

    @cached_property
    def digest(self) -> str:
        """Short sha256 over decisions and sites: changes with width, depth, resolution and classes."""
        decisions = [asdict(decision) for decision in self.decisions]
        sites = {setting: [asdict(site) for site in sites] for setting, sites in self.sites.items()}
        text = json.dumps([self.space, decisions, sites], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def operations(self) -> dict[str, Site]:
        """One site for each distinct operation, over all settings, in order of appearance."""
        found: dict[str, Site] = {}
        for sites in self.sites.values():
            for site in sites:
                found.setdefault(site.operation, site)
        return found

    @property
    def architectures(self) -> int:
        """Number of architectures, equal computations and invalid ones included."""
        return len(self.sites) * count_architectures(self.decisions)
