"""Whatever the bytes, reading them ends in a value or in a problem that says where and what."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vesemir.contract.canonical import body_hash, canonical
from vesemir.contract.json_body import MAX_DEPTH, read_json

LONE = "\\ud800"


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        pytest.param(b"", "body", "must be JSON", id="empty"),
        pytest.param(b"deploy!", "body", "line 1, column 1", id="text"),
        pytest.param(b'{"a": 1,}', "body", "must be JSON", id="trailing comma"),
        pytest.param(b"{'a': 1}", "body", "must be JSON", id="single quotes"),
        pytest.param(b'{"a": "\n"}', "body", "must be JSON", id="raw line feed in text"),
        pytest.param(b'{"a": 01}', "body", "must be JSON", id="leading zero"),
        pytest.param(b'{"a": 1} {"b": 2}', "body", "must be JSON", id="two values"),
        pytest.param(b'{"a": "unterminated \\"', "body", "must be JSON", id="unterminated"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', "body", "byte order mark", id="byte order mark"),
        pytest.param(b'{"a": "\xff"}', "body", "position 7", id="not UTF-8"),
        pytest.param(b'{"a": "\xed\xa0\x80"}', "body", "must be UTF-8", id="a surrogate in UTF-8"),
        pytest.param('{"a": 1}'.encode("utf-16"), "body", "must be UTF-8", id="UTF-16"),
        pytest.param(b'{"a": {"b": NaN}}', "a.b", "NaN is not", id="NaN"),
        pytest.param(b'{"a": [0, -Infinity]}', "a[1]", "-Infinity is not", id="Infinity"),
        pytest.param(b'{"a": {"b": 1, "c": 2, "b": 1}}', "a.b", "more than once", id="name twice"),
        pytest.param(b'{"a": "x\\u0000y"}', "a", "NUL", id="NUL"),
        pytest.param(f'{{"a": ["{LONE}"]}}'.encode(), "a[0]", "surrogate", id="lone surrogate"),
        pytest.param(b'{"a": {"\\u0000": 1}}', "a.\ufffd", "in its name", id="NUL in a name"),
        pytest.param(b'{"a": 9223372036854775808}', "a", "64 bits", id="65 bits"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "a", "64 bits", id="5000 digits"),
        pytest.param(b'{"a": 1e400}', "a", "64 bits", id="beyond a double"),
        pytest.param(b'{"a": 1e99999999999999999999}', "a", "64 bits", id="huge exponent"),
        pytest.param(b'{"a": 0.' + b"1" * 5000 + b"}", "a", "64 characters", id="5000 decimals"),
        pytest.param(b"[" * 500_000, "body", "nest", id="deep lists"),
        pytest.param(b'{"a":' * 100_000, "body", "nest", id="deep objects"),
        pytest.param(b"[" + b"[]," * 50_000 + b"[]]", "body", "10000", id="many lists"),
        pytest.param(json.dumps({f"k{n}": n for n in range(1001)}).encode(), "body", "1000 members", id="many names"),
    ],
)
def test_what_is_not_acceptable_json_is_refused_at_its_place(body: bytes, field: str, says: str) -> None:
    (problem,) = read_json(body).problems
    assert problem.field == field
    assert says in problem.message


def test_every_problem_is_reported_with_its_own_path() -> None:
    problems = read_json(b'{"a": NaN, "b": [1, 1e999], "c": {"d": "\\u0000"}}').problems
    assert [problem.field for problem in problems] == ["a", "b[1]", "c.d"]


def test_brackets_within_text_do_not_count_as_nesting() -> None:
    text = '[{\\"' * 1000
    assert read_json(json.dumps({"a": text}).encode()).value == {"a": text}


def test_nesting_is_allowed_up_to_the_limit_and_not_beyond() -> None:
    assert not read_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH).problems
    assert read_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)).problems


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("1", 1),
        ("1.0", 1),
        ("10e-1", 1),
        ("1E0", 1),
        ("-0", 0),
        ("-0.0", 0),
        ("1.5", 1.5),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775807", -(2**63) + 1),
        ("9007199254740993.0", 2**53 + 1),
        ("1e18", 10**18),
    ],
)
def test_a_number_is_read_by_its_value_not_its_spelling(literal: str, value: float) -> None:
    read = read_json(literal.encode()).value
    assert read == value
    assert type(read) is type(value)


patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No claim about time: the machine may be busy."""

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e18, max_value=1e18)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abé\u2028", max_size=3), inner, max_size=4),
    max_leaves=12,
)


def shuffled(value: object, order: st.DataObject) -> object:
    """The same JSON value with its names in another order."""
    if isinstance(value, list):
        return [shuffled(member, order) for member in value]
    if isinstance(value, dict):
        names = order.draw(st.permutations(sorted(value)))
        return {name: shuffled(value[name], order) for name in names}
    return value


def digest(body: bytes) -> bytes:
    reading = read_json(body)
    assert not reading.problems
    return body_hash(canonical(reading.value))


@patient
@given(json_values, st.data(), st.sampled_from([None, 0, 3]), st.booleans())
def test_equal_values_have_equal_hashes_however_they_are_written(
    value: object, order: st.DataObject, indent: int | None, ascii_only: object
) -> None:
    other = json.dumps(shuffled(value, order), indent=indent, ensure_ascii=bool(ascii_only))
    assert digest(json.dumps(value).encode()) == digest(other.encode())


@patient
@given(json_values, json_values)
def test_different_values_have_different_hashes(one: object, other: object) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    first, second = json.dumps(one).encode(), json.dumps(other).encode()
    if digest(first) == digest(second):
        assert same or one == other
    else:
        assert not same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "true"),
        ("0", "false"),
        ('"1"', "1"),
        ("null", "0"),
        ("[]", "{}"),
        ("[1,2]", "[2,1]"),
        ('"é"', '"e\u0301"'),
    ],
)
def test_what_only_looks_alike_is_another_value(one: str, other: str) -> None:
    assert digest(one.encode()) != digest(other.encode())


@patient
@given(st.binary(max_size=200))
def test_reading_any_bytes_never_raises(body: bytes) -> None:
    reading = read_json(body)
    assert reading.problems or canonical(reading.value)
