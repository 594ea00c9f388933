"""What a deployment finds out before its first target: hosts, limits, secrets, what is recorded."""

from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.hosts import failed
from tests.unit.engine.world import ONE_STEP, RELEASE, World, one_instance

from vesemir.adapters.record_seal import RecordSeal
from vesemir.domain.recipe import Fetch, Parameter, Recipe, Script, Step, Variable
from vesemir.domain.template import Template


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
        del world.lbs[0].by_name["web2"]
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


async def test_a_recipe_is_recorded_for_the_release_before_too() -> None:
    recipe = replace(ONE_STEP, name="r", source="its text, new = 1", older_source="its text")
    async with one_instance(1, recipes=(recipe,)) as world:
        await world.accept(recipe="r")
        await world.result()
        assert (world.row().recipe_source, world.row().recipe_for_older) == ("its text, new = 1", "its text")


async def test_of_the_inventory_only_what_the_recipe_reads_is_recorded() -> None:
    recipe = Recipe("reads", variables={"root": Variable("root")}, steps=ONE_STEP.steps)
    async with one_instance(1, recipes=(recipe,)) as world:
        own = {"vesemir_state_dir": "/v", "vesemir_supervisor": "/s"}
        known = {"root": "/srv", "zone": "a", "ansible_password": "hunter22", **own}
        world.inventory.targets["web1"] = replace(world.targets[0], variables=known)
        await world.accept(recipe="reads", rollout={"order_by": "zone"})
        await world.result()
        (target,) = world.row().targets.values()
        assert set(target.variables) == {"root", "zone", *own}
