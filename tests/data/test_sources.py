"""Data sets: what is embedded, what a file may hold, and what is said of arrays that are wrong."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from latnas.data.arrays import from_arrays
from latnas.data.images import ImageData
from latnas.data.sources import DATA_SETS, absolute, load_images, mirroring
from latnas.errors import LatnasError, UsageError

SIDE = 8
Arrays = dict[str, Any]


def arrays(**changes: Any) -> Arrays:
    """Twelve training and six test images of two classes; `None` leaves an array out."""
    draws = np.random.default_rng(0)
    good = {
        "x_train": draws.integers(0, 256, (12, SIDE, SIDE), dtype=np.uint8),
        "y_train": np.arange(12) % 2,
        "x_test": draws.integers(0, 256, (6, SIDE, SIDE), dtype=np.uint8),
        "y_test": np.arange(6) % 2,
    }
    return {key: value for key, value in (good | changes).items() if value is not None}


def saved(file: Path, content: Arrays) -> str:
    np.savez_compressed(file, **content)
    return str(file)


def load(tmp_path: Path, **changes: Any) -> ImageData:
    return load_images(saved(tmp_path / "mine.npz", arrays(**changes)))


def refusal(tmp_path: Path, **changes: Any) -> str:
    """What is said of a file with these arrays. Every message names the file and ends with a remedy."""
    with pytest.raises(LatnasError) as caught:
        load(tmp_path, **changes)
    message = str(caught.value)
    assert "mine.npz" in message
    return message


# What is embedded


def test_the_embedded_sets_have_the_promised_shapes_and_balance() -> None:
    fashion, digits = load_images("fashion-mini"), load_images("digits")
    assert fashion.train.images.shape == (4000, 1, 28, 28) and fashion.test.images.shape == (1500, 1, 28, 28)
    assert digits.train.images.shape == (1437, 1, 8, 8) and digits.test.images.shape == (360, 1, 8, 8)
    assert torch.bincount(fashion.train.labels).tolist() == [400] * 10
    assert torch.bincount(fashion.test.labels).tolist() == [150] * 10
    assert torch.bincount(digits.test.labels).tolist() == [36] * 10
    assert fashion.classes[9] == "Ankle boot" and digits.classes == tuple("0123456789")
    assert (fashion.channels, fashion.size, digits.size) == (1, 28, 8)


def test_the_embedded_files_take_less_than_two_and_a_half_megabytes_and_carry_their_licences() -> None:
    folder = resources.files("latnas.data").joinpath("embedded")
    assert sum(len(folder.joinpath(f"{name}.npz").read_bytes()) for name in DATA_SETS) <= 2_500_000
    for name, holder in (("fashion-mini", "2017 Zalando SE"), ("digits", "Alpaydin")):
        assert holder in folder.joinpath(f"{name}.LICENSE").read_text(encoding="utf-8")


def test_no_image_of_the_embedded_test_sets_is_also_a_training_image() -> None:
    for name in DATA_SETS:
        data = load_images(name)
        train = {image.numpy().tobytes() for image in data.train.images}
        assert not any(image.numpy().tobytes() in train for image in data.test.images)


# What a file may hold


def test_a_file_of_grey_images_is_loaded_as_it_is(tmp_path: Path) -> None:
    content = arrays()
    data = load(tmp_path)
    assert data.name == "mine" and data.classes == ("0", "1") and data.notes == ()
    assert data.train.images.dtype == torch.uint8 and data.train.labels.dtype == torch.int64
    assert np.array_equal(data.train.images[:, 0].numpy(), content["x_train"])
    assert np.array_equal(data.test.labels.numpy(), content["y_test"])


def test_colour_channels_move_to_the_front(tmp_path: Path) -> None:
    x_train = np.random.default_rng(1).integers(0, 256, (12, SIDE, SIDE, 3), dtype=np.uint8)
    data = load(tmp_path, x_train=x_train, x_test=x_train[:6])
    assert data.channels == 3 and data.size == SIDE
    assert data.train.images[5, 2, 3, 4] == x_train[5, 3, 4, 2]


def test_labels_and_images_may_have_a_last_dimension_of_one(tmp_path: Path) -> None:
    content = arrays()
    y_train = content["y_train"].astype(np.uint8)[:, None]
    data = load(tmp_path, x_train=content["x_train"][..., None], y_train=y_train)
    assert data.fingerprint == load(tmp_path).fingerprint


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_float_images_in_either_range_become_the_same_bytes_and_this_is_said(tmp_path: Path, dtype: str) -> None:
    x = {key: value for key, value in arrays().items() if key.startswith("x")}
    unit = load(tmp_path, **{key: (value / 255).astype(dtype) for key, value in x.items()})
    bytes_as_float = load(tmp_path, **{key: value.astype(dtype) for key, value in x.items()})
    assert unit.fingerprint == bytes_as_float.fingerprint == load(tmp_path).fingerprint
    assert "[0, 1] were multiplied by 255" in unit.notes[0] and "[0, 255] were rounded" in bytes_as_float.notes[0]


def test_a_dark_test_set_is_not_brightened(tmp_path: Path) -> None:
    data = load(tmp_path, x_train=arrays()["x_train"].astype(float), x_test=np.ones((6, SIDE, SIDE)))
    assert data.test.images.max() == 1


def test_without_test_arrays_a_sixth_of_each_class_is_held_out_and_this_is_said(tmp_path: Path) -> None:
    x_train = np.random.default_rng(2).integers(0, 256, (60, SIDE, SIDE), dtype=np.uint8)
    content: Arrays = {"x_train": x_train, "y_train": np.arange(60) % 5, "x_test": None, "y_test": None}
    data, again = load(tmp_path, **content), load(tmp_path, **content)
    assert torch.bincount(data.test.labels).tolist() == [2] * 5
    assert data.fingerprint == again.fingerprint
    images = torch.cat([data.train.images, data.test.images]).numpy().reshape(60, -1)
    assert sorted(map(bytes, images)) == sorted(map(bytes, x_train.reshape(60, -1)))
    assert "10 of its 60 training images" in data.notes[0]


@pytest.mark.parametrize("names", [["cat", "dog"], [b"cat", b"dog"]])
def test_class_names_come_from_the_file(tmp_path: Path, names: list[Any]) -> None:
    assert load(tmp_path, classes=np.array(names)).classes == ("cat", "dog")


def test_a_relative_path_starts_at_the_given_root(tmp_path: Path) -> None:
    saved(tmp_path / "mine.npz", arrays())
    assert load_images("mine.npz", root=tmp_path).name == "mine"


def test_a_data_set_is_the_same_from_another_folder_once_its_path_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "mine.npz", arrays())
    assert absolute("mine.npz") == str(tmp_path / "mine.npz")
    assert absolute("mine.npz@16") == f"{tmp_path / 'mine.npz'}@16"
    assert absolute("mine.npz@16@unmirrored") == f"{tmp_path / 'mine.npz'}@16@unmirrored"
    assert absolute("digits") == "digits" and absolute("digits@16") == "digits@16"


def test_images_are_mirrored_in_training_unless_one_says_not_to_and_that_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.npz", arrays())
    plain, kept = load_images(str(path)), load_images(f"{path}@16@unmirrored")
    (told,) = mirroring(plain)
    assert plain.mirrors and not kept.mirrors and kept.size == 16 and mirroring(kept) == []
    offered = load_images(told.rpartition("--data ")[2])
    assert not offered.mirrors and offered.fingerprint == plain.fingerprint
    assert load_images("fashion-mini").mirrors and not load_images("fashion-mini@unmirrored").mirrors
    assert mirroring(load_images("fashion-mini")) == []
    named = Path(path).rename(tmp_path / "x@unmirrored")
    with pytest.raises(UsageError, match="file of no known kind"):  # such a file is that file
        load_images(str(named))


@pytest.mark.parametrize("name", ["digits", "fashion-mini"])
def test_a_file_that_is_called_like_an_embedded_set_is_still_a_file_of_one_s_own(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / f"{name}.npz", arrays())
    (told,) = mirroring(load_images(path))
    assert told.endswith(f"--data {path}@unmirrored")
    assert mirroring(load_images(f"{name}@16")) == []


@pytest.mark.parametrize("ending", ["@big", "@64px", "@16@big", "@unmirrored@16", "@big@16@unmirrored"])
def test_what_is_no_size_after_something_that_there_is_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "grey.npz", arrays())
    for there_is in ("grey.npz", "digits"):
        with pytest.raises(UsageError) as caught:
            load_images(there_is + ending)
        assert str(caught.value) == (
            f"--data {there_is}{ending}: there is {there_is!r}, and {ending!r} after it is neither a size, such as "
            "@64, nor @unmirrored, nor the one and then the other."
        )
    with pytest.raises(UsageError, match="there is no data set 'nothing@big'"):
        load_images("nothing@big")


def test_a_path_with_a_space_is_advised_as_one_word(tmp_path: Path) -> None:
    path = saved(tmp_path / "my photos.npz", arrays())
    (told,) = mirroring(load_images(path))
    assert told.endswith(f"--data '{path}@unmirrored'")


def test_a_size_may_follow_any_name_and_makes_images_square(tmp_path: Path) -> None:
    assert load_images("digits@16").size == 16 and not load_images("digits@16").mirrors
    content = arrays(x_train=grey(12, 9, 30), x_test=grey(6, 20, 10))
    data = load_images(f"{saved(tmp_path / 'mine.npz', content)}@12")
    assert data.train.images.shape == (12, 1, 12, 12) and data.test.images.shape == (6, 1, 12, 12)
    assert "images of 9x30 pixels are made 12x12, as named" in data.notes[0]


def test_colour_arrays_are_resized_as_pillow_resizes_them(tmp_path: Path) -> None:
    x_train = np.random.default_rng(3).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    file = saved(tmp_path / "mine.npz", arrays(x_train=x_train, x_test=x_train[:6]))
    for image, pixels in zip(load_images(f"{file}@8").train.images, x_train, strict=True):
        wanted = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR))
        assert np.array_equal(image.permute(1, 2, 0), wanted)


def test_few_images_of_a_class_are_said(tmp_path: Path) -> None:
    labels = (np.arange(60) < 5).astype(int)
    data = load(tmp_path, x_train=grey(60, SIDE, SIDE), y_train=labels)
    assert "55 training images of class '0' and 5 of '1'" in data.notes[0]


def test_classes_without_test_images_are_said(tmp_path: Path) -> None:
    data = load(tmp_path, y_train=np.arange(12) % 3, y_test=np.zeros(6, int))
    assert data.notes == (
        f"{tmp_path / 'mine.npz'}: x_test has no images of 2 of 3 classes, such as '1': accuracy on it says nothing of "
        "them.",
    )


def test_the_fingerprint_changes_with_one_pixel_and_with_one_label(tmp_path: Path) -> None:
    x_test, y_train = arrays()["x_test"], arrays()["y_train"]
    x_test[3, 4, 5] ^= 1
    y_train[:2] = y_train[1::-1]
    prints = {load(tmp_path, **change).fingerprint for change in ({}, {"x_test": x_test}, {"y_train": y_train})}
    assert len(prints) == 3


def test_the_fingerprint_changes_with_the_number_of_validation_images(tmp_path: Path) -> None:
    data = load(tmp_path)
    assert len({replace(data, validation=number).fingerprint for number in (0, 2, 4)}) == 3


def test_the_fingerprints_of_the_embedded_sets_are_those_that_runs_have_recorded() -> None:
    assert {name: load_images(name).fingerprint for name in DATA_SETS} == {
        "fashion-mini": "66f12eaadf2a880d",
        "digits": "518990d65aabc290",
    }


# What is said of what is wrong


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no data set 'mnist'\. Known: fashion-mini, digits\. .*--data FILE\.npz"):
        load_images("mnist")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file .*nothing\.npz"):
        load_images("nothing.npz", root=tmp_path)


@pytest.mark.parametrize("spec", ["~nobody-of-that-name/x.npz", "~nobody-of-that-name/x.npz@16@unmirrored"])
def test_a_home_folder_of_nobody_is_wrong_usage(spec: str) -> None:
    with pytest.raises(UsageError, match=r"--data ~nobody-of-that-name/x.*home folder.*Type the path in full"):
        load_images(spec)


@pytest.mark.parametrize("name", ["delete\x7f", "line\nbreak", "latin-\udce9"])
def test_a_path_that_no_run_could_record_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    saved(folder / "mine.npz", arrays())
    for path in (folder, tmp_path / "link"):
        with pytest.raises(UsageError) as caught:
            load_images(str(path / "mine.npz"))
        assert ascii(str(folder / "mine.npz")) in str(caught.value) and "control characters" in str(caught.value)


def test_a_folder_may_be_called_in_any_script(tmp_path: Path) -> None:
    folder = tmp_path / "画像\u3000é"
    folder.mkdir()
    assert load_images(saved(folder / "mine.npz", arrays())).size == SIDE


def test_a_folder_is_not_read_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(UsageError, match=r"cannot read .*directory"):
        load_images("folder.npz", root=tmp_path)


def changed(key: str, at: tuple[int, ...], value: float) -> Any:
    array = arrays()[key].astype(float if key.startswith("x") else int)
    array[at] = value
    return array


def unit(key: str, highest: float) -> Any:
    array = arrays()[key] / 255
    array[0, 0, 0] = highest
    return array


def grey(count: int, *shape: int) -> Any:
    return np.zeros((count, *shape), np.uint8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # shapes
        ({"x_train": grey(12, 64)}, "x_train has shape [12, 64]; images are [N, H, W]"),
        (
            {"x_train": grey(12, 3, 16, 16)},
            "channels come last, and are 1 or 3. Save x.transpose(0, 2, 3, 1).",
        ),
        ({"x_train": grey(12, 16, 16, 4)}, "channels come last, and are 1 or 3. Save grey or RGB images."),
        ({"x_train": grey(12, 16, 12)}, "x_train has images of 16x12 pixels; only square ones"),
        ({"x_train": grey(12, 16, 12)}, ".npz@12"),
        ({"x_train": grey(12, 6, 5)}, ".npz@8"),
        ({"x_train": grey(1, 1200, 1100)}, ".npz@1024"),
        ({"x_train": grey(12, 7, 7)}, "x_train has images of 7x7 pixels; a side has 8 to 1024"),
        ({"x_train": grey(1, 1025, 1025)}, "1025x1025 pixels; a side has 8 to 1024"),
        (
            {"x_test": grey(6, 9, 9)},
            "x_test of 9x9x1. Name a size to have both resized: --data ",
        ),
        (
            {"x_test": grey(6, 8, 8, 3)},
            "images of 8x8x1, x_test of 8x8x3. Save both in colour, or both in grey.",
        ),
        ({"x_train": grey(0, 8, 8), "y_train": np.arange(0)}, "x_train is empty"),
        ({"x_test": grey(0, 8, 8), "y_test": np.arange(0)}, "x_test is empty"),
        # pixels
        (
            {"x_train": changed("x_train", (7, 1, 2), np.nan)},
            "infinite pixels in 1 of 12 images, first at index 7",
        ),
        ({"x_test": changed("x_test", (0, 0, 0), np.inf)}, "x_test has NaN or infinite pixels"),
        (dict.fromkeys(("x_train", "x_test"), np.eye(16, dtype=np.uint8)[None].repeat(12, 0)), "are 0 or 1, of 255"),
        ({"x_train": np.zeros((12, SIDE, SIDE), bool)}, "Save 255 * x.astype('uint8')."),
        ({"x_train": changed("x_train", (0, 0, 0), -0.5)}, "x_train has pixels from -0.5 to"),
        ({"x_train": changed("x_train", (0, 0, 0), 256)}, "before any normalisation"),
        ({"x_train": np.full((12, SIDE, SIDE), "a")}, "x_train holds <U1; pixels must be uint8"),
        (
            {"x_train": np.zeros((12, SIDE, SIDE))},
            "x_train holds float64, x_test uint8. Save both on one scale.",
        ),
        (
            {"x_train": np.full((12, SIDE, SIDE), 0.5), "x_test": np.full((6, SIDE, SIDE), 255.0)},
            "x_train is in [0, 1], x_test goes up to 255. Save both on one scale.",
        ),
        (
            {"x_train": changed("x_train", (0, 0, 0), 255), "x_test": np.full((6, SIDE, SIDE), 0.5)},
            "x_test is in [0, 1], x_train goes up to 255. Save both on one scale.",
        ),
        (
            {"x_train": unit("x_train", 1.0000001), "x_test": unit("x_test", 1.0)},
            "x_train goes up to 1.0000001: slightly above [0, 1], and far from 255. Clip it to [0, 1], or scale it to",
        ),
        (
            {"x_train": changed("x_train", (0, 0, 0), 255), "x_test": unit("x_test", 1.5)},
            "x_test goes up to 1.5: slightly above [0, 1]",
        ),
        # labels
        ({"y_train": np.arange(11) % 2}, "y_train has 11 labels for 12 images"),
        ({"y_test": np.arange(7) % 2}, "y_test has 7 labels for 6 images"),
        (
            {"y_train": np.eye(2)[np.arange(12) % 2]},
            "y_train has shape [12, 2]; labels are [N] or [N, 1]. One-hot",
        ),
        ({"y_train": np.arange(12) % 2 / 1}, "y_train holds float64; labels must be integers. Save y.astype"),
        (
            {"y_train": np.array(["cat", "dog"] * 6)},
            "y_train holds <U3; labels must be integers. Renumber them",
        ),
        ({"y_train": np.zeros(12, int)}, "y_train has one class only, 0"),
        (
            {"y_train": changed("y_train", (0,), -1)},
            "y_train has the label -1; labels must be 0..K-1. If it means no label",
        ),
        ({"y_test": np.full(6, -1)}, "y_test is unlabelled: every label is -1. Leave x_test and y_test out: a sixth"),
        ({"y_train": np.arange(12) % 2 + 1}, "y_train lacks the labels 0; labels must be 0..K-1"),
        ({"y_train": np.arange(12) % 2 * 3}, "y_train lacks the labels 1, 2; labels must be 0..K-1"),
        (
            {"y_train": np.arange(12) % 2 * 10**9},
            "lacks the labels 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 999999989 more",
        ),
        ({"y_train": np.full(12, 2**64 - 1, np.uint64)}, "y_train has the label 18446744073709551615"),
        ({"y_train": np.arange(12) // 10}, "y_train has 2 of class '1'; at least 3 are needed"),
        (
            {"y_train": np.arange(12) // 9, "x_test": None, "y_test": None},
            "has 3 of class '1'; at least 4 are needed",
        ),
        ({"y_test": np.arange(6) % 3}, "y_test has the label 2, but y_train only 0..1"),
        # class names
        ({"classes": np.array(["cat"])}, "y_train has the label 1, but classes names 0..0 only"),
        (
            {"classes": np.array(["cat", "dog", "emu"])},
            "y_train lacks the labels 2; classes names 0..2. Add images",
        ),
        ({"classes": np.array([1, 2])}, "classes must be one name per class"),
        ({"classes": np.array(["cat", "cat"])}, "classes has a name twice"),
        ({"classes": np.array(["cat", ""])}, "an empty or unprintable one"),
        ({"classes": np.array(["cat", "\x1b[2J"])}, "an empty or unprintable one"),
    ],
)
def test_bad_arrays_are_refused_with_what_and_where(tmp_path: Path, changes: Arrays, message: str) -> None:
    assert message in refusal(tmp_path, **changes)


def test_arrays_in_memory_are_checked_like_files() -> None:
    assert from_arrays(arrays(), "mine", "here").size == SIDE
    with pytest.raises(LatnasError, match=r"^here: y_train has one class only"):
        from_arrays(arrays(y_train=np.zeros(12, int)), "mine", "here")


def test_a_folder_that_is_called_as_a_data_set_that_comes_along_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    told = "digits is the data set that comes along. What is called so here: --data ./digits"
    assert load_images("digits@16", tmp_path).notes == (*load_images("digits@16").notes, told)
