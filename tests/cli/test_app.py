"""The commands as they are typed: what they do, what they leave out, and what their exit codes say."""

from __future__ import annotations

import errno
import importlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small import EXPORT, PROFILE, SEARCH, Typed, as_typed, contents, copied, front_in, latnas, run_in

import latnas as package
from latnas.cli import app as command_line
from latnas.cli import entry
from latnas.cli.app import with_bare_options
from latnas.errors import LatnasError
from latnas.spaces.nasbench201 import EDGES
from latnas.stages import search as searching
from latnas.stages.common.tables import latency_of, space_of
from latnas.stages.export import stage as exporting
from latnas.stages.export.measuring import Bench
from latnas.words.architecture import Architecture
from latnas.words.budgets import budget_name, format_ms, parse_ms
from latnas.words.front import load_front
from latnas.words.table import load_table

COMMANDS = ("profile", "plan", "predict", "search", "export", "verify", "spaces", "devices", "demo")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_has_a_page_of_help(command: str) -> None:
    shown = latnas(*command.split(), "--help")
    assert (shown.code, shown.stderr) == (0, "")
    assert "Usage: latnas" in shown.stdout
    assert all(name in shown.stdout for name in COMMANDS) or command


def test_without_a_command_the_help_is_shown() -> None:
    shown = latnas()
    assert all(name in shown.stdout + shown.stderr for name in COMMANDS) and shown.raised is None


def test_who_reads_no_further_gets_no_message() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-m", "latnas", "spaces", "--json", "--width", "1", "--depth", "3"]
        shown = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert (shown.returncode, shown.stderr) == (1, "")


@pytest.mark.parametrize("words", ["--version", "spaces --nope"])
def test_where_the_shell_has_closed_what_is_written_to_nothing_is_written(words: str) -> None:
    command = f'"{sys.executable}" -m latnas {words} >&- 2>&-'
    shown = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout, shown.stderr) == (2 if "nope" in words else 0, "", "")


