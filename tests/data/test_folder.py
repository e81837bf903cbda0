"""Folders of image files: classes, parts, sizes and kinds of pixels, and what is said of what is wrong."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import SIDE, class_folder, noise, picture, refusal, two_classes
from PIL import Image

from latnas.data.images import ImageData
from latnas.data.sources import load_images
from latnas.data.splits import splits_of
from latnas.errors import LatnasError, UsageError

LITTLE = 1000
"""Bytes of memory: no images are held."""


def load(folder: Path, size: str = "") -> ImageData:
    """The data set of a folder, which is the same whether or not it is held in memory."""
    held, decoded = load_images(f"{folder}{size}"), load_images(f"{folder}{size}", available_bytes=LITTLE)
    assert isinstance(held.train.images, torch.Tensor) and not isinstance(decoded.train.images, torch.Tensor)
    assert held.fingerprint == decoded.fingerprint
    assert decoded.notes[:-1] == held.notes and "They are decoded while training" in decoded.notes[-1]
    return held


# Classes and parts


def test_classes_are_sorted_folder_names_and_a_sixth_of_each_is_held_out(tmp_path: Path) -> None:
    data = load(two_classes(tmp_path / "pets", 12))
    assert (data.name, data.classes, data.size, data.channels) == ("pets", ("cat", "dog"), SIDE, 3)
    assert torch.bincount(data.train.labels).tolist() == [10, 10]
    assert torch.bincount(data.test.labels).tolist() == [2, 2]
    assert "has no test images: 4 of its 24 training images" in data.notes[0]
    assert data.spec == str(tmp_path / "pets")


def test_every_image_has_the_pixels_of_its_file_and_the_label_of_its_folder(tmp_path: Path) -> None:
    data = load(two_classes(tmp_path))
    whole = torch.cat([data.train.images[:], data.test.images[:]])
    labels = torch.cat([data.train.labels, data.test.labels])
    files = {
        (np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes(), path.parent.name)
        for path in tmp_path.rglob("*.png")
    }
    names = [data.classes[label] for label in labels]
    assert {(image.numpy().tobytes(), name) for image, name in zip(whole, names, strict=True)} == files


def test_folders_train_and_test_are_the_parts(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    class_folder(tmp_path / "test" / "dog", 2, first=100)
    data = load(tmp_path)
    assert (len(data.train), len(data.test), data.validation) == (12, 2, 0)
    (note,) = data.notes
    assert "test has no images of 1 of 2 classes, such as 'cat': accuracy on it says nothing of them" in note
    assert data.test.labels.tolist() == [1, 1]


@pytest.mark.parametrize("name", ["validation", "val", "valid", "Val"])
def test_own_validation_images_serve_search_and_select_and_all_others_train(tmp_path: Path, name: str) -> None:
    for part, count in (("train", 4), (name, 6), ("test", 2)):
        two_classes(tmp_path / part, count)
    data = load(tmp_path)
    splits = splits_of(data, seed=3)
    assert data.validation == 12 and len(data.train) == 20
    assert sorted(splits.train.tolist()) == list(range(8))
    assert sorted([*splits.search.tolist(), *splits.select.tolist()]) == list(range(8, 20))
    for split in (splits.search, splits.select):
        assert torch.bincount(data.train.labels[split]).tolist() == [3, 3]
    assert "12 validation images serve the search" in data.notes[0]


def test_without_validation_images_the_splits_are_drawn_from_the_training_images(tmp_path: Path) -> None:
    data = load(two_classes(tmp_path, 12))
    splits = splits_of(data, seed=0)
    assert sorted(torch.cat([splits.train, splits.search, splits.select]).tolist()) == list(range(20))


def test_images_may_lie_deeper_and_beside_notes_and_hidden_files(tmp_path: Path) -> None:
    class_folder(tmp_path / "cat" / "images" / "more", 6)
    class_folder(tmp_path / "dog", 6, first=6)
    (tmp_path / ".cache").mkdir()
    for name in (".DS_Store", "dog/Thumbs.db", "dog/labels.csv", "README.md", "cat/images/boxes.txt"):
        (tmp_path / name).write_text("no image")
    assert len(load(tmp_path).train) == 10


def test_a_folder_named_by_a_link_is_read(tmp_path: Path) -> None:
    two_classes(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert load(tmp_path / "link").fingerprint == load(tmp_path / "real").fingerprint


def test_few_images_of_a_class_are_said_with_the_counts(tmp_path: Path) -> None:
    class_folder(tmp_path / "rare", 4)
    class_folder(tmp_path / "usual", 44, first=4)
    notes = load(tmp_path).notes
    assert "has 44 training images of class 'usual' and 4 of 'rare'" in notes[0]


# Sizes


def expected(image: Image.Image, size: int) -> np.ndarray:
    """Scale the shorter side, then crop the centre: two steps, where latnas takes one."""
    scale = size / min(image.size)
    scaled = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
    return np.asarray(scaled.crop((left, top, left + size, top + size))).transpose(2, 0, 1)


@pytest.mark.parametrize(("width", "height"), [(24, 16), (16, 24), (12, 12), (32, 8)])
def test_other_sizes_are_scaled_by_the_shorter_side_and_cropped(tmp_path: Path, width: int, height: int) -> None:
    two_classes(tmp_path, width=width, height=height)
    data = load(tmp_path, "/@8")
    wanted = {expected(Image.open(path), 8).tobytes() for path in tmp_path.rglob("*.png")}
    found = {image.numpy().tobytes() for image in torch.cat([data.train.images, data.test.images])}
    assert data.size == 8 and found == wanted
    assert "12 of 12 images are not 8x8 (as named)" in data.notes[0]


def test_the_size_is_the_most_common_shorter_side(tmp_path: Path) -> None:
    two_classes(tmp_path, width=12, height=10)
    picture(0, 64, 64).save(tmp_path / "cat" / "large.png")
    data = load(tmp_path)
    assert data.size == 10 and "13 of 13 images are not 10x10 (the most common shorter side" in data.notes[0]


def test_another_size_of_a_folder_with_a_space_is_advised_as_one_word(tmp_path: Path) -> None:
    folder = two_classes(tmp_path / "my photos", width=12, height=10)
    scaled, _, decoded = load_images(str(folder), available_bytes=LITTLE).notes
    assert scaled.endswith(f"Another size: --data '{folder}@N'")
    assert decoded.endswith(f"Smaller ones take less: --data '{folder}@N'")


@pytest.mark.parametrize(("side", "size"), [(4, 8), (300, 224)])
def test_a_size_that_was_not_named_is_clamped(tmp_path: Path, side: int, size: int) -> None:
    assert load(two_classes(tmp_path, 4, width=side, height=side)).size == size


def test_a_very_long_image_does_not_take_the_memory_of_its_scaled_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_classes(tmp_path)
    picture(1, width=1, height=60_000).save(tmp_path / "cat" / "long.png")
    resize, sizes = Image.Image.resize, set[tuple[int, int]]()

    def noted(self: Image.Image, size: tuple[int, int], *given: Any, **named: Any) -> Image.Image:
        sizes.add(size)
        return resize(self, size, *given, **named)

    monkeypatch.setattr(Image.Image, "resize", noted)
    assert load(tmp_path, "@224").size == 224
    assert sizes == {(224, 224)}


@pytest.mark.parametrize("size", ["7", "1025", "0"])
def test_a_size_outside_8_to_1024_is_refused(tmp_path: Path, size: str) -> None:
    with pytest.raises(UsageError, match="a side has 8 to 1024"):
        load_images(f"{two_classes(tmp_path)}@{size}")


def test_a_folder_whose_own_name_ends_like_a_size_is_that_folder(tmp_path: Path) -> None:
    two_classes(tmp_path / "pets@16")
    assert load(tmp_path / "pets@16").size == SIDE
    assert load(tmp_path / "pets@16", "@12").size == 12


# Kinds of pixels


def grey_classes(folder: Path) -> Path:
    return two_classes(folder, mode="L")


def one_image(folder: Path, data: ImageData, file: str) -> torch.Tensor:
    """The pixels of one file: all others are grey noise."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))
    rows = torch.cat([data.train.images, data.test.images])
    uniform = [image for image in rows if image.flatten(1).float().std(dim=1).max() == 0]
    assert file in names and len(uniform) == 1
    return uniform[0][:, 0, 0]


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    grey_classes(tmp_path)
    Image.new("1", (SIDE, SIDE), 1).save(tmp_path / "cat" / "odd.png")
    data = load(tmp_path)
    assert data.channels == 1 and one_image(tmp_path, data, "cat/odd.png").tolist() == [255]


