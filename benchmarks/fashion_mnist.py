"""The whole product on Fashion-MNIST, as the founding paper's own experiment did: one search, eight networks, trained.

    python benchmarks/fashion_mnist.py --data fashion_mnist.npz --json benchmarks/results/fashion_mnist.json

`latnas profile` on this CPU, then for each seed one `latnas search` and two `latnas export`: of six networks each has
at most as many parameters as a published one, and two keep to budgets in the middle of the range of latencies. All are
trained on the 60,000 training images and looked at once on the 10,000 test images, where each ONNX file is run beside
the `model.py` that ships with it, too. A row has a network's accuracy with its 95 % interval, its parameters, and its
predicted and measured latency, beside what was published:

    Firsov and Bakhteev, "Optimization of the neural network architecture with hardware difficulty control":
    79.2, 82.5 and 85.0 % with about 26, 59 and 165 thousand parameters
    Yakovlev, Grebenkova, Bakhteev and Strijov, "Neural architecture search with structure complexity control"
    (DARTS-CC): 86.5 to 87.3, 91.8 to 92.8 and 92.3 to 93.3 % with 20.5, 64.7 and 113 thousand

Preset `two-hours` takes one seed on two cores; `reach` three seeds and longer trainings, a night. Networks take at most
five million multiply-adds, since that decides how long they train: the largest of the space takes eight times as many.
Nothing else may run on this machine while it profiles and measures. What is finished is kept in `--work`: the same
command goes on, after --minutes, Ctrl-C or a kill.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from pieces import device_of, in_pieces, of_version, piecewise_parser, profile_once
from report import Reach, as_row, failures_in_one_line, finish

from latnas.cli.console import ConsoleReporter
from latnas.data.batches import to_unit
from latnas.data.images import LabelledImages
from latnas.data.sources import load_images
from latnas.stages.export import ExportConfig, ExportedFile, export
from latnas.stages.profile import ProfileConfig
from latnas.stages.search import SearchConfig, search
from latnas.words.reporting import Reporter

BY_BUDGET = (1 / 3, 2 / 3)
"""Lambdas of the two networks that are chosen by a budget alone."""

VERSION = 2
"""Of the search and of what exports train. Raise it when that changes: what another version left is not reported."""

POINTS = 100.0
BATCH = 250


@dataclass(frozen=True)
class Published:
    """A published network: its parameters, its accuracy in percent (the ends of what was published), and our reach."""

    source: str
    params: int
    low: float
    high: float
    reach: Mapping[str, float]


PUBLISHED = (
    Published("DARTS-CC", 20_500, 86.5, 87.3, {"two-hours": 90.0, "reach": 91.0}),
    Published("Firsov", 26_000, 79.2, 79.2, {"two-hours": 90.5, "reach": 91.5}),
    Published("Firsov", 59_000, 82.5, 82.5, {"two-hours": 92.0, "reach": 93.0}),
    Published("DARTS-CC", 64_700, 91.8, 92.8, {"two-hours": 92.5, "reach": 93.3}),
    Published("DARTS-CC", 113_000, 92.3, 93.3, {"two-hours": 93.0, "reach": 94.0}),
    Published("Firsov", 165_000, 85.0, 85.0, {"two-hours": 93.0, "reach": 94.0}),
)


@dataclass(frozen=True)
class Preset:
    """How large and how long everything is. `search` and `export` are options of these stages; exports train as many
    epochs as the search goes by."""

    seeds: int
    space: Mapping[str, Any]
    search: Mapping[str, Any]
    export: Mapping[str, Any]


MBCONV = {"space": "mbconv", "width": 16, "depth": 3}
PRESETS = {
    "two-hours": Preset(
        1, MBCONV, {"max_macs": "5M", "pool": 400, "trainings": 40, "training_steps": 300, "epochs": 10}, {}
    ),
    "reach": Preset(
        3, MBCONV, {"max_macs": "5M", "pool": 1000, "trainings": 60, "training_steps": 300, "epochs": 16}, {}
    ),
    "tiny": Preset(
        1,
        {"space": "mbconv", "width": 8, "depth": 1, "calibrate": 4, "rounds": 4},
        {
            "pool": 8, "trainings": 4, "training_steps": 2, "long_trainings": 0, "reduced_width": 4, "reduced_size": 8,
            "warmup_steps": 2, "joint_steps": 2, "hypernetwork_steps": 4, "rounds": 1, "draws": 1,
            "epochs": 1,
        },
        {"rounds": 4, "finalists": 1},
    ),
}  # fmt: skip


def exported(seed: int, given: argparse.Namespace, preset: Preset, report: Reporter) -> list[ExportedFile]:
    """The eight networks of a seed, those by parameters first; what is there of them is not made again."""
    tables, runs, name = given.work / "tables", given.work / "runs", f"seed{seed}"
    how = {"seed": seed, "executor": given.executor, "train_on": given.train_on}
    profile_once(ProfileConfig(device=given.device, data=given.data, out=tables, **preset.space), report)
    search(
        SearchConfig(space="mbconv", data=given.data, tables=tables, out=runs, name=name, **how, **preset.search),
        report,
    )
    which: list[dict[str, Any]] = [{"max_params": tuple(one.params for one in PUBLISHED)}, {"lambdas": BY_BUDGET}]
    return [
        file
        for wanted in which
        for file in export(ExportConfig(run=name, runs=runs, **how, **wanted, **preset.export), report)
    ]


def row_of(seed: int, file: ExportedFile, preset: str, test: LabelledImages) -> dict[str, Any]:
    """One network; what was published of its size is None where a budget chose it."""
    manifest = file.manifest
    limit = None if manifest.limits is None else manifest.limits.params.most
    found = {one.params: one for one in PUBLISHED}.get(limit or 0)
    difference, same = agreement(file, test)
    measured = None if manifest.measured_ms is None else float(getattr(manifest.measured_ms, manifest.quote))
    return as_row(
        preset=preset, seed=seed, most_params=limit, published_by=found.source if found else None,
        published_low=found.low if found else None, published_high=found.high if found else None,
        params=manifest.params, accuracy=POINTS * manifest.accuracy.value, low=POINTS * manifest.accuracy.low,
        high=POINTS * manifest.accuracy.high, budget_ms=manifest.budget_ms, predicted_ms=manifest.predicted_ms.value,
        measured_ms=measured, status=manifest.status, epochs=manifest.training["epochs"],
        onnx_difference=difference, onnx_same_class=same, table=manifest.table, version=VERSION,
    )  # fmt: skip


def agreement(file: ExportedFile, test: LabelledImages) -> tuple[float, float]:
    """ONNX Runtime against the `model.py` beside the file, on all test images: the largest difference, relative to the
    outputs' scale, and the share that get the same class."""
    import onnxruntime  # after latnas: it sets threads

    session = onnxruntime.InferenceSession(file.onnx, providers=["CPUExecutionProvider"])
    network = standalone(file.folder)
    largest, same = 0.0, 0
    for start in range(0, len(test), BATCH):
        images = to_unit(test.images[start : start + BATCH])
        (got,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        with torch.inference_mode():
            expected = network(images).numpy()
        largest = max(largest, float(np.abs(got - expected).max() / np.abs(expected).max()))
        same += int((got.argmax(1) == expected.argmax(1)).sum())
    return largest, same / len(test)


def standalone(folder: Path) -> torch.nn.Module:
    """The network of a `model.py`, with its weights."""
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: torch.nn.Module = module.load(folder / "weights.safetensors")
    return network.eval()


def reach_of(rows: Sequence[Mapping[str, Any]], preset: str) -> list[Reach]:
    """Accuracies against what was to be reached at each size, by the mean over seeds; and the files against PyTorch."""
    found = []
    for one in PUBLISHED:
        reached = [float(row["accuracy"]) for row in rows if row["most_params"] == one.params]
        if preset in one.reach and reached:
            what = f"accuracy in percent, at most {one.params:,} parameters (n={len(reached)})"
            found.append(Reach(what, mean(reached), one.reach[preset], "higher"))
    difference = max(float(row["onnx_difference"]) for row in rows)
    same = min(float(row["onnx_same_class"]) for row in rows)
    return [
        *found,
        Reach("ONNX Runtime against PyTorch: largest difference of the outputs' scale", difference, 1e-4, "lower"),
        Reach("test images that get the same class in both, of the worst file", same, 0.999, "higher"),
        Reach("networks over their budget", sum(row["status"] == "missed" for row in rows), 0, "lower"),
    ]


def arguments() -> argparse.ArgumentParser:
    made = piecewise_parser(__doc__, Path("runs/fashion-mnist"))
    made.add_argument("--data", required=True, metavar="FILE.npz", help="Fashion-MNIST, as latnas --data takes it")
    made.add_argument("--preset", choices=list(PRESETS), default="two-hours", help="tiny: whether it works, in minutes")
    made.add_argument("--device", default="cpu", help="as latnas profile takes it")
    made.add_argument("--train-on", default="cpu", metavar="DEVICE", help="cpu, cuda or cuda:1 (default cpu)")
    return made


@failures_in_one_line("fashion_mnist")
def main() -> None:
    given, report = arguments().parse_args(), ConsoleReporter()
    preset, rows = PRESETS[given.preset], list[dict[str, Any]]()
    given.work = of_version(given.work / given.preset, VERSION)

    def work() -> None:
        test = load_images(given.data).test
        for seed in range(given.seed, given.seed + preset.seeds):
            rows.extend(row_of(seed, file, given.preset, test) for file in exported(seed, given, preset, report))

    def written() -> None:
        if rows:
            finish("fashion_mnist", rows, reach_of(rows, given.preset), device_of(given.device), given.json)

    sys.exit(in_pieces(given.minutes, report, work, written))


if __name__ == "__main__":
    main()
