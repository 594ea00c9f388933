"""Hosts in memory: no connection, no program is run; steps end as the test says, and what was asked is written down.

    hosts = FakeHosts()
    hosts.steps["install"] = failed(3, b"no space left")     # or a list, one for each try; or HANGS
    hosts.unreachable["web2"] = FailedError(FailureCode.SSH_UNREACHABLE, "…")

A step without a word about it succeeds. The rules of locks, epochs and markers are those of the real adapter, and the
same contract suite holds them to it (``tests/contract/test_hosts_contract.py``).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from vesemir.domain.failure import EpochRefusedError, FailedError, FailureCode, LeaseLostError, VesemirError
from vesemir.domain.step import Command, StepKey, StepResult, StepStatus, StepTrace, Trace
from vesemir.domain.target import Target
from vesemir.engine.ports.hosts import Host, HttpAnswer, Look, Relay, Ticket

SUCCEEDED = StepResult(StepStatus.SUCCEEDED, 0)
HANGS = StepResult(StepStatus.TIMED_OUT, None, reason="hangs")
"""A step that goes on until its timeout (which passes in real time) or until it is cancelled."""

Ending = StepResult | VesemirError


def failed(exit_status: int, output: bytes = b"") -> StepResult:
    return StepResult(StepStatus.FAILED, exit_status, output=output, output_bytes=len(output))


@dataclass(frozen=True)
class Call:
    """One thing that was asked of a host: ``open``, ``run``, ``trace``, ``upload``, ``write``, ``http_get``, …"""

    what: str
    target: str
    step: str = ""
    epoch: int = 0
    command: Command | None = None
    key: StepKey | None = None


@dataclass
class FakeBox:
    """What a host keeps."""

    epochs: dict[str, int] = field(default_factory=dict)
    holders: dict[str, "FakeSession"] = field(default_factory=dict)
    started: set[StepKey] = field(default_factory=set)
    finished: dict[StepKey, StepResult] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    freed: asyncio.Condition = field(default_factory=asyncio.Condition)


@dataclass
class FakeHosts:
    """``vesemir.engine.ports.hosts.Hosts``."""

    steps: dict[str, Ending | list[Ending]] = field(default_factory=dict)
    """By step name, or ``TARGET:STEP`` which wins. A ``VesemirError`` is raised: the step then broke off."""
    unreachable: dict[str, VesemirError] = field(default_factory=dict)
    without_sftp: dict[str, VesemirError] = field(default_factory=dict)
    without_forwarding: dict[str, VesemirError] = field(default_factory=dict)
    pages: dict[str, HttpAnswer] = field(default_factory=dict)
    """By URL; one that is missing refuses connections."""
    listening: set[tuple[str, int]] = field(default_factory=set)
    answers: Callable[[str, str, str], str] | None = None
    """(load balancer, socket, line) to the answer; may raise ``FailedError``."""
    calls: list[Call] = field(default_factory=list)
    boxes: dict[str, FakeBox] = field(default_factory=dict)
    running: int = 0
    most_running: int = 0
    """The most sessions that were open at once."""

    def ran(self, step: str = "") -> list[str]:
        """Targets on which a step (any, without a name) was run, in order."""
        return [call.target for call in self.calls if call.what == "run" and step in {"", call.step}]

    def box(self, name: str) -> FakeBox:
        return self.boxes.setdefault(name, FakeBox())

    def ending_of(self, target: str, step: str) -> Ending:
        for name in (f"{target}:{step}", step):
            told = self.steps.get(name)
            if isinstance(told, list):
                return told.pop(0) if len(told) > 1 else told[0]
            if told is not None:
                return told
        return SUCCEEDED

    def _reach(self, target: Target) -> None:
        if (trouble := self.unreachable.get(target.name)) is not None:
            raise trouble

    @contextlib.asynccontextmanager
    async def open(self, target: Target, ticket: Ticket) -> AsyncIterator[Host]:
        self.calls.append(Call("open", target.name, epoch=ticket.epoch))
        self._reach(target)
        box = self.box(target.name)
        host = FakeSession(self, target.name, ticket, box)
        await host.take_lane()
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            yield host
        finally:
            self.running -= 1
            await host.leave()

    @contextlib.asynccontextmanager
    async def relay(self, target: Target) -> AsyncIterator[Relay]:
        self.calls.append(Call("relay", target.name))
        self._reach(target)
        yield _FakeRelay(self, target.name)

    @contextlib.asynccontextmanager
    async def login(self, target: Target, ticket: Ticket) -> AsyncIterator[Look]:
        self.calls.append(Call("login", target.name, epoch=ticket.epoch))
        self._reach(target)
        yield FakeLook(self, target.name, ticket)


class FakeLook:
    """A session without a lane: the box keeps nothing of it."""

    def __init__(self, hosts: FakeHosts, name: str, ticket: Ticket) -> None:
        self._hosts = hosts
        self._name = name
        self._ticket = ticket

    async def run(self, key: StepKey, command: Command) -> StepResult:
        if not self._ticket.valid():
            raise LeaseLostError(f"the lease of {self._ticket.deployment_id} is no longer valid")
        self._hosts.calls.append(Call("look", self._name, key.step, self._ticket.epoch, command, key))
        await asyncio.sleep(0)
        ending = self._hosts.ending_of(self._name, key.step)
        if isinstance(ending, VesemirError):
            raise ending
        if ending is HANGS:
            await asyncio.sleep(command.timeout)
        return ending

    async def try_sftp(self) -> None:
        self._hosts.calls.append(Call("try_sftp", self._name))
        if (trouble := self._hosts.without_sftp.get(self._name)) is not None:
            raise trouble

    async def try_forwarding(self, host: str, port: int) -> None:
        self._hosts.calls.append(Call("try_forwarding", self._name, f"{host}:{port}"))
        if (trouble := self._hosts.without_forwarding.get(self._name)) is not None:
            raise trouble


class FakeSession:
    """A session with a host; ``ticket`` is what it was opened with."""

    def __init__(self, hosts: FakeHosts, name: str, ticket: Ticket, box: FakeBox) -> None:
        self._hosts = hosts
        self.name = name
        self.ticket = ticket
        self._box = box
        self._over = asyncio.Event()
        self._end: VesemirError | None = None

    @property
    def connect_seconds(self) -> float:
        return 0.01

    @property
    def usable(self) -> bool:
        """Whether a step could be begun: the session goes on and its lease is trusted."""
        return self._end is None and self.ticket.valid()

    async def take_time(self, key: StepKey, seconds: float) -> None:
        """The host knows the step as begun; it goes on for so long, or until the session ends."""
        self._begin(key)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)

    def _begin(self, key: StepKey) -> None:
        self._box.finished.pop(key, None)
        self._box.started.add(key)

    async def take_lane(self) -> None:
        """The epoch first; then an older holder gives way at once, an equal one is waited for."""
        box, lane, epoch = self._box, self.ticket.lane, self.ticket.epoch
        if epoch < box.epochs.get(lane, 0):
            text = f"{self.name} has seen epoch {box.epochs[lane]} of {lane}, this session has {epoch}"
            raise EpochRefusedError(text)
        box.epochs[lane] = epoch
        holder = box.holders.get(lane)
        if holder is not None and holder.ticket.epoch < epoch:
            holder.end(EpochRefusedError(f"a later claim of {lane} has come to {self.name}"))
        try:
            async with asyncio.timeout(self.ticket.lock_seconds), box.freed:
                await box.freed.wait_for(lambda: lane not in box.holders)
        except TimeoutError:
            raise FailedError(FailureCode.TARGET_BUSY, f"{self.name}: another session works in {lane}") from None
        box.holders[lane] = self

    def end(self, reason: VesemirError) -> None:
        """The session is over, whatever ran in it broke off; its lock is free."""
        self._end = self._end or reason
        self._over.set()
        if self._box.holders.get(self.ticket.lane) is self:
            del self._box.holders[self.ticket.lane]

    async def leave(self) -> None:
        self.end(FailedError(FailureCode.SSH_CONNECTION_LOST, f"the session with {self.name} was closed"))
        async with self._box.freed:
            self._box.freed.notify_all()

    def _check(self, what: str, step: str = "", *, command: Command | None = None, key: StepKey | None = None) -> None:
        if self._end is not None:
            raise self._end
        if what != "trace" and not self.ticket.valid():
            raise LeaseLostError(f"the lease of {self.ticket.deployment_id} is no longer valid")
        self._hosts.calls.append(Call(what, self.name, step, self.ticket.epoch, command, key))

    async def trace(self, key: StepKey) -> StepTrace:
        self._check("trace", key.step, key=key)
        if key in self._box.finished:
            return StepTrace(Trace.FINISHED, self._box.finished[key])
        return StepTrace(Trace.BROKEN_OFF if key in self._box.started else Trace.NEVER)

    async def run(self, key: StepKey, command: Command) -> StepResult:
        self._check("run", key.step, command=command, key=key)
        self._begin(key)
        await asyncio.sleep(0)
        ending = self._hosts.ending_of(self.name, key.step)
        if isinstance(ending, VesemirError):
            raise ending
        if ending is HANGS:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), command.timeout)
        if self._end is not None:
            raise self._end
        self._box.finished[key] = StepResult(
            ending.status,
            ending.exit_status,
            output_bytes=ending.output_bytes,
            duration_seconds=ending.duration_seconds,
            leftovers=ending.leftovers,
            ended=ending.ended,
            reason=ending.reason,
        )
        return ending

    async def upload(self, source: Path, name: str) -> str:
        try:
            content = await asyncio.to_thread(source.read_bytes)
        except OSError as error:
            raise FailedError(FailureCode.ARTIFACT_UNAVAILABLE, f"{source} cannot be read: {error.strerror}") from error
        return self._place("upload", content, name)

    async def write(self, content: bytes, name: str) -> str:
        return self._place("write", content, name)

    def _place(self, what: str, content: bytes, name: str) -> str:
        self._check(what, name)
        self._box.files[name] = content
        return f"/home/vesemir/.vesemir/incoming/{name}"

    def recorded(self) -> None:
        """It has no memory to spare."""

    async def http_get(self, url: str, *, timeout: float) -> HttpAnswer:
        del timeout
        self._check("http_get", url)
        if url not in self._hosts.pages:
            raise ConnectionRefusedError(f"{url} is not available")
        return self._hosts.pages[url]

    async def tcp_connect(self, host: str, port: int, *, timeout: float) -> None:
        del timeout
        self._check("tcp_connect", f"{host}:{port}")
        if (host, port) not in self._hosts.listening:
            raise ConnectionRefusedError(f"{host}:{port} is not available")


class _FakeRelay:
    def __init__(self, hosts: FakeHosts, name: str) -> None:
        self._hosts = hosts
        self._name = name

    async def ask(self, socket: str, line: str, *, timeout: float) -> str:
        del timeout
        self._hosts.calls.append(Call("ask", self._name, line))
        if self._hosts.answers is None:
            raise FailedError(FailureCode.HAPROXY_UNREACHABLE, f"{socket} on {self._name}: nothing answers there")
        return self._hosts.answers(self._name, socket, line)
