"""A deployment from its claim to its one result: rollouts, control, dry runs, rollbacks, hand-overs, giving up."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.hosts import HANGS, SUCCEEDED, failed
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import DRAINED, ONE_STEP, READY, RELEASE, Instance, World, one_instance, words

from vesemir.adapters.sealing import RecordSeal
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.recipe import Check, Fetch, HttpCheck, Parameter, Recipe, Script, Step, Variable
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.domain.template import Template
from vesemir.engine.deployment.worker import CLAIM_SECONDS
from vesemir.engine.ownership.scope import WAIT_SECONDS
from vesemir.engine.ports.changes import AddTargets, Emit, MoveDeployment, MoveTarget, Start
from vesemir.engine.ports.hosts import HttpAnswer, Ticket
from vesemir.engine.ports.store import ControlAnswer

UNREACHABLE = FailedError(FailureCode.SSH_UNREACHABLE, "no route to host")


def now() -> float:
    return asyncio.get_running_loop().time()


# --- what is found out before the first target ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"targets": {"inventory": {"groups": ["empty"]}}}, "targets.none_found"),
        ({"rollout": {"min_targets": 9}}, "targets.too_few"),
        ({"targets": {"hosts": ["web9"]}}, "targets.unknown_host"),
        ({"recipe": "zoned"}, "request.invalid_parameters"),
        ({"recipe": "gone"}, "request.unknown_recipe"),
    ],
)
async def test_what_only_the_run_can_tell_fails_the_deployment(more: dict[str, Any], code: str) -> None:
    zoned = Recipe("zoned", variables={"rack": Variable("rack")}, steps=ONE_STEP.steps)
    async with one_instance(3, recipes=(RELEASE, zoned)) as world:
        await world.accept(**more)
        result = await world.result()
        assert (result["status"], result["failure"]["code"], result["targets"]) == ("failed", code, [])
        assert world.names() == ["deployment.accepted", "deployment.finished"]
        assert world.hosts.calls == []


async def test_more_hosts_than_allowed_are_refused() -> None:
    async with World(3) as world:
        world.instance(targets=2)
        await world.accept()
        assert (await world.result())["failure"]["code"] == "request.forbidden"


async def test_a_weight_that_rounds_to_nothing_is_refused_before_anything_starts() -> None:
    async with one_instance(2) as world:
        world.server("web2").configured_weight = 5
        await world.accept(traffic=True, haproxy={"weight": 10})
        result = await world.result()
        assert result["failure"]["code"] == "haproxy.weight_rounds_to_zero"
        assert world.statuses() == {"web1": "skipped", "web2": "skipped"}
        assert world.lbs[0].told == []


async def test_another_trouble_with_a_server_is_that_targets_own() -> None:
    async with one_instance(2) as world:
        del world.lbs[0]._by_name["web2"]
        await world.accept(traffic=True, rollout={"on_failure": "continue"})
        await world.result()
        assert world.statuses() == {"web1": "succeeded", "web2": "failed"}


async def test_secrets_do_not_show() -> None:
    recipe = Recipe(
        "hush", parameters={"key": Parameter("key", secret=True)}, steps=(Step("a", RELEASE.steps[0].work),)
    )
    async with one_instance(1, recipes=(recipe,)) as world:
        world.hosts.steps["a"] = failed(1, b"wrong key s3cret!\n")
        await world.accept(recipe="hush", parameters={"key": "s3cret!"})
        await world.result()
        assert "s3cret!" not in str(world.events())
        assert "wrong key" in str(world.events())


HUSH = Recipe(
    "hush",
    parameters={"key": Parameter("key", secret=True)},
    steps=(Step("a", Script("a"), environment={"DB_PASSWORD": Template.parse("from-the-recipe")}),),
)


async def test_sealed_secrets_reach_the_host_and_nobody_else() -> None:
    async with World(1, recipes=(HUSH,)) as world:
        world.seal = RecordSeal(["k" * 32])
        world.hosts.steps["a"] = failed(1, b"no such key: s3cret!!, password from-the-recipe\n")
        instance = world.instance()
        await world.accept(recipe="hush", parameters={"key": "•••"}, sealed=world.seal.close("d1", {"key": "s3cret!!"}))
        result = await world.result()
        (command,) = [call.command for call in world.hosts.calls if call.command]
        assert command.environment["PARAM_KEY"] == "s3cret!!"
        assert result["targets"][0]["failure"]["message"].endswith("last line: no such key: •••, password •••")
        for secret in ("s3cret!!", "from-the-recipe"):
            assert secret not in str(world.events())
            assert secret not in str(world.row().steps)
        assert instance.log.of("exception") == []


@pytest.mark.parametrize("key", [None, "o" * 32])
async def test_an_instance_that_cannot_open_them_says_so(key: str | None) -> None:
    async with World(1, recipes=(HUSH,)) as world:
        world.seal = None if key is None else RecordSeal([key])
        world.instance()
        sealed = RecordSeal(["k" * 32]).close("d1", {"key": "s3cret!!"})
        await world.accept(recipe="hush", parameters={"key": "•••"}, sealed=sealed)
        failure = (await world.result())["failure"]
        assert failure["code"] == "request.secrets_unreadable"
        assert "secrets.key_file" in failure["message"]
        assert world.hosts.calls == []


async def test_a_secret_at_a_wrong_place_does_not_show_in_what_stands_in_the_way() -> None:
    """A checksum that is none is repeated in the message, as any value is."""
    fetch = Fetch(Template.parse("https://host/a"), Template.parse("{key}"), Template.parse("/srv/a"))
    recipe = Recipe("odd", parameters={"key": Parameter("key", secret=True)}, steps=(Step("get", fetch),))
    async with one_instance(1, recipes=(recipe,)) as world:
        await world.accept(recipe="odd", parameters={"key": "s3cret!!"})
        result = await world.result()
        assert "must be 64 hexadecimal digits, not '•••'" in result["failure"]["message"]
        assert "s3cret" not in str(world.events())


@pytest.mark.parametrize(
    ("recipe", "kept"),
    [
        (Recipe("r", steps=(Step("a", Script("a"), environment={"LANG": Template.parse("C.UTF-8")}),)), True),
        (Recipe("r", steps=(Step("a", Script("a"), environment={"TOKEN": Template.parse("{version}")}),)), True),
        (Recipe("r", steps=(Step("a", Script("a"), environment={"TOKEN": Template.parse("hunter22")}),)), False),
        (
            Recipe("r", parameters={"key": Parameter("key", default="hunter22", secret=True)}, steps=ONE_STEP.steps),
            False,
        ),
    ],
)
async def test_a_recipe_with_a_secret_in_its_text_is_not_recorded(recipe: Recipe, *, kept: bool) -> None:
    async with one_instance(1, recipes=(replace(recipe, source="its text"),)) as world:
        await world.accept(recipe="r")
        await world.result()
        assert world.row().recipe_source == ("its text" if kept else None)


async def test_of_the_inventory_only_what_the_recipe_reads_is_recorded() -> None:
    recipe = Recipe("reads", variables={"root": Variable("root")}, steps=ONE_STEP.steps)
    async with one_instance(1, recipes=(recipe,)) as world:
        own = {"vesemir_state_dir": "/v", "vesemir_supervisor": "/s"}
        known = {"root": "/srv", "zone": "a", "ansible_password": "hunter22", **own}
        world.inventory._targets["web1"] = replace(world.targets[0], variables=known)
        await world.accept(recipe="reads", rollout={"order_by": "zone"})
        await world.result()
        (target,) = world.row().targets.values()
        assert set(target.variables) == {"root", "zone", *own}


# --- the way forward --------------------------------------------------------------------------------------------------


async def test_batches_one_after_the_other() -> None:
    async with one_instance(5) as world:
        await world.accept(rollout={"concurrency": 2, "canary": 1, "pause_seconds": 50})
        result = await world.result()
        assert result["status"] == "succeeded"
        assert world.told("deployment.started")[0]["batches"] == [["web1"], ["web2", "web3"], ["web4", "web5"]]
        assert world.hosts.most_running == 2
        assert 109 < now() < 111
        assert [event["batch"] for event in world.told("target.started")] == [1, 2, 2, 3, 3]


async def test_the_log_tells_what_support_looks_for() -> None:
    async with one_instance(13) as world:
        world.hosts.steps["web13:switch"] = failed(3, b"no space left\n")
        await world.accept(traffic=True, rollout={"concurrency": 12, "canary": 1, "min_available": 0})
        await world.result()
        await asyncio.sleep(1)
        said = world.instances[0].log
        told = [line for line in said.of("info") if not line.startswith(("begins", "out of", "back in", "finished"))]
        assert told == [
            "claimed after 0.0 s in the queue",
            "resolved 13 targets in 0.00 s; 2 batches",
            "batch 1 begins with web1",
            "batch 2 begins with web2, web3, web4, web5, web6, web7, web8, web9, web10, web11 and 2 more",
        ]
        of_targets = Counter(line.split(" after")[0].split(" in ")[0] for line in said.of("info") if line not in told)
        assert of_targets == {"begins": 13, "out of traffic": 13, "back": 12, "finished: succeeded": 12}
        failed_target, whole = said.of("warning")
        assert failed_target.startswith("finished: failed in ")
        assert "exit status 3; its last line: no space left" in failed_target
        assert whole.startswith("finished: failed, 12 of 13 targets in ")


async def test_the_numbers_of_a_result() -> None:
    async with one_instance(3) as world:
        world.hosts.steps["web2:switch"] = failed(1, b"x" * 10_000)
        await world.accept(rollout={"max_failures": 0})
        metrics = (await world.result())["metrics"]
        counts = {name: metrics[f"targets_{name}"] for name in ("total", "succeeded", "failed", "skipped")}
        assert counts == {"total": 3, "succeeded": 1, "failed": 1, "skipped": 1}
        assert (metrics["steps_total"], metrics["output_bytes"]) == (5, 10_000)
        assert (metrics["target_seconds_p50"], metrics["target_seconds_max"]) == (2.0, 3.0)
        assert metrics["ssh_connect_seconds_max"] == 0.01
        assert world.told("step.finished")[-1]["output_truncated"]
        assert world.told("deployment.finished")[0]["failure"]["code"] == "rollout.too_many_failures"


async def test_what_failed_beyond_what_is_allowed_stops_the_others() -> None:
    async with one_instance(4) as world:
        world.hosts.steps["switch"] = failed(1)
        await world.accept(rollout={"max_failures": 1})
        await world.result()
        assert list(world.statuses().values()) == ["failed", "failed", "skipped", "skipped"]


async def test_a_lane_has_one_deployment_at_a_time_in_order() -> None:
    async with one_instance(1) as world:
        await world.accept("d1")
        await world.accept("d2")
        await world.accept("d3", application="till")
        for name in ("d1", "d2", "d3"):
            assert (await world.result(name))["status"] == "succeeded"
        lane = [(call.key.deployment_id, call.key.step) for call in world.hosts.calls if call.key]
        assert [each for each in lane if each[0] != "d3"] == [
            (name, step) for name in ("d1", "d2") for step in ("unpack", "switch", "verify")
        ]
        assert world.told("deployment.finished", "d2")[0]["metrics"]["queued_seconds"] == pytest.approx(3, abs=0.1)


async def test_the_deployments_own_time_ends_it() -> None:
    async with one_instance(3) as world:
        world.hosts.steps["web2:switch"] = HANGS
        await world.accept(traffic=True, timeouts={"deployment": 60})
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("timed_out", "deployment.timed_out")
        assert world.statuses() == {"web1": "succeeded", "web2": "timed_out", "web3": "skipped"}
        assert 60 < now() < 61


# --- control ----------------------------------------------------------------------------------------------------------


async def test_a_pause_lets_what_is_in_work_finish_and_its_time_does_not_count() -> None:
    async with one_instance(2) as world:
        await world.accept(timeouts={"deployment": 60})
        await world.told_of("target.started")
        await world.control("pause")
        paused = await world.told_of("deployment.paused")
        assert (paused["requested_by"], paused["reason"]) == ("somebody", "because")
        await asyncio.sleep(1000)
        assert world.state("web1") is TargetState.SUCCEEDED
        assert world.state("web2") is TargetState.PENDING
        await world.control("resume")
        assert (await world.result())["status"] == "succeeded"
        assert world.told("deployment.resumed")[0]["requested_by"] == "somebody"


async def test_a_pause_before_the_first_target() -> None:
    async with World(1) as world:
        await world.accept()
        await world.control("pause")
        world.instance()
        await world.told_of("deployment.paused")
        await asyncio.sleep(100)
        assert world.hosts.calls == []
        await world.control("cancel")
        assert (await world.result())["status"] == "cancelled"


async def test_a_failure_in_a_pause_ends_it_all_the_same() -> None:
    async with one_instance(2) as world:
        world.hosts.steps["verify"] = failed(1)
        await world.accept()
        await world.told_of("target.started")
        await world.control("pause")
        assert (await world.result())["status"] == "failed"


@pytest.mark.parametrize("kill", [False, True])
async def test_an_approval_is_waited_for_also_by_another_instance(*, kill: bool) -> None:
    async with one_instance(3) as world:
        await world.accept(
            rollout={"canary": 1, "concurrency": 2, "approve_after": "canary"}, timeouts={"deployment": 60}
        )
        await world.control("resume")
        assert "approve_after" in (await world.told_of("deployment.paused"))["reason"]
        if kill:
            world.instances[0].kill()
            world.instance()
            await world.told_of("deployment.taken_over")
        await asyncio.sleep(500)
        assert len(world.told("target.started")) == 1
        await world.control("resume")
        assert (await world.result())["status"] == "succeeded"
        assert len(world.told("deployment.paused")) == 1


async def test_each_batch_can_need_its_approval() -> None:
    """Who answers the event at once is heard, although the second resume looks just like the first."""
    async with one_instance(3) as world:
        await world.accept(rollout={"approve_after": "batch"})
        for number in (1, 2):
            await world.told_of("deployment.paused", count=number)
            await world.control("resume")
        assert (await world.result())["status"] == "succeeded"


async def test_a_pause_while_an_approval_is_waited_for_needs_its_own_resume() -> None:
    async with one_instance(2) as world:
        await world.accept(rollout={"approve_after": "batch"})
        await world.told_of("deployment.paused")
        await world.control("pause")
        await asyncio.sleep(10)
        await world.control("resume")
        assert (await world.result())["status"] == "succeeded"


async def test_an_approval_counts_also_for_whoever_takes_over_before_the_batch_begins() -> None:
    async with one_instance(3) as world:
        store = world.instances[0].store
        store.dies_with = lambda change: isinstance(change, MoveDeployment) and change.new is DeploymentState.RUNNING
        store.after_it = True
        await world.accept(rollout={"approve_after": "batch"})
        await world.told_of("deployment.paused")
        await world.control("resume")
        await until(lambda: store.dead)
        assert world.row().approved_batch == 2
        world.instance()
        await world.told_of("deployment.paused", count=2)
        assert world.statuses_now() == {"web1": "succeeded", "web2": "succeeded", "web3": "pending"}


async def test_an_approval_that_does_not_come_ends_it() -> None:
    async with World(2) as world:
        world.instance(approval_seconds=300)
        await world.accept(rollout={"approve_after": "batch"}, timeouts={"deployment": 60})
        told = await world.told_of("deployment.paused")
        assert "for at most 300 s (limits.approval_seconds)" in told["reason"]
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("cancelled", "deployment.cancelled")
        assert "no approval came within 300 s" in result["failure"]["message"]
        assert "no approval came" in world.told("deployment.cancelling")[0]["reason"]
        assert world.statuses() == {"web1": "succeeded", "web2": "skipped"}
        assert 300 < now() < 310


async def test_a_pause_that_nobody_ends_has_its_end_too() -> None:
    async with World(2) as world:
        world.instance(pause_seconds=900)
        await world.accept()
        await world.told_of("target.started")
        await world.control("pause")
        result = await world.result()
        assert result["status"] == "cancelled"
        assert "nobody resumed it within 900 s (limits.pause_seconds)" in result["failure"]["message"]
        assert world.statuses() == {"web1": "succeeded", "web2": "skipped"}


async def test_the_time_for_an_approval_goes_on_under_another_owner() -> None:
    """It is the record's clock that counts, also while nobody is there."""
    async with World(2) as world:
        world.instance(approval_seconds=10_000)
        await world.accept(rollout={"approve_after": "batch"})
        await world.told_of("deployment.paused")
        await asyncio.sleep(2_000)
        world.instances[0].kill()
        world.record.skip(7_900)
        began = now()
        world.instance(approval_seconds=10_000)
        assert (await world.result())["status"] == "cancelled"
        assert now() - began < 200


