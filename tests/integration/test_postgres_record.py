"""The record in PostgreSQL beyond the port: what people read, what the constraints refuse, what the statements are."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from tests.contract.store_suite import (
    FORWARD,
    QUEUE,
    a_deployment,
    a_step,
    a_target,
    accepted_and_claimed,
    claim,
    finish,
    move,
    started,
)
from tests.fakes.events import emit
from tests.integration.postgres_server import database, postgres_server

from vesemir.adapters.postgres import PostgresStore
from vesemir.adapters.postgres import statements as statements_module
from vesemir.adapters.postgres.statements import statements
from vesemir.domain.control import ControlledLane
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.engine.ports.changes import MoveDeployment, MoveTarget, RecordStep
from vesemir.engine.ports.observe import Backlog, WaitsFor
from vesemir.engine.ports.records import Destination
from vesemir.engine.ports.store import LaneCommand
from vesemir.engine.ports.views import FailureView
from vesemir.settings import PostgresSettings
from vesemir.shipped import sql_folder

__all__ = ["database", "postgres_server"]

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
FAILURE = Failure(FailureCode.STEP_FAILED, "step switch ended with 1")


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    async with PostgresStore.connected(PostgresSettings(dsn=database), instance="a/1") as connected:
        yield connected


@pytest.fixture
async def direct(database: str) -> AsyncIterator[asyncpg.Connection]:
    """Past the store."""
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def test_the_view_of_one_deployment(store: PostgresStore) -> None:
    """All of it, with parked destinations in plain sight."""
    claimed = await started(store)
    failed = MoveTarget("web1", FORWARD, TargetState.RUNNING, TargetState.FAILED, failure=FAILURE, duration_seconds=2)
    await store.commit(claimed, [move("web1", TargetState.PENDING, TargetState.RUNNING), RecordStep(a_step()), failed])
    parked = next(d for d in await store.lease_deliveries("p", seconds=5, limit=9) if d.reply_to)
    await store.park(parked.destination_id, "p", reason="no queue named answers")

    view = await store.deployment_view("d1")

    assert view is not None
    assert (view.state, view.owner, view.version, view.steps_total) == ("running", "a/1", "1.4.2", 1)
    assert view.request == {"schema": "vesemir.deploy/1", "deployment_id": "d1"}
    assert STAMP.fullmatch(view.accepted_at)
    assert view.finished_at is None
    (target,) = view.targets
    assert (target.name, target.status, target.failure) == ("web1", "failed", FailureView(**FAILURE.as_json()))
    topic, queue = view.destinations
    assert (topic.reply_to, topic.parked_at, topic.due) == (None, None, 2)
    assert (queue.reply_to, queue.reason) == ("answers", "no queue named answers")
    assert STAMP.fullmatch(queue.parked_at)
    assert await store.deployment_view("nobody") is None


async def test_history_is_paged_and_filtered(store: PostgresStore) -> None:
    """Newest first, no deployment twice or left out between pages."""
    for number in range(5):
        await store.accept(a_deployment(f"d{number}", application="shop" if number % 2 else "blog"), None)
    await finish(store, await claim(store))

    pages = [await store.deployments(limit=2)]
    while pages[-1]:
        pages.append(await store.deployments(limit=2, before=pages[-1][-1].deployment_id))

    assert [[row.deployment_id for row in page] for page in pages] == [["d4", "d3"], ["d2", "d1"], ["d0"], []]
    assert [row.deployment_id for row in await store.deployments(application="shop")] == ["d3", "d1"]
    assert [row.deployment_id for row in await store.deployments(state="succeeded")] == ["d0"]
    assert await store.deployments(environment="staging") == []
    assert await store.deployments(before="nobody") == []


async def test_events_and_steps_are_read(store: PostgresStore) -> None:
    """Output only for those who ask."""
    claimed = await started(store, a_target("web1"), a_target("web2", position=1))
    await store.commit(claimed, [RecordStep(a_step()), RecordStep(a_step("web2", "check")), emit("step.finished")])

    assert [event.sequence for event in await store.events("d1", after=1)] == [2, 3]
    assert [event.name for event in await store.events("d1", limit=1)] == ["deployment.accepted"]
    assert [(s.target, s.step, s.output) for s in await store.steps("d1")] == [
        ("web1", "switch", None),
        ("web2", "check", None),
    ]
    (step,) = await store.steps("d1", target="web2", with_output=True)
    assert (step.output, step.status, step.attempt) == ("done\n", "succeeded", 1)
    assert STAMP.fullmatch(step.recorded_at)


async def test_the_backlog(store: PostgresStore) -> None:
    """What is parked is counted apart: it is nothing that waits to be published."""
    assert await store.backlog() == Backlog()
    await accepted_and_claimed(store)
    for delivery in await store.lease_deliveries("p", seconds=5, limit=9):
        if delivery.reply_to:
            await store.park(delivery.destination_id, "p", reason="gone")

    backlog = await store.backlog()

    assert (backlog.events, backlog.parked, backlog.failing) == (1, 1, 0)
    assert backlog.oldest_seconds > 0


async def test_a_queue_that_refuses_its_events_does_not_make_the_outbox_old(store: PostgresStore) -> None:
    """It is its requester's trouble; a topic exchange that refuses them is ours."""
    await accepted_and_claimed(store)
    for delivery in await store.lease_deliveries("p", seconds=5, limit=9):
        if delivery.reply_to:
            await store.postpone(delivery.destination_id, "p", seconds=60, reason="no such queue")
        else:
            await store.advance(delivery.destination_id, "p", 1, release=True)

    backlog = await store.backlog()

    assert (backlog.events, backlog.failing, backlog.oldest_seconds) == (1, 1, 0.0)


