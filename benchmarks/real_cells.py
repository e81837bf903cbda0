"""One space, one data set, one seed: the search, what is chosen without it, and the same final training for all.

Everything lies in a folder, so that the same call goes on where it was stopped, in the middle of a training at worst.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import count, islice
from pathlib import Path

import numpy as np
from pieces import Meter, digest_of, this_cpu
from real_training import CHECKPOINT
from report import as_row

from latnas.data.images import ImageData
from latnas.data.randomness import generator
from latnas.data.sources import absolute, load_images
from latnas.errors import LatnasError
from latnas.ranking.features import Reduction
from latnas.spaces.space import Space, make_space
from latnas.stages.common.estimate import StepSeconds, search_seconds, speed_of, time_steps
from latnas.stages.common.options import SearchOptions
from latnas.stages.common.tables import latency_of, space_of
from latnas.stages.export import ExportConfig
from latnas.stages.export.targets import make_targets, random_fitting
from latnas.stages.profile import ProfileConfig, profile
from latnas.stages.search import SearchConfig, search
from latnas.training.tasks import Task, parse_executor, run_tasks
from latnas.training.trainer import Recipe
from latnas.words.architecture import Architecture
from latnas.words.files import read_json, write_atomically, write_json
from latnas.words.front import Front, load_front
from latnas.words.latency import LatencyModel
from latnas.words.reporting import Progress, Reporter
from latnas.words.table import load_table

VERSION = 6
"""Of what search_real.py measures: the search and all trainings.
Raise it when that changes: results of another version are not mixed with these."""

METHODS = ("search", "most_macs", "random", "best_of_n")
KINDS = {"search": "search", "most-macs": "most_macs", "random": "random"}
"""What export calls its targets, and their columns here."""

IN_VAIN = 20
"""So many rounds of draws without a new network end best-of-n: the space has hardly any others."""

POINTS = 100.0


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        image: pixels of a side, to which all images are resized.
        spaces: width and depth of each space.
        search: options of `latnas search`.
        short_steps, final_steps: of best-of-n's trainings and of those that are compared.
    """

    image: int
    spaces: Mapping[str, tuple[int, int]]
    search: Mapping[str, int]
    budgets: int
    short_steps: int
    final_steps: int
    batch: int = 64

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that differ where anything does, or the version."""
        return digest_of(VERSION, asdict(self))

    def epochs(self, data: ImageData) -> int:
        """Of the trainings that are compared, to the nearest whole one."""
        return round(self.final_steps * self.batch / len(data.train))

    def recipe(self, steps: int, data: ImageData) -> Recipe:
        """Of every training here: what `latnas export` does for fewer than 30 epochs."""
        return Recipe(steps, self.batch, pad=0, flip=data.mirrors)


@dataclass(frozen=True)
class Problem:
    """A space, images by the `name` that results have for them, and a table of latencies."""

    name: str
    data: ImageData
    table: Path
    space: Space
    latency: LatencyModel

    @cached_property
    def digest(self) -> str:
        """Of the images and the table, whenever it was made and on whichever machine: what is fitted to the measured
        networks has other last digits where numpy's BLAS is another."""
        table = self.latency.table.model_dump(mode="json", exclude={"created", "seconds", "calibration"})
        networks = [(one.architecture, one.floor_ms) for one in self.latency.table.calibration.networks]
        return digest_of(self.data.fingerprint, table, networks)


@dataclass(frozen=True)
class Cell:
    """One seed of a problem, and the folder that keeps what was done."""

    problem: Problem
    sizes: Sizes
    seed: int
    executor: str
    folder: Path

    def task(self, architecture: Architecture, steps: int, test: bool) -> Task:
        """A training of this cell."""
        space, data = self.problem.space, self.problem.data
        config = {
            "data": data.spec, "space": space.name, "options": vars(space.options).copy(), "seed": self.seed,
            "architecture": architecture.to_json(), "recipe": asdict(self.sizes.recipe(steps, data)), "test": test,
        }  # fmt: skip
        folder = self.folder / f"steps-{steps}" / architecture.key
        return Task("real_training:training_task", config, folder, checkpoints=(CHECKPOINT,))


