"""Control messages in: wishes in the record, and one answer each."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.engine.messages.mailbox import NAMESPACE, Counted, Post, incoming
from tests.unit.engine.world import InstanceStore, World

from vesemir.domain.control_permission import ControlPermission
from vesemir.domain.failure import FailureCode
from vesemir.domain.identity import Asker, Identity, IdentityNames
from vesemir.domain.policy import Policy
from vesemir.domain.states import DeploymentState
from vesemir.domain.wish import Wish
from vesemir.engine.messages.control import Control
from vesemir.engine.ports.records import Wishes
from vesemir.engine.ports.store import StoreAwayError


class Desk(Post):
    """A control handler over a record with one waiting deployment."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(1)
        self.store = InstanceStore(self.world.record, instance="host/1")
        self.meters = Counted()
        self.woken = 0
        self.control = Control(
            store=self.store,
            policies=self.world.rules,
            answers=self.answers,
            log=self.log,
            meters=self.meters,
            namespace=NAMESPACE,
            redact=lambda text: text.replace("hunter22", "•••"),
            max_bytes=1000,
            on_wish=self._wake,
        )

    def _wake(self) -> None:
        self.woken += 1

    async def say(self, command: str, name: str = "d1", **more: Any) -> dict[str, Any]:
        body = {"schema": "vesemir.control/1", "command": command, "deployment_id": name, **more}
        await self.control.handle(incoming(body))
        return self.answered()[-1]


@pytest.fixture
async def desk() -> Desk:
    desk = Desk()
    await desk.world.accept()
    return desk


async def test_a_wish_is_set_and_accepted(desk: Desk) -> None:
    answer = await desk.say("pause", requested_by="me", reason="lunch")
    assert (answer["event"], answer["command"], answer["application"]) == ("control.accepted", "pause", "shop")
    assert desk.world.row().pause == Wish("me", "lunch", Identity("amqp", "orchestrator"))
    assert (desk.woken, desk.meters.controls) == (1, [("pause", True)])


async def test_a_waiting_deployment_is_cancelled_at_once(desk: Desk) -> None:
    assert (await desk.say("cancel"))["event"] == "control.accepted"
    assert desk.world.row().state is DeploymentState.CANCELLED
    assert (await desk.world.result())["failure"]["code"] == "deployment.cancelled"
    assert desk.woken == 1
    assert desk.meters.finished == [(DeploymentState.CANCELLED, FailureCode.DEPLOYMENT_CANCELLED, None)]


async def test_a_waiting_dry_run_counts_as_a_dry_run() -> None:
    desk = Desk()
    await desk.world.accept(dry_run=True)
    assert (await desk.say("cancel"))["event"] == "control.accepted"
    assert (desk.meters.finished, desk.meters.rehearsed) == ([], [DeploymentState.CANCELLED])


async def test_what_has_ended_cannot_be_paused(desk: Desk) -> None:
    await desk.say("cancel")
    answer = await desk.say("pause")
    assert (answer["event"], answer["failure"]["code"]) == ("control.rejected", "control.not_running")
    assert (desk.woken, desk.meters.controls[-1]) == (1, ("pause", False))


async def test_a_deployment_that_is_not_known_may_come_yet(desk: Desk) -> None:
    answer = await desk.say("pause", "d9")
    assert (answer["failure"]["code"], answer["deployment_id"]) == ("control.unknown_deployment", "d9")
    assert "try again" in answer["failure"]["message"]
    assert answer["application"] is None


async def test_a_cancel_of_what_is_not_known_is_kept_and_says_so(desk: Desk) -> None:
    answer = await desk.say("cancel", "d9")
    assert (answer["event"], answer["known"], answer["application"]) == ("control.accepted", False, None)
    assert (await desk.say("cancel"))["known"] is True


@pytest.mark.parametrize("body", [b"{", b" " * 1001, b'{"schema": "vesemir.control/1", "command": "explode"}'])
async def test_what_cannot_be_read_is_refused_and_copied(desk: Desk, body: bytes) -> None:
    await desk.control.handle(incoming(body))
    (answer,) = desk.answered()
    assert answer["event"] == "control.rejected"
    assert [each.body for each in desk.to("vesemir.rejected")] == [body]
    assert desk.meters.controls == [("unknown", False)]
    assert desk.woken == 0


