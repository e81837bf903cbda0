"""What a profiler is given to time: a module, an example of its input, and the same as an ONNX file.

Single operations, whole networks, exported files and quantised files are all workloads, so that all of them
are timed alike.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from latnas.errors import UsageError
from latnas.latency.onnx_export import export_for_measuring
from latnas.latency.precisions import PRECISIONS, halve, quantise_for_measuring

if TYPE_CHECKING:
    from torch import Tensor, nn

Network = TypeVar("Network", bound="nn.Module")


class Workload:
    """One computation and an example of its input. The ONNX file is made when first asked for, and kept."""

    def __init__(
        self,
        module: nn.Module | None,
        example: Tensor | Sequence[Tensor],
        *,
        file: bytes | None = None,
    ) -> None:
        """`module` is put into evaluation mode. The batch of `example` is the one that is measured.

        Where normalisations are as they begin, a copy is measured: see `as_if_trained`.
        """
        from torch import Tensor

        self.example: tuple[Tensor, ...] = (example,) if isinstance(example, Tensor) else tuple(example)
        if not self.example:
            raise ValueError("a workload needs an example of at least one input")
        self._module = as_if_trained(module.eval()) if module is not None else None
        self._file = file
        self._made: dict[str, bytes] = {}

    @classmethod
    def from_file(cls, file: bytes, example: Tensor | Sequence[Tensor]) -> Workload:
        """An ONNX file that exists already, such as the one that will be shipped. It has no module."""
        return cls(None, example, file=file)

    @property
    def module(self) -> nn.Module:
        """The module, in evaluation mode, as if it were trained.

        Raises:
            UsageError: the workload is an ONNX file.
        """
        if self._module is None:
            raise UsageError("an ONNX file cannot be run as a PyTorch module. Use --runtime onnxruntime.")
        return self._module

    def onnx(self, precision: str = "fp32") -> bytes:
        """The module as an ONNX file in this precision, fit for measuring, not for shipping.

        In int8 its ranges are those of random numbers. A file that existed is given as it is, in its own precision.

        Raises:
            UsageError: there is no such precision.
            LatnasError: the module cannot be exported, or not in this precision.
        """
        if self._file is not None:
            return self._file
        if precision not in self._made:
            self._made[precision] = self._make(precision)
        return self._made[precision]

    def _make(self, precision: str) -> bytes:
        if precision == "fp32":
            return export_for_measuring(self.module, self.example)
        if precision == "fp16":
            return halve(self.onnx())
        if precision == "int8":
            return quantise_for_measuring(self.onnx(), [tuple(given.shape) for given in self.example])
        raise UsageError(f"there is no precision {precision!r}. Known: {', '.join(PRECISIONS)}.")


def as_if_trained(module: Network) -> Network:
    """The module, or where normalisations are as they begin a copy, with other values than their zeros and ones.

    A runtime leaves an addition of zeros out. And of equal values an exporter makes one tensor that several operations
    read, of which a runtime merges less: in fp16 on a CPU networks of `mbconv` took up to 4.3 times as long as trained.

    Networks that are derived from a supernet which went through this need no copy of their own.
    """
    import torch

    def own_values(part: nn.Module) -> list[Tensor]:
        own = (*part.parameters(recurse=False), *part.buffers(recurse=False))
        return [value for value in own if value.is_floating_point() and not value.is_meta]  # meta: a shape alone

    def begins(part: nn.Module) -> bool:
        own = own_values(part)
        return bool(own) and all(bool(((value == 0) | (value == 1)).all()) for value in own)

    if not any(map(begins, module.modules())):
        return module
    made, draws = copy.deepcopy(module), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in filter(begins, made.modules()):
            for value in own_values(part):
                value.copy_(torch.empty(value.shape).uniform_(0.5, 1.5, generator=draws))
    return made


def identity_workload(example: Tensor | Sequence[Tensor]) -> Workload:
    """Copies its input: what a call costs when there is nothing to compute.

    A module without any operation would not do: its output would be its input, and nothing would run.
    """
    from torch import nn

    class Copy(nn.Module):
        def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            return tuple(x.clone() for x in inputs)

    return Workload(Copy(), example)
