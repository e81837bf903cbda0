"""Long trainings: which networks get one, and what follows from them. Accuracies are made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import MadeUp
from small import Heard

from latnas.data.sources import load_images
from latnas.errors import UsageError
from latnas.ranking.long_model import LEAST_LONG
from latnas.spaces.space import make_space
from latnas.stages.common.runs import RunFolder
from latnas.stages.search import SearchConfig
from latnas.stages.search.accuracy import AccuracyModel, accuracy_model
from latnas.stages.search.long_trainings import Contest, scored_by_known, trained_long, values_of
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost
from latnas.words.reporting import Silent

DATA = load_images("digits")
SPACE = make_space("nasbench201", image_size=8, channels=1, classes=10, width=4, depth=1)
SIZES: dict[str, Any] = {
    "data": "digits", "pool": 60, "trainings": 4, "training_steps": 1, "reduced_width": 4, "reduced_size": 8,
    "executor": "local:0",
}  # fmt: skip
LONG_STEPS = 5


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> AccuracyModel:
    run = RunFolder(tmp_path_factory.mktemp("judged"))
    model = accuracy_model(SearchConfig(**SIZES), SPACE, DATA, run, Silent())
    return model.completed(model.pool.architectures)


@pytest.fixture(scope="module")
def contest(judged: AccuracyModel) -> Contest:
    """Between the pool, within four budgets of multiply-adds that stand for latencies."""
    pool, cost = judged.pool.architectures, macs_cost(SPACE.trace)
    latencies = np.array([cost.cost(one) for one in pool])
    sizes = np.array([judged.scores.of(one.key)["log_params"] for one in pool])
    budgets = np.quantile(latencies, [1.0, 0.7, 0.4, 0.1]).tolist()
    return Contest(pool, judged.of(pool, "features", Silent()), latencies, sizes, budgets)


def truths_of(contest: Contest, seed: int) -> np.ndarray:
    """What networks reach: what the judge says, and more that it does not know."""
    values = values_of(contest.scores)
    return 0.5 + values - values.mean() + np.random.default_rng(seed).normal(0, 0.02, len(values))


def told(model: AccuracyModel, contest: Contest, truths: np.ndarray, folder: Path, count: int) -> AccuracyModel:
    """The model, with trainings that end as `truths` says."""
    config = SearchConfig(**SIZES, long_trainings=count)
    labels = {one.key: float(truth) for one, truth in zip(contest.found, truths, strict=True)}
    return replace(model, trainings=MadeUp(config, SPACE, DATA, RunFolder(folder), Silent(), "cpu", labels))


def trained(folder: Path) -> set[str]:
    found = [path.parent.name.split("-") for path in folder.glob("accuracy/short/*/result.json")]
    assert {steps for _, steps in found} <= {str(LONG_STEPS)}
    return {key for key, _ in found}


def test_the_best_within_each_budget_are_those_that_a_search_through_all_finds(contest: Contest) -> None:
    values = values_of(contest.scores)
    for rank in (0, 1, len(values) - 1):
        expected = []
        for budget in contest.budgets_ms:
            within = [index for index in range(len(values)) if contest.latencies_N[index] <= budget]
            within.sort(key=lambda index: (-values[index], index))
            expected += within[rank : rank + 1]
        assert contest.best(values, rank) == expected


def test_what_is_trained_next_is_best_somewhere_and_unknown_and_as_many_as_wanted(contest: Contest) -> None:
    views = [values_of(contest.scores), contest.sizes_N]
    best = [contest.found[position].key for position in dict.fromkeys(contest.best(views[0]) + contest.best(views[1]))]
    assert [one.key for one in contest.next(views, (), most=100)] == best
    more = [one.key for one in contest.next(views, (), most=100, least=len(best) + 1)]
    assert more[: len(best)] == best and len(more) > len(best)
    known = [one.key for one in contest.found if one.key != best[-1]]
    assert [one.key for one in contest.next(views, known, most=100)] == [best[-1]]
    assert contest.next(views, [one.key for one in contest.found], most=100) == []
    assert [one.key for one in contest.next(views, (), most=2)] == [best[0], best[-1]]


def test_first_come_the_judge_s_favourites_and_the_largest_within_each_budget(
    judged: AccuracyModel, contest: Contest, tmp_path: Path
) -> None:
    favourites = {*contest.best(values_of(contest.scores)), *contest.best(contest.sizes_N)}
    trained_long(told(judged, contest, truths_of(contest, 0), tmp_path, len(favourites)), contest, Silent())
    assert trained(tmp_path) == {contest.found[position].key for position in favourites}


@pytest.mark.parametrize("seed", range(3))
def test_choices_by_long_trainings_reach_more_than_those_without_and_have_been_trained(
    judged: AccuracyModel, contest: Contest, tmp_path: Path, seed: int
) -> None:
    truths, heard = truths_of(contest, seed), Heard()
    scores = trained_long(told(judged, contest, truths, tmp_path, 24), contest, heard)
    before, after = (contest.best(values_of(each)) for each in (contest.scores, scores))
    assert np.mean(truths[after]) > np.mean(truths[before])
    assert {contest.found[position].key for position in after} <= trained(tmp_path)
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    assert f"{len(trained(tmp_path))} networks trained 5 steps each" in heard.said[-1]
    assert f"another choice within {changed} of 4 budgets" in heard.said[-1] and changed > 0


def test_no_more_are_trained_than_were_asked_for_and_without_any_the_scores_stay(
    judged: AccuracyModel, contest: Contest, tmp_path: Path
) -> None:
    truths = truths_of(contest, 3)
    for count in (LEAST_LONG, 7):
        folder = tmp_path / str(count)
        trained_long(told(judged, contest, truths, folder, count), contest, Silent())
        assert len(trained(folder)) == count
    none = told(judged, contest, truths, tmp_path / "none", 0)
    assert trained_long(none, contest, Silent()) == list(contest.scores)
    assert scored_by_known(none, contest, Silent()) == list(contest.scores)
    assert trained(tmp_path / "none") == set()


def test_what_a_stopped_search_has_trained_already_changes_nothing(
    judged: AccuracyModel, contest: Contest, tmp_path: Path
) -> None:
    truths = truths_of(contest, 4)
    whole = trained_long(told(judged, contest, truths, tmp_path / "whole", 12), contest, Silent())
    stopped = told(judged, contest, truths, tmp_path / "stopped", 12)
    stopped.trainings.train(some_of(contest, trained(tmp_path / "whole")), LONG_STEPS)
    assert trained_long(stopped, contest, Silent()) == whole
    assert trained(tmp_path / "stopped") == trained(tmp_path / "whole")


def test_a_front_that_joins_counts_the_long_trainings_of_its_run(
    judged: AccuracyModel, contest: Contest, tmp_path: Path
) -> None:
    model = told(judged, contest, truths_of(contest, 5), tmp_path, 12)
    scores = trained_long(model, contest, Silent())
    known, heard = trained(tmp_path), Heard()
    assert scored_by_known(model, contest, heard) == scores
    assert f"{len(known)} networks trained 5 steps each" in heard.said[-1] and trained(tmp_path) == known


def some_of(contest: Contest, keys: set[str]) -> list[Architecture]:
    """Every second of these, the last ones among them."""
    return [one for one in contest.found if one.key in keys][::-2]


def test_too_few_to_learn_from_are_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match=r"3 long trainings are too few.*--long-trainings 4 or more, or 0"):
        SearchConfig(**SIZES, long_trainings=3)


def test_in_whichever_order_networks_were_found_the_scores_are_the_same(
    judged: AccuracyModel, contest: Contest, tmp_path: Path
) -> None:
    model = told(judged, contest, truths_of(contest, 6), tmp_path, 12)
    scores = trained_long(model, contest, Silent())
    turned = replace(
        contest, found=contest.found[::-1], scores=contest.scores[::-1], latencies_N=contest.latencies_N[::-1],
        sizes_N=contest.sizes_N[::-1],
    )  # fmt: skip
    assert scored_by_known(model, turned, Silent())[::-1] == scores
