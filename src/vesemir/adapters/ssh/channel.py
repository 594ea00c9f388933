"""The client's end of a supervisor session: greeting, frames, beats.

What the host sends is judged by ``host_frames`` before it is used. Everything that a host may send is bounded, in bytes
and in time; what goes beyond ends this session with ``ssh.protocol_violated``, and nothing else (docs/reliability.md,
"What one host can cost").
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import asyncssh

from vesemir.adapters.ssh.host_frames import Awaited, HeldOutput, HostFrame, HostFrameError, HostFrames, HostRefusal
from vesemir.adapters.ssh.onhost.wire import BEAT, GREETING, SEND, WRONG_PROTOCOL_STATUS, frame, pack
from vesemir.adapters.ssh.room import OutputRoom
from vesemir.adapters.ssh.trouble import connection_lost, refused, unsupported, violated
from vesemir.domain.failure import LeaseLostError, VesemirError
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host
from vesemir.engine.ports.hosts import Ticket

NOISE_LIMIT: Final = 256 * 1024
"""Bytes that login files may print before the greeting."""
COMPLAINT_LIMIT: Final = 4096
"""Bytes of the supervisor's own trouble (standard error) that are kept: the end of it."""
COMPLAINTS_LIMIT: Final = 1024 * 1024
"""Bytes of it in a whole session. A real supervisor says a line or two."""
SENDING_SECONDS: Final = 30.0
SENDING_BYTES_PER_SECOND: Final = 16 * 1024
"""A held output that was asked for comes within 30 s, and as fast as that: it has room that others wait for."""


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
        self._noise = bytearray()
        self._complaints = b""
        self._complained = 0
        self._frames = HostFrames()
        self._room = room
        self._held = 0
        self._fetching: asyncio.Task[None] | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._answers: deque[asyncio.Future[Any]] = deque()
        self._end: VesemirError | None = None
        self._exit_status: int | None = None
        self._next_beat: asyncio.Handle | None = None

    # -- what asyncssh calls

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._end is not None:
            return
        if datatype is not None:
            self._take_complaint(data)
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
        complaints = self._complaints.decode("utf-8", "replace").strip()
        reason = ": ".join(filter(None, (str(exc or ""), complaints)))
        self.fail(connection_lost(self._target, words_of_host(reason) or "the supervisor on the host ended"))
        if self._next_beat is not None:
            self._next_beat.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    # -- what comes from the host

    def _take_complaint(self, data: bytes) -> None:
        self._complaints = (self._complaints + data)[-COMPLAINT_LIMIT:]
        self._complained += len(data)
        if self._complained > COMPLAINTS_LIMIT:
            self._give_up(violated(self._target, f"it wrote more than {COMPLAINTS_LIMIT} bytes to standard error"))

    def _look_for_greeting(self, data: bytes) -> None:
        """Only what is new is looked at: a greeting that comes byte by byte costs no more than one that comes whole."""
        start = max(0, len(self._noise) - len(self._greeting))
        self._noise += data
        found = self._noise.find(self._greeting, start)
        if (found if found >= 0 else len(self._noise)) > NOISE_LIMIT:
            text = f"its login files print more than {NOISE_LIMIT} bytes; make them silent without a terminal"
            self._give_up(unsupported(self._target, text))
        elif found >= 0:
            rest = bytes(self._noise[found + len(self._greeting) :])
            self._noise.clear()
            self.greeted.set_result(None)
            self._beat()
            self._take(rest)

    @property
    def last_words(self) -> str:
        """The end of what the host printed instead of a greeting."""
        return words_of_host((self._complaints or bytes(self._noise))[-300:].decode("utf-8", "replace"))

    def _no_greeting(self) -> VesemirError:
        words = self.last_words
        if self._exit_status == WRONG_PROTOCOL_STATUS or "can't open file" in words:
            text = f"{words}; install share/vesemir/onhost/supervisor.py of this release there, or unset ssh.supervisor"
            return unsupported(self._target, text)
        text = f"the supervisor did not start (exit status {self._exit_status}): {words or 'it printed nothing'}"
        if self._exit_status in {126, 127}:  # "cannot run" and "command not found" of every shell, and of pyenv's shims
            cure = "its Python is not there or cannot start: install Python 3.6 or later, or set ssh.python to its path"
        else:
            cure = (
                "it needs Python 3.6 or later, a login shell that runs commands, and no ForceCommand in its sshd_config"
            )
        return unsupported(self._target, f"{text}; {cure}")

    def _take(self, data: bytes) -> None:
        try:
            for each in self._frames.feed(data):
                self._take_frame(each)
        except HostFrameError as error:
            self._give_up(violated(self._target, str(error)))

    def _take_frame(self, received: HostFrame) -> None:
        match received:
            case HeldOutput(size):
                self._fetching = self._loop.create_task(self._fetch(size))
            case HostRefusal(code, text):
                self.fail(refused(code, text, self._target))
            case _:
                self._stop_fetching()
                answer = self._answers.popleft()
                if not answer.done():
                    answer.set_result(received)

    # -- output, which needs room

    async def _fetch(self, size: int) -> None:
        """Have a large output sent, once there is room for it."""
        self._held = await self._room.take(size)
        if self._end is not None:
            self.give_room_back()
            return
        self._frames.send_output()
        seconds = SENDING_SECONDS + size / SENDING_BYTES_PER_SECOND
        late = connection_lost(self._target, f"a step's output of {size} bytes did not come within {seconds:.0f} s")
        self._sending = self._loop.call_later(seconds, self._give_up, late)
        self._write(SEND)

    def _stop_fetching(self) -> None:
        """An answer came: its output is here, or is not coming (the step was cancelled)."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        if self._fetching is not None and not self._fetching.done():
            self.give_room_back()

    def give_room_back(self) -> None:
        """The output of the last step is of no more use here."""
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None
        held, self._held = self._held, 0
        if held:
            self._room.give_back(held)

    # -- what goes to the host

    def _beat(self) -> None:
        """While the lease is valid; when it is not, everything here ends at once."""
        if self._end is not None:
            return
        if not self._ticket.valid():
            self.fail(LeaseLostError(f"the lease of {self._ticket.deployment_id} is no longer valid"))
            self._channel.abort()
            return
        self._write(BEAT)
        self._next_beat = self._loop.call_later(self._ticket.beat_seconds, self._beat)

    def _write(self, kind: bytes, fields: Sequence[bytes] = ()) -> None:
        try:
            self._channel.write(frame(kind, pack(fields)))
        except OSError as error:  # the host closed the channel a moment ago, and asyncssh has not said so yet
            self.fail(connection_lost(self._target, str(error)))

    def send(self, kind: bytes, fields: Sequence[bytes] = ()) -> None:
        """Raises what ended the session, if it ended."""
        if self._end is None:
            self._write(kind, fields)
        if self._end is not None:
            raise self._end

    def ask(
        self, kind: bytes, fields: Sequence[bytes], *, answer: Awaited, output_limit: int = 0
    ) -> "asyncio.Future[Any]":
        """A request that has one answer, a value of ``host_frames``; the caller bounds the wait. Answers come in the
        order of the requests, also those that nothing waits for any more."""
        self.send(kind, fields)
        self._frames.ask(answer, output_limit=output_limit)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._answers.append(future)
        return future

    def fail(self, end: VesemirError) -> None:
        """The first reason counts. From now on nothing that the host sends is kept, and no room is held for it."""
        if self._end is not None:
            return
        self._end = end
        self._frames = HostFrames()
        self._noise.clear()
        self._stop_fetching()
        self.give_room_back()
        waiters: list[asyncio.Future[Any]] = [self.greeted, *self._answers]
        self._answers.clear()
        for waiting in waiters:
            if not waiting.done():
                waiting.set_exception(end)
                waiting.exception()  # retrieved: nothing may be waiting any more

    def _give_up(self, end: VesemirError) -> None:
        """Fail, and have nothing to do with this host any more: a polite end would be the host's to drag out."""
        self.fail(end)
        self._channel.get_connection().abort()

    def leave(self) -> None:
        """Close the supervisor's input: it ends everything and exits."""
        if self._next_beat is not None:
            self._next_beat.cancel()
        self.give_room_back()
        if not self.closed.done() and not self._channel.is_closing():
            self._channel.write_eof()

    def abort(self) -> None:
        self._channel.abort()
