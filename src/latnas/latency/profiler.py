"""Profilers: what they must do, and how latnas finds them.

A profiler knows one thing: how to run a workload on one device and time it. Rounds and statistics are in
`latnas.latency.measure`. Anyone's package can bring one, by the door that the built-in ones use too: an entry
point in the group `latnas.profilers`, whose name is what `--runtime` says, and which leads to an object that
is a `ProfilerPlugin`, or a `ConfigurablePlugin`. The protocols are structural: a plugin inherits from nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Protocol, cast

from latnas.errors import LatnasError, UsageError
from latnas.latency.measure import Runner
from latnas.latency.runtimes import Runtime, SettingStatus, check_runtime_settings

if TYPE_CHECKING:
    from latnas.latency.workload import Workload

GROUP = "latnas.profilers"
# Tried in this order where no runtime is asked for; any other that serves the device comes after them.
PREFERRED = ("onnxruntime", "torch")
ARTEFACTS = ("onnx", "torch", "none")


@dataclass(frozen=True)
class DeviceStatus:
    """One device as one runtime sees it.

    `detail` names hardware and versions where the device is usable, else says why not and what to install.
    """

    device: str
    usable: bool
    detail: str


@dataclass(frozen=True)
class RunSettings:
    """How workloads are run. All of it belongs to what a time is a time of.

    `runtime` are settings of the runtime's own, in canonical order, as `Runtime.settings` has them.
    """

    batch: int = 1
    threads: int = 1
    precision: str = "fp32"
    runtime: tuple[str, ...] = ()


class Profiler(Protocol):
    """Runs workloads on one device, with one runtime, under fixed settings."""

    def describe(self) -> dict[str, str]:
        """Whatever would change the times: hardware, runtime, versions, settings. The same whenever asked."""

    def prepare(self, workload: Workload) -> Runner:
        """Puts the workload on the device, ready to run."""


class ProfilerPlugin(Protocol):
    """What an entry point leads to: a runtime, and the devices that it can use here."""

    runtime: str
    """The name of its entry point."""

    measures: str
    """What it runs: `onnx`, the file; `torch`, the module; `none`, nothing, because it computes its times."""

    def devices(self) -> Sequence[DeviceStatus]:
        """Every device that the runtime knows of, usable or not, as `cpu`, `cuda:0`, or a name of its own."""

    def open(self, device: str, settings: RunSettings) -> Profiler:
        """A profiler of this device.

        Raises:
            UsageError: the device is not there, or the settings are not offered on it.
        """


class ConfigurablePlugin(ProfilerPlugin, Protocol):
    """A plugin that has settings of its own. One without `settings` is opened without any, and needs to know of none.

    What a setting changes must show in `Profiler.describe`, as anything that changes times.
    """

    def settings(self) -> Sequence[SettingStatus]:
        """Every setting that there is, usable here or not. `open` is given those that can be used on its device."""


@dataclass(frozen=True)
class PluginReport:
    """One installed plugin, as `latnas devices` shows it. `error` says why it cannot be used, if so."""

    name: str
    distribution: str
    runtime: str = ""
    devices: tuple[DeviceStatus, ...] = ()
    error: str = ""
    settings: tuple[SettingStatus, ...] = ()


def installed() -> dict[str, EntryPoint]:
    """Installed plugins by name. Reads package metadata only: imports none of them."""
    # Of two with one name the first stays, and latnas' own is first: no package replaces it unseen.
    return {entry.name: entry for entry in reversed(_entries())}


def load_plugin(name: str) -> ProfilerPlugin:
    """The plugin called `name`.

    Raises:
        UsageError: none is called so.
        LatnasError: it cannot be imported, or is not a plugin.
    """
    found = installed()
    if name not in found:
        raise UsageError(
            f"no profiler is installed for the runtime {name!r}. "
            f"Installed: {', '.join(sorted(found)) or 'none'}. What each can use: latnas devices"
        )
    return _load(found[name])


def survey() -> list[PluginReport]:
    """A report of every installed plugin. Never raises: of a broken plugin the report says what is wrong."""
    kept = installed()
    return [_report(entry, kept[entry.name]) for entry in _entries()]


def choose(device: str, runtime: str | None = None) -> tuple[ProfilerPlugin, str]:
    """The plugin that measures on `device`, and what the user must be told of the choice, mostly nothing.

    `runtime` if it is given; else ONNX Runtime where it can use the device, since it runs the file that
    ships; else PyTorch; else any other.

    Raises:
        UsageError: no runtime, or not this one, can use the device.
        LatnasError: the runtime asked for is broken.
    """
    if runtime is not None:
        return _asked_for(runtime, device), ""
    passed_over: list[str] = []
    usable: list[str] = []
    for name in sorted(installed(), key=_preference):
        try:
            plugin = load_plugin(name)
            statuses = _devices(plugin)
        except LatnasError as error:
            passed_over.append(str(error))
            continue
        status = _status_of(device, statuses)
        if status is not None and status.usable:
            return plugin, _note(device, plugin, passed_over)
        if status is not None:
            passed_over.append(f"{name} cannot use {status.device}: {status.detail}.")
        usable += [f"{other.device} with {name}" for other in statuses if other.usable]
    raise UsageError(
        f"no installed runtime can use the device {device!r}. {' '.join([*passed_over, ''])}"
        f"Usable here: {', '.join(usable) or 'none'}. See why: latnas devices"
    )


def open_plugin(plugin: ProfilerPlugin, device: str, settings: RunSettings) -> Profiler:
    """A profiler of this device, once the runtime's own settings are known to be offered there.

    Raises:
        UsageError: the device is not there, or a setting is not offered on it.
        LatnasError: the plugin fails when asked for its settings, or cannot start the device.
    """
    if settings.runtime:
        check_runtime_settings(Runtime(plugin.runtime, settings.runtime), _settings(plugin), device)
    with _starting(device):
        return plugin.open(device, settings)


def described(profiler: Profiler, device: str) -> dict[str, str]:
    """What the profiler says of its device and of itself.

    Raises:
        LatnasError: it fails when asked, as where a driver does not fit.
    """
    with _starting(device):
        return {str(name): str(value) for name, value in profiler.describe().items()}


def prepare(profiler: Profiler, workload: Workload, what: str, remedy: str = "") -> Runner:
    """The workload, ready to run. Whatever a profiler, which may be a stranger's, raises becomes one message.

    Args:
        what: begins the message: what cannot be run, and where.
        remedy: ends it.

    Raises:
        LatnasError: the workload cannot be run.
    """
    with _in_one_message(what, remedy):
        try:
            return profiler.prepare(workload)
        except LatnasError as error:
            raise type(error)(f"{what}: {str(error).rstrip('.') + remedy if remedy else error}") from error


def _starting(device: str) -> AbstractContextManager[None]:
    """Within this block whatever a profiler raises is that the device cannot be used."""
    return _in_one_message(f"{device} cannot be used here", ". See: latnas devices")


@contextmanager
def _in_one_message(what: str, remedy: str) -> Iterator[None]:
    """Whatever a profiler raises becomes one message, except for those that it words itself."""
    try:
        yield
    except LatnasError:
        raise
    except Exception as error:
        raise LatnasError(f"{what}: {type(error).__name__}: {str(error)[:300]}{remedy}") from error


def _note(device: str, plugin: ProfilerPlugin, passed_over: Sequence[str]) -> str:
    if not passed_over:
        return ""
    caution = ", which runs the PyTorch module and not the ONNX file" if plugin.measures == "torch" else ""
    return f"{device} is measured with {plugin.runtime}{caution}. {' '.join(passed_over)}"


def _asked_for(runtime: str, device: str) -> ProfilerPlugin:
    plugin = load_plugin(runtime)
    statuses = _devices(plugin)
    status = _status_of(device, statuses)
    if status is None:
        known = ", ".join(other.device for other in statuses) or "none"
        raise UsageError(
            f"{runtime} knows of no device {device!r}, but of: {known}. What each runtime can use: latnas devices"
        )
    if not status.usable:
        raise UsageError(f"{runtime} cannot use {status.device}: {status.detail}. What it can use: latnas devices")
    return plugin


def _preference(name: str) -> tuple[int, str]:
    return (PREFERRED.index(name) if name in PREFERRED else len(PREFERRED), name)


def _status_of(device: str, statuses: Sequence[DeviceStatus]) -> DeviceStatus | None:
    """What a runtime says of a device. `cuda` is `cuda:0`; a plain `cuda` in the list is any of them."""
    by_name = {status.device: status for status in reversed(statuses)}
    family = device.partition(":")[0]
    return by_name.get(device) or by_name.get(f"{device}:0") or by_name.get(family)


def _entries() -> list[EntryPoint]:
    """All entry points of the group, by name; of equal names, latnas' own first."""
    return sorted(
        entry_points(group=GROUP),
        key=lambda entry: (entry.name, not _distribution(entry).startswith("latnas "), _distribution(entry)),
    )


