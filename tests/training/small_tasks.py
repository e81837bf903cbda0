"""Tasks for worker processes, which import them from here by name."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latnas.data.sources import images_of_task, load_images
from latnas.errors import LatnasError, Terminated
from latnas.training.tasks import tell_share

DEADLINE_SECONDS = 60


def answer(config: dict[str, Any], folder: Path) -> int:
    """Leaves a mark for each time that it is run."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "runs").open("a") as marks:
        marks.write("x")
    return int(config["answer"])


def wait_for(config: dict[str, Any], folder: Path) -> str:
    """Finishes only after another task has."""
    until = time.monotonic() + DEADLINE_SECONDS
    while not Path(config["file"]).exists():
        if time.monotonic() > until:
            raise TimeoutError(config["file"])
        time.sleep(0.01)
    return "waited"


def arithmetic(config: dict[str, Any], folder: Path) -> float:
    """A sum that would differ if it were taken in another order."""
    numbers = torch.randn(200_000, generator=torch.Generator().manual_seed(config["seed"]))
    return float((numbers * numbers.flip(0)).sum())


def threads(config: dict[str, Any], folder: Path) -> int:
    return torch.get_num_threads()


def process(config: dict[str, Any], folder: Path) -> int:
    return os.getpid()


def images(config: dict[str, Any], folder: Path) -> int:
    return len(images_of_task(config["data"]).train)


def held(config: dict[str, Any], folder: Path) -> list[bool]:
    """Whether images are held in memory, where so many bytes of it may be thought of as free."""
    return [
        isinstance(load_images(config["data"], available_bytes=free).train.images, Tensor) for free in config["free"]
    ]


def tell_halves(config: dict[str, Any], folder: Path) -> str:
    """Tells how far it is, and then waits until somebody has heard it."""
    tell_share(0.5)
    if "heard" in config:
        wait_for({"file": config["heard"]}, folder)
    return "told"


def fail(config: dict[str, Any], folder: Path) -> None:
    if "after" in config:
        wait_for({"file": config["after"]}, folder)
    raise LatnasError(config["message"])


def fail_with_a_lock(config: dict[str, Any], folder: Path) -> None:
    error = ValueError("no luck")
    error.__dict__["held"] = threading.Lock()
    raise error


def be_killed(config: dict[str, Any], folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash(config: dict[str, Any], folder: Path) -> None:
    """As a library does that wrote where it must not."""
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGABRT)


def break_down(config: dict[str, Any], folder: Path) -> None:
    raise ZeroDivisionError("nobody thought of this")


def stay(config: dict[str, Any], folder: Path) -> None:
    """Says who it is, and stays; told to go, and told again, it leaves a word, as a training leaves a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / "part").write_text(str(os.getpid()))
        (folder / "part").rename(folder / "pid")
        tell_share(0.5)
        time.sleep(3 * DEADLINE_SECONDS)
    except Terminated:
        os.kill(os.getpid(), signal.SIGTERM)
        (folder / "left").touch()
        raise


def stay_on(config: dict[str, Any], folder: Path) -> None:
    """Stays even when it is told to go."""
    try:
        stay(config, folder)
    except Terminated:
        time.sleep(3 * DEADLINE_SECONDS)
