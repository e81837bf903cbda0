"""A search space ready for use: decisions, sites, validity, canonical form, supernets and derived networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latnas.errors import LatnasError, UsageError
from latnas.spaces.choice import Choice, choices, decisions_of, name_decisions, path_of, total
from latnas.spaces.context import ContextTracer
from latnas.spaces.copying import copied
from latnas.spaces.darts import LEAST_CELLS, Darts
from latnas.spaces.mbconv import MbConv
from latnas.spaces.nasbench201 import NasBench201
from latnas.spaces.operations import Normalise
from latnas.spaces.resources import Resources
from latnas.spaces.tracing import TracedOperation, trace_network
from latnas.words.architecture import Architecture, Decision
from latnas.words.bounds import Limit
from latnas.words.limits import NO_LIMITS, Amounts, Limits
from latnas.words.sites import Site, SpaceTrace

SETTING = "default"
"""The one setting of the built-in spaces."""

DRAWS = 100_000


@dataclass(frozen=True)
class SpaceOptions:
    """What a space is built for. `image_size`, `channels` and `classes` follow from the data."""

    width: int
    depth: int
    image_size: int
    channels: int
    classes: int

    def __post_init__(self) -> None:
        for name, least, most in (
            ("width", 1, 1024), ("depth", 1, 64), ("image_size", 8, 1024), ("channels", 1, 16), ("classes", 2, 100_000),
        ):  # fmt: skip
            value = getattr(self, name)
            if not least <= value <= most:
                raise UsageError(f"{name} must be between {least} and {most}, not {value}.")


@dataclass(frozen=True)
class SpaceKind:
    """A built-in space: its supernet's class, and the width and depth that are used unless others are named."""

    build: Callable[..., nn.Module]
    width: int
    depth: int
    about: str
    least_depth: int = 1


SPACES: Mapping[str, SpaceKind] = {
    "nasbench201": SpaceKind(NasBench201, 16, 5, "one cell of six edges, repeated; convolutions, pooling, skips"),
    "mbconv": SpaceKind(MbConv, 16, 3, "layer-wise inverted residuals, as in FBNet and ProxylessNAS"),
    "darts": SpaceKind(Darts, 16, 8, "two cells of four nodes with two inputs each, repeated", LEAST_CELLS),
}


