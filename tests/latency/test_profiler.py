"""Plugins here are real entry points to modules made up for the test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from latnas.errors import WRONG_USAGE, LatnasError, UsageError
from latnas.latency import profiler
from latnas.latency.profiler import (
    GROUP,
    DeviceStatus,
    PluginReport,
    RunSettings,
    choose,
    described,
    installed,
    load_plugin,
    open_plugin,
    prepare,
    survey,
)
from latnas.latency.runtimes import SettingStatus

Install = Callable[..., None]


class Plugin:
    measures = "onnx"

    def __init__(self, runtime: str, *statuses: DeviceStatus) -> None:
        self.runtime = runtime
        self.statuses = statuses

    def devices(self) -> tuple[DeviceStatus, ...]:
        return self.statuses

    def open(self, device: str, settings: Any) -> Any:
        raise NotImplementedError


class Broken(Plugin):
    def devices(self) -> tuple[DeviceStatus, ...]:
        raise RuntimeError("the driver answered nonsense")


class Configurable(Plugin):
    """Opens a profiler that is what it was opened with."""

    def settings(self) -> list[Any]:
        return [
            SettingStatus("fast", "it is"),
            SimpleNamespace(name="x", detail="", values=[1, 2], device="", usable=1),
        ]

    def open(self, device: str, settings: Any) -> Any:
        return device, settings


class WithBrokenSettings(Plugin):
    def settings(self) -> Any:
        raise RuntimeError("the settings are secret")


def usable(*devices: str) -> tuple[DeviceStatus, ...]:
    return tuple(DeviceStatus(device, True, "a device") for device in devices)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs plugins, by entry-point name, in place of all that are installed."""
    entries: list[EntryPoint] = []
    monkeypatch.setattr(profiler, "entry_points", lambda group: entries if group == GROUP else [])

    def add(name: str, plugin: object, distribution: str = "") -> None:
        module = ModuleType(f"made_up_{name}_{len(entries)}")
        module.__dict__["plugin"] = plugin
        monkeypatch.setitem(sys.modules, module.__name__, module)
        entry = EntryPoint(name, f"{module.__name__}:plugin", GROUP)
        if distribution:
            vars(entry).update(dist=SimpleNamespace(name=distribution, version="1.2"))
        entries.append(entry)

    return add


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in which a test can install a distribution of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write_distribution(folder: Path, name: str, code: str) -> None:
    metadata = folder / f"{name}-2.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.1\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\nacme = {name}:plugin\n")
    (folder / f"{name}.py").write_text(code)


def test_a_third_party_plugin_is_found_by_its_package_metadata_alone(elsewhere: Path) -> None:
    write_distribution(
        elsewhere,
        "acme_npu",
        """
from types import SimpleNamespace as Status
class Plugin:
    runtime, measures = "acme", "onnx"
    def devices(self): return [Status(device="npu", usable=True, detail="Acme NPU 3")]
    def open(self, device, settings): return None
plugin = Plugin()
""",
    )
    assert installed()["acme"].value == "acme_npu:plugin"
    assert "acme_npu" not in sys.modules
    report = next(report for report in survey() if report.name == "acme")
    status = DeviceStatus("npu", True, "Acme NPU 3")
    assert report == PluginReport("acme", "acme_npu 2.1", "acme", (status,))
    assert choose("npu")[0].runtime == "acme"


def test_a_plugin_that_cannot_be_imported_becomes_a_report_and_a_named_error(elsewhere: Path) -> None:
    write_distribution(elsewhere, "acme_broken", "import a_package_that_is_not_there\n")
    report = next(report for report in survey() if report.name == "acme")
    assert report.distribution == "acme_broken 2.1"
    assert "No module named 'a_package_that_is_not_there'" in report.error
    with pytest.raises(LatnasError, match=r"'acme' of acme_broken 2\.1 cannot be imported .*ModuleNotFound"):
        load_plugin("acme")


