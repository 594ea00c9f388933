"""docs/contract.md is what other teams build against: models, enums, schemas and the command line must say the same.

The page is read as a reader would: its tables, lists and example. A heading or table that is not found is an error, so
that a page which was rearranged does not pass unread. What is not true yet stands in ``not_yet.py``, with its issue.
"""

import json
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from tests.contract.not_yet import NOT_YET, NotYet, names
from typer.testing import CliRunner

from vesemir.cli.program import app
from vesemir.contract import MessageProperties, Parsed, parse_control, parse_deploy_event
from vesemir.contract.asyncapi import asyncapi
from vesemir.contract.control import CONTROL_SCHEMA, ControlMessage, LaneControlMessage
from vesemir.contract.deploy import DEPLOY_SCHEMA, DeployEvent, HaproxyPart, RolloutPart, TimeoutsPart
from vesemir.contract.events import (
    EVENTS,
    DeploymentStatus,
    Event,
    FailureBody,
    Metrics,
    StepStatus,
    TargetPlace,
    TargetResult,
    TargetStatus,
)
from vesemir.contract.fields import COMMON_PATTERNS
from vesemir.contract.schemas import deploy_schema
from vesemir.domain.failure import FailureCode
from vesemir.domain.request import Timeouts
from vesemir.settings import AmqpSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE_FILE = ROOT / "docs" / "contract.md"
ORIGINAL = ROOT.parent / "shared" / "design" / "contract.md"
PAGE = PAGE_FILE.read_text(encoding="utf-8")
TICKED = re.compile(r"`([^`]+)`")


def section(heading: str) -> str:
    """The text under a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}[^\n]*\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/contract.md has no section {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table, without its head."""
    lines = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert len(lines) > 2, "a table is expected here"
    return [[cell.strip() for cell in line] for line in lines[2:]]


def sentence(text: str, start: str, end: str = "\n") -> str:
    found = re.search(rf"{re.escape(start)}(.*?){re.escape(end)}", text, re.DOTALL)
    assert found, f"docs/contract.md does not say {start!r} any more"
    return found[1]


def ticked(text: str) -> list[str]:
    return TICKED.findall(text)


def example() -> dict[str, Any]:
    event: dict[str, Any] = json.loads(sentence(PAGE, "```json\n", "```"))
    return event


EVENT_ROWS = {name: cells[1] for cells in rows(section("Events")) for name in ticked(cells[0])}


def test_the_copy_is_the_original() -> None:
    if not ORIGINAL.exists():
        pytest.skip(f"the original is not here: {ORIGINAL}")
    assert ORIGINAL.read_text(encoding="utf-8") == PAGE, "docs/contract.md must stay the page that was agreed"


@pytest.mark.parametrize("line", NOT_YET, ids=lambda line: f"{line.issue}: {line.text[:40]}")
def test_what_is_not_true_yet_stands_on_the_page(line: NotYet) -> None:
    assert line.text in PAGE, f"docs/contract.md does not say {line.text!r}"


def test_the_example_is_a_valid_deploy_event() -> None:
    body = json.dumps(example()).encode()
    parsed = parse_deploy_event(
        body, max_bytes=1 << 20, caps=Timeouts(), namespace="vesemir", properties=MessageProperties("answers")
    )
    assert isinstance(parsed, Parsed), parsed
    jsonschema.Draft202012Validator(deploy_schema()).validate(example())


def test_the_required_fields_are_those_of_the_page() -> None:
    required = ticked(sentence(section("Deploy event"), "Required: ", "."))
    assert deploy_schema()["required"] == required


def test_every_field_that_the_page_names_exists_and_no_other() -> None:
    text = section("Deploy event")
    event = example()
    optional = ticked(sentence(text, "Optional in `rollout`: ", "\n- "))
    first = {name for name in optional if name in {"mode", "order_by", "approve_after", "min_targets", "analysis"}}
    later = set(ticked(sentence(text, "Also optional in `rollout`: ", ". An instance")))
    missing = names(prefix="rollout:")
    assert len(first) == 5
    assert missing <= later
    assert set(RolloutPart.model_fields) == set(event["rollout"]) | first | (later - missing)
    assert set(HaproxyPart.model_fields) == set(event["haproxy"]) | {"on_drain_timeout"}
    assert "`on_drain_timeout`" in text
    assert set(TimeoutsPart.model_fields) == set(event["timeouts"])
    top = set(ticked(re.sub(r"\([^()]*\)", "", sentence(text, "Optional at the top level: ", ". Optional in"))))
    assert {field.alias or name for name, field in DeployEvent.model_fields.items()} == set(event) | (top - names())