class Classifier(nn.Module):
    """A network for images in [0, 1]: normalisation, then the space's own module."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.normalise = Normalise(channels)
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(self.normalise(x))
        return out


class Blueprint:
    """One supernet of a space and what its traces say, each found when it is first asked for."""

    def __init__(self, name: str, build: Callable[..., nn.Module], options: SpaceOptions) -> None:
        self._name, self._build, self._options = name, build, options
        self._resources: dict[int, Resources] = {}

    def network(self, seed: int) -> Classifier:
        """A supernet with fresh weights, drawn from `seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            body = self._build(**vars(self._options))
            network = Classifier(body, self._options.channels)
        name_decisions(body)  # after paths inside the body
        return network

    def example(self, batch: int = 1) -> Tensor:
        """Zeros of the shape of `batch` images."""
        size = self._options.image_size
        return torch.zeros(batch, self._options.channels, size, size)

    @cached_property
    def traced_network(self) -> Classifier:
        """The supernet that traces are of, and that is asked what is valid."""
        return self.network(seed=0)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """In order of registration."""
        return decisions_of(self.traced_network.body)

    @cached_property
    def trace(self) -> SpaceTrace:
        """Decisions and sites, without modules."""
        return SpaceTrace(self._name, vars(self._options), self.decisions, {SETTING: self._traced[0]})

    @property
    def operations(self) -> Mapping[str, TracedOperation]:
        """Modules and example inputs by digest."""
        return self._traced[1]

    @cached_property
    def contexts(self) -> ContextTracer:
        """Says what a runtime may merge."""
        return ContextTracer(self.network(seed=0), self.decisions, self.example())

    def resources(self, metadata_bytes: int) -> Resources:
        """What architectures take, where files say so much of themselves."""
        if metadata_bytes not in self._resources:
            self._resources[metadata_bytes] = Resources(
                self.traced_network, self.trace, self.operations, self.example(), metadata_bytes
            )
        return self._resources[metadata_bytes]

    @cached_property
    def _traced(self) -> tuple[tuple[Site, ...], dict[str, TracedOperation]]:
        return trace_network(self.traced_network, self.decisions, self.example())


class Space:
    """One search space with its options.

    Args:
        name: what tables and runs call it.
        build: makes the supernet's module from the options. The module may define `is_valid(items)` and
            `canonical(items)` on mappings of decision to item name; without them every architecture counts as valid
            and distinct.
        limits: what a search may choose.
        metadata_bytes: what exported files say of themselves, which counts in their size.
        blueprint: of another space that differs in its limits alone.
    """

    def __init__(
        self,
        name: str,
        build: Callable[..., nn.Module],
        options: SpaceOptions,
        limits: Limits = NO_LIMITS,
        metadata_bytes: int = 0,
        blueprint: Blueprint | None = None,
    ) -> None:
        self.name = name
        self.options = options
        self.limits = limits
        self.metadata_bytes = metadata_bytes
        self._build = build
        self._blueprint = blueprint or Blueprint(name, build, options)

    def network(self, seed: int, setting: str = SETTING) -> Classifier:
        """A supernet with fresh weights, drawn from `seed` alone."""
        self._check_setting(setting)
        return self._blueprint.network(seed)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Everything that can be decided, in order of registration."""
        return self._blueprint.decisions

    @property
    def trace(self) -> SpaceTrace:
        """Decisions and sites, without modules."""
        return self._blueprint.trace

    def operation(self, digest: str) -> TracedOperation:
        """A module and example inputs for an operation of `trace.operations`."""
        return self._blueprint.operations[digest]

    def context(self, architecture: Architecture) -> Mapping[str, float]:
        """What a runtime may merge in a canonical architecture: see `ContextTracer.amounts`."""
        return self._blueprint.contexts.amounts(path_of(architecture, self.decisions))

    def example(self, batch: int = 1) -> Tensor:
        """Zeros of the shape of `batch` images."""
        return self._blueprint.example(batch)

    @property
    def has_auxiliary_point(self) -> bool:
        """Whether its networks say where an auxiliary classifier reads: `auxiliary_point() -> (module, channels)`."""
        return hasattr(self._blueprint.traced_network.body, "auxiliary_point")

    def is_valid(self, architecture: Architecture) -> bool:
        """Whether the network connects its input to its output."""
        check = getattr(self._blueprint.traced_network.body, "is_valid", None)
        return True if check is None else bool(check(architecture.items))

    def canonical(self, architecture: Architecture) -> Architecture:
        """The one architecture that stands for all that compute the same."""
        simplify = getattr(self._blueprint.traced_network.body, "canonical", None)
        if simplify is None:
            return architecture
        items = simplify(architecture.items)
        return replace(architecture, chosen=tuple((d.name, items[d.name]) for d in self.decisions))

    def is_canonical(self, architecture: Architecture) -> bool:
        """Valid, and its own canonical form: one of each computation."""
        return self.is_valid(architecture) and self.canonical(architecture).items == architecture.items

    def limited(self, limits: Limits, metadata_bytes: int = 0) -> Space:
        """The same space, of which a search may choose only what keeps to `limits`.

        Everything else is the same: `random` and shared weights see the whole space.
        """
        return Space(self.name, self._build, self.options, limits, metadata_bytes, self._blueprint)

    def allows(self, architecture: Architecture) -> bool:
        """Canonical and within the space's limits: what search and solver see."""
        return self.is_canonical(architecture) and self.keeps(architecture)

    def keeps(self, architecture: Architecture) -> bool:
        """Whether a canonical architecture is within the space's limits."""
        return self.limits == NO_LIMITS or self._resources.keep(self.limits, architecture)

    @cached_property
    def solver_limits(self) -> tuple[Limit, ...]:
        """The space's limits as far as they add up over decisions. `allows` has the last word."""
        return () if self.limits == NO_LIMITS else self._resources.solver_limits(self.limits, SETTING)

    def amounts(self, architecture: Architecture) -> Amounts:
        """Parameters, multiply-adds, estimated size of the file and peak memory of a canonical architecture."""
        return self._resources.amounts(architecture)

    def part_peaks(self) -> tuple[np.ndarray, ...]:
        """Bytes of activations that each item of each decision needs by itself: see `Resources.part_peaks`."""
        return self._resources.part_peaks(SETTING)

    def random(self, generator: torch.Generator) -> Architecture:
        """The canonical form of a valid architecture, each item drawn with equal probability.

        Raises:
            LatnasError: no valid architecture in many draws.
        """
        for _ in range(DRAWS):
            indices = [int(torch.randint(len(d.items), (), generator=generator)) for d in self.decisions]
            architecture = Architecture.from_indices(SETTING, self.decisions, indices)
            if self.is_valid(architecture):
                return self.canonical(architecture)
        raise LatnasError(f"none of {DRAWS} random architectures of space {self.name!r} is valid: check its is_valid.")

    def derive(self, network: Classifier, architecture: Architecture) -> Classifier:
        """The canonical network of `architecture`, with a copy of the supernet's weights: see `derive_module`.

        Raises:
            LatnasError: the architecture is of another space, or does not connect its input to its output.
        """
        self.check(architecture)
        if not self.is_valid(architecture):
            raise LatnasError(f"{architecture} does not connect its input to its output, so nothing can be derived.")
        derived = derive_module(network, self.canonical(architecture), self.decisions)
        assert isinstance(derived, Classifier)
        return derived

    def derive_as_written(self, network: Classifier, architecture: Architecture) -> Classifier:
        """As `derive`, without taking the canonical form: with parts that do not reach the output."""
        derived = derive_module(network, architecture, self.decisions)
        assert isinstance(derived, Classifier)
        return derived

    def reduced(self, width: int, image_size: int) -> Space:
        """The same space, narrower and for smaller images, with every layer kept."""
        options = replace(
            self.options,
            width=min(width, self.options.width),
            image_size=min(image_size, self.options.image_size),
        )
        return Space(self.name, self._build, options)

    def check(self, architecture: Architecture) -> None:
        """Raises LatnasError unless the architecture is one of this space, valid or not."""
        self._check_setting(architecture.setting)
        architecture.check(self.decisions)

    def _check_setting(self, setting: str) -> None:
        if setting != SETTING:
            raise LatnasError(f"space {self.name!r} has no setting {setting!r}. Known: {SETTING}.")

    @property
    def _resources(self) -> Resources:
        return self._blueprint.resources(self.metadata_bytes)


def check_name(name: str) -> None:
    """Raises UsageError where no built-in space has this name."""
    if name not in SPACES:
        raise UsageError(f"no search space named {name!r}. Known: {', '.join(SPACES)}. See them: latnas spaces")


def make_space(
    name: str, *, image_size: int, channels: int, classes: int, width: int | None = None, depth: int | None = None
) -> Space:
    """A built-in space by name.

    Raises:
        UsageError: there is no space of that name, or an option is out of its range.
    """
    check_name(name)
    kind = SPACES[name]
    options = SpaceOptions(
        width=kind.width if width is None else width,
        depth=kind.depth if depth is None else depth,
        image_size=image_size,
        channels=channels,
        classes=classes,
    )
    if options.depth < kind.least_depth:
        raise UsageError(f"space {name!r} has at least {kind.least_depth} cells, not {options.depth}: --depth")
    return Space(name, kind.build, options)


class Together(nn.Module):
    """Parts of one item, summed: what a choice becomes when an item has several parts."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs: Tensor) -> Tensor | None:
        return total([part(*inputs) for part in self.parts])


def derive_module(network: nn.Module, architecture: Architecture, decisions: Sequence[Decision]) -> nn.Module:
    """A copy of `network` in which every choice is replaced by what was chosen: plain PyTorch.

    Parts that were not chosen are not copied.

    Raises:
        LatnasError: the network is itself a choice.
    """
    if isinstance(network, Choice):
        raise LatnasError("a module that is itself a choice cannot be derived: put it inside a module.")
    chosen = architecture.parts(decisions)
    memo: dict[int, Any] = {}
    for decision, tied in choices(network).items():
        for choice in tied:
            parts = [copied(choice.part(name), memo) for name in chosen[decision]]
            memo[id(choice)] = parts[0] if len(parts) == 1 else Together(parts)
    return copied(network, memo)
