"""A deployment is handed over by an instance that ends."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.fakes.hosts import HANGS, SUCCEEDED
from tests.unit.engine.deployment.situations import never, now, slow_inventory
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import World, one_instance, words

from vesemir.domain.recipe import Check, HttpCheck, Recipe, Step
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.template import Template
from vesemir.engine.ownership.scope import WAIT_SECONDS
from vesemir.engine.ports.hosts import HttpAnswer


async def test_what_is_in_work_finishes_and_the_rest_is_handed_over() -> None:
    async with one_instance(3) as world:
        await world.accept(traffic=True)
        await world.told_of("target.started")
        await world.instances[0].working.drain(20)
        assert world.row().owner is None
        assert world.state("web1") is TargetState.SUCCEEDED
        assert world.state("web2") is TargetState.PENDING
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert world.row().expiries == 0
        assert "handed over" in world.instances[0].log.of("info")


async def test_what_takes_too_long_is_left_for_the_next_owner() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["unpack"] = [HANGS, SUCCEEDED]
        world.hosts.step_seconds = 0
        await world.accept(traffic=True)
        await until(lambda: world.hosts.begun("web1", "unpack"))
        started = now()
        await world.instances[0].working.drain(20)
        assert now() - started == pytest.approx(20, abs=0.5)
        assert [event["step"] for event in world.told("step.finished")] == ["drain"]
        world.instance()
        assert (await world.result())["status"] == "succeeded"


async def test_a_check_does_not_keep_a_hand_over_waiting_for_it_may_wait_for_this_very_instance() -> None:
    """Vesemir deploys Vesemir: the new version answers only when the old instance, which asks, has ended."""
    page = "http://127.0.0.1:8080/health"
    check = Check(HttpCheck(Template.parse(page)), deadline=300)
    recipe = Recipe("itself", steps=(Step("restart", words("restart")), Step("check", check)))
    async with one_instance(1, recipes=[recipe]) as world:
        await world.accept(recipe="itself", traffic=True)
        await until(lambda: bool(world.hosts.ran("restart")) and _asked_for(world, page))
        started = now()
        await world.instances[0].working.drain(20)
        assert now() - started <= WAIT_SECONDS + 0.5
        assert world.row().finished_at is None
        world.hosts.pages[page] = HttpAnswer(200, b"{}")
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert world.hosts.ran("restart") == ["web1"]
        assert world.row().expiries == 0


async def test_a_check_that_passes_soon_is_not_cut_short_by_a_hand_over() -> None:
    page = "http://127.0.0.1:8080/health"
    recipe = Recipe("itself", steps=(Step("check", Check(HttpCheck(Template.parse(page)), interval=0.25)),))
    async with one_instance(1, recipes=[recipe]) as world:
        await world.accept(recipe="itself", traffic=True)
        await until(lambda: _asked_for(world, page))
        draining = asyncio.create_task(world.instances[0].working.drain(20))
        await asyncio.sleep(WAIT_SECONDS / 2)
        world.hosts.pages[page] = HttpAnswer(200, b"{}")
        await draining
        assert world.state("web1") is TargetState.SUCCEEDED


def _asked_for(world: World, page: str) -> bool:
    return any(call.what == "http_get" and call.step == page for call in world.hosts.calls)


async def test_a_hand_over_while_hosts_are_looked_up() -> None:
    async with World(1) as world:
        looking = slow_inventory(world, 50)
        first = world.instance()
        await world.accept()
        await until(looking.is_set)
        await first.working.drain(20)
        assert (now() < 1, world.row().owner) == (True, None)


async def test_a_paused_deployment_is_handed_over_at_once() -> None:
    async with one_instance(1) as world:
        await world.accept()
        await world.control("pause")
        await world.told_of("deployment.paused")
        started = now()
        await world.instances[0].working.drain(20)
        assert now() - started < 1
        assert world.row().state is DeploymentState.PAUSED


async def test_told_to_leave_before_the_first_target_it_leaves() -> None:
    """The load balancer takes its time, and the next stage of stopping has begun meanwhile."""
    async with one_instance(1) as world:
        lb = world.lbs[0]
        plain, asked = lb.servers, asyncio.Event()

        async def servers(backend: str) -> Mapping[str, Any]:
            asked.set()
            await asyncio.sleep(8)
            return await plain(backend)

        lb.servers = servers  # type: ignore[method-assign]
        await world.accept(traffic=True)
        await asked.wait()
        await world.instances[0].working.drain(2)
        assert world.names() == ["deployment.accepted", "deployment.started"]
        assert world.row().owner is None


async def test_told_to_leave_before_it_took_over_it_leaves() -> None:
    async with one_instance(1) as world:
        world.hosts.step_seconds = 50
        await world.accept(traffic=True)
        await until(lambda: world.hosts.begun("web1", "unpack"))
        world.instances[0].kill()
        second = world.instance()
        plain, asked = second.store.load, asyncio.Event()

        async def load(name: str) -> Any:
            asked.set()
            await asyncio.sleep(5)
            return await plain(name)

        second.store.load = load  # type: ignore[method-assign]
        await asked.wait()
        await second.working.drain(1)
        assert [event["step"] for event in world.told("step.finished")] == ["drain"]
        assert (world.row().owner, world.hosts.running) == (None, 0)


async def test_a_bug_in_a_dry_run_is_said_to_be_one() -> None:
    async with one_instance(1) as world:
        world.hosts.login = lambda _target: 1 / 0  # type: ignore[assignment,method-assign,return-value]
        await world.accept(dry_run=True)
        await until(lambda: world.instances[0].log.of("exception"))


async def test_a_dry_run_that_is_claimed_while_its_instance_ends_is_handed_over() -> None:
    async with one_instance(1) as world:
        world.hosts.login = never  # type: ignore[assignment,method-assign]
        await world.accept(dry_run=True)
        await world.told_of("deployment.started")
        world.instances[0].kill()
        second = world.instance()
        plain, asked = second.store.load, asyncio.Event()

        async def load(name: str) -> Any:
            asked.set()
            await asyncio.sleep(5)
            return await plain(name)

        second.store.load = load  # type: ignore[method-assign]
        await asked.wait()
        await second.working.drain(20)
        assert world.row().owner is None


async def test_a_deployment_that_ends_while_it_is_handed_over_has_ended() -> None:
    async with one_instance(1) as world:
        await world.accept()
        await world.told_of("target.started")
        await world.instances[0].working.drain(20)
        assert (await world.result())["status"] == "succeeded"
