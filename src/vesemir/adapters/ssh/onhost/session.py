"""The supervisor's one loop: input, output, children, deadline and beat; nothing in it waits for anything else.

Everything ends, at once, when the input closes, the beat stops, a later claim of the lane appears, or this program is
told to (SIGTERM). A step that was ended so, or on request, gets no result marker: it broke off.
"""

import os
import select
import signal
import sys
import time

from vesemir.adapters.ssh.onhost.kernel import (
    PR_SET_CHILD_SUBREAPER,
    complain,
    control_process,
    new_tag,
    tag_descendants,
)
from vesemir.adapters.ssh.onhost.nested import (
    SUDO_SECONDS,
    Nested,
    SudoStep,
    beat_nested,
    without_sudo,
)
from vesemir.adapters.ssh.onhost.records import (
    BusyError,
    EpochError,
    Lane,
    State,
    mark_result,
    mark_started,
    read_trace,
)
from vesemir.adapters.ssh.onhost.step import HANDLED, Order, Outcome, Step
from vesemir.adapters.ssh.onhost.tree import Reaper
from vesemir.adapters.ssh.onhost.wire import (
    ANSWER,
    BEAT,
    ENDED,
    GREETING,
    HELLO,
    KILL,
    OUTPUT,
    REFUSED,
    RUN,
    TRACE,
    WELCOME,
    Unframer,
    frame,
    pack,
    unpack,
)

TURN_SECONDS = 0.5
"""The longest pause between two looks at epoch and beat."""
SETTLE_SECONDS = 0.2
"""For what a command leaves running to end by itself (the other half of a pipe), before it is a leftover."""
HELLO_SECONDS = 60.0
PIECE = 32768
PROGRAM = ""
"""This program as it was sent; the loader replaces it."""


class Lost(Exception):  # noqa: N818 - not an error: how the loop ends
    """The session is over; why."""


