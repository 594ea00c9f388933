"""The port to the record, on the fake and on PostgreSQL: accepting deployments and control messages."""

import asyncio
import itertools
import re
from dataclasses import replace

import pytest
from tests.contract.store_suite import (
    QUEUE,
    Stores,
    a_deployment,
    accepted_and_claimed,
    claim,
    event_names,
    finish,
    started,
    store,
    stores,
)
from tests.integration.postgres_server import postgres_server

from vesemir.domain.control import ControlDecision, ControlledDeployment, decide_control
from vesemir.domain.events import DeploymentPausedEvent
from vesemir.domain.failure import FailureCode
from vesemir.domain.identity import Asker, Identity
from vesemir.domain.result import empty_metrics
from vesemir.domain.states import DeploymentState
from vesemir.domain.wish import Wish
from vesemir.engine.ports.changes import MoveDeployment
from vesemir.engine.ports.records import Destination, KnownRequest, Wishes
from vesemir.engine.ports.store import AcceptKind, ControlAnswer, ControlCommand, Store

__all__ = ["postgres_server", "store", "stores"]

BOT = a_deployment().asker.identity
RUNNING, PAUSED = DeploymentState.RUNNING, DeploymentState.PAUSED


def command(name: str, deployment_id: str = "d1", reason: str = "because") -> ControlCommand:
    return ControlCommand(name, deployment_id, "anna", reason)


async def test_a_new_id_is_accepted_and_says_so_first(store: Store) -> None:
    """The event has every common field, in the contract's order, before its own."""
    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.ACCEPTED

    (event,) = await store.events_after("d1", 0, limit=10)
    assert (event.deployment_id, event.sequence, event.name) == ("d1", 1, "deployment.accepted")
    assert list(event.body) == [
        "event", "deployment_id", "sequence", "occurred_at", "application", "environment", "version", "instance",
        "position", "not_before", "dry_run", "break_glass",
    ]  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event.body["occurred_at"])
    assert event.body["instance"] == "a/1"
    assert event.body["version"] == "1.4.2"


async def test_what_was_accepted_is_what_is_loaded(store: Store) -> None:
    await store.accept(a_deployment(), QUEUE)

    record = await store.load("d1")
    assert record is not None
    assert record.request == {"schema": "vesemir.deploy/1", "deployment_id": "d1"}
    assert (record.state, record.owner, record.epoch, record.started) == (DeploymentState.PENDING, None, 0, False)
    assert record.queued_seconds >= 0
    assert record.clock_seconds == record.total_seconds == 0


async def test_secrets_are_kept_until_the_end_and_no_longer(store: Store) -> None:
    held = await started(store)
    await store.accept(a_deployment("d2", application="blog"), None)
    record = await store.load("d1")
    assert record is not None
    assert record.sealed == b"\x00sealed"
    await finish(store, held)
    await store.control(command("cancel", "d2"))
    for name in ("d1", "d2"):
        ended = await store.load(name)
        assert ended is not None
        assert ended.sealed is None


async def test_an_unknown_id_loads_nothing(store: Store) -> None:
    assert await store.load("nobody") is None
    assert await store.events_after("nobody", 0, limit=10) == []


async def test_position_counts_what_is_before_it_in_its_lane(store: Store) -> None:
    """Active or waiting; what has finished, and other lanes, do not count."""
    await store.accept(a_deployment("gone"), None)
    await finish(store, await claim(store))
    await store.accept(a_deployment("active"), None)
    await claim(store)
    await store.accept(a_deployment("other", application="blog"), None)
    await store.accept(a_deployment("second"), None)
    await store.accept(a_deployment("third"), None)

    positions = {}
    for name in ("active", "other", "second", "third"):
        (event, *_) = await store.events_after(name, 0, limit=1)
        positions[name] = event.body["position"]
    assert positions == {"active": 0, "other": 0, "second": 1, "third": 2}


async def test_the_same_id_and_body_is_a_repeat(store: Store) -> None:
    """It changes nothing: one deployment, one event."""
    await store.accept(a_deployment(), QUEUE)

    assert await store.accept(a_deployment(), QUEUE) is AcceptKind.REPEATED
    assert await event_names(store) == ["deployment.accepted"]


