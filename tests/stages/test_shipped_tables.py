"""The tables that come with latnas: whole, of the built-in spaces, and as good as they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latnas.spaces.space import SPACES
from latnas.stages.common.tables import latency_of, space_of
from latnas.words.architecture import Architecture
from latnas.words.table import load_table

FOLDER = Path(__file__).parents[2] / "latency_tables"
TABLES = sorted(FOLDER.glob("*.json"))


def test_every_built_in_space_has_a_table_of_either_runtime() -> None:
    found = {(table.space, table.runtime) for table in map(load_table, TABLES)}
    assert found == {(space, runtime) for space in SPACES for runtime in ("onnxruntime", "torch")}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_shipped_table_predicts_the_networks_it_was_made_of(path: Path) -> None:
    table = load_table(path)
    assert table.name == path.stem
    latency = latency_of(table, space_of(table))
    networks = table.calibration.networks
    predicted = [latency.predict_ms(Architecture.from_json(entry.architecture)) for entry in networks]
    measured = [latency.quoted_ms(entry.floor_ms) for entry in networks]
    error = float(np.mean(np.abs(np.array(predicted) / measured - 1.0)))
    assert error < table.calibration.quality.mean_error, "those that are left out are harder to predict"
    assert table.noise.mean < 0.01 and table.calibration.quality.within5 > 0.9
