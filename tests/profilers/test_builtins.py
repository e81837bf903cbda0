from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch import nn

from latnas.errors import UsageError
from latnas.latency import profiler
from latnas.latency.profiler import GROUP, RunSettings, choose, load_plugin, survey
from latnas.latency.workload import Workload
from latnas_profilers import host

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
ENTRIES = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"][GROUP]


@pytest.fixture(autouse=True)
def _only_the_built_in_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pyproject.toml declares them, so that an installation that is out of date does not matter."""
    entries = [EntryPoint(name, value, GROUP) for name, value in ENTRIES.items()]
    monkeypatch.setattr(profiler, "entry_points", lambda group: entries)


def test_each_built_in_profiler_is_named_after_its_runtime() -> None:
    assert {name: load_plugin(name).runtime for name in ENTRIES} == {name: name for name in ENTRIES}


def test_a_survey_finds_the_cpu_twice_and_nothing_broken() -> None:
    reports = survey()
    assert [report.error for report in reports] == ["", "", ""]
    found = {(report.name, status.device) for report in reports for status in report.devices if status.usable}
    assert {("onnxruntime", "cpu"), ("torch", "cpu"), ("analytic", "analytic")} <= found


def test_the_cpu_is_measured_with_onnxruntime_and_the_formula_with_itself() -> None:
    assert [choose(device)[0].runtime for device in ("cpu", "analytic")] == ["onnxruntime", "analytic"]
    assert [choose(device)[1] for device in ("cpu", "analytic")] == ["", ""]


@pytest.mark.parametrize(("runtime", "device"), [("onnxruntime", "cpu"), ("torch", "cpu"), ("analytic", "analytic")])
def test_descriptions_are_words_that_stay_the_same_and_hold_the_settings(runtime: str, device: str) -> None:
    plugin = load_plugin(runtime)
    settings = RunSettings(batch=4, threads=2)
    description = plugin.open(device, settings).describe()
    assert description == plugin.open(device, settings).describe()
    assert (description["batch"], description["threads"], description["precision"]) == ("4", "2", "fp32")
    assert description["runtime"] == runtime
    assert all(isinstance(key, str) and isinstance(value, str) and value for key, value in description.items())


@pytest.mark.parametrize(("runtime", "device"), [("onnxruntime", "cpu"), ("torch", "cpu"), ("analytic", "analytic")])
def test_settings_that_are_not_offered_are_wrong_usage(runtime: str, device: str) -> None:
    plugin = load_plugin(runtime)
    offered = "in fp32, fp16, int8" if runtime == "onnxruntime" else "in fp32 only"
    with pytest.raises(UsageError, match=f"{offered}, not in 'int4'"):
        plugin.open(device, RunSettings(precision="int4"))
    with pytest.raises(UsageError, match="at least 1"):
        plugin.open(device, RunSettings(threads=0))
    with pytest.raises(UsageError, match=r"latnas devices|--device analytic"):
        plugin.open("tpu", RunSettings())
    with pytest.raises(UsageError, match=r"latnas devices|--device analytic"):
        plugin.open("cuda:x", RunSettings())


@pytest.mark.parametrize(("runtime", "device"), [("onnxruntime", "cpu"), ("torch", "cpu"), ("analytic", "analytic")])
def test_another_batch_than_the_settings_say_is_not_measured(runtime: str, device: str) -> None:
    profiling = load_plugin(runtime).open(device, RunSettings(batch=2))
    profiling.prepare(Workload(nn.ReLU(), torch.zeros(2, 3)))
    with pytest.raises(ValueError, match="the settings say batch 2"):
        profiling.prepare(Workload(nn.ReLU(), torch.zeros(1, 3)))


def test_the_processor_goes_by_its_own_name_or_that_of_its_board(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel : 1\nmodel name\t: Acme 3000 @ 2 GHz\nflags : fma\n")
    assert host.cpu_name(cpuinfo) == "Acme 3000 @ 2 GHz"
    cpuinfo.write_text("processor : 0\nBogoMIPS : 108\n\nModel : Acme Board 4 B\n")
    assert host.cpu_name(cpuinfo) == "Acme Board 4 B"
    assert host.cpu_name(tmp_path / "none") != ""


def test_the_name_of_the_host_is_not_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "secret-laptop")
    first = host.describe_host()
    assert "secret-laptop" not in str(first)
    monkeypatch.setattr("platform.node", lambda: "other-laptop")
    assert host.describe_host()["host"] != first["host"]


def test_a_gpu_is_named_through_its_driver_and_by_its_visible_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "Acme GPU $1, 555.1"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-aa")
    assert host.gpu_description(0) == {"gpu": "Acme GPU --id=3", "driver": "555.1"}
    assert host.gpu_description(1) == {"gpu": "Acme GPU --id=GPU-aa", "driver": "555.1"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert host.gpu_description(1) == {"gpu": "Acme GPU --id=1", "driver": "555.1"}
    assert host.gpu_driver() == {"driver": "555.1"}
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert host.gpu_description(0) == {"gpu": "an NVIDIA GPU that nvidia-smi does not name"}
    assert host.gpu_driver() == {}
