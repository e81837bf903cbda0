"""How much memory is free: no more than any control group of this process has left, as a made-up kernel tells it."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from image_files import two_classes

from latnas.data import encoded, idx, memory
from latnas.data.memory import free_bytes
from latnas.data.sources import load_images
from latnas.errors import LatnasError

FREE = 64_000
"""Bytes that the machine has free."""

V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
UNLIMITED_1 = 9223372036854771712


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=FREE))


def within(root: Path, *lines: str) -> None:
    """Says which groups this process is in."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))


def group_1(root: Path, path: str, limit: int, usage: int, inactive: int = 0) -> None:
    folder = root / V1 / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"cache 9\ninactive_file 1\ntotal_inactive_file {inactive}\n")


def group_2(root: Path, path: str, limit: int | str, usage: int, inactive: int = 0) -> None:
    folder = root / V2 / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 9\ninactive_anon 9\ninactive_file {inactive}\nslab 9\n")


def test_a_machine_without_groups_has_free_what_it_says(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) == FREE
    within(tmp_path, "0::/user.slice/a")
    assert free_bytes(tmp_path) == FREE


def test_a_group_has_free_what_its_limit_leaves_and_the_cache_that_it_has_not_used_lately(tmp_path: Path) -> None:
    within(tmp_path, "0::/job")
    group_2(tmp_path, "job", 5000, 3000)
    assert free_bytes(tmp_path) == 2000
    group_2(tmp_path, "job", 5000, 3000, inactive=700)
    assert free_bytes(tmp_path) == 2700
    group_2(tmp_path, "job", 100_000, 3000)
    assert free_bytes(tmp_path) == FREE
    group_2(tmp_path, "job", 5000, 6000)
    assert free_bytes(tmp_path) == 0


def test_in_the_first_version_the_cache_of_the_groups_within_counts_as_their_usage_does(tmp_path: Path) -> None:
    within(tmp_path, "12:cpu,cpuacct:/elsewhere", "7:hugetlb,memory:/slurm/job", "0::/init.scope")
    group_1(tmp_path, "slurm/job", 5000, 3000, inactive=700)
    group_1(tmp_path, "elsewhere", 10, 0)
    assert free_bytes(tmp_path) == 2700


@pytest.mark.parametrize("tightest", ["", "slurm", "slurm/job", "slurm/job/step"])
def test_of_groups_within_groups_the_one_with_least_left_counts(tightest: str, tmp_path: Path) -> None:
    within(tmp_path, "5:memory:/slurm/job/step", "0::/slurm/job/step")
    for path in ("", "slurm", "slurm/job", "slurm/job/step", "slurm/job/step/inner"):
        group_1(tmp_path / "first", path, 1000 if path == tightest else 2000 + len(path), 100)
        group_2(tmp_path / "second", path, 1000 if path == tightest else 2000 + len(path), 100)
    group_1(tmp_path / "first", "slurm/another", 1, 0)
    group_2(tmp_path / "second", "slurm/another", 1, 0)
    for version in ("first", "second"):
        (tmp_path / version / "proc").symlink_to(tmp_path / "proc")
        assert free_bytes(tmp_path / version) == 900


def test_a_container_whose_path_is_that_on_the_machine_finds_its_limit_at_the_top(tmp_path: Path) -> None:
    within(tmp_path, "5:memory:/docker/0123abcd", "0::/../docker/0123abcd")
    group_1(tmp_path, "", 4000, 1000)
    assert free_bytes(tmp_path) == 3000
    group_2(tmp_path, "", 3500, 1000)
    assert free_bytes(tmp_path) == 2500


def test_groups_without_a_limit_set_none(tmp_path: Path) -> None:
    within(tmp_path, "5:memory:/a", "0::/b/c")
    group_1(tmp_path, "a", UNLIMITED_1, 5000)
    group_2(tmp_path, "b", "max", 5000)
    group_2(tmp_path, "b/c", "max", 5000)
    assert free_bytes(tmp_path) == FREE


def test_what_the_kernel_does_not_say_sets_no_limit(tmp_path: Path) -> None:
    within(tmp_path, "0::/a/b/c", "1:name=systemd:/a", "0::/with:colon")
    for path in ("a", "a/b", "a/b/c", "with:colon"):
        group_2(tmp_path, path, 1000, 100)
    (tmp_path / V2 / "a/memory.current").unlink()
    (tmp_path / V2 / "a/b/memory.max").write_text("")
    (tmp_path / V2 / "a/b/c/memory.stat").unlink()
    (tmp_path / V2 / "with:colon/memory.max").unlink()
    assert free_bytes(tmp_path) == 900  # of the group that lacks its statistics alone
    group_2(tmp_path, "with:colon", 500, 0)
    assert free_bytes(tmp_path) == 500


def test_this_machine_s_own_groups_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    without_groups = 2**60
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=without_groups))
    assert 0 < free_bytes() <= without_groups


# Where it counts


def test_images_that_do_not_fit_into_a_quarter_of_what_a_container_has_left_are_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 12 * 3 * 8 * 8
    folder = two_classes(tmp_path / "images")
    within(tmp_path, "0::/")
    monkeypatch.setattr(encoded, "free_bytes", lambda: memory.free_bytes(tmp_path))
    for left, held in ((4 * needed, True), (4 * needed - 1, False)):
        group_2(tmp_path, "", 10**9, 10**9 - left)
        assert isinstance(load_images(str(folder)).train.images, torch.Tensor) == held


def test_an_idx_file_that_is_larger_than_what_a_container_has_left_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "train-labels-idx1-ubyte"
    file.write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 1000) + bytes(1000))
    within(tmp_path, "0::/")
    monkeypatch.setattr(idx, "free_bytes", lambda: memory.free_bytes(tmp_path))
    group_2(tmp_path, "", 1000, 0)
    assert len(idx.read_idx(file, 1)) == 1000
    group_2(tmp_path, "", 1000, 1)
    with pytest.raises(LatnasError, match="does not fit in memory"):
        idx.read_idx(file, 1)
