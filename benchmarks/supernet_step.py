"""What a search step costs in CPU time and memory, beside a plain training step of the space's largest network.

    python benchmarks/supernet_step.py --json benchmarks/results/supernet_step.json

A search step is one update of the shared weights (along one path, every other one from the hypernetwork) and one of
the hypernetwork (with the supernet's term every fourth time, so everything is a mean over blocks of four steps). How
many of the one there are for one of the other is a search's own choice: --joint-steps and --hypernetwork-steps. The
largest network is that of most multiply-adds; its step is the same trainer's. NAS-Bench-201, 16 channels, 15 cells,
batches of 64 images of noise, 32x32x3, one thread.

What a path costs depends on the distribution that it is drawn from. `first steps` are those of a fresh hypernetwork,
whose paths are near uniform; `last steps` those of one that has learnt, from a surrogate that likes parameters, to use
up budgets from the smallest network to the largest; `largest path` trains the largest network in every step: a bound.

Time: CPU seconds of one process, blocks of all kinds in turn; the ratio of the sums, and its 95 % interval over blocks
drawn anew. Memory: what a new process has resident at its peak, above what it had before it made the first network:
weights, momentum, gradients, activations and the workspace of kernels all count, of which a trace of tensors would not
see the last. The ratio of means over processes of different seeds, and the extreme ratios among them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from apart import measured_apart, peak_mb, resident_mb
from pieces import this_cpu
from report import Reach, as_row, failures_in_one_line, finish, parser, whole

from latnas.data.images import LabelledImages
from latnas.data.randomness import generator
from latnas.hypernet.learn import Learner, Learning, StepReport
from latnas.hypernet.surrogate import Surrogate, fit_surrogate
from latnas.spaces.choice import path_of
from latnas.spaces.solving import extremes
from latnas.spaces.space import Space, make_space
from latnas.training.trainer import Recipe, Trainer
from latnas.words.architecture import Architecture
from latnas.words.budgets import BudgetRange
from latnas.words.costs import AdditiveCost, macs_cost, params_cost

PLAIN = "plain"
FIRST, LAST, LARGEST = "first steps", "last steps", "largest path"
PHASES = (FIRST, LAST, LARGEST)
SHARED, HYPERNETWORK = "shared weights", "hypernetwork"
IMAGES = 1024
SCORED = 200
LEARNING = Learning(steps=300)
BLOCK = LEARNING.supernet_every
RESAMPLES = 2000
TIME_REACH, MEMORY_REACH = 0.7, 1.2

Work = Callable[[int], object]
"""One step of something, by its number."""


@dataclass(frozen=True)
class Problem:
    """A space with a cost in the place of latencies, what the surrogate likes, and images to train on."""

    space: Space
    cost: AdditiveCost
    budgets: BudgetRange
    largest: Architecture
    surrogate: Surrogate
    images: LabelledImages
    batch: int
    seed: int


def problem(width: int, depth: int, size: int, batch: int, seed: int) -> Problem:
    """NAS-Bench-201 with multiply-adds as latency, and parameters as score."""
    space = make_space("nasbench201", image_size=size, channels=3, classes=10, width=width, depth=depth)
    random = generator(seed, "supernet step")
    images = torch.randint(256, (IMAGES, 3, size, size), dtype=torch.uint8, generator=random)
    cost, params = macs_cost(space.trace), params_cost(space.trace)
    smallest, largest = extremes(space, cost)
    pool = [space.random(random) for _ in range(SCORED)]
    return Problem(
        space, cost, BudgetRange(1.05 * cost.cost(smallest), cost.cost(largest)), largest,
        fit_surrogate(pool, [params.cost(one) for one in pool], space.decisions, [params, cost]),
        LabelledImages(images, torch.randint(10, (IMAGES,), generator=random)), batch, seed,
    )  # fmt: skip


def plain_steps(given: Problem) -> dict[str, Work]:
    """Training the largest network by itself."""
    trainer = _trainer(given, given.space.derive(given.space.network(given.seed), given.largest))
    return {PLAIN: lambda step: trainer.step()}


def search_steps(given: Problem, phase: str) -> dict[str, Work]:
    """The two halves of a search step."""
    trainer = _trainer(given, given.space.network(given.seed))
    learner = Learner(given.space, given.cost, given.budgets, LEARNING, given.seed)
    done = 0 if phase == FIRST else LEARNING.steps
    for step in range(done):
        learner.step(step, given.surrogate, None, given.images)
    largest = [path_of(given.largest, given.space.decisions)]

    def update_shared(step: int) -> float:
        return trainer.step(largest if phase == LARGEST else learner.paths(step))

    def update_hypernetwork(step: int) -> StepReport:
        return learner.step(done + step, given.surrogate, trainer.network, given.images)

    return {f"{phase}: {SHARED}": update_shared, f"{phase}: {HYPERNETWORK}": update_hypernetwork}


def _trainer(given: Problem, network: torch.nn.Module) -> Trainer:
    return Trainer(network, given.images, Recipe(10**6, given.batch, warmup_steps=0), given.seed)


def time_blocks(works: Mapping[str, Work], blocks: int) -> dict[str, np.ndarray]:
    """For each kind of work the CPU seconds of one step, a mean for each block [blocks]. One block more warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for block in range(blocks + 1):
        turn = block % len(names)
        for name in names[turn:] + names[:turn]:
            began = time.process_time()
            for step in range(block * BLOCK, (block + 1) * BLOCK):
                works[name](step)
            seconds[name].append((time.process_time() - began) / BLOCK)
    return {name: np.array(values[1:]) for name, values in seconds.items()}


