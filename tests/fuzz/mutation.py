"""Bytes that are nearly right: real inputs with a few things done to them, and now and then nothing but noise.

An example is a seed and a short list of changes, so Hypothesis can shrink it to the one change that matters.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

Change = tuple[str, int, bytes]
"""What is done, where (a fraction of the input, in 1/65536), and with which bytes."""

AWKWARD = (
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\xc2\x85",
    b"\x0b", b"\x1c",
    b"\r", b"\n", b"\r\n", b"\t", b" ", b"\\", b"\\u0000", b"\\ud800", b"\\x00", b"'", b'"', b"'''", b'"""', b"#", b";",
    b"9" * 30, b"9" * 400, b"9" * 5000, b"-1", b"0", b"1e999", b"nan", b"inf", b"NaN", b"Infinity", b"0x" + b"f" * 40,
    b"0b", b"1_0", b"2026-99-99", b"2026-11-01T25:61:61Z", b"12:30:99", b"[" * 3000, b"{" * 3000, b"{a=" * 2000,
    b"[" * 200 + b"]" * 200, b"- " * 2000, b"a." * 2000 + b"a = 1", b"(" * 3000, b"&a [*a]", b"*a", b"!!timestamp ",
    b"!!binary ", b"!!float ", b"!!int ", b"!!set ", b"!!python/object:os.system ", b"<<: ", b"? ", b"%YAML 9.9",
    b"null", b"true", b"[]", b"{}", b"{{ x }}", b"{x}", b"$(id)", b"[1:99999999]", b"a{99999999999999}", b"[[a--b]",
    b"[a:z][a:z][a:z][a:z]", b":", b",",
    b"=", b"..", b"/", b"x" * 5000, b"\xc3\xa4" * 300, "\U0001f600".encode(),
)  # fmt: skip
"""What parsers have stumbled over: NUL, half characters, line ends that not everybody knows, numbers without end,
nesting, dates that cannot be, tags, quotes."""

AWKWARD_BYTES = st.integers(0, len(AWKWARD) - 1).map(AWKWARD.__getitem__)

LONGEST = 100_000
"""Bytes of an input: more of the same finds nothing new."""

_LINE = re.compile(rb"[^\n]*\n?")
_PATTERNS = {"number": re.compile(rb"[0-9]+"), "word": re.compile(rb"[A-Za-z_]+")}


def _lines(data: bytes) -> list[bytes]:
    return _LINE.findall(data)[:-1] or [b""]


def _of_lines(data: bytes, where: int, what: str) -> bytes:
    lines = _lines(data)
    index = where * len(lines) >> 16
    match what:
        case "double the line":
            lines[index] *= 2
        case "drop the line":
            del lines[index]
        case "repeat the line":
            lines[index] *= min(300, LONGEST // max(1, len(lines[index])))
        case _:
            lines.insert(0, lines.pop(index))
    return b"".join(lines)


def _replaced(pattern: "re.Pattern[bytes]", data: bytes, where: int, by: bytes) -> bytes:
    found = list(pattern.finditer(data))
    if not found:
        return data
    one = found[where * len(found) >> 16]
    return data[: one.start()] + by + data[one.end() :]


def _flipped(rest: bytes, by: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(rest, by, strict=False)) + rest[len(by) :]


_AT: Mapping[str, Callable[[bytes, bytes], bytes]] = {
    "flip": _flipped,
    "insert": lambda rest, by: by + rest,
    "take out": lambda rest, by: rest[len(by) :],
}
"""What becomes of the rest of the input, from a place on."""


def changed(data: bytes, change: Change) -> bytes:
    """``data`` with one thing done to it."""
    what, where, by = change
    if what in _AT:
        at = where * len(data) >> 16
        return data[:at] + _AT[what](data[at:], by)
    if what == "cut off":
        return data[: where * len(data) >> 16]
    if what in _PATTERNS:
        return _replaced(_PATTERNS[what], data, where, by)
    return _of_lines(data, where, what)


_WITH_BYTES = ("flip", "insert", "take out", "number", "word")
_WITHOUT = ("cut off", "double the line", "drop the line", "repeat the line", "move the line")
_WHERE = st.integers(0, 65535)
CHANGES = st.one_of(
    st.tuples(st.sampled_from(_WITH_BYTES), _WHERE, AWKWARD_BYTES | st.binary(min_size=1, max_size=8)),
    st.tuples(st.sampled_from(_WITHOUT), _WHERE, st.just(b"")),
)


def _all_changed(seed: bytes, changes: Sequence[Change]) -> bytes:
    for change in changes:
        seed = changed(seed, change)[:LONGEST]
    return seed


def nearly(seeds: Sequence[bytes], *, most: int = 5) -> st.SearchStrategy[bytes]:
    """Mostly one of ``seeds`` with up to ``most`` changes; sometimes noise."""
    mutated = st.builds(_all_changed, st.sampled_from(list(seeds)), st.lists(CHANGES, min_size=1, max_size=most))
    return st.one_of(mutated, mutated, mutated, st.binary(max_size=400))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 2),
    st.just(10**400),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "\x00", "\ud800", "\u202e", "9" * 5000, "x" * 70_000, "..", "a/b", "-", "127.0.0.1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths_of(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The place of every member, the outermost first."""
    members: list[tuple[str | int, object]] = []
    if isinstance(value, Mapping):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    return [path, *(found for name, member in members for found in paths_of(member, (*path, name)))]


def with_value(value: Any, path: Sequence[str | int], new: object) -> Any:
    """A copy in which the member at ``path`` is ``new``."""
    if not path:
        return new
    first, rest = path[0], path[1:]
    inner = with_value(value[first], rest, new)
    if isinstance(value, list):
        return [*value[:first], inner, *value[first + 1 :]]
    return {**value, first: inner}


def nearly_json(seeds: Sequence[Any]) -> st.SearchStrategy[bytes]:
    """JSON of the right form in which one member is something else, and then maybe bytes that are."""
    places = [(seed, path) for seed in seeds for path in paths_of(seed)]
    replaced = st.builds(
        lambda place, new: json.dumps(with_value(place[0], place[1], new)).encode(), st.sampled_from(places), VALUES
    )
    texts = [json.dumps(seed).encode() for seed in seeds]
    return st.one_of(replaced, replaced, nearly(texts), st.sampled_from(texts))
