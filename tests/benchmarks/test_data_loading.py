"""The benchmark of loading images: the files that it makes, and what a process of its own says of them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import data_loading
import pytest
from PIL import Image

from latnas.data.sources import load_images

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Sixteen images of two classes, as Hugging Face keeps them."""

    def encoded(row: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (12, 12), (10 * row, 0, 0)).save(buffer, "PNG")
        return buffer.getvalue()

    columns = {
        "img": [{"bytes": encoded(row), "path": None} for row in range(16)],
        "label": [row % 2 for row in range(16)],
    }
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def test_a_folder_has_half_of_its_images_of_either_kind_and_as_many_of_each_size(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    data_loading.make_folder(file, 16, folder)
    for kind in ("png", "jpg"):
        sides = []
        for path in folder.rglob(f"*.{kind}"):
            with Image.open(path) as image:
                sides.append(image.size[0])
        assert sorted(sides) == sorted([*data_loading.SIDES] * 2)
    assert len(load_images(f"{folder}/@64").classes) == 2


@pytest.mark.parametrize("way", data_loading.MEMORY_FOR)
def test_either_way_takes_its_batches_and_says_so_in_json(
    file: Path, way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["data_loading.py", "--data", str(file), "--way", way, "--batches", "2"])
    data_loading.main()
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["side"]) == (16, 12)
    assert found["images_per_second"] > 0 and found["load_seconds"] > 0 and found["added_mb"] >= 0


def test_there_is_a_row_for_each_source_and_way(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []

    def apart(script: str, *words: str) -> dict[str, float]:
        asked.append(dict(zip(words[::2], words[1::2], strict=True)))
        return {"load_seconds": 1.0}

    monkeypatch.setattr(data_loading, "measured_apart", apart)
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["data_loading.py", "--data", str(file), "--count", "4", "--json", str(out)])
    data_loading.main()
    rows = json.loads(out.read_text())["rows"]
    assert [(row["source"], row["way"]) for row in rows] == [
        (source, way) for source in ("folder of PNG and JPEG", "Parquet") for way in data_loading.MEMORY_FOR
    ]
    assert [one["--way"] for one in asked] == [row["way"] for row in rows]
