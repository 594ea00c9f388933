"""What a dry run finds on its targets before anything is touched: each obstacle with its code and the target's name."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.hosts import failed
from tests.unit.engine.world import World, words

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.recipe import Check, Fetch, Put, Recipe, Script, Step, TcpCheck
from vesemir.domain.step import StepResult, StepStatus
from vesemir.domain.template import Template

CONTENT = b"artifact"
SHA = hashlib.sha256(CONTENT).hexdigest()


def recipe(url: str, *, sha256: str = SHA, sudo: bool = False, plan: tuple[Step, ...] = ()) -> Recipe:
    fetch = Fetch(Template.parse(url), Template.parse(sha256), Template.parse("/srv/shop/artifact"))
    check = Check(TcpCheck(Template.parse("127.0.0.1:8080")))
    steps = (Step("fetch", fetch, sudo=sudo), Step("run", words("true")), Step("check", check))
    return Recipe("looked", steps=steps, plan=plan)


def a_world(url: str, *, targets: int = 2, **more: Any) -> World:
    world = World(targets, recipes=(recipe(url, **more),))
    world.instance()
    return world


@pytest.fixture
def artifact(tmp_path: Path) -> str:
    (tmp_path / "shop.tar").write_bytes(CONTENT)
    return f"{tmp_path}/shop.tar"


@pytest.fixture
def file_url(artifact: str) -> str:
    return f"file://{artifact}"


def looks(world: World, target: str) -> list[str]:
    return [call.step or call.what for call in world.hosts.calls if call.target == target]


async def dry(world: World, **more: Any) -> dict[str, Any]:
    await world.accept(recipe="looked", dry_run=True, **more)
    return await world.result()


async def test_everything_is_looked_at_and_nothing_is_done(file_url: str) -> None:
    async with a_world(file_url, targets=1) as world:
        result = await dry(world)
        assert result["status"] == "succeeded"
        assert looks(world, "web1") == ["login", "try_sftp", "127.0.0.1:8080", "plan:fetch"]
        (placing,) = [call.command for call in world.hosts.calls if call.what == "look"]
        assert placing is not None
        assert placing.environment["VESEMIR_LOOK_BYTES"] == str(len(CONTENT))
        assert placing.environment["VESEMIR_LOOK_UNPACKED_BYTES"] == str(2 * len(CONTENT))
        assert world.hosts.box("web1").started == set()


async def test_a_wrong_checksum_is_found_on_the_instance(file_url: str) -> None:
    """Case typo-sha. Before: succeeded, and the deployment drained every server before it failed."""
    async with a_world(file_url, targets=3, sha256="0" * 64) as world:
        result = await dry(world)
        assert (result["status"], result["failure"]["code"]) == ("failed", "artifact.checksum_mismatch")
        assert SHA in result["failure"]["message"]
        assert sorted(world.statuses().values()) == ["failed", "skipped", "skipped"]


async def test_a_file_that_is_not_there(file_url: str) -> None:
    async with a_world(f"{file_url}.gone") as world:
        assert (await dry(world))["failure"]["code"] == "artifact.unavailable"


async def test_a_download_is_asked_for_on_one_target_and_its_size_told_to_all() -> None:
    async with a_world("https://files.example/shop.deb", targets=3) as world:
        world.hosts.steps["plan:fetch"] = StepResult(StepStatus.SUCCEEDED, 0, b"123\n", 4)
        assert (await dry(world))["status"] == "succeeded"
        commands = [call.command for call in world.hosts.calls if call.what == "look" and call.command]
        asked = [command for command in commands if "VESEMIR_LOOK_URL" in command.environment]
        placed = [command for command in commands if "VESEMIR_LOOK_BYTES" in command.environment]
        assert (len(asked), len(placed)) == (1, 3)
        assert {command.environment["VESEMIR_LOOK_BYTES"] for command in placed} == {"123"}


async def test_a_download_that_is_not_there() -> None:
    async with a_world("https://files.example/shop.deb", targets=1) as world:
        world.hosts.steps["plan:fetch"] = [failed(3, b"HTTP Error 404: Not Found\n"), failed(1, b"no room\n")]
        failure = (await dry(world))["failure"]
        assert failure["code"] == "artifact.unavailable"
        assert failure["message"] == (
            "step fetch would fail on web1: HTTP Error 404: Not Found; from this instance: HTTP status 200 of "
            "https://files.example/shop.deb; also: step fetch would fail on web1: no room"
        )


async def test_every_target_s_obstacle_is_listed_and_the_gravest_is_on_top(file_url: str) -> None:
    async with a_world(file_url, targets=3) as world:
        world.hosts.steps["web1:plan:fetch"] = failed(1, b"nothing can be written to /srv/shop\n")
        world.hosts.without_sftp["web2"] = FailedError(FailureCode.TARGET_UNSUPPORTED, "web2: SFTP is not available")
        world.hosts.without_forwarding["web3"] = FailedError(FailureCode.TARGET_UNSUPPORTED, "web3 forwards nothing")
        world.lbs[0].level = "operator"
        result = await dry(world, traffic=True)
        assert result["failure"]["code"] == "haproxy.unreachable"
        messages = {each["name"]: each["failure"]["message"] for each in result["targets"]}
        assert "nothing can be written to /srv/shop" in messages["web1"]
        assert "SFTP is not available" in messages["web2"]
        assert "forwards nothing" in messages["web3"]
        assert all("'operator'" in message for message in messages.values())


async def test_a_missing_sudo_right_is_found_once(file_url: str) -> None:
    async with a_world(file_url, targets=1, sudo=True) as world:
        reason = "sudo: sudo: a password is required: the sudoers file needs a line"
        world.hosts.steps["plan:fetch"] = StepResult(StepStatus.FAILED, None, reason=reason)
        failure = (await dry(world))["failure"]
        assert failure["code"] == "step.failed"
        assert failure["message"] == f"step fetch would fail on web1: {reason}"


async def test_a_host_s_rules_for_root_are_not_a_missing_right(file_url: str) -> None:
    """They need not name what a dry run looks at."""
    plan = (Step("unit", Script("systemctl cat shop"), sudo=True),)
    async with a_world(file_url, targets=1, plan=plan) as world:
        reason = "/etc/vesemir/supervisor.rules does not have the line: script 0"
        world.hosts.steps["plan:unit"] = StepResult(StepStatus.FAILED, None, reason=reason)
        result = await dry(world)
        assert result["status"] == "succeeded"
        assert result["plan"]["targets"][0]["unchecked"] == [f"plan step unit: {reason}"]


async def test_an_older_supervisor_on_a_host_looks_as_the_login_user(file_url: str) -> None:
    """It knows sudo only within a lane: what it would find is not what root finds."""
    plan = (Step("unit", Script("systemctl cat shop"), sudo=True),)
    async with a_world(file_url, targets=1, sudo=True, plan=plan) as world:
        world.hosts.steps["plan:fetch"] = StepResult(StepStatus.SUCCEEDED, 0, b"1000\n", 5)
        result = await dry(world)
        assert result["status"] == "succeeded"
        assert "older release" in result["plan"]["targets"][0]["unchecked"][0]
        assert looks(world, "web1") == ["login", "plan:fetch", "try_sftp", "127.0.0.1:8080"]


@pytest.mark.parametrize(
    "ending", [failed(75, b"systemctl knows no cat\n"), StepResult(StepStatus.TIMED_OUT, None, reason="not done")]
)
async def test_what_could_not_be_looked_at_is_no_obstacle(file_url: str, ending: StepResult) -> None:
    async with a_world(file_url, targets=1, plan=(Step("unit", Script("systemctl cat shop")),)) as world:
        world.hosts.steps["plan:unit"] = ending
        result = await dry(world)
        assert result["status"] == "succeeded"
        (unchecked,) = result["plan"]["targets"][0]["unchecked"]
        assert unchecked.startswith("plan step unit: ")


async def test_what_a_recipe_looks_at(file_url: str) -> None:
    step = Step("unit", Script("systemctl cat shop"), failures={4: FailureCode.TARGET_UNSUPPORTED})
    async with a_world(file_url, targets=1, plan=(step,)) as world:
        world.hosts.steps["plan:unit"] = failed(4, b"no such unit\n")
        failure = (await dry(world))["failure"]
        assert failure["code"] == "target.unsupported"
        assert failure["message"] == "step unit would fail on web1: no such unit"


async def test_a_file_of_the_instance_that_a_step_puts(artifact: str) -> None:
    put = Put(Template.parse("/etc/shop"), source=Template.parse(artifact), sha256=Template.parse("0" * 64))
    world = World(1, recipes=(Recipe("looked", steps=(Step("put", put),)),))
    world.instance()
    async with world:
        assert (await dry(world))["failure"]["code"] == "artifact.checksum_mismatch"


async def test_a_host_that_is_lost_meanwhile(file_url: str) -> None:
    async with a_world(file_url, targets=1) as world:
        world.hosts.without_sftp["web1"] = FailedError(FailureCode.SSH_CONNECTION_LOST, "lost")
        assert (await dry(world))["failure"]["code"] == "ssh.connection_lost"
        assert world.statuses() == {"web1": "unreachable"}


async def test_steps_of_prepare_are_looked_at_too(file_url: str) -> None:
    looked = recipe(file_url, sha256="0" * 64)
    world = World(1, recipes=(Recipe("looked", prepare=looked.steps[:1], steps=looked.steps[1:]),))
    world.instance()
    async with world:
        assert (await dry(world))["failure"]["code"] == "artifact.checksum_mismatch"
