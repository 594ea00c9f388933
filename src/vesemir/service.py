"""The composition root: builds everything, owns it in one exit stack, runs it in one TaskGroup, stops it in stages.

Stopping (SIGTERM): say 503, take no more messages and claim nothing; let the targets in work finish for a bounded time,
then end them; hand the deployments back; publish what is due; answer over HTTP until a load balancer in front must have
noticed; close in reverse order. A second SIGTERM skips the waits.
"""

import asyncio
import faulthandler
import os
import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Self
from urllib.parse import unquote, urlsplit

import uvloop

from vesemir.adapters.amqp import PUBLISH_PART, AmqpBroker
from vesemir.adapters.chef import ChefInventory
from vesemir.adapters.haproxy import HaproxyBoxes
from vesemir.adapters.http import http_app, serving
from vesemir.adapters.inventory import InventoryRouter, StaticInventory
from vesemir.adapters.observe import (
    PrometheusMeters,
    engine_log,
    gc_spared,
    gc_watched,
    redact,
    set_up_logging,
    watch_backlog,
    watch_loop_lag,
)
from vesemir.adapters.policy import PolicyFile
from vesemir.adapters.postgres import PostgresStore
from vesemir.adapters.recipes import RecipeBook, local_artifact, recipe_folders
from vesemir.adapters.reloading import Files, watch_files
from vesemir.adapters.sealing import RecordSeal
from vesemir.adapters.ssh import SshHosts
from vesemir.adapters.systemd import Notifier
from vesemir.contract import stored_request
from vesemir.domain.analysis import AnalysisRules
from vesemir.domain.request import Timeouts
from vesemir.engine.deployment.worker import Worker
from vesemir.engine.limits import EngineLimits
from vesemir.engine.messages.answers import Answers
from vesemir.engine.messages.control import Control
from vesemir.engine.messages.intake import Intake, IntakeRules
from vesemir.engine.messages.outbox_publisher import OutboxPublisher
from vesemir.engine.ownership.leases import Leases
from vesemir.engine.ownership.secret_parameters import Secrecy
from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.target.context import EnginePorts
from vesemir.engine.upkeep.drained_servers import DrainedServers
from vesemir.engine.upkeep.health import HealthRegistry, PartState
from vesemir.engine.upkeep.retention import RecordCleanup, Retention
from vesemir.settings import Settings

DATABASE = "database"
HINT_SECONDS = 0.03
"""From a hint of work or events to a look at the record."""
WATCH_SECONDS = 1.0
FLUSH_SECONDS = 5.0
END_SECONDS = 20.0
"""For ending what is in work on the hosts (15 s, by the contract) and for closing: systemd may then kill."""


