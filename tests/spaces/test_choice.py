"""`Choice`: the weighted sum of what is selected, and nothing of what is not."""

from __future__ import annotations

from threading import Thread

import pytest
import torch
from torch import Tensor, nn

from latnas.spaces.choice import (
    Choice,
    choices,
    contains_choice,
    decisions_of,
    everything,
    name_decisions,
    path_of,
    selecting,
    total,
)
from latnas.spaces.operations import Nothing
from latnas.words.architecture import Architecture, Item


class Times(nn.Module):
    """Multiplies by a number that can learn; parts of other numbers can be told apart in the sum."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class Explodes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("this part was not selected, and ran")


def times_choice(tie: str | None = "d") -> Choice:
    return Choice({"two": Times(2.0), "three": Times(3.0), "five": Times(5.0)}, tie=tie)


def run(choice: nn.Module, selection: Tensor | tuple[str, ...], x: Tensor | None = None) -> Tensor:
    with selecting({"d": selection}):
        out = choice(torch.ones(2, 1, 2, 2) if x is None else x)
    assert isinstance(out, Tensor)
    return out


X = torch.arange(8.0).reshape(2, 1, 2, 2)


def test_the_sum_of_the_parts_is_weighted_by_the_selection() -> None:
    assert torch.equal(run(times_choice(), torch.tensor([0.5, 0.0, 2.0]), X), (0.5 * 2 + 2.0 * 5) * X)


def test_each_image_can_have_weights_of_its_own() -> None:
    out = run(times_choice(), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.25, 1.0]]), X)
    assert torch.equal(out[0], 2 * X[0]) and torch.equal(out[1], (0.25 * 3 + 5) * X[1])


def test_parts_that_are_named_are_added_with_weight_one() -> None:
    assert torch.equal(run(times_choice(), ("five",), X), 5 * X)
    assert torch.equal(run(times_choice(), ("two", "five"), X), 7 * X)


def test_names_may_contain_dots() -> None:
    choice = Choice({"k3.e1": Times(2.0), "k3.e6": Times(3.0)}, tie="d")
    assert torch.equal(run(choice, ("k3.e6",), X), 3 * X)
    assert decisions_of(nn.Sequential(choice))[0].parts == ("k3.e1", "k3.e6")


def test_a_straight_through_sample_runs_one_part_and_leads_the_gradient_to_its_weight() -> None:
    logits = torch.tensor([0.1, 0.7, -0.4], requires_grad=True)
    soft = logits.softmax(-1)
    weights = torch.tensor([0.0, 1.0, 0.0]) - soft.detach() + soft
    weights.retain_grad()
    choice = Choice({"two": Explodes(), "three": Times(3.0), "five": Explodes()}, tie="d")
    out = run(choice, weights, X)
    assert torch.allclose(out, 3 * X)
    out.sum().backward()
    slope = float(3 * X.sum())
    assert weights.grad is not None and weights.grad.tolist() == pytest.approx([0.0, slope, 0.0])
    probabilities = soft.detach()
    through_softmax = slope * probabilities[1] * (torch.tensor([0.0, 1.0, 0.0]) - probabilities)
    assert logits.grad is not None and torch.allclose(logits.grad, through_softmax)


def test_with_a_weight_for_each_image_the_gradient_goes_to_the_weights_of_that_image() -> None:
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    (run(times_choice(), weights, X) * torch.tensor([1.0, 10.0]).reshape(2, 1, 1, 1)).sum().backward()
    first, second = X[0].sum().item(), 10 * X[1].sum().item()
    expected = torch.tensor([[2 * first, 3 * first, 0.0], [2 * second, 3 * second, 0.0]])
    assert weights.grad is not None and torch.equal(weights.grad, expected)  # `five` did not run for any image


@pytest.mark.parametrize("selection", [("b",), torch.tensor([0.0, 1.0]), torch.tensor([[0.0, 1.0], [0.0, 0.5]])])
def test_parts_that_are_not_selected_do_not_run(selection: Tensor | tuple[str, ...]) -> None:
    assert run(Choice({"a": Explodes(), "b": nn.Identity()}, tie="d"), selection).shape == (2, 1, 2, 2)


@pytest.mark.parametrize("by_name", [True, False])
def test_momentum_and_weight_decay_do_not_move_parts_that_are_not_selected(by_name: bool) -> None:
    choice = times_choice()
    optimizer = torch.optim.SGD(choice.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    values = {name: choice.part(name).get_parameter("factor") for name in choice.part_names}
    for chosen in ("two", "five", "five"):
        before = {name: value.item() for name, value in values.items()}
        one_hot = torch.tensor([float(name == chosen) for name in choice.part_names])
        optimizer.zero_grad()
        run(choice, (chosen,) if by_name else one_hot).sum().backward()
        assert [name for name, value in values.items() if value.grad is not None] == [chosen]
        optimizer.step()
        assert [name for name, value in values.items() if value.item() != before[name]] == [chosen]


def test_no_state_stays_on_the_module() -> None:
    network = nn.Sequential(times_choice())
    before = [set(vars(module)) for module in network.modules()]
    run(network, torch.tensor([1.0, 2.0, 3.0]))
    assert [set(vars(module)) for module in network.modules()] == before
    assert list(network.state_dict()) == ["0.parts.two.factor", "0.parts.three.factor", "0.parts.five.factor"]


# Selections and where they hold


def test_an_inner_selection_holds_inside_and_the_outer_one_again_after_it() -> None:
    choice = times_choice()
    with selecting({"d": ("two",)}):
        with selecting({"d": ("three",)}):
            assert torch.equal(choice(X), 3 * X)
        assert torch.equal(choice(X), 2 * X)


def test_a_selection_ends_with_its_block_even_by_an_error() -> None:
    with pytest.raises(AssertionError), selecting({"d": ("a",)}):
        Choice({"a": Explodes()}, tie="d")(X)
    with pytest.raises(RuntimeError, match="decision 'd' is not in the current selection: use `with selecting"):
        times_choice()(X)


def test_a_selection_that_lacks_the_decision_is_refused() -> None:
    with pytest.raises(RuntimeError, match="decision 'd' is not in"), selecting({"other": ("two",)}):
        times_choice()(X)


@pytest.mark.parametrize("shape", [(2,), (6,), (2, 4), (3, 2)])
def test_weights_that_are_not_one_for_each_part_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError, match=f"decision 'd' has 3 parts, and {shape[-1]} weights"):
        run(times_choice(), torch.ones(shape))


def test_another_thread_has_its_own_selection() -> None:
    choice, found = times_choice(), []

    def work() -> None:
        with selecting({"d": ("five",)}):
            found.append(choice(X))

    with selecting({"d": ("two",)}):
        thread = Thread(target=work)
        thread.start()
        thread.join()
        found.append(choice(X))
    assert torch.equal(found[0], 5 * X) and torch.equal(found[1], 2 * X)


# Nothing


def test_a_part_that_contributes_nothing_leaves_the_others_alone() -> None:
    choice = Choice({"none": Nothing(), "two": Times(2.0)}, tie="d")
    assert torch.equal(run(choice, torch.tensor([0.7, 0.5]), X), X)


@pytest.mark.parametrize("selection", [("none",), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0]), ()])
def test_where_nothing_contributes_the_choice_is_none(selection: Tensor | tuple[str, ...]) -> None:
    with selecting({"d": selection}):
        assert Choice({"none": Nothing(), "a": Explodes()}, tie="d")(X) is None


def test_a_node_that_nothing_reached_passes_nothing_on() -> None:
    with selecting({"d": ("a",)}):
        choice = Choice({"a": Explodes()}, tie="d")
        assert choice(None) is None and choice(None, None) is None


def test_the_total_leaves_out_what_is_not_there() -> None:
    assert total([]) is None and total([None, None]) is None
    result = total([None, X, None, 2 * X])
    assert result is not None and torch.equal(result, 3 * X)


# Decisions of a network


class TwoPlaces(nn.Module):
    def __init__(self, first: Choice, second: Choice) -> None:
        super().__init__()
        self.first = first
        self.inner = nn.Sequential(nn.Identity(), second)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(self.first(x))
        return out


def test_choices_of_one_tie_share_one_decision() -> None:
    network = TwoPlaces(times_choice("cell"), times_choice("cell"))
    (decision,) = decisions_of(network)
    assert (decision.name, decision.parts) == ("cell", ("two", "three", "five"))
    assert decision.items == tuple(Item(name, (name,)) for name in decision.parts)
    with selecting({"cell": torch.tensor([0.0, 1.0, 0.0])}):
        assert torch.equal(network(X), 9 * X)


def test_an_untied_choice_is_named_after_its_path() -> None:
    network = TwoPlaces(times_choice(None), times_choice(None))
    name_decisions(network)
    assert [decision.name for decision in decisions_of(network)] == ["first", "inner.1"]
    with selecting({"first": ("two",), "inner.1": ("five",)}):
        assert torch.equal(network(X), 10 * X)


def test_a_name_once_given_is_kept_when_the_network_moves_into_another() -> None:
    network = TwoPlaces(times_choice(None), times_choice(None))
    name_decisions(network)
    around = nn.Sequential(network)
    name_decisions(around)
    assert list(choices(around)) == ["first", "inner.1"]


def test_a_choice_without_a_name_is_told_of() -> None:
    with pytest.raises(ValueError, match=r"the choice at 'inner\.1' has no name yet: see name_decisions"):
        choices(TwoPlaces(times_choice("first"), times_choice(None)))


def test_the_path_of_an_architecture_computes_it() -> None:
    network = TwoPlaces(times_choice(None), times_choice(None))
    name_decisions(network)
    decisions = decisions_of(network)
    with selecting(path_of(Architecture.of("default", {"inner.1": "three", "first": "two"}), decisions)):
        assert torch.equal(network(X), 6 * X)


def test_everything_runs_all_parts_with_equal_weights() -> None:
    network = TwoPlaces(times_choice(None), times_choice(None))
    name_decisions(network)
    with selecting(everything(decisions_of(network))):
        assert torch.allclose(network(X), (10 / 3) ** 2 * X)


def test_tied_choices_that_differ_are_refused() -> None:
    other = Choice({"two": Times(2.0), "three": Times(3.0)}, tie="cell")
    with pytest.raises(ValueError, match="tied as 'cell' differ in their parts or items"):
        choices(TwoPlaces(times_choice("cell"), other))
    paired = Choice(dict(times_choice().parts.items()), tie="cell", items=[("two", "three"), ("five",)])
    with pytest.raises(ValueError, match="tied as 'cell' differ in their parts or items"):
        choices(TwoPlaces(times_choice("cell"), paired))


def test_a_choice_inside_a_part_of_another_is_refused() -> None:
    network = nn.Sequential(Choice({"a": nn.Sequential(times_choice("inner")), "b": nn.Identity()}, tie="outer"))
    with pytest.raises(ValueError, match="decision 'outer' has another choice inside one of its parts"):
        choices(network)


def test_a_network_that_is_itself_a_choice_needs_a_tie() -> None:
    with pytest.raises(ValueError, match="give it a tie"):
        name_decisions(times_choice(None))
    assert list(choices(times_choice("d"))) == ["d"]


def test_a_network_without_choices_has_nothing_to_search() -> None:
    with pytest.raises(ValueError, match="nothing to search"):
        decisions_of(nn.Sequential(nn.Identity()))
    assert not contains_choice(nn.Sequential(nn.Identity())) and contains_choice(nn.Sequential(times_choice()))


@pytest.mark.parametrize(("names", "problem"), [((), "at least one part"), (("a.b", "a_b"), "differ only in")])
def test_parts_that_cannot_be_told_apart_are_refused(names: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Choice({name: nn.Identity() for name in names})


def test_items_of_unknown_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="items of unknown parts: b"):
        decisions_of(nn.Sequential(Choice({"a": nn.Identity()}, tie="d", items=[("a", "b")])))
