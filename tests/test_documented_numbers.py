"""Numbers that pages promise, and that other tests take from the code, are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from latnas.latency.looks import MOST_SECONDS
from latnas.ranking.short_training import COUNTED_OF_MANY, MOST_EVALUATED, SMALL_BYTES
from latnas.stages.common.estimate import STEPS_WORTH_TIMING
from latnas.stages.common.options import SearchOptions
from latnas.stages.export.config import ExportConfig
from latnas.stages.export.deriving import TRAININGS
from latnas.stages.export.lessons import HEADROOM
from latnas.stages.search.pool import LISTABLE

ROOT = Path(__file__).parents[1]
NUMBERS = ("none", "one", "two", "three", "four", "five")


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("README.md", f"--all: {NUMBERS[SearchOptions().budgets]} of them"),
        ("docs/latency.md", f"measures {100 * (HEADROOM - 1):.0f} % below the budget is trained"),
        ("docs/latency.md", f"the next best network is trained, up to {NUMBERS[TRAININGS]} for a budget"),
        ("docs/latency.md", f"One look takes {MOST_SECONDS:.0f} s at most"),
        ("docs/search.md", f"at most {LISTABLE:,} combinations"),
        ("docs/search.md", f"A search of more than {STEPS_WORTH_TIMING:,} training steps says first how long"),
        ("docs/search.md", f"`--long-trainings N` networks ({SearchOptions().long_trainings} unless it is given"),
        ("docs/data.md", f"of about {COUNTED_OF_MANY:,} of these"),
        ("docs/data.md", f"are more than {SMALL_BYTES / 1e6:.0f} MB"),
        ("docs/data.md", f"is measured on {MOST_EVALUATED:,} of the images for the choice, at most"),
        ("docs/reference.md", f"Networks to measure for each budget. Default {ExportConfig(all=True).finalists}."),
    ],
)
def test_a_page_says_the_number_that_the_code_has(page: str, sentence: str) -> None:
    assert sentence in " ".join((ROOT / page).read_text(encoding="utf-8").split())
