"""Jump hosts: one connection to each, shared by everything of this instance that goes through it.

It is opened when it is needed, kept while it is used, and closed when nothing goes through it any more. Its sshd sees
one login, however many hosts are behind it; their own handshakes go through it a few at a time.

A jump host that does not answer is tried by one of those that wait for it, with growing pauses, and all others hear
what came of that: 300 hosts behind a dead jump host have one failure, in the same words.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vesemir.adapters.ssh.host_connection import HostConnection
from vesemir.adapters.ssh.trouble import jump_unreachable
from vesemir.domain.failure import FailedError, Failure, FailureCode
from vesemir.domain.jump import Jump, way_to
from vesemir.domain.target import Target
from vesemir.settings import SshSettings

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0
"""Between two tries of a jump host that does not answer, in seconds."""

FindHost = Callable[[str], Awaitable[Target | None]]
"""The host of that name in the operator's inventory; None when it has none."""


async def find_no_host(_name: str) -> Target | None:
    return None


@dataclass(slots=True)
class Outage:
    """Since when a jump host cannot be used, and when it may be tried again, by the loop's clock."""

    failure: Failure
    since: float
    pause: float
    next_try: float
    waits: bool
    """Whether it may be over soon: a refused login is not."""


class JumpHost:
    """One jump host, on one way to it: through ``before``, or directly."""

    def __init__(
        self,
        target: Target,
        before: "JumpHost | None",
        dial: Callable[[Target, "JumpHost | None"], Awaitable[HostConnection]],
        *,
        settings: SshSettings,
    ) -> None:
        self.target = target
        self.before = before
        self._dial = dial
        self._settings = settings
        self._handshakes = asyncio.Semaphore(settings.max_jump_handshakes)
        self._opening = asyncio.Lock()
        self._connection: HostConnection | None = None
        self._outage: Outage | None = None
        self._users = 0
        self._idle: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def passage(self) -> AsyncIterator[HostConnection]:
        """Its connection, for one handshake with a host behind it. Raises ``FailedError`` (``ssh.jump_unreachable``).

        It is waited for before the turn is taken: what waits for a jump host holds up nothing else.
        """
        self.enter()
        try:
            await self._connected()
            async with self._handshakes:
                yield await self._connected()
        finally:
            self.leave()

    def enter(self) -> None:
        """Something goes through it from now on."""
        self._users += 1
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def leave(self) -> None:
        self._users -= 1
        if self._users == 0 and self._connection is not None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self._settings.jump_idle_seconds, self.close)

    def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _connected(self) -> HostConnection:
        loop = asyncio.get_running_loop()
        while True:
            async with self._opening:
                if self._connection is not None and not self._connection.is_closed():
                    return self._connection
                outage = self._outage
                if outage is None or loop.time() >= outage.next_try:
                    outage = await self._open()
                    if outage is None:
                        continue
            if not outage.waits or loop.time() - outage.since > self._settings.jump_wait_seconds:
                raise FailedError(outage.failure.code, outage.failure.message)
            await asyncio.sleep(max(0.0, outage.next_try - loop.time()))

    async def _open(self) -> Outage | None:
        """One try; what came of it is for all."""
        try:
            self._connection = await self._dial(self.target, self.before)
        except FailedError as error:
            self._outage = self._failed(error)
            return self._outage
        self._outage = None
        return None

    def _failed(self, error: FailedError) -> Outage:
        now = asyncio.get_running_loop().time()
        code = error.failure.code
        waits = code is FailureCode.SSH_UNREACHABLE
        known = code is FailureCode.SSH_JUMP_UNREACHABLE  # it is one before this one, which has been waited for
        failure = error.failure if known else jump_unreachable(self.target, error.failure.message).failure
        old = self._outage
        if old is None or now - old.next_try > self._settings.jump_wait_seconds:
            return Outage(failure, now, FIRST_PAUSE, now + FIRST_PAUSE, waits)
        pause = min(LONGEST_PAUSE, 2 * old.pause)
        if waits and old.waits:
            failure = old.failure
        return Outage(failure, old.since, pause, now + pause, waits)


class JumpHosts:
    """All of this instance's, by the way to each."""

    def __init__(
        self,
        settings: SshSettings,
        dial: Callable[[Target, JumpHost | None], Awaitable[HostConnection]],
        find: FindHost,
    ) -> None:
        self._settings = settings
        self._dial = dial
        self._find = find
        self._known: dict[tuple[str, str, int, str, str | None, JumpHost | None], JumpHost] = {}

    async def before(self, target: Target) -> JumpHost | None:
        """The last jump host on the way to it; None for a host that is reached directly. Raises ``FailedError``."""
        said = target.variables.get("vesemir_jump")
        try:
            jumps = way_to(target, self._settings.jump if said is None else said)
        except ValueError as error:
            text = f"the inventory's vesemir_jump of {target.name} cannot be used: {error}"
            raise FailedError(FailureCode.TARGETS_INVALID_ATTRIBUTES, text) from error
        way = await self.along(jumps)
        return way[-1] if way else None

    async def along(self, jumps: Sequence[Jump]) -> list[JumpHost]:
        """Those of a way, in the order in which they are passed."""
        way: list[JumpHost] = []
        for jump in jumps:
            last = way[-1] if way else None
            place = await self._place(jump)
            identity = place.variables.get("vesemir_identity")
            key = (place.name, place.address, place.port, place.user, identity, last)
            if key not in self._known:
                self._known[key] = JumpHost(place, last, self._dial, settings=self._settings)
            way.append(self._known[key])
        return way

    async def _place(self, jump: Jump) -> Target:
        found = await self._find(jump.host)
        if found is None:
            return Target(jump.host, jump.host, jump.port or self._settings.port, jump.user)
        return replace(found, port=jump.port or found.port, user=jump.user or found.user)

    def close(self) -> None:
        """The last ones first."""
        for jump in reversed(self._known.values()):
            jump.close()
