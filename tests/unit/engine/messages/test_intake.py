"""Deploy events in: each reason to refuse has its code and its answer; what is good is stored once."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.inventory import FakeInventory
from tests.unit.engine.messages.mailbox import NAMESPACE, Counted, Post, incoming
from tests.unit.engine.world import CAPS, ONE_STEP, RELEASE, InstanceStore, World

from vesemir.adapters.observe import redact
from vesemir.adapters.record_seal import RecordSeal
from vesemir.domain.failure import FailureCode
from vesemir.domain.freeze import FreezeEnd
from vesemir.domain.identity import Asker, Identity, IdentityNames, Person, Persons
from vesemir.domain.permission import Permission
from vesemir.domain.policy import ALLOW_ALL, Freeze, Limit, Policy
from vesemir.domain.problem import Problem
from vesemir.domain.recipe import Parameter, Recipe
from vesemir.domain.selector import Selector
from vesemir.engine.messages.intake import Intake, IntakeRules
from vesemir.engine.ownership.secret_parameters import Seal, Secrecy
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.engine.ports.observe import IntakeOutcome
from vesemir.engine.ports.store import ControlCommand, StoreAwayError

ASKS = Recipe("asks", parameters={"size": Parameter("size", max_length=3)}, steps=RELEASE.steps)
HUSH = Recipe(
    "hush", parameters={"key": Parameter("key", secret=True), "url": Parameter("url", default="")}, steps=RELEASE.steps
)
Change = Callable[[dict[str, Any]], Any]


class Door(Post):
    """An intake, its record and its broker."""

    def __init__(self, inventory: FakeInventory | None = None, *, seal: Seal | None = None) -> None:
        super().__init__()
        self.world = World(2, recipes=(RELEASE, ONE_STEP, ASKS, HUSH))
        self.store = InstanceStore(self.world.record, instance="host/1")
        self.meters = Counted()
        self.woken = 0
        rules = IntakeRules(
            self.world.book,
            self.world.rules,
            inventory or self.world.inventory,
            CAPS,
            100_000,
            NAMESPACE,
            Secrecy(redact, seal),
        )
        self.intake = Intake(
            rules, store=self.store, answers=self.answers, log=self.log, meters=self.meters, on_accepted=self._wake
        )

    def _wake(self) -> None:
        self.woken += 1

    def event(self, **more: Any) -> dict[str, Any]:
        return {**self.world.event(traffic=True), **more}


@pytest.fixture
def door() -> Door:
    return Door()


async def test_a_good_event_is_stored_with_its_destination(door: Door) -> None:
    await door.intake.handle(incoming(door.event(requested_by="somebody", team="payments")))
    new = door.world.row().new
    assert (new.version, new.team, new.requested_by) == ("2.0.0", "payments", "somebody")
    assert new.asker == Asker(Identity("amqp", "orchestrator"), claimed="somebody")
    assert door.world.names() == ["deployment.accepted"]
    places = [each.where for each in door.world.record.destinations]
    assert [(each.reply_to, each.correlation_id) for each in places if each] == [("answers", "c-1")]
    assert (door.woken, door.meters.events, door.broker.published) == (1, [IntakeOutcome.ACCEPTED], [])


async def test_without_reply_to_only_the_exchange_hears_of_it(door: Door) -> None:
    await door.intake.handle(incoming(door.event(), reply_to=None))
    assert [each.where for each in door.world.record.destinations] == [None]


async def test_a_repeat_is_no_second_deployment(door: Door) -> None:
    for _ in range(3):
        await door.intake.handle(incoming(door.event()))
    spaced = json.dumps(door.event(), indent=3, sort_keys=True).encode()
    await door.intake.handle(incoming(spaced))
    assert list(door.world.record.rows) == ["d1"]
    assert door.meters.events == [IntakeOutcome.ACCEPTED, *[IntakeOutcome.REPEATED] * 3]
    assert door.broker.published == []


async def test_the_same_id_with_another_body_is_a_conflict_and_the_first_stays(door: Door) -> None:
    await door.intake.handle(incoming(door.event()))
    await door.intake.handle(incoming(door.event(version="9.9.9")))
    (answer,) = door.answered()
    assert answer["failure"]["code"] == "request.conflict"
    assert answer["failure"]["details"][0]["field"] == "deployment_id"
    assert door.world.row().new.version == "2.0.0"
    assert door.meters.events == [IntakeOutcome.ACCEPTED, IntakeOutcome.REJECTED]


async def test_after_a_restore_an_older_event_is_refused_and_a_newer_one_taken(door: Door) -> None:
    """The lost record may have run it; one that does not say when it was sent may be as old."""
    door.world.record.restored_at = 1000.0
    for sent_at in (999.0, 1000.0, None):
        await door.intake.handle(replace(incoming(door.event()), sent_at=sent_at))
    assert [answer["failure"]["code"] for answer in door.answered()] == ["request.conflict"] * 3
    assert "restored from a backup" in door.answered()[0]["failure"]["message"]
    assert door.meters.events == [IntakeOutcome.REJECTED] * 3
    await door.intake.handle(replace(incoming(door.event()), sent_at=1001.0))
    assert door.meters.events[-1] is IntakeOutcome.ACCEPTED


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        (lambda _: b"{", "request.invalid", "body"),
        (lambda _: b"[]", "request.invalid", "body"),
        (lambda body: {**body, "on_failur": 1}, "request.invalid", "on_failur"),
        (lambda body: {**body, "schema": "vesemir.deploy/9"}, "request.invalid", "schema"),
        (lambda _: b" " * 100_001, "request.too_large", "body"),
        (lambda body: {**body, "recipe": "nothing"}, "request.unknown_recipe", "recipe"),
        (lambda body: {**body, "recipe": "asks"}, "request.invalid_parameters", "parameters.size"),
        (lambda body: {**body, "parameters": {"a": "b"}}, "request.invalid_parameters", "parameters.a"),
        (
            lambda body: {**body, "recipe": "one-step", "rollout": {"on_failure": "rollback"}},
            "request.invalid",
            "rollout.on_failure",
        ),
        (lambda body: {**body, "targets": {"hosts": ["web9"]}}, "targets.unknown_host", "targets.hosts[0]"),
        (lambda body: {**body, "targets": {"hosts": ["-x"]}}, "targets.unknown_host", "targets.hosts[0]"),
        (
            lambda body: {**body, "haproxy": {**body["haproxy"], "targets": {"hosts": ["web1", "lb9"]}}},
            "targets.unknown_host",
            "haproxy.targets.hosts[1]",
        ),
    ],
)
async def test_each_refusal_has_its_code_and_its_place(door: Door, change: Change, code: str, field: str) -> None:
    message = incoming(change(door.event()))
    await door.intake.handle(message)
    (answer,), (topic,) = door.answered(), door.answered("vesemir.events")
    assert answer == topic
    assert answer["event"] == "deployment.rejected"
    assert answer["failure"]["code"] == code
    assert field in [detail["field"] for detail in answer["failure"]["details"]]
    (copy,) = door.to("vesemir.rejected")
    assert (copy.body, copy.headers["x-vesemir-code"]) == (message.body, code)
    assert not door.world.record.rows
    assert (door.meters.events, door.woken) == ([IntakeOutcome.REJECTED], 0)
    assert door.meters.codes == [code]
    assert code in door.log.of("warning")[0]


async def test_without_recipes_the_refusal_says_none(door: Door) -> None:
    door.world.book.known.clear()
    await door.intake.handle(incoming(door.event()))
    assert door.answered()[0]["failure"]["details"][0]["message"] == "must be one of: none"


async def test_a_problem_of_the_inventory_can_have_its_own_code() -> None:
    class Forbidding(FakeInventory):
        def refuse(self, selector: Selector) -> list[Problem]:
            del selector
            return [Problem("chef.query", "is not allowed", FailureCode.REQUEST_FORBIDDEN)]

    door = Door(Forbidding([]))
    await door.intake.handle(incoming(door.event()))
    assert door.answered()[0]["failure"]["code"] == "request.forbidden"


async def test_a_record_or_broker_that_is_away_has_the_message_come_again(door: Door) -> None:
    door.store.cut_off = True
    with pytest.raises(StoreAwayError):
        await door.intake.handle(incoming(door.event()))
    with pytest.raises(StoreAwayError):
        await door.intake.handle(incoming(b"{"))
    assert door.broker.published == []  # no refusal without its row in the audit
    door.store.cut_off, door.broker.away = False, True
    with pytest.raises(BrokerAwayError):
        await door.intake.handle(incoming(b"{"))
    door.broker.away = False
    await door.intake.handle(incoming(door.event()))
    assert list(door.world.record.rows) == ["d1"]


# --- the audit ----------------------------------------------------------------------------------------------------


async def test_every_refusal_is_in_the_audit_with_its_reason_and_what_it_was_judged_by(door: Door) -> None:
    door.world.rules.current = replace(OTHERS, digest="d" * 64)
    await door.intake.handle(incoming(door.event(requested_by="amqp://u:hunter22@x/")))
    await door.intake.handle(incoming(b"{"))

    forbidden, unreadable = (row.entry for row in door.world.record.audit)
    assert (forbidden["kind"], forbidden["outcome"], forbidden["identity"]) == (
        "refusal", "request.forbidden", "amqp:orchestrator",
    )  # fmt: skip
    assert (forbidden["deployment_id"], forbidden["application"], forbidden["policy"]) == ("d1", "shop", "d" * 64)
    assert "hunter22" not in forbidden["claimed"]
    assert forbidden["rule"]
    assert (unreadable["outcome"], unreadable["deployment_id"]) == ("request.invalid", None)


async def test_what_was_accepted_is_in_the_audit_with_the_rule_that_allowed_it(door: Door) -> None:
    bots = Permission("bots", users=IdentityNames(("orchestrator",)))
    door.world.rules.current = Policy(permissions=(bots,), digest="d" * 64)
    await door.intake.handle(incoming(door.event()))
    (accepted,) = (row.entry for row in door.world.record.audit)
    assert (accepted["outcome"], accepted["rule"], accepted["policy"]) == ("accepted", "allow bots", "d" * 64)


async def test_a_conflict_is_in_the_audit(door: Door) -> None:
    await door.intake.handle(incoming(door.event()))
    await door.intake.handle(incoming(door.event(version="9.9.9")))
    outcomes = [row.entry["outcome"] for row in door.world.record.audit]
    assert outcomes == ["accepted", "request.conflict"]


# --- secrets ------------------------------------------------------------------------------------------------------

SEAL = RecordSeal(["k" * 32])
GIVEN = {"key": "s3cret-s3cret", "url": "https://me:hunter22@host/shop"}


async def test_what_is_secret_is_stored_sealed() -> None:
    door = Door(seal=SEAL)
    await door.intake.handle(incoming(door.event(recipe="hush", parameters=GIVEN, requested_by="amqp://u:hunter22@x/")))
    new = door.world.row().new
    assert new.request["parameters"] == {"key": "•••", "url": "•••"}
    assert new.sealed is not None
    assert SEAL.open("d1", new.sealed) == GIVEN
    assert "s3cret" not in str(new)
    assert "hunter22" not in str(new)
    await door.intake.handle(incoming(door.event(recipe="hush", parameters=GIVEN, requested_by="amqp://u:hunter22@x/")))
    assert door.meters.events == [IntakeOutcome.ACCEPTED, IntakeOutcome.REPEATED], "it is compared as it came"


async def test_without_a_key_a_secret_is_refused_and_not_repeated(door: Door) -> None:
    await door.intake.handle(incoming(door.event(recipe="hush", parameters=GIVEN)))
    (answer,) = door.answered()
    assert answer["failure"]["code"] == "request.forbidden"
    assert [each["field"] for each in answer["failure"]["details"]] == ["parameters.key", "parameters.url"]
    assert "secrets.key_file" in answer["failure"]["message"]
    assert "s3cret" not in str(answer)


async def test_what_the_record_shows_for_a_secret_is_no_secret() -> None:
    door = Door(seal=SEAL)
    await door.intake.handle(incoming(door.event(recipe="hush", parameters={"key": "•••"})))
    (answer,) = door.answered()
    assert answer["failure"]["code"] == "request.invalid_parameters"
    assert "give the secret itself" in answer["failure"]["message"]


# --- what ended long ago --------------------------------------------------------------------------------------------


async def test_a_repeat_after_the_clean_up_gets_the_result_again(door: Door) -> None:
    await door.intake.handle(incoming(door.event()))
    await door.store.control(ControlCommand("cancel", "d1", None, None))
    row = door.world.row()
    door.world.record.forget(row)
    for _ in range(2):
        await door.intake.handle(incoming(door.event()))
    first, second = door.to("answers")
    assert json.loads(first.body) == row.events[-1].body
    assert (first.type, first.correlation_id, first.mandatory) == ("deployment.finished", "c-1", True)
    assert first.message_id == second.message_id
    assert door.meters.events == [IntakeOutcome.ACCEPTED, IntakeOutcome.REPEATED, IntakeOutcome.REPEATED]
    assert "d1" not in door.world.record.rows

    await door.intake.handle(incoming(door.event(), reply_to=None))
    assert len(door.to("answers")) == 2
    await door.intake.handle(incoming(door.event(version="9")))
    assert door.answered()[-1]["failure"]["code"] == "request.conflict"


# --- rules that change ------------------------------------------------------------------------------------------------

OURS = Policy((Permission("ours", users=IdentityNames(("orchestrator",))),), contact="#platform")
OTHERS = Policy((Permission("others", users=IdentityNames(("somebody-else",))),), contact="#platform")


async def test_the_policy_refuses_by_name_and_says_whom_to_ask(door: Door) -> None:
    door.world.rules.current = OTHERS
    await door.intake.handle(incoming(door.event()))
    (answer,) = door.answered()
    assert answer["failure"]["code"] == "request.forbidden"
    (detail,) = answer["failure"]["details"]
    assert detail == {"field": "user_id", "message": "must be one of: somebody-else [allow others]; ask #platform"}
    door.world.rules.current = OURS
    await door.intake.handle(incoming(door.event()))
    assert list(door.world.record.rows) == ["d1"]


async def test_what_was_accepted_once_is_not_refused_when_it_comes_again(door: Door) -> None:
    """Rules, recipes and hosts may have changed since; another body under its id is refused all the same."""
    await door.intake.handle(incoming(door.event()))
    door.world.rules.current = OTHERS
    await door.intake.handle(incoming(door.event()))
    door.world.book.known.clear()
    await door.intake.handle(incoming(door.event()))
    assert door.meters.events == [IntakeOutcome.ACCEPTED, IntakeOutcome.REPEATED, IntakeOutcome.REPEATED]
    assert door.broker.published == []
    await door.intake.handle(incoming(door.event(version="9.9.9")))
    assert door.meters.codes == [FailureCode.REQUEST_CONFLICT]


class Always:
    """A window without end."""

    def end_after(self, now: float) -> FreezeEnd | None:
        return FreezeEnd(now + 1, "then")


JOINED = Persons((Person("bots", frozenset({Identity("amqp", "orchestrator"), Identity("amqp", "robot")})),))
FREEZE = Freeze("always", (Always(),))


@pytest.mark.parametrize(
    ("policy", "again", "refused"),
    [
        (ALLOW_ALL, "eve", False),
        (OURS, "orchestrator", False),
        (OURS, "eve", True),
        (OURS, None, True),
        (replace(OURS, persons=JOINED), "robot", False),
        (OURS, "robot", True),
        # Of the policy only [[allow]] is asked for a repeat, and not for one of its requester.
        (replace(ALLOW_ALL, freezes=(FREEZE,)), "eve", False),
        (replace(OURS, freezes=(FREEZE,), limits=(Limit("few", max_targets=1),)), "orchestrator", False),
        (replace(OURS, freezes=(FREEZE,)), "eve", True),
        (OTHERS, "orchestrator", False),
        (replace(OTHERS, persons=JOINED), "robot", False),
        (replace(OTHERS, freezes=(FREEZE,)), "somebody-else", False),
    ],
)
@pytest.mark.parametrize("cleaned", [False, True])
async def test_a_repeat_of_another_identity_needs_its_permission(
    door: Door, *, policy: Policy, again: str | None, refused: bool, cleaned: bool
) -> None:
    await door.intake.handle(incoming(door.event()))
    if cleaned:
        await door.store.control(ControlCommand("cancel", "d1", None, None))
        door.world.record.forget(door.world.row())
    door.world.rules.current = policy
    door.broker.declare("gone")
    await door.intake.handle(replace(incoming(door.event(), reply_to="gone"), user_id=again))
    assert door.meters.codes == [FailureCode.REQUEST_FORBIDDEN] * refused
    places = [each.where.reply_to for each in door.world.record.destinations if each.where is not None]
    answers = [answer["event"] for answer in door.answered("gone")]
    if refused:
        assert "gone" not in places, "none of the deployment's events goes there"
        assert answers == ["deployment.rejected"]
    else:
        assert answers == ["deployment.finished"] * cleaned
        assert ("gone" in places) is not cleaned


async def test_messages_without_an_identity_count_as_one(door: Door) -> None:
    nobodys = replace(incoming(door.event()), user_id=None)
    await door.intake.handle(nobodys)
    door.world.rules.current = OTHERS
    await door.intake.handle(nobodys)
    await door.intake.handle(incoming(door.event()))
    assert door.meters.events == [IntakeOutcome.ACCEPTED, IntakeOutcome.REPEATED, IntakeOutcome.REJECTED]


async def test_nobody_knows_who_sent_what_the_release_before_accepted_and_cleaned_up(door: Door) -> None:
    """Its requester is judged like anybody else."""
    await door.intake.handle(incoming(door.event()))
    known = door.world.record.known["d1"]
    door.world.record.known["d1"] = replace(known, identity=None, certain=False)
    door.world.rules.current = OTHERS
    await door.intake.handle(replace(incoming(door.event()), user_id=None))
    door.world.rules.current = OURS
    await door.intake.handle(incoming(door.event()))
    assert door.meters.events == [IntakeOutcome.ACCEPTED, IntakeOutcome.REJECTED, IntakeOutcome.REPEATED]


async def test_an_event_that_moves_no_traffic(door: Door) -> None:
    await door.intake.handle(incoming(door.world.event(targets={"hosts": ["web1"]})))
    assert door.meters.events == [IntakeOutcome.ACCEPTED]


async def test_changed_files_are_looked_at_before_a_request_is_judged(door: Door) -> None:
    await door.intake.handle(incoming(door.event()))
    assert door.world.book.refreshed == 1
