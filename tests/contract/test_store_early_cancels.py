"""The port to the record, on the fake and on PostgreSQL: cancels that come before their deploy event."""

import asyncio
import random
from dataclasses import replace

import pytest
from tests.contract.store_suite import QUEUE, Stores, a_deployment, claim, event_names, store, stores
from tests.integration.postgres_server import postgres_server

from vesemir.domain.identity import Asker, Identity
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports import store as port
from vesemir.engine.ports.store import AcceptKind, ControlAnswer, ControlCommand, Store

__all__ = ["postgres_server", "store", "stores"]

KEPT = (ControlAnswer.KEPT, None)


def cancel(deployment_id: str = "d1", who: str = "anna") -> ControlCommand:
    return ControlCommand("cancel", deployment_id, who, "wrong version", Asker.by_amqp(who, claimed=who))


async def test_it_ends_the_deployment_when_that_comes(store: Store) -> None:
    assert await store.control(cancel()) == KEPT
    assert await store.known("d1") is None, "the id is free"
    assert [row.entry["outcome"] for row in await store.audit_rows()] == ["kept"]
    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.CANCELLED
    record = await store.load("d1")
    assert record is not None
    assert record.state is DeploymentState.CANCELLED
    assert record.failure is not None
    assert record.failure.message == "cancelled by anna while it waited for its turn: wrong version"
    assert await event_names(store) == ["deployment.accepted", "deployment.finished"]
    assert await store.claim("a/1", lease_seconds=30, max_expiries=5) is None
    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.REPEATED


async def test_it_ends_none_but_its_own(store: Store) -> None:
    await store.control(cancel("d2"))
    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.ACCEPTED
    assert (await claim(store)).deployment_id == "d1"


async def test_its_right_is_judged_then_by_who_asked(store: Store) -> None:
    """One without the right does not use up the place of one with it."""
    await store.control(cancel(who="mallory"))
    await store.control(cancel(who="anna"))
    judged = []

    def permits(command: ControlCommand, deployment: object) -> bool:
        judged.append((command.asker.identity, deployment))
        return command.asker.identity == Identity("amqp", "anna")

    assert await store.accept(a_deployment(), QUEUE, permits=permits) is AcceptKind.CANCELLED
    told = [(row.entry["kind"], row.entry["identity"], row.entry["outcome"]) for row in await store.audit_rows()]
    assert sorted(told) == [
        ("control", "amqp:anna", "accepted"),
        ("control", "amqp:anna", "kept"),
        ("control", "amqp:mallory", "control.forbidden"),
        ("control", "amqp:mallory", "kept"),
        ("request", "amqp:bot", "accepted"),
    ]
    assert judged == [(Identity("amqp", name), a_deployment().controlled) for name in ("mallory", "anna")]


async def test_without_the_right_it_runs_and_nothing_is_left(store: Store) -> None:
    await store.control(cancel())
    assert await store.accept(a_deployment(), QUEUE, permits=lambda *_: False) is AcceptKind.ACCEPTED
    assert await store.overlooked_cancels() == []
    assert (await claim(store)).deployment_id == "d1"


async def test_it_is_kept_for_so_long_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tests.fakes.record", "vesemir.adapters.postgres.early_cancels"):
        monkeypatch.setattr(f"{module}.EARLY_SECONDS", -1.0)
    await store.control(cancel())
    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.ACCEPTED


async def test_so_many_are_kept_of_one_identity(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tests.fakes.store", "vesemir.adapters.postgres.early_cancels"):
        monkeypatch.setattr(f"{module}.EARLY_CANCELS", 2)
    assert [await store.control(cancel(name)) for name in ("d1", "d2", "d1")] == [KEPT] * 3
    assert await store.control(cancel("d3")) == (ControlAnswer.UNKNOWN, None)
    assert await store.control(cancel("d3", who="joe")) == KEPT
    assert port.EARLY_CANCELS == 1000
    assert port.EARLY_SECONDS == 24 * 3600


async def test_in_any_order_and_at_the_same_time_it_ends_as_cancelled(stores: Stores) -> None:
    """Three instances, each message to any of them: whichever is first, the other sees it."""
    several = [await stores(f"{name}/1") for name in "abc"]
    chosen = random.Random(7)  # noqa: S311 - an order, not a secret

    async def both(name: str) -> None:
        new = replace(a_deployment(name), environment=f"e{chosen.randrange(9)}")
        messages = [chosen.choice(several).accept(new, QUEUE), chosen.choice(several).control(cancel(name))]
        chosen.shuffle(messages)
        await asyncio.gather(*messages)

    for _ in range(10):
        names = [f"d{chosen.getrandbits(64)}" for _ in range(10)]
        await asyncio.gather(*map(both, names))
        records = [await several[0].load(name) for name in names]
        assert {record and record.state for record in records} == {DeploymentState.CANCELLED}
        assert {tuple(await event_names(several[0], name)) for name in names} == {
            ("deployment.accepted", "deployment.finished")
        }
