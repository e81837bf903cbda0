"""A second device that is not there: what is on it is computed on the CPU, and is refused beside what was left behind.

A PyTorch without CUDA cannot show how a training runs on a GPU, but that everything is where it has to be: an operation
on tensors of two devices fails here as it does there.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

THERE = "meta"
"""A device that every PyTorch has, and that latnas trains nothing on."""

_WHERE = torch.ops.prim.device.default
_ACROSS = torch.ops.aten.copy_.default
"""Between devices, as `Tensor.copy_` and `load_state_dict` are."""


class There(Tensor):
    """A tensor on the device; `here` has its values."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> There:
        made: There = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype,
            device=here.device, dispatch_device=True,
        )  # fmt: skip
        made.here = here
        return made

    def __init__(self, here: Tensor) -> None:
        super().__init__()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _WHERE:
            return torch.device(THERE)
        raise AssertionError(f"{func} outside of `with Pretended()`")


class Pretended(TorchDispatchMode):
    """Within this block networks and tensors can be moved to `THERE` and back."""

    def __enter__(self) -> Pretended:
        # Weights that are moved have to be other tensors, of another class.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        torch.__future__.set_overwrite_module_params_on_conversion(False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        there = any(isinstance(one, There) for one in tensors)
        if func is _WHERE:
            return torch.device(THERE if there else "cpu")
        moved_to = kwargs.get("device")
        if moved_to is not None:
            there, kwargs["device"] = torch.device(moved_to).type == THERE, torch.device("cpu")
        elif there and func is not _ACROSS:
            left = [one for one in tensors if one.dim() and not isinstance(one, There)]
            assert not left, f"{func} of tensors on two devices"
        value = func(*_here(args), **_here(kwargs))
        if not there:
            return value
        value = tree_map_only(Tensor, There, value)
        return value if moved_to is not None else return_and_correct_aliasing(func, args, kwargs, value)


def _here(value: Any) -> Any:
    return tree_map_only(There, lambda one: one.here, value)
