"""`set.json` and the model card beside exported networks, and the page's own code."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small import Heard, contents, copied, export_config, front_in, run_in

from latnas.cli.schemas import FILES, write_schemas
from latnas.errors import LatnasError
from latnas.stages.export import export
from latnas.stages.export.form import Form
from latnas.stages.export.model_card import model_card
from latnas.training.trainer import Trainer
from latnas.words.budgets import format_ms
from latnas.words.export_set import SET, changed_files, exported_folders, exported_network, load_set
from latnas.words.limits import Amounts, Limits
from latnas.words.manifest import LimitsReached, Repeats, load_manifest
from latnas.words.table import load_table

ROOT = Path(__file__).parents[2]


def exports_in(folder: Path) -> Path:
    return run_in(folder) / "exports" / front_in(folder).name


def test_the_set_has_every_file_of_every_network_with_its_hash(exported_run: Path) -> None:
    exports = exports_in(exported_run)
    found = load_set(exports / SET)
    assert [one.budget_ms for one in found.networks] == sorted((n.budget_ms for n in found.networks), reverse=True)
    for one in found.networks:
        manifest = load_manifest(exports / one.folder / "manifest.json")
        assert (one.status, one.params, one.accuracy) == (manifest.status, manifest.params, manifest.accuracy.value)
        assert one.files["model.onnx"] == manifest.sha256
        for name, sha256 in one.files.items():
            assert hashlib.sha256((exports / one.folder / name).read_bytes()).hexdigest() == sha256
    assert {one.folder for one in found.networks} == {path.parent.name for path in exports.glob("*/manifest.json")}


def test_the_set_says_what_other_seeds_of_a_training_reached(exported_run: Path) -> None:
    (folder, manifest) = exported_folders(exports_in(exported_run))[0]
    repeats = Repeats(seeds=(0, 1, 2), values=(0.9, 0.8, 0.85), mean=0.85, low=0.726, high=0.974)
    assert exported_network(folder, manifest).repeats is None
    assert exported_network(folder, manifest.model_copy(update={"repeats": repeats})).repeats == repeats


def test_what_was_changed_since_is_named(exported_run: Path, tmp_path: Path) -> None:
    exports = exports_in(copied(exported_run, tmp_path / "here"))
    networks = load_set(exports / SET).networks
    assert changed_files(exports, networks) == []
    (exports / networks[0].folder / "model.onnx").write_bytes(b"another")
    (exports / networks[1].folder / "manifest.json").unlink()
    expected = [f"{networks[0].folder}/model.onnx", f"{networks[1].folder}/manifest.json"]
    assert changed_files(exports, networks) == expected


def test_a_file_of_someone_else_in_the_folder_of_an_export_is_no_part_of_it(exported_run: Path, tmp_path: Path) -> None:
    here = copied(exported_run, tmp_path / "here")
    exports = exports_in(here)
    before = load_set(exports / SET)
    loose, tight = before.networks
    (exports / loose.folder / "infer.log").write_text("one")
    stranger = {"infer.log": hashlib.sha256(b"another").hexdigest()}
    listed = loose.model_copy(update={"files": loose.files | stranger})
    before.model_copy(update={"networks": (listed, tight)}).save(exports / SET)
    assert changed_files(exports, [listed]) == [], "sets of before named it"
    export(export_config(here, lambdas=(1.0,)))
    assert load_set(exports / SET).networks[0] == loose


def test_a_later_export_joins_the_set_and_one_that_was_not_finished_is_no_part_of_it(
    exported_run: Path, tmp_path: Path
) -> None:
    here = copied(exported_run, tmp_path / "here")
    exports = exports_in(here)
    before = load_set(exports / SET)
    tight = before.networks[-1].folder
    shutil.rmtree(exports / tight)
    (exports / SET).unlink()
    (exports / "0.001ms").mkdir()
    (exports / "0.001ms" / "model.onnx").write_bytes(b"half")
    export(export_config(here, lambdas=(0.0,)))
    assert [one.folder for one in load_set(exports / SET).networks] == [n.folder for n in before.networks[:-1]]
    export(export_config(here, lambdas=(1.0,)))
    assert [one.folder for one in load_set(exports / SET).networks] == [n.folder for n in before.networks]


@pytest.mark.parametrize("lost", ["manifest.json", "model.onnx"])
def test_what_the_set_lists_and_is_not_there_whole_any_more_stays_listed_when_another_budget_is_exported(
    lost: str, exported_run: Path, tmp_path: Path
) -> None:
    here = copied(exported_run, tmp_path / "here")
    exports = exports_in(here)
    before = load_set(exports / SET).networks
    (exports / before[-1].folder / lost).unlink()
    export(export_config(here, lambdas=(0.0,)))
    after = load_set(exports / SET).networks
    assert [one.folder for one in after] == [one.folder for one in before] and after[-1] == before[-1]
    assert f"[{before[-1].folder}]" not in (exports / "README.md").read_text(encoding="utf-8")


def test_a_damaged_manifest_of_another_budget_is_told_of_before_any_training_and_its_own_command_mends_it(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = copied(exported_run, tmp_path / "here")
    exports = exports_in(here)
    tight = load_set(exports / SET).networks[-1].folder
    (exports / tight / "manifest.json").write_text("{")
    before = contents(here)
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "step", None)
        with pytest.raises(LatnasError, match=rf"{tight}/manifest\.json .* Export again by the command that made it"):
            export(export_config(here, lambdas=(0.0,), batch_size=512))
    assert contents(here) == before
    export(export_config(here, lambdas=(1.0,)))
    assert changed_files(exports, load_set(exports / SET).networks) == []


def test_a_set_that_was_damaged_is_written_anew_and_this_is_said(exported_run: Path, tmp_path: Path) -> None:
    here = copied(exported_run, tmp_path / "here")
    exports = exports_in(here)
    before = [one.folder for one in load_set(exports / SET).networks]
    (exports / SET).write_text("{")
    export(export_config(here, all=True), heard := Heard())
    assert f"{exports / SET} is damaged, and written anew: exports that were lost are not in it" in heard.warned
    assert [one.folder for one in load_set(exports / SET).networks] == before
    export(export_config(here, all=True), heard := Heard())
    assert not any("damaged" in line for line in heard.warned)


def test_the_card_has_a_row_for_each_network_and_its_code_runs_beside_it(exported_run: Path) -> None:
    exports = exports_in(exported_run)
    page = (exports / "README.md").read_text(encoding="utf-8")
    for folder, manifest in exported_folders(exports):
        (row,) = (line for line in page.splitlines() if line.startswith(f"| [{folder.name}]"))
        assert f"{manifest.accuracy.value:.1%}" in row and format_ms(manifest.budget_ms) in row
        assert "| computed, not measured |" in row
        assert manifest.status in row
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=exports, capture_output=True, text=True, check=True)
    names = json.loads(done.stdout.replace("'", '"'))
    assert len(names) == 4 and set(names) <= set(load_set(exports / SET).classes)


def test_the_card_says_how_many_networks_there_are_and_what_decided_them(exported_run: Path) -> None:
    exports, table = exports_in(exported_run), load_table(front_in(exported_run) / "table.json")
    (_, one), (_, other) = exported_folders(exports)[:2]
    repeats = Repeats(seeds=(0, 1, 2), values=(0.9, 0.8, 0.85), mean=0.85, low=0.726, high=0.974)
    limits = LimitsReached.of(Limits(params=60_000), Amounts(one.params, one.macs, 1, 1))
    changed = one.model_copy(
        update={"limits": limits, "repeats": repeats, "training": {**one.training, "patience": 3, "flip": True}}
    )
    found = load_set(exports / SET)
    found = found.model_copy(update={"networks": (*found.networks[:2], found.networks[0])})
    page = model_card(found, [changed, other, one], table)
    assert "3 files of 2 networks of the search space" in page
    (row,) = (line for line in page.splitlines() if "number of parameters 60,000" in line)
    assert "; 3 seeds: 85.0% (72.6% to 97.4%)" in row
    assert "mirrored left to right at random" in page and "weights of the epoch that was best on them ship" in page
    on_gpu = table.model_copy(update={"environment": {"cpu": "Some CPU", "gpu": "Some GPU"}})
    page = model_card(found.model_copy(update={"device": "cuda"}), [one, other, one], on_gpu)
    assert "device `cuda` (Some GPU)" in page and "limits beside the budget" not in page


def test_the_card_of_files_in_several_forms_says_what_each_takes_and_of_which_precision_its_prediction_is(
    exported_run: Path,
) -> None:
    exports, table = exports_in(exported_run), load_table(front_in(exported_run) / "table.json")
    (_, one), (_, other) = exported_folders(exports)[:2]
    found = load_set(exports / SET)
    first, second = found.networks[:2]
    form = Form("int8", "uint8", "nhwc")
    second = second.model_copy(update={"precision": "int8"})
    other = other.model_copy(update={"precision": "int8", "input": form.described(channels=1, size=8)})
    page = model_card(found.model_copy(update={"networks": (first, second)}), [one, other], table)
    head, _, plain, packed = (line for line in page.splitlines() if line.startswith("|"))
    assert head.endswith("| file | input |")
    assert plain.endswith("| float NCHW |") and f"| {format_ms(first.predicted_ms)} |" in plain
    assert packed.endswith("| uint8 NHWC |") and f"| {format_ms(second.predicted_ms)} in fp32 |" in packed
    assert "| input |" not in (exports / "README.md").read_text(encoding="utf-8")


def test_the_card_says_which_latencies_were_measured_and_which_computed(exported_run: Path) -> None:
    exports, table = exports_in(exported_run), load_table(front_in(exported_run) / "table.json")
    found, manifests = load_set(exports / SET), [manifest for _, manifest in exported_folders(exports)]
    computed = model_card(found, manifests, table)
    assert "Latencies are computed, not measured, for a batch of 1 on one thread" in computed
    assert "calm device" not in computed and "at hand" not in computed
    measured = model_card(found, manifests, table.model_copy(update={"measures": "onnx"}))
    assert "computed" not in measured and "`unverified` that the device was not at hand" in measured
    assert f"| {format_ms(found.networks[0].measured_ms or 0)} | unverified |" in measured


def test_the_card_has_the_time_that_budgets_go_by_where_the_device_was_faster_than_for_the_table(
    exported_run: Path,
) -> None:
    exports, table = exports_in(exported_run), load_table(front_in(exported_run) / "table.json")
    found, measured = load_set(exports / SET), table.model_copy(update={"measures": "onnx"})
    (_, one), (_, other) = exported_folders(exports)
    assert one.measured_ms is not None and other.measured_ms is not None
    page = model_card(found, [one.model_copy(update={"anchor_drift": 0.5}), other], measured)
    first, second = format_ms(one.measured_ms.p50), format_ms(2 * one.measured_ms.p50)
    assert f"| {first}; {second} at the table's speed |" in page and f"| {format_ms(other.measured_ms.p50)} |" in page
    assert "budgets go by this one" in page
    assert "table's speed" not in model_card(found, [one.model_copy(update={"anchor_drift": 1.5}), other], measured)


def test_the_card_speaks_of_one_as_of_one_and_says_whether_trainings_were_repeated(exported_run: Path) -> None:
    exports, table = exports_in(exported_run), load_table(front_in(exported_run) / "table.json")
    (_, manifest) = exported_folders(exports)[0]
    found = load_set(exports / SET)
    found = found.model_copy(update={"networks": found.networks[:1]})
    page = model_card(found, [manifest], table)
    assert page.splitlines()[2].startswith("1 file of the search space") and "It tells 10 classes apart" in page
    assert manifest.training["epochs"] == 1 and "- 1 epoch (" in page
    assert "That was not looked at: `latnas export --seeds 3`" in page
    repeats = Repeats(seeds=(0, 1), values=(0.9, 0.8), mean=0.85, low=0.2, high=1.0)
    page = model_card(found, [manifest.model_copy(update={"repeats": repeats})], table)
    assert "; 2 seeds: 90.0%, 80.0%" in page and "where from two, what both reached" in page
    assert "their mean stands beside it" in page and "That was not looked at" not in page


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": "latnas-set-1"}', '{"schema": "latnas-set-9"}', "\0"])
def test_a_set_that_is_none_is_refused_with_what_to_type(tmp_path: Path, text: str) -> None:
    (tmp_path / SET).write_text(text)
    with pytest.raises(LatnasError, match=r"set\.json"):
        load_set(tmp_path / SET)


def test_the_published_schemas_are_those_of_the_code(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    published = {path.name: path.read_text() for path in (ROOT / "docs" / "schemas").iterdir()}
    assert published == {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert published.keys() == {f"{name}.json" for name in FILES}


def test_files_beside_the_model_that_were_damaged_or_lost_are_made_again_and_never_become_the_exported_ones(
    exported_run: Path, tmp_path: Path
) -> None:
    here = copied(exported_run, tmp_path / "here")
    exports = exports_in(here)
    loose = load_set(exports / SET).networks[0].folder
    (exports / loose / "model.py").unlink()
    (exports / loose / "weights.safetensors").write_bytes(b"broken")
    lost = [f"{loose}/model.py", f"{loose}/weights.safetensors"]
    export(export_config(here, lambdas=(1.0,)))
    found = changed_files(exports, load_set(exports / SET).networks)
    assert sorted(found) == lost, "the export of another budget hides nothing"
    export(export_config(here, lambdas=(0.0,)))
    assert changed_files(exports, load_set(exports / SET).networks) == []
    for name in ("model.py", "weights.safetensors"):
        folder = exports_in(exported_run) / loose
        assert (exports / loose / name).read_bytes() == (folder / name).read_bytes()
