"""What follows from its arguments alone is computed once for many tests: traces of spaces, and files of networks.

Tests of spaces do without, test_onnx_file.py calls the exporter itself, and processes that tests start remember
nothing: so what is computed here is compared there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import pytest
from torch import Tensor, nn

from latnas.spaces.space import Blueprint, Space, SpaceOptions
from latnas.stages.export import final_training
from latnas.words.architecture import Architecture

SHARED = ("traced_network", "_traced", "contexts")
"""Properties of a blueprint that equal ones may have in common: nothing changes what they hold."""


class Traced(NamedTuple):
    """A network that was traced."""

    build: Callable[..., nn.Module]
    options: SpaceOptions
    architecture: Architecture


_known: dict[Hashable, Any] = {}
_of_blueprint: dict[str, Callable[[Blueprint], Any]] = {name: vars(Blueprint)[name].func for name in SHARED}
_context, _export_onnx = Space.context, final_training.export_onnx


@contextmanager
def computed_once() -> Iterator[None]:
    """Within this block equal spaces are built and traced once, and so are the networks of a space.

    Exports share torch's registry of operations, which torch makes anew for each: a quarter of an export.
    """
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patched:
        registry_once = _remembered("registry", lambda: cache(ONNXRegistry.from_torchlib))
        patched.setattr(ONNXRegistry, "from_torchlib", staticmethod(registry_once))
        for name in SHARED:
            patched.setattr(Blueprint, name, property(_shared(name)))
        patched.setattr(Space, "context", _context_once)
        yield


@contextmanager
def exported_once() -> Iterator[None]:
    """Within this block a network that is trained again to the same weights has the file that it had before."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(final_training, "export_onnx", _export_once)
        yield


def known_contexts() -> dict[Hashable, Mapping[str, float]]:
    """What this process has found of networks, for `remember` in another one."""
    return {key: found for key, found in _known.items() if isinstance(key, Traced)}


def remember(contexts: Mapping[Hashable, Mapping[str, float]]) -> None:
    """Takes over what another process has found."""
    _known.update(contexts)


def _shared(name: str) -> Callable[[Blueprint], Any]:
    return lambda one: _remembered((one._build, one._options, name), lambda: _of_blueprint[name](one))


def _context_once(space: Space, architecture: Architecture) -> Mapping[str, float]:
    return _remembered(Traced(space._build, space.options, architecture), lambda: _context(space, architecture))


def _export_once(network: nn.Module, example: Tensor, metadata: Mapping[str, str]) -> bytes:
    """The metadata name the architecture."""
    weights = hashlib.sha256(b"".join(value.numpy().tobytes() for value in network.state_dict().values())).hexdigest()
    key = (repr(network), weights, example.shape, json.dumps(metadata, sort_keys=True))
    return _remembered(key, lambda: _export_onnx(network, example, metadata))


def _remembered(key: Hashable, compute: Callable[[], Any]) -> Any:
    if key not in _known:
        _known[key] = compute()
    return _known[key]
