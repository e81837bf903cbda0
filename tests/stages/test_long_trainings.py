"""Long trainings: which networks get one, and what follows from them. Accuracies are made up."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import MadeUp
from small import Heard

from latnas.data.sources import load_images
from latnas.errors import UsageError
from latnas.ranking.long_model import DOUBT, LEAST_LONG
from latnas.spaces.space import make_space
from latnas.stages.common.runs import RunFolder
from latnas.stages.search import SearchConfig
from latnas.stages.search.accuracy import MIXTURES, AccuracyModel, accuracy_model
from latnas.stages.search.long_trainings import (
    Contest,
    Opinions,
    every_opinion,
    favourites,
    first_long,
    trained_long,
    values_of,
    with_known,
)
from latnas.stages.search.trainings import SHORT_BATCH, Candidates
from latnas.words.architecture import Architecture
from latnas.words.costs import generic_costs, macs_cost
from latnas.words.reporting import Reporter, Silent

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
    pool = model.pool.architectures
    return model.completed(Candidates.of(pool, model.scores, generic_costs(SPACE.trace, MIXTURES, seed=0)))


@pytest.fixture(scope="module")
def contest(judged: AccuracyModel) -> Contest:
    """Between the pool, within four budgets of multiply-adds that stand for latencies."""
    pool, cost = judged.pool.architectures, macs_cost(SPACE.trace)
    latencies = np.array([cost.cost(one) for one in pool])
    return Contest(pool, latencies, np.quantile(latencies, [1.0, 0.7, 0.4, 0.1]).tolist())


def truths_of(model: AccuracyModel, contest: Contest, seed: int) -> np.ndarray:
    """What networks reach: what the judge says, and more that it does not know."""
    values = values_of(model, contest)
    return 0.5 + values - values.mean() + np.random.default_rng(seed).normal(0, 0.02, len(values))


def told(model: AccuracyModel, contest: Contest, truths: np.ndarray, folder: Path) -> AccuracyModel:
    """The model, with trainings that end as `truths` says."""
    config = SearchConfig(**SIZES, long_trainings=LEAST_LONG)
    labels = {one.key: float(truth) for one, truth in zip(contest.found, truths, strict=True)}
    return replace(model, trainings=MadeUp(config, SPACE, DATA, RunFolder(folder), Silent(), labels))


def learnt(model: AccuracyModel, contest: Contest, most: int, report: Reporter | None = None) -> AccuracyModel:
    """After long trainings as they come after the proposals."""
    return trained_long(model, contest, favourites, most, report or Silent())


def trained(folder: Path) -> set[str]:
    found = [path.parent.name.split("-") for path in folder.glob("accuracy/short/*/result.json")]
    assert {steps for _, steps in found} <= {str(LONG_STEPS)}
    return {key for key, _ in found}


def test_the_best_within_each_budget_are_those_that_a_search_through_all_finds(
    judged: AccuracyModel, contest: Contest
) -> None:
    values = values_of(judged, contest)
    ranked = contest.ranked(values)
    for budget, found in zip(contest.budgets_ms, ranked, strict=True):
        within = [index for index in range(len(values)) if contest.latencies_N[index] <= budget]
        assert found.tolist() == sorted(within, key=lambda index: (-values[index], index))
    assert contest.best(values) == [found[0] for found in ranked]


def test_networks_are_sorted_once_by_each_view_however_many_are_known(
    judged: AccuracyModel, contest: Contest, monkeypatch: pytest.MonkeyPatch
) -> None:
    views, sorts, argsort = every_opinion(judged, contest), [0], np.argsort

    def counted(*arguments: Any, **options: Any) -> Any:
        sorts[0] += 1
        return argsort(*arguments, **options)

    monkeypatch.setattr(np, "argsort", counted)
    assert contest.next(views, {one.key for one in contest.found}, most=100) == []
    assert sorts == [len(views)]


def test_what_is_trained_next_is_best_somewhere_and_unknown_and_as_many_as_wanted(
    judged: AccuracyModel, contest: Contest
) -> None:
    views = favourites(judged, contest)
    by_budget = zip(*(contest.best(values) for values in views), strict=True)
    best = [contest.found[position].key for position in dict.fromkeys(chain.from_iterable(by_budget))]
    assert [one.key for one in contest.next(views, (), most=100)] == best
    more = [one.key for one in contest.next(views, (), most=100, least=len(best) + 1)]
    assert more[: len(best)] == best and len(more) > len(best)
    known = [one.key for one in contest.found if one.key != best[-1]]
    assert [one.key for one in contest.next(views, known, most=100)] == [best[-1]]
    assert contest.next(views, [one.key for one in contest.found], most=100) == []
    assert [one.key for one in contest.next(views, (), most=2)] == [best[0], best[-1]]


@pytest.mark.parametrize("most", range(4, 15))
def test_those_that_are_trained_are_about_as_many_within_each_stretch_of_budgets(contest: Contest, most: int) -> None:
    """With views that all differ: in step with the budgets, only the loosest and the tightest had their turn."""
    count, budgets, views = len(contest.found), np.linspace(1.0, 0.2, 5), range(7)
    made_up = Contest(contest.found, np.linspace(0.01, 1.0, count), budgets.tolist())
    values = [np.random.default_rng(view).permutation(count) + 100.0 * np.linspace(0, 1, count) for view in views]
    chosen = [contest.found.index(one) for one in made_up.next(values, (), most)]
    counts = np.histogram(made_up.latencies_N[chosen], [0, *budgets[::-1]])[0]
    assert sum(counts) == most and max(counts) - min(counts) <= 2  # some views agree


@pytest.mark.parametrize("opinions", [favourites, every_opinion])
def test_first_come_what_each_opinion_would_choose_within_each_budget(
    judged: AccuracyModel, contest: Contest, tmp_path: Path, opinions: Opinions
) -> None:
    views = opinions(judged, contest)
    wanted = {position for values in views for position in contest.best(values)}
    model = told(judged, contest, truths_of(judged, contest, 0), tmp_path)
    trained_long(model, contest, opinions, len(wanted), Silent())
    assert trained(tmp_path) == {contest.found[position].key for position in wanted}


def test_the_opinions_are_the_judge_size_the_short_training_and_each_feature(
    judged: AccuracyModel, contest: Contest
) -> None:
    views = every_opinion(judged, contest)
    for position, one in enumerate(contest.found[:5]):
        row = judged.scores.of(one.key)
        expected = [
            judged.judge.score(one.key, row).value, row["log_macs"], judged.judge.short_accuracy(one.key, row).value,
            row["jacov"], row["synflow"], row["naswot"], row["log_params"],
        ]  # fmt: skip
        assert [values[position] for values in views] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_choices_by_long_trainings_reach_more_than_those_without_and_have_been_trained(
    judged: AccuracyModel, contest: Contest, tmp_path: Path, seed: int
) -> None:
    truths, heard = truths_of(judged, contest, seed), Heard()
    model = told(judged, contest, truths, tmp_path)
    after = learnt(model, contest, 24, heard)
    chosen = [contest.best(values_of(each, contest)) for each in (model, after)]
    assert np.mean(truths[chosen[1]]) > np.mean(truths[chosen[0]])
    assert {contest.found[position].key for position in chosen[1]} <= trained(tmp_path)
    changed = sum(one != other for one, other in zip(*chosen, strict=True))
    assert f"{len(trained(tmp_path))} networks trained 5 steps each, left-out error" in heard.said[-1]
    assert f"another choice within {changed} of 4 budgets" in heard.said[-1] and changed > 0


def test_what_was_trained_before_counts_and_the_others_are_the_best_by_what_it_taught(
    judged: AccuracyModel, contest: Contest, tmp_path: Path
) -> None:
    model = told(judged, contest, truths_of(judged, contest, 7), tmp_path)
    first = trained_long(model, contest, every_opinion, 8, Silent())
    before = trained(tmp_path)
    assert len(before) == 8
    hopeful = values_of(first, contest, caution=-DOUBT)
    best = {contest.found[position].key for position in contest.best(hopeful)}
    after = learnt(first, contest, 8 + len(best - before))
    assert trained(tmp_path) == before | best
    assert after.long is not None and after.long.own.keys() == before | best


def test_of_eight_half_come_before_the_proposals_and_of_fewer_none() -> None:
    assert [first_long(count) for count in (0, 4, 7, 8, 9, 18)] == [0, 0, 0, 4, 4, 9]


def test_no_more_are_trained_than_were_asked_for_and_without_any_the_judge_s_scores_stay(
    judged: AccuracyModel, contest: Contest, tmp_path: Path
) -> None:
    truths = truths_of(judged, contest, 3)
    for count in (LEAST_LONG, 7):
        learnt(told(judged, contest, truths, tmp_path / str(count)), contest, count)
        assert len(trained(tmp_path / str(count))) == count
    none = told(judged, contest, truths, tmp_path / "none")
    scores = judged.of(contest.found, "features", Silent())
    for model in (learnt(none, contest, 0), with_known(none, {one.key for one in contest.found}, Silent())):
        assert model.of(contest.found, "features", Silent()) == scores
    assert trained(tmp_path / "none") == set()


def test_where_too_few_are_within_the_budgets_to_learn_from_none_is_trained(
    judged: AccuracyModel, contest: Contest, tmp_path: Path
) -> None:
    cheapest = np.argsort(contest.latencies_N, kind="stable")
    for count, trains in ((LEAST_LONG - 1, False), (LEAST_LONG, True)):
        few, heard = [contest.found[at] for at in cheapest[:count]], Heard()
        narrow = Contest(few, contest.latencies_N[cheapest[:count]], contest.budgets_ms)
        given = told(judged, narrow, truths_of(judged, narrow, 5), tmp_path / str(count))
        assert (learnt(given, narrow, 12, heard).long is not None) == trains
        assert len(trained(tmp_path / str(count))) == (count if trains else 0)
        assert any("none is trained for long" in text for text in heard.said) != trains


def test_what_a_stopped_search_has_trained_already_changes_nothing(
    judged: AccuracyModel, contest: Contest, tmp_path: Path
) -> None:
    truths = truths_of(judged, contest, 4)
    whole = learnt(told(judged, contest, truths, tmp_path / "whole"), contest, 12)
    stopped = told(judged, contest, truths, tmp_path / "stopped")
    stopped.trainings.train(some_of(contest, trained(tmp_path / "whole")), LONG_STEPS)
    assert values_of(learnt(stopped, contest, 12), contest).tolist() == values_of(whole, contest).tolist()
    assert trained(tmp_path / "stopped") == trained(tmp_path / "whole")


def test_a_front_that_joins_counts_the_long_trainings_of_what_it_knows(
    judged: AccuracyModel, contest: Contest, tmp_path: Path
) -> None:
    model = told(judged, contest, truths_of(judged, contest, 5), tmp_path)
    whole = learnt(model, contest, 12)
    known, heard = trained(tmp_path), Heard()
    joined = with_known(model, {one.key for one in contest.found}, heard)
    assert values_of(joined, contest).tolist() == values_of(whole, contest).tolist()
    assert f"{len(known)} networks trained 5 steps each" in heard.said[-1] and trained(tmp_path) == known
    some = set(sorted(known)[:5])
    joined = with_known(model, some, Silent())
    assert joined.long is not None and joined.long.own.keys() == some


def test_what_is_known_without_trainings_says_more_where_exports_train_longer(
    judged: AccuracyModel, contest: Contest, tmp_path: Path
) -> None:
    """As many images as the trainings of exports see are as many epochs of all that there are to train on."""
    images, seen = len(DATA.train), LONG_STEPS * SHORT_BATCH
    model = learnt(told(judged, contest, truths_of(judged, contest, 8), tmp_path), contest, 6)
    added = {}
    for epochs in (0, 2, 20):
        config, heard = SearchConfig(**SIZES, long_trainings=LEAST_LONG, epochs=epochs), Heard()
        told_so = replace(model, trainings=replace(model.trainings, config=config), long=None)
        again = with_known(told_so, trained(tmp_path), heard)
        assert again.long is not None
        added[epochs] = again.long.untrained
        beside = f", beside prior and size as exports train {epochs * images / seen:.1f} times as long"
        assert (beside in heard.said[-1]) == (epochs > 0)
    labels = [model.trainings.long()[key]["accuracy"] for key in trained(tmp_path)]
    expected = [np.std(labels) * np.log10(epochs * images / seen) for epochs in (2, 20)]
    assert added == pytest.approx({0: 0.0, 2: expected[0], 20: expected[1]})


def test_another_judge_leaves_the_long_trainings_that_count(
    judged: AccuracyModel, contest: Contest, tmp_path: Path
) -> None:
    model = learnt(told(judged, contest, truths_of(judged, contest, 6), tmp_path), contest, 6)
    again = model.judged_by(replace(judged.judge, reliability=0.0))
    assert again.long is not None and again.long.own.keys() == trained(tmp_path)
    assert again.long.view.judge is again.judge and again.judge is not judged.judge


def some_of(contest: Contest, keys: set[str]) -> list[Architecture]:
    """Every second of these, the last ones among them."""
    return [one for one in contest.found if one.key in keys][::-2]


def test_too_few_to_learn_from_are_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match=r"3 long trainings are too few.*--long-trainings 4 or more, or 0"):
        SearchConfig(**SIZES, long_trainings=3)
