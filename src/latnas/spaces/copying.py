"""Copies of networks: what `copy.deepcopy` makes, sooner.

Every module has a dozen dicts for hooks, empty in nearly all of them; `copy.deepcopy` takes each apart and rebuilds it.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn


def copied(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A copy that shares nothing with `module`, but what `memo` has for some objects in it, by their `id`.

    What is used twice inside stays one thing used twice.
    """
    if id(module) in memo:
        known: nn.Module = memo[id(module)]
        return known
    kind = type(module)
    if hasattr(kind, "__deepcopy__") or kind.__reduce_ex__ is not nn.Module.__reduce_ex__:
        return copy.deepcopy(module, memo)
    memo[id(module)] = made = kind.__new__(kind)
    for name, value in vars(module).items():
        made.__dict__[name] = _copied_value(name, value, memo)
    return made


def _copied_value(name: str, value: Any, memo: dict[int, Any]) -> Any:
    if name == "_modules":
        return {inner: None if child is None else copied(child, memo) for inner, child in value.items()}
    if isinstance(value, (dict, set)) and not value:
        return value.copy()
    return copy.deepcopy(value, memo)