async def test_an_approval_in_time_is_followed_by_a_new_time_for_the_next() -> None:
    async with World(3) as world:
        world.instance(approval_seconds=300)
        await world.accept(rollout={"approve_after": "batch"})
        for number in (1, 2):
            await world.told_of("deployment.paused", count=number)
            await asyncio.sleep(250)
            await world.control("resume")
        assert (await world.result())["status"] == "succeeded"


async def test_a_cancel_while_hosts_are_looked_up() -> None:
    async with World(1) as world:
        looking = _slow_inventory(world, 60)
        world.instance()
        await world.accept()
        await until(looking.is_set)
        await world.control("cancel")
        result = await world.result()
        assert (result["status"], result["targets"], now() < 3) == ("cancelled", [], True)
        assert world.names() == ["deployment.accepted", "deployment.cancelling", "deployment.finished"]


async def test_a_cancel_in_the_moment_in_which_it_starts_tells_of_its_targets() -> None:
    async with one_instance(2) as world:
        store = world.instances[0].store
        plain = store.commit

        async def commit(claim: Any, changes: Any) -> None:
            if any(isinstance(change, Start) for change in changes):
                await world.control("cancel")
                await asyncio.sleep(3)
            await plain(claim, changes)

        store.commit = commit  # type: ignore[method-assign]
        await world.accept()
        await world.result()
        assert world.names()[1:3] == ["deployment.started", "deployment.cancelling"]
        assert world.statuses() == {"web1": "skipped", "web2": "skipped"}


