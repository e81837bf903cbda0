"""Settings of a runtime from the profile to the prediction: real ONNX Runtime sessions, the smallest space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from small import Heard, profile_config

from latnas.errors import LatnasError, UsageError
from latnas.stages.common.tables import open_profiler, why_stale
from latnas.stages.predict import PredictConfig, predict
from latnas.stages.profile import ProfileConfig, Profiled, profile, verify
from latnas.words.table import load_table
from latnas_profilers.ort import OrtProfiler, OrtRunner

BASIC = "onnxruntime:spinning=off,optimisation=basic"
CANONICAL = "onnxruntime:optimisation=basic,spinning=off"


def config_of(folder: Path, runtime: str | None = BASIC, **changes: Any) -> ProfileConfig:
    given = {"device": "cpu", "runtime": runtime, "max_seconds": 1.0, "operations": False, **changes}
    return profile_config(folder, **given)


def predict_config(folder: Path, **changes: Any) -> PredictConfig:
    return PredictConfig(data="digits", tables=folder / "latency_tables", random=2, **changes)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Profiled:
    return profile(config_of(tmp_path_factory.mktemp("profiled")))


def test_a_table_keeps_the_settings_it_was_measured_with(profiled: Profiled) -> None:
    table = load_table(profiled.path)
    assert (table.runtime, table.measures) == (CANONICAL, "onnx")
    assert (table.environment["optimisation"], table.environment["spinning"]) == ("basic", "off")
    assert profiled.path.name == f"{table.name}.json" and table.name.startswith("cpu-onnxruntime-nasbench201-")


def test_what_is_measured_for_a_table_later_is_measured_with_its_settings(profiled: Profiled) -> None:
    profiler = open_profiler(profiled.table)
    assert isinstance(profiler, OrtProfiler)
    assert profiler.describe() == profiled.table.environment
    level = profiler._session_options().graph_optimization_level
    assert level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert why_stale(profiled.table) is None


def test_a_prediction_takes_the_only_table_whatever_its_settings(profiled: Profiled) -> None:
    result = predict(predict_config(profiled.path.parents[1]), heard := Heard())
    assert result.table == profiled.table and not heard.warned
    assert all(one.latency_ms.value > 0 for one in result.networks)


def test_the_same_settings_in_another_order_are_checked_against_the_same_table(profiled: Profiled) -> None:
    verified = verify(config_of(profiled.path.parents[1], CANONICAL, verify=2))
    assert (verified.path, verified.table) == (profiled.path, profiled.table)


def test_a_table_of_other_settings_is_never_taken_for_the_one_that_is_asked_for(tmp_path: Path) -> None:
    first = profile(config_of(tmp_path)).path
    verified = verify(config_of(tmp_path, None, verify=2))
    assert verified.path != first and verified.table.runtime == "onnxruntime"
    with pytest.raises(UsageError, match="several tables fit; name one") as it:
        predict(predict_config(tmp_path))
    listed = sorted(str(it.value).splitlines()[1:])
    runtimes = {first: CANONICAL, verified.path: "onnxruntime"}
    assert listed == sorted(f"  --table {path}  # cpu with {runtime}" for path, runtime in runtimes.items())
    assert predict(predict_config(tmp_path, table=first)).table.runtime == CANONICAL


def test_a_table_whose_settings_are_no_longer_offered_is_stale_and_says_why(profiled: Profiled) -> None:
    table = profiled.table.model_copy(update={"runtime": "onnxruntime:warp=9"})
    assert "onnxruntime has no setting 'warp=9'" in str(why_stale(table))


def test_a_runtime_that_fails_in_the_middle_keeps_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, failed = OrtRunner.run, list[bool]()

    def fails_once(self: OrtRunner, n: int) -> float:
        if not failed and any(path.stat().st_size for path in tmp_path.rglob("*-networks.jsonl")):
            failed.append(True)
            raise RuntimeError("the device was unplugged")
        return run(self, n)

    monkeypatch.setattr(OrtRunner, "run", fails_once)
    with pytest.raises(LatnasError, match=r"the device was unplugged.*goes on from what it has measured"):
        profile(config_of(tmp_path, rounds=200, max_seconds=None))
    heard = Heard()
    assert profile(config_of(tmp_path, CANONICAL, rounds=200), heard).table.runtime == CANONICAL
    assert any("of an interrupted profile" in text for text in heard.said)


def test_an_anchor_that_the_runtime_cannot_run_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: OrtProfiler, workload: Any) -> OrtRunner:
        raise RuntimeError("capture failed")

    monkeypatch.setattr(OrtProfiler, "prepare", fails)
    with pytest.raises(LatnasError, match=r"network .* cannot be run on this device: RuntimeError: capture failed"):
        profile(config_of(tmp_path))


@pytest.mark.parametrize(
    ("runtime", "reason"),
    [
        ("onnxruntime:", "is not of the form NAME"),
        ("onnxruntime:fast", "Its settings: CPUExecutionProvider, CUDAExecutionProvider, TensorrtExecutionProvider, "),
        ("torch:optimisation=basic", "Its settings: channels-last, compile, cuda-graphs"),
        ("analytic:exact", r"It has none: --runtime analytic\."),
        ("onnxruntime:arena=on,arena=off", "sets 'arena' twice"),
    ],
)
def test_wrong_settings_are_wrong_usage_before_anything_is_written(tmp_path: Path, runtime: str, reason: str) -> None:
    device = "analytic" if runtime.startswith("analytic") else "cpu"
    with pytest.raises(UsageError, match=reason):
        profile(profile_config(tmp_path, device=device, runtime=runtime))
    assert list(tmp_path.iterdir()) == []
