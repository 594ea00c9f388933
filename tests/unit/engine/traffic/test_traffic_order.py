"""The order in which a server leaves and comes back, and what becomes of it when something is in the way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from tests.fakes.left_before import nothing_before
from tests.fakes.loadbalancer import FakeLoadBalancer, FakeServer

from vesemir.domain.failure import FailedError, FailureCode, LeaseLostError
from vesemir.domain.request import TrafficRequest
from vesemir.domain.selector import HostSelector
from vesemir.domain.share import Share
from vesemir.domain.traffic import AdminState
from vesemir.engine.traffic import capacity, drain, watch, weights
from vesemir.engine.traffic.traffic import Traffic

NONE = Share(0)


class Sections:
    """One deployment at a time, by key. ``entered`` lists the keys."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self.entered: list[str] = []

    @asynccontextmanager
    async def __call__(self, key: str) -> AsyncIterator[None]:
        async with self._locks.setdefault(key, asyncio.Lock()):
            self.entered.append(key)
            await asyncio.sleep(0)
            yield


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake does not need time between two readings."""
    monkeypatch.setattr(capacity, "CAPACITY_POLL_SECONDS", 0.001)
    monkeypatch.setattr(weights, "STATE_POLL_SECONDS", 0.001)
    monkeypatch.setattr(weights, "CONFIRM_SECONDS", 0.05)
    monkeypatch.setattr(watch, "WATCH_SECONDS", 0.001)
    monkeypatch.setattr(drain, "STATE_POLL_SECONDS", 0.001)
    monkeypatch.setattr(drain, "SHUTDOWN_SECONDS", 0.05)


def moving(
    *boxes: FakeLoadBalancer,
    sections: Sections | None = None,
    ensure: Callable[[], None] = lambda: None,
    min_available: Share = NONE,
    capacity_seconds: float = 0.05,
    **asked: Any,
) -> Traffic:
    return Traffic(
        boxes,
        TrafficRequest(HostSelector(("lb1",)), ("shop",), "{name}", **asked),
        min_available=min_available,
        capacity_seconds=capacity_seconds,
        up_seconds=0.1,
        ensure=ensure,
        critical=sections or Sections(),
        before=nothing_before(),
    )


def box(*servers: FakeServer, name: str = "lb1") -> FakeLoadBalancer:
    return FakeLoadBalancer(name, servers or (FakeServer("web1"), FakeServer("web2")))


async def no_hold(_seconds: float, _percent: int) -> None:
    return


async def test_the_safe_order_command_by_command() -> None:
    """Drain, maint, drain again, weight before ready, 100 % last; the agent silent from first to last."""
    lb = box(FakeServer("web1", has_agent=True))
    traffic = moving(lb, weights=(5, 25))
    prior = await traffic.observe("web1")
    assert lb.told == []
    await traffic.take_out("web1", prior)
    await traffic.warm_up("web1", prior)
    await traffic.put_back("web1", prior, no_hold)
    assert lb.told == [
        "web1 agent off",
        "web1 state drain",
        "web1 state maint",
        "web1 state drain",
        "web1 weight 5%",
        "web1 state ready",
        "web1 weight 25%",
        "web1 weight 100%",
        "web1 agent on",
    ]


async def test_what_is_done_is_not_done_again_after_a_takeover() -> None:
    lb = box()
    first, second = moving(lb), moving(lb)
    prior = await first.observe("web1")
    await first.take_out("web1", prior)
    told = list(lb.told)
    await second.take_out("web1", prior)
    await second.assert_out("web1")
    assert lb.told == told


async def test_a_cancel_ends_a_drain_and_the_server_goes_back() -> None:
    web = FakeServer("web1", sessions=1)
    lb = box(web)
    traffic = moving(lb)
    prior = await traffic.observe("web1")
    leaving = asyncio.create_task(traffic.take_out("web1", prior))
    while web.admin is not AdminState.DRAIN:  # noqa: ASYNC110 - the fake's state, as HAProxy's, has no event
        await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert "as it was before (ready on lb1)" in await traffic.restore("web1", prior)
    assert web.admin is AdminState.READY


async def test_a_cancel_during_a_hold_leaves_it_to_be_drained() -> None:
    web = FakeServer("web1")
    lb = box(web)
    traffic = moving(lb, weights=(10,))
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    await traffic.warm_up("web1", prior)
    holding = asyncio.Event()

    async def hold(_seconds: float, _percent: int) -> None:
        holding.set()
        await asyncio.Event().wait()

    back = asyncio.create_task(traffic.put_back("web1", prior, hold))
    await holding.wait()
    back.cancel()
    with pytest.raises(asyncio.CancelledError):
        await back
    assert "left drained on lb1" in await traffic.leave_drained("web1")
    assert (web.admin, web.user_weight) == (AdminState.DRAIN, 100)


async def test_restoring_gives_back_weight_state_and_agent() -> None:
    web = FakeServer("web1", has_agent=True)
    lb = box(web)
    web.user_weight = 37
    traffic = moving(lb)
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    web.user_weight = 100
    await traffic.restore("web1", prior)
    assert (web.admin, web.user_weight, web.agent_enabled) == (AdminState.READY, 37, True)


async def test_restoring_does_not_show_up_what_was_down() -> None:
    web = FakeServer("web1", healthy=False)
    lb = box(web)
    web.health = 0
    traffic = moving(lb)
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    await traffic.restore("web1", prior)
    assert lb.told[-3:] == ["web1 state drain", "web1 health down", "web1 state ready"]
    assert (web.admin, web.status()) == (AdminState.READY, "DOWN")


async def test_one_box_away_does_not_keep_the_other_from_being_put_right() -> None:
    first, second = FakeServer("web1"), FakeServer("web1")
    one, two = box(first, name="lb1"), box(second, name="lb2")
    traffic = moving(one, two)
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    one.away = True
    with pytest.raises(FailedError) as caught:
        await traffic.restore("web1", prior)
    assert caught.value.failure.code is FailureCode.HAPROXY_UNREACHABLE
    assert second.admin is AdminState.READY
    said = await traffic.leave_drained("web1")
    assert said.startswith("its server web1 is left drained on lb2")
    assert "could not be drained on lb1" in said
    two.away = True
    assert "left drained" not in await traffic.leave_drained("web1")


async def test_mixed_prior_states_are_kept_box_by_box() -> None:
    """In maint on one load balancer by somebody else: ready again on the other only."""
    first, second = FakeServer("web1"), FakeServer("web1")
    one, two = box(first, name="lb1"), box(second, name="lb2")
    first.admin = AdminState.MAINT
    traffic = moving(one, two)
    prior = await traffic.observe("web1")
    assert not prior.drained_by_others
    await traffic.take_out("web1", prior)
    await traffic.warm_up("web1", prior)
    assert "was maint on lb1" in await traffic.put_back("web1", prior, no_hold)
    assert (first.admin, second.admin) == (AdminState.MAINT, AdminState.READY)
    assert one.told == []
    await traffic.leave_drained("web1", prior)
    assert (first.admin, second.admin) == (AdminState.MAINT, AdminState.DRAIN)


async def test_a_lost_lease_says_nothing_more_to_haproxy() -> None:
    web = FakeServer("web1", has_agent=True)
    lb = box(web)

    def lost() -> None:
        raise LeaseLostError("lost")

    traffic = moving(lb, ensure=lost, weights=(10,))
    prior = await traffic.observe("web1")
    web.user_weight = 50
    for work in (
        traffic.take_out("web1", prior),
        traffic.assert_out("web1"),
        traffic.warm_up("web1", prior),
        traffic.put_back("web1", prior, no_hold),
        traffic.restore("web1", prior),
        traffic.leave_drained("web1"),
    ):
        with pytest.raises(LeaseLostError):
            await work
    assert lb.told == []


async def test_capacity_is_waited_for_and_the_wait_is_told() -> None:
    other = FakeServer("web2", healthy=False)
    lb = box(FakeServer("web1"), other)
    other.health = 0
    traffic = moving(lb, min_available=Share(1), capacity_seconds=10)
    waits = 0

    @contextmanager
    def waiting() -> Iterator[None]:
        nonlocal waits
        waits += 1
        other.healthy = waits >= 3
        yield

    await traffic.take_out("web1", await traffic.observe("web1"), waiting=waiting)
    assert waits >= 3
    with pytest.raises(FailedError) as caught:
        await moving(lb, min_available=Share(1)).take_out("web2", await traffic.observe("web2"))
    assert caught.value.failure.code is FailureCode.HAPROXY_CAPACITY
    assert "only 0 servers of backend shop besides web2" in caught.value.failure.message


async def test_two_deployments_never_go_below_what_must_stay() -> None:
    """All ten ask at once, as two deployments over two load balancers named in another order."""
    names = [f"web{number}" for number in range(10)]
    fleets = [[FakeServer(name) for name in names] for _ in range(2)]
    one, two = FakeLoadBalancer("lb1", fleets[0]), FakeLoadBalancer("lb2", fleets[1])
    sections = Sections()
    asked: dict[str, Any] = {"sections": sections, "min_available": Share(60, percent=True)}
    deployments = [moving(one, two, **asked), moving(two, one, **asked)]

    async def leave(number: int, name: str) -> FailureCode | None:
        traffic = deployments[number % 2]
        try:
            await traffic.take_out(name, await traffic.observe(name))
        except FailedError as error:
            return error.failure.code
        return None

    left = await asyncio.gather(*(leave(number, name) for number, name in enumerate(names)))
    assert left.count(None) == 4
    assert left.count(FailureCode.HAPROXY_CAPACITY) == 6
    assert {server.admin for fleet in fleets for server in fleet} == {AdminState.READY, AdminState.MAINT}
    assert all(sum(server.admin is AdminState.READY for server in fleet) == 6 for fleet in fleets)
    assert set(sections.entered) == {"lb1/shop", "lb2/shop"}


async def test_a_server_that_goes_down_at_a_small_weight_does_not_get_all() -> None:
    web = FakeServer("web1")
    lb = box(web)
    traffic = moving(lb, weights=(10,))
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    await traffic.warm_up("web1", prior)

    async def hold(_seconds: float, _percent: int) -> None:
        web.healthy, web.health = False, 0

    with pytest.raises(FailedError, match="while it had 10 %") as caught:
        await traffic.put_back("web1", prior, hold)
    assert caught.value.failure.code is FailureCode.HAPROXY_NOT_UP
    assert "web1 weight 100%" not in lb.told


async def test_a_reload_before_the_steps_drains_again_without_asking_for_capacity() -> None:
    lb = box()
    traffic = moving(lb, min_available=Share(1))
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    lb.reload()
    lb.told.clear()
    await traffic.assert_out("web1")
    assert lb.told == ["web1 state drain", "web1 state maint"]


async def test_a_reload_while_it_warms_up_begins_again() -> None:
    lb = box(FakeServer("web1", fall=1))
    traffic = moving(lb)
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    await traffic.warm_up("web1", prior)
    lb.reload()
    lb.told.clear()
    assert "reloaded" in await traffic.put_back("web1", prior, no_hold)
    assert lb.told == ["web1 state maint", "web1 state drain", "web1 health down", "web1 state ready"]


async def test_checking_asks_every_load_balancer() -> None:
    one, two = box(name="lb1"), FakeLoadBalancer("lb2", [FakeServer("web1")])
    traffic = moving(one, two)
    await traffic.check(["web1"])
    with pytest.raises(FailedError, match=r"lb2 has no server web2 \(it has: web1\)"):
        await traffic.check(["web1", "web2"])


async def test_a_drain_that_takes_too_long_fails_or_ends_the_sessions() -> None:
    web = FakeServer("web1", sessions=2)
    lb = box(web)
    failing = moving(lb, drain_seconds=0.01)
    prior = await failing.observe("web1")
    with pytest.raises(FailedError, match="2 current, 0 queued on lb1") as caught:
        await failing.take_out("web1", prior)
    assert caught.value.failure.code is FailureCode.HAPROXY_DRAIN_TIMED_OUT
    assert web.admin is AdminState.DRAIN
    forcing = moving(lb, drain_seconds=0.01, on_drain_timeout="shutdown")
    assert "sessions ended by force: 2 current" in await forcing.take_out("web1", prior)
    assert (web.sessions, web.admin) == (0, AdminState.MAINT)


async def test_what_was_out_everywhere_is_neither_checked_nor_served() -> None:
    web = FakeServer("web1", healthy=False)
    lb = box(web)
    web.admin = AdminState.DRAIN
    traffic = moving(lb, weights=(10,))
    prior = await traffic.observe("web1")
    assert prior.drained_by_others
    assert "was drain on lb1" in await traffic.take_out("web1", prior)
    assert "HAProxy did not check it" in await traffic.warm_up("web1", prior)

    async def hold(_seconds: float, _percent: int) -> None:
        pytest.fail("nothing to hold")

    assert "left as it was" in await traffic.put_back("web1", prior, hold)
    assert web.admin is AdminState.DRAIN
    assert "web1 state ready" not in lb.told


async def test_an_application_that_died_passes_no_fresh_check() -> None:
    web = FakeServer("web1")
    lb = box(web)
    traffic = moving(lb)
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    web.healthy = False
    with pytest.raises(FailedError, match="passed no fresh check") as caught:
        await traffic.warm_up("web1", prior)
    assert caught.value.failure.code is FailureCode.HAPROXY_NOT_UP
    assert "web1 state ready" not in lb.told


async def test_a_check_that_comes_too_seldom_is_not_the_application_s_fault() -> None:
    """With ``inter 30s`` and a shorter deadline."""
    web = FakeServer("web1", interval_over=False, check_said="* L7OK Layer7 check passed")
    lb = box(web)
    traffic = moving(lb)
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    with pytest.raises(FailedError, match=r"the last check passed.*haproxy\.up_deadline_seconds") as caught:
        await traffic.warm_up("web1", prior)
    assert caught.value.failure.code is FailureCode.HAPROXY_NOT_UP
    assert "application's log" not in caught.value.failure.message


async def test_without_checks_the_recipe_decides_alone() -> None:
    web = FakeServer("web1", has_check=False)
    traffic = moving(box(web))
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    assert "the recipe's own health check decides alone" in await traffic.warm_up("web1", prior)
    await traffic.put_back("web1", prior, no_hold)
    assert web.admin is AdminState.READY


async def test_a_hash_is_asked_while_the_server_is_drained() -> None:
    lb = box()
    lb.algorithm = "source"
    traffic = moving(lb, weights=(10,))
    await traffic.take_out("web1", await traffic.observe("web1"))
    assert lb.told == ["web1 state drain", "web1 weight 10%", "web1 weight 100%", "web1 state maint"]


async def test_something_that_keeps_setting_it_ready_is_not_fought_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    web = FakeServer("web1")
    lb = box(web)
    told = lb.set_state

    async def undone(backend: str, server: str, state: AdminState) -> None:
        await told(backend, server, state)
        if state is AdminState.MAINT:
            web.admin = AdminState.READY

    monkeypatch.setattr(lb, "set_state", undone)
    traffic = moving(lb)
    with pytest.raises(FailedError, match="does not keep web1 in maint"):
        await traffic.take_out("web1", await traffic.observe("web1"))
