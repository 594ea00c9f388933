"""Lock and unlock by messages: who may, what is answered, and what becomes of deploy events meanwhile."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.engine.messages.mailbox import incoming
from tests.unit.engine.messages.test_control_handler import SRE_ONLY
from tests.unit.engine.messages.test_intake import Door

from vesemir.domain.control import ControlledLane
from vesemir.domain.control_permission import ControlPermission
from vesemir.domain.identity import UNPROVED, IdentityNames
from vesemir.domain.lane_lock import LaneLock
from vesemir.domain.permission import Permission
from vesemir.domain.policy import Policy
from vesemir.engine.messages.control import Control

LANE = {"application": "shop", "environment": "production"}


class Site(Door):
    """Both queues of one instance."""

    def __init__(self) -> None:
        super().__init__()
        self.control = Control(
            store=self.store,
            policies=self.world.rules,
            answers=self.answers,
            log=self.log,
            meters=self.meters,
            namespace="vesemir",
            redact=lambda text: text.replace("hunter22", "•••"),
            max_bytes=1000,
            on_wish=self._wake,
        )

    async def say(self, command: str, **more: Any) -> dict[str, Any]:
        body = {"schema": "vesemir.control/1", "command": command, **LANE, "reason": "the database moves", **more}
        await self.control.handle(incoming({name: value for name, value in body.items() if value is not None}))
        return self.answered()[-1]

    @property
    def lock(self) -> LaneLock | None:
        return self.world.record.lock_of("shop/production")


@pytest.fixture
def site() -> Site:
    return Site()


async def test_a_lock_is_answered_with_its_lane_and_no_deployment(site: Site) -> None:
    answer = await site.say("lock", requested_by="anna hunter22")
    told = {name: answer[name] for name in ("event", "command", "deployment_id", "version", "failure", "known")}
    assert told == {
        "event": "control.accepted", "command": "lock", "deployment_id": None, "version": None, "failure": None,
        "known": True,
    }  # fmt: skip
    assert (answer["application"], answer["environment"], answer["sequence"]) == ("shop", "production", 0)
    assert site.lock is not None
    assert (site.lock.by, site.lock.reason) == ("anna ••• (amqp:orchestrator)", "the database moves")
    assert (site.woken, site.meters.controls) == (1, [("lock", True)])


async def test_a_locked_lane_refuses_deploy_events_with_the_reason(site: Site) -> None:
    await site.say("lock", requested_by="anna", until="2099-01-01T01:00:00+01:00")
    await site.intake.handle(incoming(site.event()))
    answer = site.answered()[-1]
    assert (answer["event"], answer["failure"]["code"]) == ("deployment.rejected", "lane.locked")
    assert answer["failure"]["details"][0]["field"] == "environment"
    assert "is locked by anna (amqp:orchestrator) since " in answer["failure"]["message"]
    assert "until 2099-01-01T00:00:00Z: the database moves" in answer["failure"]["message"]
    assert site.to("vesemir.rejected")[-1].headers["x-vesemir-code"] == "lane.locked"
    assert site.world.record.rows == {}
    refused = site.world.record.audit[-1].entry
    assert (refused["kind"], refused["outcome"], refused["application"]) == ("refusal", "lane.locked", "shop")


async def test_after_the_unlock_the_same_event_is_accepted(site: Site) -> None:
    await site.say("lock")
    await site.intake.handle(incoming(site.event()))
    assert (await site.say("unlock"))["event"] == "control.accepted"
    await site.intake.handle(incoming(site.event()))
    assert list(site.world.record.rows) == ["d1"]


async def test_dry_runs_and_repeats_are_not_refused(site: Site) -> None:
    await site.intake.handle(incoming(site.event()))
    await site.say("lock")
    refused = len(site.to("vesemir.rejected"))
    await site.intake.handle(incoming(site.event()))
    await site.intake.handle(incoming(site.event(deployment_id="look", dry_run=True)))
    assert len(site.to("vesemir.rejected")) == refused
    assert list(site.world.record.rows) == ["d1", "look"]


async def test_unlocking_an_unlocked_lane_is_accepted(site: Site) -> None:
    assert (await site.say("unlock"))["event"] == "control.accepted"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reason": None}, "reason"),
        ({"reason": " "}, "reason"),
        ({"application": None}, "application"),
        ({"environment": "No Such"}, "environment"),
        ({"deployment_id": "d1"}, "deployment_id"),
        ({"until": "tomorrow"}, "until"),
        ({"until": "2099-01-01T00:00:00"}, "until"),
        ({"until": "2099-02-31T00:00:00Z"}, "until"),
        ({"until": "9999-12-31T23:59:59-23:00"}, "until"),
        ({"until": 4070908800}, "until"),
        ({"once": "done"}, "once"),
    ],
)
async def test_what_is_wrong_with_a_lock_is_named(site: Site, changes: dict[str, Any], field: str) -> None:
    answer = await site.say("lock", **changes)
    assert (answer["event"], answer["command"], answer["failure"]["code"]) == (
        "control.rejected", "lock", "request.invalid"
    )  # fmt: skip
    assert [each["field"] for each in answer["failure"]["details"]] == [field]
    assert (answer["deployment_id"], answer["version"], site.lock) == (None, None, None)


async def test_an_unlock_takes_no_end(site: Site) -> None:
    answer = await site.say("unlock", until="2099-01-01T00:00:00Z")
    assert [each["field"] for each in answer["failure"]["details"]] == ["until"]


async def test_an_end_that_has_passed_is_invalid(site: Site) -> None:
    answer = await site.say("lock", until="2001-01-01T00:00:00Z")
    assert answer["failure"]["code"] == "request.invalid"
    assert "until must be in the future" in answer["failure"]["message"]
    assert (answer["application"], answer["deployment_id"]) == ("shop", None)
    assert site.lock is None
    (row,) = site.world.record.audit
    assert (row.entry["kind"], row.entry["outcome"], row.entry["command"]) == ("lock", "request.invalid", "lock")


@pytest.mark.parametrize("command", ["lock", "unlock"])
async def test_who_may_not_is_refused_and_nothing_is_changed(site: Site, command: str) -> None:
    await site.say("lock")
    before = site.lock
    site.world.rules.current = replace(SRE_ONLY, digest="d" * 64)
    answer = await site.say(command, reason="for me")
    assert (answer["event"], answer["deployment_id"], answer["version"]) == ("control.rejected", None, None)
    assert answer["failure"]["code"] == "control.forbidden"
    assert answer["failure"]["message"] == (
        f"{command} of shop/production is not permitted: user_id must be one of: sre [control sre]; ask #sre"
    )
    assert site.lock == before
    refused = site.world.record.audit[-1].entry
    told = ("kind", "outcome", "command", "identity", "reason", "policy")
    assert [refused[name] for name in told] == [
        "lock", "control.forbidden", command, "amqp:orchestrator", "for me", "d" * 64
    ]  # fmt: skip


async def test_a_rule_names_commands_and_lanes(site: Site) -> None:
    mine = IdentityNames(("orchestrator",))
    site.world.rules.current = Policy(controls=(ControlPermission("own", commands=("lock",), identities=mine),))
    assert (await site.say("lock"))["event"] == "control.accepted"
    answer = await site.say("unlock")
    assert "no [[control]] covers it" in answer["failure"]["message"]


def test_not_requester_is_about_approvals_and_forbids_no_lock() -> None:
    policy = Policy(controls=(ControlPermission("four-eyes", not_requester=True),))
    assert policy.judge_control("lock", ControlledLane("shop", "production"), UNPROVED) == []


GLASS = {"reason": "the shop is down, hunter22 says"}
MAY = Policy(permissions=(Permission("on-call", users=IdentityNames(("orchestrator",)), break_glass=True),))


async def test_break_glass_goes_past_a_lock_and_is_counted(site: Site) -> None:
    site.world.rules.current = MAY
    await site.say("lock")
    await site.intake.handle(incoming(site.event(break_glass=GLASS)))
    row = site.world.row()
    assert row.new.break_glass == "the shop is down, hunter22 says"
    assert row.events[0].body["break_glass"] == GLASS
    assert site.meters.glasses == 1
    assert "breaks the glass" in site.log.of("warning")[-1]
    await site.intake.handle(incoming(site.event(break_glass=GLASS)))
    assert site.meters.glasses == 1, "a repeat is the same deployment"


async def test_break_glass_is_forbidden_where_no_rule_lets_it(site: Site) -> None:
    await site.say("lock")
    await site.intake.handle(incoming(site.event(break_glass=GLASS)))
    (answer,) = [each for each in site.answered() if each["event"] == "deployment.rejected"]
    assert answer["failure"]["code"] == "request.forbidden"
    assert answer["failure"]["details"][0]["field"] == "break_glass"
    assert site.meters.glasses == 0


@pytest.mark.parametrize("wrong", [{}, {"reason": ""}, {"reason": " "}, {"reason": "x", "who": "me"}, "fire", True])
async def test_break_glass_needs_a_reason(site: Site, wrong: object) -> None:
    await site.intake.handle(incoming(site.event(break_glass=wrong)))
    assert site.answered()[-1]["failure"]["code"] == "request.invalid"
