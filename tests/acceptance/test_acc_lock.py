"""A lane is locked and unlocked by messages: what is refused meanwhile, what goes on, and who may go past it."""

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.acceptance.installed_lab import Held, Lab, vesemir
from tests.acceptance.pika_requester import Received, Requester
from tests.acceptance.running_daemon import Daemon
from tests.published import validate_event

pytestmark = pytest.mark.lab

POLICY = """
[[allow]]
name = "everybody"
break_glass = {glass}
"""


@pytest.fixture
def lane(requester: Requester) -> Iterator[tuple[str, str]]:
    """Of this test alone; unlocked afterwards."""
    name = f"locked-{secrets.token_hex(4)}"
    yield name, "lab"
    requester.control_lane("unlock", name, "lab")


def check_lane_answer(answer: Received, command: str, application: str) -> None:
    validate_event(answer.body)
    told = {name: answer.body[name] for name in ("event", "command", "deployment_id", "version", "failure", "sequence")}
    assert told == {
        "event": "control.accepted", "command": command, "deployment_id": None, "version": None, "failure": None,
        "sequence": 0,
    }  # fmt: skip
    assert (answer.body["application"], answer.body["environment"], answer.body["known"]) == (application, "lab", True)


def test_a_locked_lane_takes_nothing_new_until_it_is_unlocked(
    lab: Lab, daemon: Callable[..., Daemon], requester: Requester, lane: tuple[str, str], tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY.format(glass="true"))
    daemon(VESEMIR_POLICY__FILE=str(policy))
    application, environment = lane
    held = Held(lab)

    def script(text: str, **more: object) -> dict[str, object]:
        return {**lab.script(text, "web1", application=application), "environment": environment, **more}

    running = script(held.script)
    requester.publish(running)
    held.wait("web1")

    check_lane_answer(requester.control_lane("lock", *lane), "lock", application)
    refused = script("true")
    requester.publish(refused)
    answer = requester.event(str(refused["deployment_id"]), "deployment.rejected")
    assert answer["failure"]["code"] == "lane.locked"
    assert "is locked by ann" in answer["failure"]["message"]
    assert answer["failure"]["message"].count("until somebody unlocks it: acceptance") == 1

    # A second lock replaces reason and end; a repeat and a dry run are let in; what has begun goes on.
    check_lane_answer(
        requester.control_lane("lock", *lane, until="2099-01-01T01:00:00+01:00", reason="another"), "lock", application
    )
    shown = json.loads(vesemir("status", "--json", env=lab["env"]))["locked_lanes"]
    (mine,) = [each for each in shown if each["lane"] == f"{application}/{environment}"]
    assert (mine["until"], mine["reason"], mine["requested_by"]) == ("2099-01-01T00:00:00Z", "another", "ann")
    requester.publish(running)
    look = script("true", dry_run=True)
    requester.publish(look)
    requester.event(str(look["deployment_id"]), "deployment.accepted")
    held.let_go()
    assert requester.finished(str(running["deployment_id"]))["status"] == "succeeded"

    # Past it: with a reason.
    past = script("true", break_glass={"reason": "the shop is down"})
    requester.publish(past)
    accepted = requester.event(str(past["deployment_id"]), "deployment.accepted")
    assert accepted["break_glass"] == {"reason": "the shop is down"}

    check_lane_answer(requester.control_lane("unlock", *lane), "unlock", application)
    check_lane_answer(requester.control_lane("unlock", *lane), "unlock", application)
    requester.publish(refused)  # the id of a refused event may be used again
    requester.event(str(refused["deployment_id"]), "deployment.finished", status="succeeded", seconds=90)
    rows = json.loads(vesemir("audit", "--application", application, "--json", env=lab["env"]))
    told = {(row["kind"], row["outcome"], row["command"]) for row in rows}
    assert {
        ("lock", "accepted", "lock"), ("lock", "accepted", "unlock"), ("refusal", "lane.locked", None),
        ("request", "accepted", "break_glass"),
    } <= told  # fmt: skip


def test_break_glass_needs_a_rule_that_lets_it(
    lab: Lab, daemon: Callable[..., Daemon], requester: Requester, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY.format(glass="false"))
    daemon(VESEMIR_POLICY__FILE=str(policy))
    event = {**lab.script("true", "web1"), "break_glass": {"reason": "I like to"}}
    requester.publish(event)
    failure = requester.event(event["deployment_id"], "deployment.rejected")["failure"]
    assert (failure["code"], failure["details"][0]["field"]) == ("request.forbidden", "break_glass")
