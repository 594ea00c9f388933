"""A cheap SSH server that is any number of hosts: it answers the supervisor's frames by itself and starts nothing.

For what only the client costs. It runs as a process of its own: ``python -m benchmarks.cheap FOLDER`` writes its keys
and port there, and serves until its standard input closes.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncssh
import uvloop

from vesemir.adapters.observe import gc_spared
from vesemir.adapters.ssh.onhost.wire import (
    ANSWER,
    BEAT,
    ENDED,
    GREETING,
    HELLO,
    KILL,
    RUN,
    TRACE,
    WELCOME,
    Unframer,
    frame,
    pack,
    unpack,
)

ADDRESS = "127.78.0.1"
WORDS_AT = 7
"""Where the words of the command stand in RUN."""


class Supervised(asyncssh.SSHServerSession[bytes]):
    """Plays the supervisor of one target. ``sleep N`` takes its time, everything else is done at once."""

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan
        self._frames = Unframer()

    def exec_requested(self, command: str) -> bool:
        self._nonce = command.rsplit(None, 1)[-1].encode()
        return True

    def session_started(self) -> None:
        self._channel.write(GREETING + self._nonce[::-1] + b"\n")

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        del datatype
        for kind, payload in self._frames.feed(data):
            if kind == HELLO:
                self._say(WELCOME, [b"/nowhere"])
            elif kind == TRACE:
                self._say(ANSWER, [b"never"])
            elif kind == RUN:
                self._run(unpack(payload)[WORDS_AT:])
            elif kind not in {BEAT, KILL}:
                raise ValueError(kind)

    def eof_received(self) -> bool:
        self._channel.exit(0)
        return False

    def _run(self, words: list[bytes]) -> None:
        seconds = float(words[1]) if words[0] == b"sleep" else 0.0
        ended = [b"succeeded", b"0", b"0", b"%f" % seconds, b"0", b"1", b""]
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._say, ENDED, ended)
        else:
            self._say(ENDED, ended)

    def _say(self, kind: bytes, fields: list[bytes]) -> None:
        if not self._channel.is_closing():
            self._channel.write(frame(kind, pack(fields)))


class Server(asyncssh.SSHServer):
    def session_requested(self) -> Supervised:
        return Supervised()


def make_keys(folder: Path) -> None:
    for name in ("host_key", "client_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)


async def serve(folder: Path) -> None:
    make_keys(folder)
    server = await asyncssh.create_server(
        Server, ADDRESS, 0, server_host_keys=[str(folder / "host_key")],
        authorized_client_keys=str(folder / "client_key.pub"), encoding=None, kex_algs=["curve25519-sha256"],
        encryption_algs=["aes128-gcm@openssh.com"], backlog=1000, login_timeout=300, config=None,
    )  # fmt: skip
    port = server.get_port()
    key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[{ADDRESS}]:{port} {key}\n")
    (folder / "port.new").write_text(str(port))
    (folder / "port.new").rename(folder / "port")
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    with gc_spared():  # what it costs itself is in nobody's figure, but in everybody's way
        await ended.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