async def test_a_lease_that_is_lost_while_hosts_are_looked_up() -> None:
    async with World(1) as world:
        _slow_inventory(world, 50)
        first = world.instance()
        await world.accept()
        await asyncio.sleep(1)
        first.store.cut_off = True
        await until(lambda: any("lost before the first target" in line for line in first.log.of("warning")))
        world.instance()
        assert (await world.result())["status"] == "succeeded"


def _slow_inventory(world: World, seconds: float) -> asyncio.Event:
    looking, plain = asyncio.Event(), world.inventory.resolve

    async def resolve(selector: Any) -> Any:
        looking.set()
        await asyncio.sleep(seconds)
        return await plain(selector)

    world.inventory.resolve = resolve  # type: ignore[method-assign]
    return looking


# --- a dry run --------------------------------------------------------------------------------------------------------


async def test_a_dry_run_changes_nothing_and_tells_the_plan() -> None:
    async with one_instance(2) as world:
        await world.accept(traffic=True, dry_run=True)
        result = await world.result()
        assert result["status"] == "succeeded"
        assert result["plan"]["load_balancers"] == ["lb1"]
        assert result["plan"]["targets"][0] == {
            "name": "web1",
            "address": "127.0.0.1",
            "source": "test",
            "server": "shop/web1",
            "steps": ["drain", "unpack", "switch", "verify", "health", "enable"],
        }
        assert world.statuses() == {"web1": "skipped", "web2": "skipped"}
        assert {call.what for call in world.hosts.calls} == {"login"}
        assert world.lbs[0].told == []


