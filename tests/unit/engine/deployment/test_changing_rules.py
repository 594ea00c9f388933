"""Policy and recipes change while deployments wait and run: what begins is judged anew, what has begun goes on."""

from dataclasses import replace

from tests.fakes.hosts import HANGS, SUCCEEDED
from tests.fakes.inventory import FakeInventory
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import RELEASE, World, one_instance

from vesemir.domain.freeze import FreezeEnd
from vesemir.domain.names import Names
from vesemir.domain.permission import Permission
from vesemir.domain.policy import Freeze, Limit, Policy
from vesemir.domain.recipe import Parameter, Step, Variable
from vesemir.domain.template import Template


class Frozen:
    """A freeze's window without end."""

    def end_after(self, now: float) -> FreezeEnd | None:
        return FreezeEnd(now + 1, "spring")


async def test_the_policy_is_asked_again_when_a_deployment_begins() -> None:
    """What waited in its lane when a freeze began does not begin; what runs goes on."""
    async with one_instance(2) as world:
        await world.accept("d1")
        await world.accept("d2")
        await world.told_of("target.started")
        world.rules.current = Policy(freezes=(Freeze("winter", (Frozen(),)),))
        assert (await world.result("d1"))["status"] == "succeeded"
        result = await world.result("d2")
        assert (result["status"], result["failure"]["code"]) == ("failed", "request.forbidden")
        assert "environment is frozen until spring" in result["failure"]["message"]
        assert "[freeze winter]" in result["failure"]["message"]


async def test_what_breaks_the_glass_begins_in_a_freeze_while_a_rule_lets_it() -> None:
    """Judged when it begins, as everything else: a rule that is gone by then lets nobody."""
    freezes = (Freeze("winter", (Frozen(),)),)
    async with one_instance(2) as world:
        world.rules.current = Policy(permissions=(Permission("on-call", break_glass=True),), freezes=freezes)
        await world.accept("d1", break_glass={"reason": "the shop is down"})
        assert (await world.result("d1"))["status"] == "succeeded"
        world.rules.current = Policy(permissions=(Permission("on-call"),), freezes=freezes)
        await world.accept("d2", break_glass={"reason": "the shop is down"})
        result = await world.result("d2")
        assert (result["status"], result["failure"]["code"]) == ("failed", "request.forbidden")
        assert "break_glass must be left out" in result["failure"]["message"]


async def test_what_has_begun_goes_on_in_a_freeze_also_under_another_owner() -> None:
    async with one_instance(2) as world:
        await world.accept()
        await world.told_of("target.started")
        world.rules.current = Policy(freezes=(Freeze("winter", (Frozen(),)),))
        world.instances[0].kill()
        world.instance()
        assert (await world.result())["status"] == "succeeded"


async def test_more_targets_than_the_policy_allows_are_refused_when_they_are_found() -> None:
    async with one_instance(3) as world:
        world.rules.current = Policy(limits=(Limit("few", max_targets=2),))
        await world.accept()
        result = await world.result()
        assert (result["status"], result["failure"]["code"], result["targets"]) == ("failed", "request.forbidden", [])
        assert "at most 2 targets, and finds 3 [limit few]" in result["failure"]["message"]
        assert world.hosts.calls == []


# --- recipes that change ----------------------------------------------------------------------------------------------

SAID = replace(RELEASE, source="a text")
OTHER = replace(RELEASE, steps=(Step("other", RELEASE.steps[0].work),), source="another text")


async def test_a_deployment_keeps_the_recipe_that_it_began_with() -> None:
    """Also under another owner whose folder holds another version by then."""
    async with one_instance(2, recipes=(SAID, OTHER)) as world:
        world.book.known["release"] = SAID
        world.hosts.steps["web1:verify"] = HANGS
        await world.accept(timeouts={"step": 3000, "target": 3000})
        await until(lambda: world.hosts.begun("web1", "verify"))
        world.instances[0].kill()
        world.book.known["release"] = OTHER
        world.hosts.steps["web1:verify"] = SUCCEEDED
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert world.hosts.ran("verify")[-1] == "web2"
        assert world.hosts.ran("other") == []


async def test_a_deployment_begins_with_the_recipe_of_that_moment() -> None:
    async with World(1, recipes=(SAID, OTHER)) as world:
        world.book.known["release"] = SAID
        await world.accept()
        world.book.known["release"] = OTHER
        world.instance()
        assert (await world.result())["status"] == "succeeded"
        assert (world.hosts.ran("other"), world.hosts.ran("verify")) == (["web1"], [])
        assert world.book.refreshed == 1


async def test_a_recipe_that_takes_other_parameters_by_now_is_not_begun_with() -> None:
    async with World(1, recipes=(RELEASE,)) as world:
        await world.accept()
        world.book.known["release"] = replace(RELEASE, parameters={"size": Parameter("size")})
        world.instance()
        result = await world.result()
        assert (result["failure"]["code"], world.hosts.calls) == ("request.invalid_parameters", [])


async def test_a_recorded_recipe_that_this_version_cannot_read_is_given_up() -> None:
    async with one_instance(1, recipes=(SAID,)) as world:
        world.hosts.steps["verify"] = HANGS
        await world.accept(timeouts={"step": 3000, "target": 3000})
        await until(lambda: world.hosts.begun("web1", "verify"))
        world.instances[0].kill()
        world.book.texts.clear()
        world.instance()
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "request.unknown_recipe")
        assert "cannot be read by this version" in result["failure"]["message"]
        assert world.statuses() == {"web1": "unknown"}


# --- what only the operator says --------------------------------------------------------------------------------------


async def test_a_variable_that_a_host_says_of_itself_is_refused_where_the_recipe_trusts_only_the_operator() -> None:
    recipe = replace(RELEASE, variables={"app_root": Variable("app_root", Template.parse("/srv"), trusted=True)})
    async with one_instance(2, recipes=(recipe,)) as world:
        lies = {"app_root": "/", "zone": "a"}
        boxes = [replace(world.targets[0], variables=lies, claimed=frozenset(lies)), world.targets[1]]
        world.inventory = FakeInventory(boxes, groups={"web": ["web1", "web2"]})
        world.instances[0].kill()
        world.instance()
        await world.accept()
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "targets.invalid_attributes")
        assert "web1: app_root" in result["failure"]["message"]
        assert world.hosts.calls == []


async def test_the_servers_that_a_request_means_are_judged_when_its_targets_are_known() -> None:
    async with one_instance(2) as world:
        world.rules.current = Policy((Permission("ours", servers=Names(("other-web1",))),))
        await world.accept(traffic=True, haproxy={"server": "other-{name}"})
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("failed", "request.forbidden")
        assert "would be other-web2 [allow ours]" in result["failure"]["message"]
        assert world.hosts.calls == []