class Service:
    """One running instance. Made by ``built``; ``run`` is its life, ``stop`` ends it (a second time: faster)."""

    def __init__(
        self,
        settings: Settings,
        *,
        instance: str,
        health: HealthRegistry,
        store: PostgresStore,
        broker: AmqpBroker,
        ports: EnginePorts,
        rules: IntakeRules,
        files: Mapping[str, Files],
    ) -> None:
        self._settings = settings
        self._files = files
        self._health = health
        self._store = store
        self._broker = broker
        self._log = ports.log
        self._meters = ports.meters
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()
        self._looks: asyncio.TimerHandle | None = None
        self._systemd = Notifier.from_environment(log=ports.log)
        namespace = settings.amqp.namespace
        answers = Answers(broker, namespace=namespace, instance=instance, log=ports.log)
        self._leases = Leases(store, owner=instance, seconds=settings.lease.seconds, log=ports.log, meters=ports.meters)
        self._cleaning = RecordCleanup(store, retention_of(settings), log=ports.log)
        self._publishing = OutboxPublisher(
            store,
            broker,
            gate=health.gate(PUBLISH_PART),
            publisher=instance,
            lease_seconds=settings.lease.publisher_seconds,
            namespace=namespace,
            park_after_seconds=settings.amqp.reply_deadline_seconds,
            log=ports.log,
            meters=ports.meters,
        )
        self._working = Worker(
            self._leases,
            ports=ports,
            limits=limits_of(settings),
            read_request=partial(stored_request, caps=caps_of(settings)),
            on_event=self._publishing.wake,
        )
        self._drained = DrainedServers(store, ports.balancers, log=ports.log, seconds=settings.lease.seconds)
        self._intake = Intake(
            rules, store=store, answers=answers, log=ports.log, meters=ports.meters, on_accepted=self._wake_work
        )
        self._control = Control(
            store=store,
            answers=answers,
            log=ports.log,
            meters=ports.meters,
            namespace=namespace,
            max_bytes=settings.amqp.max_message_bytes,
            redact=redact,
            on_wish=self._wake,
        )

    @classmethod
    @asynccontextmanager
    async def built(cls, settings: Settings, *, instance: str) -> AsyncIterator[Self]:
        """Everything in one exit stack, closed in reverse. Nothing outside needs to be there yet, but for the settings'
        own files. Raises ``VesemirError`` for those."""
        async with AsyncExitStack() as stack:
            health, meters, log = (
                HealthRegistry(),
                PrometheusMeters(),
                engine_log(instance=instance, level=settings.log.level),
            )
            stack.enter_context(gc_watched(meters.gc_paused))
            health.expect(DATABASE)
            recipes = RecipeBook(recipe_folders(settings.recipes), log=log)
            policies = PolicyFile(settings.policy.file, log=log)
            static = settings.inventory.file
            inventory = InventoryRouter(
                static=None if static is None else StaticInventory.load(static, warn=log.warning),
                chef=await stack.enter_async_context(ChefInventory.opened(settings.inventory, warn=log.warning)),
            )
            store = await stack.enter_async_context(PostgresStore.connected(settings.postgres, instance=instance))
            hosts = await stack.enter_async_context(SshHosts.started(settings.ssh, meters=meters))
            broker = AmqpBroker(settings.amqp, health=health, instance=instance, log=log)
            seal = RecordSeal.of(settings.secrets.key)
            ports = EnginePorts(
                store=store,
                hosts=hosts,
                balancers=HaproxyBoxes(hosts, settings.haproxy),
                inventory=inventory,
                recipes=recipes,
                policies=policies,
                log=log,
                meters=meters,
                redact=redact,
                artifact=partial(local_artifact, roots=settings.artifacts.roots),
                seal=seal,
            )
            rules = IntakeRules(
                recipes,
                policies,
                inventory,
                caps_of(settings),
                settings.amqp.max_message_bytes,
                settings.amqp.namespace,
                Secrecy(redact, seal),
            )
            app = http_app(health=health, meters=meters, reader=store, token=settings.http.token, log=log)
            await stack.enter_async_context(serving(app, settings.http.host, settings.http.port, log=log))
            stack.enter_context(gc_spared())
            yield cls(
                settings,
                instance=instance,
                health=health,
                store=store,
                broker=broker,
                ports=ports,
                rules=rules,
                files={"recipes": recipes, "policy": policies},
            )

    def stop(self) -> None:
        """Begin to stop; the second time, end at once what is in work."""
        if self._stopping.is_set():
            self._log.info("told to stop again: what is in work is ended now")
            self._working.leave()
            self._hurried.set()
        self._stopping.set()

    async def run(self) -> None:
        """Until ``stop``. Raises if a long-lived task dies, which is a bug: systemd starts the process again."""
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(work, name=name)
                for name, work in (
                    ("broker", self._broker.run()),
                    ("database watch", self._watch_database()),
                    ("files", watch_files(self._files, self._health)),
                    ("hints", self._hear_hints()),
                    ("lease renewal", self._leases.keep()),
                    ("lease fence", self._leases.fence()),
                    ("wishes", self._leases.listen()),
                    ("publishing", self._publishing.run()),
                    ("working", self._working.run()),
                    ("loop lag", watch_loop_lag(self._meters)),
                    ("backlog", watch_backlog(self._store.backlog, self._meters)),
                    ("left drained", self._drained.watch()),
                    ("clean-up", self._cleaning.run()),
                    ("watchdog", self._systemd.watch(self._doing)),
                )
            ]
            gate = self._health.gate(DATABASE)
            group.create_task(self._broker.consume("deployments", self._intake.handle, gate=gate), name="deployments")
            group.create_task(self._broker.consume("control", self._control.handle, gate=gate), name="control")
            self._systemd.ready()
            await self._stopping.wait()
            await self._stop_in_stages()
            for task in background:
                task.cancel()

    async def _stop_in_stages(self) -> None:
        seconds, leave = self._settings.limits.shutdown_seconds, self._settings.http.leave_seconds
        self._log.info("stopping: no more work is taken, what is in work has {seconds} s", seconds=seconds)
        self._systemd.stopping(max(seconds + 2 * FLUSH_SECONDS, leave) + END_SECONDS)
        self._health.drain()
        left = asyncio.get_running_loop().time() + leave
        await self._broker.stop_consuming(seconds=FLUSH_SECONDS)
        await self._working.drain(seconds)
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._publishing.flush()
        except TimeoutError:
            self._log.warning("not everything could be published; another instance goes on with it")
        self._broker.close()
        await self._answer_until(left)
        self._log.info("stopped")

    async def _answer_until(self, left: float) -> None:
        """HTTP goes on saying 503 until whoever balances by it has noticed: closed earlier, requests would fail."""
        try:
            async with asyncio.timeout_at(left):
                await self._hurried.wait()
        except TimeoutError:
            pass

    def _doing(self) -> str:
        """One line for ``systemctl status``."""
        away = [part.name for part in self._health.parts if part.required and part.state is not PartState.UP]
        does = f"waits for {', '.join(away)}" if away else "takes work"
        if self._stopping.is_set():
            does = "stopping"
        return f"{does}; deployments in work: {self._working.in_work}"

    def _wake(self) -> None:
        self._wake_work()
        self._leases.hint()

    def _wake_work(self) -> None:
        self._working.wake()
        self._publishing.wake()

    def _hear(self, hint: str) -> None:
        """Whoever wrote something has woken itself already, and takes it if it can: the others look a moment later, and
        once for all that they heard in between."""
        if hint == "wish":
            self._leases.hint()
        elif self._looks is None:
            self._looks = asyncio.get_running_loop().call_later(HINT_SECONDS, self._look)

    def _look(self) -> None:
        self._looks = None
        self._wake_work()

    async def _watch_database(self) -> None:
        """The gate of everything that needs the record: closed while it does not answer."""
        while True:
            try:
                await self._store.ping()
            except StoreAwayError as error:
                self._health.report(DATABASE, PartState.DOWN, str(error))
            else:
                self._health.report(DATABASE, PartState.UP)
            await asyncio.sleep(WATCH_SECONDS)

    async def _hear_hints(self) -> None:
        """Notifications make things faster, nothing depends on them."""
        while True:
            try:
                async with self._store.hints() as hints:
                    async for hint in hints:
                        self._hear(hint)
            except StoreAwayError:
                pass
            await asyncio.sleep(WATCH_SECONDS)


