"""`README.md` beside the exported networks: what they are, how they were measured and trained, how to run one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from latnas.latency.looks import speed_at
from latnas.stages.export.form import Form
from latnas.stages.export.measuring import is_computed
from latnas.words.budgets import format_ms
from latnas.words.export_set import ExportedNetwork, ExportSet
from latnas.words.limits import RESOURCES
from latnas.words.manifest import Manifest
from latnas.words.quantities import format_bytes
from latnas.words.table import LatencyTable

QUOTES = {
    "floor": "the floor: the mean of the calm half of many bursts",
    "p50": "the median of single calls on a calm device (the floor times a factor that the table holds)",
    "p90": "the 90th percentile of single calls on a calm device (the floor times a factor that the table holds)",
}
FASTER = (
    "Where a second time is given, the device was faster than when the table was measured: budgets go by this one, at "
    "the table's speed, since the device will be slower again. "
)
KINDS = {"search": "search", "random": "a random network", "most-macs": "most multiply-adds"}

LOAD = """\
import json

import numpy as np
import onnxruntime

folder = "{folder}"
manifest = json.load(open(f"{{folder}}/manifest.json", encoding="utf-8"))
session = onnxruntime.InferenceSession(f"{{folder}}/model.onnx", providers=["CPUExecutionProvider"])
images = {example}  # yours: {what}
(logits,) = session.run(None, {{session.get_inputs()[0].name: images}})
print([manifest["classes"][index] for index in logits.argmax(1)])
"""


def model_card(found: ExportSet, manifests: Sequence[Manifest], table: LatencyTable) -> str:
    """The page, in Markdown.

    Args:
        found: what `set.json` says.
        manifests: of its networks, in their order.
        table: that the budgets are of.
    """
    parts = [
        f"# Image classifiers for {found.data}, each for a latency budget on one device",
        _introduction(found, manifests, table),
        _networks(found.networks, manifests, table),
        _latency(found, manifests, table),
        "## How to run one",
        _loading(found, manifests),
        "## How they were trained",
        _training(manifests),
        _provenance(manifests),
    ]
    return "\n\n".join(parts) + "\n"


def spread(manifest: Manifest) -> str:
    """What the same training reached from all seeds, before what was trained first was made smaller.

    An interval by two values says nothing: where these are alike it looks like certainty. They are shown themselves.
    """
    if (repeats := manifest.repeats) is None:
        return ""
    before = "" if manifest.precision == "fp32" else f" before {manifest.precision}"
    seeds = f"; {len(repeats.seeds)} seeds{before}: "
    if len(repeats.seeds) == 2:
        return seeds + ", ".join(f"{value:.1%}" for value in repeats.values)
    return f"{seeds}{repeats.mean:.1%} ({repeats.low:.1%} to {repeats.high:.1%})"


def _introduction(found: ExportSet, manifests: Sequence[Manifest], table: LatencyTable) -> str:
    kinds = ("cpu",) if found.device == "cpu" else ("gpu", "cpu")
    processor = next(filter(None, map(table.environment.get, kinds)), found.device)
    files, networks = len(manifests), len({json.dumps(one.architecture, sort_keys=True) for one in manifests})
    shared = "" if networks == files else f" of {_counted(networks, 'network')}"
    baselines = any(one.kind != "search" for one in manifests)
    return (
        f"{_counted(files, 'file')}{shared} of the search space `{table.space}`, "
        f"{'chosen by one search, and baselines beside its choices,' if baselines else 'chosen by one search'} with "
        f"latnas for the device `{found.device}` ({processor}) and the runtime "
        f"`{found.runtime}`. {'It tells' if files == 1 else 'They tell'} {len(found.classes)} classes apart: "
        f"{', '.join(found.classes)}."
    )


COLUMNS = (
    "folder", "chosen by", "precision", "budget", "predicted", "measured", "status", "test accuracy (95 %)",
    "parameters", "file",
)  # fmt: skip


def _networks(networks: Sequence[ExportedNetwork], manifests: Sequence[Manifest], table: LatencyTable) -> str:
    rows = [_row(one, manifest, table) for one, manifest in zip(networks, manifests, strict=True)]
    columns: tuple[str, ...] = COLUMNS
    inputs = [f"{form.type} {form.layout.upper()}" for form in map(Form.of, manifests)]
    if len(set(inputs)) > 1:
        columns = (*columns, "input")
        rows = [(*row, taken) for row, taken in zip(rows, inputs, strict=True)]
    if any(map(_limits, manifests)):
        columns = (*columns, "limits beside the budget")
        rows = [(*row, _limits(manifest) or "none") for row, manifest in zip(rows, manifests, strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, ("---",) * len(columns), *rows])


def _limits(manifest: Manifest) -> str:
    """What the search or the export kept the network to, such as `number of parameters 60,000`."""
    if manifest.limits is None:
        return ""
    most = {resource: getattr(manifest.limits, resource.name).most for resource in RESOURCES}
    return ", ".join(f"{one.label} {one.shown(limit)}" for one, limit in most.items() if limit is not None)


def _row(one: ExportedNetwork, manifest: Manifest, table: LatencyTable) -> tuple[str, ...]:
    other_precision = "" if one.precision == table.precision else f" in {table.precision}"
    return (
        f"[{one.folder}]({one.folder})",
        KINDS[one.kind],
        one.precision,
        format_ms(one.budget_ms),
        f"{format_ms(one.predicted_ms)}{other_precision}",
        _measured(one, manifest, table),
        one.status,
        f"{one.accuracy:.1%} ({one.accuracy_low:.1%} to {one.accuracy_high:.1%}){spread(manifest)}",
        f"{one.params:,}",
        format_bytes(one.bytes),
    )


def _measured(one: ExportedNetwork, manifest: Manifest, table: LatencyTable) -> str:
    """With what is held against the budget, where that is another time."""
    if is_computed(table):
        return "computed, not measured"
    if one.measured_ms is None:
        return "not measured"
    measured, lasting = format_ms(one.measured_ms), format_ms(one.measured_ms / speed_at(manifest.anchor_drift))
    return measured if measured == lasting else f"{measured}; {lasting} at the table's speed"


def _latency(found: ExportSet, manifests: Sequence[Manifest], table: LatencyTable) -> str:
    threads = "one thread" if found.threads == 1 else f"{found.threads} threads"
    settings = f"for a batch of {found.batch} on {threads}, with the table `{table.name}`"
    script = "`python FOLDER/measure.py`, which needs Python, numpy and onnxruntime."
    if is_computed(table):
        return (
            f"Latencies are computed, not measured, {settings}: the runtime `{found.runtime}` is a formula. They hold "
            "for no device. So no file is `verified`: `unverified` says that what was computed is within the budget, "
            f"`missed` that it is not. To measure a file on a device: {script}"
        )
    return (
        f"Latencies are {QUOTES[found.quote]}, {settings}. They hold for this device and runtime and for no other. "
        f"{FASTER if any(speed_at(one.anchor_drift) < 1 for one in manifests) else ''}"
        "`verified` says that the very file was measured there and was within its budget, `missed` that it was not; "
        "`verified-in-pytorch` that the network was measured as a PyTorch module, `unverified` that the device was not "
        f"at hand. To measure a file again, here or elsewhere: {script}"
    )


def _loading(found: ExportSet, manifests: Sequence[Manifest]) -> str:
    first = found.networks[0]
    (_, *rest), (low, high) = first.input["shape"], first.input["range"]
    kind, shape = first.input["type"], ", ".join(map(str, [4, *rest]))
    drawn = f"np.random.randint(0, 256, ({shape}))" if kind == "uint8" else f"np.random.rand({shape})"
    where = "each folder" if all(one.standalone is None for one in manifests) else "a folder that has it"
    what = f"{kind} in [{low}, {high}], {' x '.join(map(str, ['N', *rest]))}"
    code = LOAD.format(folder=first.folder, example=f"{drawn}.astype(np.{kind})", what=what)
    return (
        "In this folder, with `pip install onnxruntime` (1.18 or newer):\n\n"
        f"```python\n{code}```\n\n"
        "Normalisation is inside the file. Class names, input and provenance are in its metadata too "
        "(`session.get_modelmeta().custom_metadata_map`). In PyTorch, to run it or to train it further: `model.py` in "
        f"{where} is the network as plain source that needs nothing but torch, and `load()` in it returns it with the "
        "weights beside it, in evaluation mode: `load().train()` to train it."
    )


def _training(manifests: Sequence[Manifest]) -> str:
    ways = dict.fromkeys(_trained(one.training) for one in manifests)
    images = max(one.training.get("test_images", 0) for one in manifests)
    repeated = any(one.repeats is not None for one in manifests)
    accuracy = (
        f"Accuracy is that of the exported network on {_counted(images, 'test image')}, looked at once, after its own "
        "training. Its interval is binomial: it says how far other test images of the same kind might have moved it, "
        "and nothing of how far another training of the same network would differ. "
    ) + (
        "Where it was trained from several seeds, their mean stands beside it, with the 95 % interval of that mean; "
        "where from two, what both reached."
        if repeated
        else "That was not looked at: `latnas export --seeds 3` trains from several seeds."
    )
    return "\n".join(f"- {way}" for way in ways) + "\n\n" + accuracy


def _trained(training: Mapping[str, Any]) -> str:
    if not training["epochs"]:
        return "not at all: the weights are those that the search trained along all networks"
    start = "the weights of the search" if training["init"] == "supernet" else "random weights"
    more = f", label smoothing {training['label_smoothing']:g}" if training["label_smoothing"] else ""
    more += f"; an average of the weights ships, of decay {training['ema']:g}" if training["ema"] else ""
    more += f"; a second classifier's loss counted {training['auxiliary']:g}" if training.get("auxiliary") else ""
    more += f"; taught by {training['distilled_from']}" if training["distilled_from"] else ""
    if training.get("patience"):
        more += "; a part of the training images was held out, and the weights of the epoch that was best on them ship"
    more += f"; stopped after {_counted(training['stopped_after'], 'epoch')}" if training["stopped_after"] else ""
    length = f"{_counted(training['epochs'], 'epoch')} ({_counted(training['steps'], 'step')}"
    return (
        f"{length} of {training['batch_size']} images) from {start}: "
        f"SGD with Nesterov momentum {training['momentum']:g}, learning rate {training['learning_rate']:g} falling to "
        f"zero along a cosine, weight decay {training['weight_decay']:g}{_augmented(training)}{more}"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _augmented(training: Mapping[str, Any]) -> str:
    ways = ["mirrored left to right at random"] if training.get("flip") else []
    ways += [] if training.get("pad", 0) == 0 else ["moved at random by up to an eighth of their side"]
    return f", images {' and '.join(ways)}" if ways else ", images as they are"


def _provenance(manifests: Sequence[Manifest]) -> str:
    seeds = sorted({one.seed for one in manifests})
    listed = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    of_each = [", ".join(f"{name} {version}" for name, version in one.versions.items()) for one in manifests]
    return (
        "## Where they come from\n\n"
        f"Made with {' and '.join(dict.fromkeys(of_each))}; {listed}. `set.json` has the SHA-256 of every file, each "
        "`manifest.json` the architecture and everything that was measured. Whatever holds for the training images "
        "holds for the networks: their licence, and what they do not show."
    )
