"""Disks that are full or read only, and two commands in one run: one message, nothing half, and the same result later.

As root every permission is granted, so the calls that reach the file system refuse by themselves.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from damages import clear
from small import EXPORT, PROFILE, SEARCH, as_typed, contents, copied, front_in, run_in
from typed_here import FAILED, complaint, everything, type_here

from latnas.stages.common.runs import RunFolder
from latnas.stages.profile.rig import alone
from latnas.words.export_set import PARTS, SET, load_set

PROFILED = ["profile", *as_typed(PROFILE), "--quiet"]
SEARCHED = ["search", *as_typed(SEARCH), "--quiet"]
EXPORTED = ["export", *as_typed(EXPORT), "--lambda", "0", "--quiet"]
VARYING = {"created", "seconds"}
"""When a table or a manifest was made, and how long it took."""


class Disk:
    """Refuses some of what is opened for writing, made or renamed below a folder.

    `refuses` is asked with the path for each; the path of a temporary file is that of the file that it is for.
    """

    def __init__(self, folder: Path, refuses: Callable[[str], bool], reason: int) -> None:
        self._folder, self._refuses, self._reason = folder, refuses, reason

    def check(self, path: Any) -> None:
        found = Path(os.path.abspath(os.fsdecode(path)))
        if found.is_relative_to(self._folder):
            # .name.json.abcd1234.part
            name = found.name[1:].rsplit(".", 2)[0] if found.name.endswith(".part") else found.name
            if self._refuses(str(found.with_name(name))):
                raise OSError(self._reason, os.strerror(self._reason), str(found))

    @contextmanager
    def installed(self) -> Iterator[None]:
        open_, io_open, mkdir, replace, symlink = os.open, io.open, os.mkdir, os.replace, os.symlink

        def low_open(path: Any, flags: int, *more: Any, **named: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.check(path)
            return open_(path, flags, *more, **named)

        def high_open(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            if not isinstance(file, int) and set(mode) & set("wax+"):
                self.check(file)
            return io_open(file, mode, *more, **named)

        def make(path: Any, *more: Any, **named: Any) -> None:
            if not os.path.isdir(path):
                self.check(path)
            mkdir(path, *more, **named)

        def rename(old: Any, new: Any, **named: Any) -> None:
            self.check(new)
            replace(old, new, **named)

        def link(source: Any, target: Any, *more: Any, **named: Any) -> None:
            self.check(target)
            symlink(source, target, *more, **named)

        with pytest.MonkeyPatch.context() as patched:
            for module, name, function in (
                (os, "open", low_open), (io, "open", high_open), (builtins, "open", high_open), (os, "mkdir", make),
                (os, "replace", rename), (os, "symlink", link),
            ):  # fmt: skip
                patched.setattr(module, name, function)
            yield


def sound_result(folder: Path) -> dict[str, Any]:
    """What a command leaves for the next one, without times of day."""
    found: dict[str, Any] = {}
    for path, content in contents(folder).items():
        if path.endswith((".json", ".onnx")) and "/.partial/" not in path:
            value = json.loads(content) if path.endswith(".json") else len(content)
            kept = {k: v for k, v in value.items() if k not in VARYING} if isinstance(value, dict) else value
            for network in kept.get("networks", ()) if path.endswith("set.json") else ():
                network["files"].pop("manifest.json")  # its hash is another at another time of day
            found[path] = kept
    return found


COMMANDS = {
    "profile": (PROFILED, ("latency_tables*",)),
    "search": (SEARCHED, ("runs*",)),
    "export": (EXPORTED, ("runs/*",)),
}


def prepared(command: str, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder in which the command is the next one."""
    before = {"profile": None, "search": "small_table", "export": "small_run"}[command]
    folder = tmp_path / "here"
    if before is None:
        folder.mkdir()
        return folder
    return copied(request.getfixturevalue(before), folder)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_is_full_once_for_every_file_costs_one_message_each_and_changes_no_result(
    command: str, plain_environment: None, request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The first write to each file fails, and then the command is typed again: it goes on to the next file."""
    words, may_change = COMMANDS[command]
    folder = prepared(command, request, tmp_path)
    earlier = contents(folder)
    failed: set[str] = set()
    refused: list[str] = []

    def refuses(path: str) -> bool:
        kind = re.sub("[0-9a-f]{12}", "", path)  # of folders that are named by a digest, one speaks for all
        if kind in failed or path.endswith((".lock", "latest")):
            return False
        failed.add(kind)
        refused.append(path)
        return True

    monkeypatch.chdir(folder)
    disk = Disk(folder, refuses, errno.ENOSPC)
    for _attempt in range(100):
        before, already = everything(folder), len(refused)
        with disk.installed():
            shown = type_here(words)
        if shown.code == 0 and len(refused) == already:
            break
        assert shown.code == FAILED, (refused[-1], shown)
        assert complaint(shown, before, everything(folder), may_change) is None
        assert {path: content for path, content in contents(folder).items() if path in earlier} == earlier
    else:
        pytest.fail(f"does not end: {refused}")
    assert len(refused) > 3

    (tmp_path / "again").mkdir()
    undisturbed = prepared(command, request, tmp_path / "again")
    monkeypatch.chdir(undisturbed)
    assert type_here(words).code == 0
    assert sound_result(folder) == sound_result(undisturbed)


def test_a_disk_that_is_full_for_one_part_of_an_export_leaves_the_earlier_one_whole(here: Path) -> None:
    (front,) = run_in(here).glob("exports/*")
    folder = front / load_set(front / SET).networks[0].folder
    before, words = contents(folder), [*EXPORTED, "--seed", "1"]
    assert {path.name for path in folder.iterdir()} == PARTS
    for name in sorted(PARTS):
        with Disk(folder, lambda path, name=name: Path(path).name == name, errno.ENOSPC).installed():
            shown = type_here(words)
        assert shown.code == FAILED and f"cannot write {folder.relative_to(here) / name}: " in shown.stderr
        assert contents(folder) == before
    assert type_here(words).code == 0
    after = contents(folder)
    assert {name for name in PARTS if after[name] == before[name]} <= {"measure.py", "model.py"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_is_read_only_costs_one_message(
    command: str, plain_environment: None, request: pytest.FixtureRequest, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = prepared(command, request, tmp_path)
    monkeypatch.chdir(folder)
    before = everything(folder)
    with Disk(folder, lambda path: True, errno.EROFS).installed():
        shown = type_here(COMMANDS[command][0])
    assert shown.code == FAILED
    assert complaint(shown, before, everything(folder)) is None


def test_a_prediction_needs_no_room_and_no_right_to_write(here: Path) -> None:
    before = everything(here)
    with Disk(here, lambda path: True, errno.EROFS).installed():
        assert type_here(["predict", "--run", "latest", "--quiet"]).code == 0
    assert everything(here) == before


@pytest.mark.parametrize("words", [EXPORTED, SEARCHED], ids=["export", "search"])
def test_while_one_command_works_on_a_run_another_says_so(words: list[str], here: Path) -> None:
    before = everything(here)
    with RunFolder(run_in(here)).lock():
        shown = type_here(words)
    assert shown.code == FAILED and "another latnas is working on" in shown.stderr
    assert "Wait for it, then type the same command again" in shown.stderr
    assert complaint(shown, before, everything(here)) is None


def test_while_one_profile_measures_for_a_table_another_says_so(here: Path) -> None:
    (table,) = (here / "latency_tables").glob("*.json")
    with alone(table.parent, table.stem, None):
        before = everything(here)
        for words in (PROFILED, [*PROFILED, "--verify", "2"]):
            shown = type_here(words)
            place = table.relative_to(here)
            assert shown.code == FAILED and f"another latnas is working on {place}. Wait for it, then" in shown.stderr
            assert complaint(shown, before, everything(here)) is None
        assert type_here([*PROFILED, "--width", "2"]).code == 0, "another table is another matter"
    assert type_here(PROFILED).code == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # of os.fork, since Python 3.12
def test_of_two_searches_at_once_one_finishes_and_the_other_says_why_not_or_finishes_too(
    here: Path, plain_environment: None
) -> None:
    """Two processes, begun together: the front is that of a search that was alone."""
    front = front_in(here) / "front.json"
    alone = front.read_bytes()
    for path in [*front.parent.glob("proposals-*.json"), front, *front.parent.glob("search.safetensors")]:
        clear(path)
    child = os.fork()
    if child == 0:
        os._exit(type_here(SEARCHED).code)
    codes = {type_here(SEARCHED).code, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}
    assert 0 in codes and codes <= {0, FAILED}
    assert front.read_bytes() == alone


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # of os.fork, since Python 3.12
def test_of_two_exports_at_once_one_finishes_and_the_other_says_why_not_or_finishes_too(
    here: Path, plain_environment: None
) -> None:
    """Two processes, begun together: what lies there afterwards is what one alone leaves."""
    for path in run_in(here).glob("exports/*/*/m*"):
        clear(path)
    child = os.fork()
    if child == 0:
        os._exit(type_here(EXPORTED).code)
    codes = {type_here(EXPORTED).code, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}
    assert 0 in codes and codes <= {0, FAILED}
    together = left_in_exports(here)
    assert type_here(EXPORTED).code == 0
    assert left_in_exports(here) == together


def left_in_exports(here: Path) -> dict[str, Any]:
    """Files and manifests of the budgets, without when they were made and what neighbours did to single calls."""
    found: dict[str, Any] = {}
    for path in sorted(run_in(here).glob("exports/*/[0-9]*/*")):
        if path.suffix == ".json":
            value = json.loads(path.read_text())
            found[str(path)] = {key: value[key] for key in value.keys() - {"created", "raw_ms"}}
        else:
            found[str(path)] = path.read_bytes()
    return found


def test_an_exports_folder_that_is_read_only_costs_one_message_and_leaves_earlier_exports(here: Path) -> None:
    before, exports = everything(here), run_in(here) / "exports"
    with Disk(exports, lambda path: True, errno.EROFS).installed():
        shown = type_here(EXPORTED)
    assert shown.code == FAILED and "cannot write" in shown.stderr and "measurements.jsonl" in shown.stderr
    assert complaint(shown, before, everything(here)) is None