async def test_a_dry_run_says_what_is_in_the_way() -> None:
    async with one_instance(3) as world:
        world.hosts.unreachable["web2"] = UNREACHABLE
        await world.accept(dry_run=True)
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "ssh.unreachable")
        assert world.statuses()["web2"] == "unreachable"
        assert result["plan"]["targets"][0]["server"] is None


@asynccontextmanager
async def _never(_target: Any) -> AsyncIterator[None]:
    await asyncio.Event().wait()
    yield


async def test_a_host_that_does_not_answer_is_in_the_way_too() -> None:
    async with one_instance(1) as world:
        world.hosts.login = _never  # type: ignore[assignment,method-assign]
        await world.accept(dry_run=True, timeouts={"target": 30})
        assert (await world.result())["failure"]["code"] == "target.timed_out"


@pytest.mark.parametrize("how", ["cancel", "time", "hand over", "kill"])
async def test_a_dry_run_obeys_like_any_other(how: str) -> None:
    async with one_instance(2) as world:
        login = world.hosts.login
        world.hosts.unreachable["web2"] = UNREACHABLE
        world.hosts.login = lambda target: _never(target) if target.name == "web1" else login(target)  # type: ignore[assignment,method-assign]
        await world.accept(dry_run=True, timeouts={"deployment": 100})
        await until(
            lambda: (Direction.FORWARD, "web2") in world.row().targets and world.state("web2").value != "pending"
        )
        first = world.instances[0]
        if how == "cancel":
            await world.control("cancel")
        elif how == "hand over":
            await first.working.drain(20)
        elif how == "kill":
            first.kill()
        if how in {"hand over", "kill"}:
            world.hosts.login = login  # type: ignore[method-assign]
            world.instance()
        result = await world.result()
        assert result["status"] == {"cancel": "cancelled", "time": "timed_out"}.get(how, "failed")
        assert world.statuses()["web2"] == "unreachable"