def ratio(above: np.ndarray, below: np.ndarray, seed: int) -> tuple[float, float, float]:
    """The ratio of sums over blocks, and its 95 % interval when blocks are drawn anew, both kinds together."""
    drawn = np.random.default_rng(seed).integers(len(above), size=(RESAMPLES, len(above)))
    low, high = np.quantile(above[drawn].sum(1) / below[drawn].sum(1), (0.025, 0.975))
    return float(above.sum() / below.sum()), float(low), float(high)


def peak_of(phase: str, given: Problem, blocks: int) -> float:
    """Megabytes that this process had to add for so many blocks of steps."""
    _load_kernels()
    before = resident_mb()
    works = plain_steps(given) if phase == PLAIN else search_steps(given, phase)
    for step in range(blocks * BLOCK):
        for work in works.values():
            work(step)
    return peak_mb() - before


def _load_kernels() -> None:
    """What is loaded once, whatever is trained, is no part of a step."""
    small = problem(width=1, depth=1, size=8, batch=4, seed=0)
    for work in (plain_steps(small) | search_steps(small, FIRST)).values():
        work(0)


def summarise(
    seconds: Mapping[str, np.ndarray], peaks: Mapping[str, Sequence[float]], seed: int
) -> list[dict[str, object]]:
    """One row for each phase; ratios are to the plain step."""
    plain_s, plain_mb = seconds[PLAIN], np.array(peaks[PLAIN])
    rows = []
    for phase in PHASES:
        shared, hypernetwork = seconds[f"{phase}: {SHARED}"], seconds[f"{phase}: {HYPERNETWORK}"]
        time_ratio, low, high = ratio(shared + hypernetwork, plain_s, seed)
        own_mb = np.array(peaks[phase])
        rows.append(
            as_row(
                phase=phase, steps=len(plain_s) * BLOCK, plain_ms=1e3 * float(plain_s.mean()),
                shared_weights_ms=1e3 * float(shared.mean()), hypernetwork_ms=1e3 * float(hypernetwork.mean()),
                time_ratio=time_ratio, time_low=low, time_high=high, processes=len(own_mb),
                plain_mb=float(plain_mb.mean()), search_mb=float(own_mb.mean()),
                memory_ratio=float(own_mb.mean() / plain_mb.mean()), memory_low=float(own_mb.min() / plain_mb.max()),
                memory_high=float(own_mb.max() / plain_mb.min()),
            )
        )  # fmt: skip
    return rows


def reach(rows: Sequence[Mapping[str, Any]]) -> list[Reach]:
    """The dearer of a search's first and last steps."""
    found = []
    for quantity, most in (("time", TIME_REACH), ("memory", MEMORY_REACH)):
        worst = max(row[f"{quantity}_ratio"] for row in rows if row["phase"] != LARGEST)
        found.append(
            Reach(f"{quantity} of a search step over a plain step of the largest network", worst, most, "lower")
        )
    return found


def _words(given: argparse.Namespace, phase: str, seed: int) -> list[str]:
    sizes = ("width", "depth", "size", "batch", "memory_blocks")
    words = [word for name in sizes for word in (f"--{name.replace('_', '-')}", str(getattr(given, name)))]
    return [*words, "--seed", str(seed), "--peak-of", phase]


@failures_in_one_line("supernet_step")
def main() -> None:
    arguments = parser(__doc__)
    for name, default in (("width", 16), ("depth", 5), ("size", 32), ("batch", 64)):
        arguments.add_argument(f"--{name}", type=whole(1), default=default)
    arguments.add_argument("--blocks", type=whole(1), default=20, help="timed blocks of four steps (default 20)")
    arguments.add_argument("--processes", type=whole(1), default=5, help="processes for each peak (default 5)")
    arguments.add_argument("--memory-blocks", type=whole(1), default=6, help="blocks in each of them (default 6)")
    arguments.add_argument("--peak-of", choices=(PLAIN, *PHASES), help="measure memory in this process and print JSON")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    chosen = problem(given.width, given.depth, given.size, given.batch, given.seed)
    if given.peak_of:
        print(json.dumps({"mb": peak_of(given.peak_of, chosen, given.memory_blocks)}))
        return
    works = plain_steps(chosen)
    for phase in PHASES:
        works |= search_steps(chosen, phase)
    seconds = time_blocks(works, given.blocks)
    peaks = {
        phase: [
            measured_apart(__file__, *_words(given, phase, given.seed + number))["mb"]
            for number in range(given.processes)
        ]
        for phase in (PLAIN, *PHASES)
    }
    rows = summarise(seconds, peaks, given.seed)
    finish(
        "supernet_step",
        rows,
        reach(rows),
        this_cpu(),
        given.json,
    )


if __name__ == "__main__":
    main()
