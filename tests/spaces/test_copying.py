"""Copies of modules, held against `copy.deepcopy`."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latnas.spaces.copying import copied
from latnas.spaces.space import SPACES, make_space


class Own(nn.Module):
    """Has what modules may have: a tied weight, a module used twice, a buffer that is not saved, plain values."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.again = self.first
        self.absent: nn.Module | None = None
        self.register_module("none", None)
        self.offset: Tensor
        self.register_buffer("offset", torch.ones(4), persistent=False)
        self.numbers, self.empty = {"a": [1, 2]}, dict[str, int]()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.again(self.second(self.first(x))) + self.offset
        return found


class Counted(nn.Linear):
    """Says itself how it is copied."""

    copies = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Counted:
        made = Counted(self.in_features, self.out_features)
        made.copies = self.copies + 1
        return made


def modules_of_all_kinds() -> list[nn.Module]:
    shape = {"image_size": 8, "channels": 3, "classes": 4, "width": 4}
    return [Own(), *(make_space(name, **shape, depth=kind.least_depth).network(0) for name, kind in SPACES.items())]


@pytest.mark.parametrize("module", modules_of_all_kinds(), ids=lambda module: type(module).__name__)
def test_a_copy_is_what_deepcopy_makes(module: nn.Module) -> None:
    made, expected = copied(module, {}), copy.deepcopy(module)
    assert repr(made) == repr(expected)
    for one, other in zip(made.modules(), expected.modules(), strict=True):
        assert {name: type(value) for name, value in vars(one).items()} == {
            name: type(value) for name, value in vars(other).items()
        }
    tensors = dict([*made.named_parameters(), *made.named_buffers()])
    for name, value in [*expected.named_parameters(), *expected.named_buffers()]:
        assert torch.equal(tensors.pop(name), value)
    assert not tensors


def test_what_is_used_twice_is_one_thing_in_the_copy_and_none_of_it_is_the_original_s() -> None:
    module = Own()
    made = copied(module, {})
    assert isinstance(made, Own)
    assert made.again is made.first and made.second.weight is made.first.weight
    with torch.no_grad():
        made.first.weight.zero_()
        made.offset.zero_()
    made.numbers["a"].append(3)
    made.empty["b"] = 1
    made.first.register_forward_hook(lambda *_: None)
    assert module.first.weight.any() and module.offset.all() and not module.first._forward_hooks
    assert (module.numbers, module.empty) == ({"a": [1, 2]}, {})


def test_hooks_are_copied_with_the_module() -> None:
    module, seen = Own(), list[Tensor]()
    module.second.register_forward_hook(lambda _, inputs, output: seen.append(output))
    copied(module, {})(torch.ones(1, 4))
    assert len(seen) == 1


def test_what_the_memo_has_takes_the_place_of_what_it_has_it_for() -> None:
    module, other = Own(), nn.Linear(4, 4)
    made = copied(module, {id(module.second): other})
    assert isinstance(made, Own) and made.second is other and made.first is not module.first


def test_a_module_that_says_how_it_is_copied_is_copied_that_way() -> None:
    made = copied(nn.Sequential(Counted(2, 2)), {})
    assert made.get_submodule("0").copies == 1
