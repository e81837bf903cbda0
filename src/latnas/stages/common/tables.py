"""Which latency table a command means, and whether it still holds on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from shlex import quote

from latnas.data.images import ImageData
from latnas.errors import LatnasError, UsageError
from latnas.latency.profiler import Profiler, RunSettings, described, load_plugin, open_plugin
from latnas.latency.runtimes import parse_runtime
from latnas.spaces.space import Space, check_name, make_space
from latnas.words.latency import LatencyModel, latency_model
from latnas.words.reporting import Reporter
from latnas.words.table import LatencyTable, load_table

FOLDER = Path("latency_tables")
SOFTWARE = frozenset({"runtime_version", "os", "cuda", "cudnn", "tensorrt", "driver", "compiler"})
"""Conditions of a table that may differ where its device is."""

MOST_NAMED = 3
"""Of tables that do not fit, or that may have been meant, so many are named."""


def shipped_tables() -> Path:
    """The folder of tables that came with latnas: inside the wheel, or the checkout's own."""
    packaged = Path(str(files("latnas"))) / "_tables"
    return packaged if packaged.is_dir() else Path(__file__).parents[4] / "latency_tables"


def find_table(named: Path | None, space: str | None, data: ImageData, folder: Path) -> tuple[Path, LatencyTable]:
    """The table that is named, or the only one that fits this host, the space and the images.

    Raises:
        UsageError: none fits, or several do; the message has the command to type.
        LatnasError: the named one cannot be read.
    """
    if space is not None:
        check_name(space)
    if named is not None:
        named = named_table(named, folder)
        table = load_table(named)
        if space is not None and space != table.space:
            raise UsageError(f"{named} is a table of space {table.space!r}, not {space!r}. Name one of the two.")
        return named, table
    fitting = fitting_tables(space, data, folder)
    if not fitting:
        wanted = f" of space {space!r}" if space else ""
        extra = f" --space {space}" if space else ""
        raise UsageError(
            f"no latency table{wanted} for {data.channels}x{data.size}x{data.size} images with {len(data.classes)} "
            f"classes was measured on this host. Name other images with --data, or measure one: "
            f"latnas profile{extra} --data {quote(data.spec)}" + written_to(folder) + why_not(folder, space, data)
        )
    return only_one(fitting, space)


def named_table(named: Path, folder: Path) -> Path:
    """The file that is named by its path, or by the table's name within `folder`.

    Raises:
        UsageError: there is none; the message has names of tables that there are, the most alike first.
    """
    for path in (named, folder / f"{named}.json"):
        if path.is_file():
            return path
    names = sorted(path.stem for path in folder.glob("*.json"))
    if not names:
        raise UsageError(f"there is no table {named}. Measure one: latnas profile{written_to(folder)}")
    alike = get_close_matches(named.stem, names, MOST_NAMED, cutoff=0.0)
    raise UsageError(
        f"there is no table {named}. Tables in {folder}: {', '.join(alike)}{_and_more(names)}. "
        f"Name one of them, or measure another: latnas profile{written_to(folder)}"
    )


def only_one(fitting: Sequence[tuple[Path, LatencyTable]], space: str | None) -> tuple[Path, LatencyTable]:
    """The one table there is.

    Raises:
        UsageError: there are several; the message lists them, each with its device and whatever differs among them.
    """
    if len(fitting) == 1:
        return fitting[0]
    conditions = [_conditions(table) for _, table in fitting]
    differing = [name for name in conditions[0] if len({one[name] for one in conditions}) > 1]
    lines = []
    for (path, table), one in zip(fitting, conditions, strict=True):
        told = [f"{table.device} with {table.runtime}", *(f"{name} {one[name]}" for name in differing)]
        lines.append(f"\n  --table {quote(str(path))}  # {', '.join(told)}")
    wanted = f" of space {space!r}" if space else ""
    raise UsageError(f"several tables{wanted} fit; name one:{''.join(lines)}")


def _conditions(table: LatencyTable) -> dict[str, object]:
    """What may differ among tables of one host and the same images, beside device and runtime."""
    return {
        "space": table.space, "width": table.options["width"], "depth": table.options["depth"],
        "batch": table.batch, "threads": table.threads, "precision": table.precision, "quote": table.quote,
    }  # fmt: skip


def fitting_tables(space: str | None, data: ImageData, folder: Path) -> list[tuple[Path, LatencyTable]]:
    """Every table in `folder` that fits this host, the space and the images; only if there is none, those that ship.

    Who has measured a table of their own does not mean another.
    """
    return _look_through(folder, space, data)[0] or _look_through(shipped_tables(), space, data)[0]


def _look_through(
    folder: Path, space: str | None, data: ImageData
) -> tuple[list[tuple[Path, LatencyTable]], list[str]]:
    """The tables in a folder that fit, and of the other files there of this space, or that cannot be read, why not."""
    fitting: dict[str, tuple[Path, LatencyTable]] = {}
    others, for_other_images = list[str](), list[str]()
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            table = load_table(path)
        except LatnasError as error:
            others.append(str(error))  # other JSON may lie there; a broken table that is named is refused
            continue
        if not _fits(table, space, data):
            if space in (None, table.space):
                for_other_images.append(f"{path.name} is for {_images_of(table)}")
            continue
        stale = why_stale(table)
        if stale is None:
            fitting.setdefault(table.name, (path, table))
        else:
            others.append(f"{path.name} was measured under other conditions: {stale}")
    return list(fitting.values()), [*others, *for_other_images]


