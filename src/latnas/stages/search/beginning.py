"""What a search begins with: a run of its own, one to go on with (--resume), or one to add a front to (--from)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import ValidationError

from latnas.data.images import ImageData
from latnas.data.sources import load_images
from latnas.errors import LatnasError, UsageError
from latnas.stages.common.runs import (
    FRONT,
    LATEST,
    SCHEMA,
    TABLE,
    RunFolder,
    default_name,
    front_of,
    images_of,
    is_of_another_measurement,
    open_run,
    read_toml,
    resume_own,
    to_toml,
)
from latnas.stages.common.tables import check_images, find_table, profile_again
from latnas.stages.search import accuracy
from latnas.stages.search.config import OF_A_FRONT, PLACES, SearchConfig
from latnas.training.trainer import Recipe
from latnas.words.budgets import budget_name, parse_range
from latnas.words.files import write_atomically
from latnas.words.table import LatencyTable, load_table
from latnas.words.versioned import first_problem

WEIGHTS = "weights.safetensors"
Range = tuple[float, float] | None


@dataclass(frozen=True)
class Beginning:
    """One front that is to be searched, or is finished.

    Attributes:
        config: everything that decides the front, whether it was typed or recorded by an earlier search.
        data: the images.
        table_path, table: where the latency table lies, and the table.
        run: the run's folder.
        name: the front's.
        own: the name of the run's own front. Where it is another than `name`, that one's search has left the shared
            weights and the accuracy model, and both are used as they are.
        recorded: what the run's config says, or will say.
    """

    config: SearchConfig
    data: ImageData
    table_path: Path
    table: LatencyTable
    run: RunFolder
    name: str
    own: str
    recorded: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where the front is left."""
        return self.run.front(self.name)

    @property
    def joins(self) -> bool:
        """Whether the front joins a run that another one began."""
        return self.name != self.own

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return _is_finished(self.run, self.name, self.own)

    def check_measurement(self) -> None:
        """Raises UsageError where the front was begun by a table of the same name that was measured at another time."""
        if is_of_another_measurement(self.run, self.name, self.table):
            run, table = quote(str(self.run.path)), quote(str(self.table_path))
            raise UsageError(
                f"{self.run.path} was searched with an earlier measurement of {self.table_path} and stays by that. "
                f"A front by the new one, once the run is finished: latnas search --from {run} --table {table}. "
                f"To go on with the earlier: latnas search --resume {run}. All anew: choose another --name"
            )

    def record(self) -> None:
        """Writes down the table, and what decides the front where the run's config does not."""
        if self.joins:
            values = {"schema": SCHEMA, **{name: getattr(self.config, name) for name in OF_A_FRONT}}
            write_atomically(self.run.front_config(self.name), to_toml(values))
        self.table.save(self.folder / TABLE)


def begin(config: SearchConfig) -> Beginning:
    """What is searched, for a config as it was typed.

    Raises:
        UsageError: no table or run fits, or what was typed contradicts what the run records.
        LatnasError: a file is broken, or the run is of another version of latnas.
    """
    if config.resume is not None and config.from_run is not None:
        raise UsageError("--resume goes on with a run and --from adds a front to one: leave one of the two out.")
    if config.extra_minutes and config.from_run is None and config.resume is None:
        raise UsageError("--extra-minutes adds short trainings to a finished run: name it with --from RUN.")
    if config.resume is not None:
        return _resumed(config, open_run(config.resume, config.out))
    if config.from_run is not None:
        return _joining(config, open_run(config.from_run, config.out))
    if config.name == LATEST:
        raise UsageError(f"--name {LATEST} is how the last run is called, whatever its name. Choose another.")
    data = load_images(config.data)
    path, table = find_table(config.table, config.space, data, config.tables)
    check_images(table, data)
    recorded = config.recorded(table.space, data.fingerprint)
    run = RunFolder(config.out / (config.name or default_name(table.space, {**recorded, "table": table.name})))
    _check_own(config, run, recorded, path, table)
    return Beginning(config, data, path, table, run, table.name, table.name, recorded)


