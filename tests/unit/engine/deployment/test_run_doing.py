"""What the targets of a running deployment do right now: told by its owner, at most once a second, if it lasts."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import pytest
from tests.fakes.hosts import HANGS, SUCCEEDED, failed
from tests.unit.engine.deployment.situations import BACK, now
from tests.unit.engine.virtual_time import BEGINNING, until
from tests.unit.engine.world import ONE_STEP, World, one_instance, words

from vesemir.domain.doing import DOING_SECONDS, Doing
from vesemir.domain.recipe import Check, HttpCheck, Parameter, Recipe, Step
from vesemir.domain.template import Template
from vesemir.domain.traffic import AdminState
from vesemir.engine.deployment import doing_writer
from vesemir.engine.ports.hosts import HttpAnswer
from vesemir.engine.ports.store import Claim, StoreAwayError
from vesemir.engine.target.board import MOST_SHOWN

PAGE = "http://127.0.0.1:8080/health"
CHECKED = Recipe("checked", steps=(Step("check-version", Check(HttpCheck(Template.parse(PAGE)), deadline=300)),))
RETRIED = Recipe("retried", steps=(Step("switch", words("switch"), retries=2),))

HUSH = Recipe("hush", parameters={"key": Parameter("key", secret=True)}, steps=RETRIED.steps)


async def told(world: World) -> tuple[Doing, ...] | None:
    return await world.instances[0].store.doing_of("d1")


async def told_of(world: World, step: str) -> Doing:
    """The first target of which it is told, as soon as it is, that it is in that step."""
    async with asyncio.timeout(600):
        while True:
            for each in await told(world) or ():
                if each.step == step:
                    return each
            await asyncio.sleep(0.05)


def writes(world: World) -> Sequence[tuple[Doing, ...]]:
    return [doing for _, doing in world.record.doing_written]


async def test_a_step_is_told_within_two_seconds_after_it_has_taken_one() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["switch"] = [HANGS]
        world.hosts.step_seconds = 0
        await world.accept(recipe="one-step")
        await until(lambda: world.hosts.begun("web1", "switch"))
        began = now()
        async with asyncio.timeout(3):
            doing = await told_of(world, "switch")
        assert 1 <= now() - began <= 3
        assert (doing.target, doing.phase, doing.attempts, doing.last_error) == ("web1", "target", 1, None)
        since = datetime.fromisoformat(doing.since)
        assert doing.since.endswith("Z")
        assert since.timestamp() == pytest.approx(BEGINNING + began, abs=0.01)


async def test_a_deployment_of_short_steps_writes_nothing() -> None:
    async with one_instance(3) as world:
        world.hosts.step_seconds = 0.9
        await world.accept(traffic=True)
        assert (await world.result())["status"] == "succeeded"
        assert writes(world) == []


async def test_it_is_written_at_most_once_a_second_whatever_happens() -> None:
    async with one_instance(3, recipes=[CHECKED]) as world:
        world.hosts.pages[PAGE] = HttpAnswer(500, b"not yet")
        await world.accept(recipe="checked", rollout={"concurrency": "100%"})
        await until(lambda: len(writes(world)) > 20)
        moments = [moment for moment, _ in world.record.doing_written]
        assert min(after - before for before, after in pairwise(moments)) >= 0.999


async def test_what_does_not_change_is_renewed_so_that_it_stays_believed() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["switch"] = [HANGS]
        await world.accept(recipe="one-step")
        await told_of(world, "switch")
        for _ in range(30):
            await asyncio.sleep(1)
            assert await told(world)
        assert len(writes(world)) <= 16


async def test_what_ended_is_told_no_more_and_nothing_is_left_at_the_end() -> None:
    recipe = Recipe("long-short", steps=(Step("long", words("long")), Step("short", words("short"))))
    async with one_instance(1, recipes=[recipe]) as world:
        world.hosts.step_seconds = 3.5
        await world.accept(recipe="long-short")
        await told_of(world, "long")
        await until(lambda: not world.record.doing["d1"][2] or world.record.doing["d1"][2][0].step == "short")
        assert (await world.result())["status"] == "succeeded"
        await until(lambda: "d1" not in world.record.doing)
        assert {each.step for doing in writes(world) for each in doing} == {"long", "short"}


async def test_a_check_tells_its_tries_and_its_last_answer() -> None:
    async with one_instance(1, recipes=[CHECKED]) as world:
        world.hosts.pages[PAGE] = HttpAnswer(500, b"no\x1b[2J database\nyet " + b"x" * 1000)
        await world.accept(recipe="checked")
        await told_of(world, "check-version")
        await asyncio.sleep(10)
        doing = await told_of(world, "check-version")
        assert doing.attempts >= 5
        assert doing.last_error is not None
        assert "500" in doing.last_error
        assert len(doing.last_error) <= 300
        assert doing.last_error.isprintable()
        world.hosts.pages[PAGE] = HttpAnswer(200, b"{}")
        assert (await world.result())["status"] == "succeeded"


async def test_secrets_are_taken_out_of_a_last_answer() -> None:
    async with one_instance(1, recipes=[HUSH]) as world:
        world.hosts.steps["switch"] = [failed(1, b"wrong key s3cret!"), HANGS]
        await world.accept(recipe="hush", parameters={"key": "s3cret!"})
        await until(lambda: any(doing and doing[0].last_error for doing in writes(world)))
        assert "wrong key" in str(writes(world))
        assert "s3cret!" not in str(writes(world))


async def test_a_step_that_is_tried_again_tells_which_try_it_is_and_why() -> None:
    async with one_instance(1, recipes=[RETRIED]) as world:
        world.hosts.steps["switch"] = [failed(3, b"no such file"), HANGS]
        world.hosts.step_seconds = 3
        await world.accept(recipe="retried")
        doing = await told_of(world, "switch")
        await until(lambda: any(shown and shown[0].attempts == 2 for shown in writes(world)))
        again = await told_of(world, "switch")
        assert (doing.attempts, again.attempts) == (1, 2)
        assert again.since == doing.since
        assert "exit status 3" in str(again.last_error)


async def test_a_wait_for_capacity_says_what_it_waits_for() -> None:
    async with one_instance(2) as world:
        world.server("web2").admin = AdminState.DRAIN
        await world.accept(recipe="one-step", traffic=True, targets={"hosts": ["web1"]}, rollout={"min_available": 1})
        doing = await told_of(world, "drain")
        assert "and 1 must stay (min_available 1; the backend has 2)" in str(doing.last_error)


async def test_the_way_back_is_told_as_such() -> None:
    async with one_instance(2) as world:
        world.hosts.steps["verify"] = [failed(1)] * 2
        world.hosts.steps["switch-back"] = [HANGS, SUCCEEDED]
        await world.accept(rollout=BACK)
        assert (await told_of(world, "switch-back")).phase == "rollback"


async def test_of_thousands_in_work_the_longest_are_told() -> None:
    async with World(220) as world:
        world.instance(targets=220)
        world.hosts.steps["switch"] = [HANGS] * 220
        await world.accept(recipe="one-step", rollout={"concurrency": "100%"})
        await told_of(world, "switch")
        assert len(await told(world) or ()) == MOST_SHOWN == 200


async def test_a_record_that_is_away_is_written_a_second_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async with one_instance(1, recipes=[ONE_STEP]) as world:
        store, asked = world.instances[0].store, []
        write = store.write_doing

        async def away_now_and_then(claim: Claim, doing: Sequence[Doing] | None) -> None:
            asked.append(now())
            if len(asked) < 3 or doing is None:
                raise StoreAwayError("the database is away")
            await write(claim, doing)

        monkeypatch.setattr(store, "write_doing", away_now_and_then)
        world.hosts.step_seconds = 10
        await world.accept(recipe="one-step")
        await told_of(world, "switch")
        assert [round(after - before) for before, after in pairwise(asked)] == [1, 1]
        assert (await world.result())["status"] == "succeeded"
        await until(lambda: "what the targets did could not be removed" in str(world.instances[0].log.of("debug")))
        assert world.bugs() == []


async def test_a_record_that_does_not_answer_holds_up_the_end_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with one_instance(1, recipes=[ONE_STEP]) as world:
        asked = asyncio.Event()

        async def silent(_claim: Claim, _doing: object) -> None:
            asked.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(world.instances[0].store, "write_doing", silent)
        world.hosts.step_seconds = 5
        await world.accept(recipe="one-step")
        await asked.wait()
        assert (await world.result())["status"] == "succeeded"
        ended = now()
        await world.accept("d2", recipe="one-step")
        await until(lambda: world.instances[0].leases.held == 1 and world.row("d2").owner is not None)
        await until(lambda: world.row("d2").final)
        assert now() - ended <= doing_writer.END_SECONDS + 5 + doing_writer.END_SECONDS + 1


async def test_a_bug_in_it_does_not_hurt_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("a bug")

    async with one_instance(1, recipes=[ONE_STEP]) as world:
        monkeypatch.setattr(world.instances[0].store, "write_doing", broken)
        world.hosts.step_seconds = 10
        await world.accept(recipe="one-step")
        assert (await world.result())["status"] == "succeeded"
        assert world.bugs() == ["what the targets do is not shown any more: a bug"]


async def test_a_late_owner_tells_nothing_any_more() -> None:
    async with one_instance(1) as world:
        world.hosts.steps["switch"] = [HANGS, SUCCEEDED]
        await world.accept(recipe="one-step")
        await told_of(world, "switch")
        world.instances[0].kill()
        later = world.instance()
        await until(lambda: world.row().epoch == 2)
        assert await later.store.doing_of("d1") is None
        assert (await world.result())["status"] == "succeeded"


def test_readers_wait_longer_than_an_owner_is_silent() -> None:
    assert 2 * doing_writer.RENEW_SECONDS < DOING_SECONDS
