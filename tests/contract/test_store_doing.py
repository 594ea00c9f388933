"""The port to the record, on the fake and on PostgreSQL: what the targets of a running deployment do right now."""

from dataclasses import replace

from tests.contract.store_suite import (
    Stores,
    a_deployment,
    accepted_and_claimed,
    claim,
    eventually,
    finish,
    store,
    stores,
)
from tests.integration.postgres_server import postgres_server

from vesemir.domain.doing import Doing
from vesemir.engine.ports.store import Store

__all__ = ["postgres_server", "store", "stores"]

SWITCH = Doing("web1", "switch", "target", "2026-11-27T12:00:00.000000Z", 1, None)
CHECK = Doing("web2", "check-version", "rollback", "2026-11-27T12:00:01.500000Z", 12, "answered 500: ␛ \\u202e • ü")


async def test_it_is_what_was_written_last(store: Store) -> None:
    claimed = await accepted_and_claimed(store)
    assert await store.doing_of("d1") is None
    await store.write_doing(claimed, [SWITCH])
    assert await store.doing_of("d1") == (SWITCH,)
    await store.write_doing(claimed, [SWITCH, CHECK])
    assert await store.doing_of("d1") == (SWITCH, CHECK)
    await store.write_doing(claimed, [])
    assert await store.doing_of("d1") == ()
    await store.write_doing(claimed, None)
    assert await store.doing_of("d1") is None


async def test_a_deployment_without_an_owner_and_an_unknown_one_have_none(store: Store) -> None:
    assert await store.doing_of("nobody") is None
    await store.accept(a_deployment(), None)
    assert await store.doing_of("d1") is None
    claimed = await claim(store)
    await store.write_doing(claimed, [SWITCH])
    await store.hand_back(claimed)
    assert await store.doing_of("d1") is None


async def test_one_that_ended_has_none(store: Store) -> None:
    claimed = await accepted_and_claimed(store)
    await store.write_doing(claimed, [SWITCH])
    await finish(store, claimed)
    assert await store.doing_of("d1") is None


async def test_a_silent_owner_is_not_believed(store: Store) -> None:
    claimed = await accepted_and_claimed(store)
    await store.write_doing(claimed, [SWITCH])
    assert await store.doing_of("d1", silent_seconds=60) == (SWITCH,)

    async def silent() -> bool | None:
        return True if await store.doing_of("d1", silent_seconds=0.01) is None else None

    assert await eventually(silent)


async def test_a_late_owner_neither_writes_nor_takes_away(stores: Stores) -> None:
    first, second = await stores("a/1"), await stores("b/2")
    late = await accepted_and_claimed(first)
    await first.write_doing(late, [SWITCH])
    await first.hand_back(late)
    owner = await claim(second, "b/2")
    assert await second.doing_of("d1") is None
    await second.write_doing(owner, [CHECK])
    await first.write_doing(late, [SWITCH])
    assert await first.doing_of("d1") == (CHECK,)
    await first.write_doing(late, None)
    assert await first.doing_of("d1") == (CHECK,)


async def test_a_claim_that_never_was_writes_nothing(store: Store) -> None:
    claimed = await accepted_and_claimed(store)
    await store.write_doing(replace(claimed, deployment_id="nobody"), [SWITCH])
    await store.write_doing(replace(claimed, owner="c/3"), [SWITCH])
    await store.write_doing(replace(claimed, epoch=claimed.epoch + 1), [SWITCH])
    assert await store.doing_of("nobody") is None
    assert await store.doing_of("d1") is None
