"""A search of few cells of NAS-Bench-201."""

from __future__ import annotations

from search_nasbench201 import Preset

TINY = Preset(
    4, 1, "cpu", "local:0",
    {"pool": 12, "trainings": 4, "training_steps": 2, "reduced_width": 4, "reduced_size": 8},
)  # fmt: skip