async def test_the_same_id_with_another_body_is_a_conflict(store: Store) -> None:
    await store.accept(a_deployment(), QUEUE)

    assert await store.accept(a_deployment(body_hash=b"2"), Destination("thief", None)) is AcceptKind.CONFLICT
    assert {delivery.reply_to for delivery in await store.lease_deliveries("p", seconds=5, limit=10)} == {
        None,
        "answers",
    }


async def test_fifty_at_once_over_two_instances_make_one_deployment(stores: Stores) -> None:
    """An id runs once, however often it comes, to whichever instance."""
    several = [await stores("a/1"), await stores("b/2")]

    kinds = await asyncio.gather(*(several[i % 2].accept(a_deployment(), QUEUE) for i in range(50)))

    assert sorted(kinds) == [AcceptKind.ACCEPTED] + [AcceptKind.REPEATED] * 49
    assert await event_names(several[0]) == ["deployment.accepted"]
    assert len(await several[0].lease_deliveries("p", seconds=5, limit=10)) == 2


async def test_twenty_ids_at_once_in_one_lane_get_positions_without_gaps(store: Store) -> None:
    """Position and order of arrival agree, also when they come in the same moment."""
    names = [f"d{number}" for number in range(20)]
    await asyncio.gather(*(store.accept(a_deployment(name), None) for name in names))

    positions = {}
    for name in names:
        (event,) = await store.events_after(name, 0, limit=1)
        positions[event.body["position"]] = name
    assert sorted(positions) == list(range(20))
    for position in range(20):
        claimed = await claim(store)
        assert claimed.deployment_id == positions[position]
        await finish(store, claimed)


async def test_control_of_an_unknown_id_says_so(store: Store) -> None:
    for name in ("pause", "resume"):
        assert await store.control(command(name)) == (ControlAnswer.UNKNOWN, None)


async def test_cancel_of_a_waiting_one_finishes_it_at_once(store: Store) -> None:
    """With its result: no targets, every metric there and zero but for the wait."""
    await store.accept(a_deployment(), QUEUE)

    answer = await store.control(command("cancel"))

    assert answer == (ControlAnswer.FINISHED, ControlledDeployment("shop", "production", "1.4.2", requester=BOT))
    (_, finished) = await store.events_after("d1", 0, limit=10)
    assert (finished.name, finished.sequence) == ("deployment.finished", 2)
    assert (finished.body["status"], finished.body["targets"]) == ("cancelled", [])
    assert finished.body["failure"]["code"] == "deployment.cancelled"
    assert "anna" in finished.body["failure"]["message"]
    metrics = finished.body["metrics"]
    assert metrics == empty_metrics(metrics["queued_seconds"])
    assert list(metrics) == list(empty_metrics(0))
    record = await store.load("d1")
    assert record is not None
    assert record.state is DeploymentState.CANCELLED
    assert record.failure is not None
    assert record.failure.code is FailureCode.DEPLOYMENT_CANCELLED
    assert await store.claim("a/1", lease_seconds=5, max_expiries=5) is None


async def test_cancel_of_a_running_one_is_a_wish_and_the_first_stays(store: Store) -> None:
    await accepted_and_claimed(store)

    assert (await store.control(command("cancel", reason="first")))[0] is ControlAnswer.ACCEPTED
    assert (await store.control(command("cancel", reason="second")))[0] is ControlAnswer.ACCEPTED

    wishes = (await store.wishes("a/1"))["d1"]
    assert wishes.cancel == Wish("anna", "first")
    assert await event_names(store) == ["deployment.accepted"]


@pytest.mark.parametrize(
    "asker",
    [
        Asker(claimed="orchestrator"),
        Asker.by_amqp("bot", claimed="orchestrator"),
        Asker(Identity("oidc", "https://sso.example:7f3a"), "orchestrator", ("shop", "sre"), "http", "deployer"),
    ],
    ids=["nobody", "amqp", "oidc"],
)
async def test_who_asked_is_recorded_whatever_proved_it(store: Store, asker: Asker) -> None:
    await store.accept(replace(a_deployment(), asker=asker), QUEUE)
    record = await store.load("d1")
    assert record is not None
    assert record.asker == asker


