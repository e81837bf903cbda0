"""The file that ships computes what was measured while searching, and no more."""

from __future__ import annotations

import onnx
import pytest
import torch

from latnas.latency.onnx_export import export_for_measuring
from latnas.spaces.space import make_space
from latnas.stages.export.onnx_file import export_onnx


@pytest.mark.parametrize("name", ["nasbench201", "mbconv"])
def test_the_file_that_ships_has_the_operations_that_were_measured_and_no_shape_arithmetic(name: str) -> None:
    space = make_space(name, image_size=8, channels=1, classes=3, width=2, depth=1)
    network = space.derive(space.network(0), space.random(torch.Generator().manual_seed(0)))
    shipped = onnx.load_from_string(export_onnx(network, space.example(), {"seed": "0"}))
    measured = onnx.load_from_string(export_for_measuring(network, (space.example(),)))
    ignored = {"Constant", "Identity"}  # the runtime drops them when it loads the file
    assert sorted(n.op_type for n in shipped.graph.node if n.op_type not in ignored) == sorted(
        n.op_type for n in measured.graph.node if n.op_type not in ignored
    )