def run(settings: Settings) -> int:
    """Run the daemon until it is told to stop; the process's exit status."""
    faulthandler.enable()  # systemd's watchdog sends SIGABRT: where the event loop was blocked goes to stderr
    set_up_logging(settings.log.level, settings.log.format, secrets=_secrets_of(settings))
    return uvloop.run(_main(settings))


async def _main(settings: Settings) -> int:
    instance = f"{settings.instance}/{os.getpid()}-{secrets.token_hex(4)}"
    async with Service.built(settings, instance=instance) as service:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stop)
        await service.run()
    return 0


def _secrets_of(settings: Settings) -> list[str]:
    """Whole connection addresses, their passwords, the API's token and the record's key: none of them is ever shown."""
    addresses = [settings.amqp.url.get_secret_value(), settings.postgres.dsn.get_secret_value()]
    passwords = [unquote(urlsplit(address).password or "") for address in addresses]
    others = [secret.get_secret_value() for secret in (settings.http.token, settings.secrets.key) if secret is not None]
    return [secret for secret in (*addresses, *passwords, *others) if secret]


def limits_of(settings: Settings) -> EngineLimits:
    """The engine's figures. Every interval of the lease follows from ``lease.seconds``."""
    lease, limits, haproxy = settings.lease, settings.limits, settings.haproxy
    return EngineLimits(
        lease_seconds=lease.seconds,
        beat_seconds=lease.beat_seconds,
        silence_seconds=lease.silence_seconds,
        reconnect_seconds=lease.seconds,
        settle_seconds=30,
        shutdown_seconds=limits.shutdown_seconds,
        capacity_seconds=haproxy.capacity_deadline_seconds,
        up_seconds=haproxy.up_deadline_seconds,
        max_expiries=limits.expiries,
        deployments=limits.deployments,
        targets=limits.targets,
        output_bytes=limits.output_bytes,
        approval_seconds=limits.approval_seconds,
        pause_seconds=limits.pause_seconds,
        caps=caps_of(settings),
        python=settings.ssh.python,
        analysis=AnalysisRules(**settings.analysis.model_dump()),
    )


def retention_of(settings: Settings) -> Retention | None:
    """None: everything is kept."""
    kept = settings.retention
    return Retention(kept.days * 24 * 3600, kept.batch_rows, kept.every_seconds) if kept.days else None


def caps_of(settings: Settings) -> Timeouts:
    """The longest timeouts that a request can have."""
    limits = settings.limits
    return Timeouts(limits.deployment_seconds, limits.target_seconds, limits.step_seconds)
