"""`measure.py`, one file that measures an exported network where there is no latnas, made of latnas' own sources."""

from __future__ import annotations

import ast
from functools import cache
from importlib.resources import files

from latnas import __version__

PARTS = ("rounds", "measure", "looks", "sustained", "ort_session", "on_device")
"""Modules of this package, each before those that import it. They import nothing else of latnas."""

HEAD = '''#!/usr/bin/env python3
"""Measures the model.onnx beside this file against the budget in its manifest.json: python measure.py --help

Needs Python 3.9, numpy and onnxruntime 1.18, or newer ones. Written by latnas {version} (MIT licence) out of its own
sources, so that a measurement here is what a measurement with latnas is.
"""

from __future__ import annotations

import os
import sys

# ONNX Runtime would write an id of this device into the home folder, and report to its makers. Set it to 0 to let it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Else CUDA counts GPUs from the fastest on, and its cuda:1 is another one than that of nvidia-smi, and of the table.
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")

try:
    import numpy
    import onnxruntime
except ImportError as error:
    reason = " ".join(str(error).split())
    sys.exit(f"measure.py: needs numpy and onnxruntime: pip install numpy onnxruntime ({{reason}})")
'''

TAIL = """
if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent))
"""


@cache
def measure_script() -> str:
    """The text of `measure.py`. The same for every file: what differs stands in the manifest beside it."""
    parts = [f"\n# latnas/latency/{name}.py\n\n{_body(name)}\n" for name in PARTS]
    return "".join([HEAD.format(version=__version__), *parts, TAIL])


def _body(name: str) -> str:
    """A module's source without the imports that have no place in the one file."""
    source = files("latnas.latency").joinpath(f"{name}.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("__future__", "latnas"):
            del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(lines).strip()
