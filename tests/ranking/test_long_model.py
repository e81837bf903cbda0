"""The model of long trainings on made-up accuracies: what size is worth, what else, and what is a network's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from latnas.ranking.features import FEATURES
from latnas.ranking.gaussian import solved
from latnas.ranking.judge import Judge, Structure, fit_judge
from latnas.ranking.label_model import Known, Parts
from latnas.ranking.long_model import LEAST_DOUBT, OTHERS, LongLabel, LongModel, View, fit_long_model

MANY = 1_000_000
"""Images of an accuracy that is hardly by chance."""

Row = dict[str, float]


def rows(count: int, seed: int) -> list[Row]:
    """Features that all grow with size, and each by what size does not explain."""
    random = np.random.default_rng(seed)
    size_N1 = random.normal(size=(count, 1))
    values = size_N1 + random.normal(size=(count, len(FEATURES)))
    values[:, FEATURES.index("log_macs")] = size_N1[:, 0]
    return [dict(zip(FEATURES, map(float, row), strict=True)) for row in values]


def alone(key: str) -> Parts:
    """The parts of a network that shares none with any other."""
    return frozenset({key})


def view_of(pool: Sequence[Row], structure: Structure = alone) -> View:
    """By a judge of short trainings that say nothing but noise."""
    random = np.random.default_rng(7)
    short = {f"short {index}": (row, 0.5 + float(random.normal(0, 0.01))) for index, row in enumerate(pool[:10])}
    judge: Judge = fit_judge(pool, short, 300, structure)
    return View.of(judge, {str(index): row for index, row in enumerate(pool)})


def fitted(
    view: View, pool: Sequence[Row], reached: Sequence[float] | np.ndarray, images: int = MANY, longer: float = 1.0
) -> LongModel:
    """From the accuracies of the first networks of a pool, called by their position."""
    labels = {str(index): LongLabel(pool[index], float(one), images) for index, one in enumerate(reached)}
    return fit_long_model(view, labels, longer)


def sizes(pool: Sequence[Row]) -> np.ndarray:
    return np.array([row["log_macs"] for row in pool])


def predicted(model: LongModel, pool: Sequence[Row], caution: float = 0.0) -> np.ndarray:
    return np.array([model.score(str(index), row, caution).value for index, row in enumerate(pool)])


def test_the_opinions_say_nothing_that_size_says() -> None:
    pool = rows(200, seed=0)
    view = view_of(pool)
    seen = [view.at(str(index), row) for index, row in enumerate(pool)]
    size_N, others_NA = np.array([one.size for one in seen]), np.array([one.others_A for one in seen])
    for power in (1, 2):
        assert others_NA.T @ size_N**power == pytest.approx(0.0, abs=1e-6)
    assert others_NA.std(0) == pytest.approx(1.0)


@pytest.mark.parametrize("slope", [0.05, 0.0, -0.05])
def test_what_size_is_worth_is_learnt_but_never_counts_against_a_network(slope: float) -> None:
    """Large networks that are behind after a long training are so since they converge later."""
    pool = rows(60, seed=1)
    truth = 0.5 + slope * sizes(pool)
    model = fitted(view_of(pool), pool, truth[:8])
    low, high = sizes(pool[:8]).min(), sizes(pool[:8]).max()
    counted = np.clip(sizes(pool), low, high) if slope > 0 else low
    assert predicted(model, pool) == pytest.approx(0.5 + slope * counted * np.ones(60), abs=2e-3)


def test_a_size_s_worth_is_the_most_that_smaller_ones_reach() -> None:
    pool = rows(60, seed=10)
    for bend in (-0.02, 0.02):
        model = fitted(view_of(pool), pool, 0.6 + 0.01 * sizes(pool[:20]) + bend * sizes(pool[:20]) ** 2)
        trained = np.linspace(*model.size.domain, 400)
        most = np.maximum.accumulate(model.size(trained))
        assert [model.worth(float(size)) for size in trained] == pytest.approx(most.tolist(), abs=1e-4)
        assert model.worth(float(trained[-1]) + 1) == pytest.approx(most[-1], abs=1e-4)


def test_with_a_dozen_networks_what_size_is_worth_may_bend() -> None:
    pool = rows(60, seed=2)
    truth = 0.6 + 0.02 * (sizes(pool) - sizes(pool).min()) ** 2
    inside = np.abs(sizes(pool)) < np.abs(sizes(pool[:12])).max() / 2
    errors = {count: predicted(fitted(view_of(pool), pool, truth[:count]), pool) - truth for count in (11, 12)}
    assert np.abs(errors[12][inside]).max() < 0.004 < np.abs(errors[11][inside]).max()


@pytest.mark.parametrize("worth", [0.03, -0.03])
@pytest.mark.parametrize("feature", OTHERS)
def test_which_feature_tells_networks_of_a_size_apart_is_learnt_and_in_which_direction(
    feature: str, worth: float
) -> None:
    pool = rows(150, seed=3)
    view = view_of(pool)
    own = np.array([view.at(str(index), row).others_A[1 + OTHERS.index(feature)] for index, row in enumerate(pool)])
    truth = 0.5 + 0.02 * sizes(pool) + worth * own
    model = fitted(view, pool, truth[:16])
    judged = [view.judge.score(str(index), row).value for index, row in enumerate(pool)]
    by_model, by_judge = (
        stats.spearmanr(values[16:], truth[16:]).statistic for values in (predicted(model, pool), judged)
    )
    assert by_model > max(by_judge, 0.9)


def test_a_network_that_reaches_more_than_others_like_it_counts_for_as_much_more() -> None:
    pool = rows(40, seed=4)
    beyond = np.zeros(14)
    beyond[5] = 0.05
    model = fitted(view_of(pool), pool, 0.5 + 0.02 * sizes(pool[:14]) + beyond)
    assert predicted(model, pool[:14])[5] == pytest.approx(0.55 + 0.02 * pool[5]["log_macs"], abs=0.012)


def test_of_what_may_be_chance_only_a_share_counts() -> None:
    pool = rows(60, seed=5)
    beyond = np.random.default_rng(0).normal(0, 0.02, 40)
    models = {images: fitted(view_of(pool), pool, 0.5 + beyond, images) for images in (200, 3000, MANY)}
    counted = {images: float(np.std(predicted(model, pool[:40]))) for images, model in models.items()}
    assert counted[200] < 0.4 * counted[MANY] < counted[3000] < 0.9 * counted[MANY]  # deviations .05, .013 and .0007
    assert models[200].own_doubt == pytest.approx(LEAST_DOUBT * np.std(0.5 + beyond))


def test_what_networks_built_alike_have_in_common_counts_for_others_built_so() -> None:
    random = np.random.default_rng(1)
    pool = rows(40, seed=6)
    made_of = {
        str(index): frozenset(f"{place}/{random.choice(['good', 'bad'])}" for place in "abc") for index in range(40)
    }
    made_of |= {kind: frozenset(f"{place}/{kind}" for place in "abc") for kind in ("good", "bad")}
    view = view_of(pool, lambda key: made_of.get(key, frozenset({key})))
    beyond = [0.02 * sum(part.endswith("good") for part in made_of[str(index)]) for index in range(32)]
    model = fitted(view, pool, 0.4 + np.array(beyond))
    good, bad = (model.score(kind, pool[0], caution=0.0).value for kind in ("good", "bad"))
    assert good - bad == pytest.approx(0.06, abs=0.015)


def test_a_network_in_doubt_counts_for_less_with_caution_and_for_more_with_hope() -> None:
    pool = rows(30, seed=8)
    model = fitted(view_of(pool), pool, 0.5 + np.random.default_rng(2).normal(0, 0.03, 12))
    trained, other = ([predicted(model, pool, caution=caution)[key] for caution in (1.0, 0.0, -1.0)] for key in (0, 20))
    assert np.diff(other)[0] == pytest.approx(np.diff(other)[1]) and np.diff(other)[0] > 0.009
    assert np.all(np.diff(trained) < 0.6 * np.diff(other))


@pytest.mark.parametrize(("count", "degree"), [(11, 1), (12, 2), (14, 2)])
def test_left_out_errors_are_those_of_models_that_never_saw_the_network(count: int, degree: int) -> None:
    pool = rows(30, seed=9)
    view = view_of(pool)
    reached = 0.5 + 0.03 * sizes(pool[:count]) + np.random.default_rng(3).normal(0, 0.02, count)
    model = fitted(view, pool, reached)
    seen = [view.at(str(index), row) for index, row in enumerate(pool[:count])]
    size_M, others_MA = np.array([one.size for one in seen]), np.array([one.others_A for one in seen])
    known = Known.of(others_MA, [alone(str(index)) for index in range(count)])
    gram_MM = model.corrections.kernel(*known.among())
    for left in range(count):
        kept = np.arange(count) != left
        curve = np.polynomial.Polynomial.fit(size_M[kept], reached[kept], degree)
        within_M = np.clip(size_M, size_M[kept].min(), size_M[kept].max())
        beyond_M = (reached - curve(within_M) - model.leaning * others_MA.sum(1)) / model.corrections.scale
        process = solved(gram_MM[np.ix_(kept, kept)], model.corrections.process.noise, beyond_M[kept])
        expected = model.corrections.scale * (beyond_M[left] - gram_MM[left, kept] @ process.weights_K)
        assert model.left_out[left] == pytest.approx(expected)
    found = model.score("25", pool[25])
    quantile = stats.t.ppf(0.95, count - 1)
    assert (found.high - found.low) / 2 == pytest.approx(quantile * np.sqrt(np.mean(model.left_out**2)))


@pytest.mark.parametrize("bend", [0.0, -0.02])
def test_intervals_hold_accuracies_after_a_long_training_as_often_as_they_say(bend: float) -> None:
    """Caution, and size that never counts against a network, are in the value alone."""
    within = []
    for seed in range(20):
        pool = rows(60, seed=100 + seed)
        noise = np.random.default_rng(seed).normal(0, 0.02, 60)
        reached = 0.6 + 0.01 * sizes(pool) + bend * sizes(pool) ** 2 + noise
        model = fitted(view_of(pool), pool, reached[:20])
        inside = (sizes(pool) > sizes(pool[:20]).min()) & (sizes(pool) < sizes(pool[:20]).max())
        for index in np.flatnonzero(inside)[np.flatnonzero(inside) >= 20]:
            score = model.score(str(index), pool[index])
            within.append(score.low <= reached[index] <= score.high)
    assert 0.85 < np.mean(within) < 0.97


def test_the_interval_of_a_network_that_was_trained_holds_what_another_training_of_it_reaches() -> None:
    within, images = [], 500
    by_chance = np.sqrt(2 * 0.6 * 0.4 / images)
    for seed in range(20):
        pool, random = rows(60, seed=100 + seed), np.random.default_rng(seed)
        worth_M = 0.6 + 0.01 * sizes(pool[:20]) + random.normal(0, 0.03, 20)
        model = fitted(view_of(pool), pool, worth_M + random.normal(0, by_chance, 20), images)
        for index, again in enumerate(worth_M + random.normal(0, by_chance, 20)):
            score = model.score(str(index), pool[index])
            within.append(score.low <= again <= score.high)
    assert 0.85 < np.mean(within) < 0.97


def test_the_longer_the_trainings_of_what_ships_the_more_prior_and_size_say_and_no_less_if_they_are_shorter() -> None:
    pool = rows(60, seed=11)
    view, reached = view_of(pool), 0.6 + np.random.default_rng(4).normal(0, 0.03, 16)
    by_length = {
        longer: fitted(view, pool, reached, longer=longer) for longer in (0.0, 0.5, 1.0, math.sqrt(10), 10.0, 100.0)
    }
    plain = predicted(by_length[1.0], pool)
    opinions_N3 = np.array([view.judge.opinions(str(index), row) for index, row in enumerate(pool)])
    each_N = reached.std() * opinions_N3[:, :2].sum(1)
    for longer, share in ((0.0, 0.0), (0.5, 0.0), (math.sqrt(10), 0.5), (10.0, 1.0), (100.0, 2.0)):
        assert predicted(by_length[longer], pool) == pytest.approx(plain + share * each_N)
    intervals = [
        [(one.low, one.high) for one in (model.score(str(index), row) for index, row in enumerate(pool))]
        for model in by_length.values()
    ]
    assert all(other == intervals[0] for other in intervals)


def test_long_trainings_that_mislead_choose_better_where_it_is_known_that_those_of_what_ships_are_longer() -> None:
    """Small networks are ahead at first, and large ones in the end."""
    gained = []
    for seed in range(10):
        pool = rows(80, seed=200 + seed)
        noise = np.random.default_rng(seed).normal(0, 0.02, 80)
        view, at_first, in_the_end = view_of(pool), noise - 0.03 * sizes(pool), noise + 0.03 * sizes(pool)
        models = [fitted(view, pool, 0.5 + at_first[:12], longer=longer) for longer in (1.0, 10.0)]
        blind, told = (stats.spearmanr(predicted(model, pool), in_the_end).statistic for model in models)
        gained.append(told - blind)
    assert min(gained) > 0.2


def test_equal_networks_of_equal_accuracy_are_all_expected_to_reach_it() -> None:
    pool = [dict.fromkeys(FEATURES, 1.0) for _ in range(12)]
    model = fitted(view_of(pool), pool, 4 * [0.6])
    assert predicted(model, pool) == pytest.approx(0.6)
