"""A catalogue of damages: to any file, to JSON and TOML value by value, to safetensors and to npz.

A damage is a name and what it leaves in place of a file. Everything is derived from a sound file, so that a field that
is added to a format is damaged without a word here.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from trap import Trap

RAW = "@@raw:"
"""Marks a string that goes to the file without quotes: what no Python value is written as."""

DEEP = 100_000
LONG = 10_000


@dataclass(frozen=True)
class Damage:
    """`apply` leaves it in place of the file at a path. `refused` says that no reader may accept what is left."""

    name: str
    apply: Callable[[Path], object]
    refused: bool = False


def clear(path: Path) -> None:
    """Removes what is at `path`, be it a file, a link, a FIFO or an empty folder."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def filled(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def made(content: Callable[[], bytes]) -> Callable[[Path], object]:
    """As `filled`, where the content is made when it is needed: most of a catalogue never is."""
    return lambda path: path.write_bytes(content())


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else than a file, made by `make`."""

    def apply(path: Path) -> None:
        clear(path)
        make(path)

    return apply


# To files of any kind


def of_any_file(content: bytes) -> Iterator[Damage]:
    """What befalls files whatever is in them."""
    noise = np.random.default_rng(0).integers(0, 256, 4096, np.uint8).tobytes()
    yield Damage("gone", clear)
    yield Damage("empty", filled(b""))
    yield Damage("one byte", filled(content[:1]), refused=True)
    for eighth in (1, 4, 7):
        yield Damage(f"cut to {eighth}/8", filled(content[: len(content) * eighth // 8]))
    yield Damage("without its last byte", filled(content[:-1]))
    yield Damage("twice", filled(content + content))
    yield Damage("noise", filled(noise), refused=True)
    yield Damage(
        "noise in its middle", filled(content[: len(content) // 2] + noise[:64] + content[len(content) // 2 :])
    )
    yield Damage("a pickle", filled(pickle.dumps(Trap())), refused=True)
    yield Damage("zeros", filled(bytes(len(content))), refused=True)
    yield Damage("a BOM before it", filled(b"\xef\xbb\xbf" + content))
    yield Damage("as UTF-16", filled(content.decode("latin-1").encode("utf-16")), refused=True)
    yield Damage("nested deeply", filled(b"[" * DEEP), refused=True)
    yield Damage("a nested key", filled(b"a = " + b"[" * DEEP), refused=True)
    yield Damage("a long number", filled(b"9" * LONG + b"\n"), refused=True)
    yield Damage("a folder", replaced(Path.mkdir), refused=True)
    yield Damage("a link to itself", replaced(lambda path: path.symlink_to(path.name)))
    yield Damage("a link to nothing", replaced(lambda path: path.symlink_to("nothing")))
    yield Damage("a FIFO", replaced(os.mkfifo), refused=True)
    if os.geteuid() != 0:  # root may read what nobody may
        yield Damage("unreadable", lambda path: path.chmod(0), refused=True)


# To JSON, value by value

VALUES: Mapping[str, Any] = {
    "null": None, "true": True, "minus one": -1, "zero": 0, "a half": 0.5, "2**64": 2**64, "1e308": 1e308,
    "1e-308": 1e-308, "NaN": RAW + "NaN", "-Infinity": RAW + "-Infinity", "1e999": RAW + "1e999",
    "a long number": RAW + "9" * LONG, "an empty text": "", "a text": "x",
    "a hostile text": "../../\n\x1b[31m\u202e\ud800",
    "a long text": "x" * LONG, "an empty list": [], "an empty object": {}, "lists": [[[]]],
    "nested deeply": RAW + "[" * DEEP + "]" * DEEP, "an object of nulls": {"": None},
}  # fmt: skip


def of_json(content: bytes, values: Mapping[str, Any] = VALUES) -> Iterator[Damage]:
    """Each value of a JSON text replaced by each of `values`, and each key removed, given twice, or joined by one."""
    sound = json.loads(content)

    def changed(change: Callable[..., Any], *arguments: Any) -> Callable[[Path], object]:
        return made(lambda: _written(change(json.loads(content), *arguments)))

    for place in _places(sound):
        where = ".".join(map(str, place)) or "the whole"
        for name, value in values.items():
            refused = not place and not isinstance(value, (dict, list))  # every file is an object or a list
            yield Damage(f"{name} for {where}", changed(_with, place, value), refused)
        if place:
            yield Damage(f"without {where}", changed(_without, place))
        if place and isinstance(place[-1], str):
            yield Damage(f"twice {where}", changed(_with_twin, place))
        if isinstance(_at(sound, place), dict):
            yield Damage(f"an unknown key in {where}", changed(_with, (*place, "unknown"), 1))


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of values, down to one of each kind: of entries of one form in a list or a map only the first."""
    yield place
    inner = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    seen: list[Any] = []
    for key, child in inner:
        form = _form(child)
        is_map = isinstance(value, list) or (form not in (str, int, float) and len(inner) > 2)
        if is_map and form in seen:
            continue
        seen.append(form)
        yield from _places(child, (*place, key))


