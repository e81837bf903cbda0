"""`measure.py` in the folder of an exported file: measures that file against its budget where there is no latnas.

It reads `manifest.json` beside it, runs the file with the settings of the latency table, and turns its floor into the
quoted statistic by the table's frozen factors. An `anchor.onnx` beside it, or one folder up, is measured too: it tells
a device that is slower today from a file that is.

This file needs the standard library, numpy and onnxruntime only, and Python 3.9: it becomes a part of `measure.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from latnas.latency.looks import BURSTS, LOOKS, MOST_SECONDS, calls_ms, drift_now, rounds_for, speed_at
from latnas.latency.measure import MeasurementError, measure
from latnas.latency.ort_session import (
    CPU,
    CUDA,
    OrtRunner,
    ProviderError,
    open_session,
    options_in,
    providers_in,
    session_options,
    with_fallbacks,
)
from latnas.latency.sustained import Sustained, sustain

WITHIN, FAILED, OVER, INTERRUPTED = 0, 1, 3, 130
MODEL, ANCHOR = "model.onnx", "anchor.onnx"
MARK = "latnas.anchor"
"""What the metadata of an anchor's file call the entry that says which network it is."""

TYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8, "tensor(int8)": np.int8,
}  # fmt: skip


class CannotMeasureError(Exception):
    """The file was not measured; the message says why, and what to do."""


@dataclass(frozen=True)
class Conditions:
    """How the file is run, from its manifest.

    The factors lead from a floor to what is typical; where they are not known, the file's own single calls do.
    `anchor_ms` is the floor of the anchor in the table, and `anchor` says which network that is. `remark` says how far
    this is not what the budget is of; `unchecked` why no measurement here can be held against it, None where one can.
    """

    device: str
    settings: tuple[str, ...]
    threads: int
    batch: int
    precision: str
    factors: Mapping[str, float] | None
    anchor_ms: float | None
    anchor: str | None
    remark: str
    unchecked: str | None


@dataclass(frozen=True)
class Bench:
    """The file and, where there is one, the anchor, ready to run, and how they are measured."""

    runner: OrtRunner
    anchor: OrtRunner | None
    conditions: Conditions
    quote: str
    rounds: int | None


@dataclass(frozen=True)
class Found:
    """What was measured, in ms: the floor, the quoted statistic, and single calls as they came.

    `drift` is what the anchor took over what it took for the table; None without an anchor.
    """

    floor_ms: float
    quoted_ms: float
    p50_ms: float
    p90_ms: float
    drift: float | None

    @property
    def lasting_ms(self) -> float:
        """What is held against the budget, here as by export and `latnas verify`: at the table's speed."""
        return self.quoted_ms / speed_at(self.drift)


