"""The port to the record, on the fake and on PostgreSQL: sections across instances."""

import asyncio

import pytest
from tests.contract.store_suite import Stores, store, stores
from tests.integration.postgres_server import postgres_server

from vesemir.engine.ports.store import Store

__all__ = ["postgres_server", "store", "stores"]


async def test_one_at_a_time_over_all_instances(stores: Stores) -> None:
    """Everybody gets in, nobody together, also the very first time that a section is used."""
    several = [await stores("a/1"), await stores("b/2")]
    inside: list[int] = []
    most: list[int] = []

    async def enter(number: int) -> None:
        async with several[number % 2].section("lb1/shop"):
            inside.append(number)
            most.append(len(inside))
            await asyncio.sleep(0.001)  # others get their turn to come in
            inside.remove(number)

    async with asyncio.timeout(30):
        await asyncio.gather(*(enter(number) for number in range(30)))

    assert most == [1] * 30


async def test_sections_of_other_names_do_not_wait(store: Store) -> None:
    """And one may be within another."""
    async with asyncio.timeout(5), store.section("lb1/shop"), store.section("lb2/shop"):
        pass


async def test_an_error_in_it_leaves_it_as_it_is(store: Store) -> None:
    """Not taken for the database's own, even when it looks like one; and the next may come in."""
    with pytest.raises(TimeoutError, match="of the load balancer"):
        async with store.section("lb1/shop"):
            raise TimeoutError("of the load balancer")

    async with asyncio.timeout(5), store.section("lb1/shop"):
        pass


async def test_a_cancelled_one_leaves_it(stores: Stores) -> None:
    """While it is in, and while it waits."""
    store, other = await stores("a/1"), await stores("b/2")
    entered = asyncio.Event()

    async def stay(instance: Store) -> None:
        async with instance.section("lb1/shop"):
            entered.set()
            await asyncio.Event().wait()

    first = asyncio.create_task(stay(store))
    await entered.wait()
    waiting = asyncio.create_task(stay(other))
    await asyncio.sleep(0.02)  # it has begun to wait
    for task in (waiting, first):
        task.cancel()
    await asyncio.gather(first, waiting, return_exceptions=True)

    async with asyncio.timeout(5), other.section("lb1/shop"):
        pass
