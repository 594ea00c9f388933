"""Programs of the session where sshd opens no channel: a file in pieces, a connection from the host."""

import ast
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import pytest

from vesemir.adapters.ssh.errands import PIECE_BYTES, Errands
from vesemir.adapters.ssh.sftp import SftpFailureError
from vesemir.domain.failure import FailedError
from vesemir.domain.step import Command, StepKey, StepResult, StepStatus
from vesemir.domain.target import Target

MOST_OF_A_VARIABLE = 128 * 1024
"""The kernel's MAX_ARG_STRLEN."""


class Session:
    """Runs commands here; the ``times``-th one is lost after it was done, and sent again."""

    def __init__(self, *, twice: bool = False) -> None:
        self.commands: list[Command] = []
        self.keys: set[StepKey] = set()
        self._twice = twice

    async def run(self, key: StepKey, command: Command) -> StepResult:
        self.keys.add(key)
        self.commands.append(command)
        for _ in range(2 if self._twice and "VESEMIR_PIECE_0" in command.environment and len(command.argv) < 8 else 1):
            done = await asyncio.to_thread(
                subprocess.run,
                command.argv,
                env=dict(command.environment),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=20,
                check=False,
            )
        status = StepStatus.SUCCEEDED if done.returncode == 0 else StepStatus.FAILED
        return StepResult(status, done.returncode, output=done.stdout, output_bytes=len(done.stdout))


def errands(session: Session, python: str = sys.executable) -> Errands:
    return Errands("d1", run=session.run, python=python)


async def pieces(*each: bytes) -> AsyncIterator[bytes]:
    for piece in each:
        yield piece


@pytest.mark.parametrize("name", ["put", "connect"])
def test_they_are_python_3_6(name: str) -> None:
    text = (resources.files("vesemir.adapters.ssh") / f"{name}_on_host.py").read_text()
    tree = ast.parse(text, feature_version=(3, 6))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.NamedExpr | ast.AnnAssign)]


@pytest.mark.parametrize("twice", [False, True], ids=["once", "a piece twice"])
async def test_a_file_in_pieces(tmp_path: Path, *, twice: bool) -> None:
    session, content = Session(twice=twice), bytes(range(250)) * (2 * PIECE_BYTES // 250) + b"end"
    place = [content[start : start + PIECE_BYTES] for start in range(0, len(content), PIECE_BYTES)]
    await errands(session).put(pieces(*place), str(tmp_path / ".part"), str(tmp_path / "file"))

    assert (tmp_path / "file").read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert len(session.commands) == 3
    assert len(session.keys) == 1, "one marker, however many pieces there are"
    assert max(len(each) for command in session.commands for each in command.environment.values()) < MOST_OF_A_VARIABLE


async def test_an_empty_file_and_one_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    await errands(Session()).put(pieces(), str(tmp_path / ".part"), str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b""


async def test_what_the_host_says_of_a_file_that_it_does_not_take(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(SftpFailureError, match="Is a directory"):
        await errands(Session()).put(pieces(b"x"), str(tmp_path / ".part"), str(tmp_path / "file"))
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


async def test_an_answer_as_it_comes() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+" + await reader.read(4) + b"\0" * 1000)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        whole = await errands(Session()).exchange("127.0.0.1", port, b"ask\n", most=2000, timeout=5)
        cut = await errands(Session()).exchange("127.0.0.1", port, b"ask\n", most=3, timeout=5)
        nothing = await errands(Session()).exchange("127.0.0.1", port, b"", most=0, timeout=5)
    assert (whole, cut, nothing) == (b"+ask\n" + b"\0" * 1000, b"+as", b"")


async def test_nothing_listens_or_nothing_comes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TimeoutError):
            await errands(Session()).exchange("127.0.0.1", port, b"ask\n", most=9, timeout=0.2)
    with pytest.raises(ConnectionError, match="Connection refused"):
        await errands(Session()).exchange("127.0.0.1", port, b"", most=0, timeout=5)


async def test_a_python_that_does_not_run() -> None:
    with pytest.raises(FailedError, match="because; nor does /bin/false run in its session: exit status 1"):
        await errands(Session(), "/bin/false").look(Target("web1", "10.0.0.1"), "because")
