"""Results on stdout, for people or as JSON; everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from small import EXPORT, PROFILE, SEARCH, as_typed, front_in, latnas, run_in

from latnas.cli import console, show
from latnas.cli.console import ConsoleReporter, print_table
from latnas.stages.export import ExportedFile
from latnas.words.budgets import format_ms
from latnas.words.front import load_front
from latnas.words.manifest import Repeats, load_manifest
from latnas.words.table import load_table

TYPED: dict[str, list[object]] = {
    "profile": ["profile", *as_typed(PROFILE)],
    "verify": ["profile", *as_typed(PROFILE), "--verify", 4],
    "predict": ["predict", "--run", "latest", "--random", 2],
    "search": ["search", *as_typed(SEARCH)],
    "export": ["export", "--all", *as_typed(EXPORT)],
    "verify files": ["verify", "--rounds", 4, "--sustained", "20ms"],
    "spaces": ["spaces", "--data", "digits", "--width", 4, "--depth", 1],
    "devices": ["devices"],
}


def parsed(*words: object) -> Any:
    """What a command printed, as the one JSON object that it must be."""
    shown = latnas(*words, "--json")
    assert (shown.code, shown.raised) == (0, None)
    value = json.loads(shown.stdout)
    assert isinstance(value, dict) and shown.stdout.startswith("{") and shown.stdout.endswith("}\n")
    return value


def test_a_profile_as_json_is_the_table_s_own_account(here: Path) -> None:
    value = parsed(*TYPED["profile"])
    table = load_table(Path(value["table"]))
    assert value["name"] == table.name
    assert (value["operations"], value["networks"]) == (len(table.operations), len(table.calibration.networks))
    assert value["quality"] == table.calibration.quality.model_dump()
    assert value["interval"] == [table.calibration.low, table.calibration.high]
    assert table.dead_parts is not None and value["dead_parts"] == table.dead_parts.share
    assert (value["unsettled"], value["doubtful"]) == ([], {})


def test_a_check_as_json_has_every_network_predicted_and_measured(here: Path) -> None:
    value = parsed(*TYPED["verify"])
    assert value["name"] == load_table(Path(value["table"])).name
    assert value["drift"] == pytest.approx(1)
    assert [network["drawn"] for network in value["networks"]] == ["front", "front", "random", "random"]
    for network in value["networks"]:
        assert network["predicted_ms"].keys() == {"value", "low", "high"}
        assert network["relative_ms"] == pytest.approx(network["measured_ms"])
    for drawn in ("front", "random"):
        errors = [
            abs(network["predicted_ms"]["value"] / network["relative_ms"] - 1)
            for network in value["networks"]
            if network["drawn"] == drawn
        ]
        assert value["quality"][drawn]["mean_error"] == pytest.approx(sum(errors) / 2)
        assert value["coverage"][drawn] in (0, 0.5, 1)


def test_a_check_of_a_single_network_as_json_has_nothing_to_say_of_the_front(here: Path) -> None:
    value = parsed("profile", *as_typed(PROFILE), "--verify", 1)
    assert value["quality"]["front"] is None and value["coverage"].keys() == {"random"}


def test_a_prediction_as_json_has_every_network_in_the_order_in_which_it_was_named(here: Path) -> None:
    value = parsed(*TYPED["predict"])
    assert [network["name"] for network in value["networks"]] == ["lambda 0.00", "lambda 1.00", "random", "random"]
    front = load_front(front_in(here) / "front.json")
    for shown, choice in zip(value["networks"], front.budgets, strict=False):
        network = front.networks[choice.network]
        assert shown["architecture"] == network.architecture
        assert shown["predicted_ms"] == network.predicted_ms.model_dump()
        assert (shown["params"], shown["macs"]) == (network.params, network.macs)
    assert (value["table"], value["quote"]) == (front.table, front.quote)


def test_a_search_as_json_has_a_choice_for_each_budget(here: Path) -> None:
    value = parsed(*TYPED["search"])
    front = load_front(Path(value["front"]))
    assert Path(value["run"]) == run_in(here).relative_to(here)
    assert [choice["lambda"] for choice in value["budgets"]] == [choice.lam for choice in front.budgets]
    for shown, choice in zip(value["budgets"], front.budgets, strict=True):
        network = front.networks[choice.network]
        assert shown["budget_ms"] == choice.budget_ms
        assert (shown["architecture"], shown["params"]) == (network.architecture, network.params)


def test_an_export_as_json_is_the_manifests(here: Path) -> None:
    value = parsed(*TYPED["export"])
    assert len(value["exports"]) == 2
    for shown in value["exports"]:
        manifest = load_manifest(Path(shown.pop("folder")) / "manifest.json")
        assert Path(shown.pop("onnx")).is_file()
        assert manifest.measured_ms is not None and shown.pop("lasting_ms") == manifest.measured_ms.p50
        assert shown == manifest.model_dump(mode="json", by_alias=True)


def test_files_that_were_never_measured_are_to_be_verified_on_the_device_of_their_table(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = list(here.glob("runs/nas*/exports/*/*/manifest.json"))
    unmeasured = {"measured_ms": None, "measured_artifact": "onnx"}
    manifests = {path.parent: load_manifest(path).model_copy(update=unmeasured) for path in paths}
    show.show_where([ExportedFile(folder.relative_to(here), manifest) for folder, manifest in manifests.items()])
    told = "next, copied to the device of the table: latnas verify; or, in the folder of a file: python measure.py"
    assert capsys.readouterr().out.endswith(f"\n{told}\n")


def test_verified_files_as_json_have_what_was_promised_beside_what_is(here: Path) -> None:
    value = parsed(*TYPED["verify files"])
    assert (value["passed"], value["runtime"], value["other_conditions"]) == (True, "analytic", {})
    assert len(value["files"]) == 2
    for shown in value["files"]:
        manifest = load_manifest(Path(shown["folder"]) / "manifest.json")
        assert manifest.measured_ms is not None
        assert shown["budget_ms"] == manifest.budget_ms and shown["lambda"] == manifest.lam
        assert shown["exported_ms"] == manifest.measured_ms.p50 == pytest.approx(shown["quoted_ms"])
        assert shown["measured_ms"] == pytest.approx(manifest.measured_ms.model_dump())
        assert (shown["faults"], shown["sha256_matches"]) == ([], True)
        assert shown["status"] == shown["status_before"] == manifest.status
        assert shown["sustained"]["p50_ms"] == pytest.approx(manifest.measured_ms.floor)


def test_files_that_do_not_pass_are_shown_and_exit_3(here: Path) -> None:
    folders = [path.parent for path in run_in(here).glob("exports/*/*/manifest.json")]
    loose, tight = sorted(folders, key=lambda folder: -float(folder.name.removesuffix("ms")))
    (loose / "model.onnx").write_bytes(b"another")
    (tight / "manifest.json").write_text(
        json.dumps({**json.loads((tight / "manifest.json").read_text()), "budget_ms": 1e-3})
    )
    shown = latnas("verify", run_in(here), "--rounds", 4)
    assert (shown.code, shown.raised) == (3, None)
    rows = [line for line in shown.stdout.splitlines() if "model.onnx" in line]
    assert ["changed" in rows[0], "over budget" in rows[1]] == [True, True]
    assert f"what was exported does not pass ({loose.name}: changed; {tight.name}: over budget)" in shown.stderr
    again = "latnas profile --device analytic --runtime analytic --space nasbench201 --width 4 --depth 1 --data digits"
    (table,) = Path("latency_tables").glob("*.json")
    assert shown.stderr.endswith(f"{again}, then latnas search --from {run_in(here)} --table {table}\n")
    assert "The command that exported a missing or changed file makes it again. Measure again in quiet" in shown.stderr
    assert f"latnas verify {run_in(here)}" in shown.stderr
    as_json = latnas("verify", "--rounds", 4, "--json", "--quiet")
    assert as_json.code == 3 and json.loads(as_json.stdout)["passed"] is False


def test_spaces_and_devices_as_json(empty: Path) -> None:
    spaces = {space["space"]: space for space in parsed(*TYPED["spaces"])["spaces"]}
    assert spaces["nasbench201"]["architectures"] == 5**6
    assert len(spaces["nasbench201"]["decisions"]) == 6
    profilers = {profiler["profiler"]: profiler for profiler in parsed("devices")["profilers"]}
    assert profilers["analytic"]["devices"][0]["usable"] is True and profilers["analytic"]["error"] is None
    assert profilers["analytic"]["settings"] == []
    settings = {setting["setting"]: setting for setting in profilers["onnxruntime"]["settings"]}
    assert settings["optimisation"]["values"] == ["none", "basic", "extended", "all"]
    assert settings["CPUExecutionProvider"]["usable"] is True and settings["CPUExecutionProvider"]["device"] == "cpu"


def test_the_spread_over_seeds_is_shown_beside_the_accuracy_of_the_file(exported_run: Path) -> None:
    path = next(exported_run.glob("runs/*/exports/*/*/manifest.json"))
    manifest = load_manifest(path)
    repeats = Repeats(seeds=(0, 1, 2), values=(0.9, 0.8, 0.85), mean=0.85, low=0.7, high=1.0)
    alone = show.export_row(ExportedFile(path.parent, manifest))
    several = show.export_row(ExportedFile(path.parent, manifest.model_copy(update={"repeats": repeats})))
    assert several[5] == f"{alone[5]}; 3 seeds: 85.0% (70.0% to 100.0%)"
    smaller = manifest.model_copy(update={"repeats": repeats, "precision": "int8"})
    told = show.export_row(ExportedFile(path.parent, smaller))[5]
    assert told.endswith("; 3 seeds before int8: 85.0% (70.0% to 100.0%)"), "the file's own accuracy is that in int8"
    alike = Repeats(seeds=(0, 1), values=(2 / 3, 2 / 3), mean=2 / 3, low=2 / 3, high=2 / 3)
    two = show.export_row(ExportedFile(path.parent, manifest.model_copy(update={"repeats": alike})))
    assert two[5] == f"{alone[5]}; 2 seeds: 66.7%, 66.7%", "two values that are alike are no certainty"


@pytest.mark.parametrize("command", ["profile", "verify", "search", "export", "verify files"])
def test_progress_goes_to_stderr_and_quiet_leaves_it_out(here: Path, command: str) -> None:
    loud, quiet = latnas(*TYPED[command], "--json"), latnas(*TYPED[command], "--json", "--quiet")
    assert loud.stderr and quiet.stderr == ""
    changing = {"seconds", "created", "raw_ms"}
    values = [
        json.loads(shown.stdout, object_hook=lambda x: {k: x[k] for k in x.keys() - changing})
        for shown in (loud, quiet)
    ]
    assert values[0] == values[1]


def test_quiet_leaves_warnings_in(here: Path) -> None:
    path = front_in(here) / "table.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "anchor": {**table["anchor"], "floor_ms": table["anchor"]["floor_ms"] / 2}}))
    shown = latnas("export", "--lambda", 0, "--quiet", *as_typed(EXPORT))
    assert shown.code == 0
    assert shown.stderr.startswith("warning: the anchor network takes 2.00 times")


@pytest.fixture
def faster(here: Path) -> Path:
    """`here`, with a table of a busier machine: its anchor took twice what it takes now."""
    path = front_in(here) / "table.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "anchor": {**table["anchor"], "floor_ms": table["anchor"]["floor_ms"] * 2}}))
    return here


EXPLAINED = "lasting: at the speed that the device had for its table, where it is faster now; budgets go by it\n"


def test_an_export_by_a_table_of_a_busier_machine_shows_the_time_for_which_a_budget_is_missed(faster: Path) -> None:
    shown = latnas("export", "--all", *as_typed(EXPORT))
    assert (shown.code, shown.raised) == (3, None)
    assert EXPLAINED in shown.stdout and "\n1 of 2 over budget\n" in shown.stdout
    (warning,) = (line for line in shown.stderr.splitlines() if "anchor network" in line)
    assert "takes 0.50 times" in warning and "the device is faster now, or was busy then" in warning
    assert "2.00 times what is measured now" in warning
    assert "search by: latnas profile --device analytic" in warning and warning.endswith(" --depth 1 --data digits")
    missed = latnas("export", "--lambda", 1, "--json", "--quiet", *as_typed(EXPORT))
    (export,) = json.loads(missed.stdout)["exports"]
    measured_ms, lasting_ms, budget_ms = export["measured_ms"]["p50"], export["lasting_ms"], export["budget_ms"]
    assert measured_ms < budget_ms < lasting_ms == pytest.approx(2 * measured_ms)
    (row,) = (line for line in shown.stdout.splitlines() if "missed" in line)
    assert row.index(format_ms(measured_ms)) < row.index(format_ms(lasting_ms)) < row.index("missed")


def test_files_over_budget_by_a_table_of_a_busier_machine_are_told_of_a_faster_device_alone(faster: Path) -> None:
    latnas("export", "--all", *as_typed(EXPORT))
    shown = latnas("verify", "--rounds", 4)
    assert (shown.code, shown.raised) == (3, None) and EXPLAINED in shown.stdout
    warning, error = (line for line in shown.stderr.splitlines() if line.startswith(("warning", "latnas")))
    assert "the device is faster now" in warning and "where the device is faster for good, measure it anew" in error
    assert not any(word in shown.stderr for word in ("slower", "in quiet", "not as exported", "less than at export"))


def test_where_nothing_was_corrected_the_final_table_has_one_time(
    exported_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(exported_run.glob("runs/*/exports/*/*/manifest.json"))
    for drift in (None, 1.0, 1.5):
        manifest = load_manifest(path).model_copy(update={"anchor_drift": drift})
        show.print_exported("exported networks", [ExportedFile(path.parent, manifest)])
        assert "lasting" not in capsys.readouterr().out


@pytest.mark.parametrize("columns", ["0", "", "wide"])
def test_a_width_that_is_none_hides_no_table(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    print_table("found", ["a", "b"], [["one " * 40, "2"]])
    assert "one " * 39 in capsys.readouterr().out


def test_texts_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    report = ConsoleReporter()
    report.say("table [bold]x[/bold] of [1, 2]")
    report.warn("[red]")
    assert capsys.readouterr() == ("", "table [bold]x[/bold] of [1, 2]\nwarning: [red]\n")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the console's clock shows, at position 0."""
    seconds = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: seconds[0])
    return seconds