async def test_what_waits_is_told_by_what_it_waits_for(store: PostgresStore) -> None:
    """For the deployment before it, for one that is paused, or for an instance with room."""
    for lane, names in {"ads": ("s1", "s2", "s3"), "blog": ("b1", "b2"), "mail": ("m1",)}.items():
        for name in names:
            await store.accept(a_deployment(name, application=lane), None)
    for paused in (False, True):
        claimed = await claim(store)
        if paused:
            await store.commit(claimed, [MoveDeployment(DeploymentState.RUNNING, DeploymentState.PAUSED)])

    backlog = await store.backlog()

    assert backlog.waiting == {WaitsFor.LANE: 2, WaitsFor.PAUSE: 1, WaitsFor.INSTANCE: 1}
    assert backlog.waiting_oldest_seconds > 0
    later = replace(a_deployment("later", application="zoo"), not_before=await store.clock() + 1000)
    await store.accept(later, None)
    await store.control_lane(LaneCommand("lock", ControlledLane("mail", "production"), "anna", "stocktaking"))
    backlog = await store.backlog()
    assert backlog.waiting == {WaitsFor.LANE: 2, WaitsFor.PAUSE: 2}, "what is not due waits for nobody"


async def test_text_that_postgresql_cannot_hold_blocks_nothing(store: PostgresStore) -> None:
    """NUL and half surrogate pairs come from broken programs and file names; backslashes stay what they are."""
    claimed = await started(store)
    ugly = "a\x00b\ud800c \\u0000 \\\\u0000"
    failure = Failure(FailureCode.STEP_FAILED, ugly)
    await store.commit(
        claimed,
        [
            emit("step.finished", output=ugly, list=[{ugly: ugly}]),
            MoveDeployment(DeploymentState.RUNNING, DeploymentState.PAUSED, failure),
        ],
    )
    await store.accept(a_deployment("d2", application="blog"), Destination("q", None))
    (delivery,) = [d for d in await store.lease_deliveries("p", seconds=5, limit=9) if d.reply_to == "q"]
    await store.postpone(delivery.destination_id, "p", seconds=0, reason=ugly)

    clean = "a\ufffdb?c \\u0000 \\\\u0000"
    (event,) = await store.events("d1", after=2)
    assert (event.body["output"], event.body["list"]) == (clean, [{clean: clean}])
    record = await store.load("d1")
    assert record is not None
    assert record.failure is not None
    assert record.failure.message == clean


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("deployment_one_active_per_lane", "UPDATE deployment SET state = 'running', claimed_at = now()"),
        ("deployment_final_is_finished", "UPDATE deployment SET state = 'failed' WHERE state = 'running'"),
        (
            "deployment_final_has_no_owner",
            "UPDATE deployment SET state = 'failed', finished_at = now() WHERE owner = 'a/1'",
        ),
        ("deployment_pending_was_never_claimed", "UPDATE deployment SET claimed_at = now() WHERE state = 'pending'"),
        ("deployment_owner_has_lease", "UPDATE deployment SET lease_expires_at = NULL WHERE owner = 'a/1'"),
        ("deployment_owner_has_epoch", "UPDATE deployment SET epoch = 0 WHERE owner = 'a/1'"),
        ("deployment_paused_has_since", "UPDATE deployment SET state = 'paused' WHERE state = 'running'"),
        ("deployment_arrival", "UPDATE deployment SET arrival = 1"),
        ("deployment_state_known", "UPDATE deployment SET state = 'sleeping' WHERE state = 'running'"),
        ("target_final_is_finished", "UPDATE target SET finished = true"),
        ("target_final_is_finished", "UPDATE target SET state = 'succeeded'"),
        ("destination_publisher_has_lease", "UPDATE destination SET publisher = 'p'"),
        ("event_one_result", "UPDATE event SET name = 'deployment.finished'"),
        ("event_pkey", "UPDATE event SET sequence = 1 WHERE deployment_id = 'd1'"),
    ],
)
async def test_the_database_refuses_what_must_not_be(
    store: PostgresStore, direct: asyncpg.Connection, constraint: str, change: str
) -> None:
    """Whoever writes it: a bug, an old version, a person at a prompt."""
    await started(store)
    await store.accept(a_deployment("d2"), QUEUE)

    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as raised:
        await direct.execute(change)

    assert raised.value.constraint_name == constraint


