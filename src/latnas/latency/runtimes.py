"""What `--runtime` says: a profiler's name, and settings of it, such as `onnxruntime:execution=parallel,spinning=off`.

A setting is a bare word, or `name=value`. Which there are the plugin says (`SettingStatus`), and what is asked for is
checked here against that, alike for every plugin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latnas.errors import UsageError

FORM = "NAME[:SETTING[,SETTING...]]"


@dataclass(frozen=True)
class Runtime:
    """A profiler by name, and settings of it in their canonical order, so that equal ones are equal."""

    name: str
    settings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ":".join(filter(None, [self.name, ",".join(self.settings)]))


@dataclass(frozen=True)
class SettingStatus:
    """A setting that a runtime offers: the bare word `name`, or `name=value` with one of `values`.

    `device` is the family of devices that it is for, such as `cuda`; empty where it is for all. `detail` says what the
    setting does, and where it cannot be used here, why not and what to install.
    """

    name: str
    detail: str
    values: tuple[str, ...] = ()
    device: str = ""
    usable: bool = True

    def __str__(self) -> str:
        return f"{self.name}={'|'.join(self.values)}" if self.values else self.name


def parse_runtime(text: str) -> Runtime:
    """Reads what `str(Runtime)` writes, in any order.

    Raises:
        UsageError: no name, an empty setting, or one that is given twice.
    """
    name, colon, rest = (part.strip() for part in text.partition(":"))
    settings = sorted(_tidy(setting) for setting in rest.split(",")) if colon else []
    incomplete = any(not setting or setting.startswith("=") or setting.endswith("=") for setting in settings)
    if not name or "," in name or "=" in name or incomplete:
        raise UsageError(f"the runtime {text!r} is not of the form {FORM}. What there is: latnas devices")
    names = [setting.partition("=")[0] for setting in settings]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise UsageError(f"the runtime {text!r} sets {twice!r} twice. Leave one of them out.")
    return Runtime(name, tuple(settings))


def check_runtime_settings(runtime: Runtime, offered: Sequence[SettingStatus], device: str) -> None:
    """Raises UsageError for a setting that the runtime does not offer, not with this value, not here, or not there."""
    by_name = {status.name: status for status in offered}
    for setting in runtime.settings:
        name, equals, value = setting.partition("=")
        status = by_name.get(name)
        if status is None or bool(equals) != bool(status.values) or (equals and value not in status.values):
            known = ", ".join(map(str, offered))
            has = f"Its settings: {known}." if known else f"It has none: --runtime {runtime.name}."
            raise UsageError(f"{runtime.name} has no setting {setting!r}. {has} What each does: latnas devices")
        if not status.usable:
            raise UsageError(f"{runtime.name} cannot use {name} here: {status.detail}. See: latnas devices")
        if status.device and device.partition(":")[0] != status.device:
            raise UsageError(
                f"{name} of {runtime.name} is for {status.device}, not for {device}. "
                f"Name the device, --device {status.device}, or leave the setting out."
            )


def _tidy(setting: str) -> str:
    """Without blanks around its words."""
    return "=".join(word.strip() for word in setting.split("="))
