"""`model.py`: what anybody can load, use and train with torch alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from latnas.spaces.space import SPACES, Classifier, make_space
from latnas.stages.export.model_py import NotPlainError, model_source
from latnas.training.checkpoint import save_tensors

SIZE = 9
WITHOUT_LATNAS = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("latnas", "latnas_profilers", "numpy", "safetensors", "onnx", "onnxruntime"):
            raise ModuleNotFoundError(f"{name} is not installed")

sys.meta_path.insert(0, Refused())
sys.path.insert(0, ".")
import torch
import model

images, evaluated, trained, losses = torch.load("expected.pt").values()
network = model.load()
assert torch.equal(network(images), evaluated), "another output in evaluation, which it is loaded for"
assert torch.equal(network.train()(images), trained), "another output in training"

network = model.load().train()
for expected in losses:
    loss = torch.nn.functional.cross_entropy(network(images), torch.arange(len(images)) % len(model.CLASSES))
    assert loss.item() == expected, "trains otherwise"
    network.zero_grad()
    loss.backward()
    with torch.no_grad():  # torch.optim looks for numpy even where it can do without
        for parameter in network.parameters():
            parameter.add_(parameter.grad, alpha=-0.1)
print("alike")
"""


def some_network(name: str, seed: int) -> Classifier:
    """A derived network whose statistics are not those of a fresh one."""
    space = make_space(name, image_size=SIZE, channels=2, classes=3, width=2, depth=SPACES[name].least_depth)
    network = space.derive(space.network(seed), space.random(torch.Generator().manual_seed(seed)))
    network.normalise.set_statistics(torch.tensor([0.3, 0.5]), torch.tensor([0.2, 0.4]))
    with torch.no_grad():
        network.train()(some_images(seed + 1))
    return network


def some_images(seed: int) -> Tensor:
    return torch.rand((6, 2, SIZE, SIZE), generator=torch.Generator().manual_seed(seed))


def write_down(network: nn.Module, folder: Path) -> str:
    source = model_source(network, "A network.", "float32 [N, 2, 9, 9] in [0, 1]", ("cat", "d\"o'g", "größer"))
    (folder / "model.py").write_text(source.text, encoding="utf-8")
    save_tensors(folder / "weights.safetensors", source.weights, {})
    return source.text


def first_losses(network: nn.Module, images: Tensor) -> list[float]:
    optimiser, losses = torch.optim.SGD(network.train().parameters(), 0.1), []
    for _ in range(3):
        loss = functional.cross_entropy(network(images), torch.arange(len(images)) % 3)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return losses


@pytest.mark.parametrize("name", SPACES)
def test_where_only_torch_is_installed_the_file_computes_and_trains_what_the_network_does(
    name: str, tmp_path: Path
) -> None:
    network, images = some_network(name, seed=0), some_images(seed=0)
    write_down(network, tmp_path)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        expected = {"images": images, "eval": network.eval()(images), "train": network.train()(images)}
    network.load_state_dict(state)
    torch.save({**expected, "losses": first_losses(network, images)}, tmp_path / "expected.pt")
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_LATNAS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.stdout == "alike\n", result.stderr


@pytest.mark.parametrize("name", SPACES)
def test_the_source_is_formatted_and_the_same_network_gives_the_same_source(name: str, tmp_path: Path) -> None:
    network = some_network(name, seed=1)
    text = write_down(network, tmp_path)
    again = model_source(network, "A network.", "float32 [N, 2, 9, 9] in [0, 1]", ("cat", "d\"o'g", "größer"))
    assert again.text == text
    ruff = [sys.executable, "-m", "ruff"]
    for words in (["format", "--isolated", "--check"], ["check", "--isolated", "--select", "E,F,B,N,I"]):
        result = subprocess.run([*ruff, *words, tmp_path / "model.py"], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def test_many_classes_stand_one_on_a_line() -> None:
    names = [f"class number {number}" for number in range(20)]
    text = model_source(nn.Sequential(nn.Flatten(), nn.Linear(4, 20)), "A network.", "float32", names).text
    assert '    "class number 7",\n' in text
    assert max(map(len, text.splitlines())) <= 88


class Tempered(nn.Module):
    """Computes otherwise while it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out / 2 if self.training else out


class Fickle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -x if x.sum() > 0 else x


class Secret(nn.Module):
    """Adds a tensor that is in no state."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.ones(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.offset
        return out


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (Tempered(), "other operations in training"),
        (Fickle(), "cannot be traced"),
        (Secret(), "a tensor that its state does not hold"),
        (nn.Sequential(nn.Linear(4, 2).double()), "float64"),
    ],
)
def test_a_network_that_cannot_be_written_down_is_refused_with_the_reason(network: nn.Module, why: str) -> None:
    with pytest.raises(NotPlainError, match=why):
        model_source(network, "A network.", "float32", ("a", "b"))
