"""A deployment on its way back: a rollback, its order, its failures and its takeovers."""

import pytest
from tests.fakes.hosts import HANGS, SUCCEEDED, failed
from tests.unit.engine.deployment.situations import BACK, UNREACHABLE, now
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import DRAINED, READY, one_instance

from vesemir.domain.names import Names
from vesemir.domain.permission import PermissionScope
from vesemir.domain.policy import Limit, Policy
from vesemir.engine.ports.changes import AddTargets
from vesemir.engine.ports.store import ControlAnswer


async def test_every_changed_target_is_brought_back() -> None:
    async with one_instance(4) as world:
        world.hosts.steps["web2:verify"] = failed(1)
        await world.accept(traffic=True, rollout=BACK)
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("rolled_back", "rollout.too_many_failures")
        assert list(world.statuses().values()) == ["rolled_back", "rolled_back", "skipped", "skipped"]
        assert world.hosts.ran("switch-back") == ["web2", "web1"]
        assert [world.shown(target.name) for target in world.targets] == [[READY]] * 4
        assert world.told("deployment.rolling_back")[0]["failure"]["code"] == "rollout.too_many_failures"


async def test_a_rollback_of_nothing_is_done_at_once() -> None:
    async with one_instance(2) as world:
        world.hosts.unreachable["web1"] = UNREACHABLE
        await world.accept(rollout=BACK)
        assert (await world.result())["status"] == "rolled_back"
        assert world.statuses() == {"web1": "unreachable", "web2": "skipped"}


async def test_a_rollback_that_fails_says_which_target_stands_where() -> None:
    async with one_instance(3) as world:
        world.hosts.steps |= {"web2:verify": failed(1), "web1:switch-back": failed(1, b"no old release")}
        await world.accept(traffic=True, rollout=BACK)
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "deployment.rollback_failed")
        assert "web1 is failed: step switch-back failed on web1" in result["failure"]["message"]
        assert "left drained" in result["failure"]["message"]
        assert "on the release before again: web2; never changed: web3" in result["failure"]["message"]
        assert "(rolled back because: 1 of 3" in result["failure"]["message"]
        assert world.statuses() == {"web1": "failed", "web2": "rolled_back", "web3": "skipped"}
        assert world.shown("web1") == [DRAINED]


async def test_a_rollback_that_fails_names_every_target_however_many() -> None:
    async with one_instance(14) as world:
        world.hosts.steps |= {"web13:verify": failed(1), "switch-back": failed(1)}
        world.hosts.steps["web1:switch-back"] = SUCCEEDED
        await world.accept(rollout=BACK)
        message = (await world.result())["failure"]["message"]
        named = [f"web{number}" for number in range(2, 14)]
        assert f"{', '.join(named)} are failed (step.failed), the first because: step switch-back failed" in message
        assert "on the release before again: web1; never changed: web14" in message


async def test_a_rollback_that_is_cancelled_says_which_target_stands_where() -> None:
    async with one_instance(4) as world:
        world.hosts.steps |= {"web3:verify": failed(1), "web1:switch-back": HANGS}
        await world.accept(traffic=True, rollout=BACK)
        await until(lambda: world.hosts.begun("web1", "switch-back"))
        await world.control("cancel")
        message = (await world.result())["failure"]["message"]
        assert message.startswith("the deployment was cancelled, as asked; web1 is cancelled: ")
        assert "not brought back, still on 2.0.0: web2" in message
        assert "on the release before again: web3; never changed: web4" in message


async def test_a_rollback_that_did_not_come_to_all_says_how_the_others_were_left() -> None:
    async with one_instance(3) as world:
        world.hosts.steps |= {"verify": failed(1), "web1:switch-back": HANGS}
        await world.accept(rollout={**BACK, "max_failures": 1})
        await until(lambda: world.hosts.begun("web1", "switch-back"))
        await world.control("cancel")
        message = (await world.result())["failure"]["message"]
        assert "not begun, left as the way forward left them (see their failures): web2; never changed: web3" in message


async def test_a_rollback_from_a_pause() -> None:
    async with one_instance(2) as world:
        world.hosts.steps["verify"] = failed(1)
        await world.accept(rollout=BACK)
        await world.told_of("target.started")
        await world.control("pause")
        assert (await world.result())["status"] == "rolled_back"


async def test_a_rollback_has_the_deployments_time_again() -> None:
    async with one_instance(2) as world:
        world.hosts.steps |= {"web2:switch": HANGS, "switch-back": HANGS}
        await world.accept(rollout=BACK, timeouts={"deployment": 100, "step": 80})
        result = await world.result()
        assert result["status"] == "timed_out"
        assert 180 < now() < 195


async def test_a_rollback_is_cancelled_and_cannot_be_paused() -> None:
    async with one_instance(2) as world:
        world.hosts.steps |= {"web2:switch": failed(1), "switch-back": HANGS}
        await world.accept(traffic=True, rollout=BACK)
        await until(lambda: world.hosts.begun("web2", "switch-back"))
        assert await world.control("pause") is ControlAnswer.NOT_RUNNING
        await world.control("cancel")
        assert (await world.result())["status"] == "cancelled"
        assert [world.shown("web1"), world.shown("web2")] == [[READY], [DRAINED]]