def _distribution(entry: EntryPoint) -> str:
    """Which package brought the plugin: `name version`."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"


def _report(entry: EntryPoint, kept: EntryPoint) -> PluginReport:
    distribution = _distribution(entry)
    if entry != kept:
        error = f"not used, since {_distribution(kept)} has a profiler of the same name"
        return PluginReport(entry.name, distribution, error=error)
    try:
        plugin = _load(entry)
        devices, settings = _devices(plugin), _settings(plugin)
        return PluginReport(entry.name, distribution, str(plugin.runtime), devices, settings=settings)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a stranger's code, and the report says what it was
        return PluginReport(entry.name, distribution, error=_reason(error))


def _load(entry: EntryPoint) -> ProfilerPlugin:
    where = f"the profiler {entry.name!r} of {_distribution(entry)}"
    try:
        plugin: Any = entry.load()
    except (Exception, SystemExit) as error:
        raise LatnasError(f"{where} cannot be imported ({_reason(error)}). Repair or remove it.") from error
    lacking = [name for name in ("runtime", "measures", "devices", "open") if not hasattr(plugin, name)]
    if lacking or isinstance(plugin, type):
        is_class = isinstance(plugin, type)
        fault = "it is a class, not an object of it" if is_class else f"it lacks {', '.join(lacking)}"
        raise LatnasError(f"{where} is not a profiler plugin: {fault}. Ask whoever wrote {entry.value}.")
    if plugin.measures not in ARTEFACTS:
        raise LatnasError(f"{where} measures {plugin.measures!r}, which is none of {', '.join(ARTEFACTS)}.")
    if plugin.runtime != entry.name:  # tables name the runtime, and find the plugin by it
        raise LatnasError(f"{where} calls its runtime {plugin.runtime!r}, which must be the name of its entry point.")
    return cast(ProfilerPlugin, plugin)


def _devices(plugin: ProfilerPlugin) -> tuple[DeviceStatus, ...]:
    try:
        found = plugin.devices()
        return tuple(DeviceStatus(str(one.device), bool(one.usable), str(one.detail)) for one in found)
    except (Exception, SystemExit) as error:
        raise LatnasError(
            f"the profiler {plugin.runtime!r} failed when asked for its devices ({_reason(error)}). "
            "Mend the package that it comes from, or uninstall it."
        ) from error


def _settings(plugin: ProfilerPlugin) -> tuple[SettingStatus, ...]:
    """Those that the plugin offers; none where it knows of no settings."""
    if not hasattr(plugin, "settings"):
        return ()
    try:
        offered = cast(ConfigurablePlugin, plugin).settings()
        return tuple(
            SettingStatus(str(s.name), str(s.detail), tuple(map(str, s.values)), str(s.device), bool(s.usable))
            for s in offered
        )
    except (Exception, SystemExit) as error:
        raise LatnasError(
            f"the profiler {plugin.runtime!r} failed when asked for its settings ({_reason(error)}). "
            "Mend the package that it comes from, or uninstall it."
        ) from error


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, LatnasError) else f"{type(error).__name__}: {error}"
