"""The surrogate on an additive score: order on held-out architectures, determinism, gradients in the one-hots."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from latnas.ranking import surrogate
from latnas.ranking.surrogate import Surrogate, fit_surrogate, one_hot_items
from latnas.words.architecture import Architecture, Decision, Item

DECISIONS = tuple(
    Decision(f"d{number}", tuple("abcde"[:size]), tuple(Item(name, (name,)) for name in "abcde"[:size]))
    for number, size in enumerate([3, 5, 4, 5, 2])
)
VALUES = [np.random.default_rng(number).normal(size=len(d.items)) for number, d in enumerate(DECISIONS)]


def architectures(count: int, seed: int) -> list[Architecture]:
    random = np.random.default_rng(seed)
    return [
        Architecture.from_indices("default", DECISIONS, [int(random.integers(len(d.items))) for d in DECISIONS])
        for _ in range(count)
    ]


def additive(architecture: Architecture) -> float:
    indices = architecture.indices(DECISIONS)
    return 0.7 + 0.01 * sum(float(v[index]) for v, index in zip(VALUES, indices, strict=True))


@pytest.fixture(scope="module")
def fitted() -> Surrogate:
    seen = architectures(150, seed=1)
    return fit_surrogate(seen, [additive(a) for a in seen], DECISIONS, seed=0)


def test_the_items_of_all_decisions_stand_one_after_the_other() -> None:
    some = architectures(7, seed=0)
    encoded = one_hot_items(some, DECISIONS)
    assert encoded.shape == (7, 19) and encoded.dtype == torch.float32
    for row, architecture in zip(encoded.tolist(), some, strict=True):
        expected = [
            float(item.name == architecture.items[decision.name])
            for decision in DECISIONS
            for item in decision.items
        ]  # fmt: skip
        assert row == expected


def test_it_recovers_the_order_of_an_additive_score_on_architectures_it_has_not_seen(fitted: Surrogate) -> None:
    held_out = architectures(200, seed=2)
    predicted = fitted(one_hot_items(held_out, DECISIONS)).tolist()
    assert stats.spearmanr(predicted, [additive(a) for a in held_out]).statistic > 0.97


def test_predictions_are_standardised_so_that_units_of_the_score_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(surrogate, "STEPS", 150)
    seen = architectures(60, seed=3)
    scores = [additive(a) for a in seen]
    encoded = one_hot_items(seen, DECISIONS)
    one = fit_surrogate(seen, scores, DECISIONS, seed=0)(encoded)
    other = fit_surrogate(seen, [100 * score - 3 for score in scores], DECISIONS, seed=0)(encoded)
    assert float(one.mean()) == pytest.approx(0, abs=0.05) and float(one.std()) == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(one, other, rtol=0, atol=0.02)


def test_equal_scores_give_a_flat_model_and_no_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogate, "STEPS", 150)
    seen = architectures(20, seed=4)
    predicted = fit_surrogate(seen, 20 * [0.9], DECISIONS, seed=0)(one_hot_items(seen, DECISIONS))
    assert predicted.abs().max() < 0.1


def test_it_is_a_function_of_its_arguments_and_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogate, "STEPS", 30)
    seen = architectures(30, seed=5)
    scores = [additive(a) for a in seen]
    encoded = one_hot_items(seen, DECISIONS)
    state = torch.get_rng_state()
    first = fit_surrogate(seen, scores, DECISIONS, seed=0)(encoded)
    assert torch.get_rng_state().equal(state)
    torch.rand(5)
    assert fit_surrogate(seen, scores, DECISIONS, seed=0)(encoded).equal(first)
    assert not fit_surrogate(seen, scores, DECISIONS, seed=1)(encoded).equal(first)


def test_it_is_differentiable_in_the_one_hots_and_the_gradient_prefers_the_better_items(
    fitted: Surrogate,
) -> None:
    uniform = torch.cat([torch.full((1, len(d.items)), 1 / len(d.items)) for d in DECISIONS], dim=1).requires_grad_()
    fitted(uniform).sum().backward()
    assert uniform.grad is not None
    for gradient, values in zip(uniform.grad[0].split([len(d.items) for d in DECISIONS]), VALUES, strict=True):
        assert int(gradient.argmax()) == int(values.argmax()) and int(gradient.argmin()) == int(values.argmin())
    assert not any(parameter.requires_grad for parameter in fitted.parameters())
