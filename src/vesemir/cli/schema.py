"""``vesemir schema``: JSON Schemas and the AsyncAPI document, made from the same models that judge messages."""

import json
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from vesemir.contract.asyncapi import asyncapi
from vesemir.contract.schemas import SCHEMAS

Json = Mapping[str, Any]


class Document(StrEnum):
    DEPLOY = "deploy"
    CONTROL = "control"
    EVENTS = "events"
    ASYNCAPI = "asyncapi"


def document(name: Document) -> Json:
    """One of the documents as JSON values."""
    if name is Document.ASYNCAPI:
        return asyncapi()
    return SCHEMAS[name.value]()


def schema_command(
    name: Annotated[Document | None, typer.Argument(help="Which document; without it, all of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the document itself.")] = False,
) -> None:
    """Show what messages look like: JSON Schemas (draft 2020-12) and an AsyncAPI 3.0 document."""
    if as_json:
        found = document(name) if name else {each.value: document(each) for each in Document}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    console = Console()
    tables = {None: _overview, Document.EVENTS: _events, Document.ASYNCAPI: _channels}
    show: Callable[[], Table] = tables.get(name) or (lambda: _fields(document(name or Document.DEPLOY)))
    console.print(show())
    if name is None:
        console.print("\nvesemir schema NAME shows one of them; with --json it prints the document for programs.")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _overview() -> Table:
    table = _table("document", "what it describes")
    table.add_row("deploy", "the deploy event, sent to vesemir.deployments")
    table.add_row("control", "cancel, pause, resume, lock and unlock, sent to vesemir.control")
    table.add_row("events", "every event that is published about deployments")
    table.add_row("asyncapi", "queues and exchanges, and which messages go where")
    return table


def _fields(schema: Json) -> Table:
    table = _table("field", "required", "default", "must be")
    forms = [schema["$defs"][each["$ref"].rpartition("/")[2]] for each in schema.get("oneOf", ())]
    for form in forms or [schema]:
        if forms:
            table.add_row("", "", "", str(form["description"]), style="bold")
        for path, required, field in _walk(schema, form, ""):
            # A section's default is that of its fields, which follow.
            default = field.get("default")
            shown = "" if default is None or isinstance(default, dict) else json.dumps(default)
            table.add_row(path, "yes" if required else "", shown, str(field.get("description", "")))
    return table


def _walk(root: Json, schema: Json, prefix: str) -> Iterator[tuple[str, bool, Json]]:
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield path, name in schema.get("required", ()), field
        for branch in [field, *field.get("anyOf", ())]:
            if "$ref" in branch:
                part = root["$defs"][branch["$ref"].rpartition("/")[2]]
                yield from _walk(root, part, f"{path}.")


def _events() -> Table:
    schema = document(Document.EVENTS)
    parts = [schema["$defs"][each["$ref"].rpartition("/")[2]] for each in schema["oneOf"]]
    in_every_one = set.intersection(*(set(part["properties"]) for part in parts))
    table = _table("event", "carries")
    table.add_row("every one", ", ".join(name for name in parts[0]["properties"] if name in in_every_one))
    for part in parts:
        names = [name for name in part["properties"] if name not in in_every_one]
        table.add_row(part["properties"]["event"]["const"], ", ".join(names))
    return table


def _channels() -> Table:
    table = _table("channel", "address", "what it is")
    for name, channel in document(Document.ASYNCAPI)["channels"].items():
        table.add_row(name, channel["address"] or "the message's reply_to", channel["description"])
    return table