def smaller_images(source: str, name: str, size: int, folder: Path) -> str:
    """A file of the images in `source` at `size`, made once: what to give as --data for it.

    Decoding and resizing them in every worker process would cost as much as a search of this size.
    """
    path = folder / f"{name}-{size}-{digest_of(absolute(source))}.npz"
    if not path.exists():
        data = load_images(f"{source}@{size}")
        arrays = {"classes": np.array(data.classes)}
        for part, images in (("train", data.train), ("test", data.test)):
            arrays[f"x_{part}"] = images.images[:].permute(0, 2, 3, 1).numpy()
            arrays[f"y_{part}"] = images.labels.numpy()
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        write_atomically(path, file.getvalue())
    return str(path)


def problem_of(
    space: str, name: str, spec: str, sizes: Sizes, tables: Path | None, folder: Path, report: Reporter
) -> Problem:
    """The problem with the first table in `tables` or `folder` that is of this space; else one is computed.

    Nothing is timed here: budgets apply to predicted latencies, whichever machine the table is of.
    """
    width, depth = sizes.spaces[space]
    data = load_images(spec)
    shape = {"image_size": data.size, "channels": data.channels, "classes": len(data.classes)}
    digest = make_space(space, width=width, depth=depth, **shape).trace.digest
    path = _table_of(digest, tables) or _table_of(digest, folder)
    if path is None:
        config = ProfileConfig(device="analytic", space=space, width=width, depth=depth, data=spec, out=folder)
        path = profile(config, report).path
    table = load_table(path)
    found = space_of(table)
    return Problem(name, data, path, found, latency_of(table, found))


def _table_of(space_digest: str, folder: Path | None) -> Path | None:
    for path in sorted(folder.glob("*.json")) if folder is not None else ():
        try:
            if load_table(path).space_digest == space_digest:
                return path
        except LatnasError:
            continue  # other JSON may lie there
    return None


def run_cell(cell: Cell, report: Reporter) -> list[dict[str, object]]:
    """One row for each budget: what each method's network reaches on the test images, in percent."""
    front, search_cpu = searched(cell, report)
    space, latency = cell.problem.space, cell.problem.latency
    config = ExportConfig(all=True, baselines=True, seed=cell.seed)
    targets = make_targets(config, front, space, latency, certain=False)
    budgets = sorted({target.budget_ms for target in targets}, reverse=True)
    tried, tried_cpu = tried_briefly(cell, budgets, search_cpu, report)
    chosen = {(KINDS[target.kind], target.budget_ms): target.candidates[0] for target in targets}
    for budget in budgets:
        chosen["best_of_n", budget] = best_within(tried, latency, budget) or front.networks[0].as_architecture
    accuracy = finally_trained(cell, list(chosen.values()), report)
    return [
        as_row(
            space=space.name, data=cell.problem.name, seed=cell.seed, budget_ms=budget,
            **{method: POINTS * accuracy[chosen[method, budget].key] for method in METHODS},
            **{f"{method}_ms": latency.predict_ms(chosen[method, budget]) for method in METHODS},
            **{f"{method}_network": chosen[method, budget].key for method in METHODS}, tried=len(tried),
            search_cpu_seconds=search_cpu, tried_cpu_seconds=tried_cpu, table=latency.table.name,
            problem=cell.problem.digest, sizes=cell.sizes.digest, device=this_cpu(cell.executor), version=VERSION,
        )
        for budget in budgets
    ]  # fmt: skip


def searched(cell: Cell, report: Reporter) -> tuple[Front, float]:
    """The front of `latnas search`, and the CPU seconds that it took, all its processes and sessions together."""
    done = cell.folder / "searched.json"
    if not done.exists():
        config = SearchConfig(
            data=cell.problem.data.spec, table=cell.problem.table, out=cell.folder, name="search", seed=cell.seed,
            budgets=cell.sizes.budgets, epochs=cell.sizes.epochs(cell.problem.data), executor=cell.executor,
            **cell.sizes.search,
        )  # fmt: skip
        meter = Meter(cell.folder / "search-cpu.json")
        with meter.running(report) as noticing:
            found = search(config, noticing)
        spent = meter.spent["cpu_seconds"]
        write_json(done, {"front": str(found.front_path.relative_to(cell.folder)), "cpu_seconds": spent})
    kept = read_json(done)
    return load_front(cell.folder / kept["front"]), float(kept["cpu_seconds"])


