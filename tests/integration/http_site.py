"""The HTTP interface on a record in memory, over a real socket."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import aiohttp
from tests.fakes.views import a_view

from vesemir.adapters.http import HttpLimits, http_app, serving
from vesemir.adapters.observe import PrometheusMeters
from vesemir.adapters.observe.logs import EngineLog
from vesemir.domain.doing import Doing
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.store import SILENT_SECONDS, StoreAwayError, StoredEvent
from vesemir.engine.ports.views import DeploymentSummary, DeploymentView, InstanceView
from vesemir.engine.upkeep.health import HealthRegistry


class MemoryReader:
    """What ``DeploymentReader`` says, of deployments given newest first."""

    def __init__(self, *deployments: DeploymentView) -> None:
        self.rows = list(deployments)
        self.written: dict[str, list[StoredEvent]] = {row.deployment_id: [] for row in deployments}
        self.away = False
        self.looks = 0
        """How often somebody asked for events."""
        self.kept: dict[str, StoredEvent] = {}
        self.since: datetime | None = None
        self.running: list[InstanceView] = []

    def write(self, deployment_id: str, event: str, **fields: Any) -> None:
        events = self.written[deployment_id]
        body = {"event": event, "deployment_id": deployment_id, "sequence": len(events) + 1, **fields}
        events.append(StoredEvent(deployment_id, len(events) + 1, event, body))

    def set_state(self, deployment_id: str, state: DeploymentState) -> None:
        self.rows = [replace(row, state=state) if row.deployment_id == deployment_id else row for row in self.rows]

    def set_doing(self, deployment_id: str, doing: tuple[Doing, ...] | None) -> None:
        self.rows = [replace(row, doing=doing) if row.deployment_id == deployment_id else row for row in self.rows]

    async def deployment_view(self, deployment_id: str) -> DeploymentView | None:
        self._answer()
        found = next((row for row in self.rows if row.deployment_id == deployment_id), None)
        return found and replace(found, last_sequence=len(self.written[deployment_id]))

    async def kept_result(self, deployment_id: str) -> StoredEvent | None:
        self._answer()
        return self.kept.get(deployment_id)

    async def deployments(
        self, *, limit: int = 50, before: str | None = None, since: datetime | None = None, **filters: str | None
    ) -> list[DeploymentSummary]:
        self.since = since
        self._answer()
        ids = [row.deployment_id for row in self.rows]
        start = 0 if before is None else ids.index(before) + 1 if before in ids else len(ids)
        wanted = {name: value for name, value in filters.items() if value is not None}
        found = [row for row in self.rows[start:] if all(getattr(row, name) == value for name, value in wanted.items())]
        return [summary(row) for row in found[:limit]]

    async def events(self, deployment_id: str, *, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
        self._answer()
        self.looks += 1
        return [event for event in self.written[deployment_id] if event.sequence > after][:limit]

    async def instances(self, *, silent_seconds: float = SILENT_SECONDS) -> list[InstanceView]:
        del silent_seconds
        self._answer()
        return self.running

    def _answer(self) -> None:
        if self.away:
            raise StoreAwayError("no answer in 10 s")


class Site:
    """A server and a client of it; ``port`` is for what is not a client."""

    def __init__(self, session: aiohttp.ClientSession, reader: MemoryReader, health: HealthRegistry) -> None:
        self.session = session
        self.reader = reader
        self.health = health
        self.meters = PrometheusMeters()
        self.port = 0

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.get(path, **options) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def site(
    *deployments: DeploymentView,
    token: str | None = None,
    limits: HttpLimits | None = None,
    log: Log | None = None,
    hosts: Sequence[str] | None = None,
    reader: MemoryReader | None = None,
) -> AsyncIterator[Site]:
    health, reader = HealthRegistry(), reader or MemoryReader(*deployments)
    one = Site(None, reader, health)  # type: ignore[arg-type]
    log = log or EngineLog(debugs=False)
    secret = None if token is None else lambda: token or ""
    app = http_app(health=health, meters=one.meters, reader=reader, token=secret, log=log, hosts=hosts)
    async with (
        serving(app, "127.0.0.1", 0, log=log, limits=limits) as one.port,
        aiohttp.ClientSession(f"http://127.0.0.1:{one.port}", timeout=aiohttp.ClientTimeout(20)) as one.session,
    ):
        yield one


def row(number: int, *, state: DeploymentState = DeploymentState.RUNNING, application: str = "shop") -> DeploymentView:
    return a_view(deployment_id=f"d{number}", application=application, state=state)


def summary(row: DeploymentView) -> DeploymentSummary:
    return DeploymentSummary(**{field.name: getattr(row, field.name) for field in fields(DeploymentSummary)})
