"""``on_failure_show``: a failure has the application's own last words, and asking for them changes nothing else."""

from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.hosts import HANGS, FakeHosts, failed
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import World, one_instance, words

from vesemir.domain.failure import FailedError, FailureCode, LeaseLostError, VesemirError
from vesemir.domain.hiding import Redactor
from vesemir.domain.recipe import Check, Recipe, Script, Step, TcpCheck
from vesemir.domain.step import Command, Direction, StepKey, StepResult, StepStatus
from vesemir.domain.target import Target
from vesemir.domain.template import Template
from vesemir.engine.ports.hosts import Ticket
from vesemir.engine.target.last_words import ask_last_words

SHOW = words("journalctl", "{application}")
PORT = TcpCheck(Template.parse("127.0.0.1:80"))
RECIPE = Recipe(
    "shows",
    steps=(
        Step("restart", Script("restart"), retries=1, on_failure_show=words("restart-log")),
        Step("check", Check(PORT, deadline=5), on_failure_show=SHOW),
        Step("tidy", Script("tidy")),
    ),
)
KEY = StepKey("d1", Direction.FORWARD, "check")
LOST = FailedError(FailureCode.SSH_CONNECTION_LOST, "the connection is lost")
LINES = b"Traceback\nNo module named shop\n"


def output(text: bytes, **more: Any) -> StepResult:
    return replace(StepResult(StepStatus.SUCCEEDED, 0, text, len(text)), **more)


async def failure_of(world: World, **more: Any) -> dict[str, Any]:
    await world.accept(recipe="shows", **more)
    (target,) = (await world.result())["targets"]
    failure: dict[str, Any] = target["failure"]
    return failure


async def test_a_failed_check_has_the_applications_last_words() -> None:
    async with one_instance(1, recipes=(RECIPE,)) as world:
        world.hosts.steps["check.shown"] = output(LINES)
        failure = await failure_of(world)
        assert failure["code"] == "health.failed"
        assert failure["message"].endswith("; the host shows: Traceback | No module named shop")
        told = world.told("step.finished")
        assert [event["step"] for event in told] == ["restart", "check"], "it has no row and no event of its own"
        assert told[-1]["output"].endswith("in 4.0 s)\n[shown after the failure:]\nTraceback\nNo module named shop\n")


async def test_it_is_shown_after_the_last_try_alone() -> None:
    async with one_instance(1, recipes=(RECIPE,)) as world:
        world.hosts.steps["restart"] = [failed(1, b"no\n"), failed(1, b"no\n")]
        world.hosts.steps["restart.shown"] = output(LINES)
        assert (await failure_of(world))["message"].endswith("No module named shop")
        assert [call.step for call in world.hosts.calls if call.what == "run"] == [
            "restart",
            "restart",
            "restart.shown",
        ]


async def test_haproxys_word_against_it_is_explained_too() -> None:
    """By the last check in the list that has something to show."""
    async with one_instance(1, recipes=(RECIPE,)) as world:
        world.hosts.listening.add(("127.0.0.1", 80))
        world.hosts.steps["health.shown"] = output(LINES)
        world.server("web1").healthy = False
        failure = await failure_of(world, traffic=True)
        assert failure["code"] == "haproxy.not_up"
        assert "; the host shows: Traceback | No module named shop; its server" in failure["message"]
        assert world.told("step.finished")[-1]["output"].endswith("[shown after the failure:]\n" + LINES.decode())
        (command,) = [call.command for call in world.hosts.calls if call.step == "health.shown"]
        assert command is not None
        assert command.argv == ("journalctl", "shop")


async def test_without_the_option_nothing_more_is_run() -> None:
    plain = replace(RECIPE, steps=tuple(replace(step, on_failure_show=None) for step in RECIPE.steps))
    async with one_instance(1, recipes=(plain,)) as world:
        world.hosts.listening.add(("127.0.0.1", 80))
        world.server("web1").healthy = False
        assert "the host shows" not in (await failure_of(world, traffic=True))["message"]
        assert {call.step for call in world.hosts.calls if call.what == "run"} == {"restart", "tidy"}


async def test_a_cancel_while_it_is_shown_leaves_the_step_as_it_ended() -> None:
    async with one_instance(1, recipes=(RECIPE,)) as world:
        world.hosts.steps["check.shown"] = HANGS
        await world.accept(recipe="shows")
        await until(lambda: bool(world.hosts.ran("check.shown")))
        await world.control("cancel")
        assert (await world.result())["status"] == "cancelled"
        assert [(event["step"], event["status"]) for event in world.told("step.finished")] == [
            ("restart", "succeeded"),
            ("check", "failed"),
        ]


async def test_the_targets_time_stands_still_meanwhile() -> None:
    """It is its check that failed, and not its time that was over."""
    async with one_instance(1, recipes=(RECIPE,)) as world:
        world.hosts.steps["check.shown"] = HANGS
        failure = await failure_of(world, timeouts={"target": 6})
        assert failure["code"] == "health.failed"
        assert failure["message"].endswith("could not be shown: (it was ended after 10 s)")


@pytest.mark.parametrize(
    ("ending", "shown"),
    [
        (output(b"active\n", status=StepStatus.FAILED, exit_status=3), "active"),
        (output(b"half\n", status=StepStatus.TIMED_OUT, exit_status=None), "half\n(it was ended after 300 s)"),
        (output(b"the token is hunter22", output_bytes=9999), "the token is •••"),
        (output(b"er22 is the token", output_bytes=9999), "••• is the token"),
        (failed(7), "could not be shown: exit status 7, and nothing was printed"),
        (output(b"", status=StepStatus.FAILED, exit_status=None, reason="no such program"), "no such program"),
        (LOST, "could not be shown: the connection is lost"),
    ],
)
async def test_what_cannot_be_shown_is_said(ending: StepResult | VesemirError, shown: str) -> None:
    hosts = FakeHosts(steps={"check.shown": ending})
    redact = Redactor()
    redact.add({"hunter22"})
    async with hosts.open(Target("web1", "127.0.0.1"), Ticket("d1", "shop/production", 1, lambda: True, 3, 10)) as host:
        assert (await ask_last_words(host, KEY, Command(("x",)), redact)).endswith(shown)


async def test_a_lost_lease_is_no_word_of_the_host() -> None:
    hosts = FakeHosts()
    async with hosts.open(
        Target("web1", "127.0.0.1"), Ticket("d1", "shop/production", 1, lambda: False, 3, 10)
    ) as host:
        with pytest.raises(LeaseLostError):
            await ask_last_words(host, StepKey("d1", Direction.FORWARD, "check"), Command(("x",)), Redactor())
