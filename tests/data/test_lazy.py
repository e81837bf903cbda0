"""Images that are decoded when asked for, against the same images in memory: in every index, batch and stage."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import picture, two_classes
from small import Heard, export_config, profile_config, quick_search, search_config
from torch import Tensor, nn

from latnas.data import encoded
from latnas.data.batches import channel_statistics
from latnas.data.images import LabelledImages
from latnas.data.lazy import Ahead, LazyImages, read_in_threads
from latnas.data.npz import Array
from latnas.data.sources import load_images
from latnas.data.splits import splits_of
from latnas.errors import LatnasError
from latnas.ranking.features import resized
from latnas.stages.export import export
from latnas.stages.profile import profile
from latnas.training.evaluate import accuracy
from latnas.training.trainer import Recipe, Trainer
from latnas.words.files import read_json

SHAPE = (3, 8, 8)


def picture_of(row: int) -> Array:
    return np.asarray(picture(row)).transpose(2, 0, 1)


@pytest.fixture
def lazy() -> LazyImages:
    return LazyImages(read_in_threads(picture_of, SHAPE), torch.arange(300), SHAPE)


@pytest.fixture
def held() -> Tensor:
    return torch.from_numpy(np.stack([picture_of(row) for row in range(300)]))


def test_every_index_gives_what_a_tensor_gives(lazy: LazyImages, held: Tensor) -> None:
    some = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:170]
    repeated = torch.tensor([7, 7, 3])
    assert lazy.shape == held.shape and len(lazy) == len(held)
    for index in (some, repeated, slice(None), slice(10, 20), slice(295, 400), slice(0, 0)):
        assert lazy[index].equal(held[index])
    for chosen in (lazy.index_select(0, some), held.index_select(0, some)):
        assert chosen.shape == (170, *SHAPE) and chosen[torch.tensor([5, 0])].equal(held[some[[5, 0]]])


def test_selecting_decodes_nothing() -> None:
    def never(row: int) -> Array:
        raise AssertionError(f"row {row} was decoded")

    images = LazyImages(read_in_threads(never, SHAPE), torch.arange(10), SHAPE)
    part = LabelledImages(images, torch.zeros(10)).take(torch.tensor([1, 2]))
    assert part.images.index_select(0, torch.tensor([1])).shape == (1, *SHAPE)
    with pytest.raises(AssertionError, match="row 2 was decoded"):
        part.batch(torch.tensor([1]))


def test_images_come_in_order_whichever_thread_is_first() -> None:
    def slow(row: int) -> Array:
        time.sleep(0.002 * (row % 3))
        return np.full(SHAPE, row, np.uint8)

    wanted = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    assert read_in_threads(slow, SHAPE)(wanted)[:, 0, 0, 0].equal(wanted.to(torch.uint8))


def test_of_several_broken_images_the_first_is_named() -> None:
    def broken(row: int) -> Array:
        if row in (60, 90):
            raise LatnasError(f"image {row} is broken")
        return np.zeros(SHAPE, np.uint8)

    with pytest.raises(LatnasError, match="image 60 is broken"):
        read_in_threads(broken, SHAPE)(torch.arange(100))


def test_statistics_and_other_sizes_do_not_depend_on_where_images_are(lazy: LazyImages, held: Tensor) -> None:
    for ours, theirs in zip(channel_statistics(lazy), channel_statistics(held), strict=True):
        assert ours.equal(theirs)
    assert resized(lazy, 5)[torch.tensor([9, 2])].equal(resized(held, 5)[[9, 2]])
    assert resized(lazy, 5).shape == (300, 3, 5, 5) and resized(lazy, 8) is lazy


def test_statistics_of_many_pixels_are_those_of_every_few_images(held: Tensor) -> None:
    mean, deviation = channel_statistics(held, most_pixels=100 * 64)
    sample = held[::3].double() / 255
    assert torch.allclose(mean.double(), sample.mean(dim=(0, 2, 3)))
    assert torch.allclose(deviation.double(), sample.std(dim=(0, 2, 3), correction=0))


def test_work_ahead_is_done_once_in_a_thread_and_its_results_are_those_of_the_steps() -> None:
    done: list[tuple[int, bool]] = []

    def work(step: int) -> int:
        done.append((step, threading.current_thread() is threading.main_thread()))
        if step == 3:
            raise LatnasError("step 3 failed")
        return step**2

    ahead = Ahead(work)
    assert [ahead(step) for step in (0, 1, 2)] == [0, 1, 4]
    with pytest.raises(LatnasError, match="step 3 failed"):
        ahead(3)
    assert ahead(10) == 100 and ahead(4) == 16  # any step may be asked for
    assert done[:4] == [(0, True), (1, False), (2, False), (3, False)]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


def test_a_training_gives_the_same_weights_and_accuracy_bit_for_bit(lazy: LazyImages, held: Tensor) -> None:
    labels = torch.arange(300) % 2
    results = []
    for images in (lazy, held):
        data = LabelledImages(images, labels)
        trained = Trainer(network(), data, Recipe(12, 32), seed=4).run()
        results.append(([*trained.parameters()], accuracy(trained, data)))
    assert all(ours.equal(theirs) for ours, theirs in zip(results[0][0], results[1][0], strict=True))
    assert results[0][1] == results[1][1]


def test_a_training_that_is_resumed_decodes_what_it_would_have_decoded(lazy: LazyImages, tmp_path: Path) -> None:
    data, recipe = LabelledImages(lazy, torch.arange(300) % 2), Recipe(8, 16)
    whole = Trainer(network(), data, recipe, seed=4).run()
    Trainer(network(), data, recipe, seed=4).run(checkpoint=tmp_path / "kept", until=5)
    resumed = Trainer(network(), data, recipe, seed=4).run(checkpoint=tmp_path / "kept")
    assert all(a.equal(b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_hundred_to_one_trains_and_every_split_has_both_classes(tmp_path: Path) -> None:
    for name, count, first in (("rare", 4, 0), ("usual", 400, 4)):
        (tmp_path / name).mkdir()
        for number in range(count):
            picture(first + number).save(tmp_path / name / f"{number}.bmp")
    data = load_images(str(tmp_path))
    splits = splits_of(data, 0)
    for split in (splits.train, splits.search, splits.select):
        assert set(data.train.labels[split].tolist()) == {0, 1}
    part = data.train.take(splits.train)
    trained = Trainer(network(), part, Recipe(3, 32), seed=0).run()
    assert 0 <= accuracy(trained, data.test).value <= 1


@pytest.mark.usefixtures("spaces_once")
def test_a_search_is_the_same_whether_or_not_images_are_held_and_an_export_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = str(tmp_path / "images")
    for part, count in (("train", 20), ("validation", 10), ("test", 5)):
        two_classes(tmp_path / "images" / part, count)
    heard = Heard()
    profile(profile_config(tmp_path, data=images), heard)
    assert any("20 validation images serve the search" in said for said in heard.said)
    fronts = []
    for share in (1.0, 0.0):
        monkeypatch.setattr(encoded, "SHARE_OF_MEMORY", share)
        run = search_config(tmp_path, data=images, out=tmp_path / str(share), rounds=1)
        fronts.append(read_json(quick_search(run).front_path))
    assert fronts[0] == fronts[1]
    (file,) = export(export_config(tmp_path, runs=tmp_path / "0.0", lambdas=(0.0,)))
    assert file.manifest.data == "images" and file.onnx.exists()
