"""Connections: pinned host keys, one client key, few handshakes at a time, and errors in words that say what to do.

Nothing of the machine's own SSH settings is read: no ``~/.ssh/config``, no agent, no default keys. A host's key is
looked up in the ``known_hosts`` file of the settings as OpenSSH does (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): by the
target's name if a line has it, else by the address, as ``[address]:port`` for another port than 22. Key and options are
made once and copied for each connection, which saves asyncssh half its time.
"""

import asyncio
import contextlib
import copy
import ipaddress
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import asyncssh

from vesemir.adapters.ssh.host_connection import HostConnection
from vesemir.adapters.ssh.known_hosts import PinnedKeys
from vesemir.adapters.ssh.login_failures import HungUpError, login_failure
from vesemir.adapters.ssh.trouble import LoginTry, unreachable
from vesemir.adapters.ssh.trouble import place as place_of
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host
from vesemir.settings import SshSettings

RESOLVERS: Final = 8
"""Threads for names: slow ones must not hold up connections to plain addresses."""
CLOSE_SECONDS: Final = 5.0

_Address = tuple[int, tuple[str | int, ...]]


RefusePlace = Callable[[Target, Sequence[str]], str | None]
"""Why a target whose address is a name must not be connected to at the addresses that it resolves to, or None."""


def anywhere(_target: Target, _addresses: Sequence[str]) -> None:
    return None


