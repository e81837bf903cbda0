"""The benchmark of recipes, with trainings of a few steps on the embedded digits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import final_recipes
import final_training
import numpy as np
import pytest
from final_recipes import NETWORKS, Cell, named
from final_training import PRESETS, compared, gathered, main
from pieces import OutOfTimeError
from scipy import stats

from latnas.data.sources import load_images
from latnas.data.splits import splits_of
from latnas.spaces.space import make_space
from latnas.training.tasks import run_tasks
from latnas.training.trainer import Recipe


def row(variant: str, seed: int, network: str, accuracy: float, setting: str = "s") -> dict[str, Any]:
    return {
        "data": "digits", "given": "plain", "variant": variant, "seed": seed, "network": network, "epochs": 2,
        "correct": accuracy, "select_images": 100, "setting": setting,
    }  # fmt: skip


def test_a_part_is_worth_its_mean_difference_from_the_plain_recipe_over_seeds() -> None:
    random = np.random.default_rng(0)
    plain, with_part = random.uniform(50, 90, (4, 3)), random.uniform(50, 90, (4, 3))
    rows = [
        row(variant, seed, network, float(values[seed, column]))
        for variant, values in (("ema", with_part), ("plain", plain))
        for seed in range(4)
        for column, network in enumerate(NETWORKS)
        if (variant, network) != ("ema", "largest")
    ]
    (found,) = compared([*rows, *(row("plain", seed, "small", 1.0, setting="other") for seed in range(4))])
    means = (with_part - plain)[:, 1:].mean(axis=1)
    low, high = stats.ttest_1samp(means, 0.0).confidence_interval(0.95)
    assert (found["variant"], found["seeds"], found["trainings"]) == ("ema", 4, 8)
    assert (found["difference"], found["low"], found["high"]) == pytest.approx((means.mean(), low, high), rel=1e-3)
    (single,) = compared([one for one in rows if one["seed"] == 0])
    assert single["low"] is None


def test_a_difference_is_that_of_counts_and_not_of_rounded_accuracies() -> None:
    counts = {"plain": (8039, 8035, 8029), "smoothing": (8063, 8032, 8085), "distill": (None, 8041, 8048)}
    rows = [
        row(variant, 0, network, correct / 90)
        for variant, correct_N in counts.items()
        for network, correct in zip(NETWORKS, correct_N, strict=True)
        if correct is not None
    ]
    smoothing, distill = compared(rows)
    assert (smoothing["difference"], smoothing["networks"]) == (0.28519, "largest, middle, small")
    assert (distill["difference"], distill["networks"]) == (0.13889, "middle, small")


def test_new_rows_take_the_place_of_those_of_the_same_training_and_others_stay() -> None:
    known = [row("ema", 0, "small", 50.0), row("ema", 0, "small", 60.0, setting="other")]
    assert gathered(known, [row("ema", 0, "small", 70.0), row("ema", 1, "small", 80.0)]) == [
        row("ema", 0, "small", 70.0), row("ema", 0, "small", 60.0, setting="other"), row("ema", 1, "small", 80.0),
    ]  # fmt: skip


def test_a_recipe_has_the_parts_that_are_named_and_their_names_an_order() -> None:
    setting, data = PRESETS["tiny"], load_images("digits")
    plain, all_of_it = setting.recipe((), data, 160), setting.recipe(("ema", "cutout", "crops", "smoothing"), data, 160)
    assert plain == Recipe(20, 16, pad=0, flip=False)
    assert (all_of_it.pad, all_of_it.cutout, all_of_it.ema, all_of_it.label_smoothing) == (None, 4, 0.999, 0.1)
    rates = setting.recipe(("rate", "decay"), data, 160)
    assert (rates.learning_rate, rates.weight_decay) == (2 * plain.learning_rate, plain.weight_decay / 5)
    assert (named(("ema", "crops")), named(())) == ("crops+ema", "plain")


def test_trainings_of_other_images_have_another_setting() -> None:
    digits = load_images("digits")
    assert PRESETS["tiny"].digest(digits) == PRESETS["tiny"].digest(load_images("digits"))
    assert PRESETS["tiny"].digest(digits) != PRESETS["tiny"].digest(load_images("fashion-mini"))
    assert PRESETS["tiny"].digest(digits) != PRESETS["cpu"].digest(digits)


def test_trainings_of_another_version_have_another_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_images("digits")
    before = PRESETS["tiny"].digest(digits)
    monkeypatch.setattr(final_recipes, "VERSION", final_recipes.VERSION + 1)
    assert PRESETS["tiny"].digest(digits) != before


def test_a_student_s_teacher_is_the_largest_network_trained_by_the_other_parts(tmp_path: Path) -> None:
    space = make_space("mbconv", width=4, depth=1, image_size=8, channels=1, classes=10)
    cell = Cell(load_images("digits"), space, PRESETS["tiny"], 0, tmp_path)
    macs = [space.amounts(one).macs for one in cell.networks.values()]
    assert macs == sorted(macs, reverse=True) and len(set(macs)) == 3
    teacher, student = cell.teacher(("crops", "distill")), cell.task("small", ("crops", "distill"))
    assert teacher == cell.task("largest", ("crops",)) and teacher.config["teacher"] is None
    assert student.config["teacher"]["weights"] == str(teacher.folder / "weights.safetensors")
    assert cell.task("small", ("supernet",)).config["inherit"] == str(cell.supernet.folder / "weights.safetensors")


def benchmark(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    """Types the command; returns the exit code."""
    typed = [
        "final_training.py",
        "--data",
        "digits",
        "--preset",
        "tiny",
        "--executor",
        "local:0",
        "--seeds",
        "0",
        *words,
    ]
    monkeypatch.setattr(sys, "argv", typed)
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_it_measures_on_select_alone_and_a_second_session_trains_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_environment: None
) -> None:
    monkeypatch.chdir(tmp_path)

    def run_some(tasks: Any, *rest: Any) -> Any:
        run_tasks(tasks[:1], *rest)
        raise OutOfTimeError

    words = ("--parts", "ema", "distill", "supernet", "--json", "out.json")
    with monkeypatch.context() as patched:
        patched.setattr(final_training, "run_tasks", run_some)
        assert benchmark(monkeypatch, *words) == 0
    assert not Path("out.json").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert len(before) == 1
    assert benchmark(monkeypatch, *words) == 0
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert before.items() <= after.items()
    rows = [one for one in json.loads(Path("out.json").read_text())["rows"] if "network" in one]
    assert [(one["variant"], one["network"]) for one in rows] == [
        *(("plain", name) for name in NETWORKS), *(("ema", name) for name in NETWORKS), ("distill", "middle"),
        ("distill", "small"), *(("supernet", name) for name in NETWORKS),
    ]  # fmt: skip
    held_out = len(splits_of(load_images("digits"), 0).select)
    assert {one["select_images"] for one in rows} == {held_out}
    assert all(one["accuracy"] == pytest.approx(100 * one["correct"] / held_out, rel=1e-4) for one in rows)
    assert benchmark(monkeypatch, *words) == 0
    assert after == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
