"""What an exported file says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version

from latnas.spaces.space import SETTING, Space
from latnas.words.architecture import Architecture

PREFIX = "latnas."
ENTRY_BYTES = 12
"""What the file needs around the name and the value of one entry."""


def file_metadata(
    architecture: Architecture, space: Space, classes: Sequence[str], table: str, seed: int
) -> dict[str, str]:
    """The entries of the file's own metadata, before each gets the prefix `latnas.`."""
    return {
        "architecture": json.dumps(architecture.to_json()), "table": table, "space": space.name,
        "classes": json.dumps(classes), "input": "images [N, C, H, W], float32 in [0, 1]",
        "input_size": str(space.options.image_size), "layout": "nchw", "version": version("latnas"), "seed": str(seed),
    }  # fmt: skip


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """By the packages' own word: pip has another name for an ONNX Runtime that runs on GPUs."""
    return {package: str(import_module(package).__version__) for package in packages}


def metadata_bytes(space: Space, classes: Sequence[str], table: str) -> int:
    """The most bytes that this takes in a file, whatever the architecture."""
    longest = {d.name: max((item.name for item in d.items), key=len) for d in space.decisions}
    entries = file_metadata(Architecture.of(SETTING, longest), space, classes, table, seed=2**63 - 1)
    return _bytes(entries)


def _bytes(entries: Mapping[str, str]) -> int:
    texts = [PREFIX + name + value for name, value in entries.items()]
    return sum(len(text.encode()) + ENTRY_BYTES for text in texts)
