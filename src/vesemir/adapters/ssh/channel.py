"""The client's end of a supervisor session: greeting, frames, beats. Bytes are used as they come, none are queued."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence

import asyncssh

from vesemir.adapters.ssh.onhost.wire import (
    BEAT,
    ENDED,
    GREETING,
    HELD,
    OUTPUT,
    REFUSED,
    SEND,
    WRONG_PROTOCOL_STATUS,
    Unframer,
    frame,
    pack,
    unpack,
)
from vesemir.adapters.ssh.room import OutputRoom
from vesemir.adapters.ssh.trouble import connection_lost, refused, unsupported
from vesemir.domain.failure import LeaseLostError, VesemirError
from vesemir.domain.target import Target
from vesemir.engine.ports.hosts import Ticket

NOISE_LIMIT = 1024 * 1024
"""What login files may print before the greeting."""
COMPLAINT_LIMIT = 4096

Answer = tuple[bytes, list[bytes], bytes]
"""Kind, fields, and the output that came before (of ENDED)."""


class SupervisorChannel(asyncssh.SSHClientSession[bytes]):
    """One exec session. Its end is an exception: every request made after it, or waiting, raises that."""

    def __init__(self, target: Target, ticket: Ticket, nonce: bytes, room: OutputRoom) -> None:
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._target = target
        self._ticket = ticket
        self._greeting = GREETING + nonce[::-1] + b"\n"
        self._noise = b""
        self._complaints = b""
        self._frames = Unframer()
        self._pieces: list[bytes] = []
        self._room = room
        self._held = 0
        self._fetching: asyncio.Task[None] | None = None
        self._answers: deque[asyncio.Future[Answer]] = deque()
        self._end: VesemirError | None = None
        self._exit_status: int | None = None
        self._next_beat: asyncio.Handle | None = None

    # -- what asyncssh calls

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype is not None:
            self._complaints = (self._complaints + data)[-COMPLAINT_LIMIT:]
        elif self.greeted.done():
            self._take(data)
        else:
            self._look_for_greeting(data)

    def exit_status_received(self, status: int) -> None:
        self._exit_status = status

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once, when the channel is gone, with or without its connection."""
        if exc is None and not self.greeted.done():
            self.fail(self._no_greeting())
        said = self._complaints.decode("utf-8", "replace").strip()
        self.fail(connection_lost(self._target, str(exc or "") or said or "the supervisor on the host ended"))
        if self._next_beat is not None:
            self._next_beat.cancel()
        self.give_room_back()
        if not self.closed.done():
            self.closed.set_result(None)

    # -- what comes from the host

    def _look_for_greeting(self, data: bytes) -> None:
        self._noise += data
        found = self._noise.find(self._greeting)
        if found >= 0:
            rest = self._noise[found + len(self._greeting) :]
            self._noise = b""
            self.greeted.set_result(None)
            self._beat()
            self._take(rest)
        elif len(self._noise) > NOISE_LIMIT:
            self.fail(
                unsupported(self._target, "its login files print without end; make them silent without a terminal")
            )
            self._channel.abort()

    def _no_greeting(self) -> VesemirError:
        if self._exit_status == 127:  # noqa: PLR2004 - "command not found" of every shell
            return unsupported(
                self._target, "it has no python3; install Python 3.6 or later, or set ssh.python to its path"
            )
        said = (self._complaints or self._noise)[-300:].decode("utf-8", "replace").strip()
        if self._exit_status == WRONG_PROTOCOL_STATUS or "can't open file" in said:
            text = f"{said}; install share/vesemir/onhost/supervisor.py of this release there, or unset ssh.supervisor"
            return unsupported(self._target, text)
        text = f"the supervisor did not start (exit status {self._exit_status}): {said or 'nothing was said'}"
        return unsupported(self._target, f"{text}; it needs Python 3.6 or later and a login shell that runs commands")

    def _take(self, data: bytes) -> None:
        try:
            for kind, payload in self._frames.feed(data):
                self._take_frame(kind, payload)
        except (ValueError, IndexError) as error:
            self.fail(refused(b"protocol", str(error), self._target))
            self._channel.abort()

    def _take_frame(self, kind: bytes, payload: bytes) -> None:
        if kind == OUTPUT:
            self._pieces.append(payload)
            return
        fields = unpack(payload)
        if kind == HELD:
            self._fetching = self._loop.create_task(self._fetch(int(fields[0])))
            return
        if kind == REFUSED:
            self.fail(refused(fields[0], fields[1].decode("utf-8", "replace"), self._target))
            return
        if kind == ENDED and self._fetching is not None and not self._fetching.done():
            self.give_room_back()  # the step was cancelled
        pieces = b"".join(self._pieces) if kind == ENDED else b""
        self._pieces.clear()
        if self._answers and not (answer := self._answers.popleft()).done():
            answer.set_result((kind, fields, pieces))

    # -- output, which needs room

    async def _fetch(self, size: int) -> None:
        """Have a large output sent, once there is room for it."""
        self._held = await self._room.take(size)
        with contextlib.suppress(VesemirError):  # the session is over, and whoever waits for the step knows
            self.send(SEND)

    def give_room_back(self) -> None:
        """The output of the last step is of no more use here."""
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None
        if self._held:
            self._room.give_back(self._held)
            self._held = 0

    # -- what goes to the host

    def _beat(self) -> None:
        """While the lease is valid; when it is not, everything here ends at once."""
        if self._end is not None:
            return
        if not self._ticket.valid():
            self.fail(LeaseLostError(f"the lease of {self._ticket.deployment_id} is no longer valid"))
            self._channel.abort()
            return
        self._channel.write(frame(BEAT))
        self._next_beat = self._loop.call_later(self._ticket.beat_seconds, self._beat)

    def send(self, kind: bytes, fields: Sequence[bytes] = ()) -> None:
        """Raises what ended the session, if it ended."""
        if self._end is not None:
            raise self._end
        self._channel.write(frame(kind, pack(fields)))

    def ask(self, kind: bytes, fields: Sequence[bytes]) -> "asyncio.Future[Answer]":
        """A request that has one answer; the caller bounds the wait. Answers come in the order of the requests, also
        those that nobody waits for any more."""
        self.send(kind, fields)
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answers.append(answer)
        return answer

    def fail(self, end: VesemirError) -> None:
        """The first reason counts."""
        if self._end is not None:
            return
        self._end = end
        waiters: list[asyncio.Future[None] | asyncio.Future[Answer]] = [self.greeted, *self._answers]
        for waiting in waiters:
            if not waiting.done():
                waiting.set_exception(end)
                waiting.exception()  # retrieved: nobody may be waiting any more

    def leave(self) -> None:
        """Close the supervisor's input: it ends everything and exits."""
        if self._next_beat is not None:
            self._next_beat.cancel()
        self.give_room_back()
        if not self.closed.done() and not self._channel.is_closing():
            self._channel.write_eof()

    def abort(self) -> None:
        self._channel.abort()