async def test_who_proved_what_is_recorded_with_a_wish_and_is_not_told(store: Store) -> None:
    """The events carry the claim only (contract section 2)."""
    await accepted_and_claimed(store)
    asker = Asker.by_amqp("on-call", claimed="anna")
    for name in ("pause", "resume", "cancel"):
        await store.control(replace(command(name), asker=asker))
    wishes = (await store.wishes("a/1"))["d1"]
    assert wishes.resume == wishes.cancel == Wish("anna", "because", Identity("amqp", "on-call"))
    assert DeploymentPausedEvent(wishes.cancel).body() == {"requested_by": "anna", "reason": "because"}


async def test_pause_and_resume(store: Store) -> None:
    """A resume takes the pause back and counts as one approval."""
    await accepted_and_claimed(store)

    await store.control(command("pause", reason="lunch"))
    assert (await store.wishes("a/1"))["d1"].pause == Wish("anna", "lunch")
    await store.control(command("resume", reason="back"))

    wishes = (await store.wishes("a/1"))["d1"]
    assert (wishes.pause, wishes.resume, wishes.approvals) == (None, Wish("anna", "back"), 1)


async def test_a_waiting_one_may_be_paused(store: Store) -> None:
    """The wish is there when it is claimed."""
    await store.accept(a_deployment(), None)

    assert (await store.control(command("pause")))[0] is ControlAnswer.ACCEPTED

    await claim(store)
    record = await store.load("d1")
    assert record is not None
    assert record.wishes.pause is not None


async def test_a_rollback_cannot_be_paused(store: Store) -> None:
    claimed = await started(store)
    await store.commit(claimed, [MoveDeployment(RUNNING, DeploymentState.ROLLING_BACK)])

    assert (await store.control(command("pause")))[0] is ControlAnswer.NOT_RUNNING
    assert (await store.wishes("a/1"))["d1"].pause is None


@pytest.mark.parametrize("name", ["cancel", "pause", "resume"])
async def test_control_of_a_finished_one_is_refused(store: Store, name: str) -> None:
    """And the common fields are still told."""
    await finish(store, await started(store))

    answer = await store.control(command(name))

    assert answer == (ControlAnswer.NOT_RUNNING, ControlledDeployment("shop", "production", "1.4.2", requester=BOT))


@pytest.mark.parametrize("state", [state for state in DeploymentState if state is not DeploymentState.PENDING])
async def test_control_is_what_the_domain_decides(store: Store, state: DeploymentState) -> None:
    """In every state that an owner brings it to; a wish is set exactly where the decision is one."""
    claimed = await started(store)
    via = {DeploymentState.ROLLED_BACK: [DeploymentState.ROLLING_BACK]}.get(state, [])
    ways = [RUNNING, *via, *([] if state is RUNNING else [state])]
    await store.commit(claimed, [MoveDeployment(old, new) for old, new in itertools.pairwise(ways)])

    for name in ("pause", "resume", "cancel"):
        before = (await store.load("d1")).wishes
        answer, _ = await store.control(command(name))
        decision = decide_control(name, state)
        assert answer is ControlAnswer.of(decision)
        assert ((await store.load("d1")).wishes != before) == (decision is ControlDecision.WISH), name


async def test_an_unknown_command_changes_nothing(store: Store) -> None:
    await started(store)
    before = (await store.load("d1")).wishes

    with pytest.raises(KeyError):
        await store.control(command("explode"))

    assert (await store.load("d1")).wishes == before


async def test_cancel_of_a_cancelled_one_is_accepted(store: Store) -> None:
    """Commands are idempotent."""
    await store.accept(a_deployment(), QUEUE)
    await store.control(command("cancel"))

    assert (await store.control(command("cancel")))[0] is ControlAnswer.ACCEPTED
    assert await event_names(store) == ["deployment.accepted", "deployment.finished"]
    assert (await store.control(command("resume")))[0] is ControlAnswer.NOT_RUNNING


