"""A step's main process: started with nothing inherited, its output read without ever waiting for it."""
# pathlib is slow to import on a target; programs are found on PATH on purpose
# ruff: noqa: PTH118, S606

import errno
import os
import signal
import sys
import time

from vesemir.adapters.ssh.onhost.kernel import PR_SET_PDEATHSIG, control_process

READ_AT_ONCE = 65536
READS_PER_TURN = 16
"""Then the loop looks at its other duties, however fast a step prints."""
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""Signals for which the supervisor has handlers."""
RESET = (*HANDLED, signal.SIGPIPE, signal.SIGXFSZ)
"""What a program finds at its defaults; Python itself ignores the last two."""
DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Order:
    """What RUN asks for."""

    def __init__(self, fields: list[bytes]) -> None:
        self.folder, self.name = fields[0], fields[1]
        self.timeout = float(fields[2])
        self.sudo = fields[3] == b"1"
        self.cwd = fields[4]
        self.limit = int(fields[5])
        count = int(fields[6])
        self.words = fields[7 : 7 + count]
        self.environment = fields[7 + count :]
        self.path = b""  # where programs are looked for, whatever the environment says
        if not self.words:
            raise ValueError("a command without words")

    def whole_environment(self) -> dict[bytes, bytes]:
        """The login's own few variables, and over them the command's."""
        whole = {b"PATH": DEFAULT_PATH, b"LANG": b"C.UTF-8"}
        for name in (b"PATH", b"HOME", b"USER", b"LOGNAME", b"LANG", b"SHELL"):
            if os.environb.get(name):
                whole[name] = os.environb[name]
        for field in self.environment:
            name, _, value = field.partition(b"=")
            whole[name] = value
        if self.path:
            whole[b"PATH"] = self.path
        return whole


class StepOutcome:
    """How a step ended; the fields of ENDED."""

    def __init__(self, status: bytes, exit_status: int | None, reason: str) -> None:
        self.status = status
        self.exit_status = exit_status
        self.reason = reason
        self.printed = 0
        self.seconds = 0.0
        self.leftovers = 0
        self.ended = True

    def fields(self) -> list[bytes]:
        return [
            self.status,
            b"" if self.exit_status is None else b"%d" % self.exit_status,
            b"%d" % self.printed,
            b"%.6f" % self.seconds,
            b"%d" % self.leftovers,
            b"1" if self.ended else b"0",
            self.reason.encode("utf-8", "replace"),
        ]


class HostStep:
    """A running step; ``tail`` is the end of what it printed, ``printed`` how much that was in all."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.tail = bytearray()
        self.printed = 0
        self.begun = time.monotonic()
        self.deadline = self.begun + order.timeout
        self.output, inner = os.pipe()
        self._trouble, trouble = os.pipe()
        os.set_blocking(self.output, False)
        os.set_blocking(self._trouble, False)
        # All that can be made before the fork is: each page that the child writes to is copied for it.
        start = StepStart(order, inner, trouble)
        # A signal between fork and exec would run this program's handler in the child, and be lost: they wait.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        self.pid = os.fork()
        if self.pid == 0:
            start.become()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(inner)
        os.close(trouble)

    def read(self) -> None:
        """Take what there is; at the end of the output close it."""
        for _ in range(READS_PER_TURN):
            try:
                piece = os.read(self.output, READ_AT_ONCE)
            except BlockingIOError:
                return
            if not piece:
                os.close(self.output)
                self.output = -1
                return
            self.printed += len(piece)
            self.tail += piece
            if len(self.tail) > 2 * self.order.limit + READ_AT_ONCE:
                del self.tail[: len(self.tail) - self.order.limit]

    def close(self) -> None:
        """Read what is still in the pipe (its size bounds that: nobody of the step writes any more), let go of it."""
        if self.output >= 0:
            self.read()
        if self.output >= 0:
            os.close(self.output)
            self.output = -1
        del self.tail[: max(len(self.tail) - self.order.limit, 0)]

    def outcome(self, status: int) -> StepOutcome:
        """What a wait status means, with what kept the program from starting."""
        try:
            trouble = os.read(self._trouble, 4096)
        except BlockingIOError:
            trouble = b""
        finally:
            os.close(self._trouble)
        if os.WIFSIGNALED(status):
            return StepOutcome(b"failed", None, f"ended by signal {os.WTERMSIG(status)}")
        code = os.WEXITSTATUS(status)
        reason = trouble.decode("utf-8", "replace")
        return StepOutcome(b"succeeded" if code == 0 else b"failed", code, reason)


class StepStart:
    """What turns a fresh child into the step's program."""

    def __init__(self, order: Order, output: int, trouble: int) -> None:
        self.words = order.words
        self.environment = order.whole_environment()
        self.programs = programs(order.words[0], self.environment[b"PATH"])
        self.cwd = order.cwd
        self.output = output
        self.trouble = trouble
        self.supervisor = os.getpid()

    def become(self) -> None:
        """In the child. Never returns."""
        try:
            os.setsid()
            control_process(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self.supervisor:
                os._exit(127)  # it died before the kernel was told to tell
            signal.set_wakeup_fd(-1)
            for number in RESET:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(self.output, 1)
            os.dup2(self.output, 2)
            if self.cwd:
                os.chdir(self.cwd)
            self.execute()
        except OSError as error:
            what = self.cwd if error.filename == self.cwd and self.cwd else self.words[0]
            os.write(self.trouble, b"cannot run " + what + b": " + os.fsencode(os.strerror(error.errno or 0)))
            os._exit(127 if error.errno == errno.ENOENT else 126)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the child must not run on as a second supervisor
            os.write(self.trouble, repr(error).encode("utf-8", "replace"))
            os._exit(126)
        finally:
            sys.stdin = None
            os._exit(126)

    def execute(self) -> None:
        """As execvpe, but without the import of ``warnings`` that it costs. Raises ``OSError``."""
        denied: OSError | None = None
        for program in self.programs:
            try:
                os.execve(program, self.words, self.environment)
            except PermissionError as error:
                denied = error
            except (FileNotFoundError, NotADirectoryError):
                continue
        raise denied or OSError(errno.ENOENT, "no such program", self.words[0])


def programs(word: bytes, path: bytes) -> list[bytes]:
    """What a command's first word may be, in the order in which it is tried."""
    return [word] if b"/" in word else [os.path.join(folder or b".", word) for folder in path.split(b":")]
