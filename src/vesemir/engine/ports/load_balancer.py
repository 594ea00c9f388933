"""The port to HAProxy: one load balancer box, and the set of them that serve the same backends."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from vesemir.domain.counters import BoxCounters
from vesemir.domain.target import Target
from vesemir.domain.traffic import AdminState, HaproxyProcess, ServerState


class LoadBalancer(Protocol):
    """One HAProxy process, asked over its runtime socket: a fresh connection per command, every reply checked.

    Raises ``FailedError``: ``haproxy.unreachable`` (box, socket or process away), ``haproxy.unknown_server`` (no such
    backend or server).
    """

    @property
    def name(self) -> str: ...

    async def backends(self) -> Mapping[str, Collection[str]]:
        """Every backend with servers, and the names of those, as they are now."""
        ...

    async def servers(self, backend: str) -> Mapping[str, ServerState]:
        """Every server of the backend by name, as it is now."""
        ...

    async def counters(self, backend: str) -> BoxCounters:
        """What every server of the backend has answered since the process started, all read at one moment."""
        ...

    async def check_rights(self) -> None:
        """Raises ``FailedError`` (``haproxy.unreachable``) when its socket takes no command that changes something."""
        ...

    async def set_state(self, backend: str, server: str, state: AdminState) -> None: ...

    async def set_weight(self, backend: str, server: str, percent: int) -> None:
        """``set server B/S weight N%``."""
        ...

    async def set_user_weight(self, backend: str, server: str, weight: int) -> None:
        """The weight itself, 0 to 256, not a share of the configured one: to give back exactly what was there."""
        ...

    async def set_agent(self, backend: str, server: str, *, enabled: bool) -> None: ...

    async def mark_down(self, backend: str, server: str) -> None:
        """Its checks must pass ``rise`` times before it is up again. Not for a server that tracks another."""
        ...

    async def shutdown_sessions(self, backend: str, server: str) -> None: ...

    async def process(self) -> HaproxyProcess:
        """Another one after each reload."""
        ...


class LoadBalancers(Protocol):
    def open(self, boxes: Sequence[Target]) -> AbstractAsyncContextManager[Sequence[LoadBalancer]]:
        """A box is connected to with its first command; a connection that is lost is opened again on the next."""
        ...
