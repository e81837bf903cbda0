"""The stage `predict`: architectures by text, by file, by run or at random, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import Heard, contents, copied, front_in, profile_config, run_in

from latnas.data.randomness import generator
from latnas.errors import LatnasError, UsageError
from latnas.spaces.space import Space
from latnas.stages.common.tables import latency_of, listed, shipped_tables, space_of
from latnas.stages.predict import RANDOM, PredictConfig, predict
from latnas.stages.profile import profile
from latnas.words.architecture import Architecture
from latnas.words.costs import macs_cost
from latnas.words.front import load_front
from latnas.words.latency import LatencyModel
from latnas.words.table import load_table

SKIP = "none|none|none|skip_connect|none|none"
FULL = "nor_conv_3x3|nor_conv_3x3|nor_conv_3x3|nor_conv_3x3|nor_conv_3x3|nor_conv_3x3"
WITH_DEAD_PARTS = "nor_conv_3x3|none|none|skip_connect|none|none"
DISCONNECTED = "nor_conv_3x3|none|none|none|none|none"


def predict_config(folder: Path, **changes: Any) -> PredictConfig:
    """Looks for tables in `folder`/latency_tables and for runs in `folder`/runs."""
    places = {"tables": folder / "latency_tables", "runs": folder / "runs"}
    return PredictConfig(**{"data": "digits", **places, **changes})


def table_in(folder: Path) -> Path:
    (path,) = (folder / "latency_tables").glob("*.json")
    return path


@pytest.fixture(scope="module")
def known(small_table: Path) -> tuple[Space, LatencyModel]:
    """The space and the latency model of the small table."""
    table = load_table(table_in(small_table))
    space = space_of(table)
    return space, latency_of(table, space)


def written(path: Path, value: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


# What can be named


def test_an_architecture_by_its_items_has_the_table_s_prediction_and_the_sizes_of_its_network(
    small_table: Path, known: tuple[Space, LatencyModel]
) -> None:
    space, latency = known
    result = predict(predict_config(small_table, architecture=(SKIP, FULL)))
    assert result.table == load_table(table_in(small_table))
    assert [str(one.architecture) for one in result.networks] == [SKIP, FULL]
    for one in result.networks:
        network = space.derive(space.network(0), one.architecture)
        assert one.name == "given"
        assert one.latency_ms == latency.predict(one.architecture)
        assert one.latency_ms.low <= one.latency_ms.value <= one.latency_ms.high
        assert one.params == sum(parameter.numel() for parameter in network.parameters())
        assert one.macs == macs_cost(space.trace).cost(one.architecture)
    assert result.networks[0].latency_ms.value < result.networks[1].latency_ms.value


def test_blanks_around_items_do_not_matter(small_table: Path) -> None:
    (one,) = predict(predict_config(small_table, architecture=(SKIP.replace("|", " | "),))).networks
    assert str(one.architecture) == SKIP


def test_an_architecture_is_predicted_in_its_canonical_form(small_table: Path) -> None:
    result = predict(predict_config(small_table, architecture=(WITH_DEAD_PARTS, SKIP)))
    dead, live = result.networks
    assert dead == live and str(dead.architecture) == SKIP


def test_a_network_of_the_calibration_is_predicted_near_what_it_was_measured(small_table: Path) -> None:
    table = load_table(table_in(small_table))
    named = tuple(str(Architecture.from_json(entry.architecture)) for entry in table.calibration.networks)
    result = predict(predict_config(small_table, architecture=named))
    for one, entry in zip(result.networks, table.calibration.networks, strict=True):
        assert one.latency_ms.value == pytest.approx(entry.floor_ms * table.factor, rel=0.1)


def test_a_manifest_stands_for_the_network_that_was_exported(exported_run: Path) -> None:
    manifests = sorted(exported_run.glob("runs/*/exports/*/*/manifest.json"))
    manifests = [path for path in manifests if "latest" not in path.parts]
    result = predict(predict_config(exported_run, architecture=tuple(map(str, manifests))))
    assert len(result.networks) == len(manifests) == 2
    for one, path in zip(result.networks, manifests, strict=True):
        manifest = json.loads(path.read_text())
        assert one.name == path.parent.name
        assert one.architecture.to_json() == manifest["architecture"]
        assert one.latency_ms.model_dump() == manifest["predicted_ms"]
        assert (one.params, one.macs) == (manifest["params"], manifest["macs"])


def test_a_file_with_nothing_but_an_architecture_will_do(
    small_table: Path, tmp_path: Path, known: tuple[Space, LatencyModel]
) -> None:
    architecture = known[0].random(generator(3))
    named = written(tmp_path / "mine" / "network.json", architecture.to_json())
    (one,) = predict(predict_config(small_table, architecture=(named,))).networks
    assert (one.name, one.architecture) == ("mine", architecture)


def test_a_run_stands_for_the_choices_of_its_front(small_run: Path) -> None:
    front = load_front(front_in(small_run) / "front.json")
    for run in (run_in(small_run).name, str(run_in(small_run)), "latest"):
        result = predict(predict_config(small_run, run=run))
        assert [one.name for one in result.networks] == ["lambda 0.00", "lambda 1.00"]
        for one, choice in zip(result.networks, front.budgets, strict=True):
            network = front.networks[choice.network]
            assert one.architecture == network.as_architecture
            assert one.latency_ms == network.predicted_ms
            assert (one.params, one.macs) == (network.params, network.macs)


def test_a_run_and_a_table_of_another_space_do_not_go_together(small_run: Path) -> None:
    other = next(shipped_tables().glob("cpu-onnxruntime-mbconv-*.json"))
    with pytest.raises(UsageError, match="chose is no architecture of space 'mbconv'"):
        predict(predict_config(small_run, run=str(run_in(small_run)), table=other))
    with pytest.raises(UsageError, match="is a table of space 'mbconv', not 'darts'"):
        predict(predict_config(small_run, space="darts", table=other))


def test_a_run_brings_its_own_table_unless_another_is_named(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    table = json.loads(table_in(here).read_text())
    table_in(here).unlink()
    own = predict(predict_config(here, run="latest"))
    assert own.table == load_table(front_in(here) / "table.json")
    table["quote"], table["anchor"]["p90_factor"] = "p90", 3.0
    other = predict(predict_config(here, run="latest", table=Path(written(tmp_path / "other.json", table))))
    for one, before in zip(other.networks, own.networks, strict=True):
        assert one.architecture == before.architecture
        assert one.latency_ms.value == pytest.approx(3 * before.latency_ms.value)


def test_random_networks_are_canonical_and_follow_from_the_seed(
    small_table: Path, known: tuple[Space, LatencyModel]
) -> None:
    result = predict(predict_config(small_table, random=7))
    assert [one.name for one in result.networks] == ["random"] * 7
    assert all(known[0].is_canonical(one.architecture) for one in result.networks)
    assert predict(predict_config(small_table, random=7)) == result
    assert predict(predict_config(small_table, random=3)).networks == result.networks[:3]
    assert predict(predict_config(small_table, random=7, seed=1)).networks != result.networks


def test_where_nothing_is_named_a_few_random_networks_are_predicted(small_run: Path) -> None:
    assert len(predict(predict_config(small_run)).networks) == RANDOM
    assert len(predict(predict_config(small_run, architecture=(SKIP,))).networks) == 1
    assert len(predict(predict_config(small_run, run="latest")).networks) == 2


def test_all_that_is_named_is_predicted_in_one_order(small_run: Path) -> None:
    result = predict(predict_config(small_run, architecture=(SKIP,), run="latest", random=2))
    assert [one.name for one in result.networks] == ["given", "lambda 0.00", "lambda 1.00", "random", "random"]


def test_a_table_of_another_space_can_be_named(tmp_path: Path) -> None:
    path = profile(profile_config(tmp_path, space="mbconv")).path
    result = predict(predict_config(tmp_path / "elsewhere", table=path, random=3))
    assert result.table.space == "mbconv"
    assert {len(one.architecture.chosen) for one in result.networks} == {3}


def test_a_table_of_other_images_than_those_that_are_named_is_refused(small_table: Path) -> None:
    table = table_in(small_table)
    with pytest.raises(UsageError, match=r"is for 1x8x8 images with 10 classes; fashion-mini has 1x28x28"):
        predict(predict_config(small_table, table=table, data="fashion-mini", random=1))
    unnamed = PredictConfig(tables=small_table, runs=small_table, table=table, random=1)
    assert len(predict(unnamed).networks) == 1


def test_a_prediction_writes_nothing(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    before = contents(here)
    predict(predict_config(here, architecture=(SKIP,), run="latest", random=1))
    assert contents(here) == before


# A table that does not hold here


def test_a_table_of_another_machine_is_warned_of_and_used(small_table: Path, tmp_path: Path) -> None:
    table = json.loads(table_in(small_table).read_text())
    table["environment"]["host"] = "elsewhere"
    named, heard = Path(written(tmp_path / "t.json", table)), Heard()
    result = predict(predict_config(small_table, table=named, architecture=(SKIP,)), heard)
    (warning,) = heard.warned
    assert "was not measured under the conditions here" in warning and "'elsewhere'" in warning
    assert result.networks == predict(predict_config(small_table, architecture=(SKIP,))).networks


def test_a_table_of_this_machine_is_not_warned_of(small_table: Path) -> None:
    heard = Heard()
    predict(predict_config(small_table, random=1), heard)
    assert heard.warned == []


# What is refused


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("none|skip_connect", r"'none\|skip_connect' has 2 items, and space 'nasbench201' has 6 decisions"),
        ("", "'' has 1 items, and space 'nasbench201' has 6 decisions"),
        (f"{SKIP}|none", "has 7 items"),
        (SKIP.replace("skip_connect", "skip"), "no item 'skip'. Known: .* See its items: latnas spaces"),
        (DISCONNECTED, r"the network nor_conv_3x3\|.* does not connect its input to its output"),
        ("none|none|none|none|none|none", "does not connect its input to its output"),
        ("nowhere/manifest.json", "there is no file nowhere/manifest.json"),
    ],
    ids=["too few", "nothing", "too many", "unknown item", "disconnected", "all none", "no such file"],
)
def test_text_that_is_no_architecture_is_wrong_usage(small_table: Path, named: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predict(predict_config(small_table, architecture=(SKIP, named)))


def test_an_architecture_of_another_setting_is_wrong_usage(small_table: Path, tmp_path: Path) -> None:
    (known,) = predict(predict_config(small_table, architecture=(SKIP,))).networks
    value = {**known.architecture.to_json(), "setting": "192px"}
    named = written(tmp_path / "other.json", value)
    with pytest.raises(UsageError, match=r"no setting '192px'\. Known: default.*latnas spaces"):
        predict(predict_config(small_table, architecture=(str(named),)))


@pytest.mark.parametrize(
    "value",
    [{}, [], 3, None, {"architecture": 3}, {"architecture": {"items": {}}}, {"setting": "default"}, {"items": {}}],
    ids=str,
)
def test_json_without_an_architecture_is_refused_by_the_name_of_its_file(
    small_table: Path, tmp_path: Path, value: Any
) -> None:
    named = written(tmp_path / "manifest.json", value if value is not None else "null")
    with pytest.raises(LatnasError, match="holds no architecture") as caught:
        predict(predict_config(small_table, architecture=(named,)))
    assert named in str(caught.value)


def test_a_file_that_is_no_json_is_refused(small_table: Path, tmp_path: Path) -> None:
    named = written(tmp_path / "manifest.json", '{"architecture": ')
    with pytest.raises(LatnasError, match=r"manifest\.json is not valid JSON"):
        predict(predict_config(small_table, architecture=(named,)))


@pytest.mark.parametrize(
    "change",
    [
        lambda items: items.pop("0->1"),
        lambda items: items.update({"9->9": "none"}),
        lambda items: items.update({"0->1": "conv_7x7"}),
    ],
    ids=["a decision fewer", "a decision more", "an unknown item"],
)
def test_a_file_with_an_architecture_of_another_space_is_wrong_usage(
    small_table: Path, tmp_path: Path, known: tuple[Space, LatencyModel], change: Callable[[dict[str, str]], object]
) -> None:
    value = known[0].random(generator(0)).to_json()
    change(value["items"])
    named = written(tmp_path / "manifest.json", {"architecture": value})
    with pytest.raises(UsageError, match="is no architecture of space 'nasbench201'") as caught:
        predict(predict_config(small_table, architecture=(named,)))
    assert named in str(caught.value)


def test_a_search_that_is_not_finished_has_no_choices_yet(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    (front_in(here) / "front.json").unlink()
    with pytest.raises(UsageError, match=r"is not finished\. Go on: latnas search --resume"):
        predict(predict_config(here, run="latest"))


def test_a_run_that_is_not_there_is_refused(small_run: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no run 'mine'\. Runs in .*: nasbench201-"):
        predict(predict_config(small_run, run="mine"))


def test_a_damaged_front_is_refused(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    path = front_in(here) / "front.json"
    path.write_text(path.read_text()[:200])
    with pytest.raises(LatnasError, match=r"front\.json is not valid JSON"):
        predict(predict_config(here, run="latest"))


def test_of_another_host_it_is_said_what_a_container_needs() -> None:
    assert listed({"host": "was 'a' and is 'b'"}).endswith("(in a container, give it a fixed --hostname)")
    assert listed({"os": "was 'a' and is 'b'"}) == "os was 'a' and is 'b'"


def test_a_table_is_found_by_its_name_in_the_folder_of_tables(small_table: Path) -> None:
    path = table_in(small_table)
    assert predict(predict_config(small_table, table=Path(path.stem))).table == load_table(path)


def test_of_a_table_that_is_not_there_the_most_alike_names_are_told_and_can_be_typed(
    small_table: Path, tmp_path: Path
) -> None:
    here = copied(small_table, tmp_path / "here")
    path = table_in(here)
    for name in ("board", "cpu", "gpu-of-mine"):
        shutil.copy(path, path.with_name(f"{name}.json"))
    with pytest.raises(UsageError, match=r"there is no table analytic-nasbench201\. Tables in ") as caught:
        predict(predict_config(here, table=Path("analytic-nasbench201")))
    listed_names, _, after = str(caught.value).partition(f"Tables in {path.parent}: ")[2].partition(", and 1 more. ")
    assert after == f"Name one of them, or measure another: latnas profile --out {path.parent}"
    first, *others = listed_names.split(", ")
    assert first == path.stem and len(others) == 2
    assert predict(predict_config(here, table=Path(first))).table == load_table(path)


def test_without_a_table_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="or measure one: latnas profile"):
        predict(predict_config(tmp_path))
    with pytest.raises(UsageError) as caught:
        predict(predict_config(tmp_path, table=Path("t.json")))
    folder = tmp_path / "latency_tables"
    assert str(caught.value) == f"there is no table t.json. Measure one: latnas profile --out {folder}"


def test_of_several_tables_one_has_to_be_named(small_table: Path, tmp_path: Path) -> None:
    here = copied(small_table, tmp_path / "here")
    other = profile(profile_config(here, space="mbconv")).path
    with pytest.raises(UsageError, match="several tables fit; name one"):
        predict(predict_config(here))
    assert predict(predict_config(here, space="mbconv")).table.name == other.stem
    assert predict(predict_config(here, table=other)).table.name == other.stem


def test_a_manifest_alone_is_predicted_by_the_table_that_it_was_exported_by(exported_run: Path, tmp_path: Path) -> None:
    here = copied(exported_run, tmp_path / "here")
    (own,) = (here / "latency_tables").glob("*.json")
    profile(profile_config(here, data="fashion-mini"))
    manifest = sorted(run_in(here).glob("exports/*/*/manifest.json"))[0]
    unnamed = PredictConfig(architecture=(str(manifest),), tables=here / "latency_tables")
    for _ in range(2):
        result = predict(unnamed)
        assert result.table == load_table(front_in(here) / "table.json")
        assert result.networks[0].latency_ms.model_dump() == json.loads(manifest.read_text())["predicted_ms"]
        own.unlink(missing_ok=True)  # then that of the run counts
    assert predict(unnamed.model_copy(update={"architecture": (FULL,)})).table.options["image_size"] == 28


def test_a_run_is_not_predicted_for_other_images(small_run: Path) -> None:
    with pytest.raises(UsageError, match=r"is for 1x8x8 images with 10 classes; fashion-mini has 1x28x28"):
        predict(predict_config(small_run, run="latest", data="fashion-mini"))


def test_of_two_fronts_by_one_table_s_name_the_file_says_which_is_meant(small_run: Path, tmp_path: Path) -> None:
    here = copied(small_run, tmp_path / "here")
    own = front_in(here)
    other = Path(shutil.copytree(own, own.with_name(f"{own.name}-abc123")))
    table, front = (json.loads((other / name).read_text()) for name in ("table.json", "front.json"))
    table["created"] = "2026-01-01T00:00:00+00:00"
    front["budgets"] = front["budgets"][:1]
    for name, value in (("table.json", table), ("front.json", front)):
        (other / name).write_text(json.dumps(value))
    (other / "config.toml").touch()
    again = Path(written(tmp_path / "again.json", table))
    assert len(predict(predict_config(here, run="latest", table=again)).networks) == 1
    assert len(predict(predict_config(here, run="latest", table=own / "table.json")).networks) == 2