async def test_an_id_outlives_its_deployment(store: PostgresStore, direct: asyncpg.Connection) -> None:
    """Clean-up is a plain DELETE; what came before must not run again."""
    await finish(store, await started(store))
    await direct.execute("DELETE FROM deployment WHERE finished_at IS NOT NULL")

    assert await store.accept(a_deployment(), QUEUE) == "repeated"
    assert await store.accept(a_deployment(body_hash=b"2"), QUEUE) == "conflict"
    assert await store.load("d1") is None
    for table in ("target", "step", "event", "destination"):
        assert await direct.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 (our own names)


async def test_intake_and_claims_at_once(store: PostgresStore) -> None:
    """One busy lane, claimed while it fills: nobody starves, nothing runs twice or out of order."""
    ran: list[str] = []

    async def work() -> None:
        while len(ran) < 40:
            claimed = await store.claim("a/1", lease_seconds=30, max_expiries=5)
            if claimed is None:
                await asyncio.sleep(0.005)  # a poll, as the engine does it
                continue
            ran.append(claimed.deployment_id)
            await finish(store, claimed)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(work())
        for number in range(40):
            group.create_task(store.accept(a_deployment(f"d{number}"), None))

    positions = [row.deployment_id for row in reversed(await store.deployments(limit=100))]
    assert ran == positions


def test_every_statement_is_described_and_used() -> None:
    """A named statement without a description, or that no code runs, does not stay."""
    text = "".join(file.read_text() for file in sorted((sql_folder() / "queries").glob("*.sql")))
    described = dict(re.findall(r"^-- name: (\w+)!?\n-- (.+)", text, flags=re.MULTILINE))
    code = "".join(file.read_text() for file in Path(statements_module.__file__).parent.glob("*.py"))

    assert sorted(described) == dir(statements())
    assert [name for name in described if not re.search(rf"\b{name}\b", code)] == []


def test_a_statement_takes_exactly_its_parameters() -> None:
    with pytest.raises(AttributeError, match="no statement named nothing"):
        _ = statements().nothing
