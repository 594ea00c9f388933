"""The same program under ``sudo -n``, for steps that need it: a child that can end what root started.

It gets its program over standard input (sudo logs command lines, and no login file reads there), or is the file that
the first one was started from, so that a sudo rule can name that. It holds no lock, epoch or marker, and ends
everything when its input closes, as the first one does.
"""
# pathlib is slow to import on a target; programs are found on PATH on purpose
# ruff: noqa: S606, S607

import os
import sys
import time

from vesemir.adapters.ssh.onhost.kernel import read_file
from vesemir.adapters.ssh.onhost.step import Order, StepOutcome
from vesemir.adapters.ssh.onhost.wire import (
    BEAT,
    GREETING,
    HELLO,
    KILL,
    RUN,
    Unframer,
    frame,
    pack,
)

SUDO_SECONDS = 10.0
"""How long sudo may take to let the nested supervisor begin."""
OVERDUE_SECONDS = 15.0
"""After a step's deadline: termination, grace and killing are then over, or the nested supervisor hangs."""
LOADER = "import sys,zlib,binascii;exec(zlib.decompress(binascii.a2b_base64(sys.stdin.buffer.readline())))"


class Nested:
    """sudo, with the nested supervisor in it. ``alive`` until its output closes."""

    def __init__(self, program: str, installed: str, hello: list[bytes]) -> None:
        self.alive = True
        self.greeted = False
        self.asked = time.monotonic()
        self._hello = hello
        self._nonce = b"%x" % int.from_bytes(os.urandom(16), "big")
        self._received = b""
        self._frames = Unframer()
        ours, self.input = os.pipe(), -1
        theirs = os.pipe()
        trouble = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            run_sudo(self._nonce, installed, (ours[0], theirs[1], trouble[1]))
        os.close(ours[0])
        os.close(theirs[1])
        os.close(trouble[1])
        self.input, self.output, self._trouble = ours[1], theirs[0], trouble[0]
        for descriptor in (self.input, self.output, self._trouble):
            os.set_blocking(descriptor, False)
        self._outbox = bytearray(b"" if installed else program.encode("ascii") + b"\n")
        self._later = bytearray()  # what would be taken for the rest of the program if it came before the greeting
        self.flush()

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        if self.greeted:
            self._outbox += frame(kind, payload)
            self.flush()
        else:
            self._later += frame(kind, payload)

    def wants_to_write(self) -> bool:
        return self.alive and bool(self._outbox) and self.input >= 0

    def flush(self) -> None:
        try:
            while self._outbox and self.input >= 0:
                del self._outbox[: os.write(self.input, self._outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self.close_input()

    def close_input(self) -> None:
        """The nested supervisor then ends everything."""
        if self.input >= 0:
            os.close(self.input)
            self.input = -1

    def read(self) -> list[tuple[bytes, bytes]]:
        """Frames that came; none before the greeting. Raises ``ValueError`` for what are none."""
        try:
            received = os.read(self.output, 65536)
        except BlockingIOError:
            return []
        if not received:
            self.alive = False
            self.close_input()
            return []
        if self.greeted:
            return self._frames.feed(received)
        self._received += received
        mark = GREETING + self._nonce[::-1] + b"\n"
        place = self._received.find(mark)
        if place < 0:
            return []
        self.greeted = True
        self._outbox += frame(HELLO, pack(self._hello)) + self._later
        self.flush()
        return self._frames.feed(self._received[place + len(mark) :])

    def complaint(self) -> str:
        """What sudo said on its standard error."""
        try:
            return os.read(self._trouble, 4096).decode("utf-8", "replace").strip().replace("\n", "; ")
        except BlockingIOError:
            return ""

    def drop_complaints(self) -> None:
        """A full pipe would stop the nested supervisor."""
        if self.greeted:
            self.complaint()

    def close(self) -> None:
        self.close_input()
        os.close(self.output)
        os.close(self._trouble)


def run_sudo(nonce: bytes, installed: str, descriptors: "tuple[int, int, int]") -> None:
    """In the child. Never returns."""
    try:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        program = [installed] if installed else [sys.executable, "-I", "-S", "-c", LOADER]
        os.execvp("sudo", ["sudo", "-n", "--", *program, nonce.decode("ascii"), "nested"])
    except OSError as error:
        os.write(descriptors[2], os.fsencode(f"cannot run sudo: {os.strerror(error.errno or 0)}"))
    finally:
        os._exit(127)


class SudoStep:
    """A step that the nested supervisor runs."""

    def __init__(self, order: Order, payload: bytes, nested: Nested) -> None:
        self.order = order
        self.begun = time.monotonic()
        self.overdue = self.begun + order.timeout + SUDO_SECONDS + OVERDUE_SECONDS
        self.pieces: list[bytes] = []
        self.cancelled = False
        nested.asked = self.begun
        nested.send(RUN, payload)

    def cancel(self, nested: Nested) -> None:
        self.cancelled = True
        nested.send(KILL)


def without_sudo(nested: Nested, installed: str) -> StepOutcome:
    """The outcome of a step for which sudo did not do its part."""
    outcome = StepOutcome(b"failed", None, "")
    wording = nested.complaint()
    if nested.greeted:
        outcome.reason = "sudo: the supervisor under sudo was killed; what the command had done by then is not known"
        return outcome
    user = os.environ.get("USER") or read_file("/proc/self/loginuid").decode("ascii", "replace") or str(os.getuid())
    advice = sudo_advice(wording, user, installed or "ALL")
    outcome.reason = "sudo: {}: {}".format(wording or f"no answer within {SUDO_SECONDS:g} s", advice)
    return outcome


def sudo_advice(wording: str, user: str, allowed: str) -> str:
    """By the cause that sudo's sentence names; in another language than English it is the usual one."""
    if wording.startswith("cannot run sudo"):
        return "install sudo there"
    line = f"{user} ALL=(root) NOPASSWD: {allowed}"
    if "tty" in wording:
        line = f"Defaults:{user} !requiretty"
    return f"the sudoers file needs a line; as root: `echo '{line}' >> /etc/sudoers.d/vesemir`"


def beat_nested(nested: Nested) -> None:
    """One for each turn of the first supervisor's loop, at most a second apart."""
    if nested.greeted and nested.alive and not nested.wants_to_write():
        nested.send(BEAT)