def written_to(folder: Path) -> str:
    """The flag by which `latnas profile` writes to a folder, where that is not the usual one."""
    return "" if folder == FOLDER else f" --out {quote(str(folder))}"


def why_not(folder: Path, space: str | None, data: ImageData) -> str:
    """What to add to a message that no table fits: of some files in the folder, why they do not."""
    _, others = _look_through(folder, space, data)
    return f". In {folder}: {'; '.join(others[:MOST_NAMED])}{_and_more(others, ';')}" if others else ""


def _and_more(found: Sequence[str], separator: str = ",") -> str:
    """What to add to a list of the first few."""
    return f"{separator} and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""


def space_of(table: LatencyTable) -> Space:
    """The space that a table was measured for."""
    return make_space(table.space, **table.options)


def latency_of(table: LatencyTable, space: Space) -> LatencyModel:
    """What the table says of the architectures of its space.

    Raises:
        LatnasError: the table is of another space, or lacks something.
    """
    return latency_model(table, space.trace, space.context)


def check_images(table: LatencyTable, data: ImageData) -> None:
    """Raises UsageError unless the table's networks take these images."""
    if not _fits(table, None, data):
        raise UsageError(
            f"the table {table.name} is for {_images_of(table)}; {data.name} has "
            f"{data.channels}x{data.size}x{data.size} with {len(data.classes)}. Name such images: --data PLACE; or "
            f"measure a table for these: {profile_again(table, data.spec)}"
        )


def _images_of(table: LatencyTable) -> str:
    channels, size, classes = (table.options[name] for name in ("channels", "image_size", "classes"))
    return f"{channels}x{size}x{size} images with {classes} classes"


def settings_of(table: LatencyTable) -> RunSettings:
    """How the table's networks were run."""
    return RunSettings(table.batch, table.threads, table.precision, parse_runtime(table.runtime).settings)


def open_profiler(table: LatencyTable) -> Profiler:
    """The profiler that measured the table, on this machine and with the same settings.

    Raises:
        LatnasError: it is not installed, the device is not here, or it does not offer the settings any more.
    """
    plugin = load_plugin(parse_runtime(table.runtime).name)
    return open_plugin(plugin, table.device, settings_of(table))


def profile_again(table: LatencyTable, data: str) -> str:
    """The command that measures the device and the space of a table anew, for the images that `data` names."""
    options = table.options
    usual = {"batch": (table.batch, 1), "threads": (table.threads, 1), "precision": (table.precision, "fp32"),
             "quote": (table.quote, "p50")}  # fmt: skip
    unusual = "".join(f" --{name} {value}" for name, (value, default) in usual.items() if value != default)
    whole = "" if table.operations else " --no-operations"
    return (
        f"latnas profile --device {table.device} --runtime {quote(table.runtime)} --space {table.space} "
        f"--width {options['width']} --depth {options['depth']} --data {quote(data)}{unusual}{whole}"
    )


def new_table(table: LatencyTable, profiler: Profiler) -> Path:
    """The file that `profile_again` writes, with the profiler as it is now."""
    return FOLDER / f"{table.model_copy(update={'environment': described(profiler, table.device)}).name}.json"


def differences(table: LatencyTable) -> dict[str, str]:
    """What differs between the conditions of a table and this machine, by its name: `was 'a' and is 'b'`.

    Raises:
        LatnasError: as `open_profiler`.
    """
    here = described(open_profiler(table), table.device)
    return {
        name: f"was {table.environment.get(name)!r} and is {here.get(name)!r}"
        for name in sorted({*here, *table.environment})
        if here.get(name) != table.environment.get(name)
    }


def presence(table: LatencyTable) -> tuple[str | None, dict[str, str]]:
    """Why the device of a table is not here, None where it is; and what of the software on it is another by now.

    Another host or another processor is another device. What an update changes is to be measured, not refused.
    """
    try:
        differing = differences(table)
    except LatnasError as error:
        return str(error).rstrip("."), {}
    elsewhere = listed({name: how for name, how in differing.items() if name not in SOFTWARE})
    return (elsewhere, {}) if elsewhere else (None, differing)


def why_stale(table: LatencyTable) -> str | None:
    """What differs between the conditions of a table and this machine; None if nothing does."""
    try:
        return listed(differences(table)) or None
    except LatnasError as error:
        return str(error)


def listed(differing: Mapping[str, str]) -> str:
    """What `differences` found, in one line."""
    hint = " (in a container, give it a fixed --hostname)" if "host" in differing else ""
    return "; ".join(f"{name} {how}" for name, how in differing.items()) + hint


def warn_if_stale(table: LatencyTable, report: Reporter) -> None:
    """Says what differs between the conditions of a table and this machine, if anything does."""
    stale = why_stale(table)
    if stale is not None:
        report.warn(f"the table {table.name} was not measured under the conditions here: {stale}")


def _fits(table: LatencyTable, space: str | None, data: ImageData) -> bool:
    options = table.options
    return (
        (space is None or table.space == space)
        and options["channels"] == data.channels
        and options["image_size"] == data.size
        and options["classes"] == len(data.classes)
    )
