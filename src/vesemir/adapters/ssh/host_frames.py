"""What a host may say, and when: the one place where a supervisor's frames are judged before anything uses them.

A host is not trusted. Who has broken into it, or answers in its place, can send any bytes as a supervisor. So each
frame must be one that the last request allows, each field must have its form and its limits, and a frame is judged by
its first five bytes: what is too long is never waited for. What is read is therefore bounded by what was asked for.

Pure: bytes in, values out. The first frame that does not fit raises ``HostFrameError``, and the session is over.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vesemir.adapters.ssh.onhost.wire import (
    ANSWER,
    ENDED,
    HEADER,
    HELD,
    OUTPUT,
    PIECE,
    REFUSED,
    UNASKED,
    WELCOME,
    unpack,
)
from vesemir.domain.step import StepResult, StepStatus, StepTrace, Trace

TEXT_LIMIT: Final = 8192
"""Bytes of a reason or a refusal. The longest real ones are 4 KiB of sudo's words with advice around them."""
PATH_LIMIT: Final = 4096
"""PATH_MAX of Linux."""
PRINTED_LIMIT: Final = 10**15
SECONDS_LIMIT: Final = 10**7
LEFTOVERS_LIMIT: Final = 2**22
"""The most processes that Linux has (PID_MAX_LIMIT)."""
REFUSALS: Final = (b"epoch", b"busy", b"state", b"lost", b"protocol")


class HostFrameError(ValueError):
    """A frame that no supervisor sends, or not now."""


@dataclass(frozen=True, slots=True)
class Form:
    """Of one field: what it is called, what it looks like, how many bytes and how great a number it may be."""

    name: str
    pattern: "re.Pattern[bytes]"
    longest: int
    greatest: float | None = None

    def fits(self, field: bytes) -> bool:
        """The length comes first: nothing works on more bytes than that."""
        if len(field) > self.longest or self.pattern.fullmatch(field) is None:
            return False
        return self.greatest is None or not field or float(field) <= self.greatest

    def refusal(self, field: bytes) -> HostFrameError:
        if len(field) > self.longest:
            return HostFrameError(f"{self.name} has {len(field)} bytes, at most {self.longest} are possible")
        return HostFrameError(f"{self.name} is {field[:40]!r}, which it cannot be")


_TEXT: Final = re.compile(rb".*", re.DOTALL)
_WHOLE: Final = re.compile(rb"[0-9]+")

STEP_END: Final = (
    Form("the status", re.compile("|".join(StepStatus).encode()), 16),
    Form("the exit status", re.compile(rb"[0-9]*"), 3, 255),
    Form("the size of the output", _WHOLE, 16, PRINTED_LIMIT),
    Form("the duration", re.compile(rb"[0-9]+(\.[0-9]*)?"), 20, SECONDS_LIMIT),
    Form("the number of leftovers", _WHOLE, 8, LEFTOVERS_LIMIT),
    Form("the mark of an end", re.compile(rb"[01]"), 1),
    Form("the reason", _TEXT, TEXT_LIMIT),
)
_TRACE: Final = Form("the trace", re.compile(rb"never|broken_off|finished"), 16)
FORMS: Final = {
    WELCOME: (Form("the state folder", re.compile(rb"/[^\0\n]*"), PATH_LIMIT),),
    REFUSED: (Form("the refusal", re.compile(b"|".join(REFUSALS)), 16), Form("the refusal's text", _TEXT, TEXT_LIMIT)),
    HELD: (Form("the size of the held output", _WHOLE, 16),),
    ENDED: STEP_END,
}
"""The fields of every kind of frame but OUTPUT, which is bytes, and ANSWER, which has two shapes."""
_NAMES: Final = {
    WELCOME: "a welcome", REFUSED: "a refusal", ANSWER: "an answer about a step", HELD: "an announcement of output",
    OUTPUT: "output", ENDED: "the end of a step",
}  # fmt: skip


def _longest(forms: Sequence[Form]) -> int:
    return sum(4 + form.longest for form in forms)


LONGEST: Final = {
    **{kind: _longest(forms) for kind, forms in FORMS.items()},
    ANSWER: _longest((_TRACE, *STEP_END)),
    OUTPUT: PIECE,
}
"""Bytes of payload, by kind."""


class Awaited(Enum):
    """What the oldest request that has no answer yet waits for."""

    WELCOME = "the answer to the greeting"
    TRACE = "what is known of a step"
    STEP = "a step"
    HELD = "room for a step's output"
    SENT = "a step's output"
    NOTHING = "nothing was asked"


ALLOWED: Final = {
    Awaited.WELCOME: frozenset({WELCOME, REFUSED}),
    Awaited.TRACE: frozenset({ANSWER, REFUSED}),
    Awaited.STEP: frozenset({OUTPUT, HELD, ENDED, REFUSED}),
    Awaited.HELD: frozenset({ENDED, REFUSED}),
    Awaited.SENT: frozenset({OUTPUT, ENDED, REFUSED}),
    Awaited.NOTHING: frozenset({REFUSED}),
}
"""The kinds of frames that may come, by what is awaited."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The lane is ours."""

    state_folder: str


