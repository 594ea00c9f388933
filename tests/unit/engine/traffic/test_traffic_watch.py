"""What happens beside a wait: a reload that nobody announces, an application that dies, an operator who steps in."""

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from tests.fakes.left_before import nothing_before
from tests.fakes.loadbalancer import FakeLoadBalancer, FakeServer

from vesemir.domain.failure import FailedError, FailureCode, LeaseLostError
from vesemir.domain.request import TrafficRequest
from vesemir.domain.selector import HostSelector
from vesemir.domain.share import Share
from vesemir.domain.traffic import AdminState, HaproxyProcess
from vesemir.engine.traffic import drain, watch, weights
from vesemir.engine.traffic import traffic as engine_traffic
from vesemir.engine.traffic.traffic import Traffic
from vesemir.engine.traffic.watch import watched

READY = (AdminState.READY, 100)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake does not need time between two readings."""
    monkeypatch.setattr(weights, "STATE_POLL_SECONDS", 0.001)
    monkeypatch.setattr(weights, "CONFIRM_SECONDS", 0.05)
    monkeypatch.setattr(watch, "WATCH_SECONDS", 0.001)
    monkeypatch.setattr(drain, "STATE_POLL_SECONDS", 0.001)


def moving(*boxes: FakeLoadBalancer, ensure: Callable[[], None] = lambda: None, **asked: Any) -> Traffic:
    return Traffic(
        boxes,
        TrafficRequest(HostSelector(("lb1",)), ("shop",), "{name}", **asked),
        min_available=Share(0),
        capacity_seconds=1,
        up_seconds=0.1,
        ensure=ensure,
        critical=lambda _key: nullcontext(),  # type: ignore[arg-type, return-value]
        before=nothing_before(),
    )


def box(*servers: FakeServer, name: str = "lb1") -> FakeLoadBalancer:
    return FakeLoadBalancer(name, servers)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the fake's state, as HAProxy's, has no event
            await asyncio.sleep(0)


async def no_hold(_seconds: float, _percent: int) -> None:
    return


async def ready_to_serve(lb: FakeLoadBalancer, **asked: Any) -> tuple[Traffic, Any]:
    traffic = moving(lb, **asked)
    prior = await traffic.observe("web1")
    await traffic.take_out("web1", prior)
    await traffic.warm_up("web1", prior)
    return traffic, prior


async def test_a_reload_during_a_hold_is_answered_before_the_hold_ends() -> None:
    """Without a server-state file the new process gives the server all of its weight."""
    web = FakeServer("web1")
    lb = box(web)
    traffic, prior = await ready_to_serve(lb, weights=(10,))

    async def hold(_seconds: float, _percent: int) -> None:
        lb.reload()
        assert web.user_weight == 100
        await until(lambda: web.user_weight == 10)

    await traffic.put_back("web1", prior, hold)
    assert (web.admin, web.user_weight) == READY


async def test_a_reload_from_an_old_dump_leaves_nobody_drained_during_a_hold() -> None:
    """The state file was written while the server was out: the new process has it so, which nobody wanted."""
    web = FakeServer("web1")
    lb = box(web)
    traffic, prior = await ready_to_serve(lb, weights=(10, 50))

    async def hold(_seconds: float, percent: int) -> None:
        if percent == 50:
            lb.reload()
            web.admin = AdminState.MAINT
            await until(lambda: (web.admin, web.user_weight) == (AdminState.READY, 50))

    await traffic.put_back("web1", prior, hold)
    assert (web.admin, web.user_weight) == READY


async def test_two_targets_at_a_hold_both_notice_the_same_reload() -> None:
    webs = [FakeServer("web1"), FakeServer("web2")]
    lb = box(*webs)
    traffic = moving(lb, weights=(10,))
    priors = {web.name: await traffic.observe(web.name) for web in webs}
    reloaded = asyncio.Event()

    async def back(web: FakeServer) -> None:
        await traffic.take_out(web.name, priors[web.name])
        await traffic.warm_up(web.name, priors[web.name])

        async def hold(_seconds: float, _percent: int) -> None:
            await reloaded.wait()
            await until(lambda: web.user_weight == 10)

        await traffic.put_back(web.name, priors[web.name], hold)

    async with asyncio.TaskGroup() as group:
        for web in webs:
            group.create_task(back(web))
        await until(lambda: all((web.admin, web.user_weight) == (AdminState.READY, 10) for web in webs))
        lb.reload()
        reloaded.set()


async def test_an_application_that_dies_at_a_small_weight_ends_the_hold_at_once() -> None:
    web = FakeServer("web1")
    lb = box(web)
    traffic, prior = await ready_to_serve(lb, weights=(10,))

    async def hold(_seconds: float, _percent: int) -> None:
        web.healthy, web.health = False, 0
        await asyncio.Event().wait()

    async with asyncio.timeout(5):
        with pytest.raises(FailedError, match="while it had 10 %") as caught:
            await traffic.put_back("web1", prior, hold)
    assert caught.value.failure.code is FailureCode.HAPROXY_NOT_UP


async def test_who_is_taken_out_by_hand_during_a_hold_is_not_fought_over() -> None:
    """An operator who sets the canary to maint means it."""
    web = FakeServer("web1")
    lb = box(web)
    traffic, prior = await ready_to_serve(lb, weights=(10,))

    async def hold(_seconds: float, _percent: int) -> None:
        web.admin = AdminState.MAINT
        await asyncio.Event().wait()

    async with asyncio.timeout(5):
        with pytest.raises(FailedError, match="'MAINT' on lb1"):
            await traffic.put_back("web1", prior, hold)
    assert web.admin is AdminState.MAINT


async def test_a_load_balancer_that_is_away_for_a_moment_of_a_hold_is_asked_again() -> None:
    web = FakeServer("web1")
    lb = box(web)
    traffic, prior = await ready_to_serve(lb, weights=(10,))

    async def hold(_seconds: float, _percent: int) -> None:
        lb.away = True
        await asyncio.sleep(0.02)
        lb.away = False
        lb.reload()
        await until(lambda: web.user_weight == 10)

    await traffic.put_back("web1", prior, hold)


async def test_what_a_reload_puts_back_while_steps_run_is_out_again() -> None:
    webs = [FakeServer("web1", has_agent=True), FakeServer("web1", has_agent=True)]
    one, two = box(webs[0]), box(webs[1], name="lb2")
    traffic = moving(one, two)
    await traffic.take_out("web1", await traffic.observe("web1"))
    async with traffic.kept_out("web1"):
        one.away = True
        two.reload()
        assert webs[1].admin is AdminState.READY
        await until(lambda: webs[1].admin is AdminState.MAINT and not webs[1].agent_enabled)
        one.away = False
        one.reload()
        await until(lambda: webs[0].admin is AdminState.MAINT and not webs[0].agent_enabled)


async def test_a_lease_that_is_lost_while_steps_run_ends_them() -> None:
    lb = box(FakeServer("web1"))
    lost = False

    def ensure() -> None:
        if lost:
            raise LeaseLostError("lost")

    traffic = moving(lb, ensure=ensure)
    await traffic.take_out("web1", await traffic.observe("web1"))

    async def work() -> None:
        nonlocal lost
        async with asyncio.timeout(5), traffic.kept_out("web1"):
            lost = True
            lb.reload()
            await asyncio.Event().wait()

    with pytest.raises(LeaseLostError):
        await work()


async def test_what_ends_a_watched_block_is_raised_from_it_as_it_is() -> None:
    async def look() -> None:
        return

    with pytest.raises(FailedError, match="mine"):
        async with watched(look):
            raise FailedError(FailureCode.STEP_FAILED, "mine")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), watched(look):
            await asyncio.Event().wait()


async def test_sessions_of_the_process_that_a_reload_replaced_get_their_time() -> None:
    """The new process shows none of them: the server is idle there at once, and the old process may still serve."""
    web = FakeServer("web1", sessions=1)
    lb = box(web)
    traffic = moving(lb, drain_seconds=0.3)
    prior = await traffic.observe("web1")
    leaving = asyncio.create_task(traffic.take_out("web1", prior))
    await until(lambda: web.admin is AdminState.DRAIN)
    lb.reload()
    web.sessions = 0
    reloaded = time.monotonic()
    assert "its old process had time to finish" in await leaving
    assert time.monotonic() - reloaded >= 0.3
    assert web.admin is AdminState.MAINT


async def test_a_reload_that_an_earlier_owner_did_not_see_counts_from_the_takeover() -> None:
    web = FakeServer("web1")
    lb = box(web)
    prior = await moving(lb).observe("web1")
    lb.reload()
    began = time.monotonic()
    assert "its old process had time" in await moving(lb, drain_seconds=0.2).take_out("web1", prior)
    assert time.monotonic() - began >= 0.2


async def test_a_reload_long_ago_is_not_waited_for() -> None:
    webs = [FakeServer("web1"), FakeServer("web2")]
    lb = box(*webs)
    traffic = moving(lb, drain_seconds=0.05)
    await traffic.observe("web1")
    lb.reload()
    prior = await traffic.observe("web2")
    await asyncio.sleep(0.06)
    assert "old process" not in await traffic.take_out("web2", prior)


@pytest.mark.parametrize("weight", [50, 100])
async def test_a_dump_from_before_the_last_word_is_corrected(weight: int) -> None:
    """What the old process was told after its state was dumped is lost, and the target is done by then."""
    webs = [FakeServer("web1"), FakeServer("web2")]
    lb = box(*webs)
    traffic, prior = await ready_to_serve(lb, weights=(50,), drain_seconds=0.05)
    await traffic.put_back("web1", prior, no_hold)
    lb.reload(keep_state=True)
    webs[0].admin = AdminState.READY if weight == 50 else AdminState.MAINT
    webs[0].user_weight = weight
    await traffic.take_out("web2", await traffic.observe("web2"))
    assert (webs[0].admin, webs[0].user_weight) == READY


async def test_what_came_back_and_was_taken_out_again_is_not_looked_back_at() -> None:
    """A rollback, or a canary that regressed: neither is put into traffic by a reload."""
    webs = [FakeServer(f"web{number}") for number in (1, 2, 3)]
    lb = box(*webs)
    traffic = moving(lb)
    priors = {web.name: await traffic.observe(web.name) for web in webs}
    for web in webs:
        await traffic.take_out(web.name, priors[web.name])
        await traffic.warm_up(web.name, priors[web.name])
        await traffic.put_back(web.name, priors[web.name], no_hold)
    await traffic.take_out("web1", priors["web1"])
    await traffic.leave_drained("web2", priors["web2"])
    lb.reload(keep_state=True)
    webs[2].admin = AdminState.MAINT
    await traffic.look_back()
    assert [web.admin for web in webs] == [AdminState.MAINT, AdminState.DRAIN, AdminState.READY]


async def test_many_look_back_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_traffic, "STALE_SECONDS", 0.0)
    lb = box(FakeServer("web1"))
    traffic, prior = await ready_to_serve(lb)
    asked = lb.process

    async def slowly() -> HaproxyProcess:
        await asyncio.sleep(0.001)
        return await asked()

    monkeypatch.setattr(lb, "process", slowly)
    await traffic.put_back("web1", prior, no_hold)
    await asyncio.gather(*(traffic.look_back() for _ in range(3)))


async def test_who_takes_out_what_came_back_long_before_a_reload_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_traffic, "STALE_SECONDS", 0.02)
    web = FakeServer("web1")
    lb = box(web)
    traffic, prior = await ready_to_serve(lb)
    await traffic.put_back("web1", prior, no_hold)
    await asyncio.sleep(0.03)
    web.admin = AdminState.MAINT
    lb.reload(keep_state=True)
    await traffic.look_back()
    assert web.admin is AdminState.MAINT


async def test_who_takes_out_what_came_back_is_respected_without_a_reload() -> None:
    web = FakeServer("web1")
    traffic, prior = await ready_to_serve(box(web))
    await traffic.put_back("web1", prior, no_hold)
    web.admin = AdminState.MAINT
    await traffic.look_back()
    assert web.admin is AdminState.MAINT


async def test_what_was_out_before_the_reload_needs_no_time_again() -> None:
    lb = box(FakeServer("web1"))
    traffic = moving(lb, drain_seconds=30)
    await traffic.take_out("web1", await traffic.observe("web1"))
    lb.reload()
    async with asyncio.timeout(5):
        await traffic.assert_out("web1")
