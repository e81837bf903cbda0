"""Writes the JSON schemas of the files that latnas leaves: `python -m latnas.cli.schemas docs/schemas`."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel

from latnas.words import export_set, front, manifest, table
from latnas.words.files import write_json

FILES: dict[str, type[BaseModel]] = {
    table.SCHEMA: table.LatencyTable,
    front.SCHEMA: front.Front,
    manifest.SCHEMA: manifest.Manifest,
    export_set.SCHEMA: export_set.ExportSet,
}
"""By the name that a file has as its `schema`."""


def write_schemas(folder: Path) -> None:
    """One file for each, called after its schema."""
    for name, model in FILES.items():
        dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
        write_json(folder / f"{name}.json", dialect | model.model_json_schema(by_alias=True))


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
