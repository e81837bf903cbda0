"""The model of long trainings on made-up accuracies: what counts for a network, and for those built like it."""

from __future__ import annotations

import numpy as np
import pytest

from latnas.ranking.judge import Score
from latnas.ranking.label_model import Parts
from latnas.ranking.long_model import LEAST_DOUBT, LongLabel, LongModel, fit_long_model

MANY = 1_000_000
"""Images of an accuracy that is hardly by chance."""


def score_of(value: float) -> Score:
    return Score(value, value - 0.1, value + 0.1)


def alone(key: str) -> Parts:
    """The parts of a network that shares none with any other."""
    return frozenset({key})


def labels(values: np.ndarray, reached: np.ndarray, images: int = MANY) -> dict[str, LongLabel]:
    pairs = enumerate(zip(values, reached, strict=True))
    return {str(index): LongLabel(score_of(v), alone(str(index)), float(r), images) for index, (v, r) in pairs}


def moved(model: LongModel, key: str, parts: Parts | None = None, caution: float = 0.0) -> float:
    """By how much a network's score is moved."""
    found = model.score(key, score_of(0.5), parts or alone(key), caution)
    assert (found.high - found.value, found.value - found.low) == pytest.approx((0.1, 0.1))
    return found.value - 0.5


@pytest.mark.parametrize("slope", [1.7, 0.0, -0.6])
def test_what_every_score_reaches_moves_nothing_whether_large_networks_are_ahead_or_behind(slope: float) -> None:
    values = np.linspace(0.3, 0.6, 10)
    model = fit_long_model(labels(values, 0.5 + slope * (values - 0.45) - 2 * (values - 0.45) ** 2))
    assert [moved(model, str(index)) for index in range(10)] == pytest.approx(10 * [0.0], abs=1e-3)
    assert moved(model, "another") == pytest.approx(0.0, abs=1e-3)


def test_a_network_that_reaches_more_than_others_of_its_score_counts_for_as_much_more() -> None:
    values = np.linspace(0.3, 0.6, 12)
    beyond = 0.03 * np.tile([1, -1, -1, 1], 3)
    model = fit_long_model(labels(values, 0.2 + values + beyond))
    found = [moved(model, str(index)) for index in range(12)]
    assert found == pytest.approx(beyond.tolist(), abs=0.005)
    assert moved(model, "another") == pytest.approx(0.0, abs=0.005)


def test_of_what_may_be_chance_only_a_share_counts() -> None:
    values, random = np.linspace(0.3, 0.6, 40), np.random.default_rng(0)
    beyond = random.normal(0, 0.02, 40)
    each = {images: fit_long_model(labels(values, 0.5 + beyond, images)) for images in (200, 3000, MANY)}
    size = {images: np.std([moved(model, str(index)) for index in range(40)]) for images, model in each.items()}
    assert size[200] < 0.25 * size[MANY] < size[3000] < 0.8 * size[MANY]  # deviations by chance: .05, .013 and .0007
    assert each[200].own_doubt == pytest.approx(LEAST_DOUBT * np.std(0.5 + beyond))


def test_what_networks_built_alike_have_in_common_counts_for_others_built_so() -> None:
    values, random = np.linspace(0.3, 0.6, 24), np.random.default_rng(1)
    made_of = [frozenset(f"{place}/{random.choice(['good', 'bad'])}" for place in "abc") for _ in range(24)]
    beyond = np.array([0.02 * sum(part.endswith("good") for part in parts) for parts in made_of])
    found = {
        str(index): LongLabel(score_of(value), parts, 0.4 + float(more), MANY)
        for index, (value, parts, more) in enumerate(zip(values, made_of, beyond, strict=True))
    }
    model = fit_long_model(found)
    best, worst = (frozenset(f"{place}/{kind}" for place in "abc") for kind in ("good", "bad"))
    assert moved(model, "best", best) - moved(model, "worst", worst) == pytest.approx(0.06, abs=0.015)


def test_a_network_in_doubt_counts_for_less_with_caution_and_for_more_with_hope() -> None:
    values = np.linspace(0.3, 0.6, 12)
    model = fit_long_model(labels(values, 0.5 + 0.03 * np.tile([1, -1, -1, 1], 3)))
    trained, other = ([moved(model, key, caution=caution) for caution in (1.0, 0.0, -1.0)] for key in ("0", "other"))
    assert np.diff(other) == pytest.approx([0.03, 0.03], rel=0.3)
    assert np.all(np.diff(trained) < 0.6 * np.diff(other))


def test_equal_scores_and_equal_accuracies_move_nothing() -> None:
    model = fit_long_model(labels(np.full(4, 0.5), np.full(4, 0.6)))
    assert [moved(model, key, caution=0.0) for key in ("0", "3", "other")] == pytest.approx([0, 0, 0])
