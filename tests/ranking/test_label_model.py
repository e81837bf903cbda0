"""What a fit of the corrections takes; what they say is tested with the judge and the long model."""

from __future__ import annotations

import tracemalloc

import numpy as np

from latnas.ranking.label_model import LINEAR_OF_MANY, Corrections, Known


def test_however_many_processes_are_compared_only_a_few_are_held_at_once() -> None:
    count, random = 150, np.random.default_rng(0)
    parts = [frozenset(random.choice(list("abcdefgh"), 4).tolist()) for _ in range(count)]
    known = Known.of(random.normal(size=(count, 5)), parts)
    labels_M = random.normal(size=count)
    tracemalloc.start()
    try:
        corrections = Corrections.likeliest(known, labels_M, 1.0, LINEAR_OF_MANY)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert corrections.process.lower_KK.shape == (count, count)
    assert peak_bytes < 20 * 8 * count**2