def _form(value: Any) -> Any:
    return sorted(value) if isinstance(value, dict) else type(value)


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        value = value[step]
    return value


def _with(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    _at(value, place[:-1])[place[-1]] = new
    return value


def _without(value: Any, place: tuple[Any, ...]) -> Any:
    del _at(value, place[:-1])[place[-1]]
    return value


def _with_twin(value: Any, place: tuple[Any, ...]) -> Any:
    """The key a second time, where JSON's readers take the last."""
    _at(value, place[:-1])[RAW + json.dumps(place[-1])] = None
    return value


def _written(value: Any) -> bytes:
    text = json.dumps(value, indent=1)
    pieces = text.split(f'"{RAW}')
    plain = [pieces[0]]
    for piece in pieces[1:]:
        end = 0
        while piece[end] != '"' or piece[end - 1] == "\\":
            end += 1
        plain.append(piece[:end].replace('\\"', '"') + piece[end + 1 :])
    return ("".join(plain) + "\n").encode()


def of_lines(content: bytes, values: Mapping[str, Any] = VALUES) -> Iterator[Damage]:
    """The first of some JSON lines damaged as JSON, with the others after it."""
    first, _, rest = content.partition(b"\n")
    for damage in of_json(first, values):
        yield Damage(damage.name, _first_line(damage, rest))


def _first_line(damage: Damage, rest: bytes) -> Callable[[Path], object]:
    def apply(path: Path) -> None:
        damage.apply(path)
        path.write_bytes(path.read_bytes().replace(b"\n", b" ") + b"\n" + rest)

    return apply


# To TOML, line by line

TOML = {
    "an integer": "-1", "zero": "0", "a long number": "9" * 400, "a float": "1.5", "inf": "inf", "-nan": "-nan",
    "a huge float": "1e999", "true": "true", "a text": '"x"', "an empty text": '""', "a date": "1979-05-27",
    "a hostile text": '"../\\n\\u001b[31m\\u202e"', "an empty list": "[]", "a list": "[1, 'x']", "a table": "{a = 1}",
    "a list of tables": "[{}]", "nothing": "", "a long text": '"' + "x" * LONG + '"',
}  # fmt: skip


def of_toml(content: bytes, values: Mapping[str, str] = TOML) -> Iterator[Damage]:
    """The value of each line replaced by each of `values`; each line removed, or written twice."""
    lines = content.decode().splitlines()
    for number, line in enumerate(lines):
        key = line.partition(" =")[0]

        def other(*new: str, at: int = number) -> Callable[[Path], object]:
            return filled(("\n".join([*lines[:at], *new, *lines[at + 1 :]]) + "\n").encode())

        yield Damage(f"without {key}", other())
        yield Damage(f"twice {key}", other(line, line), refused=True)
        for name, value in values.items():
            yield Damage(f"{name} for {key}", other(f"{key} = {value}"), refused=value == "")
    yield Damage("an unknown key", filled(content + b"unknown = 1\n"))


# To safetensors


def of_tensors(content: bytes) -> Iterator[Damage]:
    """Their header by JSON, its length, and their tensors."""
    (length,) = struct.unpack("<Q", content[:8])
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    for name, claimed in (("zero", 0), ("huge", 2**63), ("too long", length + 8), ("too short", length - 8)):
        yield Damage(f"a header of {name} length", filled(struct.pack("<Q", claimed) + content[8:]), refused=True)
    tensor = next(name for name in header if name != "__metadata__")
    state = json.loads(header["__metadata__"]["state"])
    kept = {"__metadata__": header["__metadata__"], tensor: header[tensor]}
    for damage in of_json(json.dumps(kept).encode()):
        yield Damage(f"header: {damage.name}", _with_header(damage, {**header}, kept, body))
    for damage in of_json(json.dumps(state).encode()):
        yield Damage(f"state: {damage.name}", _with_state(damage, header, body))
    yield Damage("numbers that are none", filled(content[: 8 + length] + b"\xff" * len(body)))
    without = {name: entry for name, entry in header.items() if name != tensor}
    yield Damage("without a tensor", filled(_framed(json.dumps(without).encode()) + body), refused=True)


def _with_header(damage: Damage, header: dict[str, Any], kept: dict[str, Any], body: bytes) -> Callable[[Path], object]:
    rest = json.dumps({name: entry for name, entry in header.items() if name not in kept}).encode()

    def apply(path: Path) -> None:
        damage.apply(path)
        damaged = path.read_bytes().strip()
        joined = damaged[:-1] + b"," + rest[1:] if damaged.endswith(b"}") and len(rest) > 2 else damaged
        path.write_bytes(_framed(joined) + body)

    return apply


def _with_state(damage: Damage, header: dict[str, Any], body: bytes) -> Callable[[Path], object]:
    def apply(path: Path) -> None:
        damage.apply(path)
        state = path.read_bytes().decode()
        path.write_bytes(_framed(json.dumps({**header, "__metadata__": {"state": state}}).encode()) + body)

    return apply


def _framed(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


# To npz


def of_images(content: bytes) -> Iterator[Damage]:
    """Each array replaced by arrays of other shapes and types, and damages to the archive."""
    sound = dict(np.load(io.BytesIO(content)))
    for key, array in sound.items():
        for name, other in _other_arrays(array):
            yield Damage(f"{name} for {key}", filled(_saved({**sound, key: other})))
        yield Damage(f"without {key}", filled(_saved({k: v for k, v in sound.items() if k != key})))
        yield Damage(f"noise for {key}", filled(_archive(content, key, b"noise")), refused=True)
        yield Damage(f"a pickle for {key}", filled(_archive(content, key, pickle.dumps(Trap()))), refused=True)
        for name, shape in (
            ("huge", "(99999999999, 8, 8)"),
            ("negative", "(-1, 8, 8)"),
            ("nonsense", "__import__('os')"),
        ):
            header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n".encode()
            member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)
            yield Damage(f"a {name} shape for {key}", filled(_archive(content, key, member)), refused=True)
    yield Damage("an empty archive", filled(_saved({})), refused=True)
    yield Damage("a member of a hostile name", filled(_saved({**sound, "../../x": np.zeros(1)})))


def _other_arrays(array: np.ndarray) -> Iterator[tuple[str, Any]]:
    yield "a number", np.array(1)
    yield "nothing", array[:0]
    yield "too few", array[:3]
    yield "too flat", array.reshape(-1)
    yield "too deep", array[..., None, None, None, None]
    for type_ in ("complex64", "bool", "U3", "S3", "datetime64[s]", "float16", "int64", "uint64", ">i2"):
        yield f"of type {type_}", array.astype(type_)
    yield "objects", array.astype(object)
    yield "records", np.zeros(len(array), [("a", "i4"), ("b", "U2")])
    for value in (np.nan, np.inf, -np.inf, -1.0, 1e30, 0.5):
        yield f"{value}", np.full(array.shape, value, np.float64)
    yield "huge", np.full(array.shape, 2**63 - 1, np.int64)
    yield "least", np.full(array.shape, -(2**63), np.int64)
    yield "all alike", np.zeros_like(array)


def _saved(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _archive(content: bytes, key: str, member: bytes) -> bytes:
    """The archive with other bytes in one member."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, member if name == f"{key}.npy" else old.read(name))
    return file.getvalue()
