"""Batches: each image once an epoch, a function of (seed, step). Augmentation against a loop over images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from latnas.data.batches import augment, batch_indices, channel_statistics, evaluation_batches, to_unit
from latnas.data.randomness import generator, seed_of
from latnas.data.sources import load_images


def pictures(count: int = 64, channels: int = 3, size: int = 16) -> Tensor:
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator("pictures"))


# Batches


@pytest.mark.parametrize("batch_size", [1, 7, 20, 50])
def test_every_image_comes_exactly_once_an_epoch_and_every_batch_is_full(batch_size: int) -> None:
    pool = torch.arange(100, 120)
    batches = [batch_indices(pool, batch_size, seed=3, step=step) for step in range(60)]
    assert all(len(batch) == batch_size for batch in batches)
    row = torch.cat(batches)
    epochs = row[: len(row) // 20 * 20].view(-1, 20)
    assert all(epoch.sort().values.equal(pool) for epoch in epochs)
    assert not epochs[0].equal(epochs[1])


def test_a_batch_depends_on_seed_and_step_only() -> None:
    pool = torch.arange(50)
    in_order = [batch_indices(pool, 8, 0, step) for step in range(30)]
    torch.rand(5)
    assert all(batch_indices(pool, 8, 0, step).equal(in_order[step]) for step in reversed(range(30)))
    assert not batch_indices(pool, 8, 1, 0).equal(in_order[0])


def test_the_order_of_an_epoch_is_drawn_once_not_for_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def randperm(count: int, *, generator: torch.Generator) -> Tensor:
        drawn.append(count)
        return torch.argsort(torch.rand(count, generator=generator))

    monkeypatch.setattr(torch, "randperm", randperm)
    pool, held_out = torch.arange(97), torch.arange(31)
    seed = seed_of("drawn once")
    for step in range(24):
        batch_indices(pool, 8, seed, step)
        batch_indices(held_out, 2, seed, step)
    assert sorted(drawn) == [31, 31, 97, 97]


def test_a_pool_keeps_its_own_indices() -> None:
    pool = torch.tensor([5, 2, 9])
    assert set(batch_indices(pool, 6, 0, 4).tolist()) == {2, 5, 9}


@pytest.mark.parametrize(("length", "batch_size", "step"), [(0, 1, 0), (5, 0, 0), (5, 1, -1)])
def test_a_batch_that_cannot_be_is_refused(length: int, batch_size: int, step: int) -> None:
    with pytest.raises(ValueError, match="no batch"):
        batch_indices(torch.arange(length), batch_size, 0, step)


def test_evaluation_sees_every_image_once_in_order() -> None:
    images = pictures(10)
    batches = list(evaluation_batches(images, 4))
    assert [len(part) for part in batches] == [4, 4, 2]
    assert torch.cat(batches).equal(images)


# Pixels


def test_unit_pixels_are_those_of_numpy() -> None:
    images = pictures()
    unit = to_unit(images)
    assert unit.dtype == torch.float32 and unit.min() >= 0 and unit.max() <= 1
    assert np.array_equal(unit.numpy(), images.numpy().astype(np.float32) / np.float32(255))


def test_pixels_are_not_scaled_twice() -> None:
    with pytest.raises(ValueError, match="scaled already"):
        to_unit(to_unit(pictures()))


def test_channel_statistics_are_those_of_numpy() -> None:
    images = pictures()
    mean, std = channel_statistics(images)
    unit = images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean.numpy(), unit.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std.numpy(), unit.std((0, 2, 3)), rtol=1e-6)
    assert mean.dtype == std.dtype == torch.float32


def test_a_constant_channel_has_a_deviation_that_one_can_divide_by() -> None:
    mean, std = channel_statistics(torch.full((4, 1, 8, 8), 51, dtype=torch.uint8))
    assert mean.item() == pytest.approx(0.2) and std.item() == pytest.approx(1 / 255)


# Augmentation


def augmented_one_by_one(
    images: Tensor, draws: torch.Generator, pad: int, flip: bool, reflect: bool, cutout: int
) -> Tensor:
    """The oracle: numpy's padding, then slices, one image after the other."""
    count, _, size, _ = images.shape
    shifts = torch.randint(-pad, pad + 1, (2, count, 1), generator=draws)[..., 0].tolist()
    mirrored = (torch.rand((count, 1), generator=draws) < 0.5)[:, 0].tolist() if flip else [False] * count
    centres = torch.randint(0, size, (2, count, 1), generator=draws)[..., 0].tolist() if cutout else [[0] * count] * 2
    outcome = []
    for n, image in enumerate(images.numpy()):
        border = ((0, 0), (pad, pad), (pad, pad))
        padded = np.pad(image, border, mode="reflect") if reflect else np.pad(image, border)
        top, left = pad + shifts[0][n], pad + shifts[1][n]
        crop = padded[:, top : top + size, left : left + size].copy()
        if mirrored[n]:
            crop = crop[:, :, ::-1].copy()
        if cutout:
            top, left = centres[0][n] - cutout // 2, centres[1][n] - cutout // 2
            crop[:, max(top, 0) : top + cutout, max(left, 0) : left + cutout] = 0
        outcome.append(crop)
    return torch.from_numpy(np.stack(outcome))