class Supervisor:
    """One session. ``lane`` and ``state`` are the first supervisor's only, ``nested`` is its child under sudo."""

    def __init__(self) -> None:
        self.reaper = Reaper()
        self.frames = Unframer()
        self.outbox = bytearray()
        self.state: State | None = None
        self.lane: Lane | None = None
        self.tag = 0
        self.silence = HELLO_SECONDS
        self.grace = 2.0
        self.heard = time.monotonic()
        self.step: Step | None = None
        self.nested: Nested | None = None
        self.sudo_step: SudoStep | None = None
        self.marker = ""
        self.cause = b""  # why the step is being ended
        self.patience = 0.0  # until when it may end by itself
        self.terminated = False
        self.wake = -1

    # -- beginning and end

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

    def serve(self) -> None:
        """Until the session is over; then end what runs and say so."""
        try:
            while True:
                self.turn(TURN_SECONDS)
        except Lost as end:
            code, text = end.args
        except (ValueError, IndexError) as error:
            code, text = b"protocol", str(error)
        except OSError as error:
            code, text = b"state", "{}: {}".format(error.filename or "the state folder", os.strerror(error.errno or 0))
        if self.end_everything() and self.lane is not None:
            self.lane.leave()
        if code != b"closed":
            self.send(REFUSED, [code, text.encode("utf-8", "replace")])
            complain(text)
            limit = time.monotonic() + 1.0
            while self.outbox and time.monotonic() < limit:
                select.select([], [1], [], 0.1)
                self.flush()

    def end_everything(self) -> bool:
        """Without grace: nobody is there any more who could wait. False if something could not be ended."""
        if self.nested is not None:
            self.nested.close_input()
        ended = self.reaper.end_family()[1]
        if self.nested is not None:
            limit = time.monotonic() + OVERALL_END_SECONDS
            while self.nested.pid in self.reaper.spared and time.monotonic() < limit:
                select.select([self.nested.output], [], [], 0.05)
                self.nested.read()
                self.reaper.reap()
            ended = ended and self.nested.pid not in self.reaper.spared
        return ended

    # -- one turn of the loop

    def turn(self, longest: float) -> None:
        now = time.monotonic()
        readable = [0, self.wake]
        writable = [1] if self.outbox else []
        if self.step is not None:
            longest = min(longest, max((self.patience or self.step.deadline) - now, 0))
            if self.step.output >= 0:
                readable.append(self.step.output)
        if self.nested is not None:
            if self.nested.alive:
                readable.append(self.nested.output)
            if self.nested.wants_to_write() and self.nested.input >= 0:
                writable.append(self.nested.input)
        ready = select.select(readable, writable, [], longest)[0]
        if self.wake in ready:
            os.read(self.wake, 4096)
        if 0 in ready:
            self.receive()
        self.look_at_session()
        self.look_at_nested()
        self.look_at_step()
        self.flush()

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

    def look_at_session(self) -> None:
        if self.terminated:
            raise Lost(b"lost", "the supervisor on the host was told to end by a signal")
        if time.monotonic() - self.heard > self.silence:
            raise Lost(b"lost", f"no sign of life from the client for {self.silence:.1f} s")
        if self.lane is not None and self.lane.superseded():
            raise Lost(b"epoch", "a later claim of this lane has come to the host")

    # -- requests

    def obey(self, kind: bytes, fields: list[bytes], payload: bytes) -> None:
        if kind == HELLO:
            self.greet(fields)
        elif kind == TRACE and self.state is not None:
            self.send(ANSWER, read_trace(self.state.marker(fields[0], fields[1])))
        elif kind == RUN and self.step is None and self.sudo_step is None:
            self.start(Order(fields), payload)
        elif kind == KILL:
            if self.step is not None and not self.cause:
                self.terminate(b"cancelled")
            elif self.sudo_step is not None and self.nested is not None:
                self.sudo_step.cancel(self.nested)
        elif kind != BEAT:
            raise ValueError(f"an unexpected frame of kind {kind!r}")

    def greet(self, fields: list[bytes]) -> None:
        lane, epoch, wait, silence, grace, folder, tag = fields
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

    def start(self, order: Order, payload: bytes) -> None:
        if self.lane is not None and self.state is not None:
            if self.lane.superseded():
                raise Lost(b"epoch", "a later claim of this lane has come to the host")
            self.marker = self.state.marker(order.folder, order.name)
            mark_started(self.marker, self.lane.epoch, self.tag)
        self.cause, self.patience = b"", 0.0
        if order.sudo and os.geteuid() != 0 and self.lane is not None:
            if self.nested is None:
                hello = [b"", b"0", b"0", b"%f" % self.silence, b"%f" % self.grace, b"", b"%d" % self.tag]
                self.nested = Nested(PROGRAM, hello)
                self.reaper.spared.add(self.nested.pid)
            self.sudo_step = SudoStep(order, payload, self.nested)
        else:
            self.step = Step(order)

    # -- a step of our own

    def terminate(self, cause: bytes) -> None:
        self.cause = cause
        self.patience = time.monotonic() + self.grace
        self.reaper.terminate()

    def look_at_step(self) -> None:
        step = self.step
        if step is None:
            return
        if step.output >= 0:
            step.read()
        self.reaper.reap()
        now = time.monotonic()
        if step.pid not in self.reaper.statuses and not self.cause:
            if now >= step.deadline:
                self.terminate(b"timed_out")
            return
        if not self.patience:
            self.patience = now + SETTLE_SECONDS
        if self.reaper.nothing_left() or now >= self.patience:
            self.finish(step)

    def finish(self, step: Step) -> None:
        killed, ended = self.reaper.end_family()
        seconds = time.monotonic() - step.begun
        step.close()
        status = self.reaper.statuses.get(step.pid, signal.SIGKILL)
        outcome = step.outcome(status)
        if self.cause:
            words = "cancelled" if self.cause == b"cancelled" else f"not done after {step.order.timeout:g} s"
            outcome = Outcome(self.cause, None, words)
        else:
            outcome.leftovers = killed
        outcome.printed, outcome.seconds, outcome.ended = step.printed, seconds, ended
        self.step = None
        self.reaper.statuses.clear()
        tail = bytes(step.tail)
        self.tell(outcome.fields(), [tail[place : place + PIECE] for place in range(0, len(tail), PIECE)])

    def tell(self, fields: list[bytes], pieces: list[bytes]) -> None:
        """The result's marker first, then the frames. A step that was cancelled gets none: it broke off."""
        if self.lane is not None and fields[0] != b"cancelled":
            try:
                mark_result(self.marker, fields)
            except OSError as error:
                fields[6] += os.fsencode(f"; the result could not be recorded on the host: {error}")
        for piece in pieces:
            self.outbox += frame(OUTPUT, piece)
        self.send(ENDED, fields)

    # -- a step under sudo

    def look_at_nested(self) -> None:
        nested, step = self.nested, self.sudo_step
        if nested is None:
            return
        for kind, payload in nested.read() if nested.alive else []:
            if kind == OUTPUT and step is not None:
                step.pieces.append(payload)
            elif kind == ENDED and step is not None:
                self.sudo_step = None
                self.tell(unpack(payload), step.pieces)
        nested.flush()
        nested.drop_complaints()
        beat_nested(nested)
        now = time.monotonic()
        late = step is not None and (now > step.overdue or (not nested.greeted and now > nested.asked + SUDO_SECONDS))
        if late or not nested.alive:
            self.lose_nested(nested)

    def lose_nested(self, nested: Nested) -> None:
        """sudo refused, or it ended, or it hangs: say so, and end what came to us from it."""
        step, self.sudo_step, self.nested = self.sudo_step, None, None
        outcome = without_sudo(nested)
        nested.close()
        limit = time.monotonic() + 1.0
        while nested.pid in self.reaper.spared and time.monotonic() < limit and not nested.alive:
            self.reaper.reap()
            select.select([], [], [], 0.005)
        self.reaper.spared.discard(nested.pid)
        outcome.ended = self.reaper.end_family()[1]
        if step is not None:
            outcome.seconds = time.monotonic() - step.begun
            if step.cancelled:
                outcome.status = b"cancelled"
            self.tell(outcome.fields(), step.pieces)

    # -- output

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


OVERALL_END_SECONDS = 8.0
"""For the nested supervisor to end what root started."""


def main() -> None:
    supervisor = Supervisor()
    try:
        supervisor.begin(os.fsencode(sys.argv[1]))
        supervisor.serve()
    except BaseException:
        supervisor.end_everything()
        raise
    finally:
        sys.stdout = sys.stderr = None
