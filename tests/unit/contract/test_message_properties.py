"""Messages made from the JSON Schema and around it: never a crash, one clear answer, and the schema says the same."""

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import jsonschema
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from vesemir.contract import (
    ControlRequest,
    LaneRequest,
    MessageProperties,
    Parsed,
    Refusal,
    parse_control,
    parse_deploy_event,
)
from vesemir.contract.schemas import control_schema, deploy_schema
from vesemir.domain.failure import FailureCode
from vesemir.domain.request import Timeouts

Json = Any
DEPLOY, CONTROL = deploy_schema(), control_schema()
JUDGE_DEPLOY, JUDGE_CONTROL = jsonschema.Draft202012Validator(DEPLOY), jsonschema.Draft202012Validator(CONTROL)
CAPS = Timeouts()


def patient(examples: int) -> settings:
    """No claim about time: the machine may be busy."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])


BEYOND_THE_SCHEMA = {
    "rollout.min_available",
    "rollout.analysis",
    "rollout.approve_after",
    "targets.chef.query",
    "haproxy.targets.chef.query",
    "once",
    "until",
    "not_before",
    "not_after",
}
"""Fields whose rule across other fields, or the clock, is in words only."""


def judge(value: Json) -> Parsed | Refusal:
    body = json.dumps(value).encode()
    return parse_deploy_event(body, max_bytes=1 << 20, caps=CAPS, namespace="vesemir", properties=MessageProperties())


def made_from(schema: Json, root: Json) -> st.SearchStrategy[Json]:
    """Values that the schema allows: the subset of JSON Schema that our models produce."""
    if "$ref" in schema:
        return made_from(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "oneOf" in schema:
        return st.one_of(
            made_from(branch, root) if "$ref" in branch else exactly(branch["required"][0], schema, root)
            for branch in schema["oneOf"]
        )
    if "anyOf" in schema and "properties" not in schema:
        return st.one_of(made_from(branch, root) for branch in schema["anyOf"])
    return PLAIN[schema["type"]](schema, root)


def exactly(name: str, schema: Json, root: Json) -> st.SearchStrategy[Json]:
    """An object with this one member, not null."""
    branches = [part for part in schema["properties"][name]["anyOf"] if part.get("type") != "null"]
    return st.fixed_dictionaries({name: st.one_of(made_from(branch, root) for branch in branches)})


def an_object(schema: Json, root: Json) -> st.SearchStrategy[Json]:
    if "properties" not in schema:
        values = made_from(schema["additionalProperties"], root)
        return st.dictionaries(st.text(PRINTABLE, max_size=8), values, max_size=3)
    made = {name: made_from(part, root) for name, part in schema["properties"].items()}
    required = set(schema.get("required", ()))
    objects: st.SearchStrategy[Json] = st.fixed_dictionaries(
        {name: made[name] for name in made if name in required},
        optional={name: made[name] for name in made if name not in required},
    )
    if "anyOf" in schema:  # at least one of the filters of a Chef selector
        objects = objects.filter(jsonschema.Draft202012Validator({"anyOf": schema["anyOf"]}).is_valid)
    return objects


PRINTABLE = st.characters(exclude_categories=["Cs", "Cc"])


def a_text(schema: Json, _: Json) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
    pattern, longest = schema.get("pattern", ""), schema.get("maxLength", 300)
    if pattern and "\\x00" not in pattern:
        texts = st.from_regex(pattern, fullmatch=True).filter(lambda text: len(text) <= longest)
    else:
        texts = st.text(PRINTABLE, min_size=schema.get("minLength", 0), max_size=min(longest, 20))
    return texts.filter(lambda text: not text.endswith("\n"))  # where Python's "$" differs from everybody else's


PLAIN = {
    "object": an_object,
    "string": a_text,
    "array": lambda schema, root: st.lists(
        made_from(schema["items"], root), min_size=schema.get("minItems", 0), max_size=4
    ),
    "integer": lambda schema, _: st.integers(schema.get("minimum", -1000), schema.get("maximum", 10**6)),
    "number": lambda schema, _: st.floats(
        max(schema.get("minimum", 0), schema.get("exclusiveMinimum", 0)),
        schema.get("maximum", 10**6),
        exclude_min="exclusiveMinimum" in schema,
        width=32,
    ),
    "boolean": lambda _schema, _root: st.booleans(),
    "null": lambda _schema, _root: st.none(),
}

deploy_events = made_from(DEPLOY, DEPLOY)
control_messages = made_from(CONTROL, CONTROL)
anything: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\n"), max_size=20)
    | st.sampled_from(["0%", "101%", "{name}", "stop", "vesemir.deploy/1", "../../etc/passwd", "$(reboot)"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["chef", "hosts", "tags", "x", "step", "weight"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: Json) -> Iterator[tuple[Json, Any]]:
    """Every (container, key) of a JSON value."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in list(members):
        yield value, key
        yield from places(member)


