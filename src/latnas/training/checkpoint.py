"""Checkpoints: tensors and plain JSON in one safetensors file. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from latnas.errors import LatnasError
from latnas.words.files import check_is_file, write_atomically


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Writes tensors and a JSON `state` beside them, whole or not at all."""
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, save(own, metadata={"state": json.dumps(dict(state))}))


def load_tensors(path: Path, again: str = "Delete it to start over.") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save_tensors` wrote.

    Args:
        again: what to do where it cannot be read.

    Raises:
        LatnasError: missing, cut short, or not a safetensors file of latnas.
    """
    check_is_file(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            if not isinstance(state, dict):
                raise ValueError("its state is no object")
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise LatnasError(f"{path} is not a checkpoint of latnas, or was cut short ({error}). {again}") from error


def step_in(state: Mapping[str, Any], name: str, path: Path) -> int:
    """The number of steps that a checkpoint's state has under `name`. Raises LatnasError if there is none."""
    step = state.get(name)
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise LatnasError(f"{path} is damaged: its {name!r} is {str(step)[:40]!r}. Delete it to start over.")
    return step


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Loads a state dict.

    Raises:
        LatnasError: it belongs to another network.
    """
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise LatnasError(
            f"{path} holds another network's weights ({first[0].strip()}). Delete it to start over."
        ) from error
