"""The primitive operations that one image runs through a network: what each reads and writes, and what is stored.

From this follow the peak memory of the activations and the size of an exported file, which are no sums over decisions.
The operations are those that PyTorch dispatches to its backend: convolution, batch normalisation, ReLU, addition,
pooling, matrix product. Views (transposing, reshaping) share the memory of what they view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from latnas.spaces.choice import Selection, selecting

CONVOLUTION = "convolution"
BATCH_NORM = "native_batch_norm"


@dataclass(frozen=True)
class Primitive:
    """One operation. `reads` and `writes` are activations by number, `constants` the sizes of weights that it reads."""

    kind: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    constants: tuple[int, ...]

    @property
    def computes(self) -> bool:
        """Whether it writes anything new: views and empty tensors do not."""
        return bool(self.writes)


@dataclass(frozen=True)
class PrimitiveRun:
    """The operations in the order in which they ran.

    Activations have numbers: 0 is the input. `bytes_of` is the memory of each for one image, `outputs` are those that
    leave the network, `stored` is the number of weights and buffers that were read, each counted once. `slices` are the
    views that leave something out: they compute nothing, and are nodes of an exported graph all the same.
    """

    operations: tuple[Primitive, ...]
    bytes_of: tuple[int, ...]
    outputs: tuple[int, ...]
    stored: int
    slices: int

    @property
    def peak_bytes(self) -> int:
        """The most memory that activations take at a time.

        Each lives from the operation that writes it to the last that reads it, both included: an operation has its
        inputs and its outputs. The input lives from the start, the output to the end. Weights are not counted.
        """
        first, last = [0] * len(self.bytes_of), [0] * len(self.bytes_of)
        for step, operation in enumerate(self.operations):
            for value in operation.writes:
                first[value] = step
            for value in (*operation.reads, *operation.writes):
                last[value] = step
        for value in self.outputs:
            last[value] = max(len(self.operations) - 1, 0)
        change = [0] * (len(self.operations) + 2)
        for size, begins, ends in zip(self.bytes_of, first, last, strict=True):
            change[begins] += size
            change[ends + 1] -= size
        now = peak = 0
        for difference in change:
            now += difference
            peak = max(peak, now)
        return peak

    @property
    def folded_norms(self) -> tuple[int, ...]:
        """Channels of each batch normalisation that alone reads a convolution: an exporter folds it into that one."""
        readers: dict[int, int] = {}
        writers: dict[int, str] = {}
        for operation in self.operations:
            for value in operation.reads:
                readers[value] = readers.get(value, 0) + 1
            for value in operation.writes:
                writers[value] = operation.kind
        return tuple(
            operation.constants[0]
            for operation in self.operations
            if operation.kind == BATCH_NORM
            and all(writers.get(v) == CONVOLUTION and readers[v] == 1 for v in operation.reads)
        )


def run_primitives(module: nn.Module, inputs: Sequence[Tensor], selection: Selection | None = None) -> PrimitiveRun:
    """Runs `module` once, in evaluation mode, and notes what it does.

    Args:
        module: takes `inputs`, of one image each, and returns a tensor or None.
        selection: what choices inside run.
    """
    was_training = module.training
    if was_training:
        module.eval()  # visits every module, which takes as long as running a few
    recorder = _Recorder(inputs)
    try:
        with torch.no_grad(), selecting(selection or {}), recorder:
            output = module(*inputs)
    finally:
        if was_training:
            module.train()
    return recorder.finished(output)


class _Recorder(TorchDispatchMode):
    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operations: list[Primitive] = []
        self._bytes: list[int] = []
        self._numbers: dict[int, int] = {}
        self._constants: dict[int, int] = {}
        self._slices = 0
        self._kept: list[Any] = []  # as long as a tensor is referred to, no other takes its memory
        for value in inputs:
            self._number(value)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = _tensors((args, kwargs))
        reads = tuple(dict.fromkeys(self._numbers[_memory(v)] for v in given if _memory(v) in self._numbers))
        constants = [value for value in given if _memory(value) not in self._numbers]
        views = {_memory(value) for value in constants}
        for value in constants:
            self._constants.setdefault(_memory(value), value.numel())
        new = [
            value
            for value in _tensors(result)
            if value.numel() and _memory(value) not in self._numbers and _memory(value) not in views
        ]
        writes = tuple(self._number(value) for value in new)
        kind = func.overloadpacket.__name__
        self._slices += kind == "slice" and result.numel() < given[0].numel()
        self._operations.append(Primitive(kind, reads, writes, tuple(value.numel() for value in constants)))
        self._kept.append((given, result))
        return result

    def finished(self, output: Any) -> PrimitiveRun:
        """What was noted, now that the network has returned `output`."""
        outputs = tuple(self._numbers[_memory(v)] for v in _tensors(output) if _memory(v) in self._numbers)
        operations = tuple(operation for operation in self._operations if operation.computes)
        stored = sum(self._constants.values())
        return PrimitiveRun(operations, tuple(self._bytes), outputs, stored, self._slices)

    def _number(self, value: Tensor) -> int:
        number = self._numbers.setdefault(_memory(value), len(self._bytes))
        if number == len(self._bytes):
            self._bytes.append(value.numel() * value.element_size())
        return number


def _memory(value: Tensor) -> int:
    return int(value.untyped_storage()._cdata)


def _tensors(values: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and mappings."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        return [tensor for value in values.values() for tensor in _tensors(value)]
    if isinstance(values, tuple | list):
        return [tensor for value in values for tensor in _tensors(value)]
    return []
