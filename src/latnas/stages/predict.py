"""Stage `predict`: latencies of architectures according to a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from latnas.data.randomness import generator
from latnas.data.sources import DEFAULT, load_images
from latnas.errors import LatnasError, UsageError
from latnas.spaces.space import SETTING, Space
from latnas.stages.common.runs import FRONT, RUNS, TABLE, choose_front, front_of, open_run
from latnas.stages.common.tables import (
    FOLDER,
    check_images,
    find_table,
    latency_of,
    named_table,
    space_of,
    warn_if_stale,
)
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost, params_cost
from latnas.words.estimate import Estimate
from latnas.words.files import read_json
from latnas.words.front import load_front
from latnas.words.reporting import Reporter, Silent
from latnas.words.table import LatencyTable, load_table

RANDOM = 5


class PredictConfig(BaseModel):
    """Which architectures, against which table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: tuple[str, ...] = ()
    run: str | None = None
    runs: Path = RUNS
    random: int | None = Field(None, ge=1, le=10_000)
    table: Path | None = None
    tables: Path = FOLDER
    space: str | None = None
    data: str = DEFAULT
    seed: int = Field(0, ge=0, lt=2**63)


@dataclass(frozen=True)
class PredictedNetwork:
    """One architecture, in canonical form; `name` says where it came from."""

    name: str
    architecture: Architecture
    latency_ms: Estimate
    params: int
    macs: int


@dataclass(frozen=True)
class Predicted:
    """The table, and what it says of each architecture."""

    table: LatencyTable
    networks: tuple[PredictedNetwork, ...]


def predict(config: PredictConfig, report: Reporter | None = None) -> Predicted:
    """Predicts the architectures that are named, a front's choices, and random ones, in this order.

    Raises:
        UsageError: no table or run fits, or what is named is no architecture of the table's space.
        LatnasError: a file is broken.
    """
    report = report or Silent()
    table, chosen = _table_and_front(config)
    warn_if_stale(table, report)
    space = space_of(table)
    latency = latency_of(table, space)
    params, macs = params_cost(space.trace), macs_cost(space.trace)
    networks = []
    for _, architecture in chosen:
        _check(architecture, space, f"what run {config.run} chose")
    if config.run is not None and "data" in config.model_fields_set:
        check_images(table, load_images(config.data))
    for name, architecture in [*_named(config, space), *chosen, *_random(config, space, bool(chosen))]:
        canonical = space.canonical(architecture)
        networks.append(
            PredictedNetwork(
                name, canonical, latency.predict(canonical), int(params.cost(canonical)), int(macs.cost(canonical))
            )
        )
    return Predicted(table, tuple(networks))


def _table_and_front(config: PredictConfig) -> tuple[LatencyTable, list[tuple[str, Architecture]]]:
    """The table, and the choices of a front if a run is named: by that front's own table unless another is named.

    A table that is no front's is held against the run's own front.
    """
    if config.run is None:
        data = load_images(config.data)
        table = find_table(config.table or _exported_by(config), config.space, data, config.tables)[1]
        if "data" in config.model_fields_set:
            check_images(table, data)
        return table, []
    run = open_run(config.run, config.runs)
    known = run.fronts()
    if config.table is None or str(config.table) in known:
        folder = run.front(choose_front(run, None if config.table is None else str(config.table)))
        table = load_table(folder / TABLE)
    else:
        path = named_table(config.table, config.tables)
        table, of_it, own = load_table(path), front_of(run, path, known), known[0] if known else None
        folder = run.front(choose_front(run, of_it if of_it in known else own))
    if config.space not in (None, table.space):
        raise UsageError(
            f"{run.path} is predicted by a table of space {table.space!r}, not {config.space!r}. Leave --space out."
        )
    front = load_front(folder / FRONT)
    return table, [
        (f"lambda {choice.lam:.2f}", front.networks[choice.network].as_architecture) for choice in front.budgets
    ]


def _exported_by(config: PredictConfig) -> Path | None:
    """The table by which the manifests among the files were exported, if they agree and it is at hand: in the folder
    of tables, or in the run that they lie in.
    """
    found = set[Path]()
    for path in (Path(text) for text in config.architecture if text.endswith(".json")):
        value = read_json(path) if path.is_file() else None
        name = value.get("table") if isinstance(value, dict) else None
        if isinstance(name, str):
            front = path.resolve().parent.parent
            places = (config.tables / f"{name}.json", front.parent.parent / "fronts" / front.name / TABLE)
            found.update([place for place in places if place.is_file()][:1])
    return found.pop() if len(found) == 1 else None


def _named(config: PredictConfig, space: Space) -> Iterator[tuple[str, Architecture]]:
    for text in config.architecture:
        path = Path(text)
        architecture = _from_file(path) if path.suffix == ".json" else _from_text(text, space)
        _check(architecture, space, text)
        if not space.is_valid(architecture):
            raise UsageError(f"the network {text} does not connect its input to its output.")
        yield (path.parent.name or path.name if path.suffix == ".json" else "given"), architecture


def _check(architecture: Architecture, space: Space, what: str) -> None:
    try:
        space.check(architecture)
    except LatnasError as error:
        raise UsageError(
            f"{what} is no architecture of space {space.name!r}: {error} See its items: latnas spaces"
        ) from error


def _from_file(path: Path) -> Architecture:
    if not path.is_file():
        raise UsageError(f"there is no file {path}. Name a manifest.json, or items with | between.")
    value = read_json(path)
    if isinstance(value, dict) and isinstance(value.get("architecture"), dict):
        value = value["architecture"]
    try:
        return Architecture.from_json(value)
    except LatnasError as error:
        raise LatnasError(f"{path} holds no architecture: {error}") from error


def _from_text(text: str, space: Space) -> Architecture:
    items = text.split("|")
    if len(items) != len(space.decisions):
        raise UsageError(
            f"{text!r} has {len(items)} items, and space {space.name!r} has {len(space.decisions)} decisions. "
            "Write one for each, with | between: latnas spaces"
        )
    return Architecture.of(SETTING, {d.name: item.strip() for d, item in zip(space.decisions, items, strict=True)})


def _random(config: PredictConfig, space: Space, has_front: bool) -> list[tuple[str, Architecture]]:
    bare = not config.architecture and not has_front
    count = config.random if config.random is not None else RANDOM if bare else 0
    random = generator(config.seed, "predict")
    return [("random", space.random(random)) for _ in range(count)]