def draws(space: Space, latency: LatencyModel, budgets: Sequence[float], seed: int) -> Iterator[Architecture]:
    """Distinct random networks, one within each budget in turn."""
    seen: set[str] = set()
    last = 0
    for number in count():
        for budget in budgets:
            random = generator(seed, "best of n", number, repr(budget))
            for drawn in random_fitting(space, latency, budget, 1, random):
                if drawn.key not in seen:
                    seen.add(drawn.key)
                    last = number
                    yield drawn
        if number - last >= IN_VAIN:
            return


def tried_briefly(
    cell: Cell, budgets: Sequence[float], most_cpu_seconds: float, report: Reporter
) -> tuple[list[tuple[Architecture, float]], float]:
    """Random networks with their accuracy on `select` after a short training: as many as the search's cost allows.

    What starting processes and loading images costs is counted for the search and not here. The training that reaches
    the cost is the last one that counts.
    """
    workers = parse_executor(cell.executor)
    stream = draws(cell.problem.space, cell.problem.latency, budgets, cell.seed)
    tried: list[tuple[Architecture, float]] = []
    spent = 0.0
    with report.bar("best of n: short trainings") as bar:
        while spent < most_cpu_seconds:
            missing = (most_cpu_seconds - spent) / (spent / len(tried)) if tried else 0.0
            chunk = list(islice(stream, max(workers, 1, math.ceil(missing))))
            if not chunk:
                break
            tasks = [cell.task(one, cell.sizes.short_steps, test=False) for one in chunk]
            results = run_tasks(tasks, workers, partial(_further, bar, len(tried)))
            for one, result in zip(chunk, results, strict=True):
                if spent < most_cpu_seconds:
                    tried.append((one, result["select"]))
                    spent += result["cpu_seconds"]
    return tried, spent


def _further(bar: Progress, before: int, done: float, total: int) -> None:
    bar.update(before + done, before + total, "networks")


def best_within(
    tried: Sequence[tuple[Architecture, float]], latency: LatencyModel, budget: float
) -> Architecture | None:
    """The network of highest accuracy that is predicted to be within the budget; of equal ones the first."""
    fitting = [(one, reached) for one, reached in tried if latency.predict_ms(one) <= budget]
    return max(fitting, key=lambda pair: pair[1])[0] if fitting else None


def finally_trained(cell: Cell, architectures: Sequence[Architecture], report: Reporter) -> dict[str, float]:
    """Test accuracies by key: each distinct network is trained once, whoever chose it."""
    distinct = {one.key: one for one in architectures}
    tasks = [cell.task(one, cell.sizes.final_steps, test=True) for one in distinct.values()]
    with report.bar("final trainings") as bar:
        workers = parse_executor(cell.executor)
        results = run_tasks(tasks, workers, lambda done, total: bar.update(done, total, "networks"))
    return {key: result["test"] for key, result in zip(distinct, results, strict=True)}


@dataclass(frozen=True)
class CellSeconds:
    """What a cell will take on this machine if all networks that are compared differ."""

    search: float
    best_of_n: float
    final: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.search + self.best_of_n + self.final


def estimate(problem: Problem, sizes: Sizes, executor: str) -> CellSeconds:
    """From a few timed steps, for a machine that does nothing else."""
    options = SearchOptions(budgets=sizes.budgets, **sizes.search)
    began, cpu_began = time.perf_counter(), time.process_time()
    each = time_steps(problem.space, problem.data, Reduction(options.reduced_width, options.reduced_size), sizes.batch)
    own_share = (time.process_time() - cpu_began) / (time.perf_counter() - began)
    each = StepSeconds(**{what: own_share * seconds for what, seconds in asdict(each).items()})
    workers = parse_executor(executor)
    searching = search_seconds(options, each, workers).total
    # Evaluating an image takes about a third of training on it.
    evaluation = (len(problem.data.test) + 0.15 * len(problem.data.train)) / (3 * sizes.batch)
    networks = sizes.budgets * len(METHODS)
    final = networks * (sizes.final_steps + evaluation) * each.full / speed_of(workers)
    return CellSeconds(searching, searching, final)
