"""Commands run in this process, with settings of their own and without RabbitMQ or PostgreSQL."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.unit.cli.scripted import Script, ScriptedRequester
from typer.testing import CliRunner, Result

from vesemir.cli.program import app

Invoke = Callable[..., Result]


@pytest.fixture(autouse=True)
def settings_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file in force; no variable of who runs the tests counts."""
    import os  # noqa: PLC0415

    for name in [name for name in os.environ if name.startswith("VESEMIR_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "vesemir.toml"
    file.write_text("", encoding="utf-8")
    monkeypatch.setenv("VESEMIR_CONFIG", str(file))
    return file


@pytest.fixture
def invoke() -> Invoke:
    """``invoke("deploy", "--follow")``: the result with exit status, stdout and stderr."""
    runner = CliRunner()

    def run(*arguments: str, given: str | None = None) -> Result:
        return runner.invoke(app, list(arguments), input=given, prog_name="vesemir")

    return run


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Script]:
    """``script([events of the first connection], [of the second])`` stands in for RabbitMQ from then on."""

    def of(*connections: Sequence[object]) -> Script:
        made = Script(connections)  # type: ignore[arg-type]
        monkeypatch.setattr(ScriptedRequester, "script", made, raising=False)
        monkeypatch.setattr("vesemir.cli.requesting.Requester", ScriptedRequester)
        monkeypatch.setattr("vesemir.cli.control_order.Requester", ScriptedRequester)
        monkeypatch.setattr("vesemir.cli.requesting._PAUSE_SECONDS", 0.0)
        return made

    return of


@pytest.fixture
def event_file(tmp_path: Path) -> Path:
    """A valid deploy event with the id that the scripted events have."""
    file = tmp_path / "event.json"
    value = {
        "schema": "vesemir.deploy/1", "deployment_id": "d-1", "application": "shop", "environment": "production",
        "version": "2.0.0", "recipe": "release", "targets": {"inventory": {"groups": ["web"]}},
    }  # fmt: skip
    file.write_text(json.dumps(value), encoding="utf-8")
    return file
