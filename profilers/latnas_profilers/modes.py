"""How PyTorch can run a module other than eagerly: the settings of the runtime `torch`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from types import CodeType, FunctionType

import torch
from torch import Tensor, nn

from latnas.errors import LatnasError
from latnas.latency.runtimes import SettingStatus

CHANNELS_LAST = "channels-last"
COMPILE = "compile"
CUDA_GRAPHS = "cuda-graphs"

_NUMBERS = count()


def statuses() -> list[SettingStatus]:
    """All three, and whether they can be used on this machine."""
    compiles, graphs = compiler() is not None, torch.cuda.is_available()
    return [
        SettingStatus(CHANNELS_LAST, "memory format of weights and inputs"),
        SettingStatus(
            COMPILE,
            "torch.compile, one whole graph"
            if compiles
            else f"no C++ compiler {_compiler_name()!r} here; install one, or name it in the variable CXX",
            usable=compiles,
        ),
        SettingStatus(
            CUDA_GRAPHS,
            "an inference is recorded once and replayed" if graphs else why_no_gpu(),
            device="cuda",
            usable=graphs,
        ),
    ]


def why_no_gpu() -> str:
    """For where PyTorch has none."""
    if torch.version.cuda:
        return f"torch {torch.__version__} finds no GPU or no driver: nvidia-smi tells which"
    return f"torch {torch.__version__} is built without CUDA; install a build of torch that has it"


def describe(settings: Sequence[str]) -> dict[str, str]:
    """What the settings add to a description; nothing where there are none, so that eager tables stay what they are."""
    described = {"settings": ",".join(settings)} if settings else {}
    if COMPILE in settings:
        described["compiler"] = _compiler_version()
    return described


def channels_last(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The module, changed in place, and copies of the inputs; of both what has four dimensions."""
    last = torch.channels_last
    moved = tuple(x.contiguous(memory_format=last) if x.dim() == 4 else x for x in inputs)
    return module.to(memory_format=last), moved  # type: ignore[call-overload]  # its types lack this form


def compiled(module: nn.Module) -> Callable[..., object]:
    """What compiles the module when it is first called, and fails where that does not give one graph.

    PyTorch keeps what it compiled by the code of the function, a few for each, and then runs eagerly. Networks of one
    space share their code, so each gets a function with code of its own.
    """

    def call(*inputs: Tensor) -> object:
        return module(*inputs)

    code: CodeType = call.__code__.replace(co_name=f"network_{next(_NUMBERS)}")
    own = FunctionType(code, call.__globals__, code.co_name, closure=call.__closure__)
    function: Callable[..., object] = torch.compile(own, fullgraph=True, dynamic=False)
    return function


@contextmanager
def compiling() -> Iterator[None]:
    """Around first calls: what PyTorch warns its own authors of is silenced, what goes wrong becomes one line.

    Raises:
        LatnasError: whatever was raised within.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise LatnasError(
            f"torch.compile failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}. It needs a C++ "
            f"compiler that works ({_compiler_name()}; another: the variable CXX). Without compiling: --runtime torch"
        ) from error


def compiler() -> str | None:
    """The C++ compiler that torch.compile would call, as a path; None if there is none."""
    return shutil.which(_compiler_name())


def _compiler_name() -> str:
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


def _compiler_version() -> str:
    """In the compiler's own words."""
    command = [compiler() or _compiler_name(), "--version"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "a compiler that does not tell its version"
    return next(iter(answer.splitlines()), "")
