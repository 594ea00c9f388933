"""An instance takes work: how many at once, bugs, a record that is away, the end while it claims."""

import asyncio
from typing import Any

import pytest
from tests.unit.engine.deployment.situations import now
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import Instance, World, one_instance

from vesemir.domain.events import TargetFinishedEvent
from vesemir.engine.deployment.worker import CLAIM_SECONDS
from vesemir.engine.ports.changes import Emit


async def test_only_so_many_deployments_at_once() -> None:
    async with World(1) as world:
        instance = world.instance(deployments=2)
        for number in range(4):
            await world.accept(f"d{number}", application=f"app{number}")
        await until(lambda: instance.leases.held)
        await asyncio.sleep(0.5)
        assert instance.leases.held == 2
        for number in range(4):
            assert (await world.result(f"d{number}"))["status"] == "succeeded"
        assert instance.leases.held == 0


async def test_a_bug_in_a_run_is_logged_and_its_lease_left_to_expire() -> None:
    async with one_instance(1) as world:
        world.hosts.step_seconds = 1
        first = world.instances[0]
        world.book.get = lambda _name: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        await world.accept()
        await until(lambda: first.log.of("exception"))
        assert world.row().owner == "host/1"
        del world.book.get  # type: ignore[method-assign]
        assert (await world.result())["status"] == "succeeded"
        assert world.row().takeovers == 1


async def test_a_record_that_is_away_is_waited_for() -> None:
    async with one_instance(1) as world:
        world.instances[0].store.cut_off = True
        await world.accept()
        await asyncio.sleep(10)
        assert world.row().owner is None
        world.instances[0].store.cut_off = False
        assert (await world.result())["status"] == "succeeded"


async def test_a_deployment_that_is_gone_from_the_record_is_lost() -> None:
    async with one_instance(1) as world:

        async def nothing(_name: str) -> None:
            return None

        world.instances[0].store.load = nothing  # type: ignore[method-assign]
        await world.accept()
        await until(lambda: world.instances[0].log.of("warning"))
        assert "is not in the record any more" in world.instances[0].log.of("warning")[0]


async def test_a_hand_back_that_cannot_be_written_expires() -> None:
    async with one_instance(1) as world:
        first = world.instances[0]
        await world.accept()
        await world.control("pause")
        await world.told_of("deployment.paused")

        async def hand_back(_claim: object) -> None:
            first.store.cut_off = True
            await first.store.ping()

        first.store.hand_back = hand_back  # type: ignore[method-assign]
        await first.working.drain(20)
        assert "could not be handed back" in first.log.of("warning")[0]


async def test_draining_waits_for_what_is_just_being_claimed() -> None:
    async with one_instance(1) as world:
        first = world.instances[0]
        plain, claiming = first.store.claim, asyncio.Event()

        async def claim(*arguments: Any, **more: Any) -> Any:
            claimed = await plain(*arguments, **more)
            if claimed is not None:
                claiming.set()
                await asyncio.sleep(1)
            return claimed

        first.store.claim = claim  # type: ignore[method-assign]
        await world.accept()
        await claiming.wait()
        await first.working.drain(20)
        assert (world.row().owner, world.row().expiries) == (None, 0)
        assert world.hosts.calls == []


@pytest.mark.parametrize("hurried", [False, True])
async def test_a_claim_that_gets_no_answer_does_not_hold_up_the_end(hurried: bool) -> None:  # noqa: FBT001
    """The record is away: it is tried for 20 s otherwise. What may have been claimed all the same expires."""
    async with one_instance(1) as world:
        first = world.instances[0]
        claiming = asyncio.Event()

        async def claim(*_arguments: Any, **_more: Any) -> Any:
            claiming.set()
            await asyncio.sleep(1000)

        first.store.claim = claim  # type: ignore[method-assign]
        await world.accept()
        await claiming.wait()
        began = now()
        draining = asyncio.create_task(first.working.drain(20))
        await asyncio.sleep(0)
        if hurried:
            first.working.leave()
        await draining
        assert now() - began == pytest.approx(0 if hurried else CLAIM_SECONDS, abs=0.1)


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_a_second_signal_in_the_moment_of_the_first(turns: int) -> None:
    """Its part was done before the first one's, which then met a claim that was just ending: the instance crashed."""
    async with one_instance(1) as world:
        first = world.instances[0]
        claiming = asyncio.Event()

        async def claim(*_arguments: Any, **_more: Any) -> Any:
            claiming.set()
            await asyncio.sleep(1000)

        first.store.claim = claim  # type: ignore[method-assign]
        await world.accept()
        await claiming.wait()
        began = now()
        first.working.leave()
        for _ in range(turns):
            await asyncio.sleep(0)
        await first.working.drain(20)
        assert now() - began == pytest.approx(0, abs=0.1)


async def test_the_lease_is_lost_when_its_last_target_ends() -> None:
    """The result is the next owner's to write."""
    async with one_instance(1) as world:
        first = world.instances[0]
        first.store.dies_with = lambda change: _cut_off_at_the_end(first, change)
        await world.accept()
        await until(lambda: first.log.of("warning"))
        first.store.dies_with = lambda _change: False
        first.store.cut_off = False
        assert (await world.result())["status"] == "succeeded"
        assert world.row().takeovers == 1
        assert len(world.hosts.ran("switch")) == 1


def _cut_off_at_the_end(instance: Instance, change: object) -> bool:
    if isinstance(change, Emit) and isinstance(change.event, TargetFinishedEvent):
        instance.store.cut_off = True
    return False


async def test_a_cancel_that_cannot_be_written_is_the_next_owners() -> None:
    async with one_instance(1) as world:
        first = world.instances[0]
        world.hosts.step_seconds = 100
        await world.accept()
        await until(lambda: world.hosts.begun("web1", "unpack"))
        first.store.dies_with = lambda _change: setattr(first.store, "cut_off", True) or False  # type: ignore[func-returns-value]
        await world.control("cancel")
        await until(lambda: first.log.of("warning"))
        assert world.names()[-1] == "target.started"
        first.store.dies_with = lambda _change: False
        first.store.cut_off = False
        assert (await world.result())["status"] == "cancelled"
