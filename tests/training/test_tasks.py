"""Independent tasks: results in their order, nothing done twice, and no process left behind.

Starting a worker takes seconds, since it imports torch; so a test asks for as few as it can.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

import psutil
import pytest
import torch
from PIL import Image
from small_tasks import DEADLINE_SECONDS

from latnas.data import sources
from latnas.data.images import ImageData
from latnas.data.sources import images_of_task, load_images
from latnas.errors import LatnasError, UsageError
from latnas.training.tasks import RESULT, Task, parse_executor, run_tasks, workers_kept

WITH_TASKS = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}


def answers(folder: Path, count: int = 3) -> list[Task]:
    return [Task("small_tasks:answer", {"answer": index**2}, folder / str(index)) for index in range(count)]


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_results_come_in_the_order_of_the_tasks_and_two_workers_give_what_one_process_gives(tmp_path: Path) -> None:
    def sums(where: str) -> list[Task]:
        return [Task("small_tasks:arithmetic", {"seed": seed}, tmp_path / where / str(seed)) for seed in range(2)]

    first = Task("small_tasks:wait_for", {"file": str(tmp_path / "1" / RESULT)}, tmp_path / "0")
    second = Task("small_tasks:answer", {"answer": 7}, tmp_path / "1")
    done: list[tuple[float, int]] = []
    results = run_tasks([first, second, *sums("workers")], 2, lambda *counts: done.append(counts))
    assert results[:2] == ["waited", 7]
    assert done == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert results[2:] == run_tasks(sums("here"), 0)
    assert results[2] != results[3]


def test_without_workers_the_arithmetic_has_one_thread_as_in_a_worker(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert run_tasks([Task("small_tasks:threads", {}, tmp_path)], 0) == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_without_workers_the_tasks_of_one_call_read_their_images_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def reading(spec: str) -> ImageData:
        read.append(spec)
        return load_images(spec)

    def tasks(where: str) -> list[Task]:
        return [Task("small_tasks:images", {"data": "digits"}, tmp_path / where / str(index)) for index in range(2)]

    monkeypatch.setattr(sources, "load_images", reading)
    assert run_tasks(tasks("first"), 0) == [1437, 1437] and read == ["digits"]
    assert run_tasks(tasks("second"), 0) == [1437, 1437] and read == ["digits"] * 2  # a file may have changed
    failing = [*tasks("third"), Task("small_tasks:fail", {"message": "no"}, tmp_path / "failing")]
    with pytest.raises(LatnasError, match="no"):
        run_tasks(failing, 0)
    assert images_of_task("digits") is not images_of_task("digits") and read == ["digits"] * 5


def test_workers_and_their_parent_share_the_memory_for_images(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for index in range(4):
            path = tmp_path / "images" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8)).save(path)
    quarter = 4 * 8 * 8 * 8
    sizes = {"data": str(tmp_path / "images"), "free": [quarter - 1, quarter, 3 * quarter - 1, 3 * quarter]}
    tasks = [Task("small_tasks:held", sizes, tmp_path / str(index)) for index in range(2)]
    assert run_tasks(tasks, 2) == [[False, False, False, True]] * 2
    assert run_tasks([Task("small_tasks:held", sizes, tmp_path / "here")], 0) == [[False, True, True, True]]


def test_how_far_running_tasks_are_counts_for_those_who_wait(tmp_path: Path) -> None:
    heard, done = tmp_path / "heard", list[tuple[float, int]]()

    def hear(*counts: float) -> None:
        done.append((counts[0], int(counts[1])))
        if counts[0] == 1.0:
            heard.touch()

    def halves(where: str, **config: str) -> list[Task]:
        return [Task("small_tasks:tell_halves", config, tmp_path / where / str(index)) for index in range(2)]

    assert run_tasks(halves("here"), 0, hear) == ["told", "told"]
    assert done == [(0.0, 2), (0.5, 2), (1.0, 2), (1.5, 2), (2.0, 2)]
    heard.unlink()
    done.clear()
    assert run_tasks(halves("workers", heard=str(heard)), 2, hear) == ["told", "told"]  # both halves are heard as one
    assert done == sorted(set(done)) and (1.0, 2) in done


def test_what_is_finished_is_not_done_again(tmp_path: Path) -> None:
    tasks = answers(tmp_path)
    assert run_tasks(tasks, 0) == run_tasks(tasks, 0) == [0, 1, 4]
    assert [(task.folder / "runs").read_text() for task in tasks] == ["x", "x", "x"]
    (tasks[1].folder / RESULT).unlink()
    assert run_tasks(tasks, 0) == [0, 1, 4]
    assert [(task.folder / "runs").read_text() for task in tasks] == ["x", "xx", "x"]


def test_what_a_task_goes_on_from_is_deleted_once_its_result_is_there(tmp_path: Path) -> None:
    failing = Task("small_tasks:fail", {"message": "no luck"}, tmp_path, checkpoints=("first", "second"))
    finished = Task("small_tasks:answer", {"answer": 7}, tmp_path, checkpoints=("first", "second"))
    (tmp_path / "second").touch()
    with pytest.raises(LatnasError, match="no luck"):
        run_tasks([failing], 0)
    assert (tmp_path / "second").exists()
    for _ in range(2):  # the second time as if a kill had left it beside the result
        assert run_tasks([finished], 0) == [7]
        assert {path.name for path in tmp_path.iterdir()} == {RESULT, "runs"}
        (tmp_path / "second").touch()


def test_what_was_finished_before_an_error_is_kept(tmp_path: Path) -> None:
    tasks = answers(tmp_path)
    tasks[1] = Task("small_tasks:fail", {"message": "no luck"}, tmp_path / "1")
    with pytest.raises(LatnasError, match=r"^no luck$"):
        run_tasks(tasks, 0)
    assert json.loads((tmp_path / "0" / RESULT).read_text()) == 0
    assert not (tmp_path / "1" / RESULT).exists()


def test_an_error_in_a_worker_is_the_error_that_the_caller_sees_and_no_worker_is_left(tmp_path: Path) -> None:
    with pytest.raises(LatnasError, match=r"^no luck$"):
        run_tasks([Task("small_tasks:fail", {"message": "no luck"}, tmp_path)], 1)
    assert multiprocessing.active_children() == []


def test_an_error_that_cannot_leave_its_process_is_told_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"in fail_with_a_lock[\s\S]*ValueError: no luck"):
        run_tasks([Task("small_tasks:fail_with_a_lock", {}, tmp_path)], 1)


def test_an_interrupted_caller_lets_its_workers_leave_a_checkpoint_and_touches_no_other_process(tmp_path: Path) -> None:
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(DEADLINE_SECONDS,))
    other.start()

    def interrupt(done: float, total: int) -> None:
        if done:
            wait_until((tmp_path / "stay" / "pid").exists)
            raise KeyboardInterrupt

    try:
        # Kept, so that the frames of what was interrupted are too: workers must not wait for them to go.
        with pytest.raises(KeyboardInterrupt) as kept:
            run_tasks([*answers(tmp_path, 1), Task("small_tasks:stay", {}, tmp_path / "stay")], 1, interrupt)
        assert multiprocessing.active_children() == [other]
        assert other.exitcode is None
        assert (tmp_path / "stay" / "left").exists()
        assert kept.tb is not None
    finally:
        other.kill()
        other.join()


@pytest.mark.usefixtures("signals_handled")
def test_an_interruption_waits_until_all_workers_have_started_so_that_all_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[BaseProcess] = []
    start = BaseProcess.start

    def interrupted(process: BaseProcess) -> None:
        if not started:
            signal.raise_signal(signal.SIGINT)
        start(process)
        started.append(process)

    monkeypatch.setattr(BaseProcess, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_tasks(answers(tmp_path), 2)
    assert len(started) == 2 and multiprocessing.active_children() == []


def test_workers_that_are_kept_do_one_lot_after_another_until_something_fails(tmp_path: Path) -> None:
    def processes(where: str, count: int) -> list[int]:
        return run_tasks([Task("small_tasks:process", {}, tmp_path / where / str(n)) for n in range(count)], 2)

    with workers_kept(2):
        assert multiprocessing.active_children() == []
        (first,) = processes("first", 1)
        assert first in (more := set(processes("more", 9))) and len(more) <= 2
        assert {child.pid for child in multiprocessing.active_children()} >= more
        with pytest.raises(LatnasError, match="no luck"):
            run_tasks([Task("small_tasks:fail", {"message": "no luck"}, tmp_path / "fails")], 2)
        assert multiprocessing.active_children() == []
        assert more.isdisjoint(processes("new", 9))
    assert multiprocessing.active_children() == []


def two_that_stay_and_others(folder: Path) -> list[Task]:
    return [*(Task("small_tasks:stay", {}, folder / f"stays-{index}") for index in range(2)), *answers(folder)]


def test_an_interruption_ends_what_is_worked_on_and_nothing_is_begun_any_more(tmp_path: Path) -> None:
    def interrupt(done: float, total: int) -> None:
        if done == 1.0:  # half of both
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(two_that_stay_and_others(tmp_path), 2, interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stays-0", "stays-1"]
    assert all((tmp_path / f"stays-{index}" / "left").exists() for index in range(2))


def test_an_error_ends_what_is_worked_on_and_nothing_is_begun_any_more(tmp_path: Path) -> None:
    stays, _, *others = two_that_stay_and_others(tmp_path)
    fails = Task("small_tasks:fail", {"message": "no luck", "after": str(stays.folder / "pid")}, tmp_path / "fails")
    with pytest.raises(LatnasError, match=r"^no luck$"):
        run_tasks([stays, fails, *others], 2)
    assert [path.name for path in tmp_path.iterdir()] == ["stays-0"]
    assert (stays.folder / "left").exists()


def test_what_a_worker_finished_is_kept_though_nobody_heard_of_it(tmp_path: Path) -> None:
    def interrupt(done: float, total: int) -> None:
        if done:
            wait_until(lambda: all((task.folder / RESULT).exists() for task in tasks))
            raise KeyboardInterrupt

    tasks = answers(tmp_path, 2)
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks, 2, interrupt)
    assert run_tasks(tasks, 0) == [0, 1]
    assert [(task.folder / "runs").read_text() for task in tasks] == ["x", "x"]


@pytest.mark.usefixtures("signals_handled")
def test_a_second_interruption_kills_a_worker_that_does_not_end_so_that_none_is_left(tmp_path: Path) -> None:
    def interrupt(done: float, total: int) -> None:
        if done:
            threading.Thread(target=interrupt_again).start()
            raise KeyboardInterrupt

    def interrupt_again() -> None:
        wait_until((tmp_path / "left").exists)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_tasks([Task("small_tasks:stay_on", {}, tmp_path)], 1, interrupt)
    assert multiprocessing.active_children() == []


def test_an_error_that_nobody_thought_of_says_where_in_the_worker_it_was_raised(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_tasks([Task("small_tasks:break_down", {}, tmp_path)], 1)
    assert "in break_down" in caught.value.__notes__[0]


def test_a_killed_worker_is_told_of_with_what_to_do(tmp_path: Path) -> None:
    told = r"a worker process was killed.*Type the same command to go on.* --executor local:0, .* images: --data X@32$"
    with pytest.raises(LatnasError, match=told):
        run_tasks([Task("small_tasks:be_killed", {}, tmp_path)], 1)
    assert multiprocessing.active_children() == []


def test_a_worker_that_crashed_is_told_apart_from_one_that_was_killed_for_its_memory(tmp_path: Path) -> None:
    told = r"a worker process crashed \(SIGABRT\), by a fault of PyTorch .*Type the same command to go on.* --width$"
    with pytest.raises(LatnasError, match=told):
        run_tasks([Task("small_tasks:crash", {}, tmp_path)], 1)
    assert multiprocessing.active_children() == []


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from latnas.training.tasks import Task, run_tasks;"
        "run_tasks([Task('small_tasks:stay', {}, pathlib.Path(sys.argv[1]))], 1)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=WITH_TASKS)
    try:
        wait_until((tmp_path / "pid").exists)
        worker = psutil.Process(int((tmp_path / "pid").read_text()))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_where_a_socket_s_path_would_be_too_long_workers_start_all_the_same(tmp_path: Path) -> None:
    """Clusters have temporary folders with long names for each job."""
    folder = tmp_path / ("job" * 30)
    folder.mkdir()
    script = (
        "import pathlib, sys; from latnas.training.tasks import Task, run_tasks\n"
        "if __name__ == '__main__':\n"
        "    print(run_tasks([Task('small_tasks:answer', {'answer': 7}, pathlib.Path(sys.argv[1]))], 1))"
    )
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "task")]
    shown = subprocess.run(command, env=WITH_TASKS | {"TMPDIR": str(folder)}, capture_output=True, text=True)
    assert (shown.stdout, shown.stderr) == ("[7]\n", "")


def test_where_processes_cannot_share_memory_they_are_told_how_to_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> NoReturn:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/dev/shm")

    monkeypatch.setattr(ForkServerContext, "RawArray", no_memory)
    with pytest.raises(LatnasError, match=r"cannot share memory here: .*'/dev/shm'\. Mount .*--executor local:0"):
        run_tasks(answers(tmp_path), 2)
    with workers_kept(0):  # which is what they are told
        assert run_tasks(answers(tmp_path), 0) == [0, 1, 4]


def test_ctrl_c_while_workers_are_made_ready_is_heard_by_their_parent_alone(tmp_path: Path) -> None:
    """A terminal sends it to all processes, that which forks workers among them, which imports for seconds."""
    script = (
        "import pathlib, signal, sys; from latnas.training.tasks import Task, run_tasks\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # in the background of a script it is ignored
        "try:\n    run_tasks([Task('small_tasks:stay', {}, pathlib.Path(sys.argv[1]))], 1)\n"
        "except KeyboardInterrupt:\n    sys.exit('interrupted')"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(
        command, env=WITH_TASKS, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:  # fmt: skip
        started = psutil.Process(parent.pid)
        wait_until(lambda: any("forkserver" in " ".join(one.cmdline()) for one in started.children()))
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.communicate(timeout=DEADLINE_SECONDS)[1] == "interrupted\n"


def test_no_tasks_need_no_workers() -> None:
    assert run_tasks([], 2) == []


@pytest.mark.parametrize(("text", "workers"), [("local:0", 0), ("local:2", 2), ("local:256", 256)])
def test_an_executor_is_a_number_of_local_processes(text: str, workers: int) -> None:
    assert parse_executor(text) == workers


@pytest.mark.parametrize(
    "text",
    ["", "2", "local", "local:", "local:-1", "local:1.5", "local:257", "local:²", "local:" + 5000 * "9", "dask:a"],
)
def test_another_executor_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UsageError, match="Use local:N"):
        parse_executor(text)
