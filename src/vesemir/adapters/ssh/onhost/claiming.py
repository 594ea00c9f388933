"""One session's beginning and its conditions: greeting, the lane's claim, signs of life, and the frames both ways."""

import os
import select
import signal
import time

from vesemir.adapters.ssh.onhost.kernel import (
    PR_SET_CHILD_SUBREAPER,
    complain,
    control_process,
    new_tag,
    tag_descendants,
)
from vesemir.adapters.ssh.onhost.records import BusyError, EpochError, Lane, State
from vesemir.adapters.ssh.onhost.step import HANDLED
from vesemir.adapters.ssh.onhost.wire import BEAT, GREETING, REFUSED, WELCOME, Unframer, frame, pack, unpack

HELLO_SECONDS = 60.0


class Lost(Exception):  # noqa: N818 - not an error: how the loop ends
    """The session is over; why."""


class Session:
    """``lane`` and ``state`` are the first supervisor's only."""

    def __init__(self) -> None:
        self.frames = Unframer()
        self.outbox = bytearray()
        self.state: State | None = None
        self.lane: Lane | None = None
        self.tag = 0
        self.silence = HELLO_SECONDS
        self.grace = 2.0
        self.heard = time.monotonic()
        self.terminated = False
        self.under_sudo = False
        self.wake = -1

    def begin(self, nonce: bytes) -> None:
        self.wake, writer = os.pipe()
        for descriptor in (self.wake, writer, 0, 1):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(writer)
        for number in HANDLED:
            signal.signal(number, self.on_signal)
        control_process(PR_SET_CHILD_SUBREAPER, 1)
        self.outbox += GREETING + nonce[::-1] + b"\n"

    def on_signal(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self.terminated = True

    def receive(self) -> None:
        try:
            received = os.read(0, 65536)
        except BlockingIOError:
            return
        if not received:
            raise Lost(b"closed", "the connection was closed")
        self.heard = time.monotonic()
        for kind, payload in self.frames.feed(received):
            self.obey(kind, unpack(payload) if kind != BEAT else [], payload)

    def obey(self, kind: bytes, fields: list[bytes], payload: bytes) -> None:
        """A frame from the client. Raises ``ValueError`` for one that makes no sense."""
        raise NotImplementedError

    def look_at_session(self) -> None:
        if self.terminated:
            raise Lost(b"lost", "the supervisor on the host was told to end by a signal")
        if time.monotonic() - self.heard > self.silence:
            raise Lost(b"lost", f"no sign of life from the client for {self.silence:.1f} s")
        if self.lane is not None and self.lane.superseded():
            raise Lost(b"epoch", "a later claim of this lane has come to the host")

    def greet(self, fields: list[bytes]) -> None:
        lane, epoch, wait, silence, grace, folder, tag = fields
        if lane and self.under_sudo:
            raise ValueError("the state folder is the login user's, and root writes nothing there")
        self.silence, self.grace = float(silence), float(grace)
        self.tag = tag_descendants(int(tag) or new_tag())
        if lane:
            self.state = State(os.fsdecode(folder))
            self.state.prepare()
            self.take_lane(Lane(self.state, lane, int(epoch)), float(wait))
            try:
                self.state.prune()
            except OSError as error:
                complain(f"old markers could not be removed: {error}")
            self.send(WELCOME, [os.fsencode(self.state.folder)])

    def take_lane(self, lane: Lane, seconds: float) -> None:
        """Raise the epoch, then wait for the lock: an older holder sees the epoch and gives way, or is made to."""
        limit = time.monotonic() + seconds
        try:
            lane.raise_epoch()
            while not lane.try_lock():
                left = limit - time.monotonic()
                if left <= 0:
                    holder = lane.holder()
                    raise BusyError(f"another session works in this lane (epoch {holder[0]}, pid {holder[1]})")
                if left < seconds / 2:
                    lane.oust()
                if 0 in select.select([0], [], [], 0.02)[0]:  # flock(2) has no descriptor to wait for
                    self.receive()
                self.look_at_session()
            if not lane.end_orphans():
                raise BusyError("processes of an earlier session cannot be ended (uninterruptible, or not ours)")
            if lane.superseded():
                raise EpochError("a later claim of this lane has come to the host")
        except EpochError as error:
            raise Lost(b"epoch", str(error)) from None
        except BusyError as error:
            raise Lost(b"busy", str(error)) from None
        lane.sign(self.tag)
        self.lane = lane

    def send(self, kind: bytes, fields: list[bytes]) -> None:
        self.outbox += frame(kind, pack(fields))

    def flush(self) -> None:
        try:
            while self.outbox:
                del self.outbox[: os.write(1, self.outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self.outbox.clear()
            raise Lost(b"closed", "the connection was closed") from None

    def refuse(self, code: bytes, text: str) -> None:
        """The last words, if the client takes them within a second."""
        self.send(REFUSED, [code, text.encode("utf-8", "replace")])
        complain(text)
        limit = time.monotonic() + 1.0
        try:
            while self.outbox and time.monotonic() < limit:
                select.select([], [1], [], 0.1)
                self.flush()
        except Lost:
            return
