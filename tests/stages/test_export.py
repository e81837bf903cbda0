"""The stage `export`, whole: the files that ship, what their manifests say of them, and what is refused."""

from __future__ import annotations

import hashlib
import importlib
import json
import pickle
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from made_up_times import times
from small import Heard, contents, copied, export_config, front_in, judged_in, run_in, search_config
from torch import nn
from trap import Trap

import latnas
from latnas.data.batches import to_unit
from latnas.data.sources import load_images
from latnas.errors import LatnasError, UsageError
from latnas.latency.workload import Workload
from latnas.spaces.space import Classifier, Space
from latnas.stages.common.metadata import versions_of
from latnas.stages.common.runs import RunFolder
from latnas.stages.common.tables import latency_of, open_profiler, space_of
from latnas.stages.export import ExportConfig, ExportedFile, export, stage
from latnas.stages.export.measuring import Bench, Times
from latnas.stages.export.targets import make_targets
from latnas.stages.export.writing import VERSIONS
from latnas.stages.search import search
from latnas.training.checkpoint import load_tensors, save_tensors
from latnas.words.architecture import Architecture
from latnas.words.budgets import budget_name
from latnas.words.costs import macs_cost
from latnas.words.front import Front, load_front
from latnas.words.latency import LatencyModel
from latnas.words.manifest import load_manifest
from latnas.words.table import load_table
from latnas_profilers.analytic import AnalyticProfiler, AnalyticRunner, inference_seconds

FILES = {"model.onnx", "manifest.json", "measure.py", "model.py", "weights.safetensors"}


def exports_of(folder: Path) -> Path:
    return run_in(folder) / "exports" / front_in(folder).name


@pytest.fixture(scope="module")
def files(exported_run: Path) -> list[ExportedFile]:
    """What was exported, the loosest budget first."""
    folders = [path.parent for path in exports_of(exported_run).glob("*/manifest.json")]
    found = [ExportedFile(folder, load_manifest(folder / "manifest.json")) for folder in folders]
    return sorted(found, key=lambda file: -file.manifest.budget_ms)


@pytest.fixture(scope="module")
def judged(small_run: Path) -> tuple[Front, Space, LatencyModel]:
    return judged_in(small_run)


def network_of(file: ExportedFile, space: Space) -> Classifier:
    """The exported network in PyTorch, from the weights that its training left."""
    architecture = Architecture.from_json(file.manifest.architecture)
    network = space.derive(space.network(seed=0), architecture)
    for weights in file.folder.parent.glob(".trainings/*/weights.safetensors"):
        shipped = (weights.parent / "model.onnx").read_bytes() == file.onnx.read_bytes()
        if shipped:
            network.load_state_dict(load_tensors(weights)[0])
            return network.eval()
    raise AssertionError("no training left this file")


