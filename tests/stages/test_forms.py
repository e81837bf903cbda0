"""The forms in which a network ships: precision, and what its input looks like."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import shutil
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from small import (
    EXPORT,
    Heard,
    TwoByTwo,
    as_typed,
    copied,
    export_config,
    front_in,
    latnas,
    profile_config,
    quick_search,
    run_in,
    search_config,
)
from torch import nn

from latnas.data.batches import to_unit
from latnas.data.images import ImageData, LabelledImages
from latnas.data.sources import load_images
from latnas.data.splits import Splits, splits_of
from latnas.errors import FAILED, TARGET_MISSED, LatnasError, TargetMissedError, UsageError
from latnas.latency import onnx_export
from latnas.latency.onnx_export import export_for_measuring
from latnas.latency.profiler import Profiler, RunSettings
from latnas.latency.workload import Workload
from latnas.spaces import space as space_module
from latnas.spaces.space import SpaceKind, make_space
from latnas.stages.common.runs import RunFolder
from latnas.stages.export import ExportedFile, RefusedError, export, final_training, packing, stage
from latnas.stages.export.form import PLAIN, Form, WithInput
from latnas.stages.export.onnx_file import accuracy_of_file, check_against_torch, export_onnx
from latnas.stages.export.packing import in_int8
from latnas.stages.profile import profile
from latnas.training.trainer import Trainer
from latnas.words.export_set import SET, changed_files, load_set
from latnas.words.manifest import load_manifest
from latnas.words.table import load_table
from latnas_profilers.ort import OrtPlugin, OrtProfiler

FORMS = [Form(*one) for one in product(("fp32", "fp16", "int8"), ("float", "uint8"), ("nchw", "nhwc"))]  # type: ignore[arg-type]
PREPARE = OrtProfiler.prepare
INT8 = {"reduce_range": True, "seed": 0}


def operations(file: bytes) -> list[str]:
    """What a runtime runs: constants and identities are dropped when it loads the file."""
    nodes = onnx.load_from_string(file).graph.node
    return sorted(node.op_type for node in nodes if node.op_type not in ("Constant", "Identity"))


def run(file: bytes, images: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return np.asarray(logits)


def some_images(count: int = 6) -> torch.Tensor:
    """uint8."""
    return torch.randint(0, 256, (count, 2, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    space = make_space("nasbench201", image_size=8, channels=2, classes=3, width=4, depth=1)
    derived = space.derive(space.network(0), space.random(torch.Generator().manual_seed(2)))
    derived.normalise.set_statistics(torch.tensor([0.3, 0.5]), torch.tensor([0.2, 0.4]))
    return derived.eval()


@pytest.mark.parametrize("form", [form for form in FORMS if form.precision == "fp32"], ids=str)
def test_a_file_takes_images_in_the_form_that_was_asked_for(network: nn.Module, form: Form) -> None:
    file = form.with_input(export_for_measuring(network, (torch.zeros(6, 2, 8, 8),)))
    images = to_unit(some_images())
    given = form.input_of(images)
    expected = some_images() if form.type == "uint8" else images
    assert torch.equal(given, expected if form.layout == "nchw" else expected.movedim(1, 3))
    with torch.no_grad():
        logits = network(images).numpy()
        assert np.allclose(WithInput(network, form)(given).numpy(), logits, atol=1e-5)
    assert np.allclose(run(file, given), logits, atol=1e-5)
    onnx.checker.check_model(onnx.load_from_string(file), full_check=True)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_finalist_is_measured_in_the_form_in_which_it_would_ship(form: Form) -> None:
    space = make_space("nasbench201", image_size=8, channels=2, classes=3, width=4, depth=1)
    derived = space.derive(space.network(0), space.random(torch.Generator().manual_seed(2)))
    workload = form.finalist(derived, space, batch=1, takes_files=True)
    kinds = operations(workload.onnx())
    assert (kinds.count("Transpose"), "QuantizeLinear" in kinds) == (form.layout == "nhwc", form.precision == "int8")
    assert run(workload.onnx(), workload.example[0]).shape == (1, 3)
    onnx.checker.check_model(onnx.load_from_string(workload.onnx()), full_check=True)
    module = form.finalist(derived, space, batch=1, takes_files=False)
    assert module.module(*module.example).shape == (1, 3)


def test_times_of_different_forms_have_different_names_in_the_log() -> None:
    names = {form.called("untrained module") for form in FORMS}
    assert len(names) == len(FORMS)
    assert PLAIN.called("untrained module") == "untrained module"


def dark_and_bright() -> ImageData:
    """Images of one grey each, class 1 where it is bright."""
    grey = torch.arange(0, 240)
    images = grey.reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8).to(torch.uint8).contiguous()
    labelled = LabelledImages(images, (grey >= 120).long())
    return ImageData("greys", labelled, labelled, ("dark", "bright"))


def small_beside_large(large: float) -> bytes:
    """Tells dark from bright by a channel beside one that is `large` times as large."""
    arrays = {
        "weight": np.array([1.0, large], np.float32).reshape(2, 1, 1, 1),
        "head": np.array([[0.0, 0.0], [255.0, 0.0]], np.float32),
        "bias": np.array([119.5, 0.0], np.float32),
        "axes": np.array([2, 3], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["both"], name="conv"),
        helper.make_node("ReduceMean", ["both", "axes"], ["mean"], name="mean", keepdims=0),
        helper.make_node("Gemm", ["mean", "head", "bias"], ["logits"], name="head", transB=1),
    ]
    graph = helper.make_graph(
        nodes, "greys",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def test_int8_that_costs_little_is_kept_and_says_what_it_cost() -> None:
    data = dark_and_bright()
    file = small_beside_large(1.0)
    made, quantised = in_int8(file, data, {**INT8, "tolerance": 5.0}, "a|b")
    assert (quantised.before, quantised.split, quantised.in_float) == (1.0, "select", {})
    assert quantised.after >= 0.95
    assert accuracy_of_file(file, PLAIN, data.test).value == 1.0
    assert accuracy_of_file(made, PLAIN, data.test).value >= 0.95


def test_int8_that_costs_more_than_it_may_is_refused_with_the_figures() -> None:
    with pytest.raises(TargetMissedError, match=r"loses 50 percent.*100\.00% before, 50\.00% after") as error:
        in_int8(small_beside_large(1e5), dark_and_bright(), {**INT8, "tolerance": 49.0}, "a|b")
    assert error.value.code == TARGET_MISSED
    _, quantised = in_int8(small_beside_large(1e5), dark_and_bright(), {**INT8, "tolerance": 50.0}, "a|b")
    assert quantised.after == 0.5


def test_a_network_without_weights_cannot_be_had_in_int8() -> None:
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, 8, 8])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1, 8, 8])
    graph = helper.make_graph([helper.make_node("Sin", ["images"], ["logits"])], "sine", [given], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(LatnasError, match=r"nothing of a\|b can be .* in int8: it has no operations with weights"):
        in_int8(model.SerializeToString(), dark_and_bright(), {**INT8, "tolerance": 1.0}, "a|b")


def test_another_network_than_the_file_s_is_found_in_fp32_and_fp16_and_reported_in_int8(network: nn.Module) -> None:
    file = export_for_measuring(network, (torch.zeros(1, 2, 8, 8),))
    images = to_unit(some_images(1))
    assert check_against_torch(file, network, images).same_class == 1.0
    other = make_space("nasbench201", image_size=8, channels=2, classes=3, width=4, depth=1).network(5)
    space = make_space("nasbench201", image_size=8, channels=2, classes=3, width=4, depth=1)
    stranger = space.derive(other, space.random(torch.Generator().manual_seed(9))).eval()
    for form in (PLAIN, Form("fp16")):
        with pytest.raises(TargetMissedError, match="does not compute what the network computes"):
            check_against_torch(file, stranger, images, form)
    assert check_against_torch(file, stranger, images, Form("int8")).largest_difference > 0.02


def test_a_network_over_two_gigabytes_is_refused_before_it_is_exported() -> None:
    with pytest.raises(LatnasError, match=r"weights take 2\.41 GB.*latnas search --max-size 2GB"):
        export_onnx(nn.Linear(30_000, 20_000, device="meta"), torch.zeros(1, 30_000), {})
    with pytest.raises(LatnasError, match=r"weights take 2\.41 GB, and one ONNX file holds 2 GB at most"):
        Workload(nn.Linear(30_000, 20_000, device="meta"), torch.zeros(1, 30_000)).onnx()


def test_a_network_that_no_file_holds_is_refused_before_it_is_trained_and_earlier_exports_stay(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in (run_in(here) / "exports").glob("*/*ms*/*")}
    monkeypatch.setattr(onnx_export, "MOST_BYTES", 5_000)
    monkeypatch.setattr(Trainer, "step", None)
    typed = latnas("export", "--lambda", "0", *as_typed({**EXPORT, "epochs": 2}))
    assert (typed.code, typed.raised) == (FAILED, None)
    assert "one ONNX file holds 2 GB at most. Search within less: latnas search --max-size 2GB" in typed.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_what_cannot_be_had_in_int8_is_refused_on_the_command_line_and_earlier_exports_stay(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quantisation that changes nothing stands for a space whose operations it does not know."""
    before = {path: path.read_bytes() for path in (run_in(here) / "exports").glob("*/*ms*/*")}
    monkeypatch.setattr(packing, "quantise", lambda file, feeds, reduce_range: file)
    typed = latnas("export", "--lambda", "0", *as_typed(EXPORT), "--int8")
    assert (typed.code, typed.raised) == (FAILED, None)
    assert "can be computed in int8: it has " in typed.stderr and "Leave --int8 out." in typed.stderr
    after = {path: path.read_bytes() for path in (run_in(here) / "exports").glob("*/*ms*/*")}
    assert after == before


