"""Benchmarks in pieces: they stop in time, and what they spent is added up; and a process of one's own for memory."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pieces
import pytest
from apart import measured_apart, peak_mb, resident_mb
from pieces import (
    Meter,
    Noticing,
    OutOfTimeError,
    at_most,
    cpu_seconds,
    in_pieces,
    of_version,
    piecewise_parser,
    profile_once,
)
from small import Heard

from latnas.errors import INTERRUPTED, WRONG_USAGE, LatnasError, UsageError
from latnas.stages.profile import ProfileConfig

BUSY = "import time\nwhile time.process_time() < 30: pass"


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_a_block_ends_when_its_minutes_are_over_and_leaves_no_alarm_behind() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(OutOfTimeError), at_most(0.05 / 60):
        time.sleep(60)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_block_may_take_all_the_time_it_wants_if_none_is_named() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with at_most(None):
        assert signal.getsignal(signal.SIGALRM) is before


def test_no_handler_of_failures_takes_the_end_of_time_for_one() -> None:
    assert not issubclass(OutOfTimeError, Exception)


@pytest.mark.parametrize(("ends", "code"), [(None, 0), (OutOfTimeError, 0), (KeyboardInterrupt, INTERRUPTED)])
def test_what_there_is_when_a_benchmark_ends_is_written_down(ends: type[BaseException] | None, code: int) -> None:
    written: list[bool] = []

    def work() -> None:
        if ends is not None:
            raise ends

    assert in_pieces(None, Heard(), work, lambda: written.append(True)) == code
    assert written == [True]


def test_nothing_is_written_of_a_benchmark_that_failed() -> None:
    def work() -> None:
        raise UsageError("no such file")

    with pytest.raises(UsageError):
        in_pieces(None, Heard(), work, lambda: pytest.fail("written"))


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf"])
def test_minutes_that_are_no_limit_are_refused(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        piecewise_parser(None, Path("runs")).parse_args(["--minutes", minutes])
    assert stopped.value.code == WRONG_USAGE
    assert f"argument --minutes: {minutes} is no number above zero" in capsys.readouterr().err


def test_folders_of_work_are_told_apart_by_version(tmp_path: Path) -> None:
    assert of_version(tmp_path / "seed0", 1) == tmp_path / "seed0"
    assert of_version(tmp_path / "seed0", 2) == tmp_path / "seed0-v2"


def test_a_folder_with_a_table_of_another_device_or_host_is_refused_and_one_of_the_same_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "profile", lambda config, report: pytest.fail("profiled"))
    shipped = next((Path(__file__).parents[2] / "latency_tables").glob("cpu-onnxruntime-mbconv-*.json"))
    (tmp_path / "cpu.json").write_bytes(shipped.read_bytes())
    with pytest.raises(LatnasError, match=r"cpu\.json is a table of cpu, not cuda\. Name another folder: --work"):
        profile_once(ProfileConfig(device="cuda", out=tmp_path), Heard())
    monkeypatch.setattr(pieces, "why_stale", lambda table: "host was 'a' and is 'b'")
    with pytest.raises(LatnasError, match=r"cpu\.json was measured under other conditions: host was .* --work FOLDER"):
        profile_once(ProfileConfig(device="cpu", out=tmp_path), Heard())
    monkeypatch.setattr(pieces, "why_stale", lambda table: None)
    profile_once(ProfileConfig(device="cpu", out=tmp_path), Heard())


def test_cpu_seconds_count_children_while_they_run_and_after_they_ended() -> None:
    before = cpu_seconds()
    child = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        while cpu_seconds() - before < 0.3:
            assert child.poll() is None
            time.sleep(0.01)  # this process spends hardly anything itself
        running = cpu_seconds()
    finally:
        child.kill()
        child.wait()
    assert cpu_seconds() >= running - 0.05


def test_what_several_sessions_spent_is_added_up(tmp_path: Path) -> None:
    path = tmp_path / "cpu.json"
    spent = []
    for _ in range(2):
        meter = Meter(path)
        burn(0.1)
        meter.keep()
        spent.append(json.loads(path.read_text())["cpu_seconds"])
    assert 0.08 < spent[0] < 2.0 and 0.08 < spent[1] - spent[0] < 2.0


def test_the_clock_on_the_wall_stands_still_between_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    monkeypatch.setitem(pieces.CLOCKS, "seconds", lambda: now)
    with Meter(tmp_path / "spent.json").running(Heard()):
        now = 15.0
    now = 100.0
    meter = Meter(tmp_path / "spent.json")
    with meter.running(Heard()):
        now = 107.0
    assert meter.spent["seconds"] == json.loads((tmp_path / "spent.json").read_text())["seconds"] == 12.0


def test_a_meter_writes_only_now_and_then(tmp_path: Path) -> None:
    meter = Meter(tmp_path / "cpu.json")
    meter.keep_now_and_then()
    assert not (tmp_path / "cpu.json").exists()


def test_a_reporter_that_notices_passes_everything_on() -> None:
    heard, noticed = Heard(), []
    report = Noticing(heard, lambda: noticed.append(1))
    report.say("said")
    report.warn("warned")
    with report.bar("bar") as bar:
        bar.update(1, 2)
        bar.update(2, 2, "note")
    assert (heard.said, heard.warned, heard.bars, len(noticed)) == (["said"], ["warned"], ["bar"], 2)


def test_a_process_of_its_own_is_given_its_words_and_answers_in_json(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import json, sys\nprint(json.dumps({'words': sys.argv[1:]}))")
    assert measured_apart(str(script), "--size", "8") == {"words": ["--size", "8"]}


def test_a_process_of_its_own_that_fails_is_told_of(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit(3)")
    with pytest.raises(LatnasError, match=r"script\.py --size 8 ended with exit code 3; see above"):
        measured_apart(str(script), "--size", "8")


def test_the_peak_of_memory_is_at_least_what_was_resident_once() -> None:
    block = b"1" * 50_000_000
    resident = resident_mb()
    del block
    assert peak_mb() > resident - 1 > 50  # the kernel counts in steps of some pages for each thread
