"""The accuracy model as a whole: what it trains, how long, and that it does not matter when it was stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_up import MadeUp
from small import contents

from latnas.data.sources import load_images
from latnas.ranking import judge
from latnas.ranking.judge import Judge, Scale, cut, prior_scores
from latnas.ranking.shortlist import shortlist
from latnas.spaces.solving import dearest
from latnas.spaces.space import make_space
from latnas.stages.common.runs import RunFolder
from latnas.stages.search import SearchConfig, trainings
from latnas.stages.search.accuracy import MIXTURES, AccuracyModel, accuracy_model
from latnas.stages.search.trainings import Candidates, first_trainings, train_first, train_rest
from latnas.words.architecture import Architecture
from latnas.words.costs import generic_costs, params_cost
from latnas.words.reporting import Silent

DATA = load_images("digits")
SPACE = make_space("nasbench201", image_size=8, channels=1, classes=10, width=4, depth=1)
COSTS = generic_costs(SPACE.trace, MIXTURES, seed=0)
SIZES: dict[str, Any] = {
    "data": "digits", "pool": 32, "trainings": 12, "training_steps": 2, "halvings": 1, "reduced_width": 4,
    "reduced_size": 8, "executor": "local:0",
}  # fmt: skip


def begun(folder: Path, **changes: Any) -> AccuracyModel:
    return accuracy_model(SearchConfig(**{**SIZES, **changes}), SPACE, DATA, RunFolder(folder), Silent())


def found(model: AccuracyModel) -> list[Architecture]:
    """The pool, and as if they had been proposed, the largest networks and some random ones."""
    random = torch.Generator().manual_seed(1)
    largest = dearest(SPACE, params_cost(SPACE.trace), 5)
    known = {one.key: one for one in [*model.pool.architectures, *largest, *(SPACE.random(random) for _ in range(15))]}
    return list(known.values())


def made(folder: Path, **changes: Any) -> AccuracyModel:
    model = begun(folder, **changes)
    proposed = found(model)
    model.of(proposed, "features", Silent())
    model = model.completed(Candidates.of(proposed, model.scores, COSTS))
    model.tell(Silent())
    return model


def choose_by(labels: int, patched: pytest.MonkeyPatch) -> None:
    """Within a test so few labels are enough to choose features by."""
    patched.setattr(trainings, "LEAST_TO_COMPARE_BY", labels)
    patched.setattr(judge, "LEAST_TO_COMPARE_BY", labels)


def trained(folder: Path) -> dict[int, set[str]]:
    """Keys of the architectures that were trained, by steps."""
    found: dict[int, set[str]] = {}
    for path in folder.glob("accuracy/short/*/result.json"):
        key, steps = path.parent.name.split("-")
        found.setdefault(int(steps), set()).add(key)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AccuracyModel]:
    """A model that was never interrupted, with its folder. Five trainings are enough to choose features by."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        choose_by(4, patched)
        return folder, made(folder)


def test_many_are_trained_and_the_best_third_anew_three_times_as_long(whole: tuple[Path, AccuracyModel]) -> None:
    folder, model = whole
    keys = trained(folder)
    assert {steps: len(found) for steps, found in keys.items()} == {2: 12, 6: 4}
    assert keys[6] < keys[2]
    assert model.judge.labels.keys() == keys[2]


def test_half_of_the_trainings_wait_for_the_proposals_and_the_best_of_these_are_among_them(
    whole: tuple[Path, AccuracyModel], tmp_path: Path
) -> None:
    first = begun(tmp_path)
    pool = {architecture.key for architecture in first.pool.architectures}
    assert trained(tmp_path) == {2: first.first} and len(first.first) == 6 and first.first < pool
    assert first.judge.labels.keys() == first.first
    folder, model = whole
    later = trained(folder)[2] - first.first
    assert len(later) == 6 and later - pool
    proposed = [one for one in found(model) if one.key not in pool]
    scores = first.of(proposed, "features", Silent())
    best = max(zip(scores, proposed, strict=True), key=lambda pair: pair[0].value)[1]
    assert best.key in later


def test_within_budgets_that_are_given_each_gets_as_many_of_the_other_half(tmp_path: Path) -> None:
    """The best by the judge within each: hardly a budget is left to networks that were not trained."""
    first = begun(tmp_path, trainings=18, halvings=0)
    proposed, cost = found(first), params_cost(SPACE.trace)
    values = {
        one.key: first.judge.score(one.key, first.scores.of(one.key), caution=0.0).value
        for one, _ in zip(proposed, first.of(proposed, "features", Silent()), strict=True)
    }
    costs = {one.key: cost.cost(one) for one in proposed}
    budgets = np.quantile(list(costs.values()), (0.2, 0.5, 1.0)).tolist()
    first.completed(Candidates.within(proposed, first.scores, list(costs.values()), budgets))
    likes = [sorted((k for k in values if costs[k] <= most), key=lambda k: -values[k]) for most in budgets]
    everything = trained(tmp_path)[2]
    assert len(everything) == 18 and first.first < everything
    reached = [next(rank for rank, key in enumerate(best) if key not in everything) for best in likes]
    assert min(reached) >= 3 and max(reached) <= min(reached) + 1, "the best are trained to the same rank, or nearly"