def main(folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Measures the file in `folder` and prints what was found.

    Returns:
        The exit code: 0 within the budget, 3 over it or another file than the manifest's, 1 where nothing could be
        measured or held against the budget, 130 where it was interrupted.
    """
    asked = _parser().parse_args(arguments)
    try:
        found = examine(folder, asked.rounds, asked.sustained)
    except CannotMeasureError as error:
        sys.stderr.write(f"measure.py: {_printable(str(error))}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("measure.py: interrupted\n")
        return INTERRUPTED
    sys.stdout.write(json.dumps(found, indent=1) + "\n" if asked.json else as_text(found))
    if found["faults"]:
        return OVER
    return WITHIN if found["unchecked"] is None else FAILED


def examine(folder: Path, rounds: int | None, sustained: float | None) -> dict[str, Any]:
    """Everything that `--json` prints. `faults` are the reasons for exit code 3, `unchecked` is the one for code 1.

    Args:
        folder: of the file.
        rounds: how many bursts the file gets in one look, if not the usual number.
        sustained: seconds of continuous load, if any.

    Raises:
        CannotMeasureError: a file is missing or damaged, or ONNX Runtime cannot run it as it has to.
    """
    manifest = _manifest(folder / "manifest.json")
    file = _read(folder / MODEL)
    conditions = conditions_of(manifest)
    found: dict[str, Any] = {
        "file": str(folder / MODEL), "device": conditions.device, "runtime": manifest["runtime"],
        "onnxruntime": onnxruntime.__version__, "threads": conditions.threads, "batch": conditions.batch,
        "quote": manifest["quote"], "budget_ms": manifest["budget_ms"], "sha256_matches": True, "floor_ms": None,
        "quoted_ms": None, "lasting_ms": None, "p50_ms": None, "p90_ms": None, "margin": None,
        "drift": None, "sustained": None, "remarks": [conditions.remark] if conditions.remark else [], "faults": [],
        "unchecked": conditions.unchecked,
    }  # fmt: skip
    if hashlib.sha256(file).hexdigest() != manifest["sha256"]:
        return {**found, "sha256_matches": False, "faults": ["it is not the file that the manifest is of"]}
    try:
        runner = _runner(file, conditions)
        anchor, wrong = _anchor(folder, conditions)
        found["remarks"] += [wrong] if wrong else []
        bench = Bench(runner, anchor, conditions, manifest["quote"], rounds)
        times = lowest_of_looks(bench, manifest["budget_ms"])
        load = None if sustained is None else _under_load(bench, sustained)
    except MeasurementError as error:
        raise CannotMeasureError(f"{error}. Type the same command to try again.") from error
    found.update(vars(times), lasting_ms=times.lasting_ms)
    if conditions.unchecked is None:
        found["margin"] = 1.0 - times.lasting_ms / manifest["budget_ms"]
        found["faults"] += ["over budget"] if times.lasting_ms > manifest["budget_ms"] else []
    return found if load is None else _with_load(found, load, conditions)


def lowest_of_looks(bench: Bench, budget_ms: float) -> Found:
    """The fastest of as many looks as it takes to be within the budget, a few at most."""
    looks: list[Found] = []
    while len(looks) < LOOKS and all(look.lasting_ms > budget_ms for look in looks):
        looks.append(_look(bench))
    return min(looks, key=lambda look: look.lasting_ms)


def conditions_of(manifest: Mapping[str, Any]) -> Conditions:
    """How the file has to be run to be held against its budget.

    Raises:
        CannotMeasureError: the manifest says nothing that can be used.
    """
    name, _, settings = manifest["runtime"].partition(":")
    other = f"the budget was set for the runtime {name}, and this is ONNX Runtime: the figures are no check of it"
    unchecked = None if name == "onnxruntime" else other
    how = manifest.get("device")
    if not isinstance(how, dict):
        remark = "the manifest does not say how its table was measured: taken are one thread and one image on the CPU"
        return Conditions("cpu", (), 1, 1, "fp32", None, None, None, remark, unchecked)
    try:
        device, precision = str(how["device"]), str(how["precision"])
        threads, batch = int(_positive(how["threads"])), int(_positive(how["batch"]))
        factors = {"floor": 1.0, "p50": _positive(how["p50_factor"]), "p90": _positive(how["p90_factor"])}
        anchor_ms, anchor = _positive(how["anchor_ms"]), how.get("anchor")
        if not isinstance(anchor, (str, type(None))):
            raise TypeError(f"{anchor!r} names no anchor")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CannotMeasureError(f"the manifest's device is damaged: {error!r}. Export it again.") from error
    if unchecked is None:
        chosen = tuple(filter(None, settings.split(",")))
        return Conditions(device, chosen, threads, batch, precision, factors, anchor_ms, anchor, "", unchecked)
    # Settings, factors and the anchor's floor are of that other runtime.
    device = device if device.startswith("cuda") else "cpu"
    return Conditions(device, (), threads, batch, precision, None, None, None, "", unchecked)


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{value!r} is not above zero and finite")
    return number


def as_text(found: Mapping[str, Any]) -> str:
    """For people."""
    lines = [
        f"{found['file']}: {found['device']}, ONNX Runtime {found['onnxruntime']}, "
        f"{found['threads']} thread(s), batch {found['batch']}"
    ]
    if found["quoted_ms"] is not None:
        quoted = _ms(found["quoted_ms"])
        if found["lasting_ms"] != found["quoted_ms"]:
            quoted += f"; {_ms(found['lasting_ms'])} at the table's speed"
        if found["margin"] is not None:
            quoted += f", {abs(found['margin']):.1%} {'below' if found['margin'] >= 0 else 'over'} the budget"
        lines += [
            f"  floor              {_ms(found['floor_ms'])}",
            f"  quoted: {found['quote']:<11}{quoted}",
            f"  budget             {_ms(found['budget_ms'])}",
            f"  single calls       p50 {_ms(found['p50_ms'])}, p90 {_ms(found['p90_ms'])}",
        ]
    if found["drift"] is not None:
        lines.append(f"  anchor network     {found['drift']:.3f} times what it took for the latency table")
    load = found["sustained"]
    if load is not None:
        p99 = "" if load["p99_ms"] is None else f", p99 {_ms(load['p99_ms'])}"
        lines.append(
            f"  under load         p50 {_ms(load['p50_ms'])}, p90 {_ms(load['p90_ms'])}{p99}; {load['calls']} calls in "
            f"{load['seconds']:.1f} s, the last fifth {load['throttling']:.2f} times the first"
        )
    lines += [f"warning: {remark}" for remark in found["remarks"]]
    verdict = "within budget" if found["unchecked"] is None else f"not checked: {found['unchecked']}"
    lines.append("; ".join(found["faults"]) or verdict)
    return "".join(_printable(line) + "\n" for line in lines)


def _under_load(bench: Bench, seconds: float) -> Sustained:
    """The anchor is measured right before: looks at the file may have been minutes ago, at another speed."""
    drift, anchor_ms = None, bench.conditions.anchor_ms
    if bench.anchor is not None and anchor_ms is not None:
        drift = drift_now(bench.anchor, anchor_ms, bench.rounds)
    return replace(sustain(bench.runner, seconds, _progress), drift=drift)


def _with_load(found: Mapping[str, Any], load: Sustained, conditions: Conditions) -> dict[str, Any]:
    p50_factor = (conditions.factors or {"p50": found["p50_ms"] / found["floor_ms"]})["p50"]
    over = found["unchecked"] is None and load.lasting_ms(found["quote"], p50_factor) > found["budget_ms"]
    return {
        **found, "sustained": load.to_json(), "remarks": [*found["remarks"], *load.warnings()],
        "faults": [*found["faults"], *(["over budget under load"] if over else [])],
    }  # fmt: skip


def _look(bench: Bench) -> Found:
    runner, conditions = bench.runner, bench.conditions
    runners = {MODEL: runner} if bench.anchor is None else {MODEL: runner, ANCHOR: bench.anchor}
    found = measure(
        runners,
        anchor=MODEL if bench.anchor is None else ANCHOR,
        witnesses=[MODEL],
        rounds=bench.rounds or rounds_for(len(runners)),
        budget_seconds=MOST_SECONDS,
    )
    own = {"floor": 1.0, "p50": found.factors[MODEL][0], "p90": found.factors[MODEL][1]}
    floor_ms = found.items[MODEL].floor_ms
    p50_ms, p90_ms = calls_ms(MODEL, runner)
    drift = None
    if bench.anchor is not None and conditions.anchor_ms is not None:
        drift = found.items[ANCHOR].floor_ms / conditions.anchor_ms
    return Found(floor_ms, floor_ms * (conditions.factors or own)[bench.quote], p50_ms, p90_ms, drift)


def _anchor(folder: Path, conditions: Conditions) -> tuple[OrtRunner | None, str]:
    """The anchor of the table, if it lies there; and why what lies there is not used."""
    paths = [path for path in (folder / ANCHOR, folder.parent / ANCHOR) if path.is_file()]
    if not paths or conditions.anchor_ms is None:
        return None, ""
    without = f"{paths[0]} is not measured, so that a device slower or faster than for the table goes unseen:"
    try:
        content = _read(paths[0])
        if conditions.anchor is not None and MARK.encode() in content and conditions.anchor.encode() not in content:
            return None, f"{without} it is the anchor of another table. Copy that of this file's set"
        return _runner(content, conditions), ""
    except CannotMeasureError as error:
        return None, f"{without} {error}"


def _runner(file: bytes, conditions: Conditions) -> OrtRunner:
    """A session of a file, fed with zeros as the table's networks were.

    Raises:
        CannotMeasureError: ONNX Runtime cannot run it on the device of the table.
    """
    providers = providers_in(conditions.settings)
    provider = providers[0] if providers else CPU if conditions.device == "cpu" else CUDA
    if provider not in onnxruntime.get_available_providers():
        raise CannotMeasureError(
            f"ONNX Runtime {onnxruntime.__version__} has no {provider} here. For NVIDIA GPUs install onnxruntime-gpu "
            "in the place of onnxruntime; for others see https://onnxruntime.ai/docs/execution-providers"
        )
    index = conditions.device.partition(":")[2]
    try:
        options = session_options(conditions.threads, options_in(conditions.settings))
        session = open_session(file, options, with_fallbacks(provider, int(index or 0), conditions.precision))
        runner = OrtRunner(session, {given.name: _zeros(given, conditions.batch) for given in session.get_inputs()})
        runner.run(1)  # kernels of a GPU are tried out, and engines are built, at the first inference
    except CannotMeasureError:
        raise
    except ProviderError as error:
        raise CannotMeasureError(f"{error} Install the libraries that it needs.") from error
    except Exception as error:
        raise CannotMeasureError(f"ONNX Runtime cannot run the file: {type(error).__name__}: {error}") from error
    return runner


def _zeros(given: Any, batch: int) -> Any:
    if given.type not in TYPES:
        raise CannotMeasureError(f"the file's input {given.name} is a {given.type}, of which this knows nothing.")
    return np.zeros([side if isinstance(side, int) else batch for side in given.shape], TYPES[given.type])


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise CannotMeasureError(f"{path} is not valid JSON ({error}). Copy it again.") from error
    types: dict[str, Any] = {"runtime": str, "sha256": str, "quote": str, "budget_ms": (int, float)}
    known = manifest if isinstance(manifest, dict) else {}
    wrong = [name for name, kind in types.items() if not isinstance(known.get(name), kind)]
    if wrong or known["quote"] not in ("floor", "p50", "p90") or not 0 < known["budget_ms"] < math.inf:
        where = ", ".join(wrong) or "quote, budget_ms"
        raise CannotMeasureError(f"{path} is no manifest of latnas: see its {where}. Copy it again.")
    return known


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # whoever opens a pipe may wait for ever
        raise CannotMeasureError(f"{path} is no file. Copy the whole folder.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise CannotMeasureError(f"cannot read {path}: {error.strerror}. Copy the whole folder.") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="measure.py",
        description="Measures the model.onnx beside this script against the budget in its manifest.json.",
        epilog="Exit codes: 0 within the budget, 1 failed or not checked, 2 wrong usage, "
        "3 over the budget or another file, 130 interrupted.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--sustained", type=duration, metavar="60s", help="then call the file without a rest for so long"
    )
    parser.add_argument(
        "--rounds", type=positive, metavar="N", help=f"bursts of the file; by default {BURSTS} with those of the anchor"
    )
    return parser


def duration(text: str) -> float:
    """The seconds in `60s` or `500ms`."""
    found = re.fullmatch(r"([0-9]+\.?[0-9]*)\s*(us|ms|s)", text.strip().lower())
    value = float(found[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[found[2]] if found else 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration above zero: write 60s or 500ms")
    return value


def positive(text: str) -> int:
    """A whole number above zero."""
    if not re.fullmatch("0*[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def _progress(done: float, total: float) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rcalling the file: {done:.0f} of {total:.0f} s" + ("\n" if done >= total else ""))


def _printable(text: str) -> str:
    """A manifest may hold what a terminal does not show, or takes for a command."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _ms(value: float) -> str:
    return f"{value:.4g} ms"