def test_what_the_terminal_cannot_show_is_written_as_an_escape(small_table: Path, tmp_path: Path) -> None:
    folder = copied(small_table, tmp_path / "here")
    command = [sys.executable, "-m", "latnas", "profile", *as_typed(PROFILE), "--out", "latency_tables", "--quiet"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    shown = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert r"\xb1" in shown.stdout and shown.stdout.isascii()


def test_who_stops_latnas_while_it_still_starts_sees_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class PressesCtrlC:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "latnas.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "latnas.cli.app")
    monkeypatch.setattr(sys, "meta_path", [PressesCtrlC(), *sys.meta_path])
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "latnas: interrupted before anything was begun.\n"


@pytest.mark.parametrize(("before", "after"), [(None, "PCI_BUS_ID"), ("FASTEST_FIRST", "FASTEST_FIRST")])
def test_gpus_are_counted_as_nvidia_smi_counts_them_unless_somebody_wants_another_order(
    before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", before or "")
    if before is None:
        monkeypatch.delenv("CUDA_DEVICE_ORDER")
    importlib.reload(package)
    assert os.environ["CUDA_DEVICE_ORDER"] == after


def test_an_error_of_the_system_is_one_message_and_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(error: OSError) -> Typed:
        def fails(*_: Any, **__: Any) -> Any:
            raise error

        monkeypatch.setattr("latnas.spaces.space.make_space", fails)
        return latnas("spaces")

    full = told(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    assert (full.code, full.stderr) == (1, "latnas: Too many open files.\n")
    long = told(OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "a" * 300))
    assert (long.code, long.stderr) == (
        1, f"latnas: File name too long: {'a' * 200}. Name another file or folder.\n",
    )  # fmt: skip
    assert isinstance(told(OSError("libcudart.so.12: cannot open shared object file")).raised, OSError)


def test_a_profile_says_where_its_table_lies_and_how_good_it_is(empty: Path) -> None:
    shown = latnas("profile", *as_typed(PROFILE))
    assert (shown.code, shown.raised) == (0, None)
    (path,) = empty.glob("latency_tables/*.json")
    assert f"table: {path.relative_to(empty)}\nnext: latnas search --table {path.relative_to(empty)}" in shown.stdout
    table = load_table(path)
    assert f"{table.calibration.quality.mean_error:.1%}" in shown.stdout and table.name in shown.stdout
    assert row_of(shown, "operations measured") == str(len(table.operations))
    assert row_of(shown, "whole networks measured").startswith("4, from ")
    assert row_of(shown, "networks that have not settled") == "0 of 4"


def test_the_commands_that_a_profile_advises_are_of_the_very_same_table(empty: Path) -> None:
    shown = latnas("profile", *as_typed(PROFILE))
    advised = [line.partition(": ")[2].split()[1:] for line in shown.stdout.splitlines() if ": latnas " in line]
    assert [words[0] for words in advised] == ["search", "profile"]
    assert advised[0][-2:] == ["--data", "digits"]
    checked = latnas(*advised[1], "--rounds", 4)
    assert (checked.code, checked.raised) == (0, None)
    assert len(list(empty.glob("latency_tables/*.json"))) == 1, "it measured no other table"


def row_of(shown: Typed, name: str) -> str:
    """What stands beside `name` in a table of two columns."""
    (line,) = (line for line in shown.stdout.splitlines() if name in line)
    return line.split(name)[1].strip(" |│")


def test_a_profile_without_operations_says_so(empty: Path) -> None:
    shown = latnas("profile", *as_typed(PROFILE), "--no-operations")
    assert (shown.code, shown.raised) == (0, None)
    assert row_of(shown, "operations measured") == "none: whole networks only"
    (path,) = empty.glob("latency_tables/*.json")
    assert load_table(path).operations == {}


def test_a_profile_of_a_space_without_dead_parts_says_so(empty: Path) -> None:
    shown = latnas("profile", *as_typed(PROFILE), "--space", "mbconv")
    assert row_of(shown, "parts that do not reach the output") == "this space has none"


def test_operations_that_had_no_time_to_settle_are_shown_as_doubtful(empty: Path) -> None:
    shown = latnas("profile", *as_typed(PROFILE), "--max-seconds", 1e-9)
    assert (shown.code, shown.raised) == (0, None)
    table = load_table(next(empty.glob("latency_tables/*.json")))
    assert row_of(shown, "doubtful operations") == str(len(table.doubtful))
    doubts = [line for line in shown.stdout.splitlines() if line.startswith("doubtful: ")]
    assert len(doubts) == 12 and all("was measured in one round only" in line for line in doubts)
    assert f"and {len(table.doubtful) - 12} more: see `doubtful` in the table" in shown.stdout
    assert row_of(shown, "networks that have not settled") == "4 of 4"


def test_a_check_of_a_table_shows_each_fresh_network_and_how_far_it_is_off(here: Path) -> None:
    before = contents(here)
    shown = latnas("profile", *as_typed(PROFILE), "--verify", 6)
    assert (shown.code, shown.raised) == (0, None)
    assert contents(here) == before, "the table is there, and measuring leaves nothing behind"
    assert "6 fresh networks, p50" in shown.stdout
    rows = [line for line in shown.stdout.splitlines() if line.count("|") >= 5 and "%" in line]
    assert [sum(word in line for line in rows) for word in (" front ", " random ")] == [3, 3]
    assert all(any(f"{name}: " in line and "90 % promised" in line for line in shown.stdout.splitlines())
               for name in ("front", "random"))  # fmt: skip
    assert "networks of the table take 1.000 times what they took" in shown.stdout
    (path,) = here.glob("latency_tables/*.json")
    assert shown.stdout.endswith(f"table: {path.relative_to(here)}\n")


def test_of_many_fresh_networks_the_worst_are_shown(here: Path) -> None:
    shown = latnas("profile", *as_typed(PROFILE), "--verify", 14)
    assert "the worst 12 of 14 fresh networks" in shown.stdout


SKIP = "none|none|none|skip_connect|none|none"


def test_a_prediction_shows_latency_with_its_interval_and_the_sizes_of_the_network(here: Path) -> None:
    before = contents(here)
    shown = latnas("predict", SKIP, "--data", "digits")
    assert (shown.code, shown.raised, shown.stderr) == (0, None, "")
    table = load_table(next(here.glob("latency_tables/*.json")))
    assert f"{table.name}, {table.quote}" in shown.stdout
    (row,) = (line for line in shown.stdout.splitlines() if SKIP in line)
    space = space_of(table)
    predicted = latency_of(table, space).predict(
        Architecture.of("default", dict(zip(EDGES, SKIP.split("|"), strict=True)))
    )
    assert "given" in row and format_ms(predicted.value) in row
    assert f"{format_ms(predicted.low).split()[0]} to {format_ms(predicted.high).split()[0]}" in row
    assert contents(here) == before


def test_a_prediction_of_a_run_shows_its_choices(here: Path) -> None:
    shown = latnas("predict", "--run", "latest")
    assert (shown.code, shown.raised) == (0, None)
    front = load_front(front_in(here) / "front.json")
    for choice in front.budgets:
        (row,) = (line for line in shown.stdout.splitlines() if f"lambda {choice.lam:.2f}" in line)
        assert str(front.networks[choice.network].as_architecture) in row


def test_a_bare_prediction_is_of_random_networks(here: Path) -> None:
    shown = latnas("predict", "--data", "digits")
    assert shown.stdout.count("random") == 5
    assert latnas("predict", "--data", "digits", "--random", 2).stdout.count("random") == 2


def test_a_search_typed_again_changes_nothing_and_shows_the_choices(here: Path) -> None:
    before = contents(here)
    shown = latnas("search", *as_typed(SEARCH))
    assert (shown.code, shown.raised) == (0, None)
    assert "finished already" in shown.stderr
    front = load_front(front_in(here) / "front.json")
    for choice in front.budgets:
        assert f"{front.networks[choice.network].params:,}" in shown.stdout
    assert f"run: {run_in(here).relative_to(here)}\nnext: latnas export --all" in shown.stdout
    assert contents(here) == before


def test_a_bare_export_takes_the_latest_run(here: Path) -> None:
    shown = latnas("export", "--lambda", 0, *as_typed(EXPORT))
    assert (shown.code, shown.raised) == (0, None)
    assert "unverified" in shown.stdout and "model.onnx" in shown.stdout
    assert "computed" in shown.stdout and "measured" not in shown.stdout, "the device of the table is a formula"
    folder = run_in(here).relative_to(here) / "exports" / front_in(here).name
    assert shown.stdout.endswith(f"\nfiles: {folder}\n")


def test_an_export_that_was_measured_ends_with_the_command_that_measures_it_again(here: Path) -> None:
    path = front_in(here) / "table.json"
    load_table(path).model_copy(update={"measures": "torch"}).save(path)
    shown = latnas("export", "--lambda", 0, *as_typed(EXPORT))
    assert (shown.code, shown.raised) == (0, None)
    assert "measured" in shown.stdout and "computed" not in shown.stdout
    folder = run_in(here).relative_to(here) / "exports" / front_in(here).name
    assert shown.stdout.endswith(f"\nfiles: {folder}\nnext: latnas verify\n")


def test_an_export_of_another_run_than_the_latest_names_run_and_front_in_the_next_command(here: Path) -> None:
    run, front = run_in(here).relative_to(here), front_in(here).name
    path = front_in(here) / "table.json"
    load_table(path).model_copy(update={"measures": "torch"}).save(path)
    shutil.copytree(front_in(here), front_in(here).with_name("other"))
    (here / "runs" / "latest").unlink()
    shown = latnas("export", "--lambda", 0, "--run", run.name, "--table", front, *as_typed(EXPORT))
    assert shown.stdout.endswith(f"\nfiles: {run / 'exports' / front}\nnext: latnas verify {run} --table {front}\n")


def test_budgets_and_lambdas_can_be_repeated(here: Path) -> None:
    front = load_front(front_in(here) / "front.json")
    budget = f"{front.slowest_ms!r}ms"
    shown = latnas("export", "--lambda", 1, "--budget", budget, "--lambda", 1.0, *as_typed(EXPORT))
    assert shown.code == 0
    assert shown.stdout.count("model.onnx") == 2


@pytest.fixture
def slow_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything takes twice as long as the table says: no network keeps the tightest budget."""

    class Slow(Bench):
        def measure(self, workloads: Any, names: Any, what: str) -> Any:
            found = super().measure(workloads, names, what)
            return {key: replace(times, quoted_ms=2 * times.quoted_ms) for key, times in found.items()}

    monkeypatch.setattr(exporting, "Bench", Slow)


def test_a_missed_budget_is_exit_code_3_with_the_nearest_one_and_the_command_that_exports_it(
    here: Path, slow_device: None
) -> None:
    front = load_front(front_in(here) / "front.json")
    shown = latnas("export", "--lambda", 1, "--baselines", "--quiet", *as_typed(EXPORT))
    assert (shown.code, shown.raised) == (3, None)
    assert shown.stdout.count("missed") == 3 and "next: " not in shown.stdout
    *_, message = shown.stderr.splitlines()
    assert message.startswith(f"latnas: over budget, or over a limit: {budget_name(front.fastest_ms)}")
    assert message.count("nearest budget") == 1, "that of the search, whatever its baselines reach"
    command = message[message.index("latnas export --budget") :].split()
    assert f"within reach is {command[3]}: latnas export" in message
    assert parse_ms(command[3]) > front.fastest_ms
    shown = latnas(*command[1:], *as_typed(EXPORT))
    assert (shown.code, shown.raised) == (0, None)


def test_where_several_budgets_are_missed_the_command_that_serves_all_is_advised_once(
    here: Path, slow_device: None
) -> None:
    front = load_front(front_in(here) / "front.json")
    missed = [budget_name(front.budget_range.budget_ms(lam)) for lam in (0.95, 1)]
    shown = latnas("export", "--lambda", 1, "--lambda", 0.95, "--quiet", *as_typed(EXPORT))
    assert (shown.code, shown.raised) == (3, None)
    assert shown.stderr.count("latnas export") == 1
    assert f"The nearest budget to {', '.join(missed)} within reach is " in shown.stderr
    shown = latnas(*shlex.split(shown.stderr[shown.stderr.index("latnas export") :])[1:])
    assert (shown.code, shown.raised) == (0, None)


def test_after_a_missed_budget_the_others_that_learnt_with_it_are_named_and_the_missed_one_is_not(
    here: Path, slow_device: None
) -> None:
    front = load_front(front_in(here) / "front.json")
    shown = latnas("export", "--all", "--distill", "--quiet", *as_typed(EXPORT))
    assert (shown.code, shown.raised) == (3, None)
    command = shown.stderr[shown.stderr.index("latnas export --budget") :]
    assert f"--budget {budget_name(front.slowest_ms)} --distill " in command and "--all" not in command
    shown = latnas(*shlex.split(command)[1:])
    assert (shown.code, shown.raised) == (0, None)


def test_spaces_are_listed_with_their_decisions_and_number_of_architectures(empty: Path) -> None:
    shown = latnas("spaces", "--depth", 1)
    assert shown.code == 0
    assert "nasbench201: 15,625 architectures" in shown.stdout and "nor_conv_3x3" in shown.stdout
    assert f"mbconv: {10 * 9 * 9:,} architectures" in shown.stdout, "the second and third layers halve the image"
    assert f"darts: {(49 * 147 * 294 * 490) ** 2:,} architectures" in shown.stdout
    assert "depth 3" in shown.stdout, "with fewer cells there is no place for two reductions"
    assert "two of 5 inputs, on each one of max_pool_3x3" in " ".join(shown.stdout.split())
    assert contents(empty) == {}


def test_devices_are_listed_with_who_brings_them(empty: Path) -> None:
    shown = latnas("devices")
    assert shown.code == 0
    rows = [line for line in shown.stdout.splitlines() if "analytic" in line]
    assert any("yes" in row and "latnas" in row for row in rows)


# --budget-range without a value


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("search --budget-range", "search --budget-range auto"),
        ("search --budget-range --json", "search --budget-range auto --json"),
        ("search --budget-range -q", "search --budget-range auto -q"),
        ("search --budget-range 2ms:8ms", "search --budget-range 2ms:8ms"),
        ("search --budget-range=2ms:8ms -q", "search --budget-range=2ms:8ms -q"),
        ("search --budget-range -2ms:8ms", "search --budget-range -2ms:8ms"),
        ("search --budget-range auto", "search --budget-range auto"),
        ("search --json", "search --json"),
        ("export --lambda -0.5", "export --lambda -0.5"),
        ("", ""),
    ],
)
def test_a_bare_budget_range_means_auto(typed: str, meant: str) -> None:
    assert with_bare_options(typed.split()) == meant.split()
    assert with_bare_options(meant.split()) == meant.split()


Stub = Callable[[Callable[[Any], Any]], None]


@pytest.fixture
def instead_of_search(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Puts a function of the config in the place of the stage."""
    return lambda function: monkeypatch.setattr(searching, "search", lambda config, report: function(config))


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Typed]]:
    """The console script itself, with these words."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*words: str) -> Typed:
        monkeypatch.setattr(sys, "argv", ["/somewhere/latnas", *words])
        with pytest.raises(SystemExit) as caught:
            command_line.main()
        said = capsys.readouterr()
        return Typed(int(caught.value.code or 0), said.out, said.err, None)

    yield run
    signal.signal(signal.SIGTERM, before)


def test_the_console_script_takes_a_bare_budget_range(main: Callable[..., Typed], instead_of_search: Stub) -> None:
    def stop(config: Any) -> None:
        raise LatnasError(f"was asked for {config.budget_range} and {config.budgets} budgets")

    instead_of_search(stop)
    assert main("search", "--budget-range", "--budgets", "3").stderr == "latnas: was asked for auto and 3 budgets\n"
    assert main("search", "--budgets", "3", "--budget-range").stderr == "latnas: was asked for auto and 3 budgets\n"


@pytest.mark.parametrize(("how", "code", "word"), [("Ctrl-C", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_a_command_that_is_stopped_says_how_to_go_on(
    main: Callable[..., Typed], instead_of_search: Stub, how: str, code: int, word: str
) -> None:
    def interrupted(config: Any) -> None:
        if how == "Ctrl-C":
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGTERM)
        signal.sigtimedwait([], 5)

    instead_of_search(interrupted)
    shown = main("search")
    assert (shown.code, shown.stdout) == (code, "")
    assert shown.stderr == f"latnas: {word}. What was finished is kept; type the same command to go on.\n"


def test_a_bug_keeps_its_traceback(instead_of_search: Stub) -> None:
    instead_of_search(lambda config: config.no_such_field)
    assert isinstance(latnas("search").raised, AttributeError)


def test_the_module_can_be_run_and_ends_with_the_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "latnas", "search", "--budget-range", "--nope"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith("Usage: latnas search") and "No such option: --nope" in shown.stderr
    assert contents(tmp_path) == {}
