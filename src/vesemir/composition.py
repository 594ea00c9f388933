"""What an instance is made of: every part is built here, each with what it needs, and nowhere else.

First what touches the outside, in one exit stack, closed in reverse; then the engine on top of it, which is plain
objects. ``vesemir.service`` runs the parts and stops them in stages.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from vesemir import __version__
from vesemir.adapters.amqp import PUBLISH_PART, AmqpBroker
from vesemir.adapters.chef import ChefInventory
from vesemir.adapters.haproxy import HaproxyBoxes
from vesemir.adapters.http import HttpLimits, TlsFiles, http_app, serving
from vesemir.adapters.inventory import InventoryRouter, StaticInventory
from vesemir.adapters.observe import PrometheusMeters, engine_log, gc_spared, gc_watched, redact
from vesemir.adapters.policy import PolicyFile
from vesemir.adapters.postgres import PostgresStore
from vesemir.adapters.recipes import RecipeBook, artifact_seen, local_artifact, recipe_folders
from vesemir.adapters.record_seal import RecordSeal
from vesemir.adapters.reloaded_files import Files, FileWatch
from vesemir.adapters.ssh import SshHosts
from vesemir.adapters.systemd import Notifier
from vesemir.contract import stored_request
from vesemir.domain.action import ArtifactLimits
from vesemir.domain.analysis import AnalysisRules
from vesemir.engine.deployment.worker import Worker
from vesemir.engine.limits import EngineLimits
from vesemir.engine.messages.answers import Answers
from vesemir.engine.messages.control import Control
from vesemir.engine.messages.intake import Intake, IntakeRules
from vesemir.engine.messages.outbox_publisher import OutboxPublisher
from vesemir.engine.ownership.leases import Leases
from vesemir.engine.ownership.secret_parameters import Secrecy
from vesemir.engine.ports.observe import Log, SilentLog
from vesemir.engine.target.context import EnginePorts
from vesemir.engine.traffic.by_hand import ServersByHand
from vesemir.engine.upkeep.appointments import AppointmentKeeper
from vesemir.engine.upkeep.audit_heads import AuditHeads
from vesemir.engine.upkeep.drained_servers import DrainedServers
from vesemir.engine.upkeep.early_cancels import EarlyCancels
from vesemir.engine.upkeep.health import HealthRegistry
from vesemir.engine.upkeep.hint_relay import HintRelay
from vesemir.engine.upkeep.presence import Presence
from vesemir.engine.upkeep.record_watch import RECORD_PART, RecordWatch
from vesemir.engine.upkeep.retention import RecordCleanup, Retention
from vesemir.plaintext import refuse_plaintext
from vesemir.reload import Reload
from vesemir.secret_files import SecretFiles
from vesemir.settings import Settings

OTHER_DESCRIPTORS = 300
"""Beside SSH sessions and the database's pools: the broker, files, and connections that are just being closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideParts:
    """What touches files, the network or the process, each opened."""

    health: HealthRegistry
    meters: PrometheusMeters
    log: Log
    recipes: RecipeBook
    policies: PolicyFile
    inventory: InventoryRouter
    store: PostgresStore
    secrets: SecretFiles
    tls: TlsFiles | None
    record: RecordWatch
    hosts: SshHosts
    broker: AmqpBroker
    systemd: Notifier
    files: FileWatch
    reload: Reload


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """The engine of one instance."""

    leases: Leases
    publisher: OutboxPublisher
    worker: Worker
    hints: HintRelay
    intake: Intake
    control: Control
    drained: DrainedServers
    early_cancels: EarlyCancels
    appointments: AppointmentKeeper
    cleanup: RecordCleanup
    presence: Presence
    audit_heads: AuditHeads


@asynccontextmanager
async def built_parts(settings: Settings, *, instance: str) -> AsyncIterator[tuple[OutsideParts, EngineParts]]:
    """All parts, open until the context ends. Nothing outside needs to be there yet, but for the settings' own files.
    Raises ``VesemirError`` for those."""
    refuse_plaintext(settings)
    async with AsyncExitStack() as stack:
        outside = await _outside(stack, settings, instance=instance)
        engine = _engine(settings, outside, instance=instance)
        app = http_app(
            health=outside.health,
            meters=outside.meters,
            reader=outside.store,
            token=outside.secrets.token,
            log=outside.log,
            hosts=settings.http.hosts,
        )
        kept = settings.ssh.max_sessions + 2 * settings.postgres.pool_size + OTHER_DESCRIPTORS
        limits = HttpLimits.of(settings.http, kept=kept, log=outside.log)
        await stack.enter_async_context(
            serving(
                app,
                settings.http.host,
                settings.http.port,
                log=outside.log,
                limits=limits,
                tls=None if outside.tls is None else outside.tls.context,
            )
        )
        stack.enter_context(gc_spared())
        yield outside, engine


