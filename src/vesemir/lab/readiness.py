"""Waiting for a server to answer. A port that opens can only be found by trying, so this tries again and again."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

from vesemir.lab.places import LabError
from vesemir.lab.roster import tail

Question = Callable[[], Awaitable[bool]]

_BETWEEN_TRIES_SECONDS = 0.03
_ONE_TRY_SECONDS = 2.0


async def until(question: Question, *, what: str, child: subprocess.Popen[bytes], log: Path, timeout: float) -> None:
    """Ask until the answer is yes. Raises ``LabError`` with the end of ``log`` when ``child`` ends or time is up."""
    try:
        async with asyncio.timeout(timeout):
            while not await _asked(question):
                if child.poll() is not None:
                    raise LabError(
                        f"{what} ended while it started (status {child.returncode}); {log} says:\n{tail(log)}"
                    )
                await asyncio.sleep(_BETWEEN_TRIES_SECONDS)
    except TimeoutError:
        raise LabError(f"{what} does not answer after {timeout:.0f} s; {log} says:\n{tail(log)}") from None


async def _asked(question: Question) -> bool:
    try:
        async with asyncio.timeout(_ONE_TRY_SECONDS):
            return await question()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def exchange(address: str, port: int, *, say: bytes, hear: int) -> bytes:
    """Connect, say something, and hear so many bytes."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(say)
        return await reader.readexactly(hear)
    finally:
        writer.close()


def speaks_ssh(address: str, port: int) -> Question:
    """Whether an sshd greets there."""

    async def asked() -> bool:
        return await exchange(address, port, say=b"", hear=4) == b"SSH-"

    return asked


def serves(address: str, port: int) -> Question:
    """Whether ``GET /health`` is answered with 200 there."""

    async def asked() -> bool:
        return b" 200" in await exchange(address, port, say=b"GET /health HTTP/1.0\r\n\r\n", hear=12)

    return asked