def test_one_image_in_colour_makes_all_of_them_rgb(tmp_path: Path) -> None:
    grey_classes(tmp_path)
    Image.new("RGB", (SIDE, SIDE), (1, 2, 3)).save(tmp_path / "cat" / "odd.png")
    data = load(tmp_path)
    assert data.channels == 3 and one_image(tmp_path, data, "cat/odd.png").tolist() == [1, 2, 3]
    assert "12 of 13 images are grey and become RGB" in data.notes[0]


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("value", "pixel"), [(0, 0), (257, 1), (65535, 255), (128 * 257 + 128, 128), (1000, 4)])
def test_sixteen_bits_are_divided_by_257_and_this_is_said(tmp_path: Path, suffix: str, value: int, pixel: int) -> None:
    grey_classes(tmp_path)
    Image.fromarray(np.full((SIDE, SIDE), value, np.uint16)).save(tmp_path / "cat" / f"odd.{suffix}")
    data = load(tmp_path)
    assert data.channels == 1 and one_image(tmp_path, data, f"cat/odd.{suffix}").tolist() == [pixel]
    assert "1 of 13 images have 16 bits a pixel and are divided by 257" in data.notes[0]


@pytest.mark.parametrize(
    ("mode", "colour", "pixel"),
    [
        ("RGBA", (0, 100, 200, 0), [255, 255, 255]),
        ("RGBA", (0, 100, 200, 255), [0, 100, 200]),
        ("RGBA", (0, 100, 200, 102), [153, 193, 233]),
        ("LA", (100, 0), [255]),
        ("LA", (100, 255), [100]),
    ],
)
def test_transparent_images_are_laid_on_white(
    tmp_path: Path, mode: str, colour: tuple[int, ...], pixel: list[int]
) -> None:
    grey_classes(tmp_path)
    Image.new(mode, (SIDE, SIDE), colour).save(tmp_path / "cat" / "odd.png")
    data = load(tmp_path)
    assert one_image(tmp_path, data, "cat/odd.png").tolist() == pixel
    assert any("1 of 13 images are transparent and are laid on white" in note for note in data.notes)