async def test_a_lease_that_is_lost_in_a_dry_run_is_no_bug() -> None:
    async with one_instance(1) as world:
        world.hosts.unreachable["web1"] = UNREACHABLE
        first = world.instances[0]
        first.store.dies_with = lambda change: _lose(world, change)
        await world.accept(dry_run=True)
        await until(lambda: first.log.of("warning"))
        assert first.log.of("exception") == []


def _lose(world: World, change: object) -> bool:
    """Another instance has it by now."""
    if isinstance(change, MoveTarget):
        world.row().epoch = 99
    return False


# --- the way back -----------------------------------------------------------------------------------------------------

BACK = {"on_failure": "rollback"}


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


# --- handing over -----------------------------------------------------------------------------------------------------


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
        looking = _slow_inventory(world, 50)
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
        world.hosts.login = _never  # type: ignore[assignment,method-assign]
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


# --- giving up --------------------------------------------------------------------------------------------------------


async def _outlive(world: World, lives: int) -> None:
    """So many instances die over it; one more comes."""
    for _ in range(lives):
        await _owned(world)
        world.instances[-1].kill()
        world.instance(max_expiries=2)


async def _owned(world: World) -> None:
    """The last instance has it, and is at work."""
    await until(lambda: world.row().owner == world.instances[-1].name)
    await asyncio.sleep(2)


