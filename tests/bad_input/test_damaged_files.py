"""Every file that latnas reads, damaged in every way of a catalogue: taken, or refused with one message and no harm."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damages import Damage, of_any_file, of_images, of_json, of_lines, of_tensors, of_toml
from small import EXPORT, PROFILE, SEARCH, as_typed, copied, profile_config, run_in
from typed_here import complaint, everything, restore, table_of, type_here

PROFILED = ["profile", *as_typed(PROFILE), "--quiet"]
PREDICTED = ["predict", "--data", "digits", "--quiet"]
SEARCHED = ["search", *as_typed(SEARCH), "--quiet"]
IMAGES = ["predict", "--random", "1", "--quiet"]
HOW: dict[str, Any] = {"executor": "local:0"}
RESUMED = ["search", "--resume", "latest", *as_typed(HOW), "--quiet"]
EXPORTED = ["export", *as_typed(EXPORT), "--all", "--quiet"]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        path: of the file that is damaged; a pattern, whose first match is taken.
        words: the command that reads it.
        own: damages of its format, beside those of any file.
        prepare: makes the file from the finished run that it is given, and deletes what would keep it from being read.
        may_change: paths that a refused command may leave changed, because they hold what was finished before.
        strict: whatever the catalogue calls refused is; otherwise it may be taken for nothing at all and made again.
        own_damages, any_damages: how many of each are tried, since some commands take long.
    """

    path: str
    words: Sequence[str]
    own: Callable[[bytes], Iterator[Damage]] = lambda content: iter(())
    prepare: Callable[[Path], object] = lambda here: None
    may_change: Sequence[str] = ()
    strict: bool = True
    any_damages: int = 2
    own_damages: int = 2


def unfinished(here: Path) -> None:
    (found,) = run_in(here).glob("fronts/*/front.json")
    found.unlink()


def undone(*patterns: str) -> Callable[[Path], None]:
    def prepare(here: Path) -> None:
        for pattern in patterns:
            for path in sorted(run_in(here).glob(pattern)):
                path.unlink()

    return prepare


def joined(here: Path) -> None:
    """Adds a front to the run, with a few more short trainings, of which all but the end is done."""
    from latnas.stages.search import SearchConfig, search

    added = search(SearchConfig(from_run=str(run_in(here)), budget_range="0.11ms:0.15ms", extra_minutes=1e-3, **HOW))
    added.front_path.unlink()


def table_copied(here: Path) -> None:
    (table,) = here.glob("latency_tables/*.json")
    shutil.copy(table, here / "t.json")


def manifest_copied(here: Path) -> None:
    shutil.copy(sorted(run_in(here).glob("exports/*/*/manifest.json"))[0], here / "m.json")


def images_saved(here: Path) -> None:
    from latnas.data.sources import load_images

    digits = load_images("digits")
    np.savez(
        here / "d.npz", x_train=digits.train.images.numpy()[:200, 0], y_train=digits.train.labels.numpy()[:200],
        x_test=digits.test.images.numpy()[:50, 0], y_test=digits.test.labels.numpy()[:50],
    )  # fmt: skip


def config_written(here: Path) -> None:
    (here / "c.toml").write_text("[predict]\nrandom = 1\n")


def interrupted(here: Path) -> None:
    """Leaves what a profile leaves that is interrupted after its measurements."""
    from latnas.stages.profile import stage

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    shutil.rmtree(here / "latency_tables")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stage, "calibrate", stop)
        with pytest.raises(KeyboardInterrupt):
            stage.profile(profile_config(here))


RUN = "runs/nasbench201-*"
BEFORE_IT = ("*/metrics.jsonl", "*/table.json", "*/networks.json", "*/accuracy/features/*")
MEASURED = ("*/measurements.jsonl", "*/.trainings/*ms-*.json")  # and what was chosen by that
PARTIAL = ("latency_tables/.partial/*",)
FRESH = ("fronts/*/front.json", "fronts/*/search.safetensors", "fronts/*/metrics.jsonl", "fronts/*/proposals-*.json")
WHOLE = {"any_damages": 99, "own_damages": 16}

