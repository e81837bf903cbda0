"""A search that is killed at any moment, or told to stop, and goes on: the front is that of one which never stopped."""

from __future__ import annotations

import json
import os
import random
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from killing import CHECKPOINT_EVERY, Known, Write, in_another_process, search_and_be_told, watched_writes, writes_of
from once import known_contexts
from small import Heard, contents, copied, front_in, quick_search, run_in, search_config

from latnas.errors import Terminated
from latnas.stages.common.reach import budget_range, predicted_ends
from latnas.stages.common.tables import latency_of, space_of
from latnas.training.checkpoint import load_tensors
from latnas.words.table import load_table

KILLS = 20


def results(folder: Path) -> dict[str, bytes]:
    """What a search leaves for others, by path."""
    kept = ("front.json", "metrics.jsonl", "weights.safetensors", "judge.json", "result.json", "table.json")
    return {path: content for path, content in contents(folder / "runs").items() if path.endswith(kept)}


def known_of(folder: Path) -> Known:
    """Of a search that this process has made: it has traced each of its networks."""
    table = load_table(front_in(folder) / "table.json")
    latency = latency_of(table, space := space_of(table))
    return Known(predicted_ends(space, latency), budget_range("auto", space, latency), known_contexts())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_killed_at_twenty_random_moments_gives_the_front_of_one_that_never_stopped(
    small_table: Path, tmp_path: Path
) -> None:
    """Each moment is just before a write, leaving the temporary file; they are spread over all writes of the search."""
    whole, here = (copied(small_table, tmp_path / name) for name in ("whole", "here"))
    writes = writes_of(search_config(whole, long_trainings=8))
    assert sum(path.endswith("-10/result.json") for path in results(whole)) == 8
    moments = sorted(random.Random(0).sample(range(len(writes)), KILLS))
    config, known = search_config(here, long_trainings=8), known_of(whole)
    for moment in moments:
        process = in_another_process(search_and_be_told, config, known, writes[moment], signal.SIGKILL)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, f"the resumed search never wrote {writes[moment]} as the whole did"
        assert not list(here.glob("runs/*/fronts/*/front.json"))
    quick_search(config)
    assert results(here) == results(whole)


@pytest.mark.usefixtures("signals_handled")
@pytest.mark.parametrize(("told", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_search_that_is_told_to_stop_in_a_step_finishes_the_step_and_loses_none(
    told: int, raised: type[BaseException], small_table: Path, small_run: Path, tmp_path: Path
) -> None:
    here, steps = copied(small_table, tmp_path / "here"), CHECKPOINT_EVERY + 1

    def tell(write: Write) -> None:
        nonlocal steps
        steps -= write[0] == "metrics.jsonl"
        if steps == 0:
            steps -= 1
            os.kill(os.getpid(), told)

    with watched_writes(tell), pytest.raises(raised):
        quick_search(search_config(here))
    _, state = load_tensors(front_in(here) / "search.safetensors")
    recorded = (front_in(here) / "metrics.jsonl").read_text().splitlines()
    assert state["search_step"] == len(recorded) == CHECKPOINT_EVERY + 1
    quick_search(search_config(here, resume=str(run_in(here))))
    assert results(here) == results(small_run)
    steps_of = [json.loads(line)["step"] for line in (front_in(here) / "metrics.jsonl").read_text().splitlines()]
    assert steps_of == list(range(12))


def test_lines_of_the_steps_before_a_checkpoint_outlast_a_power_cut_that_it_outlasts(
    small_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, fsync = copied(small_table, tmp_path / "here"), os.fsync
    lasting, at_checkpoints = 0, list[int]()

    def counted(descriptor: int) -> None:
        nonlocal lasting
        for path in here.glob("runs/nasbench201-*/fronts/*/metrics.jsonl"):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                lasting = len(path.read_text().splitlines())
        fsync(descriptor)

    def about_to(write: Write) -> None:
        if write[0] == "search.safetensors":
            at_checkpoints.append(lasting)

    monkeypatch.setattr(os, "fsync", counted)
    with watched_writes(about_to):
        quick_search(search_config(here))
    assert at_checkpoints == [4, 6, 8, 12]


@pytest.mark.slow
def test_two_processes_for_the_whole_search_find_what_none_but_this_one_finds(
    small_table: Path, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[BaseProcess] = []
    start = BaseProcess.start

    def count(process: BaseProcess) -> None:
        start(process)
        started.append(process)

    monkeypatch.setattr(BaseProcess, "start", count)
    here, heard = copied(small_table, tmp_path / "here"), Heard()
    quick_search(search_config(here, executor="local:2"), heard)
    assert results(here) == results(small_run)
    assert len(started) == 2 and not any(process.is_alive() for process in started)
    assert any(f"latnas search --resume {run_in(here)}" in line for line in heard.said)
