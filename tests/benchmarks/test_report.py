"""What all benchmarks take and say: bounds of options, and what is wrong in one line."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import pytest
from made_up_table import random_cells, write_table
from report import earlier_rows, failures_in_one_line, numbers, whole

from latnas.errors import FAILED, WRONG_USAGE, LatnasError, UsageError
from latnas.words.files import write_json


def test_what_is_wrong_is_one_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    @failures_in_one_line("this")
    def main() -> None:
        raise UsageError("there is no file\nat all")

    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == WRONG_USAGE
    assert capsys.readouterr().err == "this: there is no file?at all\n"


def test_the_rows_of_a_results_file_are_those_of_its_own_benchmark(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert earlier_rows(None, "this", 1, "seed") == earlier_rows(out, "this", 1, "seed") == []
    write_json(out, {"benchmark": "this", "rows": [{"seed": 0}, {"mean": 1.0}]})
    assert earlier_rows(out, "this", 1, "seed") == [{"seed": 0}]
    for other in ({"benchmark": "that", "rows": []}, {"benchmark": "this"}, {"benchmark": "this", "rows": None}, []):
        write_json(out, other)
        with pytest.raises(LatnasError, match=r"out\.json is no results file of this\. Name another file: --json"):
            earlier_rows(out, "this", 1, "seed")


def test_results_of_another_version_are_not_mixed_with_these(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    write_json(out, {"benchmark": "this", "rows": [{"seed": 0, "version": 2}]})
    assert earlier_rows(out, "this", 2, "seed") == [{"seed": 0, "version": 2}]
    write_json(out, {"benchmark": "this", "rows": [{"seed": 0, "version": 2}, {"seed": 1}]})
    for version, other in ((2, 1), (3, 2)):
        with pytest.raises(LatnasError, match=rf"holds results of version {other} of this, and version {version} "):
            earlier_rows(out, "this", version, "seed")


def test_numbers_keep_to_their_bounds() -> None:
    assert (whole(1)("7"), whole(1, 7)("7"), numbers("2,0,2")) == (7, 7, (2, 0))
    with pytest.raises(argparse.ArgumentTypeError, match="0 is not 1 or more"):
        whole(1)("0")
    with pytest.raises(argparse.ArgumentTypeError, match="8 is not 1 to 7"):
        whole(1, 7)("8")
    with pytest.raises(argparse.ArgumentTypeError, match="-1 is not 0 or more"):
        numbers("0,-1")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("latency_public --latencies nowhere.npz", FAILED, "nowhere.npz is no table of NAS-Bench-201"),
        ("latency_public --latencies table.npz --networks 400", WRONG_USAGE, "connected cells. Ask for fewer"),
        ("latency_public --latencies table.npz --networks 3", WRONG_USAGE, "argument --networks: 3 is not 4 or more"),
        ("data_loading --data nowhere.parquet", WRONG_USAGE, "there is no file nowhere.parquet"),
        ("data_loading --data nowhere.parquet --way held", WRONG_USAGE, "there is no file nowhere.parquet"),
        ("proposers --work runs --data nowhere", WRONG_USAGE, "there is no data set 'nowhere'"),
        ("proposers --work runs --data digits", WRONG_USAGE, "digits has 1x8x8 images of 10 classes"),
        ("latency_model --device nowhere", WRONG_USAGE, "no installed runtime can use the device 'nowhere'"),
        ("latency_model --pool-seconds 0", WRONG_USAGE, "argument --pool-seconds: 0 is no number above zero"),
        ("supernet_step --width 100000", WRONG_USAGE, "width must be between"),
        ("one_size --data digits --space darts --networks 16", WRONG_USAGE, "argument --networks: 16 is not 17 or"),
        ("killed_search --kills 1000", WRONG_USAGE, "argument --kills: 1000 is not 1 to 60"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(
    words: str,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "table.npz", random_cells(100, seed=0))
    benchmark, *rest = words.split()
    monkeypatch.setattr(sys, "argv", [benchmark, *rest])
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(benchmark).main()
    assert stopped.value.code == code
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not Path("runs").exists()
