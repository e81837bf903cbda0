"""Latency tables on disk: exact there and back, and damaged ones refused in one line."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latnas.errors import LatnasError
from latnas.words.table import LatencyTable, factor_of, load_table, table_name

Steps = tuple[str | int, ...]


def as_json(table: LatencyTable) -> Any:
    return json.loads(table.model_dump_json(by_alias=True))


def places(value: Any, path: Steps = ()) -> Iterator[Steps]:
    """Every place in a JSON value, the whole first."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in inner:
        yield from places(child, (*path, step))


def put(value: Any, path: Steps, new: Any) -> Any:
    """A copy of a JSON value with `new` at one place; None as `new` removes what is there."""
    if not path:
        return new
    value = copy.deepcopy(value)
    holder = value
    for step in path[:-1]:
        holder = holder[step]
    if new is REMOVED:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return value


REMOVED = object()
DAMAGES: list[Any] = [
    REMOVED, None, True, "", "x", "two\nlines", -1, 0, 1e999, -1e999, math.nan, 10**400, 1e-320,
    [], [None], {}, {"new\nkey": 1}, {"": {}}, [[[[]]]],
]  # fmt: skip


def refusal(path: Path) -> str:
    with pytest.raises(LatnasError) as caught:
        load_table(path)
    return str(caught.value)


def test_a_table_reads_back_as_it_was_written(table: LatencyTable, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "table.json"
    table.save(path)
    assert load_table(path) == table
    assert path.read_text().endswith("}\n")


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("dead_parts",), None),  # a space in which nothing can be dead
        (("dead_parts", "share"), -0.125),  # noise may be larger than what dead parts cost
        (("operations",), {}),  # only whole networks were measured
        (("calibration", "prices", "fixed_ms", "default"), -0.5),
        (("calibration", "quality", "spearman"), None),
        (("calibration", "networks", 0, "left_out"), -0.25),
        (("doubtful",), {}),
    ],
)
def test_what_a_table_may_lack_or_hold_below_zero_is_kept(
    table: LatencyTable, tmp_path: Path, path: Steps, new: Any
) -> None:
    value = put(as_json(table), path, new)
    LatencyTable.model_validate(value).save(tmp_path / "t.json")
    assert as_json(load_table(tmp_path / "t.json")) == value


def test_prices_without_contexts_need_not_say_so(table: LatencyTable, tmp_path: Path) -> None:
    value = put(as_json(table), ("calibration", "linear", "contexts_ms"), REMOVED)
    (tmp_path / "t.json").write_text(json.dumps(value))
    assert load_table(tmp_path / "t.json") == table


