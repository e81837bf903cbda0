"""Looks at trained files: how many there are, and which one counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up_times import times

from latnas.spaces.space import SETTING, Space, make_space
from latnas.stages.export.last_word import look_again, measure_files
from latnas.stages.export.measuring import Times
from latnas.stages.export.packing import Packed
from latnas.stages.export.shipments import Shipment
from latnas.stages.export.targets import Target
from latnas.stages.export.trainings import Trained
from latnas.training.tasks import Task
from latnas.words.architecture import Architecture
from latnas.words.manifest import Check, ReachedAccuracy

ONE, OTHER = (Architecture.of(SETTING, {"choice": name}) for name in ("one", "other"))


class MadeUpBench:
    """Each network takes, look by look, what is said of it."""

    takes_files = True
    example = torch.zeros(1, 1, 8, 8)

    def __init__(self, looks_ms: Mapping[str, Iterable[float]]) -> None:
        self._looks_ms = {key: iter(looks) for key, looks in looks_ms.items()}
        self.asked = list[list[str]]()

    def measure(self, workloads: Mapping[str, Any], names: Mapping[str, Architecture], what: str) -> dict[str, Times]:
        self.asked.append(list(workloads))
        return {key: times(next(self._looks_ms[key])) for key in workloads}

    def warn_of_slow_calls(self, found: Iterable[Times]) -> None:
        pass


def look(bench: Any, budget_ms: float) -> dict[str, float]:
    names = {"one": ONE, "other": OTHER}
    workloads: dict[str, Any] = dict.fromkeys(names)
    found = look_again(bench, workloads, names, "shipped file", lambda key, took: took.lasting_ms > budget_ms)
    return {key: took.quoted_ms for key, took in found.items()}


def test_of_looks_that_all_fail_the_fastest_counts_and_who_passes_is_not_looked_at_again() -> None:
    bench = MadeUpBench({"one": [5.0, 3.0, 4.0, 6.0], "other": [1.5]})
    assert look(bench, 2.0) == {"one": 3.0, "other": 1.5}
    assert bench.asked == [["one", "other"], ["one"], ["one"], ["one"]]


def test_the_first_look_that_passes_is_the_last() -> None:
    bench = MadeUpBench({"one": [5.0, 1.9, 1.0], "other": [1.5]})
    assert look(bench, 2.0) == {"one": 1.9, "other": 1.5}
    assert bench.asked == [["one", "other"], ["one"]]


@pytest.fixture(scope="module")
def space() -> Space:
    return make_space("mbconv", image_size=8, channels=1, classes=10, width=2, depth=1)


def test_a_network_of_two_budgets_is_one_file_that_is_held_against_the_tighter_one(space: Space) -> None:
    check = Check(images=1, largest_difference=0.0, same_class=1.0)
    packed = Packed(b"", check, ReachedAccuracy(split="test", value=0.5, low=0.4, high=0.6), None, None, b"", None)
    trained = Trained(Task("", {}, Path()), {}, None, {})
    shipments = [Shipment(Target("search", 0.5, ms, (ONE,), space), ONE, trained, packed) for ms in (4.0, 6.0)]
    bench: Any = MadeUpBench({ONE.key: [5.0, 3.0]})
    found = measure_files(shipments, space, bench)
    assert bench.asked == [[ONE.key], [ONE.key]]
    assert {folder: took.quoted_ms for folder, took in found.items()} == {"4ms": 3.0, "6ms": 3.0}
