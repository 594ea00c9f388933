"""From bytes to a JSON value, more strictly than RFC 8259 asks, because the value is compared, stored and obeyed.

Refused beside what is not JSON: a name given twice in one object (which of them counts?), ``NaN`` and ``Infinity``,
numbers beyond 64 bits, NUL and lone surrogates in text (PostgreSQL's ``jsonb`` holds neither), and nesting that no
message of ours needs. A number is a value, not a spelling: ``1.0`` and ``1e0`` are read as ``1``.
"""

import functools
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from vesemir.domain.problem import Problem

MAX_DEPTH = 32
"""Objects and lists within each other; the deploy event needs five."""

MAX_INTEGER = 2**63 - 1
EXACT_FLOAT = 2**53
"""Up to here every whole number is exactly one double (IEEE 754)."""

MAX_CONTAINERS = 10_000
MAX_MEMBERS = 1000
"""Names in one object: parameters need most. Without a bound, a megabyte of unknown names takes seconds to judge."""

_LONGEST_NUMBER = 64
_LONGEST_NAME = 64
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

BODY = "body"
"""The field of a problem that concerns the message as a whole."""


@dataclass(frozen=True, slots=True)
class ParsedBody:
    """What could be read. ``value`` is a JSON value only if there are no ``problems``."""

    value: Any
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Unusable:
    """Stands in the value where something was that we refuse, so that the walk can say where that is."""

    reason: str


def read_json(body: bytes) -> ParsedBody:
    """Read one JSON text. Never raises; what is refused is said in ``problems``."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        return _nothing(f"must be UTF-8; the byte at position {error.start} is not")
    if text.startswith("\ufeff"):
        return _nothing("must be UTF-8 without a byte order mark")
    if too_much := _shape_problem(text):
        return _nothing(too_much)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        return _nothing(f"must be JSON: {error.msg} at line {error.lineno}, column {error.colno}")
    return ParsedBody(value, _problems(value))


def join(path: str, name: str | int) -> str:
    """``targets.hosts[1]``: the path of a member. Long names, which come from outside, are cut."""
    if isinstance(name, int):
        return f"{path}[{name}]"
    short = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
    clean = _SURROGATE.sub("\ufffd", short).replace("\x00", "\ufffd") or '""'
    return f"{path}.{clean}" if path else clean


def _nothing(message: str) -> ParsedBody:
    return ParsedBody(None, (Problem(BODY, message),))


def _shape_problem(text: str) -> str | None:
    """Brackets outside of strings, counted before the decoder runs, which would recurse and build them all."""
    depth = opened = 0
    for bracket in _BRACKET.finditer(_STRING.sub("", text)):
        if bracket[0] in "]}":
            depth -= 1
            continue
        depth += 1
        opened += 1
        if depth > MAX_DEPTH:
            return f"must not nest more than {MAX_DEPTH} objects and lists within each other"
        if opened > MAX_CONTAINERS:
            return f"must not have more than {MAX_CONTAINERS} objects and lists"
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Unusable:
    if len(pairs) > MAX_MEMBERS:
        return _Unusable(f"must be an object of at most {MAX_MEMBERS} members")
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = _Unusable("must be given once, and stands here more than once") if name in found else value
    return found


def _integer(literal: str) -> int | _Unusable:
    if len(literal) > _LONGEST_NUMBER or abs(value := int(literal)) > MAX_INTEGER:
        return _Unusable("must be a number of at most 64 bits")
    return value


def _float(literal: str) -> float | int | _Unusable:
    value = float(literal)
    if len(literal) > _LONGEST_NUMBER or abs(value) > MAX_INTEGER:
        return _Unusable("must be a number of at most 64 bits and 64 characters")
    if not value.is_integer():
        return value
    return int(value) if abs(value) < EXACT_FLOAT else int(Decimal(literal))


def _constant(literal: str) -> _Unusable:
    return _Unusable(f"must be a JSON value, which {literal} is not")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _problems(value: object) -> tuple[Problem, ...]:
    return tuple(
        Problem(functools.reduce(join, path, "") or BODY, reason)
        for path, reason in itertools.islice(_walk(value), MAX_MEMBERS)
    )


def _walk(value: object) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Places and reasons. The path is put together on the way out: nearly always there is none to report."""
    match value:
        case _Unusable():
            yield (), value.reason
        case str():
            if not is_storable(value):
                yield (), "must not contain a NUL character or half of a surrogate pair"
        case list():
            for index, member in enumerate(value):
                for path, reason in _walk(member):
                    yield (index, *path), reason
        case dict():
            for name, member in value.items():
                if not is_storable(name):
                    yield (name,), "must not have a NUL character or half of a surrogate pair in its name"
                for path, reason in _walk(member):
                    yield (name, *path), reason


def is_storable(text: str) -> bool:
    """Whether PostgreSQL takes it as text and as part of ``jsonb``."""
    return "\x00" not in text and not _SURROGATE.search(text)
