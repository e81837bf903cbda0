"""The file that ships computes what was measured while searching, and no more."""

from __future__ import annotations

import onnx
import pytest
import torch

from latnas.latency.onnx_export import export_for_measuring
from latnas.spaces.space import SPACES, make_space
from latnas.stages.export.onnx_file import export_onnx


@pytest.mark.parametrize("name", SPACES)
def test_the_file_that_ships_has_the_operations_that_were_measured_and_no_shape_arithmetic(name: str) -> None:
    space = make_space(name, image_size=8, channels=1, classes=3, width=2, depth=SPACES[name].least_depth)
    network = space.derive(space.network(0), space.random(torch.Generator().manual_seed(0)))
    shipped = onnx.load_from_string(export_onnx(network, space.example(), {"seed": "0"}))
    measured = onnx.load_from_string(export_for_measuring(network, (space.example(),)))
    versions = [(model.ir_version, model.opset_import[0].version) for model in (shipped, measured)]
    assert versions[0] == versions[1], "a runtime has other kernels for other opsets"
    ignored = {"Constant", "Identity"}  # the runtime drops them when it loads the file
    assert sorted(n.op_type for n in shipped.graph.node if n.op_type not in ignored) == sorted(
        n.op_type for n in measured.graph.node if n.op_type not in ignored
    )
