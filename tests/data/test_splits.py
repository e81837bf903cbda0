"""Splits: every image once, every class everywhere, the same every time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor

from latnas.data.splits import divide, make_splits
from latnas.errors import LatnasError, UsageError


def labels_of(*counts: int) -> Tensor:
    return torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])


def test_the_default_splits_hold_70_15_and_15_percent_of_each_class() -> None:
    labels = labels_of(400, 400, 100)
    splits = make_splits(labels, seed=0)
    assert torch.bincount(labels[splits.train]).tolist() == [280, 280, 70]
    assert torch.bincount(labels[splits.search]).tolist() == [60, 60, 15]
    assert torch.bincount(labels[splits.select]).tolist() == [60, 60, 15]


@settings(max_examples=50, deadline=None)
@given(
    counts=some.lists(some.integers(3, 60), min_size=1, max_size=6),
    seed=some.integers(0, 2**63),
    weights=some.tuples(*[some.integers(1, 100)] * 3),
)
def test_splits_are_a_partition_with_each_class_within_one_image_of_its_share(
    counts: list[int], seed: int, weights: tuple[int, int, int]
) -> None:
    labels = labels_of(*counts)
    fractions = [weight / sum(weights) for weight in weights]
    parts = divide(labels, fractions, torch.Generator().manual_seed(seed))
    assert torch.cat(parts).sort().values.tolist() == list(range(len(labels)))
    # The minimum of one image can take up to two from the share of a larger part.
    for part, fraction in zip(parts, fractions, strict=True):
        for label, count in enumerate(counts):
            held = int((labels[part] == label).sum())
            assert held >= 1
            assert -2 < held - count * fraction < 1 + 1e-6 or held == 1


def test_the_same_seed_gives_the_same_splits_and_another_seed_others() -> None:
    labels = labels_of(20, 20)
    first, again, other = (make_splits(labels, seed) for seed in (1, 1, 2))
    assert torch.equal(first.train, again.train) and torch.equal(first.select, again.select)
    assert not torch.equal(first.train, other.train)


def test_the_first_images_of_a_split_are_a_mixture_of_classes_even_if_the_file_is_sorted() -> None:
    labels = labels_of(100, 100, 100, 100)
    select = make_splits(labels, seed=0).select
    assert len(set(labels[select[:20]].tolist())) == 4


def test_no_global_random_state_is_read_or_moved() -> None:
    before = torch.random.get_rng_state()
    make_splits(labels_of(20, 20), seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("counts", "label", "count"), [((9, 2), 1, 2), ((9, 0, 9), 1, 0)])
def test_a_class_with_too_few_images_is_named(counts: tuple[int, ...], label: int, count: int) -> None:
    with pytest.raises(LatnasError, match=f"class {label} has {count} of {sum(counts)} images, too few for 3 splits"):
        make_splits(labels_of(*counts), seed=0)


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (1.0, 0.0, 0.0)])
def test_fractions_that_do_not_divide_the_whole_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="positive and sum to 1"):
        divide(labels_of(9, 9), fractions, torch.Generator())


def test_nan_is_no_fraction() -> None:
    with pytest.raises(UsageError):
        divide(labels_of(9), (float("nan"), 1.0), torch.Generator())
