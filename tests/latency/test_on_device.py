"""`measure.py`: as one file without latnas and torch, and its parts with made-up runners."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from latnas.latency import on_device
from latnas.latency.on_device import ANCHOR, CannotMeasureError, Conditions, conditions_of, main
from latnas.latency.standalone import measure_script

ALONE = """
import runpy, sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in FORBIDDEN:
            raise ImportError(f"{name} is not to\\nbe had on a device")

sys.meta_path.insert(0, Forbidden())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
NEVER_THERE = ("torch", "latnas", "latnas_profilers", "onnx", "scipy", "pydantic", "psutil")
DEVICE: dict[str, Any] = {
    "device": "cpu", "threads": 1, "batch": 2, "precision": "fp32", "p50_factor": 1.1, "p90_factor": 1.4,
    "anchor_ms": 0.5,
}  # fmt: skip


def convolution(kind: int = TensorProto.FLOAT) -> bytes:
    """An ONNX file: one convolution of images [N, 1, 8, 8], which may be bytes."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 1, 3, 3], [0.1] * 18)
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "w"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", kind, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2, 6, 6])], [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model.SerializeToString()


def export_in(folder: Path, file: bytes | None = None, **changes: Any) -> Path:
    """A folder with all that `measure.py` needs, itself among it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = convolution() if file is None else file
    manifest = {
        "schema": "latnas-manifest-1", "runtime": "onnxruntime:optimisation=basic,spinning=off", "quote": "p50",
        "budget_ms": 1000.0, "sha256": hashlib.sha256(content).hexdigest(), "device": DEVICE, **changes,
    }  # fmt: skip
    (folder / "model.onnx").write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "measure.py").write_text(measure_script())
    return folder


