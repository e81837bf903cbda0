"""The judge on made-up features: what it learns from good labels, and what it does with bad ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy import stats

from latnas.errors import LatnasError
from latnas.ranking.features import FEATURES
from latnas.ranking.judge import CANDIDATES, CAUTION, HALF_SAY, Judge, Structure, cut, fit_judge, prior_scores
from latnas.ranking.label_model import Parts, columns

Row = dict[str, float]

WEIGHTS = np.array([0.04, 0.02, 0.0, 0.03, 0.0])
SCALES = np.array([30.0, 5.0, 40.0, 0.7, 1.2])
MANY = 1_000_000
"""Images of a label without noise."""


def rows(count: int, seed: int) -> list[Row]:
    values = np.random.default_rng(seed).normal(size=(count, len(FEATURES))) * SCALES + 100
    return [dict(zip(FEATURES, map(float, row), strict=True)) for row in values]


def truth(row: Mapping[str, float]) -> float:
    """The accuracy that the features imply."""
    return 0.6 + float((np.array([row[name] for name in FEATURES]) - 100) / SCALES @ WEIGHTS)


def alone(key: str) -> Parts:
    """The parts of a network that shares none with any other."""
    return frozenset({key})


def judge_of(pool: Sequence[Row], labels: Sequence[float], images: int = MANY, structure: Structure = alone) -> Judge:
    """Labels belong to the first rows of the pool."""
    pairs = zip(pool, labels, strict=False)
    return fit_judge(pool, {str(index): pair for index, pair in enumerate(pairs)}, images, structure)


def views_by(judge: Judge, pool: Sequence[Row], names: Sequence[str]) -> np.ndarray:
    """[2, N]: prior and size by one set of features alone, standardised over the labelled, the first of the pool."""
    standard = cut(judge.scale.standard(pool, names))
    known = len(judge.labels)
    return np.array([(view - view[:known].mean()) / view[:known].std() for view in (standard.mean(1), standard[:, -1])])


def order(values: Sequence[float]) -> list[int]:
    return np.argsort(values, kind="stable").tolist()


def test_labels_without_noise_rank_held_out_architectures_right() -> None:
    pool = rows(300, seed=0)
    judge = judge_of(pool, [truth(row) for row in pool[:120]])
    values = [judge.short_accuracy(f"unseen {index}", row).value for index, row in enumerate(pool[120:])]
    truths = [truth(row) for row in pool[120:]]
    assert stats.spearmanr(values, truths).statistic > 0.98
    assert stats.spearmanr(values, truths).statistic > stats.spearmanr(prior_scores(pool)[120:], truths).statistic
    assert judge.helps and judge.loo_spearman > 0.95 and judge.reliability > 0.99
    assert np.abs(np.subtract(values, truths)).mean() < 0.02


def test_labels_that_vary_less_than_their_noise_leave_the_order_of_equal_weights() -> None:
    pool = rows(200, seed=1)
    labels = 0.5 + np.random.default_rng(0).uniform(-0.02, 0.02, 12)  # on 100 images a deviation of 0.05 is noise
    judge = judge_of(pool, labels.tolist(), images=100)
    assert judge.reliability == 0.0 and not judge.helps
    values = [judge.short_accuracy(str(index), row).value for index, row in enumerate(pool)]
    assert order(values) == order(judge.scale.standard(pool, CANDIDATES[0]).mean(1).tolist())
    weights = judge.model.weights_A[columns(CANDIDATES[0])]
    assert weights == pytest.approx(weights[0]) and weights[0] > 0


def test_labels_of_pure_noise_seldom_pass_for_help() -> None:
    helped, reliabilities = 0, []
    for seed in range(40):
        pool = rows(60, seed)
        labels = np.random.default_rng(seed).binomial(200, 0.7, 12) / 200
        judge = judge_of(pool, labels.tolist(), images=200)
        helped += judge.helps
        reliabilities.append(judge.reliability)
    assert helped <= 6
    assert np.median(reliabilities) < 0.3


def test_equal_labels_leave_the_order_of_equal_weights_and_are_not_believed() -> None:
    pool = rows(50, seed=2)
    for label in (0.7, 1.0):
        judge = judge_of(pool, 6 * [label], images=200)
        values = [judge.short_accuracy(str(index), row).value for index, row in enumerate(pool)]
        assert order(values) == order(prior_scores(pool).tolist())
        assert judge.reliability == 0.0 and not judge.helps and judge.loo_spearman == 0.0
        assert max(values) - min(values) < 0.02


def test_features_that_predict_left_out_labels_far_better_count_alone() -> None:
    pool = rows(200, seed=20)
    for names in (("naswot", "log_params"), ("jacov", "log_params")):
        labels = [0.6 + sum(0.03 * (row[n] - 100) / SCALES[FEATURES.index(n)] for n in names) for row in pool[:40]]
        judge = judge_of(pool, labels)
        assert judge.shares[names] > 0.99 and judge.helps
        assert judge.errors["+".join(names)] == min(judge.errors.values())
        opinions = np.array([judge.opinions(str(index), row)[:2] for index, row in enumerate(pool)])
        assert opinions == pytest.approx(views_by(judge, pool, names).T, abs=0.02)


def test_sets_of_features_that_predict_as_well_count_alike_and_the_more_labels_the_more_a_difference_counts() -> None:
    pool = [{**row, "log_macs": row["log_params"]} for row in rows(300, seed=25)]
    random = np.random.default_rng(3)
    labels = [truth(row) + float(random.normal(scale=0.03)) for row in pool]
    few, many = judge_of(pool, labels[:25]), judge_of(pool, labels[:120])
    for judge in (few, many):
        shares = judge.shares
        assert sum(shares.values()) == pytest.approx(1.0)
        assert list(judge.report()["feature_shares"].values()) == list(shares.values())
        for one in (("jacov",), ("naswot",), ("jacov", "naswot")):
            assert shares[*one, "log_params"] == pytest.approx(shares[*one, "log_macs"]), "the same by another name"
        errors = [judge.errors["+".join(names)] for names in CANDIDATES]
        assert np.argsort(list(shares.values())).tolist() == np.argsort(-np.array(errors)).tolist()
        ratio = shares["jacov", "synflow", "log_params"] / shares["jacov", "log_params"]
        assert ratio == pytest.approx((errors[1] / errors[0]) ** len(judge.labels))
    assert max(many.shares.values()) > max(few.shares.values()) > 1 / len(CANDIDATES)


def test_one_label_more_moves_opinions_less_than_if_the_best_features_counted_alone() -> None:
    for seed in (29, 31, 41):
        pool, random = rows(160, seed), np.random.default_rng(seed)
        both = ("log_params", "log_macs")
        sizes = [sum((row[name] - 100) / SCALES[FEATURES.index(name)] for name in both) for row in pool]
        labels = [0.6 + 0.02 * size + float(random.normal(scale=0.02)) for size in sizes]
        ours, others = [], []
        for count in range(24, 44):
            judge = judge_of(pool, labels[:count])
            best = max(judge.shares, key=lambda names: judge.shares[names])
            others.append(views_by(judge, pool, best).sum(0)[60:])
            ours.append([sum(judge.opinions(f"unseen {index}", row)[:2]) for index, row in enumerate(pool[60:])])
        furthest = [max(1 - np.corrcoef(opinions).diagonal(1)) for opinions in (np.array(ours), np.array(others))]
        assert furthest[1] > 0.8, "the best measure of size changed"
        assert furthest[0] < furthest[1] / 2


def test_labels_of_pure_noise_leave_equal_weights_of_the_first_features_and_size() -> None:
    pool = rows(80, seed=21)
    labels = np.random.default_rng(1).normal(0.7, 0.005, 30)  # on 200 images a deviation of 0.03 is noise
    judge = judge_of(pool, labels.tolist(), images=200)
    assert judge.shares[CANDIDATES[0]] == 1.0 and judge.reliability == judge.say == 0.0
    scale = judge.scale
    prior, size = prior_scores(pool), cut(scale.standard(pool, ("log_params",)))[:, 0]
    views = [(view - view[:30].mean()) / view[:30].std() for view in (prior, size)]
    scores = np.array([judge.score(str(index), row).value for index, row in enumerate(pool)])
    assert (scores - labels.mean()) / labels.std() == pytest.approx((views[0] + views[1]) / 2)


def test_what_is_in_doubt_counts_for_less_the_more_so_the_more_caution() -> None:
    pool = rows(60, seed=22)
    random = np.random.default_rng(0)
    judge = judge_of(pool, [truth(row) + float(random.normal(scale=0.02)) for row in pool[:20]], images=2000)
    for key, row in (("3", pool[3]), ("unseen", pool[30])):
        _, doubt = judge.model.predict(judge.scale.standard([row])[0], alone(key))
        bold = judge.score(key, row, caution=0.0).value
        for caution in (CAUTION, 2.0):
            less = caution * doubt * judge.say / (2 + judge.say)
            assert bold - judge.score(key, row, caution=caution).value == pytest.approx(less)
    unseen, seen = (judge.model.predict(judge.scale.standard([pool[3]])[0], alone(key))[1] for key in ("unseen", "3"))
    assert seen < 0.8 * unseen


def test_a_few_labels_have_less_say_than_many() -> None:
    pool = rows(300, seed=23)
    says = [judge_of(pool, [truth(row) for row in pool[:count]]).say for count in (8, HALF_SAY, 2 * HALF_SAY, 240)]
    assert says == pytest.approx([8 / 68, 1 / 2, 2 / 3, 4 / 5], rel=1e-3)


def test_networks_that_are_built_alike_are_expected_to_train_alike() -> None:
    """Labels depend on one part alone, of which no feature knows."""
    pool, random = rows(260, seed=24), np.random.default_rng(0)
    built = {str(index): frozenset(f"{n}/{random.integers(3)}" for n in range(6)) for index in range(260)}
    labels = [0.6 + 0.1 * ("2/1" in built[str(index)]) for index in range(120)]
    judge = judge_of(pool, labels, structure=built.__getitem__)
    values = {True: list[float](), False: list[float]()}
    for index in range(120, 260):
        values["2/1" in built[str(index)]].append(judge.short_accuracy(str(index), pool[index]).value)
    assert np.mean(values[True]) - np.mean(values[False]) > 0.05
    assert judge.loo_spearman > 0.5 and judge.helps
    blind = judge_of(pool, labels)
    assert judge.loo_error < 0.8 * blind.loo_error


def test_equal_features_get_equal_scores() -> None:
    pool = [*rows(30, seed=3), rows(1, seed=4)[0], rows(1, seed=4)[0]]
    judge = judge_of(pool, [truth(row) for row in pool[:8]])
    assert judge.short_accuracy("one", pool[-1]) == judge.short_accuracy("other", pool[-2])


def test_labelled_networks_that_look_alike_do_not_make_scores_boundless() -> None:
    pool = rows(100, seed=5)
    alike = [{**pool[0], "jacov": pool[0]["jacov"] + 1e-3 * index} for index in range(5)]
    labels = [0.60, 0.64, 0.61, 0.66, 0.63]
    labelled = {str(index): pair for index, pair in enumerate(zip(alike, labels, strict=True))}
    judge = fit_judge(pool, labelled, MANY, alone)
    values = [judge.short_accuracy("unseen", row).value for row in pool]
    assert min(values) > 0 and max(values) < 1.3


def test_the_interval_covers_labels_that_were_not_seen() -> None:
    covered = []
    for seed in range(30):
        pool = rows(80, seed)
        noise = np.random.default_rng(1000 + seed).normal(scale=0.03, size=80)
        labels = [truth(row) + float(error) for row, error in zip(pool, noise, strict=True)]
        judge = judge_of(pool, labels[:12], images=230)
        for row, label in zip(pool[12:], labels[12:], strict=True):
            score = judge.short_accuracy("unseen", row)
            covered.append(score.low <= label <= score.high)
    assert 0.86 <= np.mean(covered) <= 0.97  # meant to be 0.9


def test_the_interval_of_a_score_is_that_of_the_accuracy_after_a_short_training() -> None:
    pool = rows(40, seed=12)
    judge = judge_of(pool, [truth(row) for row in pool[:10]])
    score, accuracy = judge.score("unseen", pool[20]), judge.short_accuracy("unseen", pool[20])
    assert (score.low, score.high) == (accuracy.low, accuracy.high) and score.value != accuracy.value


def test_the_score_of_a_labelled_architecture_moves_towards_its_label() -> None:
    pool = rows(40, seed=6)
    labels = [truth(row) for row in pool[:10]]
    labels[3] += 0.2
    judge = judge_of(pool, labels, images=500)
    assert 0 < judge.reliability < 1
    unlabelled, labelled = judge.short_accuracy("unseen", pool[3]), judge.short_accuracy("3", pool[3])
    assert unlabelled.value < labelled.value < labels[3]
    assert labelled.high - labelled.low == pytest.approx(unlabelled.high - unlabelled.low)


def test_noisier_labels_count_for_less() -> None:
    pool = rows(40, seed=7)
    labels = [truth(row) for row in pool[:10]]
    reliabilities = [judge_of(pool, labels, images).reliability for images in (50, 200, 1000, MANY)]
    assert reliabilities == sorted(reliabilities) and reliabilities[0] < reliabilities[-1]
    variance, noise = np.var(labels, ddof=1), np.mean([y * (1 - y) for y in labels]) / 1000
    assert reliabilities[2] == pytest.approx(1 - noise / variance)


def test_a_degenerate_network_does_not_set_the_scale() -> None:
    pool = rows(100, seed=8)
    broken = {**pool[0], "jacov": -1e9}
    labels = [truth(row) for row in pool[:12]]
    with_it = judge_of([*pool, broken], labels)
    without = judge_of(pool, labels)
    for row in pool:
        assert with_it.short_accuracy("", row).value == pytest.approx(without.short_accuracy("", row).value, abs=0.01)
    assert 0 < with_it.short_accuracy("", broken).value < with_it.short_accuracy("", pool[0]).value


def test_what_a_short_training_reaches_depends_on_sizes_far_below_those_of_the_pool_too_but_no_opinion_of_size() -> (
    None
):
    """Within tight budgets all networks are smaller than any of a random pool: the largest is not the best for that."""
    pool = rows(100, seed=8)
    labels = [truth(row) for row in pool[:12]]
    judge = judge_of(pool, labels)
    spread = judge.scale.spread["log_params"]
    small = [{**pool[0], "log_params": judge.scale.middle["log_params"] - far * spread} for far in (4, 6, 8)]
    assert len({judge.opinions("", row)[:2] for row in small}) == 1
    for values in (
        [judge.short_accuracy("", row).value for row in small],
        [judge.score("", row).value for row in small],
    ):
        assert values == sorted(values, reverse=True) and len(set(values)) == 3


def test_the_prior_is_the_mean_of_standardised_features() -> None:
    pool = rows(101, seed=9)
    matrix = np.array([[row[name] for name in CANDIDATES[0]] for row in pool])
    low, middle, high = np.percentile(matrix, [16, 50, 84], axis=0)
    expected = ((matrix - middle) / ((high - low) / 2)).clip(-3, 3).mean(1)
    np.testing.assert_allclose(prior_scores(pool), expected, rtol=1e-9, atol=1e-12)


def test_too_few_labels_are_refused_with_the_option_to_use() -> None:
    pool = rows(20, seed=10)
    with pytest.raises(LatnasError, match=r"3 short trainings are too few.*--trainings 4"):
        judge_of(pool, [0.5, 0.6, 0.7])
    assert judge_of(pool, [0.5, 0.6, 0.7, 0.8]).labels.keys() == {"0", "1", "2", "3"}


def test_the_report_says_what_was_fitted() -> None:
    pool = rows(40, seed=12)
    judge = judge_of(pool, [truth(row) for row in pool[:10]])
    report = judge.report()
    assert report["feature_shares"]["+".join(CANDIDATES[0])] == 1.0, "ten labels are too few to find out more by"
    assert len(report["loo_errors"]) == len(CANDIDATES)
    assert report["loo_error"] == judge.loo_error and report["label_weight"] == judge.say
    assert report["labels"] == 10 and report["features_help"] is True


def test_a_score_is_the_mean_of_features_size_and_short_training_by_reliability() -> None:
    pool = rows(60, seed=12)
    labels = [truth(row) for row in pool[:10]]
    judge = judge_of(pool, labels, images=500)
    assert 0 < judge.reliability < 1
    sizes = np.array([row["log_params"] for row in pool])
    low, middle, high = np.percentile(sizes, [16, 50, 84])
    standard = judge.scale.standard(pool)
    short, doubt = np.array([judge.model.predict(one, alone(str(n))) for n, one in enumerate(standard)]).T
    opinions = (
        (prior_scores(pool), prior_scores(pool)[:10]),
        (((sizes - middle) / ((high - low) / 2)).clip(-3, 3), ((sizes[:10] - middle) / ((high - low) / 2)).clip(-3, 3)),
        (short - CAUTION * doubt, np.array(labels)),
    )
    views = [(values - of_labelled.mean()) / of_labelled.std() for values, of_labelled in opinions]
    mean = (views[0] + views[1] + judge.say * views[2]) / (2 + judge.say)
    scores = [judge.score(str(index), row).value for index, row in enumerate(pool)]
    assert scores == pytest.approx(np.mean(labels) + np.std(labels) * mean)


def test_short_trainings_that_prefer_small_networks_do_not_decide_alone() -> None:
    # What was seen on 42,000 images: eight reliable labels, the highest for the network without any convolution.
    sizes = np.linspace(-2.0, 2.0, 41)
    pool = [dict(zip(FEATURES, map(float, np.full(len(FEATURES), size) * SCALES + 100), strict=True)) for size in sizes]
    labels = {str(index): (pool[index], 0.82 - 0.005 * sizes[index]) for index in range(0, 41, 5)}
    judge = fit_judge(pool, labels, MANY, lambda key: frozenset(f"{layer}/conv" for layer in range(int(key))))
    assert (
        judge.reliability > 0.99
        and judge.short_accuracy("0", pool[0]).value > judge.short_accuracy("40", pool[40]).value
    )
    assert judge.score("40", pool[40]).value > judge.score("0", pool[0]).value
