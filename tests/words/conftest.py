"""A search space of eighteen architectures written down by hand, and a latency table for it: no torch needed."""

from __future__ import annotations

import pytest

from latnas.words.architecture import Decision, Item
from latnas.words.sites import FIXED, Site, SpaceTrace
from latnas.words.table import (
    SCHEMA,
    Anchor,
    Calibration,
    DeadParts,
    LatencyTable,
    NetworkEntry,
    Noise,
    OperationEntry,
    Prices,
    Quality,
    Witness,
)

OPTIONS = {"width": 8, "depth": 2, "image_size": 16, "channels": 3, "classes": 10}


def plain(name: str, *parts: str) -> Decision:
    return Decision(name, parts, tuple(Item(part, (part,)) for part in parts))


def site(decision: str, part: str, operation: str, params: int, macs: int) -> Site:
    return Site(decision, part, operation, f"{part} 8x16x16", ((1, 8, 16, 16),), params, macs, 2048)


# The operation `conv` stands at three sites; `skip` costs nothing; an item of the decision `node` is two parts.
DECISIONS = (
    plain("first", "conv", "skip"),
    plain("second", "conv", "pool", "skip"),
    Decision(
        "node",
        ("0/conv", "0/skip", "1/conv"),
        (
            Item("0/conv+1/conv", ("0/conv", "1/conv")),
            Item("0/skip+1/conv", ("0/skip", "1/conv")),
            Item("0/conv", ("0/conv",)),
        ),
    ),
)
SITES = (
    site("first", "conv", "a1", 100, 5000),
    site("second", "conv", "a1", 100, 5000),
    site("second", "conv", "a2", 400, 2500),  # a tied place at another shape
    site("second", "pool", "b", 0, 0),
    site("node", "0/conv", "a1", 100, 5000),
    site("node", "0/skip", "c", 0, 0),
    site("node", "1/conv", "a2", 400, 2500),
    site(FIXED, "stem", "stem", 216, 9000),
    site(FIXED, "head", "head", 90, 80),
)


@pytest.fixture
def trace() -> SpaceTrace:
    return SpaceTrace("toy", OPTIONS, DECISIONS, {"default": SITES})


# Binary fractions, so that sums are exact. A price may be below zero: what is merged away was paid elsewhere.
PRICES = Prices(
    fixed_ms={"default": 2.0},
    parts_ms={
        "default": {
            "first": {"conv": 0.375, "skip": 0.0625},
            "second": {"conv": 1.25, "pool": 0.125, "skip": -0.03125},
            "node": {"0/conv": 0.375, "0/skip": 0.03125, "1/conv": 0.875},
        }
    },
    contexts_ms={"ReLU": 0.5, "ReLU(add)": -0.25},
)
LINEAR = Prices(
    fixed_ms={"default": 2.5},
    parts_ms={
        "default": {
            "first": {"conv": 0.5, "skip": 0.0},
            "second": {"conv": 1.5, "pool": 0.25, "skip": 0.125},
            "node": {"0/conv": 0.5, "0/skip": 0.0, "1/conv": 1.0},
        }
    },
)


@pytest.fixture
def table(trace: SpaceTrace) -> LatencyTable:
    architecture = {"setting": "default", "items": {"first": "conv", "second": "pool", "node": "0/conv"}}
    floors = {"a1": 0.25, "a2": 0.5, "b": 0.125, "c": 0.03125, "stem": 1.0, "head": 0.0625}
    networks = tuple(
        NetworkEntry(
            architecture=architecture,
            drawn="end" if ms == 1.0 else "random",
            floor_ms=2.0 * ms + 0.1,
            sum_ms=ms,
            left_out=-0.01,
            halves=0.002,
        )
        for ms in (1.0, 1.5, 2.0, 2.5)
    )
    return LatencyTable(
        table_schema=SCHEMA,
        device="cuda:0",
        runtime="torch",
        measures="torch",
        environment={"host": "bench-3", "torch": "2.13.0"},
        batch=1,
        threads=1,
        precision="fp32",
        space=trace.space,
        options=dict(OPTIONS),
        space_digest=trace.digest,
        quote="p50",
        operations={
            name: OperationEntry(label=f"{name} 8x16x16", floor_ms=ms, overhead_ms=0.0625, halves=0.001)
            for name, ms in floors.items()
        },
        calibration=Calibration(
            prior="operations",
            freedom="kinds 0.1",
            prices=PRICES,
            linear=LINEAR,
            linear_error=0.03,
            low=0.96875,
            high=1.03125,
            quality=Quality(
                networks=4, mean_error=0.01, within5=1.0, within10=1.0, worst=0.02, spearman=0.9, kendall=None
            ),
            tried={"scale and offset": 0.02, "kinds 0.1": 0.01},
            networks=networks,
        ),
        anchor=Anchor(
            architecture=architecture,
            floor_ms=2.1,
            p50_factor=1.0625,
            p90_factor=1.25,
            calm_rounds=40,
            rounds=50,
            witnesses=(Witness(floor_ms=2.1, p50_factor=1.0625, p90_factor=1.25),),
        ),
        dead_parts=DeadParts(share=0.02, probes=2),
        noise=Noise(mean=0.002, p95=0.002),
        unsettled=(),
        doubtful={"b": "dearer than a2, which does more"},
        created="2026-01-01T00:00:00+00:00",
        seconds=12.5,
    )
