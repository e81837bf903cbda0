"""`set.json` and `README.md`: all exports of a front, those of earlier commands among them."""

from __future__ import annotations

from pathlib import Path

from latnas.stages.export.model_card import model_card
from latnas.words.export_set import CARD, SET, ExportSet, exported_folders, exported_network
from latnas.words.files import write_atomically
from latnas.words.table import LatencyTable


def write_set(exports: Path, table: LatencyTable) -> ExportSet:
    """Writes both anew, from the manifests that lie in the folder of a front's exports.

    Raises:
        LatnasError: a manifest or a file is damaged.
    """
    folders = exported_folders(exports)
    manifests = [manifest for _, manifest in folders]
    found = ExportSet(
        table=table.name,
        runtime=table.runtime,
        device=table.device,
        batch=table.batch,
        threads=table.threads,
        quote=table.quote,
        data=manifests[0].data,
        classes=manifests[0].classes,
        networks=tuple(exported_network(folder, manifest) for folder, manifest in folders),
    )
    write_atomically(exports / CARD, model_card(found, manifests, table))
    found.save(exports / SET)
    return found
