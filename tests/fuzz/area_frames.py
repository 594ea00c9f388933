"""What a hostile host sends as a supervisor, into the client's end of a session: an answer, or one failure of ours."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import asyncssh
from hypothesis import strategies as st
from tests.fuzz.examine import Area, Check
from tests.fuzz.mutation import AWKWARD_BYTES, nearly
from tests.fuzz.storable import assert_failure, assert_storable
from tests.integration.hostile_frames import STEPS, TRACES, WELCOMES, ended, welcome

from vesemir.adapters.ssh.channel import SupervisorChannel
from vesemir.adapters.ssh.host_frames import Awaited, HostRefusal, Welcome
from vesemir.adapters.ssh.onhost.wire import (
    ANSWER,
    ENDED,
    GREETING,
    HELD,
    HELLO,
    OUTPUT,
    REFUSED,
    RUN,
    TRACE,
    WELCOME,
    frame,
    pack,
)
from vesemir.adapters.ssh.room import ROOM_BYTES, OutputRoom
from vesemir.domain.failure import FailedError, VesemirError
from vesemir.domain.step import StepResult, StepTrace
from vesemir.domain.target import Target
from vesemir.engine.ports.hosts import Ticket

NONCE = b"0123456789abcdef"
OUTPUT_LIMIT = 64 * 1024
MOST_PIECES = 300
KEPT_LIMIT = 512 * 1024
"""Bytes that one session may hold on to, whatever comes: noise before the greeting is the most of it."""

_KINDS = st.sampled_from([WELCOME, REFUSED, ANSWER, HELD, OUTPUT, ENDED, b"?", b"\x00"])
_FIELDS = st.lists(
    st.sampled_from([b"succeeded", b"failed", b"0", b"1", b"5", b"0.5", b"", b"finished", b"never", b"busy", b"20000"])
    | AWKWARD_BYTES
    | st.binary(max_size=12),
    max_size=9,
)
_FRAMES = st.builds(lambda kind, fields: frame(kind, pack(fields)), _KINDS, _FIELDS)
_LIES = [*STEPS.values(), *TRACES.values(), *WELCOMES.values(), welcome(), ended(), frame(OUTPUT, b"out\n") + ended()]
_PIECES = st.one_of(_FRAMES, _FRAMES, st.sampled_from(_LIES), nearly([each for each in _LIES if len(each) < 1000]))
_BEFORE = st.sampled_from([b"", b"", b"welcome to this host\r\n", b"\x00" * 3000]) | st.binary(max_size=60)
_GREETING = st.just(GREETING + NONCE[::-1] + b"\n") | st.sampled_from([b"", GREETING, GREETING + NONCE + b"\n"])
SESSIONS = st.tuples(
    _BEFORE, st.just(GREETING + NONCE[::-1] + b"\n") | _GREETING, st.lists(_PIECES, max_size=6), st.integers(1, 5000)
)


class _Wire:
    """What a session does to its connection."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, data: bytes) -> None:
        """It goes nowhere."""

    def write_eof(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_connection(self) -> "_Wire":
        return self


def _size(value: object) -> int:
    return len(value) if isinstance(value, bytes | bytearray) else 0


def _kept(channel: SupervisorChannel) -> int:
    """Bytes in everything that the session holds."""
    frames = channel._frames
    return sum(map(_size, vars(channel).values())) + sum(map(_size, vars(frames).values()))


def _asked(channel: SupervisorChannel) -> list["asyncio.Future[Any]"]:
    """Every kind of request, as the owner of a deployment makes them, until the session has ended."""
    futures = []
    try:
        futures.append(channel.ask(HELLO, [b"lane"], answer=Awaited.WELCOME))
        futures.append(channel.ask(TRACE, [b"d1", b"s.1"], answer=Awaited.TRACE))
        futures.append(channel.ask(RUN, [b"order"], answer=Awaited.STEP, output_limit=OUTPUT_LIMIT))
        futures.append(channel.ask(RUN, [b"order"], answer=Awaited.STEP, output_limit=OUTPUT_LIMIT))
    except VesemirError:
        pass  # it has ended already
    return futures


async def _judge(session: tuple[bytes, bytes, list[bytes], int]) -> None:
    noise, greeting, pieces, size = session
    room, wire = OutputRoom(), _Wire()
    ticket = Ticket("d1", "shop/production", 1, lambda: True, beat_seconds=3, silence_seconds=10)
    channel = SupervisorChannel(Target("web1", "192.0.2.1", 22, "deploy", {}, "fuzz"), ticket, NONCE, room)
    channel.connection_made(cast("asyncssh.SSHClientChannel[bytes]", wire))
    channel.data_received(noise + greeting, None)
    futures = _asked(channel)
    sent = b"".join(pieces)
    size = max(size, len(sent) // MOST_PIECES)
    for place in range(0, len(sent), size):
        channel.data_received(sent[place : place + size], None)
        assert _kept(channel) < KEPT_LIMIT
        await asyncio.sleep(0)  # what was announced may now be asked for
    channel.data_received(b"\xff" * 100, asyncssh.EXTENDED_DATA_STDERR)
    channel.exit_status_received(1)
    channel.connection_lost(None)
    assert room.free == ROOM_BYTES, "no room is held for a session that has ended"
    for future in (channel.greeted, *futures):
        assert future.done(), "every request has an answer or a failure"
        _judge_answer(future)


def _judge_answer(future: "asyncio.Future[Any]") -> None:
    error = future.exception()
    if error is not None:
        assert isinstance(error, VesemirError)
        if isinstance(error, FailedError):
            assert_failure(error)
        return
    answer = future.result()
    assert answer is None or isinstance(answer, Welcome | StepTrace | StepResult | HostRefusal)
    if isinstance(answer, StepResult):
        assert len(answer.output) <= OUTPUT_LIMIT
        assert_storable((answer.output_bytes, answer.duration_seconds, answer.leftovers))
        assert max(answer.output_bytes, answer.leftovers) < 2**63, "the record has 64 bits"


@contextmanager
def opened() -> Iterator[Check]:
    with asyncio.Runner() as runner:
        yield lambda session: runner.run(_judge(session))


FRAMES = Area("frames", "any frames of a host: answers in their limits, or one failure", SESSIONS, opened)
