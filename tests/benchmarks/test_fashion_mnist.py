"""The benchmark on Fashion-MNIST: what it counts as reached, and how it compares a file with its `model.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fashion_mnist import PRESETS, PUBLISHED, agreement, reach_of

from latnas.data.sources import load_images
from latnas.stages.export import ExportedFile
from latnas.training.checkpoint import load_tensors, save_tensors
from latnas.words.manifest import load_manifest


def row(most: int | None, accuracy: float, **others: Any) -> dict[str, Any]:
    plain = {"onnx_difference": 1e-6, "onnx_same_class": 1.0, "status": "verified"}
    return {"most_params": most, "accuracy": accuracy, **plain, **others}


def test_each_published_size_is_judged_by_the_mean_over_seeds_of_the_networks_of_that_size() -> None:
    rows = [row(20_500, 89.0), row(20_500, 92.0), row(26_000, 90.0, onnx_difference=2e-4), row(None, 10.0)]
    found = {one.what: one for one in reach_of(rows, "two-hours")}
    smallest = found["accuracy in percent, at most 20,500 parameters (n=2)"]
    assert (smallest.value, smallest.reach, smallest.met) == (90.5, 90.0, True)
    assert not found["accuracy in percent, at most 26,000 parameters (n=1)"].met
    assert sum(what.startswith("accuracy") for what in found) == 2
    assert not found["ONNX Runtime against PyTorch: largest difference of the outputs' scale"].met


def test_every_preset_but_the_tiny_one_has_something_to_reach_at_each_size() -> None:
    for one in PUBLISHED:
        assert one.reach.keys() == PRESETS.keys() - {"tiny"}
        assert one.low <= one.high < one.reach["reach"]


def test_a_file_agrees_with_its_standalone_network_on_the_test_images_and_not_with_another_s_weights(
    exported_run: Path, tmp_path: Path
) -> None:
    folder = next(exported_run.glob("runs/*/exports/*/*/manifest.json")).parent
    test = load_images("digits").test
    difference, same = agreement(ExportedFile(folder, load_manifest(folder / "manifest.json")), test)
    assert difference < 1e-5 and same == pytest.approx(1.0, abs=0.01)

    for name in ("model.onnx", "model.py", "manifest.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    weights, state = load_tensors(folder / "weights.safetensors")
    changed = {name: -value if value.ndim == 4 else value for name, value in weights.items()}
    save_tensors(tmp_path / "weights.safetensors", changed, state)
    difference, same = agreement(ExportedFile(tmp_path, load_manifest(tmp_path / "manifest.json")), test)
    assert difference > 1e-2 and same < 1.0
    assert np.isfinite(difference)
