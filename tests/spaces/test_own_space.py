"""A space of a user's own: what needs no declaration, and what is refused because its cost would be wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latnas.errors import LatnasError
from latnas.spaces import space as space_module
from latnas.spaces.choice import Choice, path_of, selecting
from latnas.spaces.space import SETTING, Classifier, Space, SpaceOptions
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost, params_cost

OPTIONS = SpaceOptions(width=4, depth=2, image_size=8, channels=3, classes=5)


class Own(nn.Module):
    """No is_valid, no canonical; modules in lists, one that runs twice, an untied choice."""

    def __init__(self, width: int, depth: int, image_size: int, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.ModuleList([nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 1)])
        self.again = nn.Conv2d(width, width, 1)
        self.layers = nn.ModuleDict(
            {
                f"layer{layer}": Choice({"3": nn.Conv2d(width, width, 3, padding=1), "1": nn.Conv2d(width, width, 1)})
                for layer in range(depth)
            }
        )
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.stem:
            x = layer(x)
        x = self.again(self.again(x))
        for choice in self.layers.values():
            x = choice(x)
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def test_a_module_without_is_valid_and_canonical_is_a_space() -> None:
    space = Space("own", Own, OPTIONS)
    assert [decision.name for decision in space.decisions] == ["layers.layer0", "layers.layer1"]
    everyone = [Architecture.from_indices(SETTING, space.decisions, (a, b)) for a in (0, 1) for b in (0, 1)]
    network = space.network(0)
    for architecture in everyone:
        assert space.is_valid(architecture) and space.is_canonical(architecture)
        assert space.canonical(architecture) is architecture
        assert space.derive(network, architecture)(space.example(2)).shape == (2, 5)
    random = torch.Generator().manual_seed(0)
    assert {space.random(random).key for _ in range(40)} == {architecture.key for architecture in everyone}


def test_a_module_that_runs_twice_costs_its_multiply_adds_twice_and_its_parameters_once(count_by_hand: Any) -> None:
    space = Space("own", Own, OPTIONS)
    network = space.network(0)
    params, macs = params_cost(space.trace), macs_cost(space.trace)
    for indices in ((0, 0), (0, 1), (1, 1)):
        architecture = Architecture.from_indices(SETTING, space.decisions, indices)
        derived = space.derive(network, architecture)
        assert params.cost(architecture) == sum(parameter.numel() for parameter in derived.parameters())
        assert macs.cost(architecture) == count_by_hand(derived, space.example())


def test_an_item_of_several_parts_is_derived_as_their_sum() -> None:
    class Pairs(Own):
        def __init__(self, **options: int) -> None:
            super().__init__(**options)
            parts = {name: nn.Conv2d(options["width"], options["width"], 1) for name in "abc"}
            self.layers = nn.ModuleDict({"only": Choice(parts, items=[("a", "b"), ("b", "c"), ("c",)])})

    space = Space("pairs", Pairs, OPTIONS)
    network, images = space.network(0), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for item in space.decisions[0].items:
        architecture = Architecture.of(SETTING, {"layers.only": item.name})
        derived = space.derive(network, architecture)
        with torch.no_grad(), selecting(path_of(architecture, space.decisions)):
            assert torch.equal(derived(images), network(images))
        assert sum(p.numel() for p in derived.parameters()) == params_cost(space.trace).cost(architecture)


class Single(nn.Module):
    """One choice between two given parts."""

    def __init__(self, parts: dict[str, nn.Module], **options: int) -> None:
        super().__init__()
        self.unused = parts.pop("unused", nn.ModuleList())
        self.choice = Choice(parts)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.choice(x)
        return out


class Twins(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


IDENTITY = nn.Identity()


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({"a": nn.Identity(), "unused": nn.Linear(1, 1)}, "'body.unused' of 'the fixed rest' is never reached"),
        ({"a": IDENTITY, "b": IDENTITY}, "one module is registered at two places"),
    ],
)
def test_what_cannot_be_traced_is_refused(parts: dict[str, nn.Module], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        _ = Space("single", lambda **options: Single(dict(parts), **options), OPTIONS).trace


def test_a_fixed_module_of_two_outputs_is_refused() -> None:
    class Splits(Single):
        def forward(self, x: Tensor) -> Tensor:
            first, _ = self.unused(x)
            return super().forward(first)

    with pytest.raises(
        ValueError, match=r"'body\.unused' of 'the fixed rest' does not lead from tensors to one tensor"
    ):
        _ = Space("s", lambda **options: Splits({"a": nn.Identity(), "unused": Twins()}, **options), OPTIONS).trace


def test_parameters_that_no_site_counts_are_refused() -> None:
    class Scaled(Single):
        def __init__(self, **options: int) -> None:
            super().__init__({"a": nn.Identity()}, **options)
            self.scale = nn.Parameter(torch.ones(()))

    with pytest.raises(
        ValueError, match="'body' has parameters beside its choices: put them into a module of their own"
    ):
        _ = Space("s", Scaled, OPTIONS).trace


def test_a_space_without_valid_architectures_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Never(Own):
        def is_valid(self, items: dict[str, str]) -> bool:
            return False

    monkeypatch.setattr(space_module, "DRAWS", 10)
    with pytest.raises(
        LatnasError, match="none of 10 random architectures of space 'never' is valid: check its is_valid"
    ):
        Space("never", Never, OPTIONS).random(torch.Generator())


def test_a_classifier_whose_body_is_a_choice_is_derived_too() -> None:
    space = Space("bare", lambda **options: Choice({"a": nn.Conv2d(3, 5, 1), "b": nn.Identity()}, tie="all"), OPTIONS)
    network = space.network(0)
    assert isinstance(network, Classifier)
    assert isinstance(space.derive(network, Architecture.of(SETTING, {"all": "b"})).body, nn.Identity)
