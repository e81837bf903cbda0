"""Limits: what they allow, and what a config may say."""

from __future__ import annotations

import pytest

from latnas.errors import UsageError
from latnas.words.limits import NO_LIMITS, RESOURCES, Amounts, Limits, Resource

AMOUNTS = Amounts(params=1000, macs=50_000, file_bytes=9000, memory_bytes=4096)


def test_a_limit_allows_what_reaches_it_exactly_and_nothing_above() -> None:
    for resource in RESOURCES:
        reached = AMOUNTS.of(resource)
        assert Limits(**{resource.name: reached}).allow(AMOUNTS)
        tight = Limits(**{resource.name: reached - 1})
        assert not tight.allow(AMOUNTS) and tight.exceeded(AMOUNTS) == (resource,) == tight.limited
        assert tight.without(resource) == NO_LIMITS
    assert NO_LIMITS.allow(AMOUNTS) and not NO_LIMITS.limited


def test_a_config_may_hold_limits_as_people_write_them_or_as_they_were_recorded() -> None:
    written = {"max_params": "1k", "max_size": "2kB", "max_macs": None, "pool": 3}
    assert Limits.of_config(written) == Limits(params=1000, file_bytes=2000)
    assert Limits.of_config({"max_params": 1000, "max_size": 2000}) == Limits(params=1000, file_bytes=2000)


@pytest.mark.parametrize("value", [0, -3, True, 1.5, [1]])
def test_what_is_no_limit_is_refused_with_what_to_write(value: object) -> None:
    with pytest.raises(UsageError, match=r"max_memory is .* no limit\. Write --max-memory"):
        Limits.of_config({"max_memory": value})


def test_a_resource_is_typed_as_its_flag_and_a_value_that_reads_back() -> None:
    assert [resource.typed(1_230_000) for resource in RESOURCES] == [
        "--max-params 1230000", "--max-macs 1230000", "--max-size 1.23MB", "--max-memory 1.23MB",
    ]  # fmt: skip


@pytest.mark.parametrize("most", [1, 999, 1000, 262_144, 524_288, 1_234_567, 2_000_000])
@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_a_limit_reads_back_as_it_was_to_the_last_byte(resource: Resource, most: int) -> None:
    assert resource.parse(resource.typed(most).removeprefix(f"{resource.flag} ")) == most


def test_two_sets_of_limits_together_keep_the_lower_of_each_resource() -> None:
    own, asked = Limits(params=1000, macs=5), Limits(params=2000, file_bytes=3)
    assert own.and_also(asked) == asked.and_also(own) == Limits(params=1000, macs=5, file_bytes=3)
    assert own.and_also(NO_LIMITS) == own
    assert own.typed == "--max-params 1000 --max-macs 5" and NO_LIMITS.typed == ""
