"""The surrogate against the textbook's formulas, and on scores that are known."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from scipy import stats

from latnas.data.images import LabelledImages
from latnas.data.randomness import generator
from latnas.hypernet import surrogate
from latnas.hypernet.learn import Learner, Learning
from latnas.hypernet.surrogate import Kernel, fit_surrogate, one_hot_items
from latnas.spaces.solving import extremes
from latnas.spaces.space import make_space
from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange
from latnas.words.costs import macs_cost, params_cost

SPACE = make_space("darts", image_size=8, channels=1, classes=10, width=2, depth=3)
SIZES = (params_cost(SPACE.trace), macs_cost(SPACE.trace))
WORTH = np.random.default_rng(0).normal(size=sum(len(d.parts) for d in SPACE.decisions))


def architectures(count: int, name: str) -> list[Architecture]:
    random = generator(name)
    return [SPACE.random(random) for _ in range(count)]


def one_hot(found: list[Architecture]) -> torch.Tensor:
    return one_hot_items(found, SPACE.decisions)


def parts(found: list[Architecture]) -> np.ndarray:
    incidence = torch.block_diag(*(torch.from_numpy(d.incidence) for d in SPACE.decisions)).numpy()
    run: np.ndarray = one_hot(found).double().numpy() @ incidence
    return run


def scores_of(found: list[Architecture]) -> np.ndarray:
    """Worth of the parts that run, and size; 200 of 10^18 architectures must do to learn it."""
    score: np.ndarray = 0.7 + 0.01 * (parts(found) @ WORTH + 3 * np.log([SIZES[0].cost(one) for one in found]))
    return score


def test_it_ranks_architectures_of_which_it_has_seen_none() -> None:
    known, others = architectures(200, "known"), architectures(100, "others")
    fitted = fit_surrogate(known, scores_of(known).tolist(), SPACE.decisions, SIZES)
    values = fitted(one_hot(others)).numpy()
    standard = (scores_of(others) - scores_of(known).mean()) / scores_of(known).std(ddof=1)
    assert stats.spearmanr(values, standard).statistic > 0.95
    assert np.abs(values - standard).mean() < 0.3


def test_however_many_processes_are_compared_only_a_few_are_held_at_once() -> None:
    known = architectures(150, "known")
    tracemalloc.start()
    try:
        fit_surrogate(known, scores_of(known).tolist(), SPACE.decisions, SIZES)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 20 * 8 * len(known) ** 2


def test_its_values_are_those_of_the_formula_for_the_kernel_that_was_chosen() -> None:
    known, others = architectures(40, "known"), architectures(10, "others")
    scores = scores_of(known)
    fitted = fit_surrogate(known, scores.tolist(), SPACE.decisions, SIZES)

    def described(found: list[Architecture]) -> np.ndarray:
        logs = np.log([[cost.cost(one) for cost in SIZES] for one in found])
        scale = np.log([[cost.cost(one) for cost in SIZES] for one in known])
        standard = (logs - scale.mean(0)) / scale.std(0, ddof=1)
        return np.concatenate([parts(found) / np.sqrt(parts(known).sum(1).mean()), standard], axis=1)

    def kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        split = len(WORTH)
        away = ((one[:, None, :split] - other[None, :, :split]) ** 2).sum(-1)
        smooth: np.ndarray = fitted.kernel.smooth * np.exp(-fitted.kernel.sharpness * away / 2)
        return 1 + one @ other.T + smooth

    targets = (scores - scores.mean()) / scores.std(ddof=1)
    expected, likelihoods = {}, {}
    for noise in surrogate.NOISE:
        gram = kernel(described(known), described(known)) + noise * np.eye(40)
        weights = np.linalg.solve(gram, targets)
        amplitude = targets @ weights / 40
        likelihoods[noise] = stats.multivariate_normal(cov=amplitude * gram).logpdf(targets)
        expected[noise] = kernel(described(others), described(known)) @ weights
    best = max(likelihoods, key=likelihoods.__getitem__)
    np.testing.assert_allclose(fitted(one_hot(others)).numpy(), expected[best], rtol=1e-4, atol=1e-5)


def test_it_leads_a_gradient_to_the_items_that_is_that_of_finite_differences() -> None:
    known = architectures(30, "known")
    fitted = fit_surrogate(known, scores_of(known).tolist(), SPACE.decisions, SIZES)
    fitted = surrogate.replace(fitted, kernel=Kernel(1.0, 3.0))
    at = one_hot(known[:1]).requires_grad_()
    fitted(at).sum().backward()
    assert at.grad is not None
    step = 1e-2
    for index in (0, 60, 200, at.shape[1] - 1):
        aside = torch.zeros_like(at)
        aside[0, index] = step
        with torch.no_grad():
            slope = (fitted(at + aside) - fitted(at - aside)) / (2 * step)
        assert float(at.grad[0, index]) == pytest.approx(float(slope), rel=0.02, abs=1e-3)


def test_equal_scores_are_no_fault() -> None:
    known = architectures(30, "known")
    assert fit_surrogate(known, [0.5] * 30, SPACE.decisions, SIZES)(one_hot(known)).abs().max() < 1e-6


def test_of_many_the_latest_and_some_of_all_others_are_fitted_on_the_scale_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the best came last, as proposals do, a surrogate on their scale alone would call half of them bad."""
    many = architectures(200, "known")
    values = scores_of(many)
    order = np.argsort(values)
    known, scores = [many[index] for index in order], values[order]
    standard = (scores - scores.mean()) / scores.std()
    monkeypatch.setattr(surrogate, "MOST_KNOWN", 80)
    fitted = fit_surrogate(known, scores.tolist(), SPACE.decisions, SIZES)
    assert len(fitted.known[0]) == 80
    latest = fitted.described(one_hot(known[-40:]).double())[0]
    assert fitted.known[0][-40:].equal(latest)
    found = fitted(one_hot(known)).numpy()
    assert float(np.abs(found - standard).mean()) < 0.5
    assert found[-40:].mean() == pytest.approx(standard[-40:].mean(), abs=0.15)


