"""A host that lies, in many ways: an SSH server whose login user names what it does to whoever deploys to it.

Runs as a process of its own, so that what it costs is not taken for what it makes others cost:
``python -m tests.integration.hostile_server FOLDER`` writes keys and ports there and serves until its input closes.
``FOLDER/ports`` has a line ``NAME PORT`` for ``ssh`` and for each server that does not come as far as SSH.
"""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import asyncssh
from benchmarks.cheap import make_keys
from tests.integration.hostile_frames import ESCAPES, STEPS, TRACES, WELCOMES, ended, welcome

from vesemir.adapters.ssh.onhost.wire import (
    ANSWER,
    GREETING,
    HELD,
    HELLO,
    OUTPUT,
    REFUSED,
    RUN,
    SEND,
    TRACE,
    Unframer,
    frame,
    pack,
)

ADDRESS = "127.0.0.1"
MSG_IGNORE = 2
LIES = "lies"
"""The name of the SFTP server here."""
Process = asyncssh.SSHServerProcess[bytes]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def by_number(prefix: str, answers: Mapping[str, bytes], user: str, otherwise: bytes) -> bytes:
    """Users are ``step-3``: the third of the table. Names of attacks are no names of users."""
    kind, _, number = user.partition("-")
    return list(answers.values())[int(number)] if kind == prefix else otherwise


async def flooded(write: Callable[[bytes], None], drain: Callable[[], Awaitable[None]], data: bytes) -> None:
    """Until the other side has hung up; this server's other guests want to be served meanwhile."""
    while True:
        write(data)
        await drain()
        await asyncio.sleep(0)


class Session:
    """One supervisor that is none."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._user = str(process.get_extra_info("username"))
        self._drain = process.stdout.drain

    def _write(self, data: bytes) -> None:
        self._process.stdout.write(data)

    async def run(self) -> None:
        if self._user == "noise":
            await flooded(self._write, self._drain, b"motd " * 1000)
        elif self._user == "drip":
            await flooded(self._write, self._drain, b"x")
        elif self._user == "mute":
            await asyncio.Event().wait()
        self._write(GREETING + (self._process.command or "").split()[-1].encode()[::-1] + b"\n")
        if self._user == "complains":
            await flooded(self._process.stderr.write, self._process.stderr.drain, b"oh " * 10_000)
        unframer = Unframer()
        while data := await self._process.stdin.read(65536):
            for kind, _ in unframer.feed(data):
                await self._answer(kind)
        self._process.exit(0)

    async def _answer(self, kind: bytes) -> None:
        user = self._user
        if kind == HELLO:
            self._write(by_number("welcome", WELCOMES, user, welcome()))
            if user in {"ignores", "storm"}:
                self._task = asyncio.get_running_loop().create_task(self._ignored())
        elif kind == TRACE:
            self._write(by_number("trace", TRACES, user, frame(ANSWER, pack([b"never"]))))
        elif kind == SEND:
            await self._send()
        elif kind == RUN:
            await self._step()

    async def _step(self) -> None:
        match self._user:
            case "flood":
                await flooded(self._write, self._drain, frame(OUTPUT, b"F" * 32768) * 16)
            case "slowflood":
                await flooded(self._write, self._drain, frame(OUTPUT, b"F"))
            case "epoch":
                self._write(frame(REFUSED, pack([b"epoch", b"a later claim of this lane has come to the host"])))
            case "hangup":
                self._process.get_extra_info("connection").abort()
            case "keeps" | "more" | "honestly":
                self._write(frame(HELD, pack([b"20000"])))
            case "escapes":
                self._write(frame(OUTPUT, ESCAPES) + ended(status=b"failed", exit_status=b"1", printed=b"46"))
            case "storm":
                await asyncio.Event().wait()
            case user:
                self._write(by_number("step", STEPS, user, ended()))

    async def _send(self) -> None:
        if self._user == "honestly":
            self._write(frame(OUTPUT, b"x" * 20000) + ended(printed=b"20000"))
        elif self._user == "more":
            self._write(frame(OUTPUT, b"x" * 20000) + frame(OUTPUT, b"x") + ended())

    async def _ignored(self) -> None:
        """The smallest packets of the protocol (RFC 4253, section 11.2), at full speed."""
        connection = self._process.get_extra_info("connection")
        while not connection.is_closed():
            for _ in range(100):
                connection.send_packet(MSG_IGNORE, b"\0\0\0\0")
            await asyncio.sleep(0.001)


def sftp_packet(kind: int, number: int, rest: bytes = b"") -> bytes:
    body = bytes([kind]) + number.to_bytes(4, "big") + rest
    return len(body).to_bytes(4, "big") + body


class Sftp:
    """An SFTP server (draft-ietf-secsh-filexfer-02, version 3) that says yes to everything, or lies."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._user = str(process.get_extra_info("username"))

    async def run(self) -> None:
        reader = self._process.stdin
        while True:
            size = int.from_bytes(await reader.readexactly(4), "big")
            packet = await reader.readexactly(size)
            self._answer(packet[0], int.from_bytes(packet[1:5], "big"), packet[5:])

    def _answer(self, kind: int, number: int, rest: bytes) -> None:
        write = self._process.stdout.write
        limits = kind == 200 and rest[4:].startswith(b"limits@openssh.com")
        if kind == 1:  # INIT
            extension = pack([b"limits@openssh.com", b"1", b"posix-rename@openssh.com", b"1"])
            write((5 + len(extension)).to_bytes(4, "big") + b"\2\0\0\0\3" + extension)
        elif limits and self._user == "sftp-garbage":
            write(sftp_packet(201, number, b"\0\0"))
        elif limits:
            most = 1 if self._user == "sftp-bytewise" else 2**40
            write(sftp_packet(201, number, b"".join(each.to_bytes(8, "big") for each in (most, most, most, 10))))
        elif self._user == "sftp-huge":
            write(b"\xff\xff\xff\xff" + b"x" * 1000)
        elif self._user == "sftp-wrong-id":
            write(sftp_packet(101, number + 7, b"\0\0\0\0" + pack([b"", b""])))
        elif self._user == "sftp-names":
            write(sftp_packet(104, number, b"\xff\xff\xff\xff" + b"x" * 60_000))
        elif kind == 3:  # OPEN
            write(sftp_packet(102, number, pack([b"handle"])))
        elif kind in {7, 17, 8}:  # LSTAT, STAT, FSTAT
            write(sftp_packet(101, number, b"\0\0\0\2" + pack([b"no such file", b""])))
        else:
            write(sftp_packet(101, number, b"\0\0\0\0" + pack([b"", b""])))


