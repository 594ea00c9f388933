"""Connections: pinned host keys, one client key, few handshakes at a time, and errors in words that say what to do.

Hosts behind jump hosts are logged in to in the same way, over a channel of the last one (``direct-tcpip``, RFC 4254,
7.2): a jump host passes bytes on and sees no key. Nothing of the machine's own SSH settings is read: no
``~/.ssh/config``, no agent, no default keys. A host's key is looked up in the ``known_hosts`` file of the settings as
OpenSSH does (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): by the target's name if a line has it, else by the address, as
``[address]:port`` for another port than 22. Key and options are made once and copied for each connection, which saves
asyncssh half its time.
"""

import asyncio
import contextlib
import ipaddress
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import asyncssh

from vesemir.adapters.ssh.credentials import Credentials
from vesemir.adapters.ssh.host_connection import HostConnection, JumpConnection
from vesemir.adapters.ssh.identities import SshIdentity
from vesemir.adapters.ssh.jump_hosts import FindHost, JumpHost, JumpHosts, find_no_host
from vesemir.adapters.ssh.login_failures import HungUpError, login_failure
from vesemir.adapters.ssh.trouble import LoginTry, unreachable
from vesemir.adapters.ssh.trouble import place as place_of
from vesemir.adapters.ssh.ways import Address, Plug, Way, WayDirect, WayThrough
from vesemir.domain.failure import FailedError, FailureCode, VesemirError
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host
from vesemir.engine.ports.observe import Log, Meters, SilentLog, SilentMeters
from vesemir.settings import SshSettings

RESOLVERS: Final = 8
"""Threads for names: slow ones must not hold up connections to plain addresses."""
CLOSE_SECONDS: Final = 5.0

NOWHERE: Final = "0.0.0.0"  # noqa: S104 - to ask whether anything is refused there
RefusePlace = Callable[[Target, Sequence[str]], str | None]
"""Why a target whose address is a name must not be connected to at the addresses that it resolves to, or None."""


def anywhere(_target: Target, _addresses: Sequence[str]) -> None:
    return None


class RefusedMeanwhileError(Exception):
    """A host refused credentials that were good when the login began: ``ended``, a certificate whose time is over, and
    whose successor may come; else the files on disk are others now. ``refusal`` is what the host said."""

    def __init__(self, refusal: FailedError, *, ended: bool) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.ended = ended


