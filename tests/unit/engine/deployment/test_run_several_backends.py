"""A host that is a server of several backends is out of all of them before its first step (case two-backends)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.fakes.hosts import failed
from tests.fakes.loadbalancer import FakeLoadBalancer, FakeServer
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import DRAINED, READY, World

from vesemir.domain.names import Names
from vesemir.domain.permission import Permission
from vesemir.domain.policy import Policy
from vesemir.domain.states import TargetState
from vesemir.domain.step import Direction, StepKey
from vesemir.domain.traffic_place import Place
from vesemir.engine.ports.changes import RecordTraffic
from vesemir.engine.ports.hosts import Ticket

BOTH = {"backend": ["shop", "admin"]}
EVERY = {"backend": "*"}


@asynccontextmanager
async def two_backends(*, admin: int = 2, instances: int = 1) -> AsyncIterator[World]:
    """Two targets in backend shop, the first ``admin`` of them in backend admin too; search is somebody else's."""
    async with World(2) as world:
        more = {
            "admin": [FakeServer(f"web{number}") for number in range(1, admin + 1)],
            "search": [FakeServer("find1")],
        }
        world.lbs[0] = FakeLoadBalancer("lb1", [FakeServer("web1"), FakeServer("web2")], more=more)
        for _ in range(instances):
            world.instance()
        yield world


def shown(world: World, name: str) -> list[tuple[Any, int]]:
    """(state, weight) in every backend that has it."""
    backends = world.lbs[0].by_backend.values()
    return [(servers[name].admin, servers[name].user_weight) for servers in backends if name in servers]


@pytest.mark.parametrize("backends", [BOTH, EVERY])
async def test_out_in_all_before_the_first_step_and_in_in_all_after(backends: dict[str, Any]) -> None:
    async with two_backends() as world:
        during: list[tuple[str, list[str]]] = []

        def look(target: str, key: StepKey, _ticket: Ticket) -> None:
            during.append((key.step, [state.value for state, _ in shown(world, target)]))

        world.hosts.on_run = look
        await world.accept(traffic=True, haproxy=backends)
        assert (await world.result())["status"] == "succeeded"
        assert {tuple(states) for _, states in during} == {("maint", "maint")}
        assert shown(world, "web1") == shown(world, "web2") == [READY, READY]
        assert not any("find1" in each for each in world.lbs[0].told)


async def test_only_the_named_backend_is_touched() -> None:
    async with two_backends() as world:
        await world.accept(traffic=True)
        await world.result()
        assert not any(each.startswith("admin/") for each in world.lbs[0].told)


async def test_drained_in_none_as_long_as_one_lacks_capacity() -> None:
    async with two_backends() as world:
        world.lbs[0].by_backend["admin"]["web2"].healthy = False
        world.lbs[0].by_backend["admin"]["web2"].health = 0
        await world.accept(traffic=True, haproxy=BOTH, targets={"hosts": ["web1"]}, rollout={"min_available": 1})
        result = await world.result()
        (target,) = result["targets"]
        assert target["failure"]["code"] == "haproxy.capacity"
        assert "of backend admin besides web1" in target["failure"]["message"]
        assert world.lbs[0].told == []


@pytest.mark.parametrize("backends", [BOTH, EVERY])
async def test_failed_it_is_left_drained_in_all_and_kept_apart_from_what_old_instances_read(
    backends: dict[str, Any],
) -> None:
    async with two_backends() as world:
        world.hosts.steps["web1:switch"] = failed(1)
        await world.accept(traffic=True, haproxy=backends)
        result = await world.result()
        assert shown(world, "web1") == [DRAINED, DRAINED]
        message = next(each["failure"]["message"] for each in result["targets"] if each["name"] == "web1")
        assert "is left drained on lb1/" in message
        assert "lb1/shop" in message
        assert "lb1/admin" in message
        traffic = world.row().targets[Direction.FORWARD, "web1"].traffic
        assert traffic is not None
        assert set(traffic.places) == {Place("lb1", "shop"), Place("lb1", "admin")}
        assert set(traffic.as_json()["boxes"]) == {"lb1/shop", "lb1/admin"}


