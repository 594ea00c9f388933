"""The supervisor's one loop: input, output, children, deadline and beat; nothing in it waits for anything else.

Everything ends, at once, when the input closes, the beat stops, a later claim of the lane appears, or this program is
told to (SIGTERM). A step that was ended so, or on request, gets no result marker: it broke off.
"""

import os
import select
import signal
import sys
import time

from vesemir.adapters.ssh.onhost.claiming import Lost, Session
from vesemir.adapters.ssh.onhost.kernel import complain
from vesemir.adapters.ssh.onhost.nested import SUDO_SECONDS, Nested, SudoStep, beat_nested, without_sudo
from vesemir.adapters.ssh.onhost.records import mark_result, mark_started, read_trace
from vesemir.adapters.ssh.onhost.rules import RULES, refusal
from vesemir.adapters.ssh.onhost.step import HostStep, Order, StepOutcome
from vesemir.adapters.ssh.onhost.tree import Reaper
from vesemir.adapters.ssh.onhost.wire import (
    ANSWER,
    BEAT,
    ENDED,
    HELD,
    HELLO,
    KILL,
    OUTPUT,
    PIECE,
    PROTOCOL,
    RUN,
    SEND,
    TRACE,
    UNASKED,
    WRONG_PROTOCOL_STATUS,
    frame,
    unpack,
)

TURN_SECONDS = 0.5
"""The longest pause between two looks at epoch and beat."""
SETTLE_SECONDS = 0.2
"""For what a command leaves running to end by itself (the other half of a pipe), before it is a leftover."""
PROGRAM = ""
"""This program as it was sent; the loader replaces it."""
INSTALLED = ""
"""Its path instead, where it is a file of the host's; ``delivery.installed_program`` replaces it."""
NESTED = "nested"
"""The second argument under sudo; the first supervisor, if it is a file, gets the client's protocol there."""


class Supervisor(Session):
    """A session and its steps; ``nested`` is the first supervisor's child under sudo."""

    def __init__(self) -> None:
        super().__init__()
        self.reaper = Reaper()
        self.step: HostStep | None = None
        self.nested: Nested | None = None
        self.sudo_step: SudoStep | None = None
        self.held: tuple[list[bytes], list[bytes]] | None = None  # of an ended step: the fields of ENDED, its output
        self.marker = ""
        self.cause = b""  # why the step is being ended
        self.patience = 0.0  # until when it may end by itself

    # -- beginning and end

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
            self.refuse(code, text)

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

    # -- requests

    def obey(self, kind: bytes, fields: list[bytes], payload: bytes) -> None:
        if kind == HELLO:
            self.greet(fields)
        elif kind == TRACE and self.state is not None:
            self.send(ANSWER, read_trace(self.state.marker(fields[0], fields[1])))
        elif kind == RUN and self.step is None and self.sudo_step is None and self.held is None:
            self.start(Order(fields), payload)
        elif kind == SEND:
            if self.held is not None:  # else KILL was quicker
                self.say_ended(*self.held)
        elif kind == KILL:
            if self.held is not None:
                self.say_ended(self.held[0], [])
            elif self.step is not None and not self.cause:
                self.terminate(b"cancelled")
            elif self.sudo_step is not None and self.nested is not None:
                self.sudo_step.cancel(self.nested)
        elif kind != BEAT:
            raise ValueError(f"an unexpected frame of kind {kind!r}")

    def start(self, order: Order, payload: bytes) -> None:
        if self.lane is not None and self.state is not None:
            if self.lane.superseded():
                raise Lost(b"epoch", "a later claim of this lane has come to the host")
            self.marker = self.state.marker(order.folder, order.name)
            mark_started(self.marker, self.lane.epoch, self.tag)
        self.cause, self.patience = b"", 0.0
        if order.sudo and os.geteuid() != 0 and not self.under_sudo:
            if self.nested is None:
                hello = [b"", b"0", b"0", b"%f" % self.silence, b"%f" % self.grace, b"", b"%d" % self.tag]
                self.nested = Nested(PROGRAM, INSTALLED, hello)
                self.reaper.spared.add(self.nested.pid)
            self.sudo_step = SudoStep(order, payload, self.nested)
            return
        refused = refusal(order, RULES) if INSTALLED and os.geteuid() == 0 else ""
        if refused:
            self.tell(StepOutcome(b"failed", None, refused).fields(), [])
        else:
            self.step = HostStep(order)

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

    def finish(self, step: HostStep) -> None:
        killed, ended = self.reaper.end_family()
        seconds = time.monotonic() - step.begun
        step.close()
        status = self.reaper.statuses.get(step.pid, signal.SIGKILL)
        outcome = step.outcome(status)
        if self.cause:
            words = "cancelled" if self.cause == b"cancelled" else f"not done after {step.order.timeout:g} s"
            outcome = StepOutcome(self.cause, None, words)
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
        if fields[0] == b"cancelled":
            pieces = []  # nobody reads it
        size = sum([len(piece) for piece in pieces])
        if size > UNASKED and self.lane is not None:
            self.held = fields, pieces
            self.send(HELD, [b"%d" % size])
        else:
            self.say_ended(fields, pieces)

    def say_ended(self, fields: list[bytes], pieces: list[bytes]) -> None:
        self.held = None
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
        outcome = without_sudo(nested, INSTALLED)
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


OVERALL_END_SECONDS = 8.0
"""For the nested supervisor to end what root started."""


def main() -> None:
    role = sys.argv[2] if len(sys.argv) > 2 else ""  # noqa: PLR2004
    if INSTALLED and role not in {PROTOCOL, NESTED}:
        complain(f"{INSTALLED} speaks protocol {PROTOCOL}, and this instance speaks {role}")
        sys.exit(WRONG_PROTOCOL_STATUS)
    supervisor = Supervisor()
    supervisor.under_sudo = "SUDO_UID" in os.environ or role == NESTED
    try:
        supervisor.begin(os.fsencode(sys.argv[1]))
        supervisor.serve()
    except BaseException:
        supervisor.end_everything()
        raise
    finally:
        sys.stdout = sys.stderr = None
