"""The log: one JSON line per record on stdout, or coloured text on a terminal; the libraries' records among them.

loguru's ``diagnose`` (values of variables in tracebacks) and ``backtrace`` are off, because both print secrets, and so
is ``enqueue``: a line that was logged is written when the call returns, even if the process dies next.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from datetime import UTC
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from loguru import logger

from vesemir.adapters.observe.redaction import add_secret, hiding, redact_here
from vesemir.domain.visible import escaped_json, visible

if TYPE_CHECKING:
    from loguru import Message, Record

LIBRARIES = ("aio_pika", "aiormq", "asyncssh", "asyncpg", "aiohttp", "asyncio")
"""Their records are of interest one level above ours: INFO of asyncssh is a line or more for every connection."""

_LIBRARY_LEVELS = {"TRACE": logging.DEBUG, "DEBUG": logging.INFO}
_PRINT_MESSAGES = ("aio_pika", "aiormq")
"""At DEBUG they print whole frames: the bodies of messages, which hold what requesters sent, secrets too."""
_TEXT = "<green>{time:HH:mm:ss.SSS}</green> <level>{level: <7}</level>"
_SHOWN_IN_TEXT = ("deployment_id", "target", "step")
_FURTHER = "\n      | "
"""Before every further line of a text, so that none of them looks like a record of its own."""


def set_up_logging(level: str, how: Literal["auto", "json", "text"] = "auto", *, secrets: Iterable[str] = ()) -> None:
    """Once, at the start. ``auto`` is text on a terminal and JSON anywhere else. ``secrets`` are never shown."""
    for secret in secrets:
        add_secret(secret)
    text = how == "text" or (how == "auto" and sys.stdout.isatty())
    logger.remove()
    logger.configure(patcher=_redact_for_people if text else _redact_record)
    logger.add(
        _write_text if text else _write_json,
        level=level,
        format=_text_format if text else "{message}",
        colorize=text and sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
        backtrace=False,
        diagnose=False,
        enqueue=False,
    )
    _intercept_standard_logging(level)


class EngineLog:
    """The engine's ``Log`` on loguru. Fields given to a call become fields of the line, beside the context's."""

    def __init__(self, *, debugs: bool) -> None:
        self._debugs = debugs

    def debug(self, message: str, **fields: object) -> None:
        if self._debugs:  # said for every step, and wanted nearly never
            logger.opt(depth=1).debug(message, **fields)

    def info(self, message: str, **fields: object) -> None:
        logger.opt(depth=1).info(message, **fields)

    def warning(self, message: str, **fields: object) -> None:
        logger.opt(depth=1).warning(message, **fields)

    def error(self, message: str, **fields: object) -> None:
        logger.opt(depth=1).error(message, **fields)

    def exception(self, message: str, **fields: object) -> None:
        logger.opt(depth=1, exception=True).error(message, **fields)

    def context(self, **fields: object) -> AbstractContextManager[object]:
        return _Context(fields)

    def hiding(self, take_out: Callable[[str], str]) -> AbstractContextManager[object]:
        return hiding(take_out)


class _Context(AbstractContextManager[object]):
    """Fields of every line within. What loguru's ``contextualize`` does, at a third of its cost: there are several for
    every step on every target."""

    __slots__ = ("_fields", "_token")

    def __init__(self, fields: dict[str, object]) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._token = _FIELDS.set({**_FIELDS.get(), **self._fields})

    def __exit__(self, *_: object) -> None:
        _FIELDS.reset(self._token)


_FIELDS: ContextVar[Mapping[str, object]] = ContextVar("fields", default=MappingProxyType({}))


def engine_log(*, instance: str, level: str = "TRACE") -> EngineLog:
    """From now on every line, the adapters' too, says which instance wrote it. ``level`` as it was set up with."""
    logger.configure(extra={"instance": instance})
    return EngineLog(debugs=level in {"TRACE", "DEBUG"})


