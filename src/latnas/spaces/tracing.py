"""One run of a supernet on an example finds every site of every part, and the fixed rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from latnas.spaces.choice import Choice, choices, contains_choice, everything, selecting
from latnas.spaces.operations import OnInput
from latnas.words.architecture import Decision
from latnas.words.sites import FIXED, Site

_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class TracedOperation:
    """A module of a traced network and zeros of the shapes that reach it: what a profiler is given to time."""

    module: nn.Module
    example: tuple[Tensor, ...]


def trace_network(
    network: nn.Module, decisions: Sequence[Decision], example: Tensor
) -> tuple[tuple[Site, ...], dict[str, TracedOperation]]:
    """Runs `network` once with all parts, and once more each distinct operation to count its multiply-adds.

    Args:
        network: a supernet, of which every choice is reached.
        decisions: the decisions of `network`.
        example: [1, C, H, W].

    Returns:
        The sites in order of registration, and the operations by digest.

    Raises:
        ValueError: a part is never reached, is registered at two places, or does not lead from tensors to one tensor;
            or parameters belong to no part and no module of the fixed rest.
    """
    tracked = list(_tracked(network))
    if len({id(module) for _, _, module in tracked}) < len(tracked):
        raise ValueError("one module is registered at two places: what runs there cannot be told apart")
    calls: dict[int, list[tuple[tuple[Any, ...], Any]]] = {id(module): [] for _, _, module in tracked}

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[id(module)].append((inputs, output))

    hooks = [module.register_forward_hook(record) for _, _, module in tracked]
    was_training = network.training
    try:
        network.eval()
        with torch.no_grad(), selecting(everything(decisions)):
            network(example)
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()

    sites: list[Site] = []
    operations: dict[str, TracedOperation] = {}
    macs_of: dict[str, int] = {}
    for decision, part, module in tracked:
        what = f"{part!r} of {decision or 'the fixed rest'!r}"
        if not calls[id(module)]:
            raise ValueError(f"{what} is never reached by the example")
        for call, (inputs, output) in enumerate(calls[id(module)]):
            if output is None:
                continue  # a part that contributes nothing costs nothing
            if not all(isinstance(value, Tensor) for value in (*inputs, output)):
                raise ValueError(f"{what} does not lead from tensors to one tensor")
            run, read = (
                (module.operation, (inputs[module.source],)) if isinstance(module, OnInput) else (module, inputs)
            )
            operation = digest_of(run, read)
            if operation not in operations:
                operations[operation] = TracedOperation(run, tuple(torch.zeros_like(value) for value in read))
                macs_of[operation] = count_macs(run, operations[operation].example)
            sites.append(
                Site(
                    decision=decision,
                    part=part,
                    operation=operation,
                    label=f"{part.rpartition('/')[2]} {'x'.join(map(str, read[0].shape[1:]))}",
                    input_shapes=tuple(tuple(value.shape) for value in read),
                    # What runs twice costs its time twice, and its parameters once.
                    params=0 if call else sum(parameter.numel() for parameter in module.parameters()),
                    macs=macs_of[operation],
                    output_elements=output.numel() // output.shape[0],
                )
            )
    return tuple(sites), operations


def count_macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Multiply-adds of one run: half of what torch's FlopCounterMode counts (convolutions and matrix products)."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(*inputs)
    finally:
        module.train(was_training)
    return int(counter.get_total_flops()) // 2


def digest_of(module: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """Names what is run: class, attributes, shapes of parameters and children, shapes of the inputs.

    Not `repr`, which need not show everything that matters: two operations that print alike would silently share one
    measurement.
    """
    shapes = [[list(value.shape), str(value.dtype)] for value in inputs]
    text = json.dumps([_structure(module), shapes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _structure(module: nn.Module) -> dict[str, Any]:
    kind = type(module)
    attributes = {
        name: _described(value)
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "training"
    }
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "attributes": attributes,
        "tensors": [[name, list(value.shape)] for name, value in _own_tensors(module)],
        "children": [[name, _structure(child)] for name, child in module.named_children()],
    }


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def _described(value: Any) -> Any:
    """An attribute as JSON, the same in every process: plain values as they are, functions and others by their name."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (tuple, list)):
        return [_described(inner) for inner in value]
    if isinstance(value, dict):
        return [[str(key), _described(inner)] for key, inner in value.items()]
    return getattr(value, "__qualname__", type(value).__qualname__)


def _tracked(network: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """(decision, part, module) for every part of every choice; then for the largest modules free of choices."""
    for decision, tied in choices(network).items():
        for choice in tied:
            for name in choice.part_names:
                yield decision, name, choice.part(name)
    yield from _fixed_rest(network, "")


def _fixed_rest(module: nn.Module, path: str) -> Iterator[tuple[str, str, nn.Module]]:
    if isinstance(module, Choice):
        return
    if not contains_choice(module) and not isinstance(module, nn.ModuleList | nn.ModuleDict):  # these are never called
        yield FIXED, path, module
        return
    if any(True for _ in module.parameters(recurse=False)):
        raise ValueError(
            f"{path or 'the network'!r} has parameters beside its choices: put them into a module of their own"
        )
    for name, child in module.named_children():
        yield from _fixed_rest(child, f"{path}.{name}".lstrip("."))