class Credentials:
    """Client key, known hosts and connection options; read again when one of the two files changes."""

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._stamps: tuple[int, int] | None = None
        self._options: asyncssh.SSHClientConnectionOptions | None = None
        self.pinned = PinnedKeys("")
        self.problem = ""
        """What keeps the files from being read again; what was read before stays in use."""
        self._loading = asyncio.Lock()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            return self._settings.client_key.stat().st_mtime_ns, self._settings.known_hosts.stat().st_mtime_ns
        except OSError:
            return None  # being replaced at this moment, or not there: load() says which

    async def options(self) -> asyncssh.SSHClientConnectionOptions:
        """Raises ``FailedError`` when there never was a readable pair of files."""
        stamps = self._stamp()
        if self._options is not None and stamps in {None, self._stamps}:
            return self._options
        async with self._loading:
            if self._options is None or stamps != self._stamps:
                try:
                    self._options = await asyncio.to_thread(self._load)
                    self._stamps = stamps
                except FailedError:
                    if self._options is None:
                        raise
        return self._options

    def refresh(self) -> None:
        """Read what has changed, at once; not on the event loop."""
        stamps = self._stamp()
        if self._options is not None and stamps is not None and stamps == self._stamps and not self.problem:
            return
        try:
            self._options = self._load()
        except FailedError as error:
            self.problem = str(error)
        else:
            self._stamps, self.problem = stamps, ""

    def _load(self) -> asyncssh.SSHClientConnectionOptions:
        settings = self._settings
        try:
            key = asyncssh.read_private_key(settings.client_key)
        except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            text = f"client key {settings.client_key} cannot be read: {error}; check ssh.client_key, its mode and owner"
            raise FailedError(FailureCode.SSH_AUTH_FAILED, text) from error
        try:
            self.pinned = PinnedKeys(Path(settings.known_hosts).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            text = f"known hosts file {settings.known_hosts} cannot be read: {error}; check ssh.known_hosts"
            raise FailedError(FailureCode.SSH_HOST_KEY_MISMATCH, text) from error
        return asyncssh.SSHClientConnectionOptions(
            config=None,
            agent_path=None,
            client_keys=[key],
            known_hosts=([], [], []),  # given for each target
            username=settings.user,
            preferred_auth=["publickey"],
            kex_algs=["curve25519-sha256", "ecdh-sha2-nistp256", "diffie-hellman-group14-sha256"],
            encryption_algs=[
                "aes128-gcm@openssh.com",
                "aes256-gcm@openssh.com",
                "chacha20-poly1305@openssh.com",
                "aes128-ctr",
            ],
            compression_algs=["none"],
            keepalive_interval=settings.keepalive_seconds,
            keepalive_count_max=settings.keepalive_misses,
            login_timeout=settings.login_timeout_seconds,
        )


class Dialer:
    """Opens connections. One for the whole instance."""

    def __init__(
        self, settings: SshSettings, resolvers: ThreadPoolExecutor, refuse_place: RefusePlace = anywhere
    ) -> None:
        self._settings = settings
        self._refuse_place = refuse_place
        self.credentials = Credentials(settings)
        self._handshakes = asyncio.Semaphore(settings.max_handshakes)
        self._resolvers = resolvers

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, settings: SshSettings, *, refuse_place: RefusePlace = anywhere) -> AsyncIterator["Dialer"]:
        """Reads key and known hosts. Raises ``FailedError`` when they cannot be read."""
        resolvers = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")
        try:
            dialer = cls(settings, resolvers, refuse_place)
            await dialer.credentials.options()
            yield dialer
        finally:
            resolvers.shutdown(wait=False, cancel_futures=True)

    @contextlib.asynccontextmanager
    async def connection(self, target: Target) -> AsyncIterator[HostConnection]:
        """A connection that is logged in, and closed at the end, within ``CLOSE_SECONDS``. Raises ``FailedError``."""
        connection = await self.dial(target)
        try:
            yield connection
        finally:
            await close(connection)

    async def dial(self, target: Target) -> HostConnection:
        """The same; the caller closes it.

        A connection that the host drops before the login smells of sshd's ``MaxStartups`` (sshd_config(5)): tried again
        with growing, random pauses for as long as a login may take.
        """
        loop = asyncio.get_running_loop()
        addresses = await self._resolved(target)
        patience = loop.time() + self._settings.login_timeout_seconds
        pause = 0.1
        while True:
            try:
                async with self._handshakes:
                    return await self._login(target, addresses)
            except HungUpError as error:
                pause *= 2
                if loop.time() + pause > patience:
                    text = "drops every connection before the login; look at MaxStartups in its sshd_config and its log"
                    words = words_of_host(str(error))
                    raise unreachable(target, f"{text}{words and f'; it says: {words}'}") from error
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads load, hides nothing

    async def _resolved(self, target: Target) -> list[_Address]:
        with contextlib.suppress(ValueError):
            return [_place_of(target, ipaddress.ip_address(target.address))]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._settings.connect_timeout_seconds):
                found = await loop.run_in_executor(
                    self._resolvers, lambda: socket.getaddrinfo(target.address, target.port, type=socket.SOCK_STREAM)
                )
        except (OSError, UnicodeError, TimeoutError) as error:
            reason = str(error) or "no answer from the resolver"
            raise unreachable(target, f"its name does not resolve ({reason}); check the inventory and DNS") from error
        if refused := self._refuse_place(target, [str(place[0]) for *_, place in found]):
            text = f"{place_of(target)} must not be connected to: {refused} (settings of the inventory)"
            raise FailedError(FailureCode.TARGETS_INVALID_ATTRIBUTES, text)
        return [(int(family), (str(place[0]), target.port, *place[2:])) for family, _, _, _, place in found]

    async def _login(self, target: Target, addresses: list[_Address]) -> HostConnection:
        """One try. Raises ``FailedError``, and ``HungUpError``, which calls for another one."""
        options = copy.copy(await self.credentials.options())
        options.host = options.orig_host = target.address
        options.port = target.port
        options.username = target.user or self._settings.user
        pinned = self.credentials.pinned
        options.known_hosts = pinned.lookup(target)
        if pinned.has_name(target):
            options.host_key_alias = target.name
        options.client_keys = [copy.copy(key) for key in options.client_keys or ()]
        loop = asyncio.get_running_loop()
        options.waiter = loop.create_future()
        plug = await self._plug(target, addresses)
        try:
            connection = HostConnection(loop, options, wait="auth")
            await loop.create_connection(lambda: connection, sock=plug)
        except BaseException:
            plug.close()
            raise
        try:
            async with asyncio.timeout(self._settings.login_timeout_seconds):
                await options.waiter
        except BaseException as error:
            connection.abort()
            if not isinstance(error, Exception):
                raise
            tried = LoginTry(options.username, options.host_key_alias, pinned.kinds(target))
            raise login_failure(error, target, tried, connection, settings=self._settings) from error
        connection.logged_in = True
        return connection

    async def _plug(self, target: Target, addresses: list[_Address]) -> socket.socket:
        """A connected socket, to the first address that answers."""
        loop = asyncio.get_running_loop()
        trouble: OSError = OSError("it has no address")
        for family, place in addresses:
            plug = socket.socket(family, socket.SOCK_STREAM)
            try:
                plug.setblocking(False)  # noqa: FBT003 - the socket module takes it so
                plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                async with asyncio.timeout(self._settings.connect_timeout_seconds):
                    await loop.sock_connect(plug, place)
            except OSError as error:
                plug.close()
                trouble = error
            except BaseException:
                plug.close()
                raise
            else:
                return plug
        if isinstance(trouble, ConnectionResetError):
            raise HungUpError from trouble
        limit = f"no answer within {self._settings.connect_timeout_seconds:g} s"
        reason = limit if isinstance(trouble, TimeoutError) else os.strerror(trouble.errno or 0)
        text = f"{reason}; check that it is up, that sshd listens there, and firewalls between"
        raise unreachable(target, text) from trouble


def _place_of(target: Target, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> _Address:
    """A zone (RFC 4007, section 11) is the name or number of an interface of this instance."""
    if isinstance(address, ipaddress.IPv4Address):
        return socket.AF_INET, (str(address), target.port)
    zone = address.scope_id
    if zone is None:
        return socket.AF_INET6, (str(address), target.port)
    try:
        number = int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
    except OSError as error:
        text = f"{target.address} is at an interface {zone!r}, which this instance does not have; check the inventory"
        raise unreachable(target, text) from error
    return socket.AF_INET6, (str(address).partition("%")[0], target.port, 0, number)


async def close(connection: asyncssh.SSHClientConnection) -> None:
    """Within ``CLOSE_SECONDS``, then the hard way."""
    connection.close()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()
    except asyncio.CancelledError:
        connection.abort()
        raise
