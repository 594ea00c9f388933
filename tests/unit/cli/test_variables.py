"""A VESEMIR_… variable that is no setting ends a command, and the nearest setting is named."""

import pytest
from tests.unit.cli.conftest import Invoke

from vesemir.cli.variables import known_variables, unknown_variables


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("VESEMIR_HTPP__PORT", "VESEMIR_HTTP__PORT"),
        ("VESEMIR_AMQP_URL", "VESEMIR_AMQP__URL"),
        ("vesemir_instanse", "VESEMIR_INSTANCE"),
        ("VESEMIR_LIMIT__TARGETS", "VESEMIR_LIMITS__TARGETS"),
    ],
)
def test_the_nearest_setting_is_named(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    """It was ignored, and the default used."""
    monkeypatch.setenv(name, "hunter2")
    result = invoke("history")
    assert (result.exit_code, result.stderr) == (1, f"vesemir: {name} is not a setting; did you mean {meant}?\n")


def test_a_typo_within_a_section_is_named_too(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESEMIR_AMQP__PREFECH", "7")
    result = invoke("history")
    assert (
        "settings: amqp.prefech: unknown key; did you mean amqp.prefetch? (see VESEMIR_AMQP__PREFECH or "
        in result.stderr
    )


def test_what_means_something_else_is_left_alone() -> None:
    others = ("CONFIG", "FAILPOINT_ONCE", "LAB_TOKEN", "DEPLOYMENT_ID", "TARGET_NAME", "ARTIFACT_MAX_ENTRIES", "SERVER")
    assert unknown_variables({f"VESEMIR_{name}": "" for name in others} | {"HOME": "/", "MY_VESEMIR_X": ""}) == []
    assert unknown_variables(dict.fromkeys(known_variables(), "")) == []
    assert unknown_variables({"VESEMIR_INVENTORY__CHEF_CLUSTERS__EAST__URL": ""}) == []


def test_a_variable_like_nothing_is_to_be_unset() -> None:
    assert unknown_variables({"VESEMIR_ZZZZZZZZ": "1"}) == ["VESEMIR_ZZZZZZZZ is not a setting; unset it"]


def test_a_database_that_is_away_names_the_setting_and_the_file_that_is_not_there(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VESEMIR_CONFIG")
    monkeypatch.setattr("vesemir.settings.DEFAULT_FILE", "/nonexistent/vesemir.toml")
    monkeypatch.setenv("VESEMIR_POSTGRES__DSN", "postgresql://vesemir@127.0.0.1:1/vesemir")
    first, second = invoke("history").stderr.splitlines()
    assert first.endswith("; check that it runs, and postgres.dsn")
    assert second == (
        "vesemir: there is no settings file /nonexistent/vesemir.toml (VESEMIR_CONFIG names another); "
        "defaults and VESEMIR_* variables were used"
    )
