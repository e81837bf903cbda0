"""`Choice`: a module that is one of several candidates, and the selection that says which.

The selection is handed down by `with selecting(...)` and kept nowhere else: no state stays on modules, so the same
supernet serves every path. Parts that are not selected do not run, and their parameters keep `grad=None`.

Shapes: B images, P parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from latnas.words.architecture import Architecture, Decision, Item

Weights = Tensor | tuple[str, ...]
"""What a decision's parts are multiplied by: a tensor [P] or [B, P] (parts of weight zero do not run), or the names of
the parts that run with weight one."""

Selection = Mapping[str, Weights]

_selection: ContextVar[Selection | None] = ContextVar("selection", default=None)


@contextmanager
def selecting(selection: Selection) -> Iterator[None]:
    """Within this block, every `Choice` runs what `selection` says of its decision."""
    token = _selection.set(selection)
    try:
        yield
    finally:
        _selection.reset(token)


class Choice(nn.Module):
    """The sum of its parts, each weighted by the current selection.

    Args:
        parts: candidate modules by name. Each is called with all of this module's inputs.
        tie: sites of equal `tie` share one decision, which takes this name; otherwise the module's path names it.
        items: sets of parts that run together; by default one item for each part.

    A part may return None for "contributes nothing" (see `operations.Nothing`); if nothing contributes, so does the
    choice. Where all inputs are None (nodes that nothing reached), so is the choice.
    """

    def __init__(
        self, parts: Mapping[str, nn.Module], tie: str | None = None, items: Sequence[Sequence[str]] | None = None
    ) -> None:
        super().__init__()
        if not parts:
            raise ValueError("a choice needs at least one part")
        if len({_safe(name) for name in parts}) < len(parts):
            raise ValueError(f"two of the parts {', '.join(parts)} differ only in '.' and '_'")
        self.parts = nn.ModuleDict({_safe(name): module for name, module in parts.items()})
        self.part_names = tuple(parts)
        self.decision = tie or ""
        sets = items if items is not None else [(name,) for name in parts]
        self.items = tuple(Item("+".join(names), tuple(names)) for names in sets)

    def part(self, name: str) -> nn.Module:
        """The part called `name`."""
        return self.parts[_safe(name)]

    def forward(self, *inputs: Tensor | None) -> Tensor | None:
        """The weighted sum of the selected parts.

        Raises:
            RuntimeError: outside `selecting`, or the selection does not cover this decision or all its parts.
        """
        if all(value is None for value in inputs):
            return None
        selection = _selection.get()
        if selection is None or self.decision not in selection:
            raise RuntimeError(f"decision {self.decision!r} is not in the current selection: use `with selecting(...)`")
        weights = selection[self.decision]
        if isinstance(weights, tuple):
            return total(self.part(name)(*inputs) for name in weights)
        if weights.shape[-1] != len(self.part_names):
            raise RuntimeError(
                f"decision {self.decision!r} has {len(self.part_names)} parts, and {weights.shape[-1]} weights"
            )
        running = (weights.detach() != 0).reshape(-1, len(self.part_names)).any(0).tolist()
        return total(
            _weigh(self.part(name)(*inputs), weights[..., position])
            for position, name in enumerate(self.part_names)
            if running[position]
        )

    def extra_repr(self) -> str:
        return f"decision={self.decision!r}"


def total(values: Iterator[Tensor | None] | Sequence[Tensor | None]) -> Tensor | None:
    """The sum of what is there, None where nothing is."""
    result: Tensor | None = None
    for value in values:
        if value is not None:
            result = value if result is None else result + value
    return result


def _weigh(value: Tensor | None, weight: Tensor) -> Tensor | None:
    if value is None:
        return None
    return value * (weight if weight.dim() == 0 else weight.reshape(-1, *[1] * (value.dim() - 1)))


def _safe(name: str) -> str:
    """Module names must not contain dots; names of parts may."""
    return name.replace(".", "_")


def name_decisions(network: nn.Module) -> None:
    """Names choices that have no name yet after their path in the network, and keep it wherever they go.

    Raises:
        ValueError: the network is itself a choice, without a name.
    """
    for path, module in network.named_modules():
        if isinstance(module, Choice) and not module.decision:
            if not path:
                raise ValueError("a network that is itself a choice needs a name for it: give it a tie")
            module.decision = path


def choices(network: nn.Module) -> dict[str, list[Choice]]:
    """The choices of a network by decision, in order of registration.

    Raises:
        ValueError: choices that are tied have different parts or items, a choice is inside a part of another (no cost
            would then add up over decisions), or one has no name.
    """
    found: dict[str, list[Choice]] = {}
    for path, module in network.named_modules():
        if isinstance(module, Choice):
            if not module.decision:
                raise ValueError(f"the choice at {path!r} has no name yet: see name_decisions")
            if contains_choice(module.parts):
                raise ValueError(f"decision {module.decision!r} has another choice inside one of its parts")
            found.setdefault(module.decision, []).append(module)
    for name, tied in found.items():
        if any((other.part_names, other.items) != (tied[0].part_names, tied[0].items) for other in tied[1:]):
            raise ValueError(f"the choices tied as {name!r} differ in their parts or items")
    return found


def decisions_of(network: nn.Module) -> tuple[Decision, ...]:
    """Every decision of a network.

    Raises:
        ValueError: there is none.
    """
    decisions = tuple(Decision(name, tied[0].part_names, tied[0].items) for name, tied in choices(network).items())
    if not decisions:
        raise ValueError("the network contains no Choice, so there is nothing to search")
    return decisions


def path_of(architecture: Architecture, decisions: Sequence[Decision]) -> Selection:
    """The selection under which a supernet computes `architecture`."""
    return dict(architecture.parts(decisions))


def everything(decisions: Sequence[Decision]) -> Selection:
    """The selection under which all parts run, with equal weights: for tracing."""
    return {decision.name: torch.full((len(decision.parts),), 1.0 / len(decision.parts)) for decision in decisions}


def contains_choice(module: nn.Module) -> bool:
    """Whether a choice is left anywhere inside."""
    return any(isinstance(inner, Choice) for inner in module.modules())
