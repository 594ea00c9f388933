"""Files and connections by commands of the session, on hosts whose sshd opens no other channel for them.

SFTP may be missing, broken by what a login file prints, or one session more than ``MaxSessions`` allows; forwarding may
be switched off. The session is there anyway, and the host has a Python: a file goes as a row of commands that hold a
piece each, and a check connects from the host itself. Both are slower than a channel, so they come second.
"""

import binascii
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from importlib import resources
from typing import Final

from vesemir.adapters.ssh.sftp import SftpFailureError
from vesemir.adapters.ssh.trouble import unsupported
from vesemir.domain.step import Command, Direction, StepKey, StepResult, StepStatus
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host

PART_BYTES: Final = 90_000
"""As base64 in one variable of the environment, which holds 128 KiB (the kernel's MAX_ARG_STRLEN)."""
PIECE_BYTES: Final = 4 * PART_BYTES
"""In one command; Linux lets all variables together have a quarter of the stack's limit, usually 2 MB."""
PIECE_SECONDS: Final = 60.0
_LATE_STATUS: Final = 124
"""Of ``connect_on_host.py``: nothing came in time."""
EXTRA_SECONDS: Final = 2.0
"""For the interpreter to start, beyond a check's own time."""

Run = Callable[[StepKey, Command], Awaitable[StepResult]]


@functools.cache
def _program(name: str) -> str:
    return (resources.files("vesemir.adapters.ssh") / f"{name}_on_host.py").read_text(encoding="utf-8")


class Errands:
    """``run`` is the session's; ``python`` is the host's interpreter. The markers of all errands have one name, which
    no recipe's step can have."""

    def __init__(self, deployment_id: str, *, run: Run, python: str) -> None:
        self._key = StepKey(deployment_id, Direction.FORWARD, "session.errand", 0)
        self._run = run
        self._python = python

    async def _asked(
        self, program: str, words: Sequence[str], given: Mapping[str, str], *, timeout: float, limit: int = 4096
    ) -> StepResult:
        argv = (self._python, "-I", "-S", "-c", _program(program), *words)
        return await self._run(self._key, Command(argv, given, timeout, output_limit=limit))

    async def look(self, target: Target, why: str) -> None:
        """Whether they could be done; ``why`` is why they would have to. Raises ``FailedError``."""
        command = Command((self._python, "-I", "-S", "-c", "pass"), timeout=PIECE_SECONDS)
        result = await self._run(self._key, command)
        if result.status is not StepStatus.SUCCEEDED:
            raise unsupported(target, f"{why}; nor does {self._python} run in its session: {_words(result)}")

    async def put(self, pieces: AsyncIterator[bytes], part: str, path: str) -> None:
        """Write the pieces to ``part`` and rename it. Raises ``SftpFailureError`` with the host's words."""
        place, piece = 0, await anext(pieces, b"")
        while True:
            following = await anext(pieces, b"")
            parts = [piece[start : start + PART_BYTES] for start in range(0, len(piece), PART_BYTES)]
            given = {
                f"VESEMIR_PIECE_{number}": binascii.b2a_base64(each, newline=False).decode("ascii")
                for number, each in enumerate(parts)
            }
            last = () if following else (path,)
            result = await self._asked("put", (part, str(place), *last), given, timeout=PIECE_SECONDS)
            if result.status is not StepStatus.SUCCEEDED:
                raise SftpFailureError(_words(result))
            if not following:
                return
            place, piece = place + len(piece), following

    async def exchange(self, host: str, port: int, request: bytes, *, most: int, timeout: float) -> bytes:
        """Connect, send, and return what is answered. Raises ``ConnectionError``, ``TimeoutError``."""
        asked = binascii.b2a_base64(request, newline=False).decode("ascii")
        words = (host, str(port), f"{timeout:g}", str(most))
        given = {"VESEMIR_REQUEST": asked}
        result = await self._asked("connect", words, given, timeout=timeout + EXTRA_SECONDS, limit=most + 1024)
        if result.status is StepStatus.TIMED_OUT or result.exit_status == _LATE_STATUS:
            raise TimeoutError
        if result.output[:1] != b"+":
            raise ConnectionError(words_of_host(result.output[1:].decode("utf-8", "replace")) or _words(result))
        return result.output[1:]


def _words(result: StepResult) -> str:
    output = result.output.decode("utf-8", "replace").strip()
    return words_of_host(output or result.reason) or f"exit status {result.exit_status}"