def test_palettes_become_rgb_with_their_transparent_colour_on_white(tmp_path: Path) -> None:
    grey_classes(tmp_path)
    image = Image.new("P", (SIDE, SIDE), 1)
    image.putpalette([9, 9, 9, 50, 60, 70])
    image.save(tmp_path / "cat" / "odd.png")
    assert one_image(tmp_path, load(tmp_path), "cat/odd.png").tolist() == [50, 60, 70]
    image.save(tmp_path / "cat" / "odd.png", transparency=1)
    data = load(tmp_path)
    assert one_image(tmp_path, data, "cat/odd.png").tolist() == [255] * 3
    assert any("1 of 13 images have a palette" in note for note in data.notes)


def test_printing_colours_become_rgb(tmp_path: Path) -> None:
    grey_classes(tmp_path)
    Image.new("CMYK", (SIDE, SIDE), (0, 0, 0, 0)).save(tmp_path / "cat" / "odd.jpg")
    assert one_image(tmp_path, load(tmp_path), "cat/odd.jpg").tolist() == [255] * 3


def test_the_orientation_that_a_camera_recorded_is_applied(tmp_path: Path) -> None:
    two_classes(tmp_path)
    upright = picture(5, 16, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "cat" / "turned.png", exif=exif)
    upright.save(tmp_path / "dog" / "upright.png")
    data = load(tmp_path, "/@8")
    images = [image.numpy().tobytes() for image in torch.cat([data.train.images, data.test.images])]
    assert images.count(expected(upright, 8).tobytes()) == 2


def test_of_an_animated_image_the_first_frame_is_taken(tmp_path: Path) -> None:
    grey_classes(tmp_path)
    frames = [Image.new("L", (SIDE, SIDE), value) for value in (10, 200)]
    frames[0].save(tmp_path / "cat" / "odd.gif", save_all=True, append_images=frames[1:])
    assert set(one_image(tmp_path, load(tmp_path), "cat/odd.gif").tolist()) == {10}


# What is said of what is wrong