@pytest.mark.parametrize("identity", [None, Identity("amqp", "bot"), Identity("token", "ci")])
async def test_who_sent_an_id_first_is_known(store: Store, identity: Identity | None) -> None:
    """Whoever repeats it; also when its deployment was cleaned up."""
    await store.accept(replace(a_deployment(), asker=Asker(identity)), None)
    await store.accept(replace(a_deployment(), asker=Asker.by_amqp("eve")), None)
    assert await store.known("d1") == KnownRequest(b"1", identity)
    await store.control(command("cancel"))
    (place,) = await store.lease_deliveries("p", seconds=30, limit=10)
    await store.advance(place.destination_id, "p", 2, release=True)
    assert await store.clean_up(older_than_seconds=0, rows=1000) is not None
    assert await store.load("d1") is None
    assert await store.known("d1") == KnownRequest(b"1", identity)


@pytest.mark.parametrize("name", ["cancel", "pause", "resume"])
async def test_what_is_not_permitted_changes_nothing(store: Store, name: str) -> None:
    claimed = await accepted_and_claimed(store)
    asked: list[ControlledDeployment] = []

    def refuses(deployment: ControlledDeployment) -> bool:
        asked.append(deployment)
        return False

    expected = ControlledDeployment("shop", "production", "1.4.2", requester=BOT)
    assert await store.control(command(name), permits=refuses) == (ControlAnswer.FORBIDDEN, expected)
    assert (await store.wishes("a/1"))["d1"] == Wishes()
    await store.commit(claimed, [MoveDeployment(RUNNING, PAUSED, awaits_approval=True)])
    await store.control(command(name), permits=refuses)
    assert asked == [expected, replace(expected, awaits_approval=True)]
    assert await event_names(store) == ["deployment.accepted"]
    assert (await store.control(command(name), permits=lambda _: True))[0] is ControlAnswer.ACCEPTED


async def test_a_waiting_one_is_not_cancelled_by_who_may_not(store: Store) -> None:
    await store.accept(replace(a_deployment(), asker=Asker(Identity("token", "ci"))), QUEUE)
    answer, deployment = await store.control(command("cancel"), permits=lambda _: False)
    assert answer is ControlAnswer.FORBIDDEN
    assert deployment is not None
    assert (deployment.requester, deployment.awaits_approval) == (Identity("token", "ci"), False)
    assert await event_names(store) == ["deployment.accepted"]


async def test_nobodys_deployment_has_no_requester(store: Store) -> None:
    await store.accept(replace(a_deployment(), asker=Asker(claimed="anna")), QUEUE)
    _, deployment = await store.control(command("pause"))
    assert deployment == ControlledDeployment("shop", "production", "1.4.2")


async def test_an_id_that_was_accepted_is_known_by_its_bodys_hash(store: Store) -> None:
    assert await store.known("d1") is None
    await store.accept(a_deployment(body_hash=b"abc"), None)
    known = await store.known("d1")
    assert known is not None
    assert known.body_hash == b"abc"
    record = await store.load("d1")
    assert record is not None
    assert record.asker == a_deployment().asker


async def test_many_at_once_are_each_accepted_in_their_turn(store: Store) -> None:
    """In one lane and in two, with a repeat and a conflict among them; positions and arrivals have no gap."""
    asked = [a_deployment(f"d{number}", application="shop" if number % 2 else "desk") for number in range(12)]
    again, other = a_deployment("d3", application="shop"), a_deployment("d4", application="desk", body_hash=b"other")
    kinds = await asyncio.gather(*(store.accept(each, QUEUE) for each in [*asked, again, other]))

    assert kinds == [AcceptKind.ACCEPTED] * 12 + [AcceptKind.REPEATED, AcceptKind.CONFLICT]
    for lane in ("shop", "desk"):
        names = [each.deployment_id for each in asked if each.application == lane]
        positions = [(await store.events_after(name, 0, limit=1))[0].body["position"] for name in names]
        assert positions == list(range(6))
    claimed = [await claim(store) for _ in range(2)]
    assert {each.deployment_id for each in claimed if each} == {"d0", "d1"}