@dataclass(frozen=True, slots=True)
class HostRefusal:
    """The supervisor ends the session; ``code`` is one of ``REFUSALS``."""

    code: bytes
    text: str


@dataclass(frozen=True, slots=True)
class HeldOutput:
    """A step ended whose output, of so many bytes, waits on the host until it is asked for."""

    size: int


HostFrame = Welcome | HostRefusal | HeldOutput | StepTrace | StepResult


class HostFrames:
    """The frames of one session, judged in their order."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._awaited: deque[tuple[Awaited, int]] = deque()
        self._output = bytearray()
        self._over = False

    @property
    def awaited(self) -> Awaited:
        return self._awaited[0][0] if self._awaited else Awaited.NOTHING

    def ask(self, what: Awaited, *, output_limit: int = 0) -> None:
        """A request goes out; its answer comes after those of all earlier ones."""
        self._awaited.append((what, output_limit))

    def send_output(self) -> None:
        """The output that was announced is asked for."""
        if self.awaited is Awaited.HELD:
            self._awaited[0] = Awaited.SENT, self._awaited[0][1]

    def feed(self, received: bytes) -> list[HostFrame]:
        """What is complete now. Raises ``HostFrameError``. After a refusal nothing more is read."""
        frames: list[HostFrame] = []
        self._received += received
        while len(self._received) >= HEADER and not self._over:
            kind, size = bytes(self._received[:1]), int.from_bytes(self._received[1:HEADER], "big")
            self._judge_header(kind, size)
            if len(self._received) < HEADER + size:
                break
            payload = bytes(self._received[HEADER : HEADER + size])
            del self._received[: HEADER + size]
            if kind == OUTPUT:
                self._output += payload
            else:
                frames.append(self._frame(kind, payload))
        return frames

    def _judge_header(self, kind: bytes, size: int) -> None:
        awaited, limit = self._awaited[0] if self._awaited else (Awaited.NOTHING, 0)
        if kind not in ALLOWED[awaited]:
            name = _NAMES.get(kind, f"a frame of kind {kind!r}")
            raise HostFrameError(f"{name} came while it was about {awaited.value}")
        if size > LONGEST[kind]:
            raise HostFrameError(f"{_NAMES[kind]} of {size} bytes was announced, at most {LONGEST[kind]} are possible")
        if kind == OUTPUT:
            most = min(limit, UNASKED) if awaited is Awaited.STEP else limit
            if not size or len(self._output) + size > most:
                raise HostFrameError(f"more output came than the {most} bytes that were asked for, or empty output")

    def _frame(self, kind: bytes, payload: bytes) -> HostFrame:
        try:
            fields = unpack(payload)
        except ValueError as error:
            raise HostFrameError(f"{_NAMES[kind]} has lengths that do not fit: {error}") from None
        if kind == ANSWER:
            return self._trace(fields)
        _check(_NAMES[kind], FORMS[kind], fields)
        if kind == REFUSED:
            self._over = True
            self._received.clear()
            return HostRefusal(fields[0], fields[1].decode("utf-8", "replace"))
        if kind == HELD:
            return self._held(int(fields[0]))
        self._awaited.popleft()
        if kind == WELCOME:
            return Welcome(fields[0].decode("utf-8", "surrogateescape"))
        output, self._output = bytes(self._output), bytearray()
        return _result(fields, output)

    def _held(self, size: int) -> HeldOutput:
        limit = self._awaited[0][1]
        if self._output or not UNASKED < size <= limit:
            raise HostFrameError(f"{size} bytes of output were announced, between {UNASKED} and {limit} are possible")
        self._awaited[0] = Awaited.HELD, size
        return HeldOutput(size)

    def _trace(self, fields: Sequence[bytes]) -> StepTrace:
        finished = fields[:1] == [b"finished"]
        _check(_NAMES[ANSWER], (_TRACE, *STEP_END) if finished else (_TRACE,), fields)
        self._awaited.popleft()
        return StepTrace(Trace(fields[0].decode("ascii")), _result(fields[1:], b"") if finished else None)


def _check(name: str, forms: Sequence[Form], fields: Sequence[bytes]) -> None:
    if len(fields) != len(forms):
        raise HostFrameError(f"{name} has {len(fields)} fields, {len(forms)} belong to it")
    for form, field in zip(forms, fields, strict=True):
        if not form.fits(field):
            raise form.refusal(field)


def _result(fields: Sequence[bytes], output: bytes) -> StepResult:
    """Of the fields of ENDED, which were checked."""
    status, exit_status, printed, seconds, leftovers, ended, reason = fields
    return StepResult(
        status=StepStatus(status.decode("ascii")),
        exit_status=int(exit_status) if exit_status else None,
        output=output,
        output_bytes=int(printed),
        duration_seconds=float(seconds),
        leftovers=int(leftovers),
        ended=ended == b"1",
        reason=reason.decode("utf-8", "replace"),
    )
