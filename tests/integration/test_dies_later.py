"""An application that answers its checks and dies later (cases dies-later), on a real HAProxy: the rollout sees it."""

import asyncio
from typing import Any

import pytest
from tests.integration.behind_haproxy import WorldBehindHaproxy
from tests.integration.haproxy_server import (
    Haproxies,
    HaproxyServer,
    TinyApp,
    address_of,
    eventually,
    haproxies,
)

from vesemir.domain.step import StepKey
from vesemir.engine.deployment import look_again
from vesemir.engine.ports.hosts import Ticket

__all__ = ["haproxies"]

LIVES_SECONDS = 2.0
"""From its start; the case has 4, and a shorter pause between the looks makes it the same."""


class DyingRelease(WorldBehindHaproxy):
    """``switch`` starts an application that dies."""

    def __init__(self, apps: dict[str, TinyApp], haproxy: HaproxyServer) -> None:
        super().__init__(apps, haproxy)
        self._apps = apps
        self._dying: list[asyncio.Task[None]] = []
        self.hosts.step_seconds = 0.05
        self.hosts.on_run = self._on_run

    def _on_run(self, target: str, key: StepKey, _ticket: Ticket) -> None:
        if key.step == "switch":
            self._dying.append(asyncio.create_task(self._die(self._apps[target])))

    async def _die(self, app: TinyApp) -> None:
        await asyncio.sleep(LIVES_SECONDS)
        await app.stop()


@pytest.mark.parametrize(
    "rollout",
    [{"concurrency": 1, "pause_seconds": 600}, {"canary": 1, "min_available": 1, "approve_after": "canary"}],
    ids=["pause", "canary"],
)
async def test_a_release_that_dies_after_its_checks_stops_at_the_first(
    haproxies: Haproxies, rollout: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server is left ready: HAProxy takes it back by itself once it answers again."""
    monkeypatch.setattr(look_again, "PAUSE_SECONDS", 1.0)
    monkeypatch.setattr(look_again, "AGAIN_SECONDS", 0.3)
    apps = await haproxies.apps(3)
    server = await haproxies.haproxy(address_of(apps))
    async with DyingRelease(apps, server) as world:
        world.instance()
        await world.accept(traffic=True, rollout={"min_healthy_seconds": 1, **rollout})
        result = await world.result()
        assert (result["status"], world.statuses()) == (
            "failed",
            {"web1": "failed", "web2": "skipped", "web3": "skipped"},
        )
        (event,) = world.told("target.regressed")
        assert "web1 was deployed and is not UP any more: HAProxy shows 'DOWN' (L4CON" in event["failure"]["message"]
        await apps["web1"].start()
        await eventually(lambda: all_up(server))


async def all_up(server: HaproxyServer) -> bool:
    shown = [line.split(",") for line in (await server.ask("show stat")).splitlines() if line.startswith("shop,web")]
    return [line[17] for line in shown] == ["UP"] * 3


async def test_one_that_goes_down_within_min_healthy_seconds_is_left_drained(haproxies: Haproxies) -> None:
    apps = await haproxies.apps(2)
    server = await haproxies.haproxy(address_of(apps))
    async with DyingRelease(apps, server) as world:
        world.instance()
        await world.accept(traffic=True, rollout={"min_healthy_seconds": 60})
        assert (await world.result())["status"] == "failed"
        failure = world.told("target.finished")[0]["failure"]
        assert failure["code"] == "haproxy.not_up"
        assert "its server web1 is left drained on lb1" in failure["message"]