KINDS = {
    "table": Kind("t.json", [*PREDICTED, "--random", "1", "--table", "t.json"], of_json, table_copied, **WHOLE),
    "manifest": Kind("m.json", [*PREDICTED, "m.json"], of_json, manifest_copied, **WHOLE),
    "config file": Kind("c.toml", [*PREDICTED, "--config", "c.toml"], prepare=config_written, **WHOLE),
    "images": Kind("d.npz", [*IMAGES, "--data", "d.npz"], of_images, images_saved, any_damages=99, own_damages=50),
    "run's config": Kind(f"{RUN}/config.toml", [*PREDICTED, "--run", "latest"], of_toml, **WHOLE),
    "front": Kind(f"{RUN}/fronts/*/front.json", [*PREDICTED, "--run", "latest"], of_json, **WHOLE),
    "run's config, exporting": Kind(f"{RUN}/config.toml", EXPORTED, of_toml, may_change=MEASURED),
    "run's table": Kind(f"{RUN}/fronts/*/table.json", EXPORTED, of_json, may_change=MEASURED),
    "front, exporting": Kind(f"{RUN}/fronts/*/front.json", EXPORTED, of_json, may_change=MEASURED),
    "judge": Kind(f"{RUN}/accuracy/judge.json", SEARCHED, of_json),
    "features": Kind(f"{RUN}/accuracy/features/*/result.json", SEARCHED, of_json, unfinished, BEFORE_IT),
    "networks": Kind(f"{RUN}/accuracy/features/*/networks.json", SEARCHED, of_json, unfinished, BEFORE_IT),
    "label": Kind(f"{RUN}/accuracy/short/*/result.json", SEARCHED, of_json, unfinished, BEFORE_IT),
    "warm-up": Kind(f"{RUN}/supernet/warm-up.safetensors", SEARCHED, of_tensors, undone(*FRESH), BEFORE_IT),
    "checkpoint": Kind(
        f"{RUN}/fronts/*/search.safetensors", SEARCHED, of_tensors, undone(FRESH[0], FRESH[3]), BEFORE_IT
    ),
    "metrics": Kind(f"{RUN}/fronts/*/metrics.jsonl", SEARCHED, of_lines, unfinished, BEFORE_IT, strict=False),
    "proposals": Kind(f"{RUN}/fronts/*/proposals-0.json", SEARCHED, of_json, unfinished, BEFORE_IT),
    "front's config": Kind(f"{RUN}/fronts/*-0.15ms/config.toml", RESUMED, of_toml, joined, BEFORE_IT, strict=False),
    "extra trainings": Kind(f"{RUN}/fronts/*-0.15ms/extra.json", RESUMED, of_json, joined, BEFORE_IT, strict=False),
    "taken over": Kind(f"{RUN}/fronts/*-0.15ms/taken-over.json", RESUMED, of_json, joined, BEFORE_IT, strict=False),
    "weights": Kind(
        f"{RUN}/supernet/weights.safetensors", [*EXPORTED, "--init", "supernet"], of_tensors,
        may_change=(*MEASURED, "*/.trainings*"),
    ),
    "training": Kind(f"{RUN}/exports/*/.trainings/*/result.json", EXPORTED, of_json, may_change=MEASURED),
    "packed file": Kind(f"{RUN}/exports/*/.trainings/*/*/model.onnx", EXPORTED, may_change=MEASURED),
    "trained file": Kind(  # not read where what was made of it is there
        f"{RUN}/exports/*/.trainings/*/model.onnx", EXPORTED, may_change=MEASURED, strict=False
    ),
    "measurements": Kind(f"{RUN}/exports/*/measurements.jsonl", EXPORTED, of_lines, strict=False),
    "lock": Kind(f"{RUN}/.lock", EXPORTED, may_change=MEASURED, strict=False),
    "rounds": Kind(
        f"{PARTIAL[0]}-operations.jsonl", PROFILED, of_lines, interrupted, PARTIAL, strict=False, any_damages=1,
        own_damages=2,
    ),
    "chosen networks": Kind(f"{PARTIAL[0]}-networks.json", PROFILED, of_json, interrupted, PARTIAL),
}  # fmt: skip


def damages_of(kind: Kind, content: bytes) -> list[Damage]:
    """A part of the catalogue, spread over all of it; of files that one hands over, all that must be refused too."""
    own, common = list(kind.own(content)), list(of_any_file(content))
    if kind.any_damages >= len(common):
        may_be_taken = [damage for damage in own if not damage.refused]
        return [*common, *(damage for damage in own if damage.refused), *_spread(may_be_taken, kind.own_damages, 0)]
    start = list(KINDS.values()).index(kind)  # other ones for other kinds
    return [*_spread(common, kind.any_damages, start), *_spread(own, kind.own_damages, start)]


def _spread(damages: list[Damage], most: int, start: int) -> list[Damage]:
    if len(damages) <= most:
        return damages
    step = len(damages) // most
    return damages[start % step :: step][:most]


def must_be_refused(kind: Kind, content: bytes) -> Counter[str]:
    """Names of the damages that no command may take."""
    return Counter(damage.name for damage in damages_of(kind, content) if damage.refused and kind.strict)


@pytest.fixture
def prepared(here: Path) -> Callable[[Kind], Path]:
    """Makes the file of a kind in the folder in which commands are typed, and says where it is."""

    def prepare(kind: Kind) -> Path:
        kind.prepare(here)
        return next(path for path in sorted(here.glob(kind.path)) if "latest" not in path.parts)

    return prepare


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_taken_or_refused_with_one_message_and_no_harm(
    name: str, here: Path, prepared: Callable[[Kind], Path]
) -> None:
    kind = KINDS[name]
    path = prepared(kind)
    start = everything(here)
    faults, counts = [], Counter[str]()
    for damage in damages_of(kind, path.read_bytes()):
        damage.apply(path)
        before = everything(here)
        shown = type_here(kind.words)
        counts["taken" if shown.code == 0 else "refused"] += 1
        found = everything(here)
        fault = complaint(shown, before, found, kind.may_change)
        if shown.code == 0 and damage.refused and kind.strict:
            fault = "taken"
        faults += [f"{damage.name}: {fault}"] if fault else []
        restore(here, found, start)
    assert not faults, f"{name} ({table_of(counts)}): {len(faults)} faults\n" + "\n".join(faults)


def test_there_are_a_hundred_damages_and_more_that_must_be_refused(exported_run: Path, tmp_path: Path) -> None:
    """That they are is what the test above says; here only those count that a user hands over."""
    by_kind, by_damage = Counter[str](), Counter[str]()
    handed_over = {name: kind for name, kind in KINDS.items() if kind.any_damages == WHOLE["any_damages"]}
    for number, (name, kind) in enumerate(handed_over.items()):
        folder = copied(exported_run, tmp_path / str(number))
        kind.prepare(folder)
        path = next(path for path in sorted(folder.glob(kind.path)) if "latest" not in path.parts)
        found = must_be_refused(kind, path.read_bytes())
        by_kind[name], by_damage = found.total(), by_damage + found
    assert by_kind.total() >= 100, f"{by_kind.total()}: {table_of(by_kind)}\n{table_of(by_damage)}"
