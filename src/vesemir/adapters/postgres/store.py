"""``PostgresStore``: the record in PostgreSQL, as ``vesemir.engine.ports.store.Store`` asks for it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import Self
from weakref import WeakValueDictionary

from vesemir.adapters.postgres import appointments, cleaning, control, early_cancels, lanes, leases, progress
from vesemir.adapters.postgres.accepting import Arrival, accept
from vesemir.adapters.postgres.audit import AuditChain
from vesemir.adapters.postgres.connections import RETRY_SECONDS, Database, clean_text
from vesemir.adapters.postgres.grouping import GroupedQuestions
from vesemir.adapters.postgres.hints import Announcer, hints
from vesemir.adapters.postgres.record_reader import EventsAfter, Reader, events_after
from vesemir.adapters.postgres.rows import (
    deployment_of,
    drained_server_of,
    known_request_of,
    step_of,
    target_of,
    wishes_of,
)
from vesemir.adapters.postgres.sections import Sections
from vesemir.adapters.postgres.server_orders import RecordedServers
from vesemir.adapters.postgres.statements import statements
from vesemir.adapters.postgres.timelines import Timelines, Warn
from vesemir.adapters.secret_file import SecretFile
from vesemir.domain.audit import AuditEntry
from vesemir.domain.control import ControlledDeployment, ControlledLane
from vesemir.domain.doing import Doing
from vesemir.domain.identity import Identity
from vesemir.domain.lane_lock import LaneLock
from vesemir.domain.states import FINAL
from vesemir.domain.step import Direction
from vesemir.domain.turns import NO_QUOTAS
from vesemir.engine.ports.changes import Change, Emit, MoveDeployment
from vesemir.engine.ports.records import (
    DeploymentRecord,
    Destination,
    KnownRequest,
    LaneCommand,
    NewDeployment,
    StepRecord,
    StepTotals,
    Wishes,
)
from vesemir.engine.ports.store import (
    AcceptAnswer,
    Claim,
    Cleaned,
    ControlAnswer,
    ControlCommand,
    Delivery,
    DrainedServer,
    Expired,
    InstanceReport,
    Permits,
    PermitsEarly,
    StoredEvent,
    permits_all,
    permits_early,
)
from vesemir.settings import PostgresSettings

LEASE_CONNECTIONS = 3
"""For claims, renewals and wishes."""


def _token() -> str:
    """Names one write, so that it can be found again when its answer was lost."""
    return secrets.token_hex(8)


class PostgresStore(Reader):
    """The record. ``instance`` is what the events written through it carry. Made by ``connected``."""

    def __init__(
        self,
        database: Database,
        leases_database: Database,
        announcer: Announcer,
        sections: Sections,
        *,
        instance: str,
        for_ping: Database,
    ) -> None:
        super().__init__(database)
        # The ping tells what is wrong with the record, so it never waits for what waits for that.
        self._for_ping = for_ping
        self._announcer = announcer
        self._sections = sections
        # Renewals never wait behind the writes of what they are for.
        self._leases_database = leases_database
        self._instance = instance
        self.audit_chain = AuditChain(instance)
        self.server_orders = RecordedServers(database, self.audit_chain)
        self._accepting = GroupedQuestions(self._accept_together)
        self._auditing = GroupedQuestions(self._audit_together)
        self._events = GroupedQuestions(self._events_together, at_once=4)
        self._advancing = GroupedQuestions(self._advance_together, at_once=4)  # different destinations: in no order
        # Two commits of one deployment must not be in doubt at once: only the last one's token is kept.
        self._one_at_a_time: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @classmethod
    @asynccontextmanager
    async def connected(
        cls,
        settings: PostgresSettings,
        *,
        instance: str,
        retry_seconds: float = RETRY_SECONDS,
        namespace: str | None = None,
        warn: Warn | None = None,
        dsn: SecretFile | None = None,
    ) -> AsyncIterator[Self]:
        """Owns its pool. May be opened while the server is away: each call then raises ``StoreAwayError``.

        With a ``namespace`` every call raises ``WrongRecordError`` if the record belongs to another installation.
        ``retry_seconds``: how long ``commit``, ``control``, ``claim`` and ``hand_back`` try again before they do.
        ``dsn`` is the setting's file, read again when it changes.
        """
        timelines = Timelines(settings.timeline_file, warn=warn)
        opened = partial(
            Database.opened, settings, retry_seconds=retry_seconds, namespace=namespace, timelines=timelines, dsn=dsn
        )
        async with (
            opened() as database,
            opened() as for_sections,
            opened(size=LEASE_CONNECTIONS) as for_leases,
            opened(size=1) as for_ping,
            Announcer.running(database) as announcer,
        ):
            sections = Sections(for_sections, wait_seconds=settings.command_timeout_seconds / 2)
            yield cls(database, for_leases, announcer, sections, instance=instance, for_ping=for_ping)

    async def ping(self, *, thorough: bool = False) -> None:
        """Write and commit a row. ``thorough``: new pages as well, on a connection of those that write the record.
        Raises ``StoreAwayError`` with the reason."""
        await self._for_ping.ping()
        if thorough:
            await self._database.ping_pages()

    async def ping_reading(self) -> None:
        """Raises ``StoreAwayError`` unless the record can be read."""
        await self._for_ping.ping_reading()

    # --- messages from outside

    async def accept(
        self, new: NewDeployment, destination: Destination | None, *, permits: PermitsEarly = permits_early
    ) -> AcceptAnswer:
        """A try that ended in doubt is simply made again: the id makes it idempotent."""
        kind = await self._accepting.ask(Arrival(new, destination, permits))
        self._announcer.tell("outbox", "work")
        return kind

    async def _accept_together(self, group: Sequence[Arrival]) -> Sequence[AcceptAnswer]:
        async with AsyncExitStack() as until_commit, self._database.transaction() as connection:
            kinds, entries = await accept(connection, group, instance=self._instance)
            await self.audit_chain.append(connection, entries, until_commit)
            return kinds

    async def audit(self, entry: AuditEntry) -> None:
        await self._auditing.ask(entry)

    async def _audit_together(self, entries: Sequence[AuditEntry]) -> Sequence[None]:
        async with AsyncExitStack() as until_commit, self._database.transaction() as connection:
            await self.audit_chain.append(connection, entries, until_commit)
        return [None] * len(entries)

    async def known(self, deployment_id: str) -> KnownRequest | None:
        async with self._database.connection() as connection:
            row = await statements().known_request.row(connection, deployment_id=deployment_id)
        return None if row is None else known_request_of(row)

    async def control(
        self, command: ControlCommand, *, permits: Permits = permits_all
    ) -> tuple[ControlAnswer, ControlledDeployment | None]:
        token = _token()

        async def once(_attempt: int) -> tuple[ControlAnswer, ControlledDeployment | None]:
            async with AsyncExitStack() as until_commit, self._database.transaction() as connection:
                given = partial(control.control, permits=permits, instance=self._instance, token=token)
                answer, deployment, again = await given(connection, command)
                entries = [] if again else control.audited(command, answer, deployment)
                await self.audit_chain.append(connection, entries, until_commit)
                return answer, deployment

        answer = await self._database.retried(once)
        self._announcer.tell("outbox" if answer[0] is ControlAnswer.FINISHED else "wish")
        return answer

    async def control_lane(self, command: LaneCommand) -> ControlAnswer:
        async def once(_attempt: int) -> ControlAnswer:
            async with AsyncExitStack() as until_commit, self._database.transaction() as connection:
                answer = await lanes.control_lane(connection, command)
                entries = [command.audited("accepted")] if answer is ControlAnswer.ACCEPTED else []
                await self.audit_chain.append(connection, entries, until_commit)
                return answer

        answer = await self._database.retried(once)
        self._announcer.tell("work")
        return answer

    async def lane_lock(self, lane: ControlledLane) -> LaneLock | None:
        async with self._database.connection() as connection:
            return await lanes.lane_lock(connection, lane)

    async def overlooked_cancels(self, deployment_id: str | None = None) -> Sequence[ControlCommand]:
        async with self._leases_database.connection() as connection:
            return await early_cancels.overlooked(connection, deployment_id)

    async def forget_cancels(self, deployment_id: str, identity: Identity | None) -> None:
        async with self._leases_database.connection() as connection:
            await early_cancels.forget(connection, [deployment_id], identity=str(identity or ""))

    # --- claims and leases

    async def clock(self) -> float:
        async with self._leases_database.connection() as connection:
            moment: float = await statements().clock.value(connection)
        return moment

    async def keep_appointments(self) -> Sequence[Expired]:
        async with self._leases_database.connection() as connection:
            due = await appointments.become_due(connection)
        async with self._leases_database.transaction() as connection:
            ended = await appointments.end_expired(connection, instance=self._instance)
        if due or ended:
            self._announcer.tell("work", *(["outbox"] if ended else []))
        return ended

    async def claim(
        self, instance: str, *, lease_seconds: float, max_expiries: int, quotas: Mapping[str, int] = NO_QUOTAS
    ) -> Claim | None:
        claimant = leases.Claimant(instance, lease_seconds, max_expiries, _token(), quotas)

        async def once(attempt: int) -> Claim | None:
            return await leases.claim(self._leases_database, claimant, again=attempt > 0)

        claimed = await self._leases_database.retried(once)
        if claimed is not None and claimed.previous is not None:
            self._announcer.tell("outbox")
        return claimed

    async def renew(
        self, owner: str, epochs: Mapping[str, int], *, lease_seconds: float
    ) -> Mapping[str, Wishes | None]:
        return await leases.renew(self._leases_database, owner, epochs, lease_seconds=lease_seconds)

    async def wishes(self, owner: str) -> Mapping[str, Wishes]:
        async with self._leases_database.connection() as connection:
            rows = await statements().wishes_of_owner.rows(connection, owner=owner)
        return {row["deployment_id"]: wishes_of(row) for row in rows}

    async def hand_back(self, claim: Claim) -> None:
        async def once(_attempt: int) -> None:
            async with self._database.connection() as connection:
                await statements().hand_back.run(
                    connection, deployment_id=claim.deployment_id, owner=claim.owner, epoch=claim.epoch
                )

        await self._database.retried(once)
        self._announcer.tell("work")

    # --- the instances themselves

    async def report_instance(self, report: InstanceReport) -> None:
        async with self._leases_database.connection() as connection:
            await statements().report_instance.run(connection, **asdict(report))

    async def forget_instances(self, *, older_than_seconds: float) -> None:
        async with self._leases_database.connection() as connection:
            await statements().forget_instances.run(connection, older_than_seconds=older_than_seconds)

    # --- what goes on

    async def write_doing(self, claim: Claim, doing: Sequence[Doing] | None) -> None:
        async with self._database.connection() as connection:
            if doing is None:
                await statements().forget_doing.run(connection, deployment_id=claim.deployment_id, epoch=claim.epoch)
                return
            steps = [each.as_json() for each in doing]
            await statements().write_doing.run(
                connection, deployment_id=claim.deployment_id, owner=claim.owner, epoch=claim.epoch, steps=steps
            )

    # --- a run

    async def load(self, deployment_id: str) -> DeploymentRecord | None:
        async with self._database.connection() as connection:
            row = await statements().load_deployment.row(connection, deployment_id=deployment_id)
            if row is None:
                return None
            targets = await statements().load_targets.rows(connection, deployment_id=deployment_id)
        return deployment_of(row, tuple(target_of(target) for target in targets))

    async def step_totals(self, deployment_id: str) -> StepTotals:
        async with self._database.connection() as connection:
            (row,) = await statements().step_totals.rows(connection, deployment_id=deployment_id)
        return StepTotals(row["steps"], row["redone"], row["output_bytes"])

    async def finished_steps(self, deployment_id: str, target: str, direction: Direction) -> Sequence[StepRecord]:
        async with self._database.connection() as connection:
            rows = await statements().finished_steps.rows(
                connection, deployment_id=deployment_id, target=target, direction=direction.value
            )
        return [step_of(row) for row in rows]

    async def succeeded_steps(self, deployment_id: str) -> Mapping[str, frozenset[str]]:
        async with self._database.connection() as connection:
            rows = await statements().succeeded_steps.rows(connection, deployment_id=deployment_id)
        return {row["target"]: frozenset(row["steps"]) for row in rows}

    async def commit(self, claim: Claim, changes: Sequence[Change]) -> None:
        """After ``StoreAwayError`` the write may be there or not: load the deployment before writing again."""
        token = _token()

        async def once(attempt: int) -> None:
            async with AsyncExitStack() as until_commit, self._database.transaction() as connection:
                entries = await progress.commit(
                    connection, claim, changes, instance=self._instance, token=token, again=attempt > 0
                )
                await self.audit_chain.append(connection, entries, until_commit)

        async with self._one_at_a_time.setdefault(claim.deployment_id, asyncio.Lock()):
            await self._database.retried(once)
        if any(isinstance(change, Emit) for change in changes):
            self._announcer.tell("outbox")
        if any(isinstance(change, MoveDeployment) and change.new in FINAL for change in changes):
            self._announcer.tell("work")

    # --- the outbox

    async def lease_deliveries(self, publisher: str, *, seconds: float, limit: int) -> Sequence[Delivery]:
        async with self._database.connection() as connection:
            rows = await statements().lease_deliveries.rows(
                connection, publisher=publisher, seconds=seconds, limit=limit
            )
        return [Delivery(**row) for row in rows]

    async def events_after(self, deployment_id: str, cursor: int, *, limit: int) -> Sequence[StoredEvent]:
        return await self._events.ask((deployment_id, cursor, limit))

    async def _events_together(self, group: Sequence[EventsAfter]) -> Sequence[Sequence[StoredEvent]]:
        """A deployment's destinations mostly ask for the same."""
        async with self._database.connection() as connection:
            found = await events_after(connection, list(dict.fromkeys(group)))
        return [found[asked] for asked in group]

    async def advance(self, destination_id: int, publisher: str, cursor: int, *, release: bool) -> bool:
        return await self._advancing.ask((destination_id, publisher, cursor, release))

    async def _advance_together(self, group: Sequence[tuple[int, str, int, bool]]) -> Sequence[bool]:
        async with self._database.connection() as connection:
            rows = await statements().advance.rows(
                connection,
                ids=[each[0] for each in group],
                publishers=[each[1] for each in group],
                cursors=[each[2] for each in group],
                releases=[each[3] for each in group],
            )
        reached = {row["destination_id"] for row in rows}
        return [each[0] in reached for each in group]

    async def postpone(self, destination_id: int, publisher: str, *, seconds: float, reason: str) -> None:
        async with self._database.connection() as connection:
            await statements().postpone.run(
                connection,
                destination_id=destination_id,
                publisher=publisher,
                seconds=seconds,
                reason=clean_text(reason),
            )

    async def park(self, destination_id: int, publisher: str, *, reason: str) -> None:
        async with self._database.connection() as connection:
            await statements().park.run(
                connection, destination_id=destination_id, publisher=publisher, reason=clean_text(reason)
            )

    # --- servers left drained

    async def left_drained(self) -> Sequence[DrainedServer]:
        async with self._database.connection() as connection:
            rows = await statements().left_drained.rows(connection)
        return [drained_server_of(row) for row in rows]

    async def earlier_drain(self, lane: str, target: str) -> DrainedServer | None:
        async with self._database.connection() as connection:
            row = await statements().earlier_drain.row(connection, lane=lane, target=target)
        return None if row is None else drained_server_of(row)

    async def seen_in_traffic(self, server: DrainedServer) -> None:
        async with self._database.connection() as connection:
            await statements().seen_in_traffic.run(connection, deployment_id=server.deployment_id, target=server.target)

    async def seen_drained(self, server: DrainedServer) -> None:
        async with self._database.connection() as connection:
            await statements().seen_drained.run(
                connection, deployment_id=server.deployment_id, target=server.target, instance=self._instance
            )

    # --- the clean-up

    async def clean_up(self, *, older_than_seconds: float, rows: int, keep_good: int = 0) -> Cleaned | None:
        async with self._database.transaction() as connection:
            return await cleaning.clean_up(
                connection, older_than_seconds=older_than_seconds, rows=rows, keep_good=keep_good
            )

    # --- sections and hints

    def section(self, name: str) -> AbstractAsyncContextManager[None]:
        return self._sections.section(name)

    def hints(self) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        return hints(self._database)
