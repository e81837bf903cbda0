"""Flag over environment over file over default; and messages that say which of them was wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from small import latnas

from latnas.cli.layers import resolve
from latnas.errors import LatnasError, UsageError
from latnas.stages.export import ExportConfig, VerifyConfig
from latnas.stages.plan import PlanConfig
from latnas.stages.predict import PredictConfig
from latnas.stages.profile import ProfileConfig
from latnas.stages.search import SearchConfig

ROOT = Path(__file__).parents[2]
CONFIGS: dict[str, type[BaseModel]] = {
    "profile": ProfileConfig, "plan": PlanConfig, "predict": PredictConfig, "search": SearchConfig,
    "export": ExportConfig, "verify": VerifyConfig,
}  # fmt: skip


def written(folder: Path, text: str) -> Path:
    path = folder / "latnas.toml"
    path.write_text(text)
    return path


def test_what_nobody_says_is_the_default() -> None:
    assert resolve(SearchConfig, {}, None, "search") == SearchConfig()
    assert resolve(SearchConfig, {"pool": None, "seed": None}, None, "search") == SearchConfig()
    flags = {"lambdas": (), "budgets": (), "all": True}
    assert resolve(ExportConfig, flags, None, "export") == ExportConfig(all=True)


def test_a_flag_wins_over_the_environment_which_wins_over_the_file_which_wins_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "[search]\npool = 20\ndraws = 20\nrounds = 3\n[profile]\nrounds = 999\n")
    monkeypatch.setenv("LATNAS_POOL", "30")
    monkeypatch.setenv("LATNAS_DRAWS", "30")
    config = resolve(SearchConfig, {"pool": 40}, file, "search")
    assert (config.pool, config.draws, config.rounds, config.seed) == (40, 30, 3, 0)


def test_a_variable_of_one_command_wins_over_the_one_of_all_and_leaves_other_commands_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LATNAS_SEED", "5")
    monkeypatch.setenv("LATNAS_SEARCH_ROUNDS", "3")
    monkeypatch.setenv("LATNAS_SEARCH_SEED", "6")
    search, profile = resolve(SearchConfig, {}, None, "search"), resolve(ProfileConfig, {}, None, "profile")
    assert (search.rounds, search.seed) == (3, 6)
    assert (profile.rounds, profile.seed) == (ProfileConfig().rounds, 5)


def test_an_empty_variable_is_none_as_one_of_a_script_that_was_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATNAS_OUT", "")
    monkeypatch.setenv("LATNAS_SEARCH_SEED", "")
    monkeypatch.setenv("LATNAS_SEED", "4")
    config = resolve(SearchConfig, {}, None, "search")
    assert (config.out, config.seed) == (SearchConfig().out, 4)


def test_in_every_layer_a_path_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LATNAS_TABLES", "~/tables")
    written(home, '[search]\nout = "~/runs"\nname = "~"\n')
    flags = {"table": Path("~/t.json"), "from_run": "~/runs/one", "data": "~/pictures"}
    config = resolve(SearchConfig, flags, Path("~/latnas.toml"), "search")
    assert (config.out, config.tables, config.table) == (home / "runs", home / "tables", home / "t.json")
    assert config.from_run == str(home / "runs" / "one")
    assert (config.name, config.data) == ("~", "~/pictures"), "one is no path, and of the other --data sees itself"
    with pytest.raises(UsageError, match=r"~nobody-here/x: whose home folder that is, is unknown"):
        resolve(SearchConfig, {"out": Path("~nobody-here/x")}, None, "search")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({}, ((), ("2ms",), False)),
        ({"lambdas": (0.5,)}, ((0.5,), (), False)),
        ({"budgets": ("1ms", "3ms")}, ((), ("1ms", "3ms"), False)),
        ({"all": True}, ((), (), True)),
        ({"lambdas": (0.5,), "budgets": ("1ms",)}, ((0.5,), ("1ms",), False)),
    ],
)
def test_which_networks_are_exported_says_one_layer_alone(
    typed: dict[str, Any], expected: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "[export]\nlambda = [0, 1]\nall = true\nepochs = 3\n")
    monkeypatch.setenv("LATNAS_BUDGETS", "2ms")
    config = resolve(ExportConfig, typed, file, "export")
    assert (config.lambdas, config.budgets, config.all, config.epochs) == (*expected, 3)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = written(tmp_path, "\ufeff[search]\nseed = 4\n")
    assert resolve(SearchConfig, {}, file, "search").seed == 4


def test_a_flag_that_is_zero_or_false_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATNAS_SEED", "5")
    assert resolve(SearchConfig, {"seed": 0}, None, "search").seed == 0


def test_the_environment_speaks_in_text_and_lists_have_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATNAS_LAMBDAS", "0.5, 1")
    monkeypatch.setenv("LATNAS_BUDGETS", "4ms,5ms")
    monkeypatch.setenv("LATNAS_BASELINES", "true")
    monkeypatch.setenv("LATNAS_RUNS", "elsewhere")
    config = resolve(ExportConfig, {}, None, "export")
    assert (config.lambdas, config.budgets, config.baselines) == ((0.5, 1.0), ("4ms", "5ms"), True)
    assert config.runs == Path("elsewhere")


def test_a_file_speaks_in_toml(tmp_path: Path) -> None:
    file = written(tmp_path, '[export]\nlambdas = [0.5, 1]\nbudgets = ["4ms"]\n[profile]\nmax_seconds = 60\n')
    assert resolve(ExportConfig, {}, file, "export") == ExportConfig(lambdas=(0.5, 1.0), budgets=("4ms",))
    assert resolve(ProfileConfig, {}, file, "profile") == ProfileConfig(max_seconds=60)
    assert resolve(SearchConfig, {}, file, "search") == SearchConfig()


@pytest.mark.parametrize(
    ("flags", "environment", "text", "blamed"),
    [
        ({"pool": 1}, {}, "", "--pool: "),
        ({"training_steps": 0}, {"LATNAS_TRAINING_STEPS": "9"}, "", "--training-steps: "),
        ({}, {"LATNAS_POOL": "many"}, "", "LATNAS_POOL: "),
        ({}, {"LATNAS_POOL": "1"}, "[search]\npool = 20\n", "LATNAS_POOL: "),
        ({}, {"LATNAS_SEARCH_POOL": "1", "LATNAS_POOL": "9"}, "", "LATNAS_SEARCH_POOL: "),
        ({}, {}, "[search]\npool = 1\n", "pool in {file}: "),
        ({}, {}, "[search]\npool = [1]\n", "pool in {file}: "),
        ({"draws": 3}, {"LATNAS_SEED": "0"}, '[search]\npool = "x"\n', "pool in {file}: "),
    ],
)
def test_the_message_names_the_layer_that_is_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, Any],
    environment: dict[str, str],
    text: str,
    blamed: str,
) -> None:
    file = written(tmp_path, text)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        resolve(SearchConfig, flags, file, "search")
    message = str(caught.value)
    assert message.startswith(blamed.format(file=file)) and message.endswith("See latnas search --help")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("environment", "text", "message"),
    [
        ({"LATNAS_BUDGETS": "4ms, 3"}, "", "LATNAS_BUDGETS: the latency '3' has no unit. Write 3ms (or us, s)."),
        ({"LATNAS_EXPORT_MAX_PARAMS": "many"}, "", "LATNAS_EXPORT_MAX_PARAMS: "),
        ({"LATNAS_SEED": "5"}, '[export]\nbudget = ["3"]\n', "budget in {file}: the latency '3' has no unit."),
        ({"LATNAS_SEED": "5"}, '[export]\nbudgets = ["3"]\n', "budgets in {file}: the latency '3' has no unit."),
        ({"LATNAS_SEED": "5"}, "[export]\nbatch_size = 32\n", "name what to export: --lambda"),
        ({"LATNAS_ALL": "1", "LATNAS_INT8": "1", "LATNAS_FP16": "1"}, "", "one file is of one precision"),
    ],
)
def test_what_a_stage_s_own_words_refuse_names_the_layer_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], text: str, message: str
) -> None:
    file = written(tmp_path, text)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        resolve(ExportConfig, {}, file, "export")
    assert str(caught.value).startswith(message.format(file=file))


def test_what_was_typed_is_not_blamed_on_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATNAS_BUDGETS", "3")
    with pytest.raises(UsageError) as caught:
        resolve(ExportConfig, {"budgets": ("3",)}, None, "export")
    assert str(caught.value).startswith("the latency '3' has no unit")


def test_a_file_may_call_options_as_they_are_typed(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        '[search]\nfrom = "mine"\nextra-minutes = 2\n[export]\nlambda = [0.5]\nbudget = ["4ms"]\n'
        "[verify]\nlambda = [1]\n",
    )
    assert resolve(SearchConfig, {}, file, "search") == SearchConfig(from_run="mine", extra_minutes=2)
    assert resolve(ExportConfig, {}, file, "export") == ExportConfig(lambdas=(0.5,), budgets=("4ms",))
    assert resolve(VerifyConfig, {}, file, "verify") == VerifyConfig(lambdas=(1.0,))


def test_one_value_in_a_file_is_a_list_of_one(tmp_path: Path) -> None:
    file = written(tmp_path, '[export]\nlambda = 0.5\nbudgets = "4ms"\nmax-params = "200k"\n')
    assert resolve(ExportConfig, {}, file, "export") == ExportConfig(
        lambdas=(0.5,), budgets=("4ms",), max_params=(200_000,)
    )
    with pytest.raises(UsageError, match=r"lambda in .*: Input should be a valid number"):
        resolve(ExportConfig, {}, written(tmp_path, '[export]\nlambda = "half"\n'), "export")


def test_the_example_of_a_file_in_the_documentation_is_taken(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "search.md").read_text(), re.DOTALL)
    file = written(tmp_path, example)
    for section, model in CONFIGS.items():
        resolve(model, {}, file, section)
    assert resolve(ExportConfig, {}, file, "export").lambdas == (0.0, 0.5, 1.0)


def test_every_field_has_a_variable_that_is_known_and_nothing_else_has(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [(section, name.upper()) for section, model in CONFIGS.items() for name in model.model_fields]
    for section, name in fields:
        monkeypatch.setenv(f"LATNAS_{name}", "1")
        monkeypatch.setenv(f"LATNAS_{section.upper()}_{name}", "1")
    assert latnas("devices").stderr == ""
    for wrong in ("LATNAS_SERACH_ROUNDS", "LATNAS_LAMBDA", "LATNAS_SEARCH_WIDTH", "LATNAS_CONFIG", "LATNAS_QQQQ"):
        monkeypatch.setenv(wrong, "1")
    assert latnas("devices").stderr.splitlines() == [
        "warning: LATNAS_CONFIG sets no option of latnas and counts for nothing.",
        "warning: LATNAS_LAMBDA sets no option of latnas and counts for nothing. Did you mean LATNAS_LAMBDAS?",
        "warning: LATNAS_QQQQ sets no option of latnas and counts for nothing.",
        "warning: LATNAS_SEARCH_WIDTH sets no option of latnas and counts for nothing.",
        "warning: LATNAS_SERACH_ROUNDS sets no option of latnas and counts for nothing. Did you mean "
        "LATNAS_SEARCH_ROUNDS?",
    ]


def test_what_a_config_itself_refuses_is_wrong_usage_too() -> None:
    with pytest.raises(UsageError, match="name what to export: --lambda"):
        resolve(ExportConfig, {}, None, "export")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[search]\nbools = 2\n", UsageError, "sets 'bools' in [search], which does not exist. Known: budget-range, "),
        ("[search]\nlong_training = 20\n", UsageError, "which does not exist. Did you mean long-trainings?"),
        ("[search]\nfrm = 1\n", UsageError, "which does not exist. Did you mean from?"),
        ("[search]\nmax-params = 1\nmax_params = 1\n", UsageError, "sets 'max-params' and 'max_params' in [search], "),
        ("[serach]\npool = 20\n", UsageError, "has a table [serach], which does not exist. Known: "),
        (
            "pool = 20\n",
            UsageError,
            "sets 'pool' outside of any table. Put it under one of [profile]",
        ),
        ("search = 3\n", UsageError, "search must be a table, [search]"),
        ("[search\n", LatnasError, "cannot read"),
        ("pool = \x00", LatnasError, "cannot read"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(
    tmp_path: Path, text: str, error: type[LatnasError], message: str
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(error) as caught:
        resolve(SearchConfig, {}, file, "search")
    assert message in str(caught.value) and str(file) in str(caught.value)


def test_a_file_that_is_named_and_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no config file"):
        resolve(SearchConfig, {}, tmp_path / "none.toml", "search")
    with pytest.raises(LatnasError, match="cannot read"):
        resolve(SearchConfig, {}, tmp_path, "search")
