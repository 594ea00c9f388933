"""Which parts of this instance work, since when, and whether it takes work: what ``GET /health`` shows.

Parts report; nothing here asks. A part that stands between this instance and its work (broker, database) is *required*:
the instance takes work when every required part is up and nobody has begun to drain it. A ``Gate`` turns one part's
state into something that can be awaited, so that a consumer stops while the database is away and goes on by itself.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class PartState(StrEnum):
    """``STARTING``: has not been up yet. ``STOPPING``: on purpose."""

    STARTING = "starting"
    UP = "up"
    DOWN = "down"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Part:
    """One part as it is now. ``since`` is when ``state`` changed last; ``detail`` may change without it."""

    name: str
    state: PartState
    since: datetime
    detail: str = ""
    required: bool = True

    def as_json(self) -> dict[str, Any]:
        """As shown in the body of ``/health``."""
        shown = {"state": self.state.value, "since": self.since.isoformat().replace("+00:00", "Z")}
        return {**shown, "detail": self.detail} if self.detail else shown


class Gate:
    """Open or closed, and awaitable both ways. Closed at first: nothing is taken before it is known to be possible."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._closed = asyncio.Event()
        self._closed.set()

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    def set_open(self) -> None:
        self._closed.clear()
        self._open.set()

    def set_closed(self) -> None:
        self._open.clear()
        self._closed.set()

    async def wait_open(self) -> None:
        await self._open.wait()

    async def wait_closed(self) -> None:
        await self._closed.wait()


def _utc_now() -> datetime:
    return datetime.now(UTC)


class HealthRegistry:
    """The parts by name. Not for threads: report from the event loop."""

    def __init__(self, *, clock: Callable[[], datetime] = _utc_now) -> None:
        self._clock = clock
        self._parts: dict[str, Part] = {}
        self._gates: dict[str, Gate] = {}
        self._draining_since: datetime | None = None

    def expect(self, name: str, *, required: bool = True) -> None:
        """Make a part known before it reports, so that an instance that is still starting does not look healthy."""
        if name not in self._parts:
            self._parts[name] = Part(name, PartState.STARTING, self._clock(), required=required)

    def report(self, name: str, state: PartState, detail: str = "") -> None:
        """Say how a part is. Unknown parts become known, as required ones."""
        self.expect(name)
        old = self._parts[name]
        since = old.since if old.state is state else self._clock()
        self._parts[name] = Part(name, state, since, detail, old.required)
        gate = self._gates.get(name)
        if gate is not None:
            _follow(gate, state)

    def gate(self, name: str) -> Gate:
        """The gate that is open while this part is up. The same object each time."""
        self.expect(name)
        if name not in self._gates:
            self._gates[name] = Gate()
            _follow(self._gates[name], self._parts[name].state)
        return self._gates[name]

    def is_up(self, name: str) -> bool:
        part = self._parts.get(name)
        return part is not None and part.state is PartState.UP

    def drain(self) -> None:
        """No more work is taken, until the end: called once at the beginning of stopping."""
        if self._draining_since is None:
            self._draining_since = self._clock()

    @property
    def draining(self) -> bool:
        return self._draining_since is not None

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(self._parts.values())

    @property
    def takes_work(self) -> bool:
        """Every required part up, at least one known, and not draining."""
        required = [part for part in self._parts.values() if part.required]
        return bool(required) and not self.draining and all(part.state is PartState.UP for part in required)

    def as_json(self) -> dict[str, Any]:
        """The body of ``/health``: ``status``, and each part with its state and since when (contract section 4)."""
        body: dict[str, Any] = {
            "status": "ok" if self.takes_work else "unavailable",
            "takes_work": self.takes_work,
            "draining": self.draining,
            "parts": {part.name: part.as_json() for part in self._parts.values()},
        }
        if self._draining_since is not None:
            body["draining_since"] = self._draining_since.isoformat().replace("+00:00", "Z")
        return body


def _follow(gate: Gate, state: PartState) -> None:
    if state is PartState.UP:
        gate.set_open()
    else:
        gate.set_closed()
