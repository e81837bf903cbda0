"""What `--runtime` says: read, put into order, and compared with what there is."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latnas.errors import WRONG_USAGE, UsageError
from latnas.latency.runtimes import Runtime, SettingStatus, check_runtime_settings, parse_runtime

WORD = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789-_.", min_size=1, max_size=12)
SETTINGS = st.dictionaries(WORD, st.none() | WORD, max_size=5)

OFFERED = (
    SettingStatus("fused", "does more at once"),
    SettingStatus("level", "how hard it tries", ("low", "high")),
    SettingStatus("turbo", "only where it is cold", device="npu"),
    SettingStatus("magic", "no wand here; pip install wand", usable=False),
)


def spelled(settings: dict[str, str | None]) -> list[str]:
    return [name if value is None else f"{name}={value}" for name, value in settings.items()]


@given(WORD, SETTINGS)
def test_a_runtime_is_read_as_it_was_written_in_any_order(name: str, settings: dict[str, str | None]) -> None:
    runtime = Runtime(name, tuple(sorted(spelled(settings))))
    assert parse_runtime(str(runtime)) == runtime
    typed = name + (":" if settings else "") + ",".join(reversed(spelled(settings)))
    assert parse_runtime(typed) == runtime
    assert str(parse_runtime(str(parse_runtime(typed)))) == str(runtime)


def test_every_order_of_settings_and_any_blanks_are_the_same_runtime() -> None:
    wanted = Runtime("onnxruntime", ("CPUExecutionProvider", "execution=parallel", "optimisation=basic"))
    for settings in permutations(wanted.settings):
        assert parse_runtime(f"onnxruntime:{','.join(settings)}") == wanted
    assert parse_runtime(" onnxruntime : optimisation = basic, execution=parallel ,CPUExecutionProvider") == wanted


def test_a_plain_name_has_no_settings() -> None:
    assert parse_runtime("torch") == Runtime("torch")
    assert str(Runtime("torch")) == "torch"


@pytest.mark.parametrize("text", ["", ":", "torch:", ":compile", "torch:a,,b", "torch:=1", "torch:a=", "a=b", "a,b"])
def test_what_is_not_of_the_form_is_wrong_usage_and_the_form_is_named(text: str) -> None:
    with pytest.raises(UsageError) as it:
        parse_runtime(text)
    assert it.value.code == WRONG_USAGE
    assert str(it.value) == (
        f"the runtime {text!r} is not of the form NAME[:SETTING[,SETTING...]]. What there is: latnas devices"
    )


@pytest.mark.parametrize("text", ["torch:compile,compile", "torch:level=low,level=high", "torch:level,level=high"])
def test_a_setting_that_is_given_twice_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match=r"sets '(compile|level)' twice\. Leave one of them out"):
        parse_runtime(text)


@pytest.mark.parametrize("settings", [(), ("fused",), ("level=low",), ("fused", "level=high")])
def test_settings_that_are_offered_everywhere_pass_on_every_device(settings: tuple[str, ...]) -> None:
    for device in ("cpu", "npu", "npu:3"):
        check_runtime_settings(Runtime("acme", settings), OFFERED, device)


@pytest.mark.parametrize("setting", ["fuse", "Fused", "fused=yes", "level", "level=medium", "level=low=high"])
def test_an_unknown_setting_or_value_lists_those_that_there_are(setting: str) -> None:
    with pytest.raises(UsageError) as it:
        check_runtime_settings(Runtime("acme", (setting,)), OFFERED, "cpu")
    assert str(it.value) == (
        f"acme has no setting {setting!r}. Its settings: fused, level=low|high, turbo, magic. "
        "What each does: latnas devices"
    )


def test_a_runtime_without_settings_says_so() -> None:
    with pytest.raises(UsageError, match=r"acme has no setting 'fused'. It has none: --runtime acme\."):
        check_runtime_settings(Runtime("acme", ("fused",)), (), "cpu")


def test_a_setting_that_cannot_be_used_here_says_why() -> None:
    with pytest.raises(UsageError, match="acme cannot use magic here: no wand here; pip install wand"):
        check_runtime_settings(Runtime("acme", ("magic",)), OFFERED, "cpu")


def test_a_setting_of_other_devices_names_the_device() -> None:
    check_runtime_settings(Runtime("acme", ("turbo",)), OFFERED, "npu:1")
    with pytest.raises(UsageError, match=r"turbo of acme is for npu, not for cpu\. Name the device, --device npu, or"):
        check_runtime_settings(Runtime("acme", ("turbo",)), OFFERED, "cpu")