def test_h_keeps_to_its_budgets_on_a_real_space_where_the_surrogate_wants_more() -> None:
    space = make_space("mbconv", image_size=16, channels=1, classes=10, width=4, depth=2)
    cost, random = macs_cost(space.trace), generator("sample")
    known = [space.random(random) for _ in range(60)]
    scores = [float(np.log(cost.cost(one))) for one in known]
    fitted = fit_surrogate(known, scores, space.decisions, [cost])
    low, high = extremes(space, cost)
    budgets = BudgetRange(1.05 * cost.cost(low), cost.cost(high))
    most = []
    for seed in range(3):  # what one of them ends with differs by a few percent from processor to processor
        learner = Learner(space, cost, budgets, Learning(steps=120), seed=seed)
        for step in range(120):
            learner.step(step, fitted, None, LabelledImages(torch.empty(0), torch.empty(0)))
        shares = []
        for lam in budgets.spread(24):
            logs = learner.hypernetwork.item_log_probabilities(lam)
            expected = cost.expected({d.name: np.exp(log) for d, log in zip(space.decisions, logs, strict=True)})
            shares.append(expected / budgets.budget_ms(lam))
        assert min(shares) > 0.75 and max(shares) < 1.1, seed
        most.append(max(shares))
    assert np.median(most) < 1.06


def test_the_items_of_all_decisions_stand_one_after_the_other() -> None:
    some = architectures(7, "some")
    encoded = one_hot(some)
    assert encoded.shape == (7, sum(len(d.items) for d in SPACE.decisions)) and encoded.dtype == torch.float32
    for row, architecture in zip(encoded.tolist(), some, strict=True):
        expected = [
            float(item.name == architecture.items[decision.name])
            for decision in SPACE.decisions
            for item in decision.items
        ]  # fmt: skip
        assert row == expected
