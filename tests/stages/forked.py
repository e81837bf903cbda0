"""Imported once by the process of which those that are to be killed are forks: what each would spend a second on."""

from __future__ import annotations

import killing  # noqa: F401
import scipy.stats  # noqa: F401
import torch._dynamo  # noqa: F401  torch leaves it to the first step
from once import computed_once
from small import PROFILE

import latnas_profilers.analytic  # noqa: F401
from latnas.data.sources import load_images
from latnas.spaces.space import make_space

with computed_once():
    digits = load_images(PROFILE["data"])
    space = make_space(
        "nasbench201", width=PROFILE["width"], depth=PROFILE["depth"],
        image_size=digits.size, channels=digits.channels, classes=len(digits.classes),
    )  # fmt: skip
    assert space.trace.operations