@pytest.mark.parametrize("commits", range(1, 10))
async def test_a_rollback_is_finished_by_another_instance(commits: int) -> None:
    async with one_instance(2) as world:
        store = world.instances[0].store
        world.hosts.steps["web2:verify"] = failed(1)

        def begins(change: object) -> bool:
            if isinstance(change, AddTargets):
                store.dies_at = commits
            return False

        store.dies_with = begins
        await world.accept(traffic=True, rollout=BACK)
        await until(lambda: store.dead)
        world.instance()
        assert (await world.result())["status"] == "rolled_back"
        assert sorted(world.hosts.ran("switch-back")) == ["web1", "web2"]
        assert [world.shown("web1"), world.shown("web2")] == [[READY], [READY]]


async def test_a_rollback_needs_no_approval() -> None:
    """It goes to the release that was trusted before, and nobody may be there to approve it."""
    async with one_instance(3) as world:
        world.hosts.steps["web2:verify"] = failed(1)
        await world.accept(rollout={**BACK, "approve_after": "batch"})
        await world.told_of("deployment.paused")
        await world.control("resume")
        assert (await world.result())["status"] == "rolled_back"
        assert list(world.statuses().values()) == ["rolled_back", "rolled_back", "skipped"]
        assert len(world.told("deployment.paused")) == 1


async def test_what_is_out_of_traffic_is_brought_back_first() -> None:
    """Those that still serve cannot be taken out before: nobody else would be up (``min_available``)."""
    async with one_instance(2) as world:
        world.hosts.steps["web2:verify"] = failed(1)
        await world.accept(traffic=True, rollout={**BACK, "min_available": 1})
        assert (await world.result())["status"] == "rolled_back"
        assert world.hosts.ran("switch-back") == ["web2", "web1"]
        assert now() < 60
        assert [world.shown("web1"), world.shown("web2")] == [[READY], [READY]]


async def test_a_rollback_keeps_concurrency_and_pauses() -> None:
    async with one_instance(5) as world:
        world.hosts.steps["web5:verify"] = failed(1)
        await world.accept(rollout={**BACK, "concurrency": 2, "pause_seconds": 100})
        await world.told_of("deployment.rolling_back")
        began, world.hosts.most_running = now(), 0
        assert (await world.result())["status"] == "rolled_back"
        assert world.hosts.most_running == 2
        assert 200 < now() - began < 220
        back = [event["target"] for event in world.told("target.started") if event["direction"] == "back"]
        assert back == ["web5", "web1", "web2", "web3", "web4"]


@pytest.mark.parametrize("commits", range(1, 10))
async def test_a_takeover_in_a_rollback_touches_nothing_that_was_not_changed(commits: int) -> None:
    async with one_instance(4) as world:
        store = world.instances[0].store
        world.hosts.steps["web3:verify"] = failed(1)

        def begins(change: object) -> bool:
            if isinstance(change, AddTargets):
                store.dies_at = commits
            return False

        store.dies_with = begins
        await world.accept(traffic=True, rollout={**BACK, "min_available": 2, "pause_seconds": 1})
        await until(lambda: store.dead)
        world.instance()
        assert (await world.result())["status"] == "rolled_back"
        assert sorted(world.hosts.ran("switch-back")) == ["web1", "web2", "web3"]
        assert world.statuses()["web4"] == "skipped"
        assert not [line for lb in world.lbs for line in lb.told if "web4" in str(line)]
        assert [world.shown(target.name) for target in world.targets] == [[READY]] * 4


LOCKS = Policy(limits=(Limit("production", lock_after_rollback=True),), digest="d" * 64)


async def test_a_rollout_that_went_back_locks_its_lane_where_the_policy_says_so() -> None:
    async with one_instance(4) as world:
        world.rules.current = LOCKS
        world.hosts.steps["web2:verify"] = failed(1)
        await world.accept(rollout=BACK)
        assert (await world.result())["status"] == "rolled_back"
        lock = world.record.lock_of("shop/production")
        assert lock is not None
        assert (lock.by, lock.until, lock.identity) == ("Vesemir after d1", None, None)
        assert lock.reason == "d1 (2.0.0) was rolled back; unlock the lane when the cause is known"
        row = world.record.audit[-1].entry
        told = ("kind", "outcome", "command", "deployment_id", "way", "rule", "policy")
        assert [row[name] for name in told] == [
            "lock", "accepted", "lock", "d1", "instance", "limit production: lock_after_rollback", "d" * 64
        ]  # fmt: skip


async def test_one_that_failed_or_was_cancelled_on_its_way_back_locks_it_too() -> None:
    async with one_instance(3) as world:
        world.rules.current = LOCKS
        world.hosts.steps |= {"web2:verify": failed(1), "web1:switch-back": failed(1, b"no old release")}
        await world.accept(rollout=BACK)
        await world.result()
        lock = world.record.lock_of("shop/production")
        assert lock is not None
        assert lock.reason.startswith("d1 (2.0.0) failed on its way back; ")


@pytest.mark.parametrize(
    ("policy", "rollout"),
    [
        (Policy(), BACK),
        (Policy(limits=(Limit("some", PermissionScope(Names(("search",))), lock_after_rollback=True),)), BACK),
        (LOCKS, {}),
    ],
)
async def test_nothing_else_locks_it(policy: Policy, rollout: dict[str, str]) -> None:
    """No such limit, one for others, or a rollout that failed and did not go back."""
    async with one_instance(2) as world:
        world.rules.current = policy
        world.hosts.steps["web2:verify"] = failed(1)
        await world.accept(rollout=rollout)
        await world.result()
        assert world.record.locks == {}