async def sessions(process: Process) -> None:
    with contextlib.suppress(asyncssh.Error, OSError, EOFError):  # the victim has hung up, which is right
        await (Sftp(process) if process.subsystem == LIES else Session(process)).run()
    if process.get_extra_info("username") != "sftp-stays":
        process.exit(0)


class HostedProcess(asyncssh.SSHServerProcess[bytes]):
    """asyncssh would put an SFTP server of its own behind the subsystem of that name."""

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def session_started(self) -> None:
        if self.channel.get_subsystem() == "sftp":
            self.channel._subsystem = LIES
        super().session_started()


class Forwarded(asyncssh.SSHTCPSession[bytes], asyncssh.SSHUNIXSession[bytes]):
    """What is reached through this host: HTTP or HAProxy, by the login user."""

    def __init__(self, user: str) -> None:
        self._user = user
        self._go = asyncio.Event()

    def connection_made(self, chan: Any) -> None:
        self._channel = chan

    def session_started(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._flood())

    def pause_writing(self) -> None:
        self._go.clear()

    def resume_writing(self) -> None:
        self._go.set()

    async def _flood(self) -> None:
        first, again = {
            "http-chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 500),
            "http-continues": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
            "http-header": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 100),
            "http-mute": (b"HTTP/1.1 200 OK\r\n", b""),
            "haproxy-endless": (b"", b"x" * 60_000),
            "haproxy-mute": (b"Name: ", b""),
        }[self._user]
        self._go.set()
        self._channel.write(first)
        while again and not self._channel.is_closing():
            self._channel.write(again)
            await self._go.wait()
            await asyncio.sleep(0)


class Server(asyncssh.SSHServer):
    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    async def begin_auth(self, username: str) -> bool:
        self._user = username
        while username == "banners" and not self._connection.is_closed():
            self._connection.send_auth_banner("we do not like visitors\n" * 400)
            await asyncio.sleep(0)
        return False

    def session_requested(self) -> HostedProcess:
        return HostedProcess(sessions, None, 3, False)  # noqa: FBT003 - asyncssh takes it so

    def connection_requested(self, *_: object) -> Forwarded:
        return Forwarded(self._user)

    def unix_connection_requested(self, dest_path: str) -> Forwarded:
        del dest_path
        return Forwarded(self._user)


async def banner_lines(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await flooded(writer.write, writer.drain, b"welcome\r\n" * 1000)


async def one_long_line(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await flooded(writer.write, writer.drain, b"x" * 10_000)


async def nothing_at_all(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def drops_of_a_version(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for _number in range(10_000):
        writer.write(b"S")
        await writer.drain()
        await asyncio.sleep(0.01)


async def version_and_rubbish(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-x\r\n")
    await flooded(writer.write, writer.drain, b"\0\0\0\x0c\x0a\x02\0\0\0\0" + b"\0" * 6)


async def version_of_no_letters(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-\xff\xfe\r\n")
    await writer.drain()


async def half_a_packet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-x\r\n\0\0\x80\0" + b"x" * 1000)
    await reader.read()


RAW: dict[str, Serve] = {
    each.__name__: each
    for each in (
        banner_lines, one_long_line, nothing_at_all, drops_of_a_version, version_and_rubbish, version_of_no_letters,
        half_a_packet,
    )
}  # fmt: skip
"""Servers that never come as far as a login."""


def quietly(serve: Serve) -> Serve:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except OSError:
            return
        finally:
            writer.close()

    return served


async def serve(folder: Path) -> None:
    make_keys(folder)
    server = await asyncssh.create_server(
        Server, ADDRESS, 0, server_host_keys=[str(folder / "host_key")], encoding=None,
        authorized_client_keys=str(folder / "client_key.pub"), kex_algs=["curve25519-sha256"],
        encryption_algs=["aes128-gcm@openssh.com"], config=None, line_editor=False,
    )  # fmt: skip
    ports = {"ssh": server.get_port()}
    for name, each in RAW.items():
        raw = await asyncio.start_server(quietly(each), ADDRESS, 0)
        ports[name] = raw.sockets[0].getsockname()[1]
    key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text("".join(f"[{ADDRESS}]:{port} {key}\n" for port in ports.values()))
    (folder / "ports.new").write_text("".join(f"{name} {port}\n" for name, port in ports.items()))
    (folder / "ports.new").rename(folder / "ports")
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, over.set)
    await over.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
