"""What intake asks the record: what must have succeeded elsewhere first, and how many wait."""

from dataclasses import replace

import pytest
from tests.unit.engine.messages.mailbox import incoming
from tests.unit.engine.messages.test_intake import Door, door
from tests.unit.engine.world import one_instance

from vesemir.domain.names import Names
from vesemir.domain.permission import Permission, PermissionScope
from vesemir.domain.policy import Policy
from vesemir.domain.promotion import Promotion
from vesemir.domain.quota import Quota
from vesemir.engine.ports.observe import IntakeOutcome
from vesemir.engine.ports.store import ControlCommand, StoreAwayError

__all__ = ["door"]

STAGED = Policy(promotions=(Promotion("staged", "staging", PermissionScope(environments=Names(("production",)))),))


async def test_a_version_that_succeeded_nowhere_is_refused_and_says_what_to_do(door: Door) -> None:
    door.world.rules.current = STAGED
    await door.intake.handle(incoming(door.event()))
    (answer,) = door.answered()
    assert answer["failure"]["code"] == "promotion.missing"
    (detail,) = answer["failure"]["details"]
    assert detail["field"] == "version"
    assert detail["message"].startswith("has no success in staging: deploy 2.0.0 of shop there first")
    assert door.world.record.rows == {}
    assert door.world.record.audit[-1].entry["outcome"] == "promotion.missing"
    assert "[promote staged]" in door.world.record.audit[-1].entry["rule"]


async def test_what_another_environment_or_no_rule_needs_is_not_asked_for(door: Door) -> None:
    door.world.rules.current = STAGED
    await door.intake.handle(incoming(door.event(environment="staging")))
    assert door.meters.events == [IntakeOutcome.ACCEPTED]


async def test_a_repeat_of_what_was_accepted_is_never_refused(door: Door) -> None:
    """The rule came later, or what it asks for was cleaned up."""
    await door.intake.handle(incoming(door.event()))
    door.world.rules.current = STAGED
    await door.intake.handle(incoming(door.event()))
    assert door.meters.events == [IntakeOutcome.ACCEPTED, IntakeOutcome.REPEATED]
    await door.intake.handle(incoming(door.event(version="3.0.0")))
    assert door.answered()[-1]["failure"]["code"] == "request.conflict"


async def test_a_record_that_is_away_is_waited_for(door: Door) -> None:
    door.world.rules.current = STAGED
    door.world.record.away = True
    with pytest.raises(StoreAwayError):
        await door.intake.handle(incoming(door.event()))
    door.world.record.away = False
    assert door.answered() == []


async def test_a_dry_run_is_accepted(door: Door) -> None:
    door.world.rules.current = STAGED
    await door.intake.handle(incoming(door.event(dry_run=True)))
    assert door.meters.events == [IntakeOutcome.ACCEPTED]


async def test_who_may_break_the_glass_goes_past_it(door: Door) -> None:
    door.world.rules.current = replace(STAGED, permissions=(Permission("emergency", break_glass=True),))
    await door.intake.handle(incoming(door.event(break_glass={"reason": "the site is down"})))
    assert door.meters.events == [IntakeOutcome.ACCEPTED]


async def test_a_dry_run_tells_what_is_missing_until_it_is_there() -> None:
    async with one_instance(1) as world:
        world.rules.current = STAGED
        await world.accept(dry_run=True)
        result = await world.result()
        assert result["status"] == "succeeded"
        (missing,) = result["plan"]["promotion"]
        assert missing.startswith("version has no success in staging: deploy 2.0.0 of shop there first")
        world.rules.current = Policy()
        await world.accept("d2", environment="staging")
        await world.result("d2")
        world.rules.current = STAGED
        await world.accept("d3", dry_run=True)
        assert (await world.result("d3"))["plan"]["promotion"] == []


# --- how many may wait ------------------------------------------------------------------------------------------------


async def test_one_that_may_not_wait_is_refused_with_the_figures_and_may_come_again(door: Door) -> None:
    door.world.rules.current = Policy(quotas=(Quota("fair", max_waiting=1, max_running=2),), contact="ops")
    await door.intake.handle(incoming(door.event()))
    assert door.world.row().new.turn.quotas == ("fair amqp:orchestrator",)
    second = incoming(door.event(deployment_id="d2"))
    await door.intake.handle(second)
    (answer,) = door.answered()
    assert answer["failure"]["code"] == "request.too_many_waiting"
    assert answer["failure"]["details"] == [
        {
            "field": "user_id",
            "message": "has 1 deployment waiting (amqp:orchestrator), and at most 1 may: send it again when some have "
            "begun, or cancel some [limit fair]; ask ops",
        }
    ]
    assert door.meters.events == [IntakeOutcome.ACCEPTED, IntakeOutcome.REJECTED]
    assert door.world.record.audit[-1].entry["outcome"] == "request.too_many_waiting"
    await door.intake.handle(incoming(door.event()))
    assert door.meters.events[-1] is IntakeOutcome.REPEATED
    await door.store.control(ControlCommand("cancel", "d1", None, None))
    await door.intake.handle(second)
    assert door.meters.events[-1] is IntakeOutcome.ACCEPTED
