"""Files are whole or not there; a file of JSON lines survives being cut at any byte."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latnas.errors import LatnasError
from latnas.words.files import append_line, make_lasting, read_json, read_lines, write_atomically, write_json

RECORDS = [{"step": 1, "loss": 0.5}, {"step": 2, "note": "a\u2028b\u0085\n"}, {"step": 3}]


@contextmanager
def full_disk_after(size: int) -> Iterator[None]:
    """Within this block no file of this process grows beyond `size` bytes: a real write that really fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_written_is_read_whether_text_or_bytes(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, "3 \u00b5s\n")
    assert path.read_bytes() == b"3 \xc2\xb5s\n"
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [found.name for found in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_others_may_read_a_file_as_far_as_the_user_s_mask_allows(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "file", "x")
        append_line(tmp_path / "lines", 1)
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "lines")] == [mode, mode]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_atomically(path, "old")
    with full_disk_after(100), pytest.raises(LatnasError, match=rf"cannot write {path}: .*\. Free space there"):
        write_atomically(path, "new" * 100)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["table.json"]


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (errno.ENOSPC, "Free space there, or name another folder."),
        (errno.EROFS, "Name another folder."),
        (errno.EACCES, "Name another folder."),
    ],
)
def test_where_nothing_may_be_written_nobody_is_told_to_free_space(
    reason: int, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(LatnasError) as caught:
        write_atomically(tmp_path / "table.json", "x")
    assert str(caught.value) == f"cannot write {tmp_path / 'table.json'}: {os.strerror(reason)}. {advice}"


def test_a_write_that_is_interrupted_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.json"
    write_atomically(path, "old")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["table.json"]


@pytest.mark.parametrize("name", ["table.json", "a [1]*?.json"])
def test_what_a_write_left_that_was_killed_is_gone_with_the_next_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    script = (
        "import os, pathlib, signal, sys; from latnas.words.files import write_atomically; "
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL); "
        "write_atomically(pathlib.Path(sys.argv[1]), 'half')"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.read_text() == "half" and left != path
    write_atomically(tmp_path / "another", "x")
    assert left.exists()
    write_atomically(path, "whole")
    assert {found.name: found.read_text() for found in tmp_path.iterdir()} == {"another": "x", name: "whole"}


@pytest.mark.parametrize("content", ["first", ""])
def test_a_write_that_goes_on_is_not_disturbed_by_another_one_of_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path, waiting = tmp_path / "table.json", ["second"]

    def meanwhile(descriptor: int) -> None:
        while waiting:
            write_atomically(path, waiting.pop())

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_atomically(path, content)
    assert {found.name: found.read_text() for found in tmp_path.iterdir()} == {"table.json": content}


def test_where_there_are_no_locks_files_are_written_and_nothing_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    (tmp_path / ".table.json.01234567.part").write_text("half")
    write_atomically(tmp_path / "table.json", "whole")
    assert {found.name for found in tmp_path.iterdir()} == {".table.json.01234567.part", "table.json"}


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "folder", tmp_path / "file" / "below"):
        with pytest.raises(LatnasError, match=f"cannot write {path}"):
            write_atomically(path, "x")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file", "folder"]


def test_json_is_read_back_and_never_holds_what_is_not_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [1, None, 0.1]})
    assert read_json(tmp_path / "a.json") == {"x": [1, None, 0.1]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert read_json(tmp_path / "a.json") == {"x": [1, None, 0.1]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not valid JSON"),
        (b'{"a": 1', "is not valid JSON .*It was cut short or edited"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"1" * 5000, "is not valid JSON"),  # more digits than Python takes
        (b"\xff\xfe", "cannot read .*: it is not text"),
    ],
)
def test_what_is_not_json_is_refused_with_the_file(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(LatnasError, match=problem) as caught:
        read_json(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LatnasError, match=rf"cannot read {tmp_path}/none\.json: No such file"):
        read_json(tmp_path / "none.json")


# JSON lines


def written(path: Path) -> bytes:
    for record in RECORDS:
        append_line(path, record)
    return path.read_bytes()


def test_lines_are_read_in_the_order_in_which_they_were_appended(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    assert list(read_lines(path)) == []
    assert written(path).count(b"\n") == len(RECORDS)
    assert list(read_lines(path)) == RECORDS


def test_cut_at_any_byte_the_whole_lines_are_read_and_the_next_record_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    content = written(path)
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        whole = RECORDS[: content[:size].count(b"\n")]
        assert list(read_lines(path)) == whole
        append_line(path, {"step": 9})
        assert list(read_lines(path)) == [*whole, {"step": 9}]


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\xff\xfe", b"x" * 100_000])
def test_whatever_a_crash_left_after_the_last_newline_is_gone_with_the_next_record(tail: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(written(path) + tail)
    append_line(path, {"step": 9})
    assert list(read_lines(path)) == [*RECORDS, {"step": 9}]


def test_a_record_that_the_full_disk_cut_is_dropped_and_the_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    size = len(written(path))
    with full_disk_after(size + 10), pytest.raises(LatnasError, match="cannot write"):
        append_line(path, {"step": 4, "note": "x" * 50})
    assert list(read_lines(path)) == RECORDS
    append_line(path, {"step": 4})
    assert list(read_lines(path)) == [*RECORDS, {"step": 4}]


def test_what_is_to_outlast_a_power_cut_is_given_to_the_disk_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, given = tmp_path / "log.jsonl", list[int]()
    monkeypatch.setattr(os, "fsync", lambda descriptor: given.append(os.fstat(descriptor).st_ino))
    make_lasting(log)
    assert not given and not log.exists()
    append_line(log, 1)
    make_lasting(log)
    assert given == [log.stat().st_ino] and list(read_lines(log)) == [1]

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LatnasError, match=r"cannot write .*log\.jsonl: No space left on device\. Free space there"):
        make_lasting(log)


def test_a_record_that_is_not_json_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    content = written(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_line(path, {"loss": float("inf")})
    assert path.read_bytes() == content


@pytest.mark.parametrize("line", ["{", "", "1" * 5000, "[" * 100_000])
def test_a_whole_line_that_is_not_json_is_refused_with_its_number(line: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n')
    lines = read_lines(path)
    assert next(lines) == {"step": 1}
    with pytest.raises(LatnasError, match=rf"{path}, line 2 is not valid JSON"):
        next(lines)


def test_a_log_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(LatnasError, match="cannot read"):
        list(read_lines(tmp_path / "log.jsonl"))