async def test_a_single_backend_is_recorded_as_every_version_reads_it() -> None:
    async with two_backends() as world:
        world.hosts.steps["web1:switch"] = failed(1)
        await world.accept(traffic=True)
        await world.result()
        traffic = world.row().targets[Direction.FORWARD, "web1"].traffic
        assert traffic is not None
        assert set(traffic.as_json()["boxes"]) == {"lb1"}


async def test_a_server_that_is_missing_in_a_named_backend() -> None:
    async with two_backends(admin=1) as world:
        await world.accept(traffic=True, haproxy=BOTH, rollout={"on_failure": "continue"})
        result = await world.result()
        assert world.statuses() == {"web1": "succeeded", "web2": "failed"}
        failure = next(each["failure"] for each in result["targets"] if each["name"] == "web2")
        assert failure["code"] == "haproxy.unknown_server"
        assert failure["message"].startswith("backend admin on lb1 has no server web2")


async def test_every_backend_is_that_of_each_target() -> None:
    async with two_backends(admin=1) as world:
        await world.accept(traffic=True, haproxy=EVERY)
        assert (await world.result())["status"] == "succeeded"
        assert world.row().backends == {"lb1": {"web1": ["admin", "shop"], "web2": ["shop"]}}


async def test_a_server_that_no_backend_has() -> None:
    async with two_backends() as world:
        for servers in world.lbs[0].by_backend.values():
            servers.pop("web2", None)
        await world.accept(traffic=True, haproxy=EVERY, rollout={"on_failure": "continue"})
        result = await world.result()
        assert world.statuses() == {"web1": "succeeded", "web2": "failed"}
        failure = next(each["failure"] for each in result["targets"] if each["name"] == "web2")
        assert failure["code"] == "haproxy.unknown_server"
        assert "no backend on lb1 had a server web2" in failure["message"]


@pytest.mark.parametrize("backends", [["shop", "admin"], "*"])
async def test_each_backend_must_be_allowed_before_anything_is_touched(backends: Any) -> None:
    async with two_backends() as world:
        world.rules.current = Policy((Permission("shop", backends=Names(("shop", "search"))),))
        await world.accept(traffic=True, haproxy={"backend": backends})
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "request.forbidden")
        assert "must be one of: shop, search" in result["failure"]["message"]
        assert world.lbs[0].told == world.hosts.calls == []


async def test_every_backend_that_is_found_and_allowed() -> None:
    async with two_backends() as world:
        world.rules.current = Policy((Permission("shop", backends=Names(("shop", "admin"))),))
        await world.accept(traffic=True, haproxy=EVERY)
        assert (await world.result())["status"] == "succeeded"


async def test_what_was_found_is_not_asked_again_after_a_takeover() -> None:
    """A backend that has the server since is not part of the deployment: nothing of it was counted or recorded."""
    async with two_backends() as world:
        first = world.instances[0].store
        first.dies_with, first.after_it = lambda change: isinstance(change, RecordTraffic), True
        await world.accept(traffic=True, haproxy=EVERY)
        await until(lambda: first.dead)
        world.lbs[0].by_backend["search"]["web1"] = FakeServer("web1")
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert world.state("web1") is TargetState.SUCCEEDED
        assert not any(each.startswith("search/") for each in world.lbs[0].told)
        assert shown(world, "web1") == [READY, READY, READY]


async def test_a_load_balancer_that_cannot_say_its_backends_ends_it_untouched() -> None:
    async with two_backends() as world:
        world.lbs[0].away = True
        await world.accept(traffic=True, haproxy=EVERY)
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "haproxy.unreachable")
        assert world.hosts.calls == []


async def test_a_dry_run_names_every_backend() -> None:
    async with two_backends(admin=1) as world:
        await world.accept(traffic=True, haproxy=EVERY, dry_run=True)
        plan = (await world.result())["plan"]
        assert [each["server"] for each in plan["targets"]] == ["admin/web1, shop/web1", "shop/web2"]