def bomb(path: Path) -> None:
    """A PNG of a few dozen bytes that claims 100,000 x 100,000 pixels."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0), b"IDAT")
    framed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))


def truncated(path: Path) -> None:
    picture(0, 64, 64).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def looped(folder: Path) -> None:
    (folder / "cat" / "again").symlink_to(folder / "cat")


def empty_class(folder: Path) -> None:
    (folder / "emu").mkdir()


def secret(path: Path) -> None:
    path.write_bytes(b"")
    path.unlink()
    path.symlink_to("/nowhere/at/all.png")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "cat" / "x.png").write_text("no image"), "cat/x.png is not an image that Pillow opens"),
        (lambda f: (f / "cat" / "x.png").write_bytes(b""), "cat/x.png is not an image that Pillow opens"),
        (lambda f: (f / "cat" / "x.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EOF"),
         "cat/x.eps is not an image that Pillow opens"),
        (lambda f: truncated(f / "cat" / "x.png"), "cat/x.png is broken or was cut short"),
        (lambda f: bomb(f / "cat" / "x.png"), "cat/x.png claims to have more than 89,478,485 pixels"),
        (lambda f: Image.new("F", (8, 8)).save(f / "cat" / "x.tif"), "cat/x.tif has floating-point pixels"),
        (lambda f: Image.new("I", (8, 8), 70_000).save(f / "cat" / "x.tif"), "x.tif has pixels of more than 16 bits"),
        (lambda f: secret(f / "cat" / "x.png"), "cannot read"),
        (looped, "cat/again is a link to a folder that it lies in"),
        (lambda f: (f / "cat" / "again").symlink_to("again"), "cannot read"),
        (lambda f: os.mkfifo(f / "cat" / "x.png"), "cat/x.png is neither a file nor a folder"),
        (empty_class, "emu holds no images"),
        (lambda f: picture(0).save(f / "x.png"), "x.png lies beside folders, in none of them"),
        (lambda f: class_folder(f / "new\nline", 3), "new\\nline' names a class by what cannot be printed"),
        (lambda f: (f / "cat" / "new\nline.png").write_text("no image"), "new\\nline.png' is not an image"),
        (lambda f: class_folder(f / "emu", 3), "has 3 of class 'emu'; at least 4 are needed"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_folder_is_named(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(two_classes(tmp_path))
    assert message in refusal(tmp_path)
    assert message in refusal(tmp_path, available_bytes=LITTLE)


def test_what_is_wrong_in_the_layout_is_named(tmp_path: Path) -> None:
    class_folder(tmp_path / "flat", 3)
    assert "holds files, such as" in refusal(tmp_path / "flat") and "FOLDER/cat/1.png" in refusal(tmp_path / "flat")
    (tmp_path / "empty").mkdir()
    assert "empty has no class folders" in refusal(tmp_path / "empty")
    class_folder(tmp_path / "one" / "cat", 3)
    assert "has one class only" in refusal(tmp_path / "one")
    class_folder(tmp_path / "two" / "my photos" / "cat", 3)
    assert refusal(tmp_path / "two").endswith(
        f"name the folder that they lie in: --data '{tmp_path / 'two/my photos'}'"
    )


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("test/emu", "test/emu is a class without training images"),
        ("extra/cat", "extra lies beside parts, and is not one of train, test"),
        ("val/cat", "validation has 3 images of class 'cat'"),
        ("test", "lies beside folders"),
    ],
)
def test_parts_that_do_not_fit_are_named(tmp_path: Path, part: str, message: str) -> None:
    two_classes(tmp_path / "train")
    class_folder(tmp_path / part, 3)
    if part == "val/cat":
        message = "validation has 0 images of class 'dog'; at least 2 are needed"
    if part == "test":
        message = "test/0.png lies beside folders, in none of them"
    assert message in refusal(tmp_path)


def test_parts_without_training_images_are_not_taken_for_classes(tmp_path: Path) -> None:
    for part in ("test", "val"):
        two_classes(tmp_path / part)
    assert "has a folder test and no folder train" in refusal(tmp_path)


def test_a_class_may_be_called_like_a_part(tmp_path: Path) -> None:
    for name in ("test", "train"):
        class_folder(tmp_path / name, 6, first=ord(name[1]))
    assert load(tmp_path).classes == ("test", "train")


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions would not do: whoever runs the tests may be root, who may read everything."""
    two_classes(tmp_path)
    scandir = os.scandir

    def refuse(folder: Path) -> Any:
        if Path(folder).name == "cat":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "cannot read" in refusal(tmp_path)


def test_an_image_that_does_not_fit_in_memory_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(image: Image.Image) -> None:
        raise MemoryError

    two_classes(tmp_path)
    monkeypatch.setattr(Image.Image, "load", too_much)
    assert "does not fit in memory" in refusal(tmp_path)


def test_every_kind_of_data_is_listed_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"images\.zip is a file of no known kind.*FILE\.npz.*FILE\.parquet.*FOLDER"):
        load_images(str(tmp_path / "images.zip"))
    with pytest.raises(UsageError, match="there is no data set"):
        load_images(str(tmp_path / "nowhere"))


def test_random_damage_to_image_files_is_harmless_or_named(tmp_path: Path) -> None:
    two_classes(tmp_path, 4)
    draws = np.random.default_rng(0)
    messages = []
    for kind in ("png", "jpg", "gif", "bmp", "tif", "webp"):
        file = tmp_path / "cat" / f"odd.{kind}"
        picture(1, 16, 16).save(file)
        content = np.frombuffer(file.read_bytes(), np.uint8)
        for _ in range(25):
            damaged = content.copy()
            damaged[draws.integers(0, len(content), 4)] = noise(int(draws.integers(1000)), 4)
            file.write_bytes(damaged.tobytes())
            try:
                load_images(str(tmp_path))
            except LatnasError as error:
                messages.append(str(error))
        file.unlink()
    assert len(messages) > 20 and all("cat/odd." in message for message in messages)
