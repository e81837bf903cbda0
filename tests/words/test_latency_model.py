"""From a table to the latency of an architecture: against the sum written out, and refusals that say what to type."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from latnas.errors import LatnasError
from latnas.words.architecture import Architecture
from latnas.words.latency import latency_model, sum_of_operations
from latnas.words.sites import FIXED, SpaceTrace
from latnas.words.table import LatencyTable


def every(trace: SpaceTrace) -> list[Architecture]:
    ranges = [range(len(decision.items)) for decision in trace.decisions]
    return [Architecture.from_indices("default", trace.decisions, indices) for indices in product(*ranges)]


def running_ms(table: LatencyTable, trace: SpaceTrace, architecture: Architecture) -> float:
    parts = architecture.parts(trace.decisions)
    return sum(
        max(table.operations[site.operation].floor_ms - table.operations[site.operation].overhead_ms, 0.0)
        for site in trace.sites["default"]
        if site.decision == FIXED or site.part in parts[site.decision]
    )


@pytest.mark.parametrize(("quote", "factor"), [("floor", 1.0), ("p50", 1.0625), ("p90", 1.25)])
def test_a_prediction_is_the_calibrated_sum_in_the_quoted_statistic(
    table: LatencyTable, trace: SpaceTrace, quote: str, factor: float
) -> None:
    model = latency_model(table.model_copy(update={"quote": quote}), trace)
    for architecture in every(trace):
        expected = factor * (2.0 * running_ms(table, trace, architecture) + 0.1)
        prediction = model.predict(architecture)
        assert prediction.value_ms == pytest.approx(expected, rel=1e-12)
        assert prediction.low_ms == pytest.approx(0.96875 * expected, rel=1e-12)
        assert prediction.high_ms == pytest.approx(1.03125 * expected, rel=1e-12)
        assert model.cost.cost(architecture) == prediction.value_ms
        assert prediction.to_json() == {
            "value": prediction.value_ms,
            "low": prediction.low_ms,
            "high": prediction.high_ms,
        }
    assert model.cost.unit == "ms"
    assert model.quoted_ms(4.0) == 4.0 * factor


def test_an_offset_is_paid_once_and_not_by_every_item(table: LatencyTable, trace: SpaceTrace) -> None:
    model, sums = latency_model(table, trace), sum_of_operations(table.operations, trace)
    assert model.cost.fixed() == pytest.approx(1.0625 * (2.0 * sums.fixed() + 0.1))
    for decision in trace.decisions:
        assert model.cost.items(decision.name) == pytest.approx(1.0625 * 2.0 * sums.items(decision.name))


def test_a_missing_operation_is_never_guessed(table: LatencyTable, trace: SpaceTrace) -> None:
    kept = {name: entry for name, entry in table.operations.items() if name not in ("a2", "head")}
    with pytest.raises(LatnasError) as caught:
        latency_model(table.model_copy(update={"operations": kept}), trace)
    assert str(caught.value) == (
        "the table lacks 2 of the operations that space 'toy' needs: conv 8x16x16, head 8x16x16. "
        "Measure them: latnas profile --space toy --width 8 --depth 2"
    )


def test_of_many_missing_operations_three_are_named(table: LatencyTable, trace: SpaceTrace) -> None:
    with pytest.raises(LatnasError, match=r"lacks 6 of .*: conv 8x16x16, conv 8x16x16, pool 8x16x16, \.\.\.\. Measure"):
        sum_of_operations({}, trace)


def test_operations_that_the_space_does_not_need_do_no_harm(table: LatencyTable, trace: SpaceTrace) -> None:
    more = {**table.operations, "unused": table.operations["a1"]}
    assert latency_model(table.model_copy(update={"operations": more}), trace).cost.fixed() == pytest.approx(
        latency_model(table, trace).cost.fixed()
    )


def test_the_table_of_another_space_is_refused_with_both_spaces(table: LatencyTable, trace: SpaceTrace) -> None:
    site, *rest = trace.sites["default"]
    wider = replace(
        trace, options={**trace.options, "width": 16}, sites={"default": (replace(site, params=200), *rest)}
    )
    with pytest.raises(LatnasError) as caught:
        latency_model(table, wider)
    message = str(caught.value)
    assert f"the table {table.name} was measured for another space (toy with width 8, depth 2" in message
    assert "not for toy with width 16, depth 2" in message
    assert message.endswith("Measure this one: latnas profile --space toy --width 16 --depth 2")
