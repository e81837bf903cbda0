"""What measurements teach, written out for one network at a time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_up_times import times

from latnas.spaces.space import SETTING
from latnas.stages.export.lessons import FILE, FINALIST, HEADROOM, Lessons, read_lessons
from latnas.words.architecture import Architecture
from latnas.words.files import append_line

ONE, OTHER = (Architecture.of(SETTING, {"choice": name}) for name in ("one", "other"))
LATENCY: Any = SimpleNamespace(quoted_ms=lambda floor_ms: 2.0 * floor_ms)
FRONT: Any = SimpleNamespace(networks=())


def test_a_prediction_is_judged_at_the_table_s_speed_and_a_slow_device_is_expected_to_stay_slow() -> None:
    lessons = Lessons(LATENCY, frozen={ONE.key: 8.0})
    lessons.note_finalist(ONE, times(11.0, drift=1.1))
    assert lessons.errors == {ONE.key: pytest.approx(1.25)}  # 11 ms are 10 at the table's speed
    assert (lessons.slowdown, lessons.finalists) == (1.1, {ONE.key: 11.0})


def test_a_device_that_is_fast_at_the_moment_is_not_expected_to_stay_so() -> None:
    lessons = Lessons(LATENCY, frozen={ONE.key: 8.0})
    lessons.note_finalist(ONE, times(5.0, drift=0.5))
    assert lessons.errors == {ONE.key: pytest.approx(1.25)}
    assert (lessons.slowdown, lessons.finalists) == (1.0, {ONE.key: 10.0})


def test_a_budget_within_reach_leaves_headroom_over_the_finalist_and_over_its_file() -> None:
    lessons = Lessons(LATENCY, margin=1.05, finalists={ONE.key: 10.0, OTHER.key: 10.0}, files={OTHER.key: 12.0})
    assert lessons.reachable_ms(ONE) == pytest.approx(10.5)
    assert lessons.reachable_ms(OTHER) == pytest.approx(12.0 * HEADROOM)


@pytest.mark.parametrize(("file_ms", "margin"), [((4.5,), HEADROOM), ((6.0,), 1.2), ((4.0, 6.0, 7.0), 1.2)])
def test_files_of_earlier_exports_teach_a_margin_that_is_never_less_than_the_headroom(
    tmp_path: Path, file_ms: tuple[float, ...], margin: float
) -> None:
    log = tmp_path / "measurements.jsonl"
    for what, looks in ((FINALIST, (5.0,)), (FILE, file_ms)):
        for ms in looks:
            append_line(log, {"architecture": ONE.to_json(), "what": what, "floor_ms": ms / 2, "anchor_drift": 1.0})
    lessons = read_lessons(log, FRONT, LATENCY)
    assert (lessons.before, lessons.margin) == ({ONE.key: 5.0}, pytest.approx(margin))


def test_a_device_that_is_slower_by_now_is_no_reason_for_a_wider_margin_and_counts_once_for_every_network() -> None:
    lessons = Lessons(LATENCY, frozen={ONE.key: 10.0, OTHER.key: 10.0})
    lessons.note_finalist(ONE, times(10.0))
    lessons.note_finalist(OTHER, times(9.0))
    lessons.note_file(ONE, times(1.05 * 10.4, drift=1.05), missed=True)
    assert lessons.margin == pytest.approx(1.04), "the file takes 10.4 ms where its finalist took 10"
    assert lessons.file_ms(OTHER) == pytest.approx(9.0 * 1.05 * 1.04) == lessons.reachable_ms(OTHER)
    lessons.note_file(ONE, times(10.4), missed=True)
    assert lessons.file_ms(OTHER) == pytest.approx(9.0 * 1.04), "the device is as fast as before"


def test_what_was_measured_while_the_device_was_slow_counts_as_measured_until_it_is_looked_at_again() -> None:
    lessons = Lessons(LATENCY, frozen={ONE.key: 10.0})
    lessons.note_finalist(ONE, times(11.0, drift=1.1))
    lessons.note_finalist(OTHER, times(5.0))
    assert lessons.file_ms(ONE) == pytest.approx(11.0 * HEADROOM)


def test_a_finalist_whose_measurement_is_lost_counts_as_if_its_device_had_had_the_table_s_speed() -> None:
    lessons = Lessons(LATENCY, finalists={ONE.key: 10.0})
    lessons.note_file(ONE, times(1.1 * 10.4, drift=1.1), missed=True)
    assert lessons.margin == lessons.ratio(ONE, times(10.4)) == pytest.approx(1.04)
    assert lessons.file_ms(OTHER) == float("inf"), "nothing was measured of it"
