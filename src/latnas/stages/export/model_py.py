"""`model.py`: a network as plain PyTorch source that needs nothing of latnas, with its weights beside it."""

from __future__ import annotations

import inspect
import json
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.graph import magic_methods
from torch.nn import functional

from latnas.errors import LatnasError
from latnas.spaces.context import LeafTracer

LINE = 88
"""Letters in a line, as ruff has it unless told otherwise."""

NO_ARGUMENTS = {"self", "device", "dtype"}
PER_SIDE = {"kernel_size", "stride", "padding", "dilation"}
SAYS_NOTHING = {"body", "parts", "operation"}
"""Words of a path that names go without."""

PLAIN = (bool, int, float, str, type(None))
NAMES = {"add": "total", "mul": "scaled", "cat": "joined"}
"""What the result of a function is called; others after the function itself."""

TEMPLATE = '''"""{title}

Made by latnas, which is not needed to use or train it: this file imports only torch.

    from model import load

    network = load()  # in evaluation mode; to train it further: load().train()
    logits = network(images)  # {images}
"""

import json
from pathlib import Path

import torch
from torch import nn
{functional}
{classes}

WEIGHTS = Path(__file__).with_name("weights.safetensors")

TYPES = {{"F32": torch.float32, "I64": torch.int64}}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
{init}

    def forward(self, x):
{forward}


def load(path=WEIGHTS):
    """The network in evaluation mode, with weights by default from the file beside."""
    content = Path(path).read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    header.pop("__metadata__", None)
    weights = {{}}
    for name, entry in header.items():
        start, end = (begin + offset for offset in entry["data_offsets"])
        values = torch.frombuffer(
            bytearray(content[start:end]), dtype=TYPES[entry["dtype"]]
        )
        weights[name] = values.reshape(entry["shape"])
    network = Network()
    network.load_state_dict(weights)
    return network.eval()
'''


class NotPlainError(LatnasError):
    """A network that cannot be written down; the message says why, as a clause."""


@dataclass(frozen=True)
class ModelSource:
    """The text of `model.py`, and the weights under the names that it gives them."""

    text: str
    weights: Mapping[str, Tensor]


def model_source(network: nn.Module, title: str, images: str, classes: Sequence[str]) -> ModelSource:
    """Writes a network down as it computes in training and in evaluation, which must be the same operations.

    Args:
        network: takes one tensor and returns one.
        title: begins the file: a line without quotation marks.
        images: says what it takes.

    Raises:
        NotPlainError: the network does other operations in training, or some that cannot be written as plain PyTorch.
    """
    return _Writer(network).source(_graph_of(network), title, images, classes)


def _graph_of(network: nn.Module) -> fx.Graph:
    was_training = network.training
    graphs = []
    try:
        for training in (True, False):
            graphs.append(LeafTracer().trace(network.train(training)))
    except Exception as error:
        raise NotPlainError(
            f"it cannot be traced, because what it does depends on its input ({type(error).__name__})"
        ) from error
    finally:
        network.train(was_training)
    if str(graphs[0]) != str(graphs[1]):
        raise NotPlainError("it does other operations in training than in evaluation")
    graph = graphs[1]
    for node in graph.nodes:
        if node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), nn.Identity):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    return graph


