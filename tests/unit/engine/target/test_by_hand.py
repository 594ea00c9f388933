"""Servers that a person orders into traffic or out of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from tests.fakes.hosts import HANGS, SUCCEEDED, failed
from tests.fakes.loadbalancer import FakeLoadBalancers
from tests.fakes.server_orders import FakeServerOrders
from tests.fakes.store import FakeStore
from tests.unit.engine.world import CAPS, DRAINED, LIMITS, READY, World, one_instance

from vesemir.contract import stored_request
from vesemir.domain.failure import FailedError
from vesemir.domain.identity import Asker
from vesemir.domain.traffic import AdminState
from vesemir.engine.ports.server_orders import ServerCommand
from vesemir.engine.traffic.by_hand import AskedServer, ServersByHand

LANE = "shop/production"
WEB1 = AskedServer(LANE, "web1", "anna@host", "disk full", Asker(claimed="anna@host", way="record"))


def by_hand(world: World) -> ServersByHand:
    store = FakeStore(world.record, instance="cli/anna")
    return ServersByHand(
        store,
        FakeServerOrders(store),
        FakeLoadBalancers(*world.lbs),
        limits=LIMITS,
        read_request=partial(stored_request, caps=CAPS),
        log=world.instances[0].log,
    )


@asynccontextmanager
async def deployed(*, fails: bool = False, targets: int = 2, **more: object) -> AsyncIterator[World]:
    """A world in which ``d1`` has ended."""
    async with one_instance(targets, **more) as world:
        if fails:
            world.hosts.steps["switch"] = failed(1, b"does not start\n")
        await world.accept(traffic=True, rollout={"on_failure": "continue", "max_failures": 9})
        await world.result()
        world.hosts.steps["switch"] = SUCCEEDED
        yield world


async def test_ready_puts_back_what_a_deployment_left_drained() -> None:
    async with deployed(fails=True, balancers=2) as world:
        server = world.server("web1")
        assert world.shown("web1") == [DRAINED, DRAINED]
        said = await by_hand(world).ready(WEB1)
        assert "ready at 100 % on lb1, lb2" in said
        assert world.shown("web1") == [READY, READY]
        assert server.health == server.top
        assert (LANE, "web1") not in world.record.left_drained
        (order,) = world.record.orders
        assert (order.command, order.requested_by, order.reason) == (ServerCommand.READY, "anna@host", "disk full")


async def test_ready_needs_a_fresh_passed_check() -> None:
    async with deployed(fails=True) as world:
        world.server("web1").healthy = False
        with pytest.raises(FailedError, match="passed no fresh check") as error:
            await by_hand(world).ready(WEB1)
        assert error.value.failure.code == "haproxy.not_up"
        assert world.shown("web1")[0][0] is not AdminState.READY
        assert (LANE, "web1") in world.record.left_drained


async def test_ready_leaves_alone_what_somebody_else_took_out() -> None:
    async with deployed() as world:
        world.server("web1").admin = AdminState.MAINT
        with pytest.raises(FailedError, match=r"is out of traffic \(maint on lb1\), and the record has no deployment"):
            await by_hand(world).ready(WEB1)
        assert world.shown("web1") == [(AdminState.MAINT, 100)]


async def test_ready_of_a_server_in_traffic_changes_nothing() -> None:
    async with deployed() as world:
        assert await by_hand(world).ready(WEB1) == "is in traffic already: nothing was changed"
        assert world.shown("web1") == [READY]


async def test_drain_until_ready_with_the_agent_as_before() -> None:
    async with deployed() as world:
        server = world.server("web1")
        server.has_agent = server.agent_enabled = True
        said = await by_hand(world).drain(WEB1)
        ready = "vesemir ready web1 --application shop --environment production"
        assert said == f"is drained, agent checks off, until `{ready}`"
        assert (world.shown("web1"), server.agent_enabled) == ([DRAINED], False)

        await world.accept("d2", traffic=True, rollout={"max_failures": 9})
        result = await world.result("d2")
        assert [(each["status"], each["in_traffic"]) for each in result["targets"]] == [
            ("succeeded", False),
            ("succeeded", True),
        ]
        assert world.shown("web1") == [DRAINED], "a deployment leaves it so"

        await by_hand(world).ready(WEB1)
        assert (world.shown("web1"), server.agent_enabled) == ([READY], True)


async def test_the_last_server_is_not_drained() -> None:
    async with deployed() as world:
        world.server("web2").healthy = False
        for _ in range(3):
            world.server("web2").check()
        with pytest.raises(FailedError) as error:
            await by_hand(world).drain(WEB1)
        assert error.value.failure.code == "haproxy.capacity"
        assert world.shown("web1") == [READY]


@pytest.mark.parametrize("command", ["ready", "drain"])
async def test_a_target_in_work_is_its_deployments(command: str) -> None:
    async with deployed() as world:
        world.hosts.steps["switch"] = HANGS
        await world.accept("d2", traffic=True)
        await world.told_of("target.started", "d2")
        with pytest.raises(FailedError, match="deployment d2 works on web1 now") as error:
            await getattr(by_hand(world), command)(WEB1)
        assert error.value.failure.code == "target.busy"
        await world.control("cancel", "d2")
        await world.result("d2")


async def test_a_host_that_no_deployment_had_is_not_known() -> None:
    async with deployed() as world:
        with pytest.raises(FailedError, match="it is not known where its server stands") as error:
            await by_hand(world).drain(AskedServer(LANE, "web9", "anna", "why"))
        assert error.value.failure.code == "targets.unknown_host"


async def test_what_is_ordered_and_what_is_refused_is_in_the_audit() -> None:
    async with deployed() as world:
        await by_hand(world).drain(WEB1)
        world.server("web1").healthy = False
        with pytest.raises(FailedError, match="passed no fresh check") as error:
            await by_hand(world).ready(WEB1)
        drained, refused = (row.entry for row in world.record.audit if row.entry["target"] == "web1")
        assert (drained["kind"], drained["command"], drained["outcome"]) == ("control", "drain", "accepted")
        assert (drained["application"], drained["environment"], drained["deployment_id"]) == (
            "shop",
            "production",
            "d1",
        )
        assert (drained["claimed"], drained["way"], drained["reason"]) == ("anna@host", "record", "disk full")
        assert (refused["command"], refused["outcome"]) == ("ready", "haproxy.not_up")
        assert refused["rule"] == error.value.failure.message
