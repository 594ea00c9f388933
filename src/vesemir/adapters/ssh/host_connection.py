"""One connection to a host: few waits while it begins, and a bound for what it costs this instance's one event loop.

A host may send at any speed, in pieces of any size, and each packet costs the loop time: a megabyte of the smallest
packets costs seconds. So what comes is read in small pieces, one turn of the loop has little time for one host, and a
host that needs more than its share for long is read more slowly: it waits, and nothing else does.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import asyncssh
from asyncssh.constants import MSG_USERAUTH_BANNER
from asyncssh.packet import PacketDecodeError, SSHPacket
from asyncssh.public_key import SigningKey, decode_ssh_certificate

from vesemir.adapters.ssh.known_hosts import CertifiedName
from vesemir.adapters.ssh.trouble import HostFloodError

PIECE_BYTES: Final = 4096
"""Read at once: about a hundred of the smallest packets, or 5 ms."""
TURN_SECONDS: Final = 0.005
"""For one host in one turn of the loop."""
SHARE: Final = 0.05
"""Of the loop's time, for one host, in the long run."""
BURST_SECONDS: Final = 0.1
"""What a host may use at once before that counts. A login and five steps need 0.01 s."""
LOGIN_BYTES: Final = 1024 * 1024
"""Until the login is over, banners included. A real one needs about 5 KB."""
UNSENT_BYTES: Final = 16 * 1024 * 1024
"""Replies and requests of ours that wait for a host to take them. An upload has 4 MB under way."""

BANNER_BYTES: Final = 1024
"""Of a banner that are kept."""
_QUICK_ACK: Final = getattr(socket, "TCP_QUICKACK", None)


class LoopShare:
    """How much more of the loop's time than its share a host has had: a bucket that leaks. In seconds."""

    def __init__(self, share: float = SHARE, burst_seconds: float = BURST_SECONDS) -> None:
        self._rate = share
        self._burst = burst_seconds
        self._debt = 0.0
        self._seen = 0.0

    def spend(self, seconds: float, *, now: float) -> float:
        """How long it has to wait after these ``seconds``; 0 while it is within its burst."""
        self._debt = max(0.0, self._debt - (now - self._seen) * self._rate) + seconds
        self._seen = now
        return max(0.0, self._debt - self._burst) / self._rate