class Dialer:
    """Opens connections. One for the whole instance."""

    def __init__(
        self,
        settings: SshSettings,
        resolvers: ThreadPoolExecutor,
        *,
        refuse_place: RefusePlace = anywhere,
        find_host: FindHost = find_no_host,
        meters: Meters | None = None,
        log: Log | None = None,
    ) -> None:
        self._settings = settings
        self._meters = meters or SilentMeters()
        self._log = log or SilentLog()
        self._refuse_place = refuse_place
        self.credentials = Credentials(settings)
        self._handshakes = asyncio.Semaphore(settings.max_handshakes)
        self._resolvers = resolvers
        self.jumps = JumpHosts(settings, self._dial_jump, find_host)

    @classmethod
    @contextlib.asynccontextmanager
    async def started(
        cls,
        settings: SshSettings,
        *,
        refuse_place: RefusePlace = anywhere,
        find_host: FindHost = find_no_host,
        meters: Meters | None = None,
        log: Log | None = None,
    ) -> AsyncIterator["Dialer"]:
        """Reads key and known hosts. Raises ``FailedError`` when they cannot be read."""
        resolvers = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")
        dialer = cls(settings, resolvers, refuse_place=refuse_place, find_host=find_host, meters=meters, log=log)
        try:
            await dialer.credentials.load()
            yield dialer
        finally:
            dialer.jumps.close()
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
        """The same; the caller closes it."""
        return await self._dial(target, await self.jumps.before(target), HostConnection)

    async def _dial_jump(self, target: Target, before: JumpHost | None) -> HostConnection:
        return await self._dial(target, before, JumpConnection)

    async def _dial(self, target: Target, before: JumpHost | None, kind: type[HostConnection]) -> HostConnection:
        """A connection that the host drops before the login smells of sshd's ``MaxStartups`` (sshd_config(5)): tried
        again with growing, random pauses for as long as a login may take. So is one whose jump host is lost. One that
        is refused while its credentials are replaced on disk is tried once more."""
        loop = asyncio.get_running_loop()
        way = await self._way(target, before)
        patience = loop.time() + self._settings.login_timeout_seconds
        pause, repeated = 0.1, False
        while True:
            try:
                async with way.turn() as plug, self._handshakes:
                    return await self._login(target, kind, plug)
            except HungUpError as error:
                pause *= 2
                if loop.time() + pause > patience:
                    text = "drops every connection before the login; look at MaxStartups in its sshd_config and its log"
                    words = words_of_host(str(error))
                    raise unreachable(target, f"{text}{words and f'; it says: {words}'}") from error
            except RefusedMeanwhileError as error:
                if (repeated and not error.ended) or loop.time() > patience:
                    raise error.refusal from error.__cause__
                self._repeat(target, error, first=not repeated)
                repeated = True
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads load, hides nothing

    def _repeat(self, target: Target, error: RefusedMeanwhileError, *, first: bool) -> None:
        self._meters.ssh_login_repeated()
        if first:
            why = "the certificate ended meanwhile" if error.ended else "the files of key and certificate have changed"
            text = "a login at {place} was refused and {why}: it is tried again with what is on disk now"
            self._log.warning(text, place=place_of(target), why=why, code=error.refusal.failure.code)

    async def _way(self, target: Target, before: JumpHost | None) -> Way:
        """How its first byte gets there."""
        if before is not None:
            return WayThrough(before, target, await self._address_behind(target), settings=self._settings)
        return WayDirect(target, await self._resolved(target), settings=self._settings)

    async def _address_behind(self, target: Target) -> str:
        """What the jump host is asked to connect to. It may know other names than this machine, so names are left to
        it, but for those that the operator has rules for: their addresses are judged here."""
        if self._refuse_place(target, [NOWHERE]) is None:
            return target.address
        return str((await self._resolved(target))[0][1][0])

    async def _resolved(self, target: Target) -> list[Address]:
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

    async def _login(self, target: Target, kind: type[HostConnection], plug: Plug) -> HostConnection:
        """One try. Raises ``FailedError``, and ``HungUpError``, which calls for another one."""
        identity = await self.credentials.identity(target)
        options = await self.credentials.options(identity)
        options.host = options.orig_host = target.address
        options.port = target.port
        options.username = target.user or identity.files.user or self._settings.user
        pinned = await self.credentials.pinned()
        options.known_hosts = pinned.lookup(target)
        if pinned.has_name(target):
            options.host_key_alias = target.name
        loop = asyncio.get_running_loop()
        options.waiter = loop.create_future()
        connection = kind(loop, options, wait="auth")
        connection.certified = pinned.certified(target)
        await plug(connection)
        try:
            async with asyncio.timeout(self._settings.login_timeout_seconds):
                await options.waiter
        except BaseException as error:
            connection.abort()
            if not isinstance(error, Exception):
                raise
            tried = LoginTry(options.username, options.host_key_alias, pinned.kinds(target), identity.advice)
            failure = login_failure(error, target, tried, connection, settings=self._settings)
            raise await self._judged(failure, identity) from error
        connection.logged_in = True
        return connection

    async def _judged(self, failure: VesemirError, identity: SshIdentity) -> Exception:
        """The failure itself, but for a refusal of what has been replaced."""
        if isinstance(failure, FailedError) and failure.failure.code is FailureCode.SSH_AUTH_FAILED:
            ended = identity.ended_on_the_way()
            if ended or await self.credentials.replaced(identity):
                return RefusedMeanwhileError(failure, ended=ended)
        return failure


def _place_of(target: Target, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Address:
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
