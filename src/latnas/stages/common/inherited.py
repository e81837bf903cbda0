"""The weights that a finished search leaves to exports and to fronts that join its run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from latnas.errors import LatnasError
from latnas.stages.common.runs import RunFolder, resume_own
from latnas.training.checkpoint import load_tensors


def supernet_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The supernet's state dict in `supernet/weights.safetensors` of a run, and the JSON state beside it.

    Raises:
        LatnasError: it is missing or damaged; the message names the command that makes it again.
    """
    again = f"The search makes it again: {resume_own(RunFolder(path.parent.parent))}"
    if not path.exists():
        raise LatnasError(f"there is no {path}. {again}")
    return load_tensors(path, f"Delete it. {again}")