def test_a_bar_away_from_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], now: list[float]
) -> None:
    with ConsoleReporter().bar("measuring") as bar:
        for second in range(31):
            now[0] = float(second)
            bar.update(second, 40, "rounds")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "measuring: 10/40 rounds, about 30 s left",
        "measuring: 20/40 rounds, about 20 s left",
        "measuring: 30/40 rounds, about 10 s left",
        "measuring: 30/40 rounds, 30.0 s",
    ]


def test_a_night_s_log_is_some_dozen_lines_and_parts_of_tasks_are_told_to_a_tenth(
    capsys: pytest.CaptureFixture[str], now: list[float]
) -> None:
    with ConsoleReporter().bar("training") as bar:
        for second in range(0, 8 * 3600, 2):
            now[0] = float(second)
            bar.update(5 * second / (8 * 3600), 5, "networks")
    lines = capsys.readouterr().err.splitlines()
    assert 80 < len(lines) < 160
    assert lines[0] == "training: 0/5 networks"
    assert lines[5] == "training: 0/5 networks, about 8.0 h left"
    assert any(re.fullmatch(r"training: 2\.\d/5 networks, about [34]\.\d h left", line) for line in lines), lines


def test_no_time_left_is_told_where_hardly_anything_is_done(
    capsys: pytest.CaptureFixture[str], now: list[float]
) -> None:
    """Of eleven tasks one tells its share, and the ten short ones are not told of before they are done."""
    with ConsoleReporter().bar("features") as bar:
        for second, done in ((0, 0.0), (10, 0.003), (20, 3.1)):
            now[0] = float(second)
            bar.update(done, 11, "tasks")
    assert capsys.readouterr().err.splitlines()[:2] == [
        "features: 0/11 tasks",
        "features: 3.1/11 tasks, about 51 s left",
    ]