def test_where_the_pool_is_the_whole_space_nothing_waits() -> None:
    assert [first_trainings(count, whole_space=True) for count in (4, 12, 130)] == [4, 12, 130]
    assert [first_trainings(count, whole_space=False) for count in (4, 5, 8, 12, 130)] == [4, 4, 4, 6, 65]


def without(folder: Path, lost: Sequence[str]) -> None:
    for pattern in lost:
        found = sorted(folder.glob(pattern))
        assert found
        for path in found[::2]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "lost",
    [["accuracy/features/*"], ["accuracy/short/*-2"], ["accuracy/short/*-6"], ["accuracy/*/*", "accuracy/judge.json"]],
    ids=["features", "short trainings", "longer trainings", "half of everything"],
)
def test_a_model_that_was_stopped_anywhere_becomes_the_one_that_was_not(
    whole: tuple[Path, AccuracyModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: list[str]
) -> None:
    """Whatever of its results are there, later ones without earlier ones included."""
    folder, model = whole
    here = Path(shutil.copytree(folder, tmp_path / "here"))
    without(here, lost)
    choose_by(4, monkeypatch)
    again = made(here)
    assert contents(here) == contents(folder)
    assert again.judge.report() == model.judge.report() == json.loads((here / "accuracy/judge.json").read_text())
    scores = [one.of(found(model), "scores", Silent()) for one in (model, again)]
    assert scores[0] == scores[1]


def made_up(model: AccuracyModel, folder: Path, names: Sequence[str], **changes: Any) -> tuple[Judge, np.ndarray]:
    """The judge of made-up labels, and the costs [C, N] along which it was made."""
    config = SearchConfig(**{**SIZES, **changes})
    costs, pool = generic_costs(SPACE.trace, 2, seed=0), model.pool.architectures
    rows = [model.scores.of(one.key) for one in pool]
    values = 0.5 + 0.1 * cut(Scale.of(rows).standard(rows, names)).mean(1)
    labels = dict(zip((one.key for one in pool), values.tolist(), strict=True))
    made_up = MadeUp(config, SPACE, DATA, RunFolder(folder), Silent(), labels)
    judge, first = train_first(pool, model.scores, made_up, costs, config.trainings)
    judge = train_rest(pool, Candidates.of(pool, model.scores, costs), model.scores, made_up, judge, first)
    return judge, np.array([[cost.cost(architecture) for architecture in pool] for cost in costs])


def test_many_trainings_come_in_three_parts_each_placed_by_what_the_ones_before_taught(
    whole: tuple[Path, AccuracyModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, names = whole[1], ("naswot",)
    rows = [model.scores.of(architecture.key) for architecture in model.pool.architectures]
    sizes = np.array([row["log_macs"] for row in rows])
    at_once, costs = made_up(model, tmp_path / "at once", names, trainings=15, halvings=0)
    keys = [architecture.key for architecture in model.pool.architectures]
    assert at_once.labels.keys() == {keys[i] for i in shortlist(costs, prior_scores(rows), sizes, 15)}
    choose_by(4, monkeypatch)
    in_parts, _ = made_up(model, tmp_path / "in parts", names, trainings=15, halvings=0)
    assert {keys[i] for i in shortlist(costs, prior_scores(rows), sizes, 5)} < in_parts.labels.keys()
    assert len(in_parts.labels) == len(at_once.labels) == 15
    assert np.mean(list(in_parts.labels.values())) > np.mean(list(at_once.labels.values()))


def test_what_was_trained_beside_a_search_does_not_count_for_it(
    whole: tuple[Path, AccuracyModel], tmp_path: Path
) -> None:
    """As a front does that joins a run, by trainings of the longest of its lengths."""
    model, alone, here = whole[1], tmp_path / "alone", tmp_path / "here"
    expected, _ = made_up(model, alone, ("naswot",), trainings=14, halvings=2)
    assert {steps: len(keys) for steps, keys in trained(alone).items()} == {2: 14, 6: 5, 18: 2}
    others = [one for one in model.pool.architectures if one.key not in trained(alone)[2]]
    labels = {one.key: 0.9 for one in others}
    MadeUp(SearchConfig(**SIZES), SPACE, DATA, RunFolder(here), Silent(), labels).train(others, 18)
    found, _ = made_up(model, here, ("naswot",), trainings=14, halvings=2)
    assert found.report() == expected.report()
    assert trained(here) == {**trained(alone), 18: trained(alone)[18] | labels.keys()}


def test_the_one_that_the_judge_likes_most_is_always_trained_on(
    whole: tuple[Path, AccuracyModel], tmp_path: Path
) -> None:
    model = whole[1]
    judged, _ = made_up(model, tmp_path, ("jacov",), halvings=0)
    best = max(judged.labels, key=lambda key: judged.score(key, model.scores.of(key)).value)
    made_up(model, tmp_path, ("jacov",), trainings=12, halvings=1)
    assert best in trained(tmp_path)[6]