@given(st.lists(st.floats(min_value=0, allow_nan=False, allow_infinity=False), min_size=6, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_latencies_are_kept_to_the_last_bit(table: LatencyTable, tmp_path: Path, floors: list[float]) -> None:
    value = as_json(table)
    for entry, floor in zip(value["operations"].values(), floors, strict=True):
        entry["floor_ms"] = floor
    LatencyTable.model_validate(value).save(tmp_path / "t.json")
    assert [entry.floor_ms for entry in load_table(tmp_path / "t.json").operations.values()] == floors


@pytest.mark.parametrize(
    ("path", "new", "problem"),
    [
        (("operations", "a1", "floor_ms"), -1, "operations.a1.floor_ms: Input should be greater than or equal to 0"),
        (("operations", "a1", "floor_ms"), math.nan, "operations.a1.floor_ms: Input should be"),
        (("operations", "a1", "floor_ms"), math.inf, "operations.a1.floor_ms: Input should be a finite number"),
        (("operations", "a1", "floor_ms"), "fast", "operations.a1.floor_ms: Input should be a valid number"),
        (("operations", "a1", "floor_ms"), REMOVED, "operations.a1.floor_ms: Field required"),
        (("operations", "a1", "ms"), 1.0, "operations.a1.ms: Extra inputs are not permitted"),
        (("operations",), [], "operations: Input should be a valid dictionary"),
        (("options", "width"), REMOVED, "options: Dictionary should have at least 5 items"),
        (("options", "widht"), 8, "options.widht.[key]: Input should be 'width', 'depth'"),
        (("options", "width"), 8.5, "options.width: Input should be a valid integer"),
        (("calibration", "scale"), 1.0, "calibration.scale: Extra inputs are not permitted"),
        (("calibration", "prior"), "guess", "calibration.prior: Input should be 'operations' or 'work'"),
        (("calibration", "linear"), REMOVED, "calibration.linear: Field required"),
        (
            ("calibration", "prices", "parts_ms", "default", "node", "0/conv"),
            math.nan,
            "calibration.prices.parts_ms.default.node.0/conv: Input should be a finite number",
        ),
        (
            ("calibration", "prices", "contexts_ms", "ReLU"),
            math.inf,
            "calibration.prices.contexts_ms.ReLU: Input should be a finite number",
        ),
        (("calibration", "quality", "within5"), 1.5, "quality.within5: Input should be less than or equal to 1"),
        (("calibration", "quality", "kendall"), "high", "quality.kendall: Input should be a valid number"),
        (("calibration", "quality", "kendall"), REMOVED, "quality.kendall: Field required"),
        (("calibration", "tried", "kinds 0.1"), -0.1, "tried.kinds 0.1: Input should be greater than or equal to 0"),
        (("calibration", "low"), 0, "calibration.low: Input should be greater than 0"),
        (("calibration", "low"), 1.5, "calibration.low: Input should be less than or equal to 1"),
        (("calibration", "high"), 0.5, "calibration.high: Input should be greater than or equal to 1"),
        (("calibration", "networks"), [], "calibration.networks: Tuple should have at least 4 items"),
        (("anchor", "p50_factor"), 0.9, "anchor.p50_factor: Input should be greater than or equal to 1"),
        (("anchor", "witnesses", 0, "p90_factor"), 0.5, "anchor.witnesses.0.p90_factor: Input should be greater"),
        (("anchor", "witnesses"), REMOVED, "anchor.witnesses: Field required"),
        (("anchor",), REMOVED, "anchor: Field required"),
        (("dead_parts", "probes"), 0, "dead_parts.probes: Input should be greater than or equal to 1"),
        (("dead_parts",), REMOVED, "dead_parts: Field required"),
        (("noise", "p95"), -0.1, "noise.p95: Input should be greater than or equal to 0"),
        (("doubtful",), {"a1": 3}, "doubtful.a1: Input should be a valid string"),
        (("anchor", "architecture", "setting"), 3, "anchor.architecture: Value error, an architecture is an object"),
        (("calibration", "networks", 0, "drawn"), "twice", "networks.0.drawn: Input should be 'end', 'random' or 'fr"),
        (("calibration", "networks", 0, "floor_ms"), 0, "networks.0.floor_ms: Input should be greater than 0"),
        (
            ("calibration", "networks", 1, "architecture", "items", "first"),
            None,
            "networks.1.architecture: Value error",
        ),
        (("quote",), "p95", "quote: Input should be 'floor', 'p50' or 'p90'"),
        (("batch",), 0, "batch: Input should be greater than or equal to 1"),
        (("environment",), {"host": 3}, "environment.host: Input should be a valid string"),
        (("schema",), "latnas-table-0", "has schema 'latnas-table-0'; this latnas reads 'latnas-table-2'"),
        (("schema",), "latnas-table-1", "has schema 'latnas-table-1'; this latnas reads 'latnas-table-2'"),
        (("schema",), ["\n"], "has schema"),
        (("schema",), REMOVED, "is not a latency table: it names no schema"),
        ((), [1], "is not a latency table"),
        ((), None, "is not a latency table"),
        ((), {}, "is not a latency table"),
    ],
)
def test_a_damaged_table_is_refused_with_the_place_and_what_to_type(
    table: LatencyTable, tmp_path: Path, path: Steps, new: Any, problem: str
) -> None:
    file = tmp_path / "table.json"
    file.write_text(json.dumps(put(as_json(table), path, new)))
    message = refusal(file)
    assert problem in message and str(file) in message and "\n" not in message
    assert message.endswith("Measure it again: latnas profile")


def test_several_faults_are_counted(table: LatencyTable, tmp_path: Path) -> None:
    value = put(put(as_json(table), ("batch",), 0), ("threads",), 0)
    (tmp_path / "table.json").write_text(json.dumps(value))
    assert "batch: Input should be greater than or equal to 1 (and 1 more)" in refusal(tmp_path / "table.json")


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120)
def test_whatever_is_damaged_a_table_is_read_or_refused_in_one_line(
    table: LatencyTable, tmp_path: Path, data: st.DataObject
) -> None:
    value = as_json(table)
    where = data.draw(st.sampled_from([place for place in places(value) if place]))
    file = tmp_path / "table.json"
    file.write_text(json.dumps(put(value, where, data.draw(st.sampled_from(DAMAGES)))))
    try:
        loaded = load_table(file)
    except LatnasError:
        message = refusal(file)
        assert "\n" not in message and len(message) < 500
    else:  # then it is as good as any: it can be saved, and named as a file
        loaded.save(file)
        assert load_table(file) == loaded
        assert "/" not in loaded.name and loaded.name.isprintable()


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_a_file_that_was_cut_or_hit_is_refused_in_one_line(
    table: LatencyTable, tmp_path: Path, data: st.DataObject
) -> None:
    content = table.model_dump_json(by_alias=True).encode()
    at = data.draw(st.integers(0, len(content) - 1))
    file = tmp_path / "table.json"
    file.write_bytes(content[:at] + data.draw(st.sampled_from([b"", b"\xff", b"\0", b"[" * 5000])))
    assert "\n" not in refusal(file)


def test_what_an_operation_adds_is_never_below_zero(table: LatencyTable) -> None:
    assert table.operations["a2"].cost_ms == 0.5 - 0.0625
    assert table.operations["c"].cost_ms == 0.0  # faster than the empty graph


def test_the_factor_is_that_of_the_quoted_statistic(table: LatencyTable) -> None:
    assert {quote: factor_of(table, quote) for quote in ("floor", "p50", "p90")} == {
        "floor": 1.0,
        "p50": 1.0625,
        "p90": 1.25,
    }
    assert table.factor == 1.0625
    assert table.model_copy(update={"quote": "p90"}).factor == 1.25


def test_a_table_is_named_after_its_conditions_and_not_after_its_results(table: LatencyTable) -> None:
    assert table.name.startswith("cuda0-torch-toy-")
    changed: tuple[dict[str, Any], ...] = ({"seconds": 9.0}, {"created": "later"}, {"quote": "p90"}, {"doubtful": {}})
    for results in changed:
        assert table.model_copy(update=results).name == table.name
    for conditions in (
        {"space_digest": "0"},
        {"environment": {"host": "bench-4"}},
        {"batch": 2},
        {"threads": 2},
        {"precision": "int8"},
    ):
        assert table.model_copy(update=conditions).name != table.name


def test_the_name_is_a_file_name_whatever_the_device_is_called() -> None:
    assert table_name("ssh://../b\n", "torch", "./net.py:Net", {}) == "ssh..b-torch-.net.pyNet-44136fa3"