async def _outside(stack: AsyncExitStack, settings: Settings, *, instance: str) -> OutsideParts:
    health, meters = HealthRegistry(), PrometheusMeters()
    log = engine_log(instance=instance, level=settings.log.level)
    stack.enter_context(gc_watched(meters.gc_paused))
    health.expect(RECORD_PART)
    secrets = SecretFiles(settings, log=log)
    recipes = RecipeBook(recipe_folders(settings.recipes), log=log)
    policies = PolicyFile(settings.policy.file, log=log)
    file = settings.inventory.file
    static = None if file is None else StaticInventory.load(file, warn=log.warning)
    chef = await stack.enter_async_context(ChefInventory.opened(settings.inventory, warn=log.warning, log=log))
    inventory = InventoryRouter(static=static, chef=chef)
    hosts = await stack.enter_async_context(
        SshHosts.started(
            settings.ssh,
            meters=meters,
            refuse_place=None if chef is None else chef.refuse_place,
            find_host=None if static is None else static.host,
            log=log,
        )
    )
    read_again: dict[str, Files] = {
        "recipes": recipes,
        "policy": policies,
        "ssh": hosts.credentials,
        "secrets": secrets,
    }
    if static is not None:
        read_again["inventory"] = static
    if chef is not None:
        read_again["chef"] = chef
    tls = TlsFiles.of(settings.http, log=log)
    if tls is not None:
        read_again["tls"] = tls
    files, systemd = FileWatch(read_again, health, log=log), Notifier.from_environment(log=log)
    store = await stack.enter_async_context(
        PostgresStore.connected(
            settings.postgres,
            instance=instance,
            namespace=settings.amqp.namespace,
            warn=log.warning,
            dsn=secrets.postgres_dsn,
        )
    )
    return OutsideParts(
        health=health,
        meters=meters,
        log=log,
        recipes=recipes,
        policies=policies,
        inventory=inventory,
        store=store,
        record=RecordWatch(store, health),
        secrets=secrets,
        tls=tls,
        hosts=hosts,
        broker=AmqpBroker(settings.amqp, health=health, instance=instance, log=log, url=secrets.amqp_url),
        systemd=systemd,
        files=files,
        reload=Reload(files, systemd=systemd, log=log),
    )


def _engine(settings: Settings, outside: OutsideParts, *, instance: str) -> EngineParts:
    store, log, meters, seal = outside.store, outside.log, outside.meters, outside.secrets.seal
    ports = _ports(settings, outside, seal=seal)
    answers = _answers(settings, outside, instance=instance)
    leases = Leases(store, owner=instance, times=settings.lease.times, log=log, meters=meters)
    publisher = _publisher(settings, outside, instance=instance)
    worker = Worker(
        leases,
        ports=ports,
        limits=limits_of(settings),
        read_request=partial(stored_request, caps=settings.limits.caps),
        on_event=publisher.wake,
    )

    def wake_work() -> None:
        worker.wake()
        publisher.wake()

    hints = HintRelay(store, on_work=wake_work, on_wish=leases.hint)
    rules = _intake_rules(settings, outside, seal=seal)
    return EngineParts(
        leases=leases,
        publisher=publisher,
        worker=worker,
        hints=hints,
        intake=Intake(rules, store=store, answers=answers, log=log, meters=meters, on_accepted=hints.wake_work),
        control=_control(settings, outside, answers=answers, hints=hints),
        drained=DrainedServers(store, ports.balancers, log=log, seconds=settings.lease.seconds),
        early_cancels=EarlyCancels(store, outside.policies, log=log, meters=meters),
        appointments=AppointmentKeeper(store, log=log, meters=meters, on_kept=wake_work),
        cleanup=RecordCleanup(store, retention_of(settings), log=log),
        presence=Presence(store, name=instance, version=__version__, in_work=lambda: worker.in_work, log=log),
        audit_heads=AuditHeads(store, log=log, publish=answers.audit_heads),
    )


