"""The program as a whole: what it offers, how it starts, and what becomes of errors."""

import importlib
import inspect
import subprocess
import sys

import pytest
import typer
from tests.unit.cli.conftest import Invoke

from vesemir.cli.program import COMMANDS
from vesemir.domain.failure import VesemirError

CONTRACT = [
    "run",
    "check",
    "migrate",
    "deploy",
    "plan",
    "status",
    "logs",
    "cancel",
    "pause",
    "resume",
    "rollback",
    "history",
    "schema",
    "lab",
]  # section 6, without `stats`, which has its own issue


def test_it_has_every_command_of_the_contract(invoke: Invoke) -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.stdout.split("Commands:")[1].splitlines() if line.strip()]
    assert set(CONTRACT) <= set(listed)
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(invoke: Invoke, name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0, result.output
    assert f"vesemir {name}" in result.stdout


@pytest.mark.parametrize(
    "name", [*(name for name in COMMANDS if name not in {"run", "lab", "policy"}), "policy test", "policy check"]
)
def test_every_command_prints_json_for_programs(invoke: Invoke, name: str) -> None:
    assert "--json" in invoke(*name.split(), "--help").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_entry_leads_to_a_command(name: str) -> None:
    entry = COMMANDS[name]
    found = getattr(importlib.import_module(entry.module), entry.attribute)
    assert isinstance(found, typer.Typer) or inspect.isfunction(found)


def test_help_imports_no_driver_and_nothing_else_that_is_slow() -> None:
    """It keeps the start quick on a slow machine, which a limit in seconds could not show reliably."""
    code = (
        "import sys\n"
        "from vesemir.cli import main\n"
        "sys.argv = ['vesemir', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "slow = {'aio_pika', 'asyncpg', 'asyncssh', 'aiohttp', 'pydantic', 'rich', 'loguru', 'asyncio'}\n"
        "print('imported:', sorted(slow & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "imported: []"


def test_the_version_is_the_packages(invoke: Invoke) -> None:
    from importlib.metadata import version  # noqa: PLC0415

    assert invoke("--version").stdout == f"vesemir {version('vesemir')}\n"


def test_an_unknown_command_is_a_usage_error(invoke: Invoke) -> None:
    result = invoke("deplyo")
    assert result.exit_code == 2
    assert "No such command 'deplyo'" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("raised", "status", "told"),
    [
        (VesemirError("the moon is away; wait"), 1, "vesemir: the moon is away; wait\n"),
        (VesemirError("two\nthings"), 1, "vesemir: two\nvesemir: things\n"),
        (VesemirError("an \x1b[31mescape"), 1, "vesemir: an \u241b[31mescape\n"),
        (KeyboardInterrupt(), 130, "vesemir: interrupted\n"),
    ],
)
def test_an_expected_error_is_a_line_and_no_traceback(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, raised: BaseException, status: int, told: str
) -> None:
    def fails() -> None:
        raise raised

    monkeypatch.setattr("vesemir.cli.run.load_settings", fails)
    result = invoke("run")
    assert (result.exit_code, result.stderr, result.stdout) == (status, told, "")


def test_a_bug_is_not_hidden(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("vesemir.cli.run.load_settings", fails)
    assert isinstance(invoke("run").exception, ZeroDivisionError)


def test_run_ends_with_the_daemons_status(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    import types  # noqa: PLC0415

    service = types.ModuleType("vesemir.service")
    asked = []
    service.run = lambda settings: asked.append(settings) or 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vesemir.service", service)
    assert invoke("run").exit_code == 3
    assert asked[0].amqp.namespace == "vesemir"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("stauts",), "No such command 'stauts'. Did you mean 'status'?"),
        (("lab", "dwon"), "No such command 'dwon'. Did you mean 'down'?"),
        (("frobnicate",), "No such command 'frobnicate'."),
        (("stats", "--days", "x"), "Invalid value for '--days' / '-d': must be a whole number"),
        (("history", "--limit", "0"), "Invalid value for '--limit' / '-n': must be 1 or more"),
        (("deploy", "--timeout", "soon"), "Invalid value for '--timeout': must be a number"),
    ],
)
def test_what_was_typed_wrong_is_named_in_plain_words(invoke: Invoke, words: tuple[str, ...], message: str) -> None:
    """It was "No such command 'stauts'." and "Input should be a valid integer, unable to parse string …"."""
    result = invoke(*words)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, f"Error: {message}")