async def test_a_record_that_is_away_has_the_message_come_again(desk: Desk) -> None:
    desk.store.cut_off = True
    with pytest.raises(StoreAwayError):
        await desk.say("cancel")
    assert desk.answered() == []


# --- who may ----------------------------------------------------------------------------------------------------------

SRE_ONLY = Policy(controls=(ControlPermission("sre", identities=IdentityNames(("sre",))),), contact="#sre")
FOUR_EYES = Policy(controls=(ControlPermission("four-eyes", not_requester=True),))


@pytest.mark.parametrize("command", ["cancel", "pause", "resume"])
async def test_who_may_not_is_refused_and_told_whom_to_ask(desk: Desk, command: str) -> None:
    desk.world.rules.current = SRE_ONLY
    answer = await desk.say(command, requested_by="sre")
    assert (answer["event"], answer["application"], answer["version"]) == ("control.rejected", "shop", "2.0.0")
    assert answer["failure"] == {
        "code": "control.forbidden",
        "message": f"{command} of deployment d1 is not permitted: user_id must be one of: sre [control sre]; ask #sre",
        "runbook": "docs/runbook.md#control-forbidden",
    }
    assert desk.world.row().wishes == Wishes()
    assert (desk.woken, desk.meters.controls) == (0, [(command, False)])
    assert "asked for by sre (amqp:orchestrator): forbidden" in desk.log.of("info")[-1]


async def test_who_may_is_obeyed(desk: Desk) -> None:
    desk.world.rules.current = replace(SRE_ONLY, controls=(ControlPermission("all", commands=("cancel",)),))
    assert (await desk.say("cancel"))["event"] == "control.accepted"


async def test_the_rules_in_force_are_asked(desk: Desk) -> None:
    before = desk.world.rules.refreshed
    await desk.say("pause")
    assert desk.world.rules.refreshed == before + 1


async def test_an_approval_is_not_its_requesters(desk: Desk) -> None:
    """Judged by what the record has: the deployment's own identity, and that it waits for an approval now."""
    desk.world.rules.current = FOUR_EYES
    row = desk.world.row()
    row.new = replace(row.new, asker=Asker.by_amqp("orchestrator"))
    row.awaits_approval = True
    answer = await desk.say("resume")
    assert answer["failure"]["code"] == "control.forbidden"
    assert "who asked for the deployment (not_requester) [control four-eyes]" in answer["failure"]["message"]
    row.new = replace(row.new, asker=Asker.by_amqp("somebody"))
    assert (await desk.say("resume"))["event"] == "control.accepted"
    assert row.approvals == 1
    told = desk.world.record.audit[-1].entry
    assert (told["kind"], told["outcome"], told["rule"]) == ("approval", "accepted", "control four-eyes")


async def test_an_unknown_deployment_is_unknown_to_everybody(desk: Desk) -> None:
    desk.world.rules.current = SRE_ONLY
    assert (await desk.say("pause", "d9"))["failure"]["code"] == "control.unknown_deployment"
    assert (await desk.say("cancel", "d9"))["known"] is False, "its right is judged when the deploy event comes"


async def test_commands_and_their_refusals_are_in_the_audit(desk: Desk) -> None:
    desk.world.record.audit.clear()
    await desk.say("pause", requested_by="hunter22", reason="lunch")
    await desk.say("pause", "nobody")
    nobody = ControlPermission("none", identities=IdentityNames(("someone",)))
    desk.world.rules.current = Policy(controls=(nobody,), digest="d" * 64)
    await desk.say("resume")
    await desk.say("dance")

    told = [(row.entry["kind"], row.entry["outcome"], row.entry["command"]) for row in desk.world.record.audit]
    assert told == [
        ("control", "accepted", "pause"),
        ("control", "control.unknown_deployment", "pause"),
        ("control", "control.forbidden", "resume"),
        ("refusal", "request.invalid", None),
    ]
    first, _, forbidden, _ = (row.entry for row in desk.world.record.audit)
    assert (first["identity"], first["claimed"], first["reason"]) == ("amqp:orchestrator", "•••", "lunch")
    assert (forbidden["application"], forbidden["policy"]) == ("shop", "d" * 64)
    assert "not permitted" in forbidden["rule"]
