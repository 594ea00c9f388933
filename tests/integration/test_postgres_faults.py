"""The record when PostgreSQL, or the way to it, breaks."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.contract.store_suite import QUEUE, a_deployment, a_step, claim, event_names, started
from tests.fakes.events import emit, emit_result
from tests.integration.postgres_proxy import Proxy, proxied
from tests.integration.postgres_server import PostgresServer, database, postgres_server

from vesemir.adapters.postgres import PostgresStore
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.changes import MoveDeployment, RecordStep
from vesemir.engine.ports.store import AcceptKind, ControlAnswer, ControlCommand, StoreAwayError
from vesemir.settings import PostgresSettings

__all__ = ["database", "postgres_server"]

CUTS = pytest.mark.parametrize("cut", ["cut_before", "cut_after"])
"""The connection is lost during COMMIT: before the server did it, or after, but the answer never came."""


def impatient(dsn: str) -> PostgresSettings:
    return PostgresSettings(dsn=dsn, connect_timeout_seconds=1, command_timeout_seconds=1)


@pytest.fixture
async def proxy_and_store(database: str) -> AsyncIterator[tuple[Proxy, PostgresStore]]:
    async with proxied(database) as (proxy, dsn), PostgresStore.connected(impatient(dsn), instance="a/1") as store:
        yield proxy, store


@CUTS
async def test_a_commit_in_doubt_is_there_once(proxy_and_store: tuple[Proxy, PostgresStore], cut: str) -> None:
    """Read again, nothing doubled, nothing lost; also while others of the same deployment wait behind it."""
    proxy, store = proxy_and_store
    claimed = await started(store)
    setattr(proxy, cut, b"COMMIT")

    await asyncio.gather(*(store.commit(claimed, [RecordStep(a_step()), emit("step.finished", n=n)]) for n in range(5)))

    assert proxy.cuts == 1
    events = await store.events_after("d1", 2, limit=100)
    assert sorted(event.body["n"] for event in events) == list(range(5))
    assert [event.sequence for event in events] == list(range(3, 8))
    assert (await store.step_totals("d1")).steps == 5


@CUTS
async def test_a_result_in_doubt_is_there_once(proxy_and_store: tuple[Proxy, PostgresStore], cut: str) -> None:
    """Although a result gives the ownership up, by which a write is otherwise known to be allowed."""
    proxy, store = proxy_and_store
    claimed = await started(store)
    setattr(proxy, cut, b"COMMIT")

    await store.commit(
        claimed,
        [MoveDeployment(DeploymentState.RUNNING, DeploymentState.SUCCEEDED), emit_result()],
    )

    assert proxy.cuts == 1
    assert (await event_names(store)).count("deployment.finished") == 1


@CUTS
async def test_a_claim_in_doubt_is_found_again(proxy_and_store: tuple[Proxy, PostgresStore], cut: str) -> None:
    """Nobody would renew it otherwise."""
    proxy, store = proxy_and_store
    await store.accept(a_deployment(), QUEUE)
    setattr(proxy, cut, b"COMMIT")

    claimed = await claim(store)

    assert proxy.cuts == 1
    record = await store.load("d1")
    assert record is not None
    assert (record.owner, record.epoch, record.takeovers) == ("a/1", claimed.epoch, 0)


@CUTS
async def test_a_takeover_in_doubt_is_found_again(proxy_and_store: tuple[Proxy, PostgresStore], cut: str) -> None:
    proxy, store = proxy_and_store
    await store.hand_back(await started(store))
    setattr(proxy, cut, b"COMMIT")

    claimed = await claim(store, "b/2")

    assert proxy.cuts == 1
    assert (claimed.owner, claimed.previous) == ("b/2", "a/1")
    assert (await event_names(store)).count("deployment.taken_over") == 1


@CUTS
async def test_an_approval_in_doubt_counts_once(proxy_and_store: tuple[Proxy, PostgresStore], cut: str) -> None:
    proxy, store = proxy_and_store
    await started(store)
    setattr(proxy, cut, b"COMMIT")

    answer, _ = await store.control(ControlCommand("resume", "d1", None, None))

    assert proxy.cuts == 1
    assert answer is ControlAnswer.ACCEPTED
    assert (await store.wishes("a/1"))["d1"].approvals == 1


@CUTS
async def test_a_cancel_in_doubt_finishes_once(proxy_and_store: tuple[Proxy, PostgresStore], cut: str) -> None:
    proxy, store = proxy_and_store
    await store.accept(a_deployment(), QUEUE)
    setattr(proxy, cut, b"COMMIT")

    answer, _ = await store.control(ControlCommand("cancel", "d1", None, None))

    assert proxy.cuts == 1
    assert answer is ControlAnswer.FINISHED
    assert await event_names(store) == ["deployment.accepted", "deployment.finished"]


@CUTS
async def test_an_acceptance_in_doubt_comes_again_as_one(
    proxy_and_store: tuple[Proxy, PostgresStore], cut: str
) -> None:
    """The message is not acknowledged, so it is delivered again: that is the same deployment."""
    proxy, store = proxy_and_store
    setattr(proxy, cut, b"COMMIT")

    with pytest.raises(StoreAwayError):
        await store.accept(a_deployment(), QUEUE)

    expected = AcceptKind.ACCEPTED if cut == "cut_before" else AcceptKind.REPEATED
    assert await store.accept(a_deployment(), QUEUE) is expected
    assert await event_names(store) == ["deployment.accepted"]


async def test_a_blackhole_is_noticed_in_time_and_left_in_time(database: str) -> None:
    """No call waits longer than its limits, nor does closing, and afterwards it goes on by itself."""
    async with proxied(database) as (proxy, dsn):
        async with PostgresStore.connected(impatient(dsn), instance="a/1", retry_seconds=0) as store:
            claimed = await started(store)
            proxy.blackhole = True
            began = time.monotonic()
            for call in (store.ping(), store.commit(claimed, [emit("a")]), store.accept(a_deployment("d2"), None)):
                with pytest.raises(StoreAwayError, match="no answer in time"):
                    await call
            assert time.monotonic() - began < 10
            proxy.blackhole = False
            await store.commit(claimed, [emit("b")])
            assert (await event_names(store))[-1] == "b"
            proxy.blackhole = True
            began = time.monotonic()
        assert time.monotonic() - began < 5


async def test_a_restart_of_the_server_is_survived(postgres_server: PostgresServer, database: str) -> None:
    """A crash in the middle of many commits: each is there once; and opened before the server, it begins by itself."""
    async with PostgresStore.connected(impatient(database), instance="a/1") as store:
        claimed = await started(store)
        commits = [asyncio.create_task(store.commit(claimed, [emit("e", n=n)])) for n in range(200)]
        await commits[20]
        await asyncio.to_thread(postgres_server.stop, signal.SIGINT)
        async with PostgresStore.connected(impatient(database), instance="b/2") as other:
            with pytest.raises(StoreAwayError, match="check that it runs"):
                await other.ping()
            await asyncio.to_thread(postgres_server.start)
            await asyncio.gather(*commits)
            await other.ping()
        events = await store.events_after("d1", 2, limit=1000)
        assert sorted(event.body["n"] for event in events) == list(range(200))
        assert [event.sequence for event in events] == list(range(3, 203))


async def test_hints_end_when_their_connection_dies(postgres_server: PostgresServer, database: str) -> None:
    """Without an exception: whoever listens opens another."""
    async with PostgresStore.connected(impatient(database), instance="a/1") as store:
        async with store.hints() as hints, asyncio.timeout(10):
            await postgres_server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vesemir hints'"
            )
            assert [hint async for hint in hints] == []
        async with store.hints() as hints, asyncio.timeout(10):
            await store.accept(a_deployment(), None)
            assert await anext(hints) == "outbox"


async def test_the_last_hint_is_sent_before_closing(database: str) -> None:
    """What an instance hands back when it stops is claimed at once by another, not at the next poll."""
    async with PostgresStore.connected(impatient(database), instance="a/1") as first:
        claimed = await started(first)  # whose hints are all sent when it is closed
    async with PostgresStore.connected(impatient(database), instance="b/2") as other, other.hints() as hints:
        async with PostgresStore.connected(impatient(database), instance="a/1") as stopping:
            await stopping.hand_back(claimed)
        async with asyncio.timeout(5):
            assert await anext(hints) == "work"


async def test_no_hints_from_a_server_that_is_away(unused_tcp_port: int) -> None:
    settings = impatient(f"postgresql://vesemir@127.0.0.1:{unused_tcp_port}/vesemir")
    async with PostgresStore.connected(settings, instance="a/1") as store:
        with pytest.raises(StoreAwayError):
            async with store.hints():
                pass


async def test_a_claim_does_not_wait_for_a_row_that_a_dead_peer_has_locked(database: str) -> None:
    """Its transaction ends when the server gives the peer up; until then there is other work."""
    async with PostgresStore.connected(impatient(database), instance="b/2", retry_seconds=0) as store:
        claimed = await started(store, seconds=0.01)
        await store.accept(a_deployment("d2", application="blog"), None)
        peer = await asyncpg.connect(database)
        await peer.execute("BEGIN")
        await peer.execute("SELECT FROM deployment WHERE deployment_id = 'd1' FOR UPDATE")

        found = [await store.claim("b/2", lease_seconds=30, max_expiries=5) for _ in range(2)]

        assert [other.deployment_id for other in found if other] == ["d2"]
        await peer.close()
        assert (await claim(store, "b/2")).previous == claimed.owner


async def test_a_cancelled_call_leaves_nothing_behind(database: str) -> None:
    """Its connection is thrown away with the transaction, and the pool is whole again."""
    settings = PostgresSettings(dsn=database, pool_size=2)
    async with PostgresStore.connected(settings, instance="a/1") as store:
        claimed = await started(store)
        for _ in range(10):
            task = asyncio.create_task(store.commit(claimed, [emit("x")]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5):
            await asyncio.gather(*(store.ping() for _ in range(10)))
            await store.commit(claimed, [emit("end")])
        events = await store.events_after("d1", 0, limit=100)
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))


async def test_a_database_without_schema_says_what_to_do(postgres_server: PostgresServer) -> None:
    name = await postgres_server.make_database("template0")
    async with PostgresStore.connected(impatient(postgres_server.dsn(name)), instance="a/1") as store:
        with pytest.raises(StoreAwayError, match="run `vesemir migrate`"):
            await store.ping()
    await postgres_server.drop_database(name)


async def test_a_section_is_waited_for_longer_than_a_statement_may_take(database: str) -> None:
    """And those who wait keep nobody else waiting."""
    async with (
        PostgresStore.connected(impatient(database), instance="a/1", retry_seconds=0) as store,
        PostgresStore.connected(impatient(database), instance="b/2", retry_seconds=0) as other,
    ):

        async def enter() -> None:
            async with other.section("lb1/shop"):
                return

        async with store.section("lb1/shop"):
            waiting = [asyncio.create_task(enter()) for _ in range(20)]
            await asyncio.wait(waiting, timeout=1.5)  # longer than the limit of a statement, which is 1 s
            await other.ping()
            assert not any(task.done() for task in waiting)
        async with asyncio.timeout(10):
            await asyncio.gather(*waiting)