@st.composite
def spoiled(draw: st.DrawFn, valid: st.SearchStrategy[Json]) -> Json:
    """A valid message with one place changed, removed, or added to."""
    value = copy.deepcopy(draw(valid))
    container, key = draw(st.sampled_from(list(places(value))))
    match draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            container[key] = draw(anything)
        case "remove":
            del container[key]
        case "add" if isinstance(container, dict):
            container[draw(st.sampled_from(["x", "on_failur", "", "a.b", "é"]))] = draw(anything)
        case _:
            container.append(draw(anything))
    return value


def agrees(value: Json, schema: jsonschema.Draft202012Validator, result: object) -> None:
    """The parser and the published schema say the same, but for what the schema cannot say."""
    valid = schema.is_valid(value)
    if not isinstance(result, Refusal):
        assert valid, "accepted what the schema forbids"
        return
    assert result.problems
    assert all(problem.field and problem.message for problem in result.problems)
    assert len(result.message) <= 400
    if valid and result.code is not FailureCode.TARGETS_UNKNOWN_HOST:
        assert {problem.field for problem in result.problems} <= BEYOND_THE_SCHEMA


@patient(50)
@given(deploy_events)
def test_what_the_schema_allows_is_accepted(value: Json) -> None:
    agrees(value, JUDGE_DEPLOY, judge(value))


@patient(100)
@given(spoiled(deploy_events))
def test_around_the_schema_parser_and_schema_agree(value: Json) -> None:
    agrees(value, JUDGE_DEPLOY, judge(value))


@patient(50)
@given(st.one_of(control_messages, spoiled(control_messages)))
def test_control_messages_agree_with_their_schema(value: Json) -> None:
    body = json.dumps(value).encode()
    result = parse_control(body, max_bytes=1 << 20, namespace="vesemir", properties=MessageProperties())
    assert isinstance(result, ControlRequest | LaneRequest | Refusal)
    agrees(value, JUDGE_CONTROL, result)


@patient(100)
@given(deploy_events, st.data())
def test_a_message_with_damaged_bytes_is_answered_all_the_same(value: Json, data: st.DataObject) -> None:
    body = bytearray(json.dumps(value).encode())
    assume(body)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(body) - 1))
        body[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        assume(body)
    result = parse_deploy_event(
        bytes(body), max_bytes=1 << 20, caps=CAPS, namespace="vesemir", properties=MessageProperties()
    )
    assert isinstance(result, Parsed | Refusal)
    if isinstance(result, Refusal):
        json.dumps(result.failure_json(), ensure_ascii=False).encode()


@patient(100)
@given(st.binary(max_size=300) | anything.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_crash_the_parsers(body: bytes) -> None:
    deploy = parse_deploy_event(body, max_bytes=1 << 20, caps=CAPS, namespace="vesemir", properties=MessageProperties())
    control = parse_control(body, max_bytes=1 << 20, namespace="vesemir", properties=MessageProperties())
    assert isinstance(deploy, Refusal)
    assert isinstance(control, Refusal)