def test_the_defaults_are_those_of_the_page() -> None:
    text = section("Deploy event")
    rollout, timeouts = RolloutPart(), TimeoutsPart()
    assert "at least 1; default 1" in text
    assert rollout.concurrency == 1
    assert "`canary` and `max_failures`: a number from 0 or a percentage; default 0" in text
    assert (rollout.canary, rollout.max_failures) == (0, 0)
    assert "default 1, but 0 for a backend of one server" in text
    assert rollout.min_available is None, "it depends on the backend"
    assert "`prepare`: `target` (default:" in text
    assert "`min_healthy_seconds` (0–3600, default 2)" in text  # noqa: RUF001 - the page's own dash
    assert (rollout.prepare, rollout.min_healthy_seconds) == ("target", 2)
    assert "`stop` (default:" in text
    assert "(`batch`: fixed batches, default;" in text
    assert (rollout.on_failure, rollout.mode) == ("stop", "batch")
    limits = sentence(text, "`timeouts`, in seconds,", "\n- ")
    defaults = [int(number) for number in re.findall(r"\((?:default )?(\d+)\)", limits)]
    assert defaults == [timeouts.step, timeouts.target, timeouts.deployment]
    assert f"`drain_seconds` (default {HaproxyPart.model_fields['drain_seconds'].default})" in text
    assert f"`{HaproxyPart.model_fields['on_drain_timeout'].default}` (default, `haproxy.drain_timed_out`)" in text


def test_the_form_of_names_is_that_of_the_page() -> None:
    text = section("Deploy event")
    said = {
        "deployment_id": sentence(text, "- `deployment_id`: ", ";"),
        "application": sentence(text, "- `application`, `environment`, `team`: ", ". "),
        "version": sentence(text, "`version`: ", ". Host"),
    }
    for name, words in said.items():
        found = re.fullmatch(r"1–(\d+) of `([^`]+)`, starting with a letter or digit", words)  # noqa: RUF001
        assert found, words
        length, allowed = int(found[1]), found[2]
        pattern = COMMON_PATTERNS[name]
        letters = "a-z" if "A-Z" not in allowed else "A-Za-z"
        first, rest = re.compile(f"[{letters}0-9]"), re.compile(f"[{allowed}]")
        for code in range(0x180):
            character = chr(code)
            assert bool(pattern.fullmatch(character)) == bool(first.fullmatch(character)), (name, character)
            assert bool(pattern.fullmatch(f"a{character}")) == bool(rest.fullmatch(character)), (name, character)
        assert pattern.fullmatch("a" * length)
        assert not pattern.fullmatch("a" * (length + 1))


def test_the_limit_of_a_body_is_that_of_the_page() -> None:
    assert "default limit 1 MiB" in section("2. AMQP")
    assert AmqpSettings().max_message_bytes == 1024 * 1024


def test_the_events_are_those_of_the_page() -> None:
    control = [name for name in EVENTS if name.startswith("control.")]
    assert [name for name in EVENTS if name not in control] == [name for name in EVENT_ROWS if name not in names()]
    assert not names() & set(EVENTS)
    text = section("Control message")
    assert control == [name for name in ticked(text) if name in {"control.accepted", "control.rejected"}][:2]


def test_the_common_fields_are_those_of_the_page() -> None:
    common = ticked(sentence(section("Events"), "Every event has ", ", and:").replace("(RFC 3339, UTC)", ""))
    assert set(common) == set(Event.model_fields)
    assert all(set(common) <= set(model.model_fields) for model in EVENTS.values())


@pytest.mark.parametrize("name", [name for name in EVENT_ROWS if name not in names()])
def test_every_event_carries_what_the_page_says(name: str) -> None:
    carried = EVENT_ROWS[name]
    own = [field for field in EVENTS[name].model_fields if field not in Event.model_fields]
    words = {word for text in ticked(carried) for word in re.findall(r"[a-z_]+", text)}
    # `plan` is promised by the paragraph on dry runs.
    assert {field for field in own if field != "plan"} <= words
    top_level = re.sub(r"\([^()]*\)|`\{[^`]*\}`|, with `details`.*|: `forward`.*|left out by `[a-z_]+`", "", carried)
    missing = names(prefix=f"{name}:")
    assert set(re.findall(r"`([a-z_]+)`", top_level)) <= set(own) | missing | {"null"}
    assert not missing & set(own), "became true: not_yet.py is to say so"


