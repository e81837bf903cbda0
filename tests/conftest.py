"""Tests give the same result on every run and every machine: one thread, fixed examples, no GPU needed."""

from __future__ import annotations

import os

import hypothesis
import pytest

# Read by torch, numpy and onnxruntime when they are first imported, and by every process that a test starts.
# So torch has one thread, and tests that do not need it do not pay for importing it.
os.environ["OMP_NUM_THREADS"] = "1"

# No database and no deadline: a machine that is busy, or has run the tests before, finds the same.
hypothesis.settings.register_profile("same-everywhere", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("same-everywhere")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and torch sees none here")