@pytest.mark.parametrize("reflect", [True, False])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("cutout", [0, 1, 6, 7])
@pytest.mark.parametrize(("pad", "size"), [(0, 8), (2, 16), (7, 8)])
def test_augmentation_is_what_a_loop_over_images_gives(
    reflect: bool, flip: bool, cutout: int, pad: int, size: int
) -> None:
    images = pictures(size=size)
    batched = augment(images, generator("augment"), pad=pad, flip=flip, reflect=reflect, cutout=cutout)
    assert batched.equal(augmented_one_by_one(images, generator("augment"), pad, flip, reflect, cutout))
    assert batched.dtype == torch.uint8


def test_unless_told_an_image_moves_by_an_eighth_of_its_side_and_is_mirrored() -> None:
    images = pictures(size=32)
    assert augment(images, generator(0)).equal(augment(images, generator(0), pad=4, flip=True, reflect=True))


def test_float_images_are_augmented_like_bytes() -> None:
    images = pictures()
    as_float = augment(to_unit(images), generator(0), cutout=4)
    assert as_float.equal(to_unit(augment(images, generator(0), cutout=4)))


def test_mirroring_keeps_the_pixels_of_each_row_and_turns_about_half_of_the_images() -> None:
    images = pictures(count=400)
    mirrored = augment(images, generator(0), pad=0)
    assert mirrored.sort(dim=3).values.equal(images.sort(dim=3).values)
    turned = [not torch.equal(before, after) for before, after in zip(images, mirrored, strict=True)]
    assert 160 <= sum(turned) <= 240  # four standard deviations


def test_augmentation_leaves_its_input_as_it_was() -> None:
    images = pictures()
    before = images.clone()
    augment(images, generator(0), pad=0, flip=False, cutout=5)
    assert images.equal(before)


def test_an_image_cannot_be_moved_by_its_whole_side() -> None:
    with pytest.raises(ValueError, match="8 pixels cannot be moved by 8"):
        augment(pictures(size=8), generator(0), pad=8)


def test_digits_are_augmented_without_mirroring() -> None:
    images = load_images("digits").train.images
    assert augment(images, generator(0), pad=0, flip=False).equal(images)


@pytest.mark.gpu
def test_augmentation_on_a_gpu_equals_that_on_the_cpu() -> None:
    images = pictures()
    on_gpu = augment(images.cuda(), generator(0), reflect=False, cutout=5)
    assert on_gpu.cpu().equal(augment(images, generator(0), reflect=False, cutout=5))


# Seeds


def test_seeds_are_the_same_in_every_process_and_version() -> None:
    assert seed_of(0, "supernet", 17, 3) == 2543471474536107122
    assert torch.rand(1, generator=generator(1, "a")).equal(torch.rand(1, generator=generator(1, "a")))


def test_seeds_tell_apart_what_looks_alike() -> None:
    names: list[tuple[int | str, ...]] = [
        (1,),
        ("1",),
        (1, 1),
        (11,),
        ("1", "1"),
        ("11",),
        ("a", "bc"),
        ("ab", "c"),
        (),
    ]
    assert len({seed_of(*name) for name in names}) == len(names)


def test_seeds_are_whole_numbers_of_63_bits() -> None:
    seeds = [seed_of(step) for step in range(200)]
    assert all(0 <= seed < 2**63 for seed in seeds) and max(seeds) > 2**62
