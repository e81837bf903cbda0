"""Images of a run that lie elsewhere by now: --data names them, and they are used as the search used them."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import pytest
from small import contents, copied, export_config, run_in

from latnas.data.sources import load_images
from latnas.errors import LatnasError, UsageError
from latnas.stages.common.runs import RunFolder, choose_front, images_of, open_run
from latnas.stages.export import export
from latnas.words.manifest import load_manifest


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """A file of one's own with the digits that come along."""
    path = tmp_path / "my images" / "digits.npz"
    path.parent.mkdir()
    path.write_bytes(resources.files("latnas.data").joinpath("embedded", "digits.npz").read_bytes())
    return path


def run_with(tmp_path: Path, data: str) -> RunFolder:
    """A run that says that it was searched with digits that lay there."""
    run = RunFolder(tmp_path / "run")
    run.create({"space": "nasbench201", "data": data, "images": load_images("digits").fingerprint})
    return run


@pytest.mark.parametrize("recorded", ["digits", "/gone/digits.npz@unmirrored"])
def test_images_that_the_search_never_mirrored_are_not_mirrored_where_they_are_now(
    recorded: str, moved: Path, tmp_path: Path
) -> None:
    run = run_with(tmp_path, recorded)
    with pytest.raises(UsageError) as caught:
        images_of(run, str(moved))
    message = f"trainings of {run.path} never mirror its images, and that stays. Type: --data '{moved}@unmirrored'"
    assert str(caught.value) == message
    assert not images_of(run, f"{moved}@unmirrored").mirrors


def test_images_that_the_search_mirrored_are_mirrored_where_they_are_now(moved: Path, tmp_path: Path) -> None:
    run = run_with(tmp_path, "/gone/digits.npz")
    with pytest.raises(UsageError) as caught:
        images_of(run, f"{moved}@unmirrored")
    assert str(caught.value) == f"trainings of {run.path} mirror its images, and that stays. Type: --data '{moved}'"
    assert images_of(run, str(moved)).mirrors


@pytest.mark.parametrize("ending", ["", "@64", "@unmirrored", "@64@unmirrored"])
def test_images_that_are_gone_are_looked_for_where_one_says_with_the_same_ending(ending: str, tmp_path: Path) -> None:
    gone = f"{tmp_path / 'gone.npz'}{ending}"
    with pytest.raises(UsageError, match=r"was searched with --data .*gone\.npz.*, which is not here: ") as caught:
        images_of(run_with(tmp_path, gone))
    assert str(caught.value).endswith(f"If the images lie elsewhere, type the same command with --data PLACE{ending}")


def test_a_place_that_holds_no_images_any_more_may_be_named_anew_too(tmp_path: Path) -> None:
    """The folder where a disk was mounted stays."""
    (tmp_path / "mounted").mkdir()
    with pytest.raises(LatnasError, match=r"mounted, which cannot be read: .* has no class folders") as caught:
        images_of(run_with(tmp_path, str(tmp_path / "mounted")))
    assert str(caught.value).endswith("If the images lie elsewhere, type the same command with --data PLACE")


def test_where_other_images_lie_by_now_the_place_may_be_named_before_all_is_searched_anew(tmp_path: Path) -> None:
    run = run_with(tmp_path, "fashion-mini")
    with pytest.raises(LatnasError, match=r"the images of fashion-mini are not those .*elsewhere, type .*--data PLACE"):
        images_of(run)
    with pytest.raises(LatnasError) as caught:
        images_of(run, "fashion-mini")
    assert "PLACE" not in str(caught.value)


# Runs by their names


def test_a_folder_of_images_that_is_called_as_a_run_hides_it_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunFolder(Path("runs/pets"))
    run.create({"space": "nasbench201", "data": "pets", "images": "0"})
    Path("pets").mkdir()
    assert open_run("pets", Path("runs")).path == run.path
    with pytest.raises(UsageError, match="pets is not a run folder"):
        open_run("./pets", Path("elsewhere"))


def test_a_front_is_named_by_the_file_of_its_table_too(small_run: Path, tmp_path: Path) -> None:
    run = RunFolder(run_in(small_run))
    (table,) = (small_run / "latency_tables").glob("*.json")
    assert choose_front(run, str(table)) == table.stem
    other = tmp_path / "other.json"
    other.write_text(table.read_text().replace('"threads": 1', '"threads": 2'))
    with pytest.raises(UsageError, match=f"has no finished front for table .* It has: {table.stem}"):
        choose_front(run, str(other))


# Export


def without_its_images(folder: Path, here: Path) -> Path:
    """A copy, whose run records images in a place where nothing is."""
    config = run_in(copied(folder, here)) / "config.toml"
    config.write_text(config.read_text().replace('data = "digits"', 'data = "/gone/digits.npz@unmirrored"'))
    return here


def test_images_that_were_moved_do_not_make_an_export_train_again(
    exported_run: Path, moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = copied(exported_run, tmp_path / "here")
    before = contents(here)
    monkeypatch.setattr("latnas.stages.export.final_training.final_training_task", None)
    export(export_config(here, all=True, data=f"{moved}@unmirrored"))
    after = contents(here)
    changed = {Path(path).name for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed <= {"manifest.json", "measurements.jsonl", "set.json"}
    digests = {load_manifest(path).recipe_digest for path in here.glob("runs/*/exports/*/*/manifest.json")}
    originals = {load_manifest(path).recipe_digest for path in exported_run.glob("runs/*/exports/*/*/manifest.json")}
    assert digests == originals


def test_a_run_whose_images_are_gone_is_exported_with_those_that_are_named(
    exported_run: Path, moved: Path, tmp_path: Path
) -> None:
    here = without_its_images(exported_run, tmp_path / "here")
    shutil.rmtree(run_in(here) / "exports")
    with pytest.raises(UsageError, match="type the same command with --data PLACE@unmirrored"):
        export(export_config(here, all=True))
    made = export(export_config(here, all=True, data=f"{moved}@unmirrored"))
    for file in made:
        as_before = load_manifest(next(exported_run.glob(f"runs/*/exports/*/{file.folder.name}/manifest.json")))
        assert file.manifest.sha256 == as_before.sha256


def test_the_search_of_another_range_that_is_advised_names_the_images_where_they_are_now(
    small_run: Path, moved: Path, tmp_path: Path
) -> None:
    here = without_its_images(small_run, tmp_path / "here")
    with pytest.raises(UsageError) as caught:
        export(export_config(here, budgets=("1s",), data=f"{moved}@unmirrored"))
    command = str(caught.value).partition("Or search another range: latnas search ")[2]
    assert command == f"--from {run_in(here)} --data '{moved}@unmirrored' --budget-range FASTEST:SLOWEST"
