"""The hypernetwork on a space whose scores, costs and losses are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from toy_spaces import FIXED_MS, SIZES, Boost, toy_cost, toy_space, toy_surrogate

from latnas.data.images import LabelledImages
from latnas.data.randomness import generator
from latnas.data.sources import load_images
from latnas.errors import LatnasError
from latnas.hypernet import learn
from latnas.hypernet.learn import ENTROPY, TAU_FLOOR, TAU_START, Learner, Learning
from latnas.hypernet.supernet import uniform_paths
from latnas.spaces.space import Space, make_space
from latnas.training.checkpoint import load_tensors, save_tensors
from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange
from latnas.words.costs import params_cost
from latnas.words.solver import Solver

SPACE = toy_space(depth=5)
COST = toy_cost(SPACE)
LEAST_MS, MOST_MS = (FIXED_MS + size * 10 for size in (SIZES[0], SIZES[-1]))  # five layers: 1 + 1.5 + ... + 3 = 10
BUDGETS = BudgetRange(1.1 * LEAST_MS, MOST_MS)
IMAGES = LabelledImages(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
"""All of class 0, so that in the toy space larger layers have lower losses."""


def probabilities(learner: Learner, lam: float) -> list[np.ndarray]:
    return [np.exp(values) for values in learner.hypernetwork.item_log_probabilities(lam)]


def learner_of(learning: Learning, seed: int = 0, space: Space = SPACE) -> Learner:
    cost = COST if space is SPACE else toy_cost(space)
    return Learner(space, cost, BUDGETS, learning, seed)


@pytest.fixture(scope="module")
def learnt() -> Learner:
    learner = learner_of(Learning(steps=250))
    surrogate = toy_surrogate(SPACE)
    for step in range(250):
        learner.step(step, surrogate, None, IMAGES)
    return learner


# What is learnt


def test_half_of_the_paths_of_the_shared_weights_come_from_the_hypernetwork_and_half_are_uniform() -> None:
    learner = learner_of(Learning())
    likes_the_second = torch.tensor([0.0, 50.0, 0.0, 0.0]).repeat(len(SPACE.decisions))
    with torch.no_grad():
        learner.hypernetwork.layers[-1].bias.copy_(likes_the_second)
    for step in range(0, 10, 2):
        (path,) = learner.paths(step)
        assert set(path.values()) == {(f"size{SIZES[1]}",)}
        assert learner.paths(step + 1) == uniform_paths(SPACE, 0, step + 1)


def test_the_lambda_that_is_told_of_is_the_one_for_which_a_path_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, lambdas = learner_of(Learning()), list[float]()

    def draw(learner: Learner, lam: float, random: torch.Generator) -> Architecture:
        lambdas.append(lam)
        return SPACE.random(random)

    monkeypatch.setattr(Learner, "draw", draw)
    for step in range(0, 10, 2):
        learner.paths(step)
        assert learner.drawn(step) == f"drawn for lambda {lambdas[-1]:.3f}"
        assert learner.drawn(step + 1) == "drawn uniformly"
    assert len({*lambdas}) == 5


def likeliest(learner: Learner, lam: float) -> list[int]:
    return [int(p.argmax()) for p in probabilities(learner, lam)]


def best_items(lam: float) -> list[int]:
    scores = [np.sqrt(SIZES)] * len(SPACE.decisions)
    return list(next(iter(Solver(scores, COST.vectors(), fixed=FIXED_MS).best_first(BUDGETS.budget_ms(lam)))).items)


def test_the_expected_cost_is_near_the_budget_at_every_lambda_and_makes_use_of_it(learnt: Learner) -> None:
    shares = []
    for lam in BUDGETS.spread(21):
        expected = {d.name: p for d, p in zip(SPACE.decisions, probabilities(learnt, lam), strict=True)}
        shares.append(COST.expected(expected) / BUDGETS.budget_ms(lam))
    assert 0.95 < np.mean(shares) < 1.02
    assert min(shares) > 0.9
    # Of ten seeds four end with a layer one size too large at the tightest budget: which ones differs with the CPU.
    assert max(shares) < 1.0 + COST.vectors()[0][0] / BUDGETS.budget_ms(1.0)


def test_at_the_loosest_budget_the_likeliest_items_are_the_best_that_it_allows(learnt: Learner) -> None:
    assert likeliest(learnt, 0.0) == best_items(0.0)


def test_at_the_tightest_budget_the_likeliest_items_are_at_most_one_size_from_the_best(learnt: Learner) -> None:
    sizes_apart = np.abs(np.subtract(likeliest(learnt, 1.0), best_items(1.0)))
    assert sizes_apart.sum() <= 1


def test_the_expected_score_is_near_the_best_that_the_budget_allows(learnt: Learner) -> None:
    scores = [np.sqrt(SIZES)] * len(SPACE.decisions)
    solver = Solver(scores, COST.vectors(), fixed=FIXED_MS)
    for lam in (0.0, 0.3, 0.5, 0.7, 1.0):
        best = next(iter(solver.best_first(BUDGETS.budget_ms(lam)))).score
        reached = sum(float(s @ p) for s, p in zip(scores, probabilities(learnt, lam), strict=True))
        assert reached > 0.93 * best, lam


def test_proposals_of_one_hypernetwork_grow_cheaper_with_lambda(learnt: Learner) -> None:
    costs = [
        np.mean([COST.cost(learnt.draw(lam, generator("draw", index))) for index in range(40)])
        for lam in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert costs == sorted(costs, reverse=True)


# The supernet's part


def test_a_path_of_lower_loss_becomes_more_probable() -> None:
    space = toy_space(depth=2)
    learner = learner_of(Learning(steps=100, supernet_every=1, supernet_weight=3.0), space=space)
    nothing = toy_surrogate(space, weight=0.0)
    supernet = space.network(0)
    before = probabilities(learner, 0.0)
    reports = [learner.step(step, nothing, supernet, IMAGES) for step in range(100)]
    for now, then in zip(probabilities(learner, 0.0), before, strict=True):
        assert now[-1] > then[-1] + 0.2 and now[0] < then[0] - 0.1
    losses = [report.supernet_loss for report in reports if report.supernet_loss is not None]
    assert len(losses) == 100 and np.mean(losses[-30:]) < np.mean(losses[:30])


@pytest.mark.parametrize("alike", [{}, {3: 0}], ids=["all items differ", "the largest computes what the smallest does"])
def test_the_score_function_term_is_an_unbiased_gradient_of_the_expected_loss(
    alike: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def canonical(self: Space, architecture: Architecture) -> Architecture:
        (index,) = architecture.indices(self.decisions)
        return Architecture.from_indices(architecture.setting, self.decisions, [alike.get(index, index)])

    monkeypatch.setattr(Space, "canonical", canonical)
    monkeypatch.setattr(learn, "ENTROPY", 0.0)
    space = toy_space(depth=1)
    learning = Learning(steps=1, lambdas=2, learning_rate=0.0, supernet_every=1, supernet_weight=1.0, supernet_batch=4)
    learner = Learner(space, toy_cost(space), BudgetRange(100.0, 200.0), learning, seed=0)
    nothing, supernet, bias = toy_surrogate(space, weight=0.0), space.network(0), learner.hypernetwork.layers[-1].bias
    gradients = []
    for step in range(250):
        learner.step(step, nothing, supernet, IMAGES)
        gradients.append(bias.grad.clone())

    logits = torch.zeros(4, requires_grad=True)  # about what H says anywhere before it has learnt
    sizes = [SIZES[alike.get(index, index)] for index in range(4)]
    losses = functional.cross_entropy(
        torch.tensor(sizes)[:, None] / 2 * torch.eye(10)[0], torch.zeros(4, dtype=torch.int64), reduction="none"
    )
    (torch.softmax(logits, 0) @ losses).backward()
    stacked = torch.stack(gradients)
    deviation = stacked.std(0) / math.sqrt(len(gradients))
    assert logits.grad is not None
    assert ((stacked.mean(0) - logits.grad).abs() < 3 * deviation + 0.003).all()
    assert (logits.grad.abs() > 3 * deviation).all()  # the sign of every entry is beyond chance


def test_the_supernet_is_asked_every_few_steps_and_is_left_as_it_was() -> None:
    data = load_images("digits")
    space = make_space("mbconv", image_size=8, channels=1, classes=10, width=2, depth=1)
    cost = params_cost(space.trace)
    learner = Learner(space, cost, BudgetRange(500.0, 5000.0), Learning(steps=4, supernet_every=3), seed=0)
    supernet = space.network(0).train()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    reports = [learner.step(step, lambda one_hot: one_hot.sum(1), supernet, data.train) for step in range(4)]
    assert [report.supernet_loss is not None for report in reports] == [True, False, False, True]
    assert all(value.equal(before[name]) for name, value in supernet.state_dict().items())
    assert all(parameter.grad is None for parameter in supernet.parameters())


# Steps, draws and checkpoints


def test_the_temperature_falls_geometrically_to_a_floor_above_zero() -> None:
    learning = Learning(steps=101)
    taus = [learning.tau(step) for step in range(101)]
    assert (taus[0], taus[-1]) == (TAU_START, pytest.approx(TAU_FLOOR))
    np.testing.assert_allclose(np.divide(taus[1:], taus[:-1]), (TAU_FLOOR / TAU_START) ** 0.01)
    assert learning.tau(10**6) == pytest.approx(TAU_FLOOR) and TAU_FLOOR > 0
    assert Learning(steps=1).tau(0) == TAU_START


def test_the_learning_rate_falls_to_a_tenth_over_a_round() -> None:
    learning = Learning(steps=11, learning_rate=0.5)
    np.testing.assert_allclose([learning.rate(step) for step in range(11)], np.linspace(0.5, 0.05, 11))


def test_temperature_and_learning_rate_begin_anew_in_each_round() -> None:
    learner = learner_of(Learning(steps=3, learning_rate=0.5))
    taus, rates = [], []
    for step in range(4):
        taus.append(learner.step(step, toy_surrogate(SPACE), None, IMAGES).tau)
        rates.append(learner._optimizer.param_groups[0]["lr"])
    assert (taus[0], taus[2], taus[3]) == (TAU_START, pytest.approx(TAU_FLOOR), TAU_START)
    assert (rates[0], rates[2], rates[3]) == (0.5, pytest.approx(0.05), 0.5)


def test_where_scores_and_budgets_say_nothing_the_loss_is_what_entropy_takes_off_it() -> None:
    learner = Learner(SPACE, COST, BudgetRange(10 * MOST_MS, 20 * MOST_MS), Learning(), seed=0)
    report = learner.step(0, toy_surrogate(SPACE, weight=0.0), None, IMAGES)
    assert report.excess == 0 < report.entropy and report.loss == pytest.approx(-ENTROPY * report.entropy)


def test_a_gradient_of_any_size_is_clipped() -> None:
    learner = learner_of(Learning())
    learner.step(0, toy_surrogate(SPACE, weight=1e6), None, IMAGES)
    gradients = [parameter.grad for parameter in learner.hypernetwork.parameters() if parameter.grad is not None]
    assert torch.cat([gradient.flatten() for gradient in gradients]).norm() == pytest.approx(5.0, rel=1e-4)


@pytest.mark.parametrize("with_supernet", [False, True])
def test_restored_learning_goes_on_bit_for_bit(with_supernet: bool, tmp_path: Path) -> None:
    supernet = SPACE.network(0) if with_supernet else None
    surrogate, learning = toy_surrogate(SPACE), Learning(steps=12, supernet_every=2)
    unbroken = learner_of(learning)
    reports = [unbroken.step(step, surrogate, supernet, IMAGES) for step in range(12)]

    first = learner_of(learning)
    for step in range(6):
        first.step(step, surrogate, supernet, IMAGES)
    save_tensors(tmp_path / "c", first.tensors(), {})
    torch.rand(5)
    resumed = learner_of(learning)
    resumed.restore(load_tensors(tmp_path / "c")[0], tmp_path / "c")
    assert [resumed.step(step, surrogate, supernet, IMAGES) for step in range(6, 12)] == reports[6:]
    wanted = unbroken.tensors()
    assert wanted.keys() == resumed.tensors().keys()
    assert all(value.equal(wanted[name]) for name, value in resumed.tensors().items())
    assert any(name.startswith("adam.") for name in wanted)


def test_a_learner_that_has_not_stepped_can_be_restored_too() -> None:
    fresh, other = learner_of(Learning()), learner_of(Learning(), seed=1)
    other.restore(fresh.tensors(), Path("c"))
    x = torch.tensor([[0.5]])
    assert other.hypernetwork(x).equal(fresh.hypernetwork(x))


def test_a_loss_that_is_not_finite_stops_with_step_lambda_and_path() -> None:
    with pytest.raises(LatnasError, match=r"at step 7: .* loss is nan for lambda 0\.000 along the path size\d\|"):
        learner_of(Learning()).step(7, toy_surrogate(SPACE, weight=math.nan), None, IMAGES)


def test_shared_weights_whose_loss_is_not_finite_are_named_with_step_lambda_and_path() -> None:
    supernet = SPACE.network(0)
    for part in supernet.modules():
        if isinstance(part, Boost):
            part.by = math.nan
    with pytest.raises(LatnasError, match=r"at step 8: .* loss is nan for lambda 0\.\d+ along the path size\d\|"):
        learner_of(Learning()).step(8, toy_surrogate(SPACE), supernet, IMAGES)


def test_the_report_is_what_the_metrics_file_records() -> None:
    report = learner_of(Learning()).step(0, toy_surrogate(SPACE), None, IMAGES)
    assert report.to_json() == {
        "step": 0, "loss": report.loss, "cost": report.cost, "excess": report.excess, "entropy": report.entropy,
        "tau": TAU_START, "supernet_loss": None,
    }  # fmt: skip
    assert report.entropy == pytest.approx(5 * math.log(4), rel=0.01)  # near uniform at first


def test_draws_are_valid_canonical_and_a_function_of_their_generator() -> None:
    space = make_space("nasbench201", image_size=8, channels=1, classes=10, width=2, depth=1)
    learner = Learner(space, params_cost(space.trace), BudgetRange(1.0, 2.0), Learning(), seed=0)
    drawn = [learner.draw(0.5, generator("draw", index)) for index in range(60)]
    assert all(space.is_canonical(architecture) for architecture in drawn)
    assert len(set(drawn)) > 30
    assert drawn[:5] == [learner.draw(0.5, generator("draw", index)) for index in range(5)]


def test_where_the_hypernetwork_yields_nothing_valid_the_draw_is_a_random_valid_one() -> None:
    space = make_space("nasbench201", image_size=8, channels=1, classes=10, width=2, depth=1)
    learner = Learner(space, params_cost(space.trace), BudgetRange(1.0, 2.0), Learning(), seed=0)
    with torch.no_grad():
        learner.hypernetwork.layers[-1].bias[::5] = 100.0  # `none` on every edge
    drawn = [learner.draw(0.5, generator("draw", index)) for index in range(20)]
    assert all(space.is_canonical(architecture) for architecture in drawn)
    assert len(set(drawn)) > 10
