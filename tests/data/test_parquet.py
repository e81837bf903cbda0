"""Parquet files of images, written by pyarrow as the `datasets` library writes them."""

from __future__ import annotations

import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import picture, refusal

from latnas.data.sources import load_images
from latnas.errors import LatnasError, UsageError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

LITTLE = 1000


def encoded(seed: int, kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    picture(seed, **how).save(buffer, kind)
    return buffer.getvalue()


def described(label: str, names: Any) -> dict[str, str]:
    features = {"image": {"_type": "Image"}, label: {"_type": "ClassLabel", "names": names}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def saved(
    file: Path, count: int = 12, *, first: int = 0, image_column: str = "image", label_column: str = "label",
    names: Any = ("cat", "dog"), **columns: Any
) -> Path:  # fmt: skip
    """`count` images of two classes in turn, in row groups of five; `columns` replace some or are added."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        image_column: [{"bytes": encoded(first + row), "path": f"{row}.png"} for row in range(count)],
        label_column: [row % 2 for row in range(count)],
    } | columns
    table = pa.table(content)
    if names is not None:
        table = table.replace_schema_metadata(described(label_column, list(names)))
    pq.write_table(table, file, row_group_size=5)
    return file


def pixels(first: int, count: int) -> torch.Tensor:
    images = [np.asarray(picture(first + row)).transpose(2, 0, 1) for row in range(count)]
    return torch.from_numpy(np.stack(images))


@pytest.mark.parametrize("label", ["label", "fine_label", "labels"])
@pytest.mark.parametrize("image", ["image", "img"])
def test_a_folder_of_parts_is_read_with_the_names_of_its_classes(tmp_path: Path, image: str, label: str) -> None:
    saved(tmp_path / "train.parquet", image_column=image, label_column=label)
    saved(tmp_path / "test.parquet", 4, first=100, image_column=image, label_column=label)
    data = load_images(str(tmp_path))
    assert data.train.images[:].equal(pixels(0, 12)) and data.test.images[:].equal(pixels(100, 4))
    assert data.classes == ("cat", "dog") and data.train.labels.tolist() == [0, 1] * 6 and data.notes == ()


@pytest.mark.parametrize("inner", ["data", "plain_text", "."])
def test_numbered_files_in_a_folder_or_one_below_are_read_in_their_order(tmp_path: Path, inner: str) -> None:
    for number in range(3):
        saved(tmp_path / inner / f"train-0000{number}-of-00003.parquet", 6, first=6 * number)
    saved(tmp_path / inner / "validation-00000-of-00001.parquet", 4, first=50)
    saved(tmp_path / inner / "test-00000-of-00001.parquet", 2, first=100)
    data = load_images(str(tmp_path))
    assert data.train.images[:18].equal(pixels(0, 18)) and data.train.images[18:].equal(pixels(50, 4))
    assert data.validation == 4 and len(data.test) == 2


@pytest.mark.parametrize("inner", ["data", "."])
def test_hidden_files_are_left_out_and_endings_may_be_in_capitals(tmp_path: Path, inner: str) -> None:
    saved(tmp_path / inner / "Train.PARQUET")
    saved(tmp_path / inner / "test.Parquet", 4, first=100)
    (tmp_path / inner / "._Train.parquet").write_bytes(b"what macOS keeps")
    saved(tmp_path / ".cache" / "train.parquet", first=50)
    data = load_images(str(tmp_path))
    assert data.train.images[:].equal(pixels(0, 12)) and data.test.images[:].equal(pixels(100, 4))


def test_of_a_single_file_a_sixth_is_held_out(tmp_path: Path) -> None:
    data = load_images(str(saved(tmp_path / "pets.parquet", 24)))
    assert data.name == "pets" and (len(data.train), len(data.test)) == (20, 4)


@pytest.mark.parametrize("kind", ["binary", "large_binary"])
def test_bytes_need_not_lie_in_a_struct_and_names_need_not_be_given(tmp_path: Path, kind: str) -> None:
    images = pa.array([encoded(row) for row in range(12)], getattr(pa, kind)())
    saved(tmp_path / "train.parquet", names=None, image=images)
    saved(tmp_path / "test.parquet", 2)
    data = load_images(str(tmp_path))
    assert data.classes == ("0", "1") and data.train.images[:].equal(pixels(0, 12))


def test_what_is_decoded_later_is_what_would_be_held(tmp_path: Path) -> None:
    file = saved(tmp_path / "pets.parquet", 200)
    held, decoded = load_images(f"{file}@12"), load_images(f"{file}@12", available_bytes=LITTLE)
    wanted = torch.randperm(len(held.train), generator=torch.Generator().manual_seed(0))
    assert decoded.train.images[wanted].equal(held.train.images[wanted])
    assert decoded.train.take(wanted[:50]).images[10:20].equal(held.train.images[wanted[10:20]])
    assert decoded.fingerprint == held.fingerprint


def test_copied_images_leave_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    data = load_images(str(saved(tmp_path / "pets.parquet")), available_bytes=LITTLE)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert len(data.train.images[:]) == len(data.train)


# What is said of what is wrong


def truncated(file: Path) -> None:
    saved(file)
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [{"bytes": None, "path": "a.png"}] * 12}, "holds struct<bytes: null, path: string>"),
        ({"image": [{"bytes": encoded(0)}] * 11 + [{"bytes": None}]}, "rows without the bytes of an image"),
        ({"image": [{"bytes": encoded(0)}] * 11 + [None]}, "rows without the bytes of an image, or without a label"),
        ({"image": [{"path": "a.png"}] * 12}, "image holds struct<path: string>, not the bytes of image files"),
        ({"image": ["a.png"] * 12}, "image holds string, not the bytes"),
        (
            {"image": [{"bytes": encoded(0)}] * 11 + [{"bytes": b"no image"}]},
            "row 11 is not an image that Pillow opens",
        ),
        ({"image": [{"bytes": encoded(0)}] * 11 + [{"bytes": encoded(0)[:-40]}]}, "row 11 is broken or was cut short"),
        ({"label": [0, None] * 6}, "rows without the bytes of an image, or without a label"),
        ({"label": ["cat", "dog"] * 6}, "label holds string; labels must be integers"),
        (
            {"label": [-1] * 12},
            "has the label -1; labels must be 0..K-1. If it means no label, drop these images or label",
        ),
        ({"label": [0] * 12}, "has one class only, 'cat'"),
        ({"label": [0, 5] * 6}, "has the label 5, but classes names 0..1 only"),
        ({"label": [0] * 10 + [1] * 2}, "has 2 of class 'dog'; at least 4 are needed"),
        ({"names": ["cat", "cat"]}, "the huggingface metadata has a name twice"),
        ({"names": ["cat", "new\nline"]}, "an empty or unprintable one"),
        ({"names": [1, 2]}, "names the classes by what is not text"),
        ({"names": ["cat", "dog", "emu"]}, "lacks the labels 2"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    how = {"names": columns.pop("names")} if "names" in columns else {}
    assert message in refusal(write(tmp_path / "pets.parquet", columns, **how))


def write(file: Path, columns: dict[str, Any], names: Any = ("cat", "dog")) -> Path:
    content = {"image": [{"bytes": encoded(row)} for row in range(12)], "label": [0, 1] * 6} | columns
    pq.write_table(pa.table(content).replace_schema_metadata(described("label", list(names))), file)
    return file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a Parquet file: it is empty"),
        (pickle.dumps({"image": 1}), "looks like a Python pickle, which could execute code and is never opened"),
        (b"label,image\n", "it begins with b'labe' where a Parquet file begins with b'PAR1'"),
        (b"PAR1", "is damaged or was cut short"),
        (b"PAR1" + bytes(100) + b"PAR1", "is damaged or was cut short"),
        (b"PAR1" + b"\xff" * 100 + b"\xff\xff\xff\x7fPAR1", "is damaged or was cut short"),
    ],
)
def test_what_is_no_parquet_file_is_told_apart(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "pets.parquet").write_bytes(content)
    assert message in refusal(tmp_path / "pets.parquet")


def test_a_file_cut_short_and_one_with_other_columns_are_named(tmp_path: Path) -> None:
    truncated(tmp_path / "cut.parquet")
    assert "cut.parquet is damaged or was cut short" in refusal(tmp_path / "cut.parquet")
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "other.parquet")
    assert "has the columns text, label. It takes the layout" in refusal(tmp_path / "other.parquet")
    saved(tmp_path / "none.parquet", 0, image=pa.array([], pa.binary()), label=pa.array([], pa.int64()))
    assert "has no rows" in refusal(tmp_path / "none.parquet")


@pytest.mark.parametrize("metadata", [b"{", b"[" * 100_000, b"{}", b'{"info": 3}', b"\xff"])
def test_metadata_that_is_not_what_it_should_be_is_named(tmp_path: Path, metadata: bytes) -> None:
    table = pq.read_table(saved(tmp_path / "pets.parquet")).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "pets.parquet")
    assert "the huggingface metadata does not describe the column label" in refusal(tmp_path / "pets.parquet")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train.parquet", "unsupervised.parquet"], "unsupervised.parquet is named after none of train, test"),
        (["test.parquet"], "has no file train*.parquet"),
        (["one/train.parquet", "two/train.parquet"], "has Parquet files in several folders. Name one of them: /"),
        (["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"], "number 1 is missing"),
        (["train-0-of-999999999.parquet"], "number 1 is missing"),
    ],
)
def test_names_of_files_that_do_not_fit_are_named(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        saved(tmp_path / name)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize(
    ("other", "names", "how"),
    [
        ("train-00001-of-00002.parquet", ("dog", "cat"), "label 0 is 'cat' and 'dog'"),
        ("test.parquet", ("cat", "wolf"), "label 1 is 'wolf' and 'dog'"),
        ("test.parquet", ("cat", "dog", "emu"), "3 and 2 classes"),
    ],
)
def test_files_that_name_the_classes_differently_are_both_named(
    tmp_path: Path, other: str, names: tuple[str, ...], how: str
) -> None:
    saved(tmp_path / "train-00000-of-00002.parquet")
    saved(tmp_path / "train-00001-of-00002.parquet", names=None)
    saved(tmp_path / other, names=names)
    said = refusal(tmp_path)
    assert "train-00000-of-00002.parquet" in said and other in said
    assert f"name the classes differently: {how}. Save both" in said


def test_one_training_file_that_names_the_classes_is_enough(tmp_path: Path) -> None:
    saved(tmp_path / "train-00000-of-00002.parquet")
    saved(tmp_path / "train-00001-of-00002.parquet", names=None)
    assert load_images(str(tmp_path)).classes == ("cat", "dog")


def test_test_images_without_labels_are_told_from_wrong_labels(tmp_path: Path) -> None:
    saved(tmp_path / "train.parquet", 24)
    hidden = saved(tmp_path / "test.parquet", 4, label=[-1] * 4)
    assert f"{hidden} is unlabelled: every label is -1. Take the file out: a sixth" in refusal(tmp_path)
    saved(hidden, 4, label=[0, -1, 1, -1])
    assert f"{hidden}: label has the label -1; labels must be 0..K-1. If it means no label" in refusal(tmp_path)
    hidden.unlink()
    assert len(load_images(str(tmp_path)).test) == 4


def test_without_pyarrow_the_command_that_installs_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(tmp_path / "pets.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"needs pyarrow: \S+ -m pip install 'latnas\[hf\]'"):
        load_images(str(file))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no .*nothing\.parquet"):
        load_images(str(tmp_path / "nothing.parquet"))


def test_random_damage_to_a_file_is_harmless_or_named(tmp_path: Path) -> None:
    content = np.frombuffer(saved(tmp_path / "pets.parquet").read_bytes(), np.uint8)
    draws = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = content.copy()
        damaged[draws.integers(4, len(content), 3)] = draws.integers(0, 256, 3)
        (tmp_path / "pets.parquet").write_bytes(damaged.tobytes())
        try:
            load_images(str(tmp_path / "pets.parquet"))
        except LatnasError:
            refused += 1
    assert refused > 20
