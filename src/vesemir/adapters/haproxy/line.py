"""The line to one load balancer box: a relay that is opened again when it was lost."""

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.target import Target
from vesemir.engine.ports.hosts import Hosts, Relay

CLOSE_SECONDS = 5.0


class Line:
    """``async with Line(...) as line``. May be used by many tasks at once.

    Every command that is sent is idempotent, so one whose answer was lost is sent again over a new relay, once.
    """

    def __init__(self, hosts: Hosts, box: Target, *, socket: str, timeout: float) -> None:
        self._hosts = hosts
        self._box = box
        self._socket = socket
        self._timeout = timeout
        self._stack = AsyncExitStack()
        self._relay: Relay | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Connects with the first command: a load balancer that is away is a failure of what needs it, not of all."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._opening:
            await self._close()

    async def ask(self, command: str) -> str:
        """Raises ``FailedError`` (``haproxy.unreachable``)."""
        relay = await self._opened()
        try:
            return await self._ask(relay, command)
        except FailedError:
            return await self._ask(await self._opened(instead_of=relay), command)

    async def _ask(self, relay: Relay, command: str) -> str:
        try:
            async with asyncio.timeout(self._timeout):
                return await relay.ask(self._socket, command, timeout=self._timeout)
        except TimeoutError as error:
            raise self._unreachable(f"no answer within {self._timeout:g} s") from error
        except FailedError as error:
            raise self._unreachable(error.failure.message) from error

    async def _opened(self, *, instead_of: Relay | None = None) -> Relay:
        """The relay as it is, or a new one if there is none or it is the one that failed."""
        async with self._opening:
            if self._relay is not None and self._relay is not instead_of:
                return self._relay
            await self._close()
            try:
                self._relay = await self._stack.enter_async_context(self._hosts.relay(self._box))
            except FailedError as error:
                raise self._unreachable(error.failure.message) from error
            return self._relay

    async def _close(self) -> None:
        """Bounded; what a lost connection says while it is closed does not matter any more."""
        self._relay = None
        stack, self._stack = self._stack, AsyncExitStack()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await stack.aclose()
        except (FailedError, OSError, TimeoutError):
            return

    def _unreachable(self, reason: str) -> FailedError:
        """The target's own ``ssh.*`` codes speak of the target; here it is the load balancer that is away."""
        text = (
            f"HAProxy on {self._box.name} cannot be asked over {self._socket}: {reason}; "
            "see that the box can be reached, HAProxy runs and the login user may use the socket"
        )
        return FailedError(FailureCode.HAPROXY_UNREACHABLE, text)