class _Writer:
    """Lines of `__init__` and of `forward`, written along a graph."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._attributes: dict[str, str] = {}
        self._variables: dict[fx.Node, str] = {}
        self._holders: dict[str, fx.Node] = {}
        self._pieces: dict[int, list[str]] = {}
        self._init: list[str] = []
        self._forward: list[str] = []

    def source(self, graph: fx.Graph, title: str, images: str, classes: Sequence[str]) -> ModelSource:
        order = {node: position for position, node in enumerate(graph.nodes)}
        for node in graph.nodes:
            self._write(node, order)
        forward = "\n".join(self._forward)
        text = TEMPLATE.format(
            title=title,
            images=images,
            functional="from torch.nn import functional\n" if "functional." in forward else "",
            classes="\n".join(_wrapped("CLASSES = (", [_quoted(name) for name in classes], ")", 0)),
            init="\n".join(self._init),
            forward=forward,
        )
        return ModelSource(text, self._weights())

    def _weights(self) -> dict[str, Tensor]:
        """The tensors of what was declared; those of parts that are never called are left out."""
        weights = {}
        for name, value in self._network.state_dict().items():
            if value.dtype not in (torch.float32, torch.int64):
                raise NotPlainError(f"{name} is of {value.dtype}, where float32 and int64 are read")
            owner, _, last = name.rpartition(".")
            if name in self._attributes:
                weights[self._attributes[name]] = value
            elif owner in self._attributes:
                weights[f"{self._attributes[owner]}.{last}"] = value
        return weights

    def _write(self, node: fx.Node, order: Mapping[fx.Node, int]) -> None:
        if node.op == "placeholder":
            self._variables[node] = "x"
            self._holders["x"] = node
        elif node.op == "get_attr":
            self._variables[node] = f"self.{self._tensor(str(node.target))}"
        elif node.op == "output":
            self._forward.append(f"        return {self._text(node.args[0])}")
        else:
            if node.op == "call_module":
                self._separate(self._forward, str(node.target))
            prefix, arguments, name = self._called(node)
            self._variables[node] = self._variable(node, name, order)
            before = f"        {self._variables[node]} = {prefix}"
            self._forward += _wrapped(before, arguments, ")", 8) if arguments else [before]

    def _separate(self, lines: list[str], path: str) -> None:
        """A blank line before another piece of the network."""
        piece = path.removeprefix("body.").split(".")[:-1][:2]
        if lines and self._pieces.get(id(lines), piece) != piece:
            lines.append("")
        self._pieces[id(lines)] = piece

    def _called(self, node: fx.Node) -> tuple[str, list[str], str]:
        """The code up to its arguments, the arguments (none where it is an operator), what to call the result."""
        name = str(getattr(node.target, "__name__", node.target)).strip("_")
        if name == "getitem":
            source, index = node.args
            return f"{self._text(source)}[{_index(index, self._text)}]", [], "part"
        given = [self._text(value) for value in node.args]
        named = [f"{name}={self._text(value)}" for name, value in node.kwargs.items()]
        if node.op == "call_module":
            attribute = self._module(str(node.target))
            return f"self.{attribute}(", given + named, self._chain(str(node.target), attribute)
        if node.op == "call_method":
            return f"{given[0]}.{node.target}(", given[1:] + named, str(node.target)
        result = NAMES.get(name, name)
        if getattr(node.target, "__module__", "") == "_operator" and name in magic_methods:
            return magic_methods[name].format(*given), [], result
        for home, module in (("torch", torch), ("functional", functional)):
            if getattr(module, name, None) is node.target:
                return f"{home}.{name}(", given + named, result
        raise NotPlainError(f"it calls {name}, which is none of torch's functions")

    def _chain(self, path: str, attribute: str) -> str:
        """What the result of a module is called: in a sequence all results are called alike."""
        parent = self._network.get_submodule(path.rpartition(".")[0])
        return attribute.rpartition("_")[0] if isinstance(parent, nn.Sequential) else f"{attribute}_out"

    def _variable(self, node: fx.Node, wanted: str, order: Mapping[fx.Node, int]) -> str:
        """The wanted name, which a chain of calls keeps; another where that holds a value that is read later on."""
        name, number = wanted, 1
        while (
            keyword.iskeyword(name)
            or name in ("torch", "nn", "functional", "self")
            or self._is_read_later(name, node, order)
        ):
            number += 1
            name = f"{wanted}_{number}"
        self._holders[name] = node
        return name

    def _is_read_later(self, name: str, node: fx.Node, order: Mapping[fx.Node, int]) -> bool:
        holder = self._holders.get(name)
        return holder is not None and any(order[user] > order[node] for user in holder.users)

    def _attribute(self, path: str) -> str:
        """A name for what is at `path`, which is free."""
        telling = [word for word in path.split(".") if word not in SAYS_NOTHING]
        wanted = re.sub(r"\W+", "_", "_".join(telling)).strip("_")
        if not wanted[:1].isalpha() or keyword.iskeyword(wanted) or hasattr(nn.Module, wanted):
            wanted = f"part_{wanted}"
        name, number = wanted, 1
        while name in self._attributes.values():
            number += 1
            name = f"{wanted}__{number}"
        self._attributes[path] = name
        return name

    def _module(self, path: str) -> str:
        """The attribute that holds the module at `path`; the first time it is declared."""
        if path in self._attributes:
            return self._attributes[path]
        module = self._network.get_submodule(path)
        kind = type(module)
        if getattr(nn, kind.__name__, None) is not kind:
            raise NotPlainError(f"{path} is a {kind.__name__}, which is no module of torch.nn")
        name = self._attribute(path)
        self._separate(self._init, path)
        self._init += _wrapped(f"        self.{name} = nn.{kind.__name__}(", _arguments(module, path), ")", 8)
        return name

    def _tensor(self, path: str) -> str:
        """The attribute that holds the parameter or buffer at `path`; the first time it is declared."""
        if path in self._attributes:
            return self._attributes[path]
        parameters, buffers = dict(self._network.named_parameters()), dict(self._network.named_buffers())
        if path not in self._network.state_dict():
            raise NotPlainError(f"{path} is a tensor that its state does not hold")
        name = self._attribute(path)
        shape = [str(side) for side in (parameters | buffers)[path].shape]
        if path in parameters:
            self._init += [f"        self.{name} = nn.Parameter(torch.zeros({', '.join(shape)}))"]
        else:
            self._init += _wrapped(
                "        self.register_buffer(", [f'"{name}"', f"torch.zeros({', '.join(shape)})"], ")", 8
            )
        return name

    def _text(self, value: Any) -> str:
        """A value of the graph as source."""
        if isinstance(value, fx.Node):
            return self._variables[value]
        if isinstance(value, list):
            return f"[{', '.join(map(self._text, value))}]"
        if isinstance(value, tuple):
            return f"({', '.join(map(self._text, value))}{',' * (len(value) == 1)})"
        if isinstance(value, PLAIN):
            return _quoted(value) if isinstance(value, str) else repr(value)
        raise NotPlainError(f"it uses a {type(value).__name__}, which cannot be written down")


def _arguments(module: nn.Module, path: str) -> list[str]:
    """Those that differ from their defaults, read off the attributes of the same names."""
    written = []
    for name, parameter in inspect.signature(type(module)).parameters.items():
        if name in NO_ARGUMENTS:
            continue
        value = getattr(module, name, None)
        if isinstance(value, Tensor) or (name == "bias" and value is None):
            value = value is not None
        if name in PER_SIDE and isinstance(value, tuple) and len(set(value)) == 1:
            value = value[0]
        if parameter.default is not parameter.empty and value == parameter.default:
            continue
        if not isinstance(value, PLAIN) and not (isinstance(value, tuple) and all(isinstance(v, PLAIN) for v in value)):
            raise NotPlainError(f"the {name} of {path} is a {type(value).__name__}, which cannot be written down")
        text = _quoted(value) if isinstance(value, str) else repr(value)
        written.append(text if parameter.default is parameter.empty else f"{name}={text}")
    return written


def _index(index: Any, text: Any) -> str:
    """What stands in square brackets."""
    if isinstance(index, tuple):
        return ", ".join(_index(one, text) for one in index)
    if isinstance(index, slice):
        ends = ["" if end is None else text(end) for end in (index.start, index.stop)]
        return ":".join(ends + ([] if index.step is None else [text(index.step)]))
    return str(text(index))


def _quoted(text: str) -> str:
    """In double quotes, unless that takes more backslashes."""
    literal = json.dumps(text, ensure_ascii=False)
    if text.count('"') <= text.count("'"):
        return literal
    inner = literal[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"'{inner}'"


def _wrapped(before: str, arguments: Sequence[str], after: str, indent: int) -> list[str]:
    """A call on one line; on three where it is too long; else with a line for each argument."""
    comma = "," if before.endswith("= (") and len(arguments) == 1 else ""
    line = f"{before}{', '.join(arguments)}{comma}{after}"
    if len(line) <= LINE or not arguments:
        return [line]
    margin, inner = " " * indent, f"{' ' * (indent + 4)}{', '.join(arguments)}"
    if len(inner) <= LINE and not before.endswith("= ("):
        return [before, inner, f"{margin}{after}"]
    return [before, *(f"{margin}    {argument}," for argument in arguments), f"{margin}{after}"]
