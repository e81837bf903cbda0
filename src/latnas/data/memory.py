"""How much memory is free for this process: that of the machine, or of a container or a batch job within it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class _Hierarchy:
    """Where the kernel has control groups, and how it names a group's limit, usage, and cache among its statistics.

    Usage counts the cache of files too. What of it was not used lately goes as soon as somebody wants the memory.
    """

    folder: str
    limit: str
    usage: str
    inactive: str


VERSION_1 = _Hierarchy(
    "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", inactive="total_inactive_file"
)
VERSION_2 = _Hierarchy("sys/fs/cgroup", "memory.max", "memory.current", inactive="inactive_file")


def free_bytes(root: Path = Path("/")) -> int:
    """Bytes that this process may still take, as far as anything says: no group of processes that it is in has fewer.

    Args:
        root: where `proc` and `sys` are.
    """
    return min([int(psutil.virtual_memory().available), *_left_to_groups(root)])


def _left_to_groups(root: Path) -> Iterator[int]:
    """What each group with a limit has left, from the one of this process to the outermost that can be seen.

    In a container that may be the container's own, at the top, while its path is that on the machine.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        hierarchy = VERSION_1 if controllers else VERSION_2
        top = root / hierarchy.folder
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            limit, usage = _text(group / hierarchy.limit).strip(), _text(group / hierarchy.usage).strip()
            if limit.isdecimal() and usage.isdecimal():  # no limit is "max", or a number larger than any memory
                statistics = dict(line.split() for line in _text(group / "memory.stat").splitlines())
                yield max(int(limit) - int(usage) + int(statistics.get(hierarchy.inactive, 0)), 0)
            if group == top:
                break


def _text(path: Path) -> str:
    """What the kernel says there; nothing if it has no such file, or none for us."""
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""
