"""Costs that add up: against the sum over the sites of every architecture, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from latnas.words.architecture import Architecture
from latnas.words.costs import (
    AdditiveCost,
    CostModel,
    PartCosts,
    cost_of_sites,
    generic_costs,
    macs_cost,
    params_cost,
    parts_of_sites,
    rough_work,
)
from latnas.words.sites import FIXED, Site, SpaceTrace


def architectures(trace: SpaceTrace, setting: str = "default") -> Iterator[Architecture]:
    for indices in product(*(range(len(decision.items)) for decision in trace.decisions)):
        yield Architecture.from_indices(setting, trace.decisions, indices)


def summed(trace: SpaceTrace, architecture: Architecture, price: Callable[[Site], float]) -> float:
    """The oracle: walk over the sites, add those that run."""
    parts = architecture.parts(trace.decisions)
    return sum(
        price(site)
        for site in trace.sites[architecture.setting]
        if site.decision == FIXED or site.part in parts[site.decision]
    )


def price(site: Site) -> float:
    return site.params / 7 + math.sqrt(site.macs) + len(site.part)


def random_probabilities(trace: SpaceTrace, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {decision.name: random.dirichlet(np.ones(len(decision.items))) for decision in trace.decisions}


def test_the_cost_of_every_architecture_is_the_sum_over_the_sites_that_run(trace: SpaceTrace) -> None:
    cost, params, macs = cost_of_sites(trace, "points", price), params_cost(trace), macs_cost(trace)
    assert (cost.unit, params.unit, macs.unit) == ("points", "params", "macs")
    for architecture in architectures(trace):
        assert cost.cost(architecture) == pytest.approx(summed(trace, architecture, price), rel=1e-12)
        assert params.cost(architecture) == summed(trace, architecture, lambda site: site.params)
        assert macs.cost(architecture) == summed(trace, architecture, lambda site: site.macs)


def test_tied_places_count_as_often_as_they_stand_in_the_network(trace: SpaceTrace) -> None:
    assert params_cost(trace).items("second").tolist() == [100 + 400, 0, 0]
    assert params_cost(trace).fixed() == 216 + 90


@pytest.mark.parametrize("seed", range(5))
def test_the_expected_cost_is_the_average_over_all_architectures(trace: SpaceTrace, seed: int) -> None:
    cost, probabilities = cost_of_sites(trace, "points", price), random_probabilities(trace, seed)
    average = sum(
        cost.cost(architecture)
        * np.prod([probabilities[d.name][d.index[architecture.items[d.name]]] for d in trace.decisions])
        for architecture in architectures(trace)
    )
    assert cost.expected(probabilities) == pytest.approx(average, rel=1e-12)


def test_many_distributions_are_priced_at_once(trace: SpaceTrace) -> None:
    cost = cost_of_sites(trace, "points", price)
    many = [random_probabilities(trace, seed) for seed in range(3)]
    stacked = {name: np.stack([one[name] for one in many]) for name in many[0]}
    assert cost.expected(stacked) == pytest.approx([cost.expected(one) for one in many])


def test_the_gradient_of_the_expected_cost_is_the_cost_of_each_item(trace: SpaceTrace) -> None:
    import torch

    cost = cost_of_sites(trace, "points", price)
    probabilities = {
        name: torch.tensor(vector, dtype=torch.float64, requires_grad=True)
        for name, vector in random_probabilities(trace, 0).items()
    }
    expected = cost.expected(probabilities)
    expected.backward()
    assert expected.item() == pytest.approx(cost.expected(random_probabilities(trace, 0)))
    for name, probability in probabilities.items():
        assert probability.grad is not None
        assert probability.grad.tolist() == pytest.approx(cost.items(name).tolist())


def test_scaled_costs_are_scaled_and_shifted_for_every_architecture(trace: SpaceTrace) -> None:
    cost = cost_of_sites(trace, "points", price)
    other = cost.scaled(3.0, offset=-2.0, unit="ms")
    assert (other.unit, cost.scaled(2.0).unit) == ("ms", "points")
    for architecture in architectures(trace):
        assert other.cost(architecture) == pytest.approx(3.0 * cost.cost(architecture) - 2.0, rel=1e-12)


def test_each_setting_has_its_own_costs_and_the_first_is_meant_where_none_is_named(trace: SpaceTrace) -> None:
    small = tuple(replace(site, macs=site.macs // 4) for site in trace.sites["default"])
    two = SpaceTrace(trace.space, trace.options, trace.decisions, {"small": small, **trace.sites})
    cost = macs_cost(two)
    assert two.settings == ("small", "default")
    assert (cost.fixed(), cost.fixed("default")) == (2250 + 20, 9000 + 80)
    assert np.array_equal(cost.items("second"), cost.items("second", "small"))
    assert [vector.tolist() for vector in cost.vectors("default")] == [v.tolist() for v in macs_cost(trace).vectors()]
    for setting in two.settings:
        for architecture in architectures(two, setting):
            assert cost.cost(architecture) == summed(two, architecture, lambda site: site.macs)


def test_vectors_stand_in_the_order_of_the_decisions(trace: SpaceTrace) -> None:
    cost = params_cost(trace)
    for decision, vector in zip(trace.decisions, cost.vectors(), strict=True):
        assert vector is cost.items(decision.name)


def test_generic_costs_know_no_device_and_follow_from_the_seed(trace: SpaceTrace) -> None:
    costs, again, others = (generic_costs(trace, mixtures=3, seed=seed) for seed in (1, 1, 2))
    assert [cost.unit for cost in costs] == ["params", "macs", "activations", "operations"] + ["mixture"] * 3
    for one, same in zip(costs, again, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.vectors(), same.vectors(), strict=True))
        assert one.fixed() > 0 and all(np.all(vector >= 0) for vector in one.vectors())
    assert len({cost.fixed() for cost in [*costs[4:], *others[4:]]}) == 6


def test_equal_operations_have_one_weight_in_a_mixture(trace: SpaceTrace) -> None:
    for mixture in generic_costs(trace, mixtures=3, seed=0)[4:]:
        once, twice = mixture.items("first")[0], mixture.items("node")
        assert twice[2] == pytest.approx(once)  # 0/conv is the operation a1, as is conv of `first`


def test_additive_costs_are_cost_models(trace: SpaceTrace) -> None:
    def unit(model: CostModel) -> str:
        return model.unit

    assert unit(AdditiveCost("ms", trace.decisions, {}, {})) == "ms"


def test_rough_work_counts_an_activation_like_ten_multiply_adds(trace: SpaceTrace) -> None:
    cost = rough_work(trace)
    for architecture in architectures(trace):
        expected = summed(trace, architecture, lambda site: site.macs + 10 * site.output_elements)
        assert cost.cost(architecture) == expected


# PartCosts


def test_the_cost_of_a_part_is_the_sum_over_all_places_where_it_runs(trace: SpaceTrace) -> None:
    small = tuple(replace(site, macs=site.macs // 4) for site in trace.sites["default"])
    costs = parts_of_sites(replace(trace, sites={**trace.sites, "small": small}), lambda site: float(site.macs))
    assert costs.decisions == trace.decisions
    assert costs.fixed_of == {"default": 9000 + 80, "small": 2250 + 20}
    assert {name: vector.tolist() for name, vector in costs.parts_of["default"].items()} == {
        "first": [5000, 0],
        "second": [5000 + 2500, 0, 0],
        "node": [5000, 0, 2500],
    }
    assert {name: vector.tolist() for name, vector in costs.parts_of["small"].items()} == {
        "first": [1250, 0],
        "second": [1250 + 625, 0, 0],
        "node": [1250, 0, 625],
    }


def test_an_item_costs_what_its_parts_cost(trace: SpaceTrace) -> None:
    random = np.random.default_rng(0)
    parts_of = {
        setting: {d.name: random.normal(size=len(d.parts)) for d in trace.decisions} for setting in ("default", "wide")
    }
    cost = PartCosts(trace.decisions, {"default": 1.0, "wide": 2.0}, parts_of).of_items("ms")
    assert cost.unit == "ms"
    for setting, fixed in (("default", 1.0), ("wide", 2.0)):
        for architecture in architectures(trace, setting):
            expected = fixed + sum(
                parts_of[setting][decision.name][decision.parts.index(part)]
                for decision in trace.decisions
                for part in architecture.parts(trace.decisions)[decision.name]
            )
            assert cost.cost(architecture) == pytest.approx(expected, rel=1e-12)


# SpaceTrace


def changed(trace: SpaceTrace, **fields: Any) -> SpaceTrace:
    first, *rest = trace.sites["default"]
    return replace(trace, sites={"default": (replace(first, **fields), *rest)})


@pytest.mark.parametrize("fields", [{"operation": "x"}, {"params": 1}, {"macs": 1}, {"input_shapes": ((1, 9),)}])
def test_the_digest_changes_with_every_site(trace: SpaceTrace, fields: Mapping[str, Any]) -> None:
    assert changed(trace, **fields).digest != trace.digest


def test_the_digest_is_the_same_in_every_process(trace: SpaceTrace) -> None:
    # Written down because latency tables name it: a change here makes every table that was measured useless.
    assert trace.digest == "77e777750153"


def test_operations_are_distinct_and_in_order_of_appearance(trace: SpaceTrace) -> None:
    assert list(trace.operations) == ["a1", "a2", "b", "c", "stem", "head"]
    assert trace.operations["a1"].decision == "first"


def test_architectures_are_counted_over_all_settings(trace: SpaceTrace) -> None:
    assert trace.architectures == 18
    two = replace(trace, sites={"small": trace.sites["default"], **trace.sites})
    assert two.architectures == 36 and two.digest != trace.digest
