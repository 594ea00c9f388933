"""A server that a result left drained is counted until somebody has put it back, and not a moment longer."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.fakes.loadbalancer import FakeLoadBalancer, FakeLoadBalancers, FakeServer
from tests.fakes.store import FakeStore
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import DRAINED, Lines, World

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.step import StepResult, StepStatus
from vesemir.domain.traffic import AdminState
from vesemir.engine.upkeep.drained_servers import DrainedServers

KEY = ("shop/production", "web1")
BROKEN = StepResult(StepStatus.FAILED, 1, b"no", 2)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """One deployment has failed and left web1 drained on both load balancers."""
    async with World(1, balancers=2) as world:
        world.instance()
        world.hosts.steps["switch"] = BROKEN
        await world.accept(traffic=True)
        await world.result()
        assert world.shown("web1") == [DRAINED, DRAINED]
        assert world.record.left_drained == {KEY: "d1"}
        yield world


@pytest.fixture
async def log(world: World) -> AsyncIterator[Lines]:
    """Somebody looks, every 10 seconds."""
    log = Lines()
    store = FakeStore(world.record, instance="host/9")
    watch = DrainedServers(store, FakeLoadBalancers(*world.lbs), log=log, seconds=10)
    task = asyncio.create_task(watch.watch())
    yield log
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def looked(times: int = 3) -> None:
    await asyncio.sleep(times * 10 + 1)


async def put_back(world: World, *boxes: int) -> None:
    for box in boxes:
        await world.lbs[box].set_state("shop", "web1", AdminState.READY)


@pytest.mark.usefixtures("log")
async def test_put_back_by_a_person_on_every_load_balancer(world: World) -> None:
    await put_back(world, 0)
    await looked()
    assert KEY in world.record.left_drained
    assert world.record.seen_drained == {KEY: "host/9"}, "it says that it has seen it so"
    await put_back(world, 1)
    await until(lambda: not world.record.left_drained)


async def test_of_several_backends_it_must_be_back_in_all() -> None:
    async with World(1) as world:
        world.lbs[0] = FakeLoadBalancer("lb1", [FakeServer("web1")], more={"admin": [FakeServer("web1")]})
        world.instance()
        world.hosts.steps["switch"] = BROKEN
        await world.accept(traffic=True, haproxy={"backend": ["shop", "admin"]})
        await world.result()
        store = FakeStore(world.record, instance="host/9")
        watch = DrainedServers(store, FakeLoadBalancers(*world.lbs), log=Lines(), seconds=10)
        task = asyncio.create_task(watch.watch())
        await put_back(world, 0)
        await looked()
        assert KEY in world.record.left_drained
        await world.lbs[0].set_state("admin", "web1", AdminState.READY)
        await until(lambda: not world.record.left_drained)
        task.cancel()


@pytest.mark.usefixtures("log")
async def test_what_is_gone_from_haproxy_is_waited_for_no_more(world: World) -> None:
    for box in world.lbs:
        del box.by_name["web1"]
    await until(lambda: not world.record.left_drained)


async def test_what_cannot_be_read_stays_as_the_record_has_it(world: World, log: Lines) -> None:
    await put_back(world, 0, 1)
    world.lbs[1].away = True
    await looked()
    assert KEY in world.record.left_drained
    assert world.record.seen_drained == {}, "a look in vain is none"
    assert "lb2 does not answer" in log.of("debug")[0]
    world.record.away = True
    await looked()
    world.record.away, world.lbs[1].away = False, False
    await until(lambda: not world.record.left_drained)


@pytest.mark.usefixtures("log")
async def test_a_backend_that_is_gone_is_waited_for_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(_backend: str) -> None:
        raise FailedError(FailureCode.HAPROXY_UNKNOWN_SERVER, "no backend shop")

    for box in world.lbs:
        monkeypatch.setattr(box, "servers", unknown)
    await until(lambda: not world.record.left_drained)


async def test_a_bug_in_a_look_ends_nothing(world: World, log: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(world.lbs[0], "servers", None)
        await looked()
    assert "a bug while web1 was looked at in HAProxy" in log.of("exception")
    await put_back(world, 0, 1)
    await until(lambda: not world.record.left_drained)


async def test_the_next_deployment_that_succeeds_puts_it_back(world: World) -> None:
    """Found as the earlier one left it, it is healed (contract section 5)."""
    world.hosts.steps.clear()
    await world.accept("d2", traffic=True)
    assert (await world.result("d2"))["status"] == "succeeded"
    assert world.record.left_drained == {}


async def test_a_rollback_that_puts_it_back_leaves_nothing(world: World) -> None:
    await put_back(world, 0, 1)
    await world.accept("d2", traffic=True, rollout={"on_failure": "rollback"})
    assert (await world.result("d2"))["status"] == "rolled_back"
    assert world.record.left_drained == {}
