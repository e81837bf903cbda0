"""In which form a network ships: its precision, and what its input looks like."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from latnas.latency.workload import Workload
from latnas.spaces.space import Space
from latnas.words.manifest import Manifest

UNIT = 1.0 / 255.0


@dataclass(frozen=True)
class Form:
    """A precision, the type of the input's values, and the order of its sides.

    Attributes:
        precision: fp32, fp16 or int8.
        type: float, images in [0, 1]; or uint8, in [0, 255].
        layout: nchw or nhwc.
    """

    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    type: Literal["float", "uint8"] = "float"
    layout: Literal["nchw", "nhwc"] = "nchw"

    @classmethod
    def of(cls, manifest: Manifest) -> Form:
        """That of an exported file."""
        given = manifest.input
        type_: Any = "uint8" if given.get("type") == "uint8" else "float"
        layout: Any = given.get("layout", "nchw")
        return cls(manifest.precision, type_, layout)

    @property
    def suffix(self) -> str:
        """What the folder's name ends in: forms lie beside one another."""
        return "".join(f"-{value}" for value in self._not_plain)

    @property
    def has_plain_input(self) -> bool:
        """Whether the input is the network's own."""
        return self.type == "float" and self.layout == "nchw"

    def called(self, what: str) -> str:
        """What a log calls a measured thing of this form: times of different forms are of different things."""
        return ", ".join([what, *self._not_plain])

    @property
    def _not_plain(self) -> list[str]:
        return [value for name, value in vars(self).items() if value != getattr(PLAIN, name)]

    def input_of(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] in [0, 1] as the file takes them."""
        import torch

        given = (images * 255).round().to(torch.uint8) if self.type == "uint8" else images
        return given.permute(0, 2, 3, 1).contiguous() if self.layout == "nhwc" else given

    def example(self, space: Space, batch: int) -> Tensor:
        """Zeros as the file takes them."""
        return self.input_of(space.example(batch))

    def described(self, channels: int, size: int) -> dict[str, Any]:
        """The manifest's `input`."""
        sides = ["N", channels, size, size] if self.layout == "nchw" else ["N", size, size, channels]
        uint8 = self.type == "uint8"
        return {
            "name": "images",
            "shape": sides,
            "range": [0, 255] if uint8 else [0, 1],
            "type": "uint8" if uint8 else "float32",
            "layout": self.layout,
        }

    @property
    def metadata(self) -> dict[str, str]:
        """What the file's metadata say of its form."""
        sides = "[N, C, H, W]" if self.layout == "nchw" else "[N, H, W, C]"
        values = "uint8 in [0, 255]" if self.type == "uint8" else "float32 in [0, 1]"
        return {"input": f"images {sides}, {values}", "layout": self.layout, "precision": self.precision}

    def with_input(self, file: bytes) -> bytes:
        """An ONNX file of a network with what turns this form of input into the network's own at its head."""
        return file if self.has_plain_input else _with_head(file, self)

    def finalist(self, network: nn.Module, space: Space, batch: int, takes_files: bool) -> Workload:
        """A network before its training, measured in the form in which it would ship."""
        example = self.example(space, batch)
        if not takes_files:
            return Workload(WithInput(network, self), example)
        file = Workload(network, space.example(batch)).onnx(self.precision)
        return Workload.from_file(self.with_input(file), example)


PLAIN = Form()
"""fp32, and the input is the network's own."""


class WithInput(nn.Module):
    """A network behind what turns another form of input into its own."""

    def __init__(self, network: nn.Module, form: Form) -> None:
        super().__init__()
        self.network, self.form = network, form

    def forward(self, images: Tensor) -> Tensor:
        if self.form.layout == "nhwc":
            images = images.permute(0, 3, 1, 2)
        if self.form.type == "uint8":
            images = images.float() * UNIT
        out: Tensor = self.network(images)
        return out


def _with_head(file: bytes, form: Form) -> bytes:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(file)
    given = model.graph.input[0]
    inner = value = given.name
    nodes = []
    if form.layout == "nhwc":
        nodes.append(helper.make_node("Transpose", [value], [f"{inner}_nchw"], perm=[0, 3, 1, 2]))
        value = f"{inner}_nchw"
        batch, channels, rows, columns = copy.deepcopy(list(given.type.tensor_type.shape.dim))
        given.type.tensor_type.shape.ClearField("dim")
        given.type.tensor_type.shape.dim.extend([batch, rows, columns, channels])
    if form.type == "uint8":
        unit = numpy_helper.from_array(np.asarray(UNIT, np.float32), f"{inner}_unit")
        nodes += [
            helper.make_node("Cast", [value], [f"{inner}_float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{inner}_float", unit.name], [f"{inner}_scaled"]),
        ]
        value = f"{inner}_scaled"
        model.graph.initializer.append(unit)
        given.type.tensor_type.elem_type = TensorProto.UINT8
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name == inner:
                node.input[position] = value
    whole = [*nodes, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(whole)
    return bytes(model.SerializeToString(deterministic=True))