async def test_a_deployment_that_kills_its_instances_is_given_up() -> None:
    async with World(3) as world:
        world.instance(max_expiries=2)
        world.hosts.step_seconds = 100
        await world.accept(traffic=True, rollout={"concurrency": 2})
        await _outlive(world, 3)
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "internal.error")
        assert "outlived 2 instances" in result["failure"]["message"]
        assert world.statuses() == {"web1": "unknown", "web2": "unknown", "web3": "skipped"}
        assert [world.shown("web1"), world.shown("web3")] == [[DRAINED], [READY]]
        assert "left drained" in result["targets"][0]["failure"]["message"]
        assert len(world.told("target.finished")) == len(world.told("target.started"))


async def test_given_up_before_its_first_step_a_target_goes_back_into_traffic() -> None:
    async with World(1) as world:
        world.server("web1").sessions = 1
        world.instance(max_expiries=2)
        await world.accept(traffic=True, haproxy={"drain_seconds": 1000})
        await _outlive(world, 3)
        await world.result()
        assert (world.statuses(), world.shown("web1")) == ({"web1": "unknown"}, [READY])


async def test_given_up_before_it_started_nobody_is_asked_any_more() -> None:
    async with World(1) as world:
        _slow_inventory(world, 1000)
        world.instance(max_expiries=2)
        await world.accept()
        await _outlive(world, 3)
        result = await world.result()
        assert (result["failure"]["code"], result["targets"]) == ("internal.error", [])
        assert len(world.inventory.asked) == 0