@asynccontextmanager
async def built_servers_by_hand(settings: Settings, *, who: str) -> AsyncIterator[ServersByHand]:
    """What ``vesemir ready`` and ``vesemir drain`` need: the record, and the load balancers over SSH."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            PostgresStore.connected(settings.postgres, instance=f"cli/{who}", namespace=settings.amqp.namespace)
        )
        file, log = settings.inventory.file, SilentLog()
        static = None if file is None else StaticInventory.load(file, warn=log.warning)
        find_host = None if static is None else static.host
        hosts = await stack.enter_async_context(SshHosts.started(settings.ssh, find_host=find_host))
        yield ServersByHand(
            store,
            store.server_orders,
            HaproxyBoxes(hosts, settings.haproxy),
            limits=limits_of(settings),
            read_request=partial(stored_request, caps=settings.limits.caps),
            log=log,
        )


def _ports(settings: Settings, outside: OutsideParts, *, seal: RecordSeal | None) -> EnginePorts:
    return EnginePorts(
        store=outside.store,
        hosts=outside.hosts,
        balancers=HaproxyBoxes(outside.hosts, settings.haproxy),
        inventory=outside.inventory,
        recipes=outside.recipes,
        policies=outside.policies,
        log=outside.log,
        meters=outside.meters,
        redact=redact,
        artifact=partial(local_artifact, roots=settings.artifacts.roots, max_bytes=settings.artifacts.max_bytes),
        artifact_seen=artifact_seen,
        seal=seal,
    )


def _answers(settings: Settings, outside: OutsideParts, *, instance: str) -> Answers:
    amqp = settings.amqp
    return Answers(
        outside.broker,
        namespace=amqp.namespace,
        instance=instance,
        log=outside.log,
        reply_to_pattern=amqp.reply_to_pattern,
        rejected_seconds=amqp.rejected_days * 24 * 3600 or None,
    )


def _publisher(settings: Settings, outside: OutsideParts, *, instance: str) -> OutboxPublisher:
    return OutboxPublisher(
        outside.store,
        outside.broker,
        gate=outside.health.gate(PUBLISH_PART),
        publisher=instance,
        lease_seconds=settings.lease.times.publisher_seconds,
        namespace=settings.amqp.namespace,
        park_after_seconds=settings.amqp.reply_deadline_seconds,
        log=outside.log,
        meters=outside.meters,
    )


def _intake_rules(settings: Settings, outside: OutsideParts, *, seal: RecordSeal | None) -> IntakeRules:
    return IntakeRules(
        outside.recipes,
        outside.policies,
        outside.inventory,
        settings.limits.caps,
        settings.amqp.max_message_bytes,
        settings.amqp.namespace,
        Secrecy(redact, seal),
        settings.amqp.reply_to_pattern,
    )


def _control(settings: Settings, outside: OutsideParts, *, answers: Answers, hints: HintRelay) -> Control:
    return Control(
        store=outside.store,
        policies=outside.policies,
        answers=answers,
        log=outside.log,
        meters=outside.meters,
        namespace=settings.amqp.namespace,
        max_bytes=settings.amqp.max_message_bytes,
        redact=redact,
        on_wish=hints.wake,
        reply_to_pattern=settings.amqp.reply_to_pattern,
    )


def limits_of(settings: Settings) -> EngineLimits:
    """The engine's figures."""
    limits, haproxy = settings.limits, settings.haproxy
    return EngineLimits(
        lease=settings.lease.times,
        settle_seconds=30,
        capacity_seconds=haproxy.capacity_deadline_seconds,
        up_seconds=haproxy.up_deadline_seconds,
        max_expiries=limits.expiries,
        deployments=limits.deployments,
        targets=limits.targets,
        output_bytes=limits.output_bytes,
        approval_seconds=limits.approval_seconds,
        pause_seconds=limits.pause_seconds,
        caps=settings.limits.caps,
        sessions=settings.ssh.max_sessions,
        python=settings.ssh.python,
        artifacts=ArtifactLimits(
            settings.artifacts.max_bytes, settings.artifacts.max_entries, settings.artifacts.max_unpacked_bytes
        ),
        analysis=AnalysisRules(**settings.analysis.model_dump()),
    )


def retention_of(settings: Settings) -> Retention | None:
    """None: everything is kept."""
    kept = settings.retention
    return Retention(kept.days * 24 * 3600, kept.batch_rows, kept.every_seconds) if kept.days else None
