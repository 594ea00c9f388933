"""The life of an instance: runs its parts in one TaskGroup and stops them in stages; ``composition`` builds them.

Stopping (SIGTERM): say 503, take no more messages and claim nothing; let the targets in work finish for a bounded time,
then end them; hand the deployments back; publish what is due; answer over HTTP until a load balancer in front must have
noticed; close in reverse order. A second SIGTERM skips the waits.
"""

import asyncio
import faulthandler
import os
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import uvloop

from vesemir.adapters.observe import set_up_logging, watch_backlog, watch_loop_lag
from vesemir.composition import EngineParts, OutsideParts, built_parts
from vesemir.domain.failure import VesemirError
from vesemir.engine.messages.poison import PoisonGuard
from vesemir.engine.ports.store import StoreAwayError, WrongRecordError
from vesemir.engine.upkeep.health import PartState
from vesemir.secret_files import hidden_in
from vesemir.settings import Settings

FLUSH_SECONDS = 5.0
END_SECONDS = 20.0
"""For ending what is in work on the hosts (15 s, by the contract) and for closing: systemd may then kill."""


class Service:
    """One running instance. Made by ``built``; ``run`` is its life, ``stop`` ends it (a second time: faster)."""

    def __init__(self, settings: Settings, outside: OutsideParts, engine: EngineParts) -> None:
        self._settings = settings
        self._outside = outside
        self._engine = engine
        self._log = outside.log
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def built(cls, settings: Settings, *, instance: str) -> AsyncIterator[Self]:
        """With all its parts, which are closed in reverse. Raises ``VesemirError`` for the settings' own files."""
        async with built_parts(settings, instance=instance) as (outside, engine):
            yield cls(settings, outside, engine)

    async def refuse_wrong_record(self) -> None:
        """Raises ``VesemirError``: better not to start than to take another installation's deployments.

        A database that is away now is asked again with each connection that is made.
        """
        try:
            await self._outside.store.ping()
        except WrongRecordError as error:
            raise VesemirError(str(error)) from error
        except StoreAwayError:
            pass

    def stop(self) -> None:
        """Begin to stop; the second time, end at once what is in work."""
        if self._stopping.is_set():
            self._log.info("told to stop again: what is in work is ended now")
            self._engine.worker.leave()
            self._hurried.set()
        self._stopping.set()

    def reload(self) -> None:
        """Read again, at once, what is read from files; SIGHUP never ends an instance."""
        self._outside.reload.ask()

    async def run(self) -> None:
        """Until ``stop``. Raises if a long-lived task dies, which is a bug: systemd starts the process again."""
        outside, engine = self._outside, self._engine
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(work, name=name)
                for name, work in (
                    ("broker", outside.broker.run()),
                    ("database watch", outside.record.run()),
                    ("files", outside.files.run()),
                    ("reload", outside.reload.run()),
                    ("hints", engine.hints.run()),
                    ("lease renewal", engine.leases.keep()),
                    ("lease fence", engine.leases.fence()),
                    ("wishes", engine.leases.listen()),
                    ("publishing", engine.publisher.run()),
                    ("working", engine.worker.run()),
                    ("loop lag", watch_loop_lag(outside.meters)),
                    ("backlog", watch_backlog(outside.store.backlog, outside.meters)),
                    ("left drained", engine.drained.watch()),
                    ("early cancels", engine.early_cancels.run()),
                    ("appointments", engine.appointments.run()),
                    ("clean-up", engine.cleanup.run()),
                    ("presence", engine.presence.keep()),
                    ("audit heads", engine.audit_heads.run()),
                    ("watchdog", outside.systemd.watch(self._doing)),
                )
            ]
            consume, record = outside.broker.consume, outside.record
            for queue, handler in (("deployments", engine.intake), ("control", engine.control)):
                guard = PoisonGuard(handler.handle, refuse=handler.refuse_as_bug, log=outside.log)
                handle = record.observed(guard.handle)
                group.create_task(consume(queue, handle, gate=record.gate, fresh=record.fresh), name=queue)
            self._outside.systemd.ready()
            await self._stopping.wait()
            await self._stop_in_stages()
            for task in background:
                task.cancel()

    async def _stop_in_stages(self) -> None:
        seconds, leave = self._settings.limits.shutdown_seconds, self._settings.http.leave_seconds
        self._log.info("stopping: no more work is taken, what is in work has {seconds} s", seconds=seconds)
        self._outside.systemd.stopping(max(seconds + 2 * FLUSH_SECONDS, leave) + END_SECONDS)
        self._outside.health.drain()
        self._engine.presence.drain()
        left = asyncio.get_running_loop().time() + leave
        async with asyncio.TaskGroup() as group:
            # At once: messages that are being taken, or a broker that is slow, must not let another target begin.
            group.create_task(self._engine.worker.drain(seconds), name="drain")
            group.create_task(self._outside.broker.stop_consuming(seconds=FLUSH_SECONDS), name="last messages")
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._engine.publisher.flush()
        except TimeoutError:
            self._log.warning("not everything could be published; another instance goes on with it")
        self._outside.broker.close()
        await self._answer_until(left)
        await self._engine.presence.leave()
        self._log.info("stopped")

    async def _answer_until(self, left: float) -> None:
        """HTTP goes on saying 503 until who balances by it has noticed: closed earlier, requests would fail."""
        try:
            async with asyncio.timeout_at(left):
                await self._hurried.wait()
        except TimeoutError:
            pass

    def _doing(self) -> str:
        """One line for ``systemctl status``."""
        away = [part.name for part in self._outside.health.parts if part.required and part.state is not PartState.UP]
        does = f"waits for {', '.join(away)}" if away else "takes work"
        if self._stopping.is_set():
            does = "stopping"
        return f"{does}; deployments in work: {self._engine.worker.in_work}"


def run(settings: Settings) -> int:
    """Run the daemon until it is told to stop; the process's exit status."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    faulthandler.enable()  # systemd's watchdog sends SIGABRT: where the event loop was blocked goes to stderr
    set_up_logging(settings.log.level, settings.log.format, secrets=hidden_in(settings))
    return uvloop.run(_main(settings))


async def _main(settings: Settings) -> int:
    instance = f"{settings.instance}/{os.getpid()}-{secrets.token_hex(4)}"
    async with Service.built(settings, instance=instance) as service:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stop)
        loop.add_signal_handler(signal.SIGHUP, service.reload)
        await service.refuse_wrong_record()
        await service.run()
    return 0
