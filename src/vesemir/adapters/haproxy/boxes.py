"""A deployment's load balancers, each asked over its runtime socket: a fresh channel per command, replies checked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

from vesemir.adapters.haproxy.line import Line
from vesemir.adapters.haproxy.reply import (
    parse_backend_number,
    parse_backends,
    parse_counters,
    parse_process,
    parse_servers,
    refuse_level,
    refuse_reply,
)
from vesemir.adapters.haproxy.sharing import SharedAnswer
from vesemir.domain.counters import BoxCounters
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.target import Target
from vesemir.domain.traffic import AdminState, HaproxyProcess, ServerState, checked_server_name
from vesemir.engine.ports.hosts import Hosts
from vesemir.engine.ports.load_balancer import LoadBalancer
from vesemir.settings import HaproxySettings

T = TypeVar("T")

REPLACED_SECONDS = 10.0
"""How long a process that is being replaced may still take our connections."""
MOST_NUMBERS = 20
"""Numbers of one backend, in as many answers: a reload gives it a new one, but not each time."""
LARGE_REPLY = 128 * 1024
"""Characters beyond which a reply is read in a thread: thousands of servers take a tenth of a second."""
_AGAIN_SECONDS = 0.1
_LEAVING = "Proxy is disabled."


class HaproxyBox:
    """One HAProxy; implements ``LoadBalancer``."""

    def __init__(self, name: str, line: Line) -> None:
        self._name = name
        self._line = line
        self._numbers: dict[str, str] = {}
        self._readings: dict[str, SharedAnswer[Mapping[str, ServerState]]] = {}
        self._countings: dict[str, SharedAnswer[BoxCounters]] = {}
        self._identity = SharedAnswer(self._read_process)
        self._rights = SharedAnswer(self._read_rights)

    @property
    def name(self) -> str:
        return self._name

    async def backends(self) -> Mapping[str, Collection[str]]:
        reply = await self._line.ask("show servers state")
        return await _parsed(partial(parse_backends, reply, self._name), size=len(reply))

    async def servers(self, backend: str) -> Mapping[str, ServerState]:
        """As they are after the call; everybody who asks at the same time shares one reading."""
        if backend not in self._readings:
            self._readings[backend] = SharedAnswer(partial(self._read_servers, backend))
        return await self._readings[backend].get()

    async def counters(self, backend: str) -> BoxCounters:
        if backend not in self._countings:
            self._countings[backend] = SharedAnswer(partial(self._read_counters, backend))
        return await self._countings[backend].get()

    async def _read_servers(self, backend: str) -> Mapping[str, ServerState]:
        """6: the backend's row and its servers'."""
        reply = await self._ask_stat(backend, ";show stat {number} 6 -1")
        return await _parsed(partial(parse_servers, reply, backend, self._name), size=len(reply))

    async def _read_counters(self, backend: str) -> BoxCounters:
        """4: the servers' rows."""
        reply = await self._ask_stat(backend, ";show info;show stat {number} 4 -1")
        return await _parsed(partial(parse_counters, reply, self._name), size=len(reply))

    async def _ask_stat(self, backend: str, stat: str) -> str:
        """``show servers state`` and ``stat`` in one command line, so that they tell of one moment.

        ``show stat`` is asked by the backend's number: its name may be a frontend's too, and HAProxy takes that first.
        """
        asked = checked_server_name(backend)
        for _ in range(MOST_NUMBERS):
            number = self._numbers.get(backend)
            reply = await self._line.ask(f"show servers state {asked}{stat.format(number=number) if number else ''}")
            parse = partial(parse_backend_number, reply, backend, self._name)
            self._numbers[backend] = await _parsed(parse, size=len(reply))
            if self._numbers[backend] == number:
                return reply
        text = f"HAProxy on {self._name} gives backend {backend} another number each time: look at its reloads"
        raise FailedError(FailureCode.HAPROXY_UNREACHABLE, text)

    async def check_rights(self) -> None:
        await self._rights.get()

    async def _read_rights(self) -> None:
        refuse_level(await self._line.ask("show cli level"), self._name)

    async def set_state(self, backend: str, server: str, state: AdminState) -> None:
        await self._tell(f"set server {_of(backend, server)} state {state.value}")

    async def set_weight(self, backend: str, server: str, percent: int) -> None:
        await self._tell(f"set server {_of(backend, server)} weight {int(percent)}%")

    async def set_user_weight(self, backend: str, server: str, weight: int) -> None:
        await self._tell(f"set server {_of(backend, server)} weight {int(weight)}")

    async def set_agent(self, backend: str, server: str, *, enabled: bool) -> None:
        await self._tell(f"{'enable' if enabled else 'disable'} agent {_of(backend, server)}")

    async def mark_down(self, backend: str, server: str) -> None:
        await self._tell(f"set server {_of(backend, server)} health down")

    async def shutdown_sessions(self, backend: str, server: str) -> None:
        await self._tell(f"shutdown sessions server {_of(backend, server)}")

    async def process(self) -> HaproxyProcess:
        return await self._identity.get()

    async def close(self) -> None:
        """End what is still being read."""
        for reading in self._readings.values():
            await reading.close()
        for counting in self._countings.values():
            await counting.close()
        await self._identity.close()
        await self._rights.close()

    async def _read_process(self) -> HaproxyProcess:
        return parse_process(await self._line.ask("show info"), self._name)

    async def _tell(self, command: str) -> None:
        """The process that a reload replaces has disabled its proxies: the next connection meets the new one."""
        loop = asyncio.get_running_loop()
        limit = loop.time() + REPLACED_SECONDS
        reply = await self._line.ask(command)
        while reply.strip() == _LEAVING and loop.time() < limit:
            await asyncio.sleep(_AGAIN_SECONDS)
            reply = await self._line.ask(command)
        refuse_reply(reply, command, self._name)


class HaproxyBoxes:
    """Implements ``LoadBalancers``."""

    def __init__(self, hosts: Hosts, settings: HaproxySettings) -> None:
        self._hosts = hosts
        self._settings = settings

    def open(self, boxes: Sequence[Target]) -> AbstractAsyncContextManager[Sequence[LoadBalancer]]:
        """The socket's path is the box's variable ``haproxy_socket``, else the setting."""
        return self._open(boxes)

    @asynccontextmanager
    async def _open(self, boxes: Sequence[Target]) -> AsyncIterator[Sequence[LoadBalancer]]:
        async with AsyncExitStack() as stack:
            opened: list[HaproxyBox] = []
            for box in boxes:
                socket = box.variables.get("haproxy_socket") or self._settings.socket
                line = Line(self._hosts, box, socket=socket, timeout=self._settings.command_timeout_seconds)
                opened.append(HaproxyBox(box.name, await stack.enter_async_context(line)))
                stack.push_async_callback(opened[-1].close)
            yield tuple(opened)


async def _parsed(parse: Callable[[], T], *, size: int) -> T:
    return parse() if size <= LARGE_REPLY else await asyncio.to_thread(parse)


def _of(backend: str, server: str) -> str:
    return f"{checked_server_name(backend)}/{checked_server_name(server)}"