def test_a_plugin_that_exits_or_fails_when_asked_does_not_stop_the_survey(
    install: Install, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("fine", Plugin("fine", *usable("cpu")))
    install("failing", Broken("failing"))
    install("junk", Plugin("junk", "cpu"))  # type: ignore[arg-type]
    install("nothing", object())
    install("a_class", Plugin)
    (elsewhere / "leaves_at_once.py").write_text("raise SystemExit(3)\n")
    profiler.entry_points(group=GROUP).append(EntryPoint("leaving", "leaves_at_once:plugin", GROUP))
    errors = {report.name: report.error for report in survey()}
    assert errors["fine"] == ""
    assert "RuntimeError: the driver answered nonsense" in errors["failing"]
    assert "'str' object has no attribute 'device'" in errors["junk"]
    assert "it lacks runtime, measures, devices, open" in errors["nothing"]
    assert "it is a class" in errors["a_class"]
    assert "SystemExit: 3" in errors["leaving"]
    with pytest.raises(LatnasError, match=r"cannot be imported \(SystemExit: 3\)"):
        load_plugin("leaving")


def test_an_unknown_runtime_is_wrong_usage_and_lists_those_installed(install: Install) -> None:
    install("onnxruntime", Plugin("onnxruntime"))
    install("acme", Plugin("acme"))
    with pytest.raises(UsageError, match=r"runtime 'tvm'. Installed: acme, onnxruntime\..*latnas devices") as it:
        load_plugin("tvm")
    assert it.value.code == WRONG_USAGE


def test_what_is_measured_must_be_a_known_artefact(install: Install) -> None:
    plugin = Plugin("acme")
    plugin.measures = "guesses"
    install("acme", plugin)
    with pytest.raises(LatnasError, match="measures 'guesses', which is none of onnx, torch, none"):
        load_plugin("acme")


def test_no_package_replaces_a_built_in_profiler_unseen(install: Install) -> None:
    install("torch", Plugin("imitation", *usable("cpu")), "aaa-tools")
    install("torch", Plugin("torch", *usable("cpu")), "latnas")
    assert load_plugin("torch").runtime == "torch"
    reports = {report.distribution: report for report in survey()}
    assert reports["latnas 1.2"].error == ""
    assert reports["aaa-tools 1.2"].error == "not used, since latnas 1.2 has a profiler of the same name"


def test_onnxruntime_is_preferred_then_torch_then_any_other(install: Install) -> None:
    install("acme", Plugin("acme", *usable("cpu", "npu", "cuda:0")))
    install("torch", Plugin("torch", *usable("cpu", "cuda:0")))
    install("onnxruntime", Plugin("onnxruntime", *usable("cpu")))
    assert [choose(device)[0].runtime for device in ("cpu", "cuda", "npu")] == ["onnxruntime", "torch", "acme"]
    assert {choose(device)[1] for device in ("cpu", "cuda", "npu")} == {""}
    assert choose("cpu", "acme")[0].runtime == "acme"


def test_a_preferred_runtime_that_cannot_use_the_device_is_passed_over_aloud(install: Install) -> None:
    lacking = DeviceStatus("cuda", False, "no CUDA provider; pip install onnxruntime-gpu")
    install("onnxruntime", Plugin("onnxruntime", *usable("cpu"), lacking))
    torch = Plugin("torch", *usable("cpu", "cuda:0"))
    torch.measures = "torch"
    install("torch", torch)
    plugin, note = choose("cuda")
    assert plugin.runtime == "torch"
    assert note == (
        "cuda is measured with torch, which runs the PyTorch module and not the ONNX file. "
        "onnxruntime cannot use cuda: no CUDA provider; pip install onnxruntime-gpu."
    )


def test_a_broken_preferred_runtime_is_passed_over_aloud(install: Install) -> None:
    install("onnxruntime", Broken("onnxruntime"))
    install("torch", Plugin("torch", *usable("cpu")))
    plugin, note = choose("cpu")
    assert plugin.runtime == "torch"
    assert "the driver answered nonsense" in note
    with pytest.raises(LatnasError, match="the driver answered nonsense"):
        choose("cpu", "onnxruntime")


def test_a_runtime_that_was_asked_for_and_cannot_serve_says_why(install: Install) -> None:
    lacking = DeviceStatus("cuda", False, "no CUDA provider")
    install("onnxruntime", Plugin("onnxruntime", *usable("cpu"), lacking))
    install("torch", Plugin("torch", *usable("cpu", "cuda:0")))
    with pytest.raises(UsageError, match="onnxruntime cannot use cuda: no CUDA provider"):
        choose("cuda", "onnxruntime")
    with pytest.raises(UsageError, match="torch knows of no device 'cuda:1', but of: cpu, cuda:0"):
        choose("cuda:1", "torch")


def test_a_device_that_nothing_can_use_lists_what_there_is(install: Install) -> None:
    lacking = DeviceStatus("cuda", False, "no CUDA provider")
    install("onnxruntime", Plugin("onnxruntime", *usable("cpu"), lacking))
    install("torch", Plugin("torch", *usable("cpu")))
    with pytest.raises(UsageError) as it:
        choose("cuda")
    assert str(it.value) == (
        "no installed runtime can use the device 'cuda'. onnxruntime cannot use cuda: no CUDA provider. "
        "Usable here: cpu with onnxruntime, cpu with torch. See why: latnas devices"
    )


@pytest.mark.parametrize(
    ("device", "listed", "is_served"),
    [
        ("cuda", "cuda:0", True),
        ("cuda:0", "cuda:0", True),
        ("cuda:1", "cuda:0", False),
        ("cuda:1", "cuda", True),
        ("cuda", "cuda:1", False),
        ("cpu", "cuda", False),
    ],
)
def test_a_plain_name_is_device_zero_or_stands_for_all(
    install: Install, device: str, listed: str, is_served: bool
) -> None:
    install("torch", Plugin("torch", *usable(listed)))
    if is_served:
        assert choose(device)[0].runtime == "torch"
    else:
        with pytest.raises(UsageError):
            choose(device)


def test_distributions_know_their_entry_points() -> None:
    """The fakes above set `dist` as importlib.metadata does."""
    entry = next(iter(Distribution.from_name("pytest").entry_points))
    assert entry.dist is not None
    assert entry.dist.name == "pytest"


# Settings of the runtime's own


def test_settings_that_a_plugin_offers_reach_it() -> None:
    plugin = Configurable("acme", *usable("cpu"))
    for settings in (RunSettings(), RunSettings(batch=2, runtime=("fast",)), RunSettings(runtime=("fast", "x=2"))):
        assert open_plugin(plugin, "cpu", settings) == ("cpu", settings)
    with pytest.raises(UsageError, match=r"acme has no setting 'slow'. Its settings: fast, x=1\|2\."):
        open_plugin(plugin, "cpu", RunSettings(runtime=("slow",)))


def test_a_plugin_that_knows_of_no_settings_is_opened_without_and_refuses_any() -> None:
    class Plain(Plugin):
        def open(self, device: str, settings: Any) -> Any:
            return device

    plugin = Plain("acme", *usable("cpu"))
    assert open_plugin(plugin, "cpu", RunSettings()) == "cpu"
    with pytest.raises(UsageError, match=r"acme has no setting 'fast'. It has none: --runtime acme\."):
        open_plugin(plugin, "cpu", RunSettings(runtime=("fast",)))


def test_a_plugin_whose_settings_fail_is_a_named_error_and_a_report(install: Install) -> None:
    install("acme", WithBrokenSettings("acme", *usable("cpu")))
    (report,) = survey()
    assert report.error == (
        "the profiler 'acme' failed when asked for its settings (RuntimeError: the settings are secret). "
        "Mend the package that it comes from, or uninstall it."
    )
    with pytest.raises(LatnasError, match="failed when asked for its settings"):
        open_plugin(load_plugin("acme"), "cpu", RunSettings(runtime=("fast",)))


@pytest.mark.parametrize("failing", ["open", "describe"])
def test_a_device_that_fails_when_it_is_started_or_asked_what_it_is_is_a_named_error(failing: str) -> None:
    class Failing(Plugin):
        def open(self, device: str, settings: Any) -> Any:
            if failing == "open":
                raise RuntimeError("CUDA unknown error")
            return self

        def describe(self) -> dict[str, str]:
            raise RuntimeError("CUDA unknown error")

    plugin = Failing("acme", *usable("cuda"))
    with pytest.raises(
        LatnasError, match=r"cuda cannot be used here: RuntimeError: CUDA unknown error\. See: latnas devices"
    ):
        described(open_plugin(plugin, "cuda", RunSettings()), "cuda")


def test_what_a_profiler_says_of_itself_is_text_whatever_it_answers() -> None:
    class Answers(Plugin):
        def describe(self) -> Any:
            return {"version": 3, 4: None}

    assert described(cast(Any, Answers("acme")), "npu") == {"version": "3", "4": "None"}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LatnasError("the file is refused."), "network a: the file is refused. Or: latnas devices"),
        (UsageError("no batch of 3 here"), "network a: no batch of 3 here. Or: latnas devices"),
        (RuntimeError("out of memory"), "network a: RuntimeError: out of memory. Or: latnas devices"),
    ],
)
def test_whatever_cannot_be_run_is_named_with_what_else_to_do_also_where_a_profiler_words_the_error(
    error: Exception, text: str
) -> None:
    class Refuses(Plugin):
        def prepare(self, workload: Any) -> Any:
            raise error

    with pytest.raises(LatnasError) as caught:
        prepare(cast(Any, Refuses("acme")), cast(Any, None), "network a", ". Or: latnas devices")
    assert str(caught.value) == text
    assert isinstance(caught.value, UsageError) == isinstance(error, UsageError)


def test_a_plugin_must_be_found_by_the_name_that_tables_will_have_of_it(install: Install) -> None:
    install("board", Plugin("onnxruntime", *usable("cpu")))
    with pytest.raises(LatnasError, match=r"'board' of .* calls its runtime 'onnxruntime', which must be the name of"):
        load_plugin("board")


def test_a_survey_has_the_settings_of_every_plugin_that_has_some(install: Install) -> None:
    install("acme", Configurable("acme", *usable("cpu")))
    install("plain", Plugin("plain", *usable("cpu")))
    settings = {report.name: report.settings for report in survey()}
    assert settings == {
        "acme": (SettingStatus("fast", "it is"), SettingStatus("x", "", ("1", "2"))),
        "plain": (),
    }
