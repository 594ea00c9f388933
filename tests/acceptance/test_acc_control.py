"""Cancel, pause, resume: what they end, what they leave, and what is refused."""

import secrets
import time

import pytest
from tests.acceptance.installed_lab import Held, Lab, processes_with
from tests.acceptance.patience import until
from tests.acceptance.pika_requester import Received, Requester
from tests.published import validate_event

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("instance")]


def stubborn(mark: str) -> str:
    """A script that ignores signals, leaves its session, forks twice, clears its environment, keeps its output open."""
    return f"""
trap '' TERM HUP INT
setsid sh -c 'trap "" TERM HUP; sleep {mark} & (setsid sleep {mark} &); sleep {mark}' &
(setsid env -i sleep {mark} >/dev/null 2>&1 </dev/null &)
sleep {mark}
sleep {mark}
"""


def check_accepted(answer: Received, command: str, event: dict[str, str]) -> None:
    validate_event(answer.body)
    assert (answer.event, answer.body["command"], answer.body["failure"]) == ("control.accepted", command, None)
    assert (answer.body["deployment_id"], answer.body["sequence"]) == (event["deployment_id"], 0)
    assert answer.body["application"] == event["application"]


@pytest.mark.usefixtures("mended")
def test_cancel_ends_the_whole_process_tree(lab: Lab, requester: Requester) -> None:
    """Within 15 s; the box in work stays drained and says so, the other was never touched."""
    mark = f"600.{secrets.randbelow(10**9):09}"
    event = lab.script(stubborn(mark), "web1", "web2", haproxy=lab.haproxy_part)
    name = event["deployment_id"]
    requester.publish(event)
    until(lambda: len(processes_with(f"sleep\0{mark}")) >= 5, what="the whole tree runs")
    assert not lab.servers()["web1"].takes_traffic

    check_accepted(requester.control("cancel", name), "cancel", event)
    asked = time.monotonic()
    until(lambda: not processes_with(mark), what="the whole tree is dead", seconds=15)
    assert time.monotonic() - asked < 15

    result = requester.finished(name)
    assert (result["status"], result["failure"]["code"]) == ("cancelled", "deployment.cancelled")
    cancelling = requester.event(name, "deployment.cancelling")
    assert (cancelling["requested_by"], cancelling["reason"]) == ("ann", "acceptance")
    ended, spared = result["targets"]
    assert (ended["status"], ended["failure"]["code"]) == ("cancelled", "deployment.cancelled")
    assert "drained" in ended["failure"]["message"]
    assert (spared["status"], spared["failure"]) == ("skipped", None)
    assert requester.event(name, "step.finished", step="script")["status"] == "cancelled"
    servers = lab.servers()
    assert servers["web1"].is_drained
    assert servers["web2"].is_back

    # Commands are idempotent: what is cancelled may be cancelled again, and nothing comes of it.
    check_accepted(requester.control("cancel", name), "cancel", event)
    refused = requester.control("pause", name)
    assert (refused.event, refused.body["failure"]["code"]) == ("control.rejected", "control.not_running")
    told = [each.event for each in requester.events(name)]
    assert (told.count("deployment.cancelling"), told.count("deployment.finished")) == (1, 1)


def test_pause_lets_targets_finish_and_starts_no_other(lab: Lab, requester: Requester) -> None:
    """Resume goes on where it stood. Both may be said twice."""
    held = Held(lab)
    event = lab.script(held.script, "web1", "web2", "web3")
    name = event["deployment_id"]
    requester.publish(event)
    held.wait("web1")
    for _ in range(2):
        check_accepted(requester.control("pause", name), "pause", event)
    paused = requester.event(name, "deployment.paused")
    assert (paused["requested_by"], paused["reason"]) == ("ann", "acceptance")
    held.let_go("web1", "web2", "web3")
    assert requester.event(name, "target.finished", target="web1")["status"] == "succeeded"

    # A whole other deployment passes by: time enough for a target to be started by mistake.
    assert requester.deploy(lab.script("true", "web2"))["status"] == "succeeded"
    assert [each.body["target"] for each in requester.events(name, "target.started")] == ["web1"]
    assert not held.is_at("web2")

    for _ in range(2):
        check_accepted(requester.control("resume", name), "resume", event)
    result = requester.finished(name)
    assert result["status"] == "succeeded"
    told = [each.event for each in requester.events(name)]
    assert (told.count("deployment.paused"), told.count("deployment.resumed")) == (1, 1)


def test_a_waiting_deployment_is_cancelled_at_once(lab: Lab, requester: Requester) -> None:
    """It waits behind the other of its lane, and is done before that one."""
    held = Held(lab)
    first = lab.script(held.script, "web1")
    second = lab.script("true", "web1", application=first["application"])
    requester.publish(first)
    held.wait("web1")
    requester.publish(second)
    assert requester.event(second["deployment_id"], "deployment.accepted")["position"] == 1
    check_accepted(requester.control("cancel", second["deployment_id"]), "cancel", second)
    result = requester.finished(second["deployment_id"])
    assert (result["status"], result["targets"]) == ("cancelled", [])
    assert not requester.events(first["deployment_id"], "deployment.finished")
    held.let_go()
    assert requester.finished(first["deployment_id"])["status"] == "succeeded"
    assert not requester.events(second["deployment_id"], "deployment.started")


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_an_unknown_deployment_is_said_to_be_unknown(requester: Requester, command: str) -> None:
    answer = requester.control(command, "nobody-knows-it")
    validate_event(answer.body)
    assert (answer.event, answer.body["command"]) == ("control.rejected", command)
    assert answer.body["failure"]["code"] == "control.unknown_deployment"
    assert answer.body["deployment_id"] == "nobody-knows-it"


def test_what_ended_takes_no_commands(lab: Lab, requester: Requester) -> None:
    event = lab.script("true", "web1")
    requester.deploy(event)
    for command in ("cancel", "pause", "resume"):
        answer = requester.control(command, event["deployment_id"])
        assert (answer.event, answer.body["failure"]["code"]) == ("control.rejected", "control.not_running")
