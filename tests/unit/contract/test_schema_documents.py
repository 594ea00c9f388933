"""The published documents are valid, complete, and those of the models; ``vesemir schema`` prints them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
from typer.testing import CliRunner

from vesemir.cli.schema import Document, document, schema_command
from vesemir.contract.asyncapi import asyncapi
from vesemir.contract.events import EVENTS
from vesemir.contract.schemas import SCHEMAS

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "schemas"
APP = typer.Typer()
APP.command("schema")(schema_command)


def run(*words: str) -> str:
    result = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(APP, list(words))
    assert result.exit_code == 0, result.output
    return result.output


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


def resolve(root: Any, pointer: str) -> Any:
    """A JSON pointer (RFC 6901) in a URI fragment; our names need no escapes."""
    place = root
    for part in pointer.removeprefix("#/").split("/"):
        place = place[part]
    return place


@pytest.mark.parametrize("name", list(Document))
def test_the_copy_in_docs_is_what_the_models_say(name: Document) -> None:
    file = FOLDER / f"{name.value}.json"
    assert json.loads(file.read_text(encoding="utf-8")) == document(name), (
        f"the models changed: vesemir schema {name.value} --json > docs/schemas/{name.value}.json"
    )


def test_docs_hold_nothing_else() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == {name.value for name in Document}


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_every_schema_is_valid_draft_2020_12(name: str) -> None:
    schema = SCHEMAS[name]()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    assert all(resolve(schema, pointer) for pointer in references(schema))


def test_the_schema_of_events_is_open_for_fields_to_come() -> None:
    definitions = SCHEMAS["events"]()["$defs"]
    assert all("additionalProperties" not in part for part in definitions.values())


def test_asyncapi_is_whole() -> None:
    described = asyncapi("test")
    assert described["asyncapi"] == "3.0.0"
    assert all(resolve(described, pointer) is not None for pointer in references(described))
    assert {*EVENTS, "deploy", "control", "lane_control", "refused"} == set(described["components"]["messages"])
    for operation in described["operations"].values():
        channel = operation["channel"]["$ref"]
        assert all(each["$ref"].startswith(f"{channel}/messages/") for each in operation["messages"])
    for part in described["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(part)


@pytest.mark.parametrize("name", list(Document))
def test_the_command_prints_each_document(name: Document) -> None:
    assert json.loads(run(name.value, "--json")) == document(name)


def test_the_command_prints_all_documents_at_once() -> None:
    assert json.loads(run("--json")) == {name.value: document(name) for name in Document}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ((), ["deploy", "control", "events", "asyncapi", "--json"]),
        (("deploy",), ["haproxy.drain_seconds", "30", "rollout.analysis.max_error_ratio", "deployment_id"]),
        (("control",), ['"cancel", "pause", "resume", "lock" or "unlock"', "deployment_id", "until"]),
        (("events",), ["step.finished", "exit_status", "every one"]),
        (("asyncapi",), ["vesemir.rejected", "{application}.{environment}.{event}"]),
    ],
)
def test_the_command_prints_tables_for_people(words: tuple[str, ...], shown: list[str]) -> None:
    printed = run(*words)
    assert all(text in printed for text in shown), printed
    assert "\x1b" not in printed


def test_an_unknown_document_is_an_error_that_names_the_known() -> None:
    result = CliRunner().invoke(APP, ["deplyo"])
    assert result.exit_code == 2
    assert "asyncapi" in result.output