class _Intercept(logging.Handler):
    """Hands a record of the standard library to loguru, as coming from where it was logged."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        frame: FrameType | None = sys._getframe()  # noqa: SLF001 - loguru's documented recipe for this handler
        depth = 0
        while frame is not None and (depth == 0 or frame.f_code.co_filename == logging.__file__):
            frame = frame.f_back
            depth += 1
        logger.opt(depth=depth, exception=record.exc_info).bind(library=record.name).log(
            level, "{}", record.getMessage()
        )


def _intercept_standard_logging(level: str) -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(_Intercept())
    root.setLevel(logging.getLevelName("DEBUG" if level == "TRACE" else level))
    for name in LIBRARIES:
        wanted = _LIBRARY_LEVELS.get(level, logging.WARNING)
        logging.getLogger(name).setLevel(max(wanted, logging.INFO) if name in _PRINT_MESSAGES else wanted)
    logging.captureWarnings(capture=True)


def _redact_record(record: "Record") -> None:
    """The one patcher: before any sink sees it."""
    extra = record["extra"] = {**_FIELDS.get(), **record["extra"]}
    # Nearly always there is nothing to take out: one look at all of it tells.
    together = "\n".join([record["message"], *(value for value in extra.values() if isinstance(value, str))])
    if redact_here(together) == together and all(isinstance(value, _PLAIN) for value in extra.values()):
        return
    record["message"] = redact_here(record["message"])
    for name, value in extra.items():
        extra[name] = _without_secrets(value)


def _redact_for_people(record: "Record") -> None:
    """The same; and what is in the text cannot pass for a line of its own, or move the cursor of who reads it."""
    _redact_record(record)
    record["message"] = _on_one_line(record["message"])
    for name in _SHOWN_IN_TEXT:
        if name in record["extra"]:
            record["extra"][name] = _on_one_line(str(record["extra"][name]))


_PLAIN = (str, bool, int, float, type(None))


def _without_secrets(value: object) -> object:
    """As JSON knows it; anything else as its text."""
    match value:
        case str():
            return redact_here(value)
        case bool() | int() | float() | None:
            return value
        case Mapping():
            return {str(_without_secrets(key)): _without_secrets(item) for key, item in value.items()}
        case list() | tuple():
            return [_without_secrets(item) for item in value]
        case _:
            return redact_here(str(value))


def _on_one_line(text: str) -> str:
    return visible(text).rstrip("\n").replace("\n", _FURTHER)


def _write_json(message: "Message") -> None:
    record = message.record
    line: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record["level"].name,
        "logger": record["name"],
        "message": record["message"],
    }
    line |= {name: value for name, value in record["extra"].items() if name not in line}
    if record["exception"] is not None:
        line["exception"] = redact_here(_traceback(record))
    _write(escaped_json(json.dumps(line, ensure_ascii=False)))


def _write_text(message: "Message") -> None:
    """``message`` as formatted, colours included; the traceback is ours, so that it is redacted too."""
    text = str(message).rstrip("\n")
    if message.record["exception"] is not None:
        text += _FURTHER + _on_one_line(redact_here(_traceback(message.record)))
    _write(text)


def _text_format(record: "Record") -> str:
    """A template: loguru fills it in. Ends without ``{exception}``, see ``_write_text``."""
    shown = [f"<cyan>{{extra[{name}]}}</cyan>" for name in _SHOWN_IN_TEXT if name in record["extra"]]
    return " ".join((_TEXT, *shown, "<level>{message}</level>")) + "\n"


def _traceback(record: "Record") -> str:
    exception = record["exception"]
    if exception is None or exception.value is None:
        return ""
    return "".join(traceback.format_exception(exception.value))


def _write(line: str) -> None:
    """As bytes where possible: no terminal's or locale's encoding can refuse a line."""
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(line + "\n")
    else:
        sys.stdout.flush()
        buffer.write(line.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.flush()
