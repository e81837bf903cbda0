"""`metrics.jsonl`, and the same numbers for TensorBoard."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from small import SEARCH, as_typed, copied, front_in, latnas, run_in, search_config

from latnas.hypernet.learn import StepReport
from latnas.stages.search import search
from latnas.stages.search.metrics import METRICS, TENSORBOARD, Metrics, scalars, summary_writer

IS_INSTALLED = importlib.util.find_spec("tensorboard") is not None


class Recording:
    """A writer that remembers what it was given."""

    def __init__(self) -> None:
        self.points: list[tuple[str, float, int]] = []

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.points.append((tag, scalar_value, global_step))


def line(step: int) -> dict[str, object]:
    return StepReport(step, loss=0.5, cost=0.9, excess=0.0, entropy=2, tau=1.5, supernet_loss=None).to_json()


def test_a_line_becomes_a_scalar_for_each_number_that_it_has() -> None:
    assert scalars(line(3)) == {
        "hypernetwork/loss": 0.5, "hypernetwork/cost": 0.9, "hypernetwork/excess": 0.0, "hypernetwork/entropy": 2.0,
        "hypernetwork/tau": 1.5,
    }  # fmt: skip
    assert scalars({"step": 0, "supernet_loss": 2.25}) == {"hypernetwork/supernet_loss": 2.25}


def test_what_was_recorded_before_a_stop_is_shown_again_up_to_the_checkpoint_and_then_what_follows(
    tmp_path: Path,
) -> None:
    first = Metrics(tmp_path, 0)
    for step in range(5):
        first.append(line(step))
    writer = Recording()
    second = Metrics(tmp_path, 3, writer)
    second.append(line(3))
    assert [step for tag, _, step in writer.points if tag == "hypernetwork/loss"] == [0, 1, 2, 3]
    assert [json.loads(text)["step"] for text in (tmp_path / METRICS).read_text().splitlines()] == [0, 1, 2, 3]


def test_nothing_is_written_for_tensorboard_unless_it_is_asked_for(tmp_path: Path) -> None:
    with summary_writer(tmp_path, wanted=False) as writer:
        assert writer is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(IS_INSTALLED, reason="TensorBoard is installed")
def test_without_tensorboard_the_message_says_what_to_install_and_the_search_does_not_begin(
    here: Path,
) -> None:
    (front_in(here) / "front.json").unlink()
    shown = latnas("search", "--resume", "latest", "--tensorboard", "--quiet")
    assert shown.code == 2 and "pip install 'latnas[tensorboard]'" in shown.stderr
    assert not (front_in(here) / "front.json").exists()
    assert latnas("search", *as_typed(SEARCH), "--seed", 7, "--tensorboard", "--quiet").code == 2
    assert len(list(here.glob("runs/nasbench201-*"))) == 1, "no run was begun"


@pytest.mark.skipif(not IS_INSTALLED, reason="TensorBoard is not installed")
def test_a_finished_search_can_be_shown_in_tensorboard_and_nothing_else_of_it_changes(
    small_run: Path, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    here = copied(small_run, tmp_path / "here")
    before = (front_in(here) / METRICS).read_bytes()
    for _ in range(2):
        search(search_config(here, resume=run_in(here).name, tensorboard=True))
    assert (front_in(here) / METRICS).read_bytes() == before
    events = EventAccumulator(str(front_in(here) / TENSORBOARD))
    events.Reload()
    recorded = [json.loads(text) for text in before.decode().splitlines()]
    shown = events.Scalars("hypernetwork/loss")
    assert [(event.step, event.value) for event in shown] == [
        (entry["step"], pytest.approx(entry["loss"])) for entry in recorded
    ]
