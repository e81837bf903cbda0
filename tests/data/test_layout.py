"""Folders of image files: which folders are parts, which are classes, and what is said where neither is clear."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_files import class_folder, refusal, two_classes

from latnas.data.sources import load_images


@pytest.mark.parametrize(("train", "test"), [("Training", "Testing"), ("training", "TEST"), ("Train", "testing")])
def test_parts_may_be_called_training_and_testing_in_any_case(tmp_path: Path, train: str, test: str) -> None:
    two_classes(tmp_path / train)
    two_classes(tmp_path / test, 2)
    data = load_images(str(tmp_path))
    assert data.classes == ("cat", "dog") and (len(data.train), len(data.test)) == (12, 4)


@pytest.mark.parametrize(
    ("train", "test"), [("training_set", "test_set"), ("seg_train/seg_train", "seg_test/seg_test")]
)
def test_parts_of_other_names_are_not_taken_for_classes(tmp_path: Path, train: str, test: str) -> None:
    two_classes(tmp_path / train)
    two_classes(tmp_path / test)
    class_folder(tmp_path / "more" / "more", 3)
    names = f"'{Path(test).parts[0]}' and '{Path(train).parts[0]}'"
    said = refusal(tmp_path)
    assert f"the folders {names} hold folders of the same names, such as 'cat' and 'dog'" in said
    assert "rename them to train and test" in said


def test_classes_may_each_hold_a_folder_of_the_same_name(tmp_path: Path) -> None:
    class_folder(tmp_path / "cat" / "images", 6)
    class_folder(tmp_path / "dog" / "images", 6, first=6)
    assert load_images(str(tmp_path)).classes == ("cat", "dog")


def test_a_class_with_files_of_its_own_shows_that_the_others_are_classes_too(tmp_path: Path) -> None:
    two_classes(tmp_path / "left")
    two_classes(tmp_path / "right")
    class_folder(tmp_path / "up", 6, first=12)
    assert load_images(str(tmp_path)).classes == ("left", "right", "up")


@pytest.mark.parametrize("part", ["", "train"])
def test_where_the_classes_lie_one_folder_deeper_this_folder_is_named(tmp_path: Path, part: str) -> None:
    two_classes(tmp_path / "dataset" / part)
    said = refusal(tmp_path)
    assert f"{tmp_path} has one class only, 'dataset', which holds folders" in said
    assert load_images(said.rpartition("--data ")[2]).classes == ("cat", "dog")


def test_a_single_class_is_named(tmp_path: Path) -> None:
    class_folder(tmp_path / "train" / "cat", 6)
    assert "train has one class only, 'cat'." in refusal(tmp_path)