def test_the_parts_of_events_are_those_of_the_page() -> None:
    text = section("Events")
    assert list(FailureBody.model_fields) == re.findall(r'"(\w+)"', sentence(text, "- `failure`: ", ";"))
    for name, model in (("deployment.started", TargetPlace), ("deployment.finished", TargetResult)):
        fields = sentence(EVENT_ROWS[name], "`targets`: list of `{", "}`")
        missing = names(prefix=f"{name}:targets:")
        assert list(model.model_fields) == [field for field in fields.split(", ") if field not in missing]


def test_the_statuses_are_those_of_the_page() -> None:
    text = section("Events")
    assert list(get_args(DeploymentStatus)) == ticked(sentence(text, "- Deployment `status`: "))
    assert list(get_args(TargetStatus)) == ticked(sentence(text, "- Target `status`: "))
    assert list(get_args(StepStatus)) == ticked(sentence(EVENT_ROWS["step.finished"], "`status` (", ")"))


def test_the_metrics_are_those_of_the_page() -> None:
    said = ticked(sentence(section("Events"), "- `metrics`: ", "\n- "))
    expected = [
        name
        for word in said
        for name in ([f"targets_{status}" for status in get_args(TargetStatus)] if word == "targets_STATUS" else [word])
    ]
    assert list(Metrics.model_fields) == expected


def test_the_failure_codes_are_those_of_the_page() -> None:
    said = [word for word in ticked(section("3. Failure codes")) if re.fullmatch(r"[a-z]+\.[a-z_]+", word)]
    assert len(said) > 30
    known = {code.value for code in FailureCode}
    assert [code.value for code in FailureCode if code.value in said] == [code for code in said if code not in names()]
    assert not names() & known
    added = known - set(said)
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", code) for code in added), "new codes keep the style"


def test_the_control_message_is_that_of_the_page() -> None:
    text = section("Control message")
    shape = sentence(text, "`{", "}`")
    fields = [field.alias or name for name, field in ControlMessage.model_fields.items()]
    assert "(`resume` may have `once`)" in text
    assert [*re.findall(r'"(\w+)":', shape), "once"] == fields
    assert f'"schema": "{CONTROL_SCHEMA}"' in shape
    lane = sentence(text, 'or `"command": "lock" | "unlock"` with ', " instead of `deployment_id`")
    instead = {"schema", "command", "requested_by", *ticked(lane)}
    assert {field.alias or name for name, field in LaneControlMessage.model_fields.items()} == instead
    for command in re.findall(r'"(\w+)"', sentence(shape, '"command": ', ', "deployment_id"')):
        body = json.dumps({"schema": CONTROL_SCHEMA, "command": command, "deployment_id": "d"}).encode()
        request = parse_control(body, max_bytes=1000, namespace="vesemir", properties=MessageProperties())
        assert getattr(request, "command", None) == command
    for command in ("lock", "unlock"):
        message = {"schema": CONTROL_SCHEMA, "command": command, **dict.fromkeys(ticked(lane)[:3], "x")}
        request = parse_control(
            json.dumps(message).encode(), max_bytes=1000, namespace="vesemir", properties=MessageProperties()
        )
        assert getattr(request, "command", None) == command


def test_the_schema_names_are_those_of_the_page() -> None:
    assert example()["schema"] == DEPLOY_SCHEMA


def test_queues_and_exchanges_are_those_of_the_page() -> None:
    said = {name: kind for name, kind, *_ in rows(section("2. AMQP")) if name.startswith("`")}
    channels = asyncapi()["channels"]
    queues = {
        f"`{channel['bindings']['amqp']['queue']['name']}`"
        for channel in channels.values()
        if "queue" in channel.get("bindings", {}).get("amqp", {})
    }
    assert queues == {name for name, kind in said.items() if kind == "quorum queue"}
    exchange = channels["events"]["bindings"]["amqp"]["exchange"]
    assert said[f"`{exchange['name']}`"] == f"{exchange['type']} exchange"
    assert AmqpSettings().namespace == "vesemir"
    headers = asyncapi()["components"]["messages"]["refused"]["headers"]["properties"]
    assert all(f"`{header}`" in section("2. AMQP") for header in headers)


def test_the_commands_are_those_of_the_page() -> None:
    listing = sentence(section("6. Command line"), "`vesemir` with: ", "Every command has")
    said = set(re.findall(r"`([a-z]+)`", re.sub(r"\([^()]*\)", "", listing)))
    assert {"run", "deploy", "schema", "lab", "rollback"} <= said
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0, result.output
    listed = set(re.findall(r"^  ([a-z]+)  ", result.output.partition("Commands:")[2], re.MULTILINE))
    assert listed == said - names()
    assert not listed & names()
