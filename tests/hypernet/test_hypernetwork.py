"""The hypernetwork and its samples, whose distribution is a theorem: softmax(logits), whatever the temperature."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from latnas.data.randomness import generator
from latnas.hypernet.hypernetwork import Hypernetwork, log_probability, reinmax_sample, sampled_architecture
from latnas.words.architecture import Decision, Item

PLAIN = Decision("plain", ("a", "b", "c"), tuple(Item(name, (name,)) for name in "abc"))
NODE = Decision(
    "node",
    ("conv@0", "pool@0", "conv@1", "pool@1", "conv@2"),
    tuple(
        Item("+".join(pair), pair)
        for pair in (("conv@0", "conv@1"), ("conv@0", "pool@1"), ("pool@0", "conv@1"), ("conv@1", "conv@2"))
    ),
)
DECISIONS = (PLAIN, NODE)
LOGITS = torch.tensor([1.5, -0.5, 0.3, 0.0, -2.0])
DRAWS = 20_000


def trained_like(seed: int = 0, entries: int = 1) -> Hypernetwork:
    """Far from uniform, as after a search."""
    hypernetwork = Hypernetwork(DECISIONS, seed, entries)
    with torch.no_grad():
        hypernetwork.layers[-1].weight.mul_(100)
    return hypernetwork


def alphas(hypernetwork: Hypernetwork, lambdas: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = hypernetwork(lambdas.double()[:, None])
    return out


# From lambda to alpha


def test_a_small_step_in_lambda_is_a_small_change_of_alpha_everywhere() -> None:
    hypernetwork = trained_like().double()
    grid = torch.linspace(0, 0.999, 1000, dtype=torch.float64)
    largest = [float((alphas(hypernetwork, grid + h) - alphas(hypernetwork, grid)).abs().max()) for h in (1e-3, 1e-5)]
    assert 0 < largest[1] < 0.02 * largest[0]  # a jump anywhere would be as large for the smaller step


def test_every_lambda_has_an_alpha_of_its_own() -> None:
    values = alphas(trained_like().double(), torch.linspace(0, 1, 101))
    apart = torch.cdist(values, values) + torch.eye(101)
    assert apart.min() > 1e-4


@pytest.mark.parametrize("seed", range(5))
def test_at_first_every_item_is_about_as_probable_as_every_other(seed: int) -> None:
    hypernetwork = Hypernetwork(DECISIONS, seed)
    for logits, decision in zip(hypernetwork.item_logits(torch.linspace(0, 1, 50)[:, None]), DECISIONS, strict=True):
        count = len(decision.items)
        assert (torch.softmax(logits, -1) * count - 1).abs().max() < 0.15


def test_it_is_a_function_of_its_seed_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = Hypernetwork(DECISIONS, 1), Hypernetwork(DECISIONS, 1), Hypernetwork(DECISIONS, 2)
    assert torch.get_rng_state().equal(before)
    x = torch.tensor([[0.3]])
    assert one(x).equal(same(x)) and not one(x).equal(other(x))


def test_the_logits_of_an_item_are_the_sum_of_those_of_its_parts() -> None:
    hypernetwork = trained_like()
    conditions = torch.linspace(0, 1, 6)[:, None]
    alpha = hypernetwork(conditions)
    part_names = [(decision.name, part) for decision in DECISIONS for part in decision.parts]
    for decision, logits in zip(DECISIONS, hypernetwork.item_logits(conditions), strict=True):
        for position, item in enumerate(decision.items):
            columns = [part_names.index((decision.name, part)) for part in item.parts]
            torch.testing.assert_close(logits[:, position], alpha[:, columns].sum(1))


def test_a_condition_may_have_several_entries_and_each_of_them_counts() -> None:
    hypernetwork = trained_like(entries=2)
    base, first, second = hypernetwork(torch.tensor([[0.2, 0.7], [0.3, 0.7], [0.2, 0.8]]))
    assert base.shape == (8,)
    assert not base.allclose(first) and not base.allclose(second) and not first.allclose(second)


def test_log_probabilities_of_items_are_the_log_softmax_of_their_logits() -> None:
    hypernetwork = trained_like()
    logits = hypernetwork.item_logits(torch.tensor([[0.4]]))
    for values, expected in zip(hypernetwork.item_log_probabilities(0.4), logits, strict=True):
        assert np.exp(values).sum() == pytest.approx(1.0)
        np.testing.assert_allclose(np.exp(values), torch.softmax(expected[0].double(), 0).detach().numpy())


# Samples


@pytest.mark.parametrize("tau", [0.05, 0.5, 1.0, 4.0, 20.0])
def test_samples_are_distributed_as_softmax_of_the_logits_at_every_temperature(tau: float) -> None:
    samples = reinmax_sample(LOGITS.expand(DRAWS, -1), tau, generator("chi-square", str(tau)))
    counts = samples.sum(0).numpy()
    expected = torch.softmax(LOGITS.double(), 0).numpy() * DRAWS
    assert stats.chisquare(counts, expected).pvalue > 1e-3
    if tau != 1.0:  # so many draws do tell it from a distribution that depends on the temperature
        wrong = torch.softmax(LOGITS.double() / tau, 0).numpy() * DRAWS
        assert stats.chisquare(counts, wrong).pvalue < 1e-9


def test_samples_are_exactly_one_hot() -> None:
    samples = reinmax_sample(LOGITS.expand(DRAWS, -1), 0.7, generator("one-hot"))
    assert ((samples == 0) | (samples == 1)).all()
    assert (samples.sum(1) == 1).all()


def test_the_gradient_of_a_quadratic_function_is_that_of_its_expectation() -> None:
    """Source: Liu et al. 2023, theorem 3.1: right to second order, which a quadratic function has no more of."""
    random = generator("quadratic")
    matrix = torch.randn(5, 5, generator=random)

    def quadratic(one_hot: torch.Tensor) -> torch.Tensor:
        return ((one_hot @ matrix) * one_hot).sum(-1)

    logits = LOGITS.clone().requires_grad_()
    (torch.softmax(logits, 0) @ quadratic(torch.eye(5))).backward()
    repeated = LOGITS.repeat(DRAWS, 1).requires_grad_()
    quadratic(reinmax_sample(repeated, 1.0, random)).sum().backward()
    assert logits.grad is not None and repeated.grad is not None
    deviation = repeated.grad.std(0) / DRAWS**0.5
    assert ((repeated.grad.mean(0) - logits.grad).abs() < 4 * deviation).all()
    assert logits.grad.abs().max() > 40 * deviation.max(), "so many draws do tell it from another gradient"


@pytest.mark.parametrize("tau", [0.0, -1.0])
def test_a_temperature_of_zero_or_below_is_refused(tau: float) -> None:
    with pytest.raises(ValueError, match="tau must be above zero"):
        reinmax_sample(LOGITS[None], tau, generator(0))


# Architectures


def all_indices() -> list[tuple[int, ...]]:
    return list(product(*(range(len(decision.items)) for decision in DECISIONS)))


def test_log_probability_is_that_of_the_product_and_sums_to_one() -> None:
    logits = trained_like().item_logits(torch.tensor([[0.1], [0.9]]))
    for row in (0, 1):
        found = torch.stack([log_probability(logits, row, indices) for indices in all_indices()])
        first, second = (torch.softmax(values[row], 0) for values in logits)
        torch.testing.assert_close(found.exp(), torch.outer(first, second).flatten())
        assert float(found.detach().exp().sum()) == pytest.approx(1.0)


def test_the_gradient_of_log_probability_raises_what_was_chosen() -> None:
    logits = [LOGITS[None, :3].clone().requires_grad_(), LOGITS[None, 1:].clone().requires_grad_()]
    log_probability(logits, 0, (2, 1)).backward()
    for values, index in zip(logits, (2, 1), strict=True):
        expected = torch.nn.functional.one_hot(torch.tensor(index), values.shape[1]) - torch.softmax(values[0], 0)
        assert values.grad is not None
        torch.testing.assert_close(values.grad[0], expected)


def test_drawn_architectures_follow_the_product_distribution() -> None:
    with torch.no_grad():
        logits = trained_like().item_logits(torch.tensor([[0.0], [0.6]]))
    random = generator("architectures")
    counts = dict.fromkeys(all_indices(), 0)
    for _ in range(4000):
        counts[sampled_architecture(logits, 1, DECISIONS, "default", random).indices(DECISIONS)] += 1
    expected = np.array([float(log_probability(logits, 1, indices).double().exp()) for indices in counts]) * 4000
    common = expected > 5
    assert common.sum() >= 4
    observed = np.array(list(counts.values()))[common]
    assert stats.chisquare(observed, expected[common] * observed.sum() / expected[common].sum()).pvalue > 0.01


# Lambdas


def test_at_every_step_each_part_of_the_range_is_learnt_from_the_ends_no_less_than_the_middle() -> None:
    hypernetwork, random = trained_like(), generator("lambdas")
    drawn = torch.stack([hypernetwork.draw_lambdas(16, random) for _ in range(2000)])
    assert (drawn[:, 0] == 0).all() and (drawn[:, -1] == 1).all()
    inner = drawn[:, 1:-1]
    assert ((inner * 14).floor() == torch.arange(14)).all()
    assert stats.kstest(inner[:, 0].double().numpy() * 14, "uniform").pvalue > 0.01
