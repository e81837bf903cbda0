"""Manifests: exact there and back, the published names on disk, and damaged ones refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latnas.errors import LatnasError
from latnas.words.estimate import Estimate
from latnas.words.manifest import Check, Manifest, Measured, RawTimes, ReachedAccuracy, load_manifest


def manifest() -> Manifest:
    return Manifest(
        budget_ms=4.0,
        predicted_ms=Estimate(value=3.8, low=3.7, high=3.9),
        measured_ms=Measured(floor=3.5, p50=3.85, p90=4.1),
        raw_ms=RawTimes(p50=3.9, p90=4.4),
        quote="p50",
        within_budget=True,
        status="verified",
        runtime="onnxruntime",
        measured_artifact="onnx",
        sha256="0" * 64,
        accuracy=ReachedAccuracy(split="test", value=0.91, low=0.9, high=0.92),
        params=100_000,
        macs=5_000_000,
        architecture={"setting": "default", "items": {"layer": "conv"}},
        lam=0.5,
        table="cpu-onnxruntime-toy-00000000",
        seed=0,
        versions={"latnas": "0.1"},
        kind="search",
        data="toy",
        classes=("cat", "dog"),
        input={"name": "x"},
        training={"epochs": 1},
        check=Check(images=64, largest_difference=1e-6, same_class=1.0),
        created="2026-01-01T00:00:00+00:00",
    )


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    manifest().save(tmp_path / "manifest.json")
    assert load_manifest(tmp_path / "manifest.json") == manifest()


def test_the_published_fields_stand_at_the_top() -> None:
    fields = list(json.loads(manifest().model_dump_json(by_alias=True)))
    assert fields[:19] == [
        "schema", "budget_ms", "predicted_ms", "measured_ms", "raw_ms", "quote", "within_budget", "status", "runtime",
        "measured_artifact", "sha256", "accuracy", "params", "macs", "architecture", "lambda", "table", "seed",
        "versions",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema": "latnas-manifest-0"}, "has schema 'latnas-manifest-0'; this latnas reads 'latnas-manifest-1'"),
        ({"status": "surely"}, "status: Input should be 'verified', 'verified-in-pytorch', 'unverified' or 'missed'"),
        ({"accuracy": {"split": "test", "value": 91, "low": 0.9, "high": 0.92}}, "accuracy.value: Input should be"),
        ({"accuracy": {"split": "train", "value": 0.9, "low": 0.9, "high": 0.9}}, "accuracy.split: Input should be"),
        ({"budget_ms": float("inf")}, "budget_ms: Input should be a finite number"),
        ({"architecture": {}}, "architecture: Value error, an architecture is an object"),
        ({"latency": 3}, "latency: Extra inputs are not permitted"),
    ],
)
def test_a_damaged_manifest_is_refused_in_one_line_with_what_to_type(
    change: dict[str, object], problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(manifest().model_dump_json(by_alias=True)), **change}))
    with pytest.raises(LatnasError) as caught:
        load_manifest(path)
    message = str(caught.value)
    assert problem in message and str(path) in message and "\n" not in message
    assert message.endswith("or remove its folder and the set.json beside that")