@pytest.mark.parametrize(
    ("form", "name", "spoilt"),
    [
        ("int8", "in_int8", lambda file, data, config, network: (file, data, {**config, "tolerance": -101.0}, network)),
        ("fp16", "check_against_torch", lambda file, network, images, form: (file, network, math.inf * images, form)),
    ],
)
def test_a_network_that_is_refused_in_a_form_leaves_those_of_other_budgets_alone(
    form: str, name: str, spoilt: Callable[..., Any], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if int8 had to make one better, and what one computes were infinite: the loosest budget's, packed first."""
    exports = run_in(here) / "exports" / front_in(here).name
    loose, tight = (f"{one.folder}-{form}" for one in load_set(exports / SET).networks)
    real, calls = getattr(packing, name), list[int]()
    words = ["export", "--all", *as_typed(EXPORT), f"--{form}", "--int8-tolerance", "100", "--quiet"]
    with monkeypatch.context() as patched:
        patched.setattr(packing, name, lambda *given: real(*(given if calls else calls.append(1) or spoilt(*given))))
        typed = latnas(*words, "--json")
    assert (typed.code, typed.raised) == (TARGET_MISSED, None)
    assert f"latnas: {loose}: " in typed.stderr and f"eave --{form} out." in typed.stderr and tight not in typed.stderr
    assert ("% before, " in typed.stderr) == (form == "int8")
    assert [Path(one["folder"]).name for one in json.loads(typed.stdout)["exports"]] == [tight]
    networks = load_set(exports / SET).networks
    assert not (exports / loose).exists() and tight in {one.folder for one in networks}
    assert changed_files(exports, networks) == []
    assert latnas(*words).code == 0 and (exports / loose / "model.onnx").exists(), "a refusal is looked at again"


def test_where_every_network_is_refused_no_file_is_written_and_each_budget_is_named(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = copied(small_run, tmp_path / "here")
    monkeypatch.setattr(packing, "ROUNDING", -101.0)
    with pytest.raises(RefusedError, match=r"ms-int8.*ms-int8.*--int8-tolerance allows 1\. It was not") as error:
        export(export_config(here, all=True, int8=True))
    assert error.value.files == [] and not list(run_in(here).glob("exports/*/*.json"))
    assert not list(run_in(here).glob("exports/*/*-int8"))


@pytest.mark.parametrize(
    ("elsewhere", "vnni", "reduced"), [(None, True, False), (None, False, True), ("host another", True, True)]
)
def test_weights_of_an_int8_file_take_7_bits_unless_this_processor_has_vnni_and_is_the_table_s(
    elsewhere: str | None, vnni: bool, reduced: bool, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "presence", lambda table: (elsewhere, {}))
    monkeypatch.setattr(packing, "has_vnni", lambda: vnni)
    (file,) = export(export_config(here, lambdas=(0.5,), int8=True, int8_tolerance=100.0))
    assert file.manifest.quantised is not None and file.manifest.quantised.reduce_range == reduced
    model = onnx.load(file.onnx)
    weights = [numpy_helper.to_array(one) for one in model.graph.initializer if one.name.endswith("weight_quantized")]
    assert weights and all(int(np.abs(one.astype(int)).max()) <= 64 for one in weights) == reduced


@pytest.fixture(scope="module")
def formed(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportedFile]:
    """One budget in several forms, in one run."""
    folder = copied(small_run, tmp_path_factory.mktemp("formed") / "here")
    wanted: dict[str, dict[str, Any]] = {
        "plain": {},
        "int8": {"int8": True, "int8_tolerance": 100.0, "input": "uint8", "layout": "nhwc"},
        "fp16": {"fp16": True},
    }
    return {name: export(export_config(folder, lambdas=(0.5,), **form))[0] for name, form in wanted.items()}


def test_each_form_has_a_folder_of_its_own_and_one_training_serves_all(formed: dict[str, ExportedFile]) -> None:
    names = {name: file.folder.name for name, file in formed.items()}
    assert (names["int8"], names["fp16"]) == (f"{names['plain']}-int8-uint8-nhwc", f"{names['plain']}-fp16")
    assert len(list(formed["plain"].folder.parent.glob(".trainings/*/result.json"))) == 1
    for file in formed.values():
        assert load_manifest(file.folder / "manifest.json") == file.manifest
        assert hashlib.sha256(file.onnx.read_bytes()).hexdigest() == file.manifest.sha256


def test_the_manifest_and_the_file_say_the_form(formed: dict[str, ExportedFile]) -> None:
    manifests = {name: file.manifest for name, file in formed.items()}
    assert [manifests[name].precision for name in ("plain", "int8", "fp16")] == ["fp32", "int8", "fp16"]
    assert manifests["plain"].input == {
        "name": "images", "shape": ["N", 1, 8, 8], "range": [0, 1], "type": "float32", "layout": "nchw",
    }  # fmt: skip
    assert manifests["int8"].input == {
        "name": "images", "shape": ["N", 8, 8, 1], "range": [0, 255], "type": "uint8", "layout": "nhwc",
    }  # fmt: skip
    assert Form.of(manifests["int8"]) == Form("int8", "uint8", "nhwc")
    session = onnxruntime.InferenceSession(formed["int8"].onnx, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.type, given.shape[1:]) == ("tensor(uint8)", [8, 8, 1])
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["latnas.input"] == "images [N, H, W, C], uint8 in [0, 255]"
    assert (metadata["latnas.layout"], metadata["latnas.precision"]) == ("nhwc", "int8")
    assert (manifests["plain"].quantised, manifests["fp16"].quantised) == (None, None)


def test_the_accuracy_in_the_manifest_is_that_of_the_very_file(formed: dict[str, ExportedFile]) -> None:
    test = load_images("digits").test
    for file in formed.values():
        given = Form.of(file.manifest).input_of(to_unit(test.images[:]))
        reached = float((run(file.onnx.read_bytes(), given).argmax(1) == test.labels.numpy()).mean())
        assert file.manifest.accuracy.value == pytest.approx(reached)


def test_model_py_computes_what_the_files_compute(formed: dict[str, ExportedFile]) -> None:
    images = to_unit(load_images("digits").test.images[:20])
    for name, most in (("plain", 1e-4), ("fp16", 2e-2)):
        file = formed[name]
        spec = importlib.util.spec_from_file_location("model", file.folder / "model.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with torch.no_grad():
            logits = module.load().eval()(images).numpy()
        assert np.abs(logits - run(file.onnx.read_bytes(), images)).max() <= most * np.abs(logits).max()
        assert list(module.CLASSES) == list(file.manifest.classes)
        assert file.manifest.standalone is None


def test_the_same_network_packed_again_elsewhere_gives_the_same_bytes(
    formed: dict[str, ExportedFile], tmp_path: Path
) -> None:
    file = formed["int8"]
    folder = copied(file.folder.parents[4], tmp_path / "there")
    for packed in run_in(folder).glob("exports/*/.trainings/*/*/"):
        shutil.rmtree(packed)
    there = folder / file.folder.relative_to(file.folder.parents[4])
    shutil.rmtree(there)
    export(export_config(folder, lambdas=(0.5,), int8=True, int8_tolerance=100.0, input="uint8", layout="nhwc"))
    for name in ("model.onnx", "model.py", "weights.safetensors"):
        assert (there / name).read_bytes() == (file.folder / name).read_bytes()


def test_an_int8_export_leaves_those_of_other_precisions_alone(here: Path) -> None:
    before = {path: path.read_bytes() for path in (run_in(here) / "exports").glob("*/*ms*/*")}
    typed = latnas("export", "--lambda", "0", *as_typed(EXPORT), "--int8", "--int8-tolerance", "100")
    assert (typed.code, typed.raised) == (0, None)
    assert {path: path.read_bytes() for path in before} == before
    assert len(list((run_in(here) / "exports").glob("*/*-int8/model.onnx"))) == 1


def test_int8_is_judged_on_the_images_that_the_training_has_held_out(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inherited weights go by the split of the search, whatever the seed of the export."""
    searched = RunFolder(run_in(here)).read_config()["seed"]
    asked: list[tuple[str, int]] = []

    def noted(who: str, data: ImageData, seed: int) -> Splits:
        asked.append((who, seed))
        return splits_of(data, seed)

    for module in (final_training, packing):
        monkeypatch.setattr(module, "splits_of", partial(noted, module.__name__))
    options = {"init": "supernet", "patience": 1, "seed": searched + 1, "int8": True, "int8_tolerance": 100.0}
    export(export_config(here, lambdas=(1.0,), **options))
    assert {who for who, _ in asked} == {final_training.__name__, packing.__name__}
    assert {seed for who, seed in asked if who == packing.__name__} == {searched}


def test_one_file_is_of_one_precision() -> None:
    with pytest.raises(UsageError, match="name --int8 or --fp16"):
        export_config(Path(), lambdas=(0.5,), int8=True, fp16=True)


def test_a_table_of_modules_cannot_promise_an_int8_file(here: Path) -> None:
    path = front_in(here) / "table.json"
    load_table(path).model_copy(update={"measures": "torch", "runtime": "torch"}).save(path)
    with pytest.raises(UsageError, match="runs PyTorch modules") as caught:
        export(export_config(here, lambdas=(0.5,), int8=True))
    assert str(caught.value).endswith(
        "latnas profile --device analytic --runtime onnxruntime --space nasbench201 --width 4 --depth 1 --data digits "
        "--precision int8"
    )


def test_a_precision_that_the_runtime_refuses_with_the_settings_of_its_table_is_refused_before_any_training(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As TensorRT refuses int8, which takes a GPU."""
    real = OrtPlugin.open

    def refuses_int8(plugin: OrtPlugin, device: str, settings: RunSettings) -> Profiler:
        if settings.precision == "int8":
            raise UsageError("this provider runs no int8.")
        return real(plugin, device, settings)

    path = front_in(here) / "table.json"
    load_table(path).model_copy(update={"measures": "onnx", "device": "cpu", "runtime": "onnxruntime"}).save(path)
    monkeypatch.setattr(OrtPlugin, "open", refuses_int8)
    monkeypatch.setattr(stage, "derive", None)
    monkeypatch.setattr(stage, "presence", lambda table: (None, {}))
    heard = Heard()
    with pytest.raises(UsageError, match=r"--int8 makes files that .* is no table for: this provider runs no int8\.$"):
        export(export_config(here, lambdas=(0.5,), int8=True), heard)
    assert not any("--precision int8" in text for text in heard.warned)


def test_with_a_table_in_int8_networks_are_searched_chosen_and_shipped_in_int8(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime loads and runs every file, and what that takes is made up: a millisecond a thousand weights."""

    class MadeUp:
        def __init__(self, profiler: OrtProfiler, workload: Workload) -> None:
            assert PREPARE(profiler, workload).run(1) > 0
            weights = onnx.load_from_string(workload.onnx("int8")).graph.initializer
            self.seconds = 1e-6 * (20 + sum(math.prod(weight.dims) for weight in weights))

        def run(self, n: int) -> float:
            return n * self.seconds

    monkeypatch.setattr(OrtProfiler, "prepare", lambda profiler, workload: MadeUp(profiler, workload))
    monkeypatch.setattr(space_module, "SPACES", {"own": SpaceKind(TwoByTwo, 4, 1, "four networks")})
    table = profile(profile_config(tmp_path, device="cpu", precision="int8", space="own")).table
    quick_search(search_config(tmp_path))
    heard = Heard()
    (file,) = export(export_config(tmp_path, lambdas=(0.0,), int8=True, int8_tolerance=100.0), heard)
    assert (
        file.manifest.precision == table.precision == load_table(front_in(tmp_path) / "table.json").precision == "int8"
    )
    log = [json.loads(line) for line in (file.folder.parent / "measurements.jsonl").read_text().splitlines()]
    assert {line["what"] for line in log} == {"untrained module, int8", "shipped file, int8"}
    assert {operator.op_type for operator in onnx.load(file.onnx).graph.node} > {"QuantizeLinear", "DequantizeLinear"}
    assert not any("is of int8" in text for text in heard.warned)
    assert "onnxruntime" not in capfd.readouterr().err


def test_files_of_another_precision_than_the_table_s_are_made_with_a_warning_that_says_which_table_to_measure(
    here: Path,
) -> None:
    path = front_in(here) / "table.json"
    of_runtime = load_table(path).model_copy(
        update={"measures": "onnx", "device": "cpu", "runtime": "onnxruntime", "threads": 2}
    )
    of_runtime.save(path)
    profiled = "latnas profile --device cpu --runtime onnxruntime --space nasbench201 --width 4 --depth 1 --data digits"
    heard = Heard()
    export(export_config(here, lambdas=(1.0,), epochs=0, fp16=True), heard)
    assert any(
        "is of fp32" in text and text.endswith(f"a table of it: {profiled} --threads 2 --precision fp16")
        for text in heard.warned
    )
    of_runtime.model_copy(update={"precision": "int8"}).save(path)
    heard = Heard()
    export(export_config(here, lambdas=(1.0,), epochs=0), heard)
    assert any(text.endswith(f"a table of it: {profiled} --threads 2, or export it: --int8") for text in heard.warned)


def test_files_of_another_precision_than_that_of_a_computed_table_are_not_said_to_be_measured(here: Path) -> None:
    heard = Heard()
    export(export_config(here, lambdas=(1.0,), epochs=0, fp16=True), heard)
    (told,) = (text for text in heard.warned if "will be in fp16" in text)
    assert told.endswith(": what is computed for them is that of networks in fp32")
