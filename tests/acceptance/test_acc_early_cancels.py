"""A cancel that overtakes its deploy event, with three instances that take from both queues at the same time."""

import random
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from tests.acceptance.installed_lab import Lab
from tests.acceptance.pika_requester import CONTROL, Received, Requester
from tests.acceptance.running_daemon import Daemon
from tests.published import validate_event

pytestmark = pytest.mark.lab

TRIES = 100
LANES = 10


def cancel(name: str) -> dict[str, str]:
    return {"schema": "vesemir.control/1", "command": "cancel", "deployment_id": name, "requested_by": "ann"}


def events(lab: Lab, script: str) -> dict[str, dict[str, Any]]:
    """By id; several lanes, so that they need not wait for each other."""
    pattern, mark = lab.script(script, "web1"), secrets.token_hex(4)
    lanes = {f"early-{mark}-{number}": f"early-{number % LANES}" for number in range(TRIES)}
    return {name: {**pattern, "deployment_id": name, "environment": lane} for name, lane in lanes.items()}


def check_kept(answer: Received) -> None:
    validate_event(answer.body)
    assert (answer.event, answer.body["known"]) == ("control.accepted", False)


@pytest.fixture
def three(daemon: Callable[..., Daemon]) -> list[Daemon]:
    started = [daemon(name, healthy=False) for name in ("a", "b", "c")]
    for each in started:
        each.wait_until_healthy()
    return started


@pytest.fixture
def order() -> random.Random:
    return random.SystemRandom()


@pytest.mark.usefixtures("three")
def test_what_was_cancelled_before_it_came_never_runs(lab: Lab, requester: Requester, order: random.Random) -> None:
    """100 times, the events in another order than the cancels."""
    mark = f"early-{secrets.token_hex(6)}"
    asked = events(lab, f'touch "$BOX_ROOT/{mark}"')
    cancels = {name: requester.publish(cancel(name), queue=CONTROL) for name in order.sample(list(asked), TRIES)}
    for name in order.sample(list(asked), TRIES):
        check_kept(requester.answer(cancels[name]))
        requester.publish(asked[name])
    for name in asked:
        result = requester.finished(name)
        assert (result["status"], result["failure"]["code"]) == ("cancelled", "deployment.cancelled")
        assert "ann" in result["failure"]["message"]
        told = [each.event for each in requester.events(name) if not each.event.startswith("control.")]
        assert told == ["deployment.accepted", "deployment.finished"]
    assert not (lab.root("web1") / mark).exists()


@pytest.mark.usefixtures("three")
def test_whichever_comes_first_it_ends_as_cancelled(lab: Lab, requester: Requester, order: random.Random) -> None:
    """Sent at the same moment: a cancel that was kept ends it, and so does one that was not; it may have begun then."""
    asked = events(lab, "sleep 600")
    sent = [(name, kind) for name in asked for kind in ("cancel", "event")]
    order.shuffle(sent)
    cancels = {}
    for name, kind in sent:
        if kind == "cancel":
            cancels[name] = requester.publish(cancel(name), queue=CONTROL)
        else:
            requester.publish(asked[name])
    kept = 0
    for name in asked:
        answer = requester.answer(cancels[name])
        assert answer.event == "control.accepted"
        assert requester.finished(name)["status"] == "cancelled"
        if not answer.body["known"]:
            kept += 1
            assert not requester.events(name, "deployment.started")
    assert 0 < kept < TRIES, "both happened"
