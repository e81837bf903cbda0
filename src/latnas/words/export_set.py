"""`set.json`: all the networks that were exported for one front, each in a folder beside it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from latnas.errors import LatnasError
from latnas.words.files import read_bytes, write_atomically
from latnas.words.manifest import Fraction, Kind, Manifest, Precision, Repeats, Status, load_manifest
from latnas.words.versioned import Frozen, read_versioned

SCHEMA: Final = "latnas-set-1"
SET, CARD, ANCHOR_FILE = "set.json", "README.md", "anchor.onnx"
MANIFEST, MODEL, SCRIPT, SOURCE = "manifest.json", "model.onnx", "measure.py", "model.py"
WEIGHTS = "weights.safetensors"
PARTS = {MANIFEST, MODEL, SCRIPT, SOURCE, WEIGHTS}
"""What an export leaves in its folder. Logs and other files that lie there too are no part of it."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ExportedNetwork(Frozen):
    """One folder of the set.

    Attributes:
        folder: its name.
        input: name, shape, range, type and layout of what the file takes.
        predicted_ms, measured_ms: in the set's quoted statistic; what was not measured is None.
        accuracy: share of the test images, with the ends of its 95 percent interval.
        repeats: what the same training reached from several seeds, if it was repeated.
        bytes: size of `model.onnx`.
        files: SHA-256 of every file that the export left in the folder, by name.
    """

    folder: str
    kind: Kind
    precision: Precision
    input: dict[str, Any]
    budget_ms: Annotated[float, Field(gt=0)]
    predicted_ms: float
    measured_ms: float | None
    status: Status
    accuracy: Fraction
    accuracy_low: Fraction
    accuracy_high: Fraction
    repeats: Repeats | None = None
    params: int
    macs: int
    bytes: int
    files: dict[str, Sha256]


class ExportSet(Frozen):
    """What `set.json` says. Networks come loosest budget first.

    `anchor` is the SHA-256 of `anchor.onnx` beside it; None where there is none, and in sets of before it was listed.
    """

    set_schema: Literal["latnas-set-1"] = Field(SCHEMA, alias="schema")
    table: str
    runtime: str
    device: str
    batch: int
    threads: int
    quote: Literal["floor", "p50", "p90"]
    data: str
    classes: tuple[str, ...]
    networks: Annotated[tuple[ExportedNetwork, ...], Field(min_length=1)]
    anchor: Sha256 | None = None

    def save(self, path: Path) -> None:
        """Writes the set, whole or not at all."""
        write_atomically(path, self.model_dump_json(by_alias=True, indent=1) + "\n")


def exported_network(folder: Path, manifest: Manifest) -> ExportedNetwork:
    """What the set says of one folder, with the hash of each file as it lies there.

    Raises:
        LatnasError: a file cannot be read.
    """
    contents = {path.name: read_bytes(path) for path in sorted(folder.iterdir()) if path.name in PARTS}
    measured = manifest.measured_ms
    return ExportedNetwork(
        folder=folder.name,
        kind=manifest.kind,
        precision=manifest.precision,
        input=manifest.input,
        budget_ms=manifest.budget_ms,
        predicted_ms=manifest.predicted_ms.value,
        measured_ms=None if measured is None else getattr(measured, manifest.quote),
        status=manifest.status,
        accuracy=manifest.accuracy.value,
        accuracy_low=manifest.accuracy.low,
        accuracy_high=manifest.accuracy.high,
        repeats=manifest.repeats,
        params=manifest.params,
        macs=manifest.macs,
        bytes=len(contents[MODEL]),
        files={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    )


def exported_folders(exports: Path, but: Container[str] = ()) -> list[tuple[Path, Manifest]]:
    """Every whole export in the folder of a front's exports, loosest budget first, the search's before the baselines,
    the most parameters that are allowed first.

    A folder without a manifest is one that an export did not finish: it is no part of the set.

    Args:
        but: names of folders that are left out.

    Raises:
        LatnasError: a manifest is damaged.
    """
    found = [
        (path.parent, load_manifest(path))
        for path in sorted(exports.glob(f"*/{MANIFEST}"))
        if path.parent.name not in but and (path.parent / MODEL).exists()
    ]
    kinds = ("search", "random", "most-macs")

    def place(pair: tuple[Path, Manifest]) -> tuple[float, int, float, str]:
        folder, manifest = pair
        most = None if manifest.limits is None else manifest.limits.params.most
        return -manifest.budget_ms, kinds.index(manifest.kind), -(most or math.inf), folder.name

    return sorted(found, key=place)


def load_set(path: Path) -> ExportSet:
    """Reads and validates a set.

    Raises:
        LatnasError: not a set, or of another version.
    """
    return read_versioned(ExportSet, path, SCHEMA, "set", "Export again: latnas export --all")


def still_listed(exports: Path) -> dict[str, ExportedNetwork]:
    """Of a set that was written earlier, the folders whose manifest is as it was then, by name; none without a set."""
    listed = earlier_networks(exports)
    return {one.folder: one for one in listed if _has_hash(exports / one.folder / MANIFEST, one.files.get(MANIFEST))}


def earlier_networks(exports: Path) -> tuple[ExportedNetwork, ...]:
    """What a set that was written earlier lists; nothing without a set, or where it is damaged."""
    found = _earlier(exports)
    return () if found is None else found.networks


def listed_anchor(exports: Path) -> str | None:
    """The SHA-256 of `anchor.onnx` by a set that was written earlier; None where that says none."""
    found = _earlier(exports)
    return None if found is None else found.anchor


def anchor_hash(exports: Path) -> str | None:
    """The SHA-256 of `anchor.onnx` as it lies there; None where it does not."""
    path = exports / ANCHOR_FILE
    return hashlib.sha256(read_bytes(path)).hexdigest() if path.is_file() else None


def lost_networks(exports: Path) -> list[ExportedNetwork]:
    """What the set lists in folders that have no manifest any more; nothing where no set was written yet.

    Raises:
        LatnasError: the set is damaged.
    """
    if not (exports / SET).exists():
        return []
    return [one for one in load_set(exports / SET).networks if not (exports / one.folder / MANIFEST).exists()]


def changed_files(exports: Path, listed: Sequence[ExportedNetwork]) -> list[str]:
    """`folder/file` of every part that is not what the set says, or is missing."""
    return [
        f"{network.folder}/{name}"
        for network in listed
        for name, sha256 in network.files.items()
        if name in PARTS and not _has_hash(exports / network.folder / name, sha256)
    ]


def is_set_damaged(exports: Path) -> bool:
    """Whether there is a set that cannot be read."""
    return (exports / SET).exists() and _earlier(exports) is None


def _earlier(exports: Path) -> ExportSet | None:
    """None where it was not written yet, or is damaged: then it is written anew."""
    try:
        return load_set(exports / SET)
    except LatnasError:
        return None


def _has_hash(path: Path, sha256: str | None) -> bool:
    return path.is_file() and hashlib.sha256(read_bytes(path)).hexdigest() == sha256