def recipe_of(begun: Beginning) -> Recipe:
    """How the shared weights are trained."""
    return Recipe(begun.config.warmup_steps + begun.config.joint_steps, pad=0, flip=begun.data.mirrors)


def _resumed(config: SearchConfig, run: RunFolder) -> Beginning:
    """The one front of a run that is not finished; the one that --table names; its own if all are finished."""
    begun = run.begun()
    if not begun:
        raise UsageError(f"the search of {run.path} had hardly begun. Type its command again: latnas search")
    named, own = None if config.table is None else front_of(run, config.table, begun), _own(run)
    if named is not None and named not in begun:
        raise UsageError(f"run {run.path} has no front for table {named!r}. It has: {', '.join(begun)}.")
    open_ = [name for name in begun if not _is_finished(run, name, own)]
    if named is None and len(open_) > 1:
        raise UsageError(f"run {run.path} has several unfinished fronts; name one: --table {' | --table '.join(open_)}")
    name = named or (open_ or begun)[0]
    path = run.front(name) / TABLE
    full = _as_recorded(config, run, _front_values(run, name))
    _check_typed(config, full, run, ())
    data, table = images_of(run, named_data(config)), load_table(path)
    check_images(table, data)
    return Beginning(full, data, path, table, run, name, own, run.read_config())


def _joining(config: SearchConfig, run: RunFolder) -> Beginning:
    """A front for another table, or another range of the run's own one, beside those that a finished run has."""
    begun = run.begun()
    own = _own(run) if begun else None
    if own is None or not _is_finished(run, own, own):
        raise UsageError(f"the search of {run.path} is not finished. Go on first: {resume_own(run)}")
    typed = {name: getattr(config, name) for name in OF_A_FRONT if name in config.model_fields_set}
    full = _as_recorded(config, run, {"budget_range": "auto", **typed})
    _check_typed(config, full, run, OF_A_FRONT)
    data = images_of(run, named_data(config))
    of_run = run.front(own) / TABLE
    path, table = find_table(config.table or of_run, config.space, data, config.tables)
    _check_space(table, load_table(of_run), run, data)
    name = _front_name(table.name, full.wanted_range, parse_range(run.read_config()["budget_range"]))
    if is_of_another_measurement(run, name, table):
        name = f"{name}-{hashlib.sha256(table.model_dump_json().encode()).hexdigest()[:6]}"
    if name in begun:
        _check_front(full, _as_recorded(config, run, _front_values(run, name)), run, name)
    return Beginning(full, data, path, table, run, name, own, run.read_config())


def _own(run: RunFolder) -> str:
    """The run's own front, without which no other can join it."""
    own = run.own_front()
    if own is None:
        raise LatnasError(
            f"{run.path} has fronts that joined it ({', '.join(run.begun())}), and lacks the one that it was begun "
            "with. Copy all of the run, or search again: latnas search"
        )
    return own


def _is_finished(run: RunFolder, name: str, own: str) -> bool:
    lasting = [run.front(name) / FRONT]
    if name == own:
        lasting += [run.supernet / WEIGHTS, run.accuracy / accuracy.JUDGE]
    return all(path.exists() for path in lasting)


def _front_name(table: str, wanted: Range, of_run: Range) -> str:
    """A front is called after its table; where its range is not the one of the run's config, after that too."""
    if wanted == of_run:
        return table
    return f"{table}-auto" if wanted is None else f"{table}-{budget_name(wanted[0])}-{budget_name(wanted[1])}"


def _front_values(run: RunFolder, name: str) -> dict[str, Any]:
    """What a front's own config says, where it has one."""
    path = run.front_config(name)
    values = read_toml(path) if path.exists() else {}
    return {option: values[option] for option in OF_A_FRONT if option in values}