def test_a_bar_that_was_told_nothing_says_how_long_it_took(
    capsys: pytest.CaptureFixture[str], now: list[float]
) -> None:
    with ConsoleReporter().bar("timing"):
        pass
    assert capsys.readouterr().err == "timing: 0.0 s\n"


def test_the_time_left_is_told_from_what_this_process_has_done(
    capsys: pytest.CaptureFixture[str], now: list[float]
) -> None:
    with ConsoleReporter().bar("training") as bar:
        bar.update(80, 100, "steps")  # an earlier process did these
        now[0] = 10.0
        bar.update(85, 100, "steps")
    assert capsys.readouterr().err.startswith("training: 85/100 steps, about 30 s left\n")


def test_a_bar_on_a_terminal_lasts_as_long_as_its_block(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with ConsoleReporter().bar("measuring") as bar:
        bar.update(0, 0)
        bar.update(2, 2, "rounds")
    out, err = capsys.readouterr()
    assert out == "" and "measuring" in err and "2/2 rounds" in err


def test_a_table_keeps_every_cell_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("title [x]", ["name", "number"], [["a" * 60, "1"], ["x[b] :key:", "2"]])
    out = capsys.readouterr().out
    assert "a" * 60 in out and "title [x]" in out and "x[b] :key:" in out


def test_a_table_is_as_wide_as_columns_says_and_away_from_a_terminal_as_wide_as_its_cells(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = ["a" * 150, "k7_e6|k7_e6|k5_e3 " * 5, "1"]
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table("title", ["file", "architecture", "test accuracy"], [cells])
    row = next(line for line in capsys.readouterr().out.splitlines() if "aaa" in line)
    assert cells[0] in row and cells[1].strip() in row
    monkeypatch.setenv("COLUMNS", "50")
    print_table("title", ["file", "test accuracy"], [["k7_e6|k7_e6|k5_e3 " * 5, "1"]])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 50 and any("accuracy" in line for line in lines)
    assert "".join(lines).count("k7_e6|k7_e6|k5_e3") == 5


def test_a_table_whose_words_do_not_fit_is_a_list(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    print_table("title", ["file", "parameters"], [["a" * 60, "1"], ["b", "2"]])
    assert capsys.readouterr().out == f"title\n\nfile: {'a' * 60}\nparameters: 1\n\nfile: b\nparameters: 2\n"


def test_the_version_is_that_of_the_package() -> None:
    shown = latnas("--version")
    assert (shown.code, shown.stdout, shown.stderr) == (0, f"latnas {version('latnas')}\n", "")