class HostConnection(asyncssh.SSHClientConnection):
    """Logs in and begins a session without waiting more often than the protocol asks for.

    All but what it adds are asyncssh's own methods, which that calls; should a later one not, it only waits as often as
    usual.
    """

    banner = ""
    """What the host says before the login (RFC 4252, section 5.4), for its words where it then refuses it."""

    eager = True
    """Whether what is received is acknowledged at once. sshd leaves Nagle's algorithm on until a session starts: it
    keeps its next packet until the last one is acknowledged, and the kernel waits 40 ms for something to send along
    with that. It forgets the wish with each packet that is sent (tcp(7), TCP_QUICKACK), so it is told again."""

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        del datatype  # not for sockets
        self._unread += data
        if self._pausing is None:
            self._take()
        if self.eager and _QUICK_ACK is not None:
            plug = self.get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):  # it was closed by what came
                plug.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    logged_in = False
    """Until then a host has ``LOGIN_BYTES`` to say."""

    share = SHARE
    burst_seconds = BURST_SECONDS
    unsent_bytes = UNSENT_BYTES
    on_lost: Callable[[], None] | None = None
    """Called once, when a connection that was made is over."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - asyncssh's own
        super().__init__(*arguments, **options)
        self._unread = bytearray()
        self._heard = 0
        self._first = bytearray()
        self._share = LoopShare(self.share, self.burst_seconds)
        self._paused = False
        self._pausing: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None = None) -> None:
        if self._pausing is not None:
            self._pausing.cancel()
        self._unread.clear()
        super().connection_lost(exc)
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost()

    def _take(self) -> None:
        """In small pieces, until all is read or this turn's time is over."""
        self._pausing = None
        begun = time.thread_time()
        spent = 0.0
        while self._unread and spent < TURN_SECONDS and self._transport is not None:
            piece = bytes(self._unread[:PIECE_BYTES])
            del self._unread[:PIECE_BYTES]
            if self._heard < BANNER_BYTES:
                self._first += piece[: BANNER_BYTES - self._heard]
            self._heard += len(piece)
            super().data_received(piece)
            self._refuse_flood()
            spent = time.thread_time() - begun
        pause = self._share.spend(spent, now=time.monotonic())
        if self._transport is None:
            self._unread.clear()
        elif self._unread or pause:
            self._transport.pause_reading()
            self._paused = True
            self._pausing = asyncio.get_running_loop().call_later(pause, self._take)
        elif self._paused:
            self._paused = False  # before it: a channel through a jump host gives what it has kept at once
            self._transport.resume_reading()

    def _refuse_flood(self) -> None:
        """What no host needs to send, and replies of ours that it never takes."""
        if not self.logged_in and self._heard > LOGIN_BYTES:
            self._force_close(HostFloodError(f"it sent more than {LOGIN_BYTES} bytes before the login was over"))
        elif self._transport is not None and self._transport.get_write_buffer_size() > self.unsent_bytes:
            self._force_close(HostFloodError(f"it did not take {self.unsent_bytes} bytes that were sent to it"))

    certified = CertifiedName()

    def validate_server_host_key(self, key_data: bytes) -> asyncssh.SSHKey:
        with contextlib.suppress(asyncssh.KeyImportError):  # a plain key
            certificate = decode_ssh_certificate(key_data)
            self._host_key_alias = self.certified.alias_in(certificate) or self._host_key_alias
        return super().validate_server_host_key(key_data)

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        """A banner may be in any encoding: ssh(1) shows it, asyncssh would end the connection."""
        if pkttype != MSG_USERAUTH_BANNER:
            return super().process_packet(pkttype, pktid, packet)
        self.banner = packet.get_string()[:BANNER_BYTES].decode("utf-8", "replace")
        return True

    def greeting_words(self) -> str:
        """What the host says before its version (RFC 4253, section 4.2): sshd says there why it hangs up, as in
        ``Exceeded MaxStartups`` and ``Not allowed at this time``."""
        before = bytes(self._first).partition(b"SSH-")[0]
        return before.decode("utf-8", "replace").strip()

    def offered_host_keys(self) -> Sequence[str]:
        """The kinds of host key that the host said it has (RFC 4253, section 7.1); none if it said none yet."""
        try:
            said = SSHPacket(self._server_kexinit)
            said.get_byte()
            said.get_bytes(16)
            said.get_namelist()
            return [name.decode("ascii", "replace") for name in said.get_namelist()]
        except PacketDecodeError:
            return []

    def asked_host_keys(self) -> Sequence[str]:
        """The kinds that this side takes: those that are pinned."""
        return [name.decode("ascii", "replace") for name in self._server_host_key_algs or ()]

    async def send_userauth_request(
        self, method: bytes, *args: bytes, key: SigningKey | None = None, trivial: bool = True
    ) -> None:
        """Instead of asking what methods there are (``none``), and then whether the key would do, sign at once
        (RFC 4252, section 7: both questions are optional). A refusal then goes asyncssh's usual way.
        """
        pair = await self.public_key_auth_requested() if method == b"none" else None
        if pair is None:
            await super().send_userauth_request(method, *args, key=key, trivial=trivial)
            return
        fields = (b"\1", _string(pair.algorithm), _string(pair.public_data))
        await super().send_userauth_request(b"publickey", *fields, key=pair, trivial=False)


class JumpConnection(HostConnection):
    """A connection to a jump host: everything of all hosts behind it comes and goes through it, so it may have more of
    the loop's time than one host, and more bytes that wait to be taken."""

    share = 0.5
    burst_seconds = 1.0
    unsent_bytes = 64 * UNSENT_BYTES


def _string(content: bytes) -> bytes:
    """RFC 4251, section 5."""
    return len(content).to_bytes(4, "big") + content
