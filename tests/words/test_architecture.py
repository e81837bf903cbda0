"""Decisions and architectures: names in, names out, and what does not fit is refused by name."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latnas.errors import LatnasError
from latnas.words.architecture import Architecture, Decision, Item, count_architectures, distinct


def plain(name: str, *parts: str) -> Decision:
    return Decision(name, parts, tuple(Item(part, (part,)) for part in parts))


NODE = Decision("node", ("a", "b", "c"), (Item("a+b", ("a", "b")), Item("a+c", ("a", "c")), Item("c", ("c",))))
DECISIONS = (plain("first", "conv", "skip"), plain("second", "conv", "pool", "skip"), NODE)
CHOSEN = {"first": "skip", "second": "pool", "node": "a+c"}
ALL = [
    Architecture.from_indices("default", DECISIONS, indices)
    for indices in product(*(range(len(decision.items)) for decision in DECISIONS))
]


def test_where_an_item_is_one_part_incidence_is_the_identity() -> None:
    assert np.array_equal(plain("d", "x", "y", "z").incidence, np.eye(3))


def test_logits_of_an_item_are_the_sum_of_its_parts_logits() -> None:
    alpha = {"a": 0.5, "b": -2.0, "c": 4.0}
    summed = [sum(alpha[part] for part in item.parts) for item in NODE.items]
    assert (NODE.incidence @ np.array(list(alpha.values()))).tolist() == summed


@pytest.mark.parametrize(
    ("parts", "items", "problem"),
    [
        (("a",), (), "has no items"),
        (("a", "a"), (Item("a", ("a",)),), "two items or two parts of one name"),
        (("a", "b"), (Item("x", ("a",)), Item("x", ("b",))), "two items or two parts of one name"),
        (("a",), (Item("x", ("a", "z", "y")),), "items of unknown parts: y, z"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(
    parts: tuple[str, ...], items: tuple[Item, ...], problem: str
) -> None:
    with pytest.raises(ValueError, match=f"decision 'd' .*{problem}"):
        Decision("d", parts, items)


def test_an_unknown_item_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LatnasError, match=r"decision 'second' has no item 'bool'\. Known: conv, pool, skip\."):
        DECISIONS[1].item("bool")
    with pytest.raises(LatnasError, match=r"Known: 0, 1, 2, 3, 4, 5, 6, 7, \.\.\.\."):
        plain("many", *map(str, range(20))).item("x")


def test_positions_lead_to_names_and_back() -> None:
    assert len({architecture.key for architecture in ALL}) == len(ALL) == count_architectures(DECISIONS) == 18
    for architecture in ALL:
        assert Architecture.from_indices("default", DECISIONS, architecture.indices(DECISIONS)) == architecture


def test_names_survive_another_order_of_items_and_decisions() -> None:
    reordered = tuple(Decision(d.name, d.parts[::-1], d.items[::-1]) for d in reversed(DECISIONS))
    for architecture in ALL:
        indices = architecture.indices(reordered)
        again = Architecture.from_indices("default", reordered, indices)
        assert again.items == architecture.items and again.key == architecture.key
        assert again.parts(reordered) == architecture.parts(DECISIONS)


@given(st.dictionaries(st.text(), st.text(), max_size=4), st.text())
def test_an_architecture_survives_json(items: dict[str, str], setting: str) -> None:
    architecture = Architecture.of(setting, items)
    again = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert again == architecture and again.key == architecture.key


def test_the_key_is_the_same_in_every_process_and_for_every_order() -> None:
    # Written down because runs on disk are keyed by it.
    assert Architecture.of("default", CHOSEN).key == "0c6ec75d5ecd"
    assert Architecture.of("default", dict(reversed(CHOSEN.items()))).key == "0c6ec75d5ecd"
    assert Architecture.of("wide", CHOSEN).key != "0c6ec75d5ecd"


def test_architectures_of_one_key_are_equal_and_counted_once() -> None:
    one, same = Architecture.of("default", CHOSEN), Architecture.of("default", dict(reversed(CHOSEN.items())))
    other = Architecture.of("wide", CHOSEN)
    assert one == same != other
    assert distinct([same, other, one, other]) == [same, other]


def test_parts_that_run_are_those_of_the_chosen_items() -> None:
    parts = Architecture.of("default", CHOSEN).parts(DECISIONS)
    assert parts == {"first": ("skip",), "second": ("pool",), "node": ("a", "c")}


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ({"first": "skip", "second": "pool"}, r"undecided \['node'\], unknown decisions none"),
        ({**CHOSEN, "third": "x"}, r"undecided nothing, unknown decisions \['third'\]"),
        ({}, r"undecided \['first', 'node', 'second'\]"),
        ({**CHOSEN, "first": "pool"}, r"decision 'first' has no item 'pool'\. Known: conv, skip"),
    ],
)
def test_an_architecture_of_another_space_is_refused_wherever_it_is_read(items: dict[str, str], problem: str) -> None:
    architecture = Architecture.of("default", items)
    for read in (architecture.check, architecture.indices, architecture.parts):
        with pytest.raises(LatnasError, match=problem):
            read(DECISIONS)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "conv",
        {},
        {"items": {}},
        {"setting": 1, "items": {}},
        {"setting": "default"},
        {"setting": "default", "items": ["conv"]},
        {"setting": "default", "items": {"first": 0}},
        {"setting": "default", "items": {"first": ["conv"]}},
    ],
)
def test_json_of_another_form_is_no_architecture(value: object) -> None:
    with pytest.raises(LatnasError, match="an architecture"):
        Architecture.from_json(value)


def test_it_prints_as_the_names_of_its_items() -> None:
    assert str(Architecture.of("default", CHOSEN)) == "skip|pool|a+c"
