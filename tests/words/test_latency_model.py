"""From a table to the latency of an architecture: against the sum written out, and refusals that say what to type."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import pytest

from latnas.errors import LatnasError
from latnas.words.architecture import Architecture
from latnas.words.latency import latency_model, parts_of_operations
from latnas.words.sites import FIXED, SpaceTrace
from latnas.words.table import LatencyTable, Prices


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


def convs(architecture: Architecture) -> dict[str, float]:
    """Amounts that do not add up over items: an addition is counted where two neighbours are convolutions."""
    chosen = [architecture.items["first"], architecture.items["second"]]
    both = {"ReLU(add)": 4.0} if chosen == ["conv", "conv"] else {}
    return {"ReLU": float(chosen.count("conv")), "of no price": 1000.0, **both}


def nothing(architecture: Architecture) -> dict[str, float]:
    return {}


def priced(prices: Prices, trace: SpaceTrace, architecture: Architecture) -> float:
    """The oracle: the fixed rest and every part that runs, one after the other."""
    parts = architecture.parts(trace.decisions)
    return prices.fixed_ms["default"] + sum(
        prices.parts_ms["default"][decision][part] for decision, chosen in parts.items() for part in chosen
    )


@pytest.mark.parametrize(("quote", "factor"), [("floor", 1.0), ("p50", 1.0625), ("p90", 1.25)])
def test_a_prediction_is_the_sum_of_pieces_and_contexts_in_the_quoted_statistic(
    table: LatencyTable, trace: SpaceTrace, quote: str, factor: float
) -> None:
    model = latency_model(table.model_copy(update={"quote": quote}), trace, convs)
    for architecture in every(trace):
        amounts = convs(architecture)
        merged = 0.5 * amounts["ReLU"] - 0.25 * amounts.get("ReLU(add)", 0.0)
        expected = factor * (priced(table.calibration.prices, trace, architecture) + merged)
        prediction = model.predict(architecture)
        assert prediction.value == model.predict_ms(architecture) == pytest.approx(expected, rel=1e-12)
        assert prediction.low == pytest.approx(0.96875 * expected, rel=1e-12)
        assert prediction.high == pytest.approx(1.03125 * expected, rel=1e-12)
        assert prediction == model.interval(prediction.value)
    assert model.quoted_ms(4.0) == 4.0 * factor


@pytest.mark.parametrize(("quote", "factor"), [("floor", 1.0), ("p50", 1.0625), ("p90", 1.25)])
def test_the_cost_for_solvers_has_the_linear_prices_in_the_quoted_statistic(
    table: LatencyTable, trace: SpaceTrace, quote: str, factor: float
) -> None:
    cost = latency_model(table.model_copy(update={"quote": quote}), trace, convs).cost
    assert cost.unit == "ms"
    for architecture in every(trace):
        expected = factor * priced(table.calibration.linear, trace, architecture)
        assert cost.cost(architecture) == pytest.approx(expected, rel=1e-12)


def test_an_offset_is_paid_once_and_not_by_every_item(table: LatencyTable, trace: SpaceTrace) -> None:
    cost = latency_model(table, trace, convs).cost
    assert cost.fixed() == 1.0625 * 2.5
    assert {decision.name: cost.items(decision.name).tolist() for decision in trace.decisions} == {
        "first": [1.0625 * 0.5, 0.0],
        "second": [1.0625 * 1.5, 1.0625 * 0.25, 1.0625 * 0.125],
        "node": [1.0625 * 1.5, 1.0625 * 1.0, 1.0625 * 0.5],
    }


def test_no_network_is_predicted_to_take_less_than_a_tenth_of_the_fastest_that_was_measured(
    table: LatencyTable, trace: SpaceTrace
) -> None:
    contexts_ms = {"ReLU": -3.0}
    prices = table.calibration.prices.model_copy(update={"contexts_ms": contexts_ms})
    calibration = table.calibration.model_copy(update={"prices": prices})
    model = latency_model(table.model_copy(update={"calibration": calibration}), trace, convs)
    least = 1.0625 * 0.1 * 2.1  # the fastest of the networks took 2.1 ms
    predicted = {architecture: model.predict_ms(architecture) for architecture in every(trace)}
    assert min(predicted.values()) == pytest.approx(least)
    for architecture, value in predicted.items():
        as_priced = 1.0625 * (priced(prices, trace, architecture) - 3.0 * convs(architecture)["ReLU"])
        assert value == pytest.approx(max(as_priced, least))
    assert least < max(predicted.values())


def test_contexts_are_looked_at_once_for_an_architecture_and_not_at_all_where_they_have_no_price(
    table: LatencyTable, trace: SpaceTrace
) -> None:
    asked: list[str] = []

    def noted(architecture: Architecture) -> dict[str, float]:
        asked.append(architecture.key)
        return convs(architecture)

    model, architecture = latency_model(table, trace, noted), every(trace)[0]
    assert model.predict_ms(architecture) == model.predict_ms(architecture) == model.predict(architecture).value
    assert asked == [architecture.key]
    calibration = table.calibration.model_copy(update={"prices": table.calibration.linear})
    linear = latency_model(table.model_copy(update={"calibration": calibration}), trace, noted)
    for one in every(trace):
        assert linear.predict_ms(one) == pytest.approx(linear.cost.cost(one), rel=1e-12)
    assert asked == [architecture.key]


def test_the_sum_of_operations_is_that_of_the_sites_that_run(table: LatencyTable, trace: SpaceTrace) -> None:
    parts = parts_of_operations(table.operations, trace)
    sums = parts.of_items("ms")
    for architecture in every(trace):
        assert sums.cost(architecture) == pytest.approx(running_ms(table, trace, architecture), rel=1e-12)
    assert parts.fixed_of == {"default": 0.9375}  # the head is faster than an empty graph
    assert {name: vector.tolist() for name, vector in parts.parts_of["default"].items()} == {
        "first": [0.1875, 0.0],
        "second": [0.1875 + 0.4375, 0.0625, 0.0],
        "node": [0.1875, 0.0, 0.4375],
    }


def test_a_missing_operation_is_never_guessed(table: LatencyTable, trace: SpaceTrace) -> None:
    kept = {name: entry for name, entry in table.operations.items() if name not in ("a2", "head")}
    with pytest.raises(LatnasError) as caught:
        latency_model(table.model_copy(update={"operations": kept}), trace, nothing)
    assert str(caught.value) == (
        "the table lacks 2 of the operations that space 'toy' needs: conv 8x16x16, head 8x16x16. "
        "Measure them: latnas profile --space toy --width 8 --depth 2, with --device and --data as they were"
    )


def test_of_many_missing_operations_three_are_named(table: LatencyTable, trace: SpaceTrace) -> None:
    with pytest.raises(LatnasError, match=r"lacks 6 of .*: conv 8x16x16, conv 8x16x16, pool 8x16x16, \.\.\.\. Measure"):
        parts_of_operations({}, trace)


def test_operations_that_the_space_does_not_need_do_no_harm(table: LatencyTable, trace: SpaceTrace) -> None:
    more = {**table.operations, "unused": table.operations["a1"]}
    model = latency_model(table.model_copy(update={"operations": more}), trace, nothing)
    assert model.cost.fixed() == latency_model(table, trace, nothing).cost.fixed()


def test_a_table_made_from_whole_networks_alone_needs_no_operations(table: LatencyTable, trace: SpaceTrace) -> None:
    calibration = table.calibration.model_copy(update={"prior": "work"})
    without = table.model_copy(update={"operations": {}, "calibration": calibration})
    for architecture in every(trace):
        expected = latency_model(table, trace, convs).predict(architecture)
        assert latency_model(without, trace, convs).predict(architecture) == expected


@pytest.mark.parametrize("which", ["prices", "linear"])
@pytest.mark.parametrize(
    ("parts_ms", "problem"),
    [
        (
            {"first": {"conv": 1.0}},
            "lacks 7 of the parts of space 'toy': skip of first, conv of second, pool of second,",
        ),
        (
            {"first": {"conv": 1.0, "skip": 0.0}, "second": {"conv": 1.0, "pool": 0.0}, "node": {"0/conv": 1.0}},
            "lacks 3 of the parts of space 'toy': skip of second, 0/skip of node, 1/conv of node. Measure it again: "
            "latnas profile --space toy --width 8 --depth 2, with --device and --data as they were",
        ),
    ],
)
def test_a_missing_part_is_never_guessed(
    table: LatencyTable, trace: SpaceTrace, which: str, parts_ms: dict[str, dict[str, float]], problem: str
) -> None:
    prices = Prices(fixed_ms={"default": 1.0}, parts_ms={"default": parts_ms})
    calibration = table.calibration.model_copy(update={which: prices})
    with pytest.raises(LatnasError, match=re.escape(problem)):
        latency_model(table.model_copy(update={"calibration": calibration}), trace, nothing)


def test_a_missing_setting_is_named(table: LatencyTable, trace: SpaceTrace) -> None:
    two = replace(trace, sites={**trace.sites, "small": trace.sites["default"]})
    with pytest.raises(LatnasError, match=r"lacks 9 of the parts of space 'toy': setting small, conv of first"):
        latency_model(table.model_copy(update={"space_digest": two.digest}), two, nothing)


def test_the_table_of_another_space_is_refused_with_both_spaces(table: LatencyTable, trace: SpaceTrace) -> None:
    site, *rest = trace.sites["default"]
    wider = replace(
        trace, options={**trace.options, "width": 16}, sites={"default": (replace(site, params=200), *rest)}
    )
    with pytest.raises(LatnasError) as caught:
        latency_model(table, wider, nothing)
    message = str(caught.value)
    assert f"the table {table.name} was measured for another space (toy with width 8, depth 2" in message
    assert "not for toy with width 16, depth 2" in message
    command = "latnas profile --space toy --width 16 --depth 2, with --device and --data as they were"
    assert message.endswith(f"Measure this one: {command}")


def test_a_table_of_the_same_space_as_an_earlier_latnas_built_it_is_said_to_be_one(
    table: LatencyTable, trace: SpaceTrace
) -> None:
    site, *rest = trace.sites["default"]
    changed = replace(trace, sites={"default": (replace(site, params=200), *rest)})
    with pytest.raises(LatnasError, match=r"for toy with width 8, .*, as an earlier latnas built it\. Measure it"):
        latency_model(table, changed, nothing)
