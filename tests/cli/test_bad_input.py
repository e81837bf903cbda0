"""What people get wrong, and what breaks: one message, the right exit code, no traceback, and not one file changed.

Every case is typed in a folder with a table, a finished search and its exports.
"""

from __future__ import annotations

import json
import pickle
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import EXPORT, PROFILE, SEARCH, Typed, as_typed, contents, front_in, latnas, run_in
from trap import Trap

DONE, FAILED, WRONG_USAGE = 0, 1, 2

PROFILED = ["profile", *as_typed(PROFILE)]
PREDICTED = ["predict", "--data", "digits"]
SEARCHED = ["search", *as_typed(SEARCH)]
EXPORTED = ["export", *as_typed(EXPORT)]


@dataclass(frozen=True)
class Case:
    """Words that are typed after `prepare` has damaged the folder, and what must come of it."""

    words: list[Any]
    code: int
    message: str
    prepare: Callable[[Path], None] = lambda folder: None


def only_message(shown: Typed) -> str:
    """The one message on stderr: latnas' own on a line, with lines to choose from under it, or a box on usage."""
    assert shown.raised is None, "a traceback"
    assert shown.stdout == "" and "Traceback" not in shown.stderr
    first, *more = shown.stderr.splitlines()
    if first.startswith("latnas: "):
        assert all(line.startswith("  --") for line in more), shown.stderr
    else:
        assert first.startswith("Usage: latnas") and shown.stderr.count("Error") == 1, shown.stderr
    return " ".join(shown.stderr.split())


def check(case: Case, here: Path) -> None:
    case.prepare(here)
    before = contents(here)
    shown = latnas(*case.words, *([] if case.words[0] in ("spaces", "devices") else ["--quiet"]))
    message = only_message(shown)
    assert case.message.format(here=here) in message
    assert shown.code == case.code
    assert contents(here) == before


def only_run_is(here: Path, name: str, latest: str | None) -> None:
    """Calls the run by another name, and points the link to the latest one elsewhere, or to nothing."""
    run_in(here).rename(here / "runs" / name)
    (here / "runs" / "latest").unlink()
    if latest is not None:
        (here / "runs" / "latest").symlink_to(latest)


# Words