def _as_recorded(config: SearchConfig, run: RunFolder, of_front: dict[str, Any]) -> SearchConfig:
    """The config that the run records, with the options of a front, run where and how `config` says."""
    recorded = run.read_config()
    images = recorded.pop("images")
    how = {name: getattr(config, name) for name in {*PLACES, "data"} & config.model_fields_set}
    try:
        whole = SearchConfig(**recorded)
        full = SearchConfig(**{**recorded, **of_front, **how})
    except (ValidationError, UsageError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise LatnasError(f"{run.path} has a config that is damaged: {reason}. Search again: latnas search") from error
    expected = whole.recorded(str(recorded["space"]), str(images))
    # Where images lie may have become a link since, which is another place: whether they are the same is seen to later.
    if {**expected, "data": recorded["data"]} != run.read_config():
        raise LatnasError(
            f"{run.path} is of another version of latnas, with other options. Search again: latnas search"
        )
    return full


def _check_typed(config: SearchConfig, full: SearchConfig, run: RunFolder, free: tuple[str, ...]) -> None:
    """Raises UsageError where something was typed that is not as the run records it."""
    recorded = {*SearchConfig.model_fields} - {*PLACES, "data", *free}
    for name in sorted(config.model_fields_set & recorded):
        typed, known = getattr(config, name), getattr(full, name)
        is_same_range = name == "budget_range" and config.wanted_range == full.wanted_range
        if typed != known and not is_same_range:
            raise UsageError(
                f"{run.path} was searched with {name} {'without limit' if known is None else known}, not {typed}, and "
                f"that stays. Leave --{name.replace('_', '-')} out (of variables and --config too), or make another "
                f"run: leave out {'--resume' if config.resume else '--from'}."
            )
    if config.name is not None and config.name != run.path.name:
        raise UsageError(f"the run is {run.path}, and keeps its name. Leave --name out.")


def _check_own(config: SearchConfig, run: RunFolder, recorded: dict[str, Any], path: Path, table: LatencyTable) -> None:
    """Raises UsageError where the run is another table's: a whole search by this one would mix with what it has.

    Another config is refused when the run is made.
    """
    own = run.own_front()
    if own is None or table.name == own or not run.config.exists() or run.read_config() != recorded:
        return
    problem = f"{run.path} has a search of its own, by the table {own}, and {path} is another."
    known = load_table(run.front(own) / TABLE)
    if (table.space, table.options) != (known.space, known.options):
        raise UsageError(f"{problem} Its networks are others too: choose another --name")
    wanted = "" if config.wanted_range is None else f" --budget-range {quote(config.budget_range)}"
    joining = f"latnas search --from {quote(str(run.path))} --table {quote(str(path))}{wanted}"
    if _is_finished(run, own, own):
        raise UsageError(f"{problem} A front by that one beside it: {joining}. All anew: choose another --name")
    raise UsageError(
        f"{problem} To go on with its own: {resume_own(run)}. Then a front by the other one: {joining}. "
        f"All anew: choose another --name"
    )


def _check_space(table: LatencyTable, own: LatencyTable, run: RunFolder, data: ImageData) -> None:
    """Raises UsageError where a table is not for the very networks that a run knows."""
    if (table.space, table.options) != (own.space, own.options):
        shown = ", ".join(f"{name} {value}" for name, value in own.options.items())
        raise UsageError(
            f"{run.path} knows networks of space {own.space!r} ({shown}), and the table {table.name} is for others. "
            f"Measure one that fits: "
            + profile_again(table.model_copy(update={"space": own.space, "options": own.options}), data.spec)
        )


def _check_front(full: SearchConfig, known: SearchConfig, run: RunFolder, name: str) -> None:
    """Raises UsageError where the front was begun with other options."""
    for option in OF_A_FRONT:
        if option != "budget_range" and getattr(full, option) != getattr(known, option):
            command = f"latnas search --resume {quote(str(run.path))} --table {name}"
            raise UsageError(
                f"{run.front(name)} was searched with {option} {getattr(known, option)}, not {getattr(full, option)}. "
                f"It is kept as it is: {command}. Another range makes another."
            )


def named_data(config: SearchConfig) -> str | None:
    """Where images are said to lie by now; None where that is not said."""
    return config.data if "data" in config.model_fields_set else None
