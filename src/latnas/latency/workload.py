"""What a profiler is given to time: a module, an example of its input, and the same as an ONNX file.

Single operations, whole networks, exported files and quantised files are all workloads, so that all of them
are timed alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from latnas.errors import UsageError
from latnas.latency.onnx_export import export_for_measuring

if TYPE_CHECKING:
    from torch import Tensor, nn


class Workload:
    """One computation and an example of its input. The ONNX file is made when first asked for, and kept."""

    def __init__(
        self,
        module: nn.Module | None,
        example: Tensor | Sequence[Tensor],
        *,
        file: bytes | None = None,
        precision: str = "fp32",
    ) -> None:
        """`module` is put into evaluation mode. The batch of `example` is the one that is measured."""
        from torch import Tensor

        self.example: tuple[Tensor, ...] = (example,) if isinstance(example, Tensor) else tuple(example)
        if not self.example:
            raise ValueError("a workload needs an example of at least one input")
        self._module = module.eval() if module is not None else None
        self._file = file
        self.precision = precision

    @classmethod
    def from_file(cls, file: bytes, example: Tensor | Sequence[Tensor], precision: str = "fp32") -> Workload:
        """An ONNX file that exists already, such as the one that will be shipped. It has no module."""
        return cls(None, example, file=file, precision=precision)

    @property
    def module(self) -> nn.Module:
        """The module, in evaluation mode.

        Raises:
            UsageError: the workload is an ONNX file.
        """
        if self._module is None:
            raise UsageError("an ONNX file cannot be run as a PyTorch module. Use --runtime onnxruntime.")
        return self._module

    def onnx(self, precision: str = "fp32") -> bytes:
        """The ONNX file, fit for measuring, not for shipping.

        Raises:
            UsageError: the workload does not exist in this precision.
            LatnasError: the module cannot be exported.
        """
        if precision != self.precision:
            raise UsageError(f"this workload is in {self.precision}; {precision} was asked for.")
        if self._file is None:
            self._file = export_for_measuring(self.module, self.example)
        return self._file

    @property
    def digest(self) -> str:
        """SHA-256 of the ONNX file: equal digests are the same computation with the same weights."""
        return hashlib.sha256(self.onnx(self.precision)).hexdigest()


def identity_workload(example: Tensor | Sequence[Tensor]) -> Workload:
    """Copies its input: what a call costs when there is nothing to compute.

    A module without any operation would not do: its output would be its input, and nothing would run.
    """
    from torch import nn

    class Copy(nn.Module):
        def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            return tuple(x.clone() for x in inputs)

    return Workload(Copy(), example)
