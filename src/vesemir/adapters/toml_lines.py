"""On which line of a TOML file each key and array element stands.

``tomllib`` tells a line only for broken syntax. This reads a text that ``tomllib`` has accepted, so it needs to know
strings, brackets and comments, and nothing about values.
"""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}\n#]*")
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)")
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


def parse_toml(text: str) -> dict[str, Any]:
    """Raises ``tomllib.TOMLDecodeError``, also for what ``tomllib`` does not expect: numbers of thousands of digits,
    arrays in arrays in arrays. A file must not end the instance that reads it."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("it is nested too deeply") from error
    except ValueError as error:
        raise tomllib.TOMLDecodeError(f"a value cannot be read: {error}") from error


def key_lines(text: str) -> dict[KeyPath, int]:
    """Lines count from 1. ``steps[1].put.mode`` is ``("steps", 1, "put", "mode")``."""
    return _TomlReader(text.replace("\r\n", "\n")).read()


def line_of(lines: dict[KeyPath, int], path: Sequence[str | int]) -> int | None:
    """The line of the nearest thing around ``path`` that has one."""
    for length in range(len(path), 0, -1):
        line = lines.get(tuple(path[:length]))
        if line is not None:
            return line
    return None


def syntax_line(message: str) -> int | None:
    """The line in the message of a ``tomllib.TOMLDecodeError``."""
    found = re.search(r"at line (\d+)", message)
    return None if found is None else int(found[1])


class _TomlReader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._at = 0
        self._lines: dict[KeyPath, int] = {}
        self._arrays: dict[KeyPath, int] = {}

    def read(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._skip()
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
            self._skip()
        return self._lines

    def _skip(self) -> None:
        found = _BLANK.match(self._text, self._at)
        if found is not None:
            self._at = found.end()

    def _note(self, path: KeyPath, start: int) -> None:
        line = bisect_right(self._starts, start)
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], line)

    def _header(self) -> KeyPath:
        start = self._at
        is_array = self._text.startswith("[[", start)
        self._at += 2 if is_array else 1
        names = self._key()
        self._at = self._text.index("]", self._at) + (2 if is_array else 1)
        path: KeyPath = ()
        for name in names[:-1]:
            path = self._current((*path, name))
        path = (*path, names[-1])
        if is_array:
            self._arrays[path] = self._arrays.get(path, -1) + 1
        path = self._current(path)
        self._note(path, start)
        return path

    def _current(self, path: KeyPath) -> KeyPath:
        """Within an array of tables, a name means its latest element."""
        return (*path, self._arrays[path]) if path in self._arrays else path

    def _key(self) -> list[str]:
        names: list[str] = []
        while True:
            self._skip()
            quoted = _STRING.match(self._text, self._at)
            bare = _BARE_KEY.match(self._text, self._at)
            if quoted is not None:
                names.append(_unquoted(quoted[0]))
                self._at = quoted.end()
            elif bare is not None:
                names.append(bare[0])
                self._at = bare.end()
            self._skip()
            if not self._text.startswith(".", self._at):
                return names
            self._at += 1

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        path: KeyPath = (*table, *self._key())
        self._note(path, start)
        self._at = self._text.index("=", self._at) + 1
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip()
        opening = self._text[self._at : self._at + 1]
        quoted = _STRING.match(self._text, self._at)
        bare = _BARE_VALUE.match(self._text, self._at)
        if opening in {"[", "{"}:
            self._at += 1
            self._members(path, "]" if opening == "[" else "}")
        elif quoted is not None:
            self._at = quoted.end()
        elif bare is not None:
            self._at = bare.end()

    def _members(self, path: KeyPath, closing: str) -> None:
        index = 0
        while True:
            self._skip()
            if self._text.startswith(",", self._at):
                self._at += 1
            elif self._text.startswith(closing, self._at):
                self._at += 1
                return
            elif closing == "}":
                self._pair(path)
            else:
                self._note((*path, index), self._at)
                self._value((*path, index))
                index += 1


def _unquoted(text: str) -> str:
    if text.startswith("'"):
        return text[1:-1]
    return _ESCAPE.sub(lambda found: _character(found[1]), text[1:-1])


def _character(escape: str) -> str:
    return chr(int(escape[1:], 16)) if escape[0] in "uU" else _ESCAPED.get(escape, escape)


def path_text(path: Sequence[str | int]) -> str:
    """``steps[1].put.mode``, as people write it (``[1]`` is the second)."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path if part != "[key]")
    return text.removeprefix(".") or "the file"


def reason_of(detail: ErrorDetails) -> str:
    """Pydantic's reason in the words of somebody who edits a file."""
    match detail["type"]:
        case "extra_forbidden":
            return "unknown key; check its spelling"
        case "missing":
            return "is missing"
        case "value_error":
            return str(detail["ctx"]["error"])
    message = detail["msg"]
    return message[:1].lower() + message[1:]
