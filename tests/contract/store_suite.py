"""What the ``test_store_*`` modules share: the stores under test and the values they write.

``stores`` is called with an instance's name and gives that instance's store; all of them share one record.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import pytest
from tests.fakes.events import emit, emit_result
from tests.fakes.record import Record
from tests.fakes.store import FakeStore
from tests.integration.pgbouncer_server import PoolMode, pooled
from tests.integration.postgres_server import PostgresServer

from vesemir.adapters.postgres import PostgresStore
from vesemir.domain.identity import Asker
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction, StepStatus
from vesemir.engine.ports.changes import MoveDeployment, MoveTarget, Start
from vesemir.engine.ports.records import Destination, NewDeployment, StepRecord, TargetRecord
from vesemir.engine.ports.store import Claim, Store
from vesemir.settings import PostgresSettings

T = TypeVar("T")
Stores = Callable[[str], Awaitable[Store]]
QUEUE = Destination("answers", "c-1")
FORWARD = Direction.FORWARD
LEASE_SECONDS = 30.0


STORES = os.environ.get("STORES", "fake,postgres").split(",")
"""``tox -e pooler`` has ``session`` and ``transaction`` here: PostgreSQL through PgBouncer in that mode."""


@pytest.fixture(params=STORES)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """A factory of stores, one per instance, on one record."""
    if request.param == "fake":
        record = Record()

        async def fake(instance: str) -> Store:
            return FakeStore(record, instance=instance)

        yield fake
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = await server.make_database("template_vesemir")
    async with AsyncExitStack() as stack:
        dsn = server.dsn(name)
        if request.param != "postgres":
            pooler = await stack.enter_async_context(pooled(dsn, PoolMode(request.param)))
            dsn = pooler.through(dsn)

        async def real(instance: str) -> Store:
            settings = PostgresSettings(dsn=dsn)
            return await stack.enter_async_context(PostgresStore.connected(settings, instance=instance))

        yield real
    await server.drop_database(name)


@pytest.fixture
async def store(stores: Stores) -> Store:
    """Instance ``a/1``."""
    return await stores("a/1")


def a_deployment(name: str = "d1", *, application: str = "shop", body_hash: bytes = b"1") -> NewDeployment:
    return NewDeployment(
        deployment_id=name,
        body_hash=body_hash,
        request={"schema": "vesemir.deploy/1", "deployment_id": name},
        application=application,
        environment="production",
        version="1.4.2",
        recipe="release",
        team="payments",
        requested_by="orchestrator",
        asker=Asker.by_amqp("bot", claimed="orchestrator"),
        sealed=b"\x00sealed",
        defaults={"min_available": "auto", "min_healthy_seconds": 2},
    )


def a_target(name: str = "web1", *, direction: Direction = FORWARD, position: int = 0) -> TargetRecord:
    return TargetRecord(
        name=name,
        direction=direction,
        address="127.0.0.1",
        port=2201,
        user="deploy",
        variables={"rack": "r1"},
        source="inventory",
        batch=1,
        position=position,
    )


def a_step(target: str = "web1", step: str = "switch", *, redone: bool = False) -> StepRecord:
    return StepRecord(
        target=target,
        direction=FORWARD,
        step=step,
        attempt=1,
        status=StepStatus.SUCCEEDED,
        exit_status=0,
        duration_seconds=0.5,
        output="done\n",
        output_bytes=5,
        output_truncated=False,
        redone=redone,
    )


async def claim(store: Store, instance: str = "a/1", *, seconds: float = LEASE_SECONDS, max_expiries: int = 5) -> Claim:
    """The claim of what is due; something must be."""
    claimed = await store.claim(instance, lease_seconds=seconds, max_expiries=max_expiries)
    assert claimed is not None
    return claimed


async def accepted_and_claimed(store: Store, name: str = "d1", *, seconds: float = LEASE_SECONDS) -> Claim:
    await store.accept(a_deployment(name), QUEUE)
    return await claim(store, seconds=seconds)


async def started(store: Store, *targets: TargetRecord, seconds: float = LEASE_SECONDS) -> Claim:
    """``d1``, claimed by a/1, with its targets (``web1`` unless given)."""
    claimed = await accepted_and_claimed(store, seconds=seconds)
    plan = targets or (a_target(),)
    await store.commit(claimed, [Start(plan, resolve_seconds=0.25), emit("deployment.started", targets=[])])
    return claimed


def move(name: str, old: TargetState, new: TargetState, *, finished: bool = False) -> MoveTarget:
    return MoveTarget(name, FORWARD, old, new, finished=finished)


async def finish(store: Store, claimed: Claim, *, old: DeploymentState = DeploymentState.RUNNING) -> None:
    await store.commit(
        claimed,
        [
            MoveDeployment(old, DeploymentState.SUCCEEDED),
            emit_result(targets_total=1),
        ],
    )


async def eventually(look: Callable[[], Awaitable[T | None]], *, seconds: float = 10.0) -> T:
    """What ``look`` gives as soon as it is not None: a lease runs out by a clock that is not ours."""
    async with asyncio.timeout(seconds):
        while True:
            found = await look()
            if found is not None:
                return found
            await asyncio.sleep(0.01)


async def event_names(store: Store, name: str = "d1") -> list[str]:
    return [event.name for event in await store.events_after(name, 0, limit=1000)]
