"""Damaged files of a search that is not finished: deleted as one is told to, they are made again as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import contents, copied, front_in, quick_search, run_in, search_config

from latnas.errors import LatnasError


@pytest.mark.parametrize(
    "pattern",
    [
        "supernet/warm-up.safetensors", "supernet/result.json", "accuracy/features/*/networks.json",
        "accuracy/features/*/result.json", "accuracy/short/*/result.json", "fronts/*/search.safetensors",
        "fronts/*/proposals-0.json", "fronts/*/proposals-1.json",
    ],
)  # fmt: skip
def test_a_damaged_file_of_a_search_may_be_deleted_and_is_made_again(
    pattern: str, small_run: Path, tmp_path: Path
) -> None:
    here = copied(small_run, tmp_path / "here")
    before = contents(here)
    for lost in ("front.json", "weights.safetensors"):
        next(run_in(here).rglob(lost)).unlink()
    damaged = sorted(run_in(here).glob(pattern))[0]
    damaged.write_bytes(b"{")
    with pytest.raises(LatnasError, match="Delete it") as caught:
        quick_search(search_config(here))
    assert str(damaged) in str(caught.value)
    damaged.unlink()
    quick_search(search_config(here))
    assert contents(here) == before


def test_without_a_checkpoint_nothing_that_was_proposed_is_taken_for_what_would_be(
    small_run: Path, tmp_path: Path
) -> None:
    here = copied(small_run, tmp_path / "here")
    before = contents(here)
    for lost in ("front.json", "weights.safetensors", "search.safetensors", "proposals-1.json"):
        next(run_in(here).rglob(lost)).unlink()
    (front_in(here) / "proposals-0.json").write_text("[]")
    quick_search(search_config(here))
    assert contents(here) == before