def alone(folder: Path, *words: str, without: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """`python measure.py` in a process that can import neither torch nor latnas, nor what it is `without`."""
    script = f"FORBIDDEN = {(*NEVER_THERE, *without)}\n{ALONE}"
    command = [sys.executable, "-I", "-c", script, str(folder / "measure.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder.parent, timeout=100)


# The one file


def test_the_script_is_python_3_9_and_imports_only_numpy_and_onnxruntime_beside_the_standard_library() -> None:
    tree = ast.parse(measure_script(), feature_version=(3, 9))
    needed = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            needed |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            needed.add(str(node.module).split(".")[0])
    assert needed - {*sys.stdlib_module_names} == {"numpy", "onnxruntime"}
    newer = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg in ("strict", "slots")]
    assert not newer, "zip(strict=) and dataclass(slots=) are newer than Python 3.9"
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"pairwise", "bit_count", "batched"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    checks = [node for node in calls if node.func.id in ("isinstance", "issubclass")]
    assert not [one for one in checks for part in ast.walk(one.args[1]) if isinstance(part, ast.BitOr)]


def test_no_part_of_the_script_defines_what_another_one_defines() -> None:
    defined = Counter[str]()
    for node in ast.parse(measure_script()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] += 1
        elif isinstance(node, ast.Assign):
            names = [part for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            defined.update(name.id for name in names)
    assert defined["measure"] == defined["sustain"] == defined["OrtRunner"] == defined["main"] == 1
    assert not [name for name, count in defined.items() if count > 1]


def test_the_script_counts_gpus_as_nvidia_smi_does_before_onnxruntime_looks_at_them() -> None:
    order, importing = 'setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")', "import onnxruntime"
    assert 0 < measure_script().index(order) < measure_script().index(importing)


def test_without_torch_and_latnas_a_file_within_its_budget_is_measured_beside_the_anchor(tmp_path: Path) -> None:
    folder = export_in(tmp_path / "1000ms")
    (tmp_path / ANCHOR).write_bytes(convolution())
    shown = alone(folder, "--rounds", "5", "--sustained", "20ms", "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    value = json.loads(shown.stdout)
    assert value["quoted_ms"] == pytest.approx(1.1 * value["floor_ms"])
    assert 0 < value["floor_ms"] < 1000 and 0 < value["p50_ms"] <= value["p90_ms"]
    assert value["margin"] == pytest.approx(1 - value["lasting_ms"] / 1000)
    assert value["unchecked"] is None
    assert value["drift"] > 0 and value["onnxruntime"] == onnxruntime.__version__
    assert value["sustained"]["seconds"] >= 0.02 and value["sustained"]["calls"] >= 1
    assert (value["threads"], value["batch"], value["sha256_matches"], value["faults"]) == (1, 2, True, [])
    assert not list(folder.glob("__pycache__"))


def test_without_torch_and_latnas_a_file_over_its_budget_exits_3_and_says_by_how_much(tmp_path: Path) -> None:
    shown = alone(export_in(tmp_path / "tight", budget_ms=1e-6), "--rounds", "4")
    assert shown.returncode == 3
    assert "over the budget" in shown.stdout and shown.stdout.endswith("over budget\n")


@pytest.mark.parametrize("package", ["numpy", "onnxruntime"])
def test_a_device_without_what_the_script_needs_is_told_in_one_line_what_to_install(
    tmp_path: Path, package: str
) -> None:
    shown = alone(export_in(tmp_path / "here"), without=[package])
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr == (
        "measure.py: needs numpy and onnxruntime: pip install numpy onnxruntime "
        f"({package} is not to be had on a device)\n"
    )


def test_the_script_has_a_page_of_help_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    folder = export_in(tmp_path / "here")
    shown = alone(folder, "--help")
    assert shown.returncode == 0 and "Exit codes: 0 within the budget" in shown.stdout
    assert "130 interrupted" in shown.stdout
    for words in (["--sustained", "60"], ["--sustained=-1s"], ["--sustained", "0s"], ["--rounds", "0"], ["--fast"]):
        with pytest.raises(SystemExit) as ended:
            main(folder, words)
        assert ended.value.code == 2


# Its parts


class MadeUp:
    """A session that takes what it is told, in seconds, and remembers its calls."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, n: int) -> float:
        return n * self.seconds


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, MadeUp]:
    """Runners by the content of the file; of any other file the real one."""
    runners, real = dict[bytes, MadeUp](), on_device._runner
    monkeypatch.setattr(on_device, "_runner", lambda file, how: runners.get(file) or real(file, how))
    return runners


def measured(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Mapping[str, Any]]:
    code = main(folder, ["--rounds", "4", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("quote", "factor"), [("floor", 1.0), ("p50", 1.1), ("p90", 1.4)])
def test_a_budget_applies_to_the_floor_times_the_frozen_factor_of_the_table(
    tmp_path: Path, made_up: dict[bytes, MadeUp], capsys: pytest.CaptureFixture[str], quote: str, factor: float
) -> None:
    made_up[b"model"] = MadeUp(2**-10)
    floor_ms = 1e3 * 2**-10
    for share, expected in ((0.99, 3), (1.01, 0)):
        budget_ms = share * factor * floor_ms
        folder = export_in(tmp_path / "here", b"model", quote=quote, budget_ms=budget_ms)
        code, value = measured(folder, capsys)
        assert code == expected
        assert (value["floor_ms"], value["quoted_ms"]) == (floor_ms, pytest.approx(factor * floor_ms))
        assert value["margin"] == pytest.approx(1 - 1 / share)
        assert value["faults"] == (["over budget"] if expected else [])


@pytest.mark.parametrize("where", ["beside the file", "beside the folders"])
def test_the_anchor_tells_how_much_slower_the_device_is(
    tmp_path: Path, made_up: dict[bytes, MadeUp], capsys: pytest.CaptureFixture[str], where: str
) -> None:
    made_up |= {b"model": MadeUp(2**-10), b"anchor": MadeUp(0.6e-3)}
    folder = export_in(tmp_path / "1ms", b"model")
    ((folder if where == "beside the file" else tmp_path) / ANCHOR).write_bytes(b"anchor")
    _, value = measured(folder, capsys)
    assert value["drift"] == pytest.approx(0.6 / DEVICE["anchor_ms"])
    assert value["floor_ms"] == pytest.approx(1e3 * 2**-10)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"latnas.anchor another", "it is the anchor of another table. Copy that of this file's set"),
        (b"cut", "ONNX Runtime cannot run the file"),
    ],
)
def test_an_anchor_that_is_another_table_s_or_damaged_is_not_measured_and_says_why(
    tmp_path: Path, made_up: dict[bytes, MadeUp], capsys: pytest.CaptureFixture[str], content: bytes, reason: str
) -> None:
    """Files of two sets that were copied into one folder have the anchor of one."""
    made_up |= {
        b"model": MadeUp(2**-10),
        b"latnas.anchor another": MadeUp(0.1e-3),
        b"latnas.anchor own": MadeUp(0.6e-3),
    }
    folder = export_in(tmp_path / "1ms", b"model", device={**DEVICE, "anchor": "own"})
    (tmp_path / ANCHOR).write_bytes(content)
    code, value = measured(folder, capsys)
    (remark,) = value["remarks"]
    assert (code, value["drift"]) == (0, None)
    assert remark.startswith(f"{tmp_path / ANCHOR} is not measured") and reason in remark
    (tmp_path / ANCHOR).write_bytes(b"latnas.anchor own")
    _, value = measured(folder, capsys)
    assert (value["drift"], value["remarks"]) == (pytest.approx(0.6 / DEVICE["anchor_ms"]), [])


@pytest.mark.parametrize(("anchor", "code", "lasting_ms"), [(0.5, 3, 1.5), (1.0, 0, 0.75), (2.0, 0, 0.75)])
def test_a_device_that_is_fast_at_the_moment_is_judged_at_the_table_s_speed_as_export_does(
    tmp_path: Path,
    made_up: dict[bytes, MadeUp],
    capsys: pytest.CaptureFixture[str],
    anchor: float,
    code: int,
    lasting_ms: float,
) -> None:
    floor_ms = 0.75 / DEVICE["p50_factor"]
    made_up |= {b"model": MadeUp(1e-3 * floor_ms), b"anchor": MadeUp(1e-3 * anchor * DEVICE["anchor_ms"])}
    folder = export_in(tmp_path / "1ms", b"model", quote="p50", budget_ms=1.0)
    (tmp_path / ANCHOR).write_bytes(b"anchor")
    found_code, value = measured(folder, capsys)
    assert found_code == code
    assert (value["quoted_ms"], value["lasting_ms"]) == pytest.approx((0.75, lasting_ms))
    assert value["margin"] == pytest.approx(1 - lasting_ms)
    main(folder, ["--rounds", "4"])
    assert ("at the table's speed" in capsys.readouterr().out) == (anchor < 1)


def test_a_device_that_was_busy_is_looked_at_again_and_the_fastest_look_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter((4.0, 3.0, 0.5, 0.1))

    def look(bench: object) -> on_device.Found:
        ms = next(looks)
        return on_device.Found(ms, ms, ms, ms, None)

    monkeypatch.setattr(on_device, "_look", look)
    monkeypatch.setattr(on_device, "_runner", lambda file, conditions: None)
    code, value = measured(export_in(tmp_path / "1ms", b"model", budget_ms=1.0), capsys)
    assert (code, value["quoted_ms"]) == (0, 0.5)
    assert next(looks) == 0.1, "no look more than it takes"


def test_a_file_that_is_not_the_manifest_s_is_not_run(
    tmp_path: Path, made_up: dict[bytes, MadeUp], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export_in(tmp_path / "1ms", b"model")
    (folder / "model.onnx").write_bytes(b"another")
    code, value = measured(folder, capsys)
    assert (code, value["sha256_matches"], value["quoted_ms"]) == (3, False, None)
    assert main(folder, []) == 3
    assert "not the file that the manifest is of" in capsys.readouterr().out


def test_load_without_a_rest_over_the_budget_fails_although_bursts_were_within(
    tmp_path: Path, made_up: dict[bytes, MadeUp], capsys: pytest.CaptureFixture[str]
) -> None:
    made_up[b"model"] = MadeUp(2**-10)
    folder = export_in(tmp_path / "1ms", b"model", quote="floor", budget_ms=1.0)

    def warm(file: bytes, conditions: Conditions) -> MadeUp:
        return Heating(2**-10)

    assert measured(folder, capsys, "--sustained", "1s")[0] == 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(on_device, "_runner", warm)
        code, value = measured(folder, capsys, "--sustained", "10s")
    assert code == 3 and value["faults"] == ["over budget under load"]
    assert value["sustained"]["throttling"] > 1.1 and "the device throttles" in value["remarks"][0]
    assert main(folder, ["--rounds", "4", "--sustained", "1s"]) == 0
    assert "under load" in capsys.readouterr().out


@pytest.mark.parametrize(("then", "code"), [(1.0, 0), (0.8, 3)])
def test_load_without_a_rest_is_held_against_the_budget_at_the_speed_of_the_anchor_right_before_it(
    tmp_path: Path, made_up: dict[bytes, MadeUp], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    then: float, code: int,
) -> None:  # fmt: skip
    """It was as fast as for the table in the bursts of the file, or faster, and the other way round under load."""
    floor_ms, anchor = 0.9 / DEVICE["p50_factor"], MadeUp(1e-3 * (1.8 - then) * DEVICE["anchor_ms"])
    made_up |= {b"model": MadeUp(1e-3 * floor_ms * (1.8 - then)), b"anchor": anchor}
    looks = on_device.lowest_of_looks

    def changed(*given: Any) -> on_device.Found:
        found = looks(*given)
        anchor.seconds, made_up[b"model"].seconds = 1e-3 * then * DEVICE["anchor_ms"], 0.9e-3
        return found

    monkeypatch.setattr(on_device, "lowest_of_looks", changed)
    folder = export_in(tmp_path / "1ms", b"model", quote="p50", budget_ms=1.0)
    (tmp_path / ANCHOR).write_bytes(b"anchor")
    found_code, value = measured(folder, capsys, "--sustained", "1s")
    assert (found_code, value["sustained"]["drift"]) == (code, pytest.approx(then))
    assert value["faults"] == (["over budget under load"] if code else [])


@pytest.mark.parametrize(("calls", "code"), [(1.05, 0), (1.15, 3)])
def test_load_without_a_rest_is_held_against_a_budget_of_floors_as_the_floor_that_it_comes_to(
    tmp_path: Path, made_up: dict[bytes, MadeUp], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    calls: float, code: int,
) -> None:  # fmt: skip
    made_up[b"model"] = MadeUp(0.99e-3)
    sustain = on_device.sustain
    monkeypatch.setattr(on_device, "sustain", lambda runner, *how: sustain(MadeUp(1e-3 * calls), *how))
    folder = export_in(tmp_path / "1ms", b"model", quote="floor", budget_ms=1.0)
    assert measured(folder, capsys, "--sustained", "1s")[0] == code


class Heating(MadeUp):
    """Gets slower for good after two thousand single calls."""

    calls = 0

    def run(self, n: int) -> float:
        self.calls += n == 1
        return super().run(n) * (2.0 if self.calls > 2000 else 1.0)


def test_the_settings_of_the_table_are_those_that_the_file_is_run_with(tmp_path: Path) -> None:
    manifest = json.loads((export_in(tmp_path / "here") / "manifest.json").read_text())
    conditions = conditions_of(manifest)
    assert conditions.settings == ("optimisation=basic", "spinning=off")
    assert (conditions.device, conditions.threads, conditions.batch) == ("cpu", 1, 2)
    runner = on_device._runner(convolution(), conditions)
    options = runner._session.get_session_options()
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == 1
    assert {name: given.shape for name, given in runner._feed.items()} == {"images": (2, 1, 8, 8)}


def test_a_file_that_takes_bytes_is_given_bytes() -> None:
    conditions = Conditions("cpu", (), 1, 1, "fp32", None, None, None, "", None)
    assert on_device._runner(convolution(TensorProto.UINT8), conditions)._feed["images"].dtype == "uint8"
    with pytest.raises(CannotMeasureError, match=r"input images is a tensor\(int64\)"):
        on_device._runner(convolution(TensorProto.INT64), conditions)


@pytest.mark.parametrize(
    ("runtime", "device", "expected"),
    [("torch:compile", "cpu", "cpu"), ("torch", "cuda:1", "cuda:1"), ("analytic", "analytic", "cpu")],
)
def test_a_budget_that_was_set_for_another_runtime_is_not_said_to_be_kept(
    tmp_path: Path, made_up: dict[bytes, MadeUp], capsys: pytest.CaptureFixture[str],
    runtime: str, device: str, expected: str,
) -> None:  # fmt: skip
    made_up[b"model"] = MadeUp(2**-10)
    folder = export_in(tmp_path / "here", b"model", runtime=runtime, device={**DEVICE, "device": device})
    (folder / ANCHOR).write_bytes(b"anchor")
    code, value = measured(folder, capsys)
    assert (code, value["device"], value["drift"]) == (1, expected, None)
    assert value["quoted_ms"] == value["floor_ms"], "by its own single calls, not by the factor of another runtime"
    assert (value["margin"], value["faults"], value["remarks"]) == (None, [], [])
    reason = (
        f"the budget was set for the runtime {runtime.partition(':')[0]}, and this is ONNX Runtime: "
        "the figures are no check of it"
    )
    assert value["unchecked"] == reason
    assert main(folder, ["--rounds", "4"]) == 1
    text = capsys.readouterr().out
    assert text.endswith(f"\nnot checked: {reason}\n") and "the budget\n" not in text


def test_nor_is_one_of_another_runtime_said_to_be_missed_but_another_file_is(
    tmp_path: Path, made_up: dict[bytes, MadeUp], capsys: pytest.CaptureFixture[str]
) -> None:
    made_up[b"model"] = MadeUp(2**-10)
    folder = export_in(tmp_path / "here", b"model", runtime="analytic", budget_ms=1e-6)
    code, value = measured(folder, capsys, "--sustained", "1s")
    assert (code, value["faults"]) == (1, [])
    (folder / "model.onnx").write_bytes(b"another")
    code, value = measured(folder, capsys)
    assert (code, value["faults"]) == (3, ["it is not the file that the manifest is of"])


def test_an_older_manifest_is_measured_on_the_cpu_and_says_what_it_lacks(
    tmp_path: Path, made_up: dict[bytes, MadeUp], capsys: pytest.CaptureFixture[str]
) -> None:
    made_up[b"model"] = MadeUp(2**-10)
    code, value = measured(export_in(tmp_path / "here", b"model", device=None), capsys)
    assert code == 0 and "does not say how its table was measured" in value["remarks"][0]
    code, value = measured(export_in(tmp_path / "here", b"model", device=None, runtime="torch"), capsys)
    assert code == 1 and "for the runtime torch" in value["unchecked"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runtime": "onnxruntime:TensorrtExecutionProvider"}, "has no TensorrtExecutionProvider here"),
        ({"device": {**DEVICE, "device": "cuda"}}, "install onnxruntime-gpu"),
        ({"runtime": "onnxruntime:optimisation=most"}, "cannot run the file: KeyError"),
        ({"device": {**DEVICE, "threads": "many"}}, "the manifest's device is damaged"),
        ({"device": {"device": "cpu"}}, "the manifest's device is damaged"),
        ({"device": {**DEVICE, "p50_factor": float("nan")}}, "nan is not above zero and finite"),
        ({"device": {**DEVICE, "anchor_ms": 0}}, "0 is not above zero and finite"),
        ({"device": {**DEVICE, "anchor": 3}}, "3 names no anchor"),
        ({"budget_ms": float("inf")}, "is no manifest of latnas: see its quote, budget_ms"),
        ({"runtime": "onnxruntime:\x1b[31m\ud800Provider"}, "has no ?[31m?Provider here"),
        ({"budget_ms": "4ms"}, "is no manifest of latnas: see its budget_ms"),
        ({"quote": "p75"}, "is no manifest of latnas: see its quote, budget_ms"),
        ({"sha256": None}, "is no manifest of latnas: see its sha256"),
    ],
)
def test_what_cannot_be_measured_here_exits_1_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    change: dict[str, Any], message: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert main(export_in(tmp_path / "here", **change), []) == 1
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.startswith("measure.py: ") and shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_file_that_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    folder = export_in(tmp_path / "here")
    (folder / name).unlink()
    assert main(folder, []) == 1
    assert f"cannot read {folder / name}: No such file" in capsys.readouterr().err


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = export_in(tmp_path / "here")
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    assert main(folder, []) == 1
    assert "manifest.json is no file" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{", "3", "[" * 100_000])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    folder = export_in(tmp_path / "here")
    (folder / "manifest.json").write_text(text)
    assert main(folder, []) == 1
    assert "manifest.json" in capsys.readouterr().err


def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(export_in(tmp_path / "here", b"nonsense"), []) == 1
    assert "ONNX Runtime cannot run the file" in capsys.readouterr().err
    assert onnx.load_from_string(convolution()), "while this one is"


def test_ctrl_c_ends_it_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(file: bytes, conditions: Conditions) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(on_device, "_runner", stop)
    assert main(export_in(tmp_path / "here"), []) == 130
    assert capsys.readouterr().err == "measure.py: interrupted\n"