def run_file(file: ExportedFile, images: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(file.onnx, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return np.asarray(logits)


# The files


def test_an_auxiliary_head_is_refused_by_spaces_that_do_not_say_where_it_reads(exported_run: Path) -> None:
    with pytest.raises(UsageError, match=r"'nasbench201' names no module for an auxiliary head.*Leave --auxiliary out"):
        export(export_config(exported_run, lambdas=(1.0,), auxiliary=0.4))


def test_all_exports_each_budget_of_the_search_with_the_network_that_was_chosen_for_it(
    files: list[ExportedFile], judged: tuple[Front, Space, LatencyModel]
) -> None:
    front, _, latency = judged
    assert [file.manifest.budget_ms for file in files] == [choice.budget_ms for choice in front.budgets]
    assert [file.manifest.lam for file in files] == [0.0, 1.0]
    assert [file.folder.name for file in files] == [budget_name(choice.budget_ms) for choice in front.budgets]
    for file in files:
        manifest = file.manifest
        architecture = Architecture.from_json(manifest.architecture)
        assert architecture in [network.as_architecture for network in front.within(manifest.budget_ms)]
        assert manifest.predicted_ms == latency.predict(architecture)
        assert manifest.kind == "search" and manifest.table == front.table


@pytest.mark.parametrize("batch", [1, 5])
def test_the_file_gives_the_logits_of_the_trained_network_for_any_number_of_images(
    files: list[ExportedFile], judged: tuple[Front, Space, LatencyModel], batch: int
) -> None:
    images = to_unit(load_images("digits").test.images[:batch])
    for file in files:
        with torch.inference_mode():
            expected = network_of(file, judged[1])(images).numpy()
        np.testing.assert_allclose(run_file(file, images), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_an_image_gets_the_same_logits_alone_as_among_others(files: list[ExportedFile]) -> None:
    images = to_unit(load_images("digits").test.images[:5])
    together = run_file(files[0], images)
    alone = np.concatenate([run_file(files[0], image[None]) for image in images])
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-4)


def test_the_accuracy_in_the_manifest_is_that_of_the_shipped_file_on_the_test_images(
    files: list[ExportedFile],
) -> None:
    test = load_images("digits").test
    for file in files:
        right = (run_file(file, to_unit(test.images)).argmax(1) == test.labels.numpy()).mean()
        reached = file.manifest.accuracy
        assert reached.value == pytest.approx(right, abs=1.5 / len(test))
        assert reached.low < reached.value < reached.high
        assert file.manifest.training["test_images"] == len(test)
        assert file.manifest.training["warmup_steps"] == file.manifest.training["steps"] // 5, "in a short training"


def test_the_manifest_has_the_digest_the_parameters_and_the_multiply_adds_of_the_file(
    files: list[ExportedFile], judged: tuple[Front, Space, LatencyModel]
) -> None:
    for file in files:
        network = network_of(file, judged[1])
        assert file.manifest.sha256 == hashlib.sha256(file.onnx.read_bytes()).hexdigest()
        assert file.manifest.params == sum(parameter.numel() for parameter in network.parameters())
        assert file.manifest.macs == counted_macs(network, judged[1].example())


def counted_macs(network: nn.Module, example: torch.Tensor) -> int:
    """Multiply-adds of convolutions and linear layers, counted while the network runs."""
    counted: list[int] = []

    def count(layer: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        counted.append(output.numel() * layer.weight[0].numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network(example)
    return sum(counted)


def test_the_metadata_of_the_file_say_what_it_is_and_what_it_takes(files: list[ExportedFile]) -> None:
    for file in files:
        session = onnxruntime.InferenceSession(file.onnx, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
        assert json.loads(metadata["latnas.classes"]) == list(load_images("digits").classes)
        assert json.loads(metadata["latnas.architecture"]) == file.manifest.architecture
        assert metadata["latnas.table"] == file.manifest.table
        assert (metadata["latnas.input_size"], metadata["latnas.layout"]) == ("8", "nchw")
        assert session.get_inputs()[0].shape[1:] == [1, 8, 8]


def test_the_file_stands_alone_and_does_not_say_where_it_was_made(
    files: list[ExportedFile], exported_run: Path
) -> None:
    places = [str(exported_run), str(Path(latnas.__file__).parents[1]), str(Path.home()), torch.__path__[0], "/tmp/"]
    for file in files:
        onnx.checker.check_model(onnx.load(file.onnx, load_external_data=False), full_check=True)
        content = file.onnx.read_bytes()
        assert not [place for place in [*places, ".py", "/work"] if place.encode() in content]
        assert {path.name for path in file.folder.iterdir()} == FILES


def test_what_was_computed_and_not_measured_is_called_unverified(
    files: list[ExportedFile], judged: tuple[Front, Space, LatencyModel]
) -> None:
    for file in files:
        manifest = file.manifest
        assert (manifest.status, manifest.measured_artifact, manifest.runtime) == ("unverified", "none", "analytic")
        assert manifest.measured_ms is not None and manifest.within_budget
        computed = 1e3 * inference_seconds(network_of(file, judged[1]), (judged[1].example(),))
        assert manifest.measured_ms.floor == pytest.approx(computed, rel=1e-9)


def test_every_measurement_is_appended_to_the_log_of_the_table(exported_run: Path, files: list[ExportedFile]) -> None:
    lines = [json.loads(line) for line in (exports_of(exported_run) / "measurements.jsonl").read_text().splitlines()]
    assert {line["what"] for line in lines} == {"untrained module", "trained module"}
    logged = [line["architecture"] for line in lines if line["what"] == "trained module"]
    assert all(file.manifest.architecture in logged for file in files)
    assert all(line["anchor_drift"] == pytest.approx(1, rel=1e-6) for line in lines)


def test_an_export_changes_neither_the_front_nor_the_table(exported_run: Path, small_run: Path) -> None:
    assert contents(front_in(exported_run)) == contents(front_in(small_run))


# Again


@pytest.mark.parametrize("named", ["path", "name", "latest"])
def test_an_export_again_of_a_run_that_was_moved_trains_nothing_and_leaves_the_same_files(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    here = copied(exported_run, tmp_path / "here")
    before = contents(here)
    monkeypatch.setattr("latnas.stages.export.final_training.final_training_task", None)
    run = {"path": str(run_in(here)), "name": run_in(here).name, "latest": None}[named]
    again = export(export_config(here, all=True, run=run))
    after = contents(here)
    changed = {Path(path).name for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed <= {"manifest.json", "measurements.jsonl", "set.json"}
    for file in again:
        earlier = json.loads(before[str((file.folder / "manifest.json").resolve().relative_to(here.resolve()))])
        now = json.loads((file.folder / "manifest.json").read_text())
        measured = {"raw_ms", "created", "attempts"}
        assert {key: now[key] for key in now.keys() - measured} == {key: earlier[key] for key in now.keys() - measured}


def test_lambda_and_budget_name_the_same_thing(exported_run: Path, tmp_path: Path) -> None:
    here = copied(exported_run, tmp_path / "here")
    front = load_front(front_in(here) / "front.json")
    (by_lambda,) = export(export_config(here, lambdas=(1.0,)))
    (by_budget,) = export(export_config(here, budgets=(f"{front.fastest_ms!r}ms",)))
    (by_both,) = export(export_config(here, lambdas=(1.0,), budgets=(f"{front.fastest_ms * 1e3!r}us",)))
    assert by_lambda.folder == by_budget.folder == by_both.folder
    assert by_budget.manifest.lam == pytest.approx(1.0)


def test_a_training_whose_file_was_deleted_is_made_again_from_its_checkpoint_or_the_start(
    exported_run: Path, tmp_path: Path
) -> None:
    here = copied(exported_run, tmp_path / "here")
    (file,) = export(export_config(here, lambdas=(1.0,)))
    whole = file.onnx.read_bytes()
    for path in exports_of(here).glob(".trainings/*/model.onnx"):
        path.unlink()
    (again,) = export(export_config(here, lambdas=(1.0,)))
    assert again.onnx.read_bytes() == whole, "a training is a function of its seed"


@pytest.mark.parametrize("name", ["model.onnx", "model.py", "weights.safetensors"])
def test_what_ships_of_a_training_is_made_again_where_a_part_of_it_was_deleted(
    name: str, exported_run: Path, tmp_path: Path
) -> None:
    here = copied(exported_run, tmp_path / "here")
    for path in exports_of(here).glob(f".trainings/*/*/{name}"):
        path.unlink()
    (file,) = export(export_config(here, lambdas=(1.0,)))
    there = exports_of(exported_run) / file.folder.name / name
    assert (file.folder / name).read_bytes() == there.read_bytes()


# Baselines, and no training at all


@pytest.mark.slow
def test_without_an_epoch_the_supernet_s_weights_ship_and_baselines_are_made_alike(
    small_run: Path, tmp_path: Path, judged: tuple[Front, Space, LatencyModel]
) -> None:
    here = copied(small_run, tmp_path / "here")
    made = export(export_config(here, lambdas=(1.0,), baselines=True, epochs=0, init="supernet"))
    assert [file.manifest.kind for file in made] == ["search", "random", "most-macs"]
    budget = budget_name(judged[0].fastest_ms)
    assert [file.folder.name for file in made] == [budget, f"{budget}-random", f"{budget}-most-macs"]
    assert len({json.dumps(file.manifest.training) for file in made}) == 1
    supernet, _ = load_tensors(run_in(here) / "supernet" / "weights.safetensors")
    for file in made:
        assert file.manifest.predicted_ms.value <= file.manifest.budget_ms
        stem = network_of(file, judged[1]).state_dict()["body.stem.0.weight"]
        assert torch.equal(stem, supernet["body.stem.0.weight"])


def test_the_baseline_with_most_multiply_adds_has_no_rival_within_the_budget(
    judged: tuple[Front, Space, LatencyModel], tmp_path: Path
) -> None:
    front, space, latency = judged
    macs, random = macs_cost(space.trace), torch.Generator().manual_seed(0)
    config = export_config(tmp_path, lambdas=(0.5,), baselines=True)
    targets = make_targets(config, front, space, latency, certain=False)
    _, drawn, most = targets
    assert all(latency.predict_ms(candidate) <= most.budget_ms for target in targets for candidate in target.candidates)
    largest = macs.cost(most.candidates[0])
    assert largest == max(macs.cost(candidate) for candidate in most.candidates)
    rivals = [space.random(random) for _ in range(500)]
    larger = [rival for rival in rivals if macs.cost(rival) > largest]
    assert larger and all(latency.predict_ms(rival) > most.budget_ms for rival in larger)
    assert len(drawn.candidates) == len({candidate.key for candidate in drawn.candidates})


def test_where_nothing_can_be_measured_only_networks_that_surely_fit_are_considered(
    judged: tuple[Front, Space, LatencyModel], tmp_path: Path
) -> None:
    front, space, latency = judged
    wide = [
        network.model_copy(update={"predicted_ms": one.model_copy(update={"high": 1.2 * one.value})})
        for network in front.networks
        for one in (network.predicted_ms,)
    ]
    front = front.model_copy(update={"networks": tuple(wide)})
    config = export_config(tmp_path, lambdas=(0.3,))
    (sure,), (any_of_them,) = (make_targets(config, front, space, latency, certain) for certain in (True, False))
    within = {one.as_architecture for one in wide if 1.2 * one.predicted_ms.value <= sure.budget_ms}
    assert set(sure.candidates) == within < set(any_of_them.candidates)


def test_where_nothing_can_be_measured_baselines_surely_fit_too(
    judged: tuple[Front, Space, LatencyModel], tmp_path: Path
) -> None:
    front, space, latency = judged
    table = latency.table.model_copy(
        update={"calibration": latency.table.calibration.model_copy(update={"high": 1.25})}
    )
    unsure = latency_of(table, space)
    config = export_config(tmp_path, lambdas=(0.5,), baselines=True)
    _, *sure = make_targets(config, front, space, unsure, certain=True)
    _, *others = make_targets(config, front, space, unsure, certain=False)
    for one, other in zip(sure, others, strict=True):
        assert all(unsure.predict(network).high <= one.budget_ms for network in one.candidates)
        assert any(unsure.predict(network).high > one.budget_ms for network in other.candidates)


# Budgets that are missed


def test_a_file_that_measures_over_its_budget_is_written_and_called_missed(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SlowWhenTrained(Bench):
        def measure(self, workloads: Any, names: Any, what: str) -> dict[str, Times]:
            slow = 3 if what == "trained module" else 1
            found = super().measure(workloads, names, what)
            return {key: times(slow * result.quoted_ms) for key, result in found.items()}

    monkeypatch.setattr(stage, "Bench", SlowWhenTrained)
    here = copied(exported_run, tmp_path / "here")
    made = export(export_config(here, all=True))
    assert [file.manifest.status for file in made] == ["missed", "missed"]
    for file in made:
        assert file.manifest.within_budget is False
        assert load_manifest(file.folder / "manifest.json") == file.manifest
        assert file.manifest.sha256 == hashlib.sha256(file.onnx.read_bytes()).hexdigest()


def test_a_file_that_was_measured_while_the_device_was_busy_is_looked_at_again(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    class BusyAtFirst(Bench):
        def measure(self, workloads: Any, names: Any, what: str) -> dict[str, Times]:
            found = super().measure(workloads, names, what)
            if what != "trained module":
                return found
            looks.append(len(workloads))
            slow = 3.0 if len(looks) < 3 else 1.0
            return {key: times(slow * result.quoted_ms) for key, result in found.items()}

    monkeypatch.setattr(stage, "Bench", BusyAtFirst)
    made = export(export_config(copied(exported_run, tmp_path / "here"), all=True))
    assert all(file.manifest.within_budget for file in made)
    assert len(looks) == 3


# Trainings


@pytest.mark.parametrize(("epochs", "said"), [(1, True), (22, True), (23, False), (0, False)])
def test_trainings_of_few_steps_are_warned_of_once_with_the_epochs_that_would_be_enough(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int, said: bool
) -> None:
    """An epoch of the digits has 22 steps."""
    monkeypatch.setattr(stage, "derive", lambda *_: [])
    monkeypatch.setattr(stage, "write_set", lambda *_: None)
    heard = Heard()
    with pytest.raises(KeyError):  # nothing is made here
        export(export_config(copied(exported_run, tmp_path / "here"), all=True, epochs=epochs), heard)
    text = f"a training of {epochs * 22} steps, 22 an epoch, is too short to learn much: --epochs 23 makes 506"
    assert [told for told in heard.warned if "too short" in told] == ([text] if said else [])


@pytest.mark.parametrize(("asked", "trained"), [({}, 7), ({"epochs": 20}, 20), ({"epochs": 3}, 3)])
def test_an_export_trains_as_long_as_the_search_went_by_unless_it_is_told_otherwise(
    small_run: Path, tmp_path: Path, asked: dict[str, int], trained: int
) -> None:
    run = RunFolder(run_in(copied(small_run, tmp_path / "here")))
    with_epochs(run, "7")
    config = ExportConfig(all=True, finalists=2, **asked).in_run(run)
    assert (config.epochs, config.finalists, config.starts_from) == (trained, 2, "scratch")


def test_of_a_search_for_inherited_weights_exports_ship_these(small_run: Path, tmp_path: Path) -> None:
    run = RunFolder(run_in(copied(small_run, tmp_path / "here")))
    with_epochs(run, "0")
    assert ExportConfig(all=True).in_run(run).starts_from == "supernet"
    with pytest.raises(UsageError, match="--epochs 0 trains nothing, so there is nothing to --distill"):
        ExportConfig(all=True, distill=True).in_run(run)


def test_epochs_of_a_run_that_are_no_number_are_a_damaged_config(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    with_epochs(RunFolder(run_in(here)), '"many"')
    with pytest.raises(LatnasError, match=r"config\.toml: epochs.*integer"):
        export(ExportConfig(all=True, runs=here / "runs"))


def with_epochs(run: RunFolder, value: str) -> None:
    text = run.config.read_text()
    assert "epochs = 20" in text
    run.config.write_text(text.replace("epochs = 20", f"epochs = {value}"))


# A device that is not here, or fails


def change_environment(here: Path, **conditions: str) -> None:
    path = front_in(here) / "table.json"
    table = json.loads(path.read_text())
    table["environment"] |= conditions
    path.write_text(json.dumps(table))


def test_without_the_device_of_the_table_the_files_are_unverified_and_say_that_nothing_was_measured(
    exported_run: Path, tmp_path: Path, files: list[ExportedFile]
) -> None:
    here, heard = copied(exported_run, tmp_path / "here"), Heard()
    front = json.loads((front_in(here) / "front.json").read_text())
    for network in front["networks"]:
        if network["architecture"] == files[-1].manifest.architecture:
            network["score"]["value"] = 1.0  # the best: it is trained already, and surely fits the loosest budget
    (front_in(here) / "front.json").write_text(json.dumps(front))
    change_environment(here, host="elsewhere")
    (file,) = export(export_config(here, lambdas=(0.0,)), heard)
    assert file.manifest.status == "unverified"
    assert (file.manifest.measured_ms, file.manifest.raw_ms, file.manifest.within_budget) == (None, None, None)
    assert file.manifest.predicted_ms.high <= file.manifest.budget_ms
    assert any("files will be unverified" in line and "elsewhere" in line for line in heard.warned)


def test_a_file_that_was_measured_over_its_budget_stays_missed_where_it_cannot_be_measured(
    exported_run: Path, tmp_path: Path
) -> None:
    here = copied(exported_run, tmp_path / "here")
    change_environment(here, host="elsewhere")
    (file,) = export(export_config(here, lambdas=(0.0,)))
    assert file.manifest.measured_ms is None
    found = {"floor": 1.0, "p50": 1.0, "p90": 1.0}
    missed = {"status": "missed", "within_budget": False, "measured_ms": found, "nearest_ms": 1.03, "anchor_drift": 1.0}
    path = file.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | missed))
    (again,) = export(export_config(here, lambdas=(0.0,)), heard := Heard())
    assert again.manifest == load_manifest(path) and again.manifest.status == "missed"
    assert any("what was measured of this very file counts" in line for line in heard.warned)
    assert "within reach" in again.advice or "no network takes more" in again.advice
    (other,) = export(export_config(here, lambdas=(0.0,), batch_size=512))
    assert other.manifest.status == "unverified", "of another file nothing is known"


def test_versions_are_those_of_the_modules_whatever_pip_calls_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after pip uninstall onnxruntime, pip install onnxruntime-gpu."""
    expected = {name: importlib.import_module(name).__version__ for name in VERSIONS}

    def unknown(name: str) -> NoReturn:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", unknown)
    assert versions_of(VERSIONS) == expected


def test_where_only_software_is_another_than_for_the_table_files_are_measured_with_a_warning(
    exported_run: Path, tmp_path: Path
) -> None:
    here, heard = copied(exported_run, tmp_path / "here"), Heard()
    change_environment(here, runtime_version="0.9", os="Linux 1.0")
    (file,) = export(export_config(here, lambdas=(0.0,)), heard)
    assert file.manifest.measured_ms is not None and file.manifest.within_budget is True
    assert any("was measured with other software" in line and "was '0.9' and is" in line for line in heard.warned)


def test_where_nothing_can_be_measured_a_file_that_may_be_over_its_budget_is_warned_of(
    exported_run: Path, tmp_path: Path
) -> None:
    here, heard = copied(exported_run, tmp_path / "here"), Heard()
    path = front_in(here) / "table.json"
    table = json.loads(path.read_text())
    table["environment"]["host"] = "elsewhere"
    table["calibration"]["high"] = 3.0
    path.write_text(json.dumps(table))
    (file,) = export(export_config(here, lambdas=(1.0,)), heard)
    assert file.manifest.predicted_ms.high > file.manifest.budget_ms
    assert any(f"{file.folder.name} may take up to" in line and "latnas verify" in line for line in heard.warned)


def test_a_device_that_fails_in_single_calls_is_an_error(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = AnalyticRunner.run, [0]

    def fails_late(self: AnalyticRunner, n: int) -> float:
        calls[0] = calls[0] + 1 if n == 1 else 0
        if calls[0] > 100:
            raise RuntimeError("the device was unplugged")
        return real(self, n)

    monkeypatch.setattr(AnalyticRunner, "run", fails_late)
    here = copied(exported_run, tmp_path / "here")
    with pytest.raises(LatnasError, match=r"RuntimeError: the device was unplugged\. Type the same command"):
        export(export_config(here, lambdas=(0.0,)))


def test_a_device_that_cannot_run_a_network_is_an_error_that_names_it(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: AnalyticProfiler, workload: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(AnalyticProfiler, "prepare", fail)
    here = copied(exported_run, tmp_path / "here")
    before = contents(here)
    with pytest.raises(LatnasError, match=r"cannot be run on analytic with analytic: RuntimeError: out of memory"):
        export(export_config(here, lambdas=(0.0,)))
    assert contents(here) == before


def test_a_busy_device_is_warned_of(exported_run: Path, tmp_path: Path) -> None:
    here, heard = copied(exported_run, tmp_path / "here"), Heard()
    path = front_in(here) / "table.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "anchor": {**table["anchor"], "floor_ms": table["anchor"]["floor_ms"] / 2}}))
    export(export_config(here, lambdas=(0.0,)), heard)
    (told,) = (line for line in heard.warned if "2.00 times what it took when the table was measured" in line)
    assert "the device is slower now" in told and "in quiet" in told and "measure a new table to search by" in told


def test_a_device_that_is_slow_first_and_fast_then_is_told_of_once_each(
    small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, heard, real = load_table(front_in(small_run) / "table.json"), Heard(), AnalyticRunner.run
    space, one = space_of(table), Architecture.from_json(table.anchor.architecture)
    bench = Bench(table, open_profiler(table), space, None, 4, "latnas profile", heard)
    workloads = {"one": Workload(space.derive(space.network(seed=0), one), bench.example)}
    for speed in (1.0, 1.5, 1.4, 0.6, 0.5, 1.5):
        monkeypatch.setattr(AnalyticRunner, "run", lambda self, n, speed=speed: speed * real(self, n))
        bench.measure(workloads, {"one": one}, "untrained module")
    slower, faster = heard.warned
    assert "takes 1.50 times" in slower and "the device is slower now" in slower
    assert "takes 0.60 times" in faster and "the device is faster now" in faster


@pytest.mark.parametrize(("late", "said"), [(1.1, False), (1.5, True)])
def test_single_calls_that_take_much_longer_than_what_budgets_go_by_are_warned_of(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: float, said: bool
) -> None:
    real = AnalyticRunner.run
    monkeypatch.setattr(AnalyticRunner, "run", lambda self, n: real(self, n) * (late if n == 1 else 1.0))
    heard = Heard()
    (file,) = export(export_config(copied(exported_run, tmp_path / "here"), lambdas=(0.0,)), heard)
    measured, raw = file.manifest.measured_ms, file.manifest.raw_ms
    assert measured is not None and raw is not None
    assert raw.p50 == pytest.approx(late * measured.p50)
    told = [line for line in heard.warned if "single calls take up to 1.50 times" in line]
    assert bool(told) == said
    assert not any("budgets" in line for line in told), "they may be held against another time, as of a faster device"


# What is refused


@pytest.mark.parametrize(("share", "lam"), [(0.5, None), (2.0, None), (None, -0.1), (None, 1.5), (None, float("nan"))])
def test_a_budget_outside_the_run_s_range_is_refused_with_the_range(
    exported_run: Path, tmp_path: Path, share: float | None, lam: float | None
) -> None:
    here = copied(exported_run, tmp_path / "here")
    before = contents(here)
    front = load_front(front_in(here) / "front.json")
    end = front.fastest_ms if share == 0.5 else front.slowest_ms
    wanted: dict[str, Any] = {"lambdas": (lam,)} if share is None else {"budgets": (f"{share * end}ms",)}
    with pytest.raises(UsageError) as caught:
        export(export_config(here, **wanted))
    assert f"{front.fastest_ms:.10g}ms" in str(caught.value) and f"{front.slowest_ms:.10g}ms" in str(caught.value)
    if share is not None:
        search = f"Or search another range: latnas search --from {run_in(here)} --budget-range FASTEST:SLOWEST"
        assert str(caught.value).endswith(search)
    assert contents(here) == before


def test_of_several_fronts_another_range_is_searched_by_the_table_of_the_one_that_was_named(
    exported_run: Path, tmp_path: Path
) -> None:
    here = copied(exported_run, tmp_path / "here")
    another = copied(front_in(here), front_in(here).with_name("another"))
    with pytest.raises(UsageError) as caught:
        export(export_config(here, budgets=("1s",), table="another"))
    search = f"latnas search --from {run_in(here)} --table {another / 'table.json'} --budget-range FASTEST:SLOWEST"
    assert str(caught.value).endswith(search)


@pytest.mark.parametrize("kind", ["a pickle", "cut short", "another network's"])
def test_shared_weights_that_are_none_of_this_run_are_refused_and_another_search_makes_them_again(
    small_run: Path, tmp_path: Path, kind: str
) -> None:
    here = copied(small_run, tmp_path / "here")
    weights = run_in(here) / "supernet" / "weights.safetensors"
    whole = weights.read_bytes()
    if kind == "a pickle":
        weights.write_bytes(pickle.dumps(Trap()))
    elif kind == "cut short":
        weights.write_bytes(whole[: len(whole) // 2])
    else:
        save_tensors(weights, {"body.stem.0.weight": torch.zeros(3)}, {"step": 0})
    before = contents(here)
    with pytest.raises(LatnasError, match="Delete it") as caught:
        export(export_config(here, lambdas=(1.0,), init="supernet"))
    assert str(weights) in str(caught.value)
    after = contents(here)
    assert {path: after[path] for path in before} == before
    new = {Path(path) for path in after.keys() - before.keys()}
    assert {path.name for path in new if path.parent.name != ".trainings"} == {"measurements.jsonl"}
    weights.unlink()
    search(search_config(here))
    assert weights.read_bytes() == whole


def test_a_checkpoint_of_another_training_is_not_gone_on_from(exported_run: Path, tmp_path: Path) -> None:
    here = copied(exported_run, tmp_path / "here")
    trainings = sorted(exports_of(here).glob(".trainings/*"))
    for folder in trainings:
        (folder / "result.json").unlink()
        tensors, _ = load_tensors(folder / "weights.safetensors")
        foreign = {f"network.{name}": value for name, value in tensors.items()}
        save_tensors(folder / "checkpoint.safetensors", foreign, {"step": 3, "seed": 12345})
    with pytest.raises(LatnasError, match="belongs to a training with seed 12345") as caught:
        export(export_config(here, lambdas=(1.0,)))
    assert any(str(folder / "checkpoint.safetensors") in str(caught.value) for folder in trainings)


def test_the_images_must_be_those_of_the_search(exported_run: Path, tmp_path: Path) -> None:
    here = copied(exported_run, tmp_path / "here")
    config = run_in(here) / "config.toml"
    config.write_text(config.read_text().replace(load_images("digits").fingerprint, "0" * 16))
    with pytest.raises(LatnasError, match=r"are not those that .* was searched with"):
        export(export_config(here, lambdas=(1.0,)))


def test_images_that_are_gone_are_named_with_where_they_were_looked_for(exported_run: Path, tmp_path: Path) -> None:
    here = copied(exported_run, tmp_path / "here")
    config = run_in(here) / "config.toml"
    config.write_text(config.read_text().replace('data = "digits"', 'data = "mine.npz"'))
    with pytest.raises(UsageError, match=r"was searched with --data mine\.npz, which is not here"):
        export(export_config(here, lambdas=(1.0,)))


def test_a_search_that_is_not_finished_is_not_exported(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "my runs")
    (front_in(here) / "front.json").unlink()
    with pytest.raises(UsageError, match=rf"is not finished\. Go on: latnas search --resume '{run_in(here)}'$"):
        export(export_config(here, all=True))


def test_of_several_fronts_one_has_to_be_named_and_the_message_lists_them(exported_run: Path, tmp_path: Path) -> None:
    here = copied(exported_run, tmp_path / "here")
    first = front_in(here)
    copied(first, first.with_name("another"))
    with pytest.raises(UsageError, match=rf"name one: --table {first.name} \| --table another"):
        export(export_config(here, lambdas=(0.0,)))
    with pytest.raises(UsageError, match=f"no finished front for table 'third'. It has: {first.name}, another"):
        export(export_config(here, lambdas=(0.0,), table="third"))
    (file,) = export(export_config(here, lambdas=(0.0,), table=first.name))
    assert file.folder.parent.name == first.name