async def test_given_up_in_a_rollback_no_server_stays_drained_unsaid() -> None:
    async with World(2) as world:
        world.instance(max_expiries=2)
        world.hosts.steps |= {"web2:verify": failed(1), "switch-back": HANGS}
        await world.accept(traffic=True, rollout=BACK, timeouts={"step": 1000, "target": 3000})
        await until(lambda: world.hosts.begun("web2", "switch-back"))
        await _outlive(world, 3)
        result = await world.result()
        assert world.statuses() == {"web1": "succeeded", "web2": "unknown"}
        assert world.shown("web2") == [DRAINED]
        assert "left drained" in result["targets"][1]["failure"]["message"]


async def test_a_host_that_is_away_when_it_is_given_up_is_said() -> None:
    async with World(2) as world:
        world.instance(max_expiries=2)
        world.hosts.step_seconds = 100
        await world.accept(traffic=True, rollout={"concurrency": 2})
        await _outlive(world, 2)
        await _owned(world)
        world.hosts.unreachable["web1"] = UNREACHABLE
        plain = world.hosts.open
        world.hosts.open = lambda target, ticket: _stuck(plain, target, ticket)  # type: ignore[assignment,method-assign]
        world.instances[-1].kill()
        world.instance(max_expiries=2)
        targets = (await world.result())["targets"]
        assert "no route to host" in targets[0]["failure"]["message"]
        assert "it did not answer in time" in targets[1]["failure"]["message"]


@asynccontextmanager
async def _stuck(plain: Any, target: Any, ticket: Ticket) -> AsyncIterator[Any]:
    if target.name == "web2":
        await asyncio.Event().wait()
    async with plain(target, ticket) as host:
        yield host


async def test_without_traffic_giving_up_only_ends_what_runs() -> None:
    async with World(1) as world:
        world.instance(max_expiries=2)
        world.hosts.step_seconds = 100
        await world.accept()
        await _outlive(world, 3)
        await world.result()
        assert world.statuses() == {"web1": "unknown"}
        assert world.hosts.running == 0


async def test_a_lease_that_is_lost_while_it_is_given_up_is_no_bug() -> None:
    async with World(1) as world:
        world.instance(max_expiries=2)
        world.hosts.step_seconds = 100
        await world.accept()
        await _outlive(world, 2)
        await _owned(world)
        world.instances[-1].kill()
        last = world.instance(max_expiries=2)
        last.store.dies_with = lambda change: _lose(world, change)
        await until(lambda: any("the lease was lost on the way" in line for line in last.log.of("warning")))
        assert last.log.of("exception") == []


async def test_a_recipe_that_the_next_owner_does_not_have() -> None:
    """What the first one left in work is put right, and said."""
    async with one_instance(2) as world:
        world.hosts.step_seconds = 100
        await world.accept(traffic=True)
        await until(lambda: world.hosts.begun("web1", "unpack"))
        world.instances[0].kill()
        del world.book.known["release"]
        world.instance()
        result = await world.result()
        assert result["failure"]["code"] == "request.unknown_recipe"
        assert world.statuses() == {"web1": "unknown", "web2": "skipped"}
        assert world.shown("web1") == [DRAINED]


# --- taking work ------------------------------------------------------------------------------------------------------


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
    if isinstance(change, Emit) and change.event == "target.finished":
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
