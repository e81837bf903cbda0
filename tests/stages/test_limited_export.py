"""Limits that an export adds: a file for each number of parameters, chosen from what the search has scored."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import Heard, copied, export_config, front_in, judged_in

from latnas.errors import UsageError
from latnas.spaces.space import Space
from latnas.stages.export import export
from latnas.stages.export.targets import make_targets
from latnas.words.architecture import Architecture
from latnas.words.front import Front
from latnas.words.latency import LatencyModel
from latnas.words.limits import Limits


@pytest.fixture(scope="module")
def searched(small_run: Path) -> tuple[Front, Space, LatencyModel]:
    return judged_in(small_run)


@pytest.fixture(scope="module")
def sizes(searched: tuple[Front, Space, LatencyModel]) -> list[int]:
    """The distinct numbers of parameters of all that was scored, rising."""
    return sorted({network.params for network in searched[0].networks})


def test_each_number_of_parameters_gets_the_best_scored_network_within_it_at_any_latency(
    small_run: Path, searched: tuple[Front, Space, LatencyModel], sizes: list[int], tmp_path: Path
) -> None:
    folder = copied(small_run, tmp_path / "here")
    heard = Heard()
    asked = (sizes[0], sizes[len(sizes) // 2])
    files = export(export_config(folder, max_params=asked, epochs=0), heard)
    loosest = files[0].folder.name.partition("-")[0]
    assert [file.folder.name for file in files] == [f"{loosest}-max-params-{most}" for most in asked]
    for most, file in zip(asked, files, strict=True):
        fitting = [network for network in searched[0].networks if network.params <= most]
        best = max(fitting, key=lambda network: (network.score.value, -network.predicted_ms.value))
        assert Architecture.from_json(file.manifest.architecture) == best.as_architecture
        assert file.manifest.limits is not None and file.manifest.limits.params.most == most
        assert file.manifest.params <= most and file.manifest.lam == 0
        assert f"the search scored {len(fitting)} of its {len(searched[0].networks)}" in " ".join(heard.said)
    assert files[0].manifest.recipe_digest != files[1].manifest.recipe_digest


def test_limits_apply_within_each_budget_and_to_the_baselines_too(
    searched: tuple[Front, Space, LatencyModel], sizes: list[int], tmp_path: Path
) -> None:
    front, space, latency = searched
    config = export_config(tmp_path, all=True, max_params=(sizes[1], sizes[-2]), max_macs="10G", baselines=True)
    targets = make_targets(config, front, space, latency, certain=False)
    assert len(targets) == len({target.folder for target in targets}) == 3 * 2 * len(front.budgets)
    for target in targets:
        assert target.limits == Limits(params=target.limits.params, macs=10**10)
        assert target.candidates
        assert all(space.amounts(one).params <= (target.limits.params or 0) for one in target.candidates)


def test_the_run_s_own_limits_stay_beside_those_of_an_export(
    searched: tuple[Front, Space, LatencyModel], sizes: list[int], tmp_path: Path
) -> None:
    front, space, latency = searched
    own = space.limited(Limits(params=sizes[1], macs=10**9), space.metadata_bytes)
    config = export_config(tmp_path, max_params=(sizes[-1],))
    (target,) = make_targets(config, front, own, latency, certain=False)
    assert target.space.limits == Limits(params=sizes[1], macs=10**9)
    assert all(space.amounts(one).params <= sizes[1] for one in target.candidates)


def test_a_limit_below_every_network_is_refused_with_the_smallest_value_and_the_command(small_run: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"the smallest number of parameters is [\d,]+\. Keep the other.* type: latnas export ",
    ) as caught:
        export(export_config(small_run, max_params=("1",)))
    least = int(str(caught.value).rpartition("--max-params ")[2])
    config = export_config(small_run, max_params=(least,))
    assert config.limits == (Limits(params=least),)
    with pytest.raises(UsageError):
        export(export_config(small_run, max_params=(least - 1,)))


def test_where_the_search_scored_nothing_within_a_limit_the_largest_within_it_is_taken_with_a_warning(
    small_run: Path, searched: tuple[Front, Space, LatencyModel], sizes: list[int], tmp_path: Path
) -> None:
    front, space, _ = searched
    folder = copied(small_run, tmp_path / "here")
    large = tuple(network for network in front.networks if network.params > sizes[len(sizes) // 2])
    choices = tuple(choice.model_copy(update={"network": 0}) for choice in front.budgets)
    kept = front.model_copy(update={"networks": large, "pareto": (0,), "budgets": choices})
    kept.save(front_in(folder) / "front.json")
    heard = Heard()
    (file,) = export(export_config(folder, max_params=(sizes[0],), epochs=0), heard)
    assert file.manifest.params <= sizes[0]
    assert space.allows(Architecture.from_json(file.manifest.architecture))
    assert any(f"latnas search --max-params {sizes[0]}" in text for text in heard.warned)