WORDS = {
    "unknown command": Case(["profil"], WRONG_USAGE, "No such command 'profil'"),
    "unknown flag": Case(["search", "--pol", 3], WRONG_USAGE, "No such option: --pol"),
    "unknown space": Case(
        [*PROFILED, "--space", "nope"],
        WRONG_USAGE,
        "no search space named 'nope'. Known: nasbench201, mbconv, darts. See them: latnas spaces",
    ),
    "searching an unknown space": Case(
        ["search", "--space", "./mynet.py:MyNet"], WRONG_USAGE, "no search space named './mynet.py:MyNet'"
    ),
    "a run called latest": Case(["search", "--name", "latest"], WRONG_USAGE, "latest is how the last run is called"),
    "unknown device": Case(
        [*PROFILED, "--device", "npu"], WRONG_USAGE, "no installed runtime can use the device 'npu'."
    ),
    "a device of the wrong kind": Case(
        [*PROFILED, "--device", "cuda", "--runtime", "analytic"],
        WRONG_USAGE,
        "analytic knows of no device 'cuda', but of: analytic. What each runtime can use: latnas devices",
    ),
    "unknown runtime": Case(
        [*PROFILED, "--runtime", "tflite"],
        WRONG_USAGE,
        "no profiler is installed for the runtime 'tflite'. Installed: analytic, onnxruntime, torch.",
    ),
    "unknown precision": Case([*PROFILED, "--precision", "int4"], WRONG_USAGE, "in fp32 only, not in 'int4'"),
    "unknown statistic": Case([*PROFILED, "--quote", "mean"], WRONG_USAGE, "--quote: Input should be 'floor', 'p50'"),
    "unknown data": Case([*PROFILED, "--data", "cifar"], WRONG_USAGE, "there is no data set 'cifar'. Known: fashion"),
    "no such file of data": Case([*PROFILED, "--data", "mine.npz"], WRONG_USAGE, "there is no file mine.npz."),
    "no batch": Case([*PROFILED, "--batch", 0], WRONG_USAGE, "--batch: Input should be greater than or equal to 1"),
    "no rounds": Case([*PROFILED, "--rounds", 0], WRONG_USAGE, "--rounds: Input should be greater than or equal to 4"),
    "no time": Case([*PROFILED, "--max-seconds", "nan"], WRONG_USAGE, "--max-seconds: "),
    "a negative seed": Case([*PROFILED, "--seed", -1], WRONG_USAGE, "--seed: "),
    "no width": Case([*PROFILED, "--width", 0], WRONG_USAGE, "width must be between 1 and 1024, not 0"),
    "no depth": Case(["spaces", "--depth", 0], WRONG_USAGE, "depth must be between 1 and 64, not 0"),
    "far too wide": Case([*PROFILED, "--width", 5000], WRONG_USAGE, "width must be between 1 and 1024, not 5000"),
    "too few networks": Case(
        [*PROFILED, "--calibrate", 3], WRONG_USAGE, "--calibrate: Input should be greater than or equal to 4"
    ),
    "the flag of an earlier version": Case([*PROFILED, "--networks", 8], WRONG_USAGE, "No such option: --networks"),
    "no tolerance": Case([*PROFILED, "--tolerance", 0], WRONG_USAGE, "--tolerance: Input should be greater than 0"),
    "fewer fresh networks than none": Case([*PROFILED, "--verify", -1], WRONG_USAGE, "--verify: Input should be "),
    "a check in an unknown space": Case(
        [*PROFILED, "--verify", 2, "--space", "nope"], WRONG_USAGE, "no search space named 'nope'"
    ),
    "a prediction of too few items": Case(
        [*PREDICTED, "none|skip_connect"], WRONG_USAGE,
        "'none|skip_connect' has 2 items, and space 'nasbench201' has 6 decisions. Write one for each, with | between",
    ),
    "a prediction of an unknown item": Case(
        [*PREDICTED, "none|none|none|skip|none|none"], WRONG_USAGE,
        "none|none|none|skip|none|none is no architecture of space 'nasbench201': decision '0->3' has no item 'skip'",
    ),
    "a prediction of a network that leads nowhere": Case(
        [*PREDICTED, "none|none|none|none|none|none"], WRONG_USAGE,
        "the network none|none|none|none|none|none does not connect its input to its output.",
    ),
    "a prediction of a file that is not there": Case(
        [*PREDICTED, "my/manifest.json"], WRONG_USAGE,
        "there is no file my/manifest.json. Name a manifest.json, or items with | between.",
    ),
    "a prediction of a table": Case(
        [*PREDICTED, "t.json"], FAILED, "t.json holds no architecture", lambda here: write(here / "t.json", b"{}")
    ),
    "a prediction of a file that is no JSON": Case(
        [*PREDICTED, "t.json"], FAILED, "t.json is not valid JSON", lambda here: write(here / "t.json", b"{")
    ),
    "a prediction of a file that is no text": Case(
        [*PREDICTED, "t.json"], FAILED, "cannot read t.json", lambda here: write(here / "t.json", b"\xff\x00")
    ),
    "a prediction of no network": Case(
        [*PREDICTED, "--random", 0], WRONG_USAGE, "--random: Input should be greater than or equal to 1"
    ),
    "a prediction of no such run": Case(
        [*PREDICTED, "--run", "mine"], WRONG_USAGE, "there is no run 'mine'. Runs in runs: nasbench201-"
    ),
    "a prediction of a run in another space": Case(
        [*PREDICTED, "--run", "latest", "--space", "darts"], WRONG_USAGE,
        "is predicted by a table of space 'nasbench201', not 'darts'. Leave --space out.",
    ),
    "a prediction of a search that is not finished": Case(
        [*PREDICTED, "--run", "latest"], WRONG_USAGE, "is not finished. Go on: latnas search --resume ",
        lambda here: (front_in(here) / "front.json").unlink(),
    ),
    "a prediction by no such table": Case(
        [*PREDICTED, "--table", "t.json"], WRONG_USAGE, "there is no table t.json. Tables in latency_tables: analytic-"
    ),
    "a prediction for images without a table": Case(
        ["predict"], WRONG_USAGE, "or measure one: latnas profile --data fashion-mini"
    ),
    "a range reversed": Case(
        [*SEARCHED, "--budget-range", "8ms:2ms"], WRONG_USAGE, "'8ms:2ms' is reversed. Write 2ms:8ms"
    ),
    "a range from below zero": Case(
        [*SEARCHED, "--budget-range", "-2ms:8ms"], WRONG_USAGE, "A range looks like 0.2ms:0.8ms."
    ),
    "a range without units": Case([*SEARCHED, "--budget-range", "2:8"], WRONG_USAGE, "has no unit. Write "),
    "a range of nonsense": Case([*SEARCHED, "--budget-range", "fast"], WRONG_USAGE, "'fast' is not a range of budgets"),
    "a range of nothing": Case([*SEARCHED, "--budget-range", ""], WRONG_USAGE, "is not a range of budgets"),
    "a range of one budget": Case([*SEARCHED, "--budget-range", "2ms:2ms"], WRONG_USAGE, "holds one budget only"),
    "a range below the fastest network": Case(
        [*SEARCHED, "--budget-range", "1us:2us"], WRONG_USAGE, "type: latnas search --budget-range 0."
    ),
    "a pool too small": Case([*SEARCHED, "--pool", 1], WRONG_USAGE, "--pool: Input should be greater than or equal"),
    "an unknown executor": Case([*SEARCHED, "--executor", "ray:2"], WRONG_USAGE, "there is no executor 'ray:2'. Use"),
    "no such table": Case(
        [*SEARCHED, "--table", "t.json"], WRONG_USAGE, "Name one of them, or measure another: latnas profile"
    ),
    "no table for these images": Case(
        [*SEARCHED, "--data", "fashion-mini"], WRONG_USAGE, "or measure one: latnas profile --data fashion-mini"
    ),
    "no table of this space": Case(
        [*SEARCHED, "--space", "mbconv"], WRONG_USAGE, "measure one: latnas profile --space mbconv --data digits"
    ),
    "a lambda above 1": Case([*EXPORTED, "--lambda", 1.5], WRONG_USAGE, "lambda 1.5 is outside [0, 1]"),
    "a lambda below 0": Case([*EXPORTED, "--lambda", -0.5], WRONG_USAGE, "lambda -0.5 is outside [0, 1]"),
    "a lambda that is no number": Case([*EXPORTED, "--lambda", "half"], WRONG_USAGE, "Invalid value for '--lambda'"),
    "a lambda that is not finite": Case([*EXPORTED, "--lambda", "nan"], WRONG_USAGE, "lambda nan is outside [0, 1]"),
    "a budget without a unit": Case([*EXPORTED, "--budget", "4"], WRONG_USAGE, "'4' has no unit. Write 4ms (or us, s)"),
    "a budget of nonsense": Case([*EXPORTED, "--budget", "soon"], WRONG_USAGE, "'soon' is not a latency."),
    "a budget below zero": Case([*EXPORTED, "--budget", "-4ms"], WRONG_USAGE, "latnas: "),
    "a budget out of range": Case([*EXPORTED, "--budget", "1s"], WRONG_USAGE, "is outside this run's range of 0."),
    "no budget at all": Case(EXPORTED, WRONG_USAGE, "name what to export: --lambda 0.5, --budget 0.4ms"),
    "an unknown start": Case([*EXPORTED, "--all", "--init", "best"], WRONG_USAGE, "--init: Input should be 'scratch'"),
    "no such run": Case(
        [*EXPORTED, "--all", "--run", "mine"], WRONG_USAGE, "there is no run 'mine'. Runs in runs: nasbench201-"
    ),
    "no run at all": Case(
        [*EXPORTED, "--all", "--runs", "elsewhere"],
        WRONG_USAGE,
        "there is no run yet in elsewhere. Make one: latnas search",
    ),
    "the latest run is gone": Case(
        [*EXPORTED, "--all"], WRONG_USAGE,
        "runs/latest points to nasbench201-gone, which is gone. Runs in runs: nasbench201-kept. Name one of them, or",
        lambda here: only_run_is(here, "nasbench201-kept", latest="nasbench201-gone"),
    ),
    "no link to the latest run": Case(
        [*EXPORTED, "--all"], WRONG_USAGE,
        "there is no link runs/latest to the last run. Runs in runs: nasbench201-kept. Name one of them, or",
        lambda here: only_run_is(here, "nasbench201-kept", latest=None),
    ),
    "a folder that is no run": Case(
        [*EXPORTED, "--all", "--run", "latency_tables"],
        WRONG_USAGE,
        "latency_tables is not a run folder: it has no config.toml. Runs in runs: nasbench201-be804d. Name one",
    ),
    "a folder of runs": Case(
        ["verify", "runs"], WRONG_USAGE,
        "runs is not a run folder: it has no config.toml. Runs in runs: nasbench201-be804d. Name one",
    ),
    "two runs to verify": Case(["verify", "one", "--run", "other"], WRONG_USAGE, "two runs are named, one and other."),
    "a run to verify by its flag": Case(["verify", "--run", "other"], WRONG_USAGE, "there is no run 'other'"),
    "a tolerance in percent": Case(["verify", "--tolerance", "10"], WRONG_USAGE, "--tolerance: Input should be less"),
    "no images at all": Case(["profile", "--data", ""], WRONG_USAGE, "--data is empty. Name a folder, a file"),
    "a name that is a path": Case(
        [*SEARCHED, "--name", "../here"], WRONG_USAGE, "--name '../here' is no name of a run: it has no / or"
    ),
    "a time in minutes": Case(
        ["verify", "--sustained", "1m"], WRONG_USAGE,
        "the duration '1m' has an unknown unit, 'm'. Known: s, ms, us. Write, for example, 60s.",
    ),
    "no front for this table": Case(
        [*EXPORTED, "--all", "--table", "other"], WRONG_USAGE, "has no finished front for table 'other'. It has: ana"
    ),
    "no such config file": Case(
        [*SEARCHED, "--config", "my.toml"], WRONG_USAGE, "there is no config file my.toml"
    ),
    "no such preset": Case(["demo", "--preset", "slow"], WRONG_USAGE, "there is no preset 'slow'. Known: quick, smoke"),
    "unknown data for spaces": Case(["spaces", "--data", "cifar"], WRONG_USAGE, "there is no data set 'cifar'"),
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_words_that_make_no_sense(name: str, here: Path) -> None:
    check(WORDS[name], here)


# Tables


def changed_table(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Writes t.json: the table of the folder after `change`."""

    def prepare(here: Path) -> None:
        (path,) = here.glob("latency_tables/*.json")
        table = json.loads(path.read_text())
        change(table)
        (here / "t.json").write_text(json.dumps(table))

    return prepare


def cut_table(here: Path) -> None:
    (path,) = here.glob("latency_tables/*.json")
    (here / "t.json").write_text(path.read_text()[: path.stat().st_size // 2])


def other_space(table: dict[str, Any]) -> None:
    table["options"]["width"] = 5


def without_pooling(table: dict[str, Any]) -> None:
    lost = [key for key, entry in table["operations"].items() if "avg_pool" in entry["label"]]
    for key in lost:
        del table["operations"][key]


TABLES = {
    "cut in half": (cut_table, FAILED, "t.json is not valid JSON"),
    "of another space": (
        changed_table(other_space),
        FAILED,
        "as an earlier latnas built it",
    ),
    "of an unknown space": (
        changed_table(lambda table: table.update(space="nope")),
        WRONG_USAGE,
        "no search space named 'nope'",
    ),
    "for other images": (
        changed_table(lambda table: table["options"].update(image_size=28)),
        WRONG_USAGE,
        "is for 1x28x28 images with 10 classes; digits has 1x8x8 with 10. Name such images: --data PLACE; "
        "or measure a table for these: latnas profile --device analytic --runtime analytic --space nasbench201 "
        "--width 4 --depth 1 --data digits",
    ),
    "without its options": (changed_table(lambda table: table.update(options={})), FAILED, "Measure it again: latnas"),
    "with unknown options": (
        changed_table(lambda table: table["options"].update(heads=4)),
        FAILED,
        "Measure it again: latnas profile",
    ),
    "lacking operations": (
        changed_table(without_pooling),
        FAILED,
        "the table lacks 3 of the operations that space 'nasbench201' needs: ",
    ),
    "of an earlier version": (
        changed_table(lambda table: table.update(schema="latnas-table-1")),
        FAILED,
        "t.json has schema 'latnas-table-1'; this latnas reads 'latnas-table-2'. Measure it again: latnas profile",
    ),
    "of another version": (
        changed_table(lambda table: table.update(schema="latnas-table-3")),
        FAILED,
        "t.json has schema 'latnas-table-3'; this latnas reads 'latnas-table-2'. Measure it again: latnas profile",
    ),
    "lacking a part in its prices": (
        changed_table(lambda table: table["calibration"]["prices"]["parts_ms"]["default"]["0->1"].pop("none")),
        FAILED,
        "the table's calibration lacks 1 of the parts of space 'nasbench201': none of 0->1",
    ),
    "of no version": (
        changed_table(lambda table: table.pop("schema")),
        FAILED,
        "t.json is not a latency table: it names no schema.",
    ),
    "with a time below zero": (
        changed_table(lambda table: table["anchor"].update(floor_ms=-1)),
        FAILED,
        "t.json is not a valid latency table: anchor.floor_ms: Input should be greater than 0.",
    ),
    "lacking a field": (
        changed_table(lambda table: table.pop("calibration")),
        FAILED,
        "t.json is not a valid latency table: calibration: Field required.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_cannot_be_used(name: str, here: Path) -> None:
    prepare, code, message = TABLES[name]
    check(Case([*SEARCHED, "--table", "t.json"], code, message, prepare), here)


@pytest.mark.parametrize("name", sorted(TABLES.keys() - {"for other images"}))
def test_tables_that_cannot_be_predicted_from(name: str, here: Path) -> None:
    prepare, code, message = TABLES[name]
    check(Case([*PREDICTED, "--table", "t.json"], code, message, prepare), here)


# Images


def saved(**changes: Any) -> Callable[[Path], None]:
    """Writes mine.npz: eight grey images of each of three classes, but for `changes`; None leaves an array out."""

    def prepare(here: Path) -> None:
        random = np.random.default_rng(0)
        arrays = {
            "x_train": random.integers(0, 256, (24, 8, 8), np.uint8), "y_train": np.arange(24) % 3,
            "x_test": random.integers(0, 256, (6, 8, 8), np.uint8), "y_test": np.arange(6) % 3,
            **changes,
        }  # fmt: skip
        np.savez(here / "mine.npz", **{name: array for name, array in arrays.items() if array is not None})

    return prepare


def filled(content: bytes) -> Callable[[Path], None]:
    return lambda here: write(here / "mine.npz", content)


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


NAN = np.ones((24, 8, 8), np.float32)
NAN[5, 0, 0] = np.nan

IMAGES = {
    "one class": (saved(y_train=np.zeros(24, int), y_test=np.zeros(6, int)), "y_train has one class only, 0."),
    "a label out of range": (saved(y_train=np.arange(24) % 3 * 2), "y_train lacks the labels 1, 3"),
    "a label below zero": (saved(y_train=np.arange(24) % 3 - 1), "y_train has the label -1; labels must be 0..K-1."),
    "a test label out of range": (saved(y_test=np.arange(6)), "y_test has the label 5, but y_train only 0..2."),
    "NaN pixels": (
        saved(x_train=NAN, x_test=NAN[:6]),
        "x_train has NaN or infinite pixels in 1 of 24 images, first at index 5.",
    ),
    "objects": (
        saved(y_train=np.array([{"class": 0}] * 24, dtype=object)),
        "y_train holds Python objects, which could execute code and are never loaded.",
    ),
    "no labels": (saved(y_train=None), "mine.npz lacks y_train; it holds x_train, x_test, y_test."),
    "fewer labels than images": (saved(y_train=np.arange(20) % 3), "y_train has 20 labels for 24 images."),
    "a pickle": (filled(pickle.dumps([1])), "is not an npz file: it looks like a Python pickle"),
    "nothing": (filled(b""), "is not an npz file: it is empty."),
}  # fmt: skip


@pytest.mark.parametrize("command", [PROFILED, SEARCHED], ids=["profile", "search"])
@pytest.mark.parametrize("name", IMAGES)
def test_images_that_cannot_be_used(name: str, command: list[str], here: Path) -> None:
    prepare, message = IMAGES[name]
    check(Case([*command, "--data", "mine.npz"], FAILED, message, prepare), here)


# Runs


def rewritten(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    """Changes the text of the file called `name` in the run."""

    def prepare(here: Path) -> None:
        (path,) = run_in(here).rglob(name)
        path.write_text(change(path.read_text()))

    return prepare


def with_json(name: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    def through(text: str) -> str:
        value = json.loads(text)
        change(value)
        return json.dumps(value)

    return rewritten(name, through)


def trapped(here: Path) -> None:
    (run_in(here) / "supernet" / "weights.safetensors").write_bytes(pickle.dumps(Trap()))


RUNS = {
    "of another version": (
        rewritten("config.toml", lambda text: text.replace("latnas-run-1", "latnas-run-9")), FAILED,
        "is a run of version 'latnas-run-9', and this latnas reads 'latnas-run-1'. Search again: latnas search",
    ),
    "with a config that is no TOML": (
        rewritten("config.toml", lambda text: text[:-4]), FAILED, "config.toml cannot be read ("
    ),
    "with a config cut short": (
        rewritten("config.toml", lambda text: text.splitlines()[0] + "\n"), FAILED,
        "config.toml lacks space, data, images: it was cut short or edited. Search again: latnas search",
    ),
    "with a front cut in half": (
        rewritten("front.json", lambda text: text[: len(text) // 2]), FAILED, "front.json is not valid JSON"
    ),
    "with a front of another version": (
        with_json("front.json", lambda front: front.update(schema="latnas-front-9")), FAILED,
        "front.json has schema 'latnas-front-9'; this latnas reads 'latnas-front-1'. Search again: latnas search",
    ),
    "with a front without budgets": (
        with_json("front.json", lambda front: front.pop("budgets")), FAILED,
        "front.json is not a valid front: budgets: Field required",
    ),
    "with a choice that is not there": (
        with_json("front.json", lambda front: front["budgets"][0].update(network=999)), FAILED, "front.json is not a "
    ),
    "with an architecture of another space": (
        with_json("front.json", lambda front: [n["architecture"]["items"].pop("0->1") for n in front["networks"]]),
        FAILED, "the architecture does not belong to this space",
    ),
    "with a table cut in half": (
        rewritten("table.json", lambda text: text[: len(text) // 2]), FAILED, "table.json is not valid JSON"
    ),
    "with an anchor of another space": (
        with_json("table.json", lambda table: table["anchor"]["architecture"]["items"].pop("0->1")), FAILED,
        "the architecture does not belong to this space",
    ),
    "searched with other images": (
        rewritten("config.toml", lambda text: text.replace('images = "', 'images = "0')), FAILED,
        "the images of digits are not those that ",
    ),
    "searched with a file that is gone": (
        rewritten("config.toml", lambda text: text.replace('data = "digits"', 'data = "mine.npz"')), WRONG_USAGE,
        "was searched with --data mine.npz, which is not here: there is no file mine.npz",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_runs_that_cannot_be_exported(name: str, here: Path) -> None:
    prepare, code, message = RUNS[name]
    check(Case([*EXPORTED, "--all"], code, message, prepare), here)


def test_a_pickle_in_place_of_shared_weights_is_not_opened(here: Path) -> None:
    """What was measured before is kept, as everything that was measured is, and what was chosen by it."""
    trapped(here)
    before = contents(here)
    shown = latnas(*EXPORTED, "--lambda", 0, "--init", "supernet", "--quiet")
    assert shown.code == FAILED
    message = only_message(shown)
    assert "weights.safetensors is not a checkpoint of latnas, or was cut short" in message
    assert f"Delete it. The search makes it again: latnas search --resume {run_in(Path()).as_posix()}" in message
    after = contents(here)
    changed = {Path(path) for path in after if after[path] != before.get(path)}
    assert {path.name for path in changed if path.parent.name != ".trainings"} <= {"measurements.jsonl"}


def test_shared_weights_that_were_lost_are_made_again_by_the_command_that_is_named(here: Path) -> None:
    lost = run_in(Path()) / "supernet" / "weights.safetensors"
    before = lost.read_bytes()
    lost.unlink()
    exported = ["export", "--run", run_in(Path()), "--lambda", 0, "--init", "supernet", "--epochs", 0, "--quiet"]
    shown = latnas(*exported)
    assert shown.code == FAILED and f"there is no {lost}. The search makes it again: latnas " in only_message(shown)
    command = shlex.split(only_message(shown).partition("again: latnas ")[2])
    assert latnas(*command, "--quiet").code == DONE
    assert lost.read_bytes() == before
    assert latnas(*exported).code == DONE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "front.json is not valid JSON"),
        (lambda text: text.replace("latnas-front-1", "latnas-front-9"), "front.json has schema 'latnas-front-9'"),
        (lambda text: text.replace('"network": ', '"network": 99'), "front.json is not a "),
    ],
    ids=["cut in half", "of another version", "with a choice that is not there"],
)
def test_a_search_does_not_go_on_from_a_damaged_front_and_makes_it_again_once_it_is_deleted(
    here: Path, change: Callable[[str], str], message: str
) -> None:
    whole = (front_in(here) / "front.json").read_bytes()
    check(Case(SEARCHED, FAILED, message, rewritten("front.json", change)), here)
    (front_in(here) / "front.json").unlink()
    assert latnas(*SEARCHED).code == 0
    assert (front_in(here) / "front.json").read_bytes() == whole


def test_a_name_that_another_search_has_is_not_given_twice(here: Path) -> None:
    name = run_in(here).name
    check(
        Case([*SEARCHED, "--name", name, "--seed", 1], FAILED, "holds a run with another config. Choose another"), here
    )


# Folders that cannot be written to: tests may run as root, who may write anywhere, so a file stands in the way


def in_the_way(path: str) -> Callable[[Path], None]:
    return lambda here: write(here / path, b"a file")


def in_place_of_exports(here: Path) -> None:
    exports = run_in(here) / "exports"
    exports.rename(here / "set_aside")
    exports.write_text("a file")


@pytest.mark.parametrize(
    ("words", "prepare", "path"),
    [
        ([*PROFILED, "--out", "taken"], in_the_way("taken"), "taken"),
        ([*PROFILED, "--out", "taken/below"], in_the_way("taken"), "taken/below"),
        ([*SEARCHED, "--out", "taken"], in_the_way("taken"), "taken"),
        ([*SEARCHED, "--out", "runs/latest/config.toml"], lambda here: None, "runs/latest/config.toml"),
        ([*EXPORTED, "--all"], in_place_of_exports, ""),
    ],
    ids=["profile", "profile below", "search", "search below", "export"],
)
def test_a_file_where_a_folder_should_be(
    words: list[str], prepare: Callable[[Path], None], path: str, here: Path
) -> None:
    check(Case(words, FAILED, f"cannot write {path}", prepare), here)


def test_a_run_that_cannot_be_locked_says_so(here: Path) -> None:
    lock = run_in(here) / ".lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    check(Case([*EXPORTED, "--all"], FAILED, "cannot lock "), here)
