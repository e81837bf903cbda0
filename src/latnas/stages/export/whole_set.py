"""`set.json` and `README.md`: all exports of a front, those of earlier commands among them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from latnas.latency.standalone import measure_script
from latnas.stages.export.model_card import model_card
from latnas.words.export_set import (
    CARD,
    MANIFEST,
    PARTS,
    SCRIPT,
    SET,
    ExportedNetwork,
    ExportSet,
    anchor_hash,
    earlier_networks,
    exported_folders,
    exported_network,
    still_listed,
)
from latnas.words.files import write_atomically
from latnas.words.table import LatencyTable


def write_set(
    exports: Path,
    table: LatencyTable,
    anchor: str | None = None,
    listed: Mapping[str, ExportedNetwork] | None = None,
) -> ExportSet:
    """Writes both anew, from the manifests that lie in the folder of a front's exports.

    Where a manifest is as an earlier set has it, so are the hashes of what lies beside it: a file that was damaged
    since then does not become the exported one. What it lists, and is not there whole any more, stays listed: `latnas
    verify` tells of it until it is exported again.

    Args:
        anchor: hash of the anchor by an earlier set; where that says none, what lies there is taken for it.
        listed: what was still listed before manifests were completed, by folder; what is so now, if that is not given.

    Raises:
        LatnasError: a manifest or a file is damaged.
    """
    folders = exported_folders(exports)
    manifests = [manifest for _, manifest in folders]
    earlier = still_listed(exports) if listed is None else listed
    found = ExportSet(
        table=table.name,
        runtime=table.runtime,
        device=table.device,
        batch=table.batch,
        threads=table.threads,
        quote=table.quote,
        data=manifests[0].data,
        classes=manifests[0].classes,
        networks=tuple(
            _as_exported(exported_network(folder, manifest), earlier.get(folder.name)) for folder, manifest in folders
        ),
        anchor=anchor or anchor_hash(exports),
    )
    write_atomically(exports / CARD, model_card(found, manifests, table))
    there = {one.folder for one in found.networks}
    lost = (one for one in earlier_networks(exports) if one.folder not in there)
    networks = sorted((*found.networks, *lost), key=lambda one: -one.budget_ms)
    found = found.model_copy(update={"networks": tuple(networks)})
    found.save(exports / SET)
    return found


def _as_exported(now: ExportedNetwork, earlier: ExportedNetwork | None) -> ExportedNetwork:
    if earlier is None:
        return now
    lasting = PARTS - {MANIFEST}  # which may have been completed just now
    if now.files.get(SCRIPT) == hashlib.sha256(measure_script().encode()).hexdigest():
        lasting -= {SCRIPT}  # left anew, by this latnas
    return now.model_copy(
        update={"files": now.files | {name: sha256 for name, sha256 in earlier.files.items() if name in lasting}}
    )
