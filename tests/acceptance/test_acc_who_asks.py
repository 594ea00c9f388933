"""Who asks: users of a real RabbitMQ that may deploy, repeat, cancel and approve, each what the policy says."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.amqp_users import connected, users
from tests.acceptance.installed_lab import Lab, vesemir
from tests.acceptance.pika_requester import CONTROL, Received
from tests.acceptance.running_daemon import Daemon
from tests.published import validate_event

pytestmark = pytest.mark.lab

Start = Callable[..., Daemon]
NAMES = ("bot", "robot", "anna", "eve")
POLICY = """
contact = "#platform"

[[identity]]
name = "bots"
is = ["{bot}", "{robot}"]

[[allow]]
name = "bots"
users = ["{bot}"]

[[control]]
name = "on-call"
commands = ["cancel", "pause"]
identities = ["{anna}"]

[[control]]
name = "four-eyes"
commands = ["resume"]
identities = ["{bot}", "{anna}"]
not_requester = true
"""


def check_forbidden(answer: Received, *words: str) -> None:
    validate_event(answer.body)
    assert (answer.event, answer.body["failure"]["code"]) == ("control.rejected", "control.forbidden")
    assert all(word in answer.body["failure"]["message"] for word in (*words, "ask #platform"))


def lock(event: Mapping[str, Any]) -> dict[str, Any]:
    lane = {name: event[name] for name in ("application", "environment")}
    return {"schema": "vesemir.control/1", "command": "lock", "reason": "mine", **lane}


def audit(lab: Lab, user: str) -> list[dict[str, Any]]:
    """What it asked for, the newest first."""
    rows: list[dict[str, Any]] = json.loads(vesemir("audit", "--identity", f"amqp:{user}", "--json", env=lab["env"]))
    return rows


def test_each_user_may_do_what_the_policy_says_and_nothing_else(lab: Lab, daemon: Start, tmp_path: Path) -> None:
    with ExitStack() as stack:
        named = stack.enter_context(users(lab, NAMES))
        policy = tmp_path / "policy.toml"
        policy.write_text(POLICY.format(**named))
        daemon(VESEMIR_POLICY__FILE=str(policy))
        bot, robot, anna, eve = (stack.enter_context(connected(lab, named[name])) for name in NAMES)
        nobody = stack.enter_context(connected(lab, named["anna"], says_so=False))
        event = lab.script("true", "web1", "web2", rollout={"approve_after": "batch", "min_healthy_seconds": 0})
        name = event["deployment_id"]

        bot.publish(event)
        bot.event(name, "deployment.paused")

        # A repeat: by somebody else, by nobody, and by another identity of the same program.
        for stranger in (eve, nobody):
            stranger.publish(event)
            assert stranger.event(name, "deployment.rejected")["failure"]["code"] == "request.forbidden"
        robot.publish(event)
        robot.event(name, "deployment.paused")

        # An approval: not by whoever asked, in any of its identities; not by whom no rule names; not by nobody.
        for own in (bot, robot):
            check_forbidden(own.control("resume", name), "(not_requester) [control four-eyes]")
        check_forbidden(eve.control("resume", name), "[control four-eyes]")
        check_forbidden(nobody.control("resume", name), "[control four-eyes]")
        check_forbidden(bot.control("cancel", name), "[control on-call]")
        check_forbidden(eve.control("cancel", name), "[control on-call]")
        check_forbidden(eve.answer(eve.publish(lock(event), queue=CONTROL)), "no [[control]] covers it")
        assert json.loads(vesemir("status", name, "--json", env=lab["env"]))["state"] == "paused", "nothing has changed"

        assert anna.control("resume", name).event == "control.accepted"
        resumed = bot.event(name, "deployment.resumed")
        assert (resumed["requested_by"], "identity" in resumed) == ("ann", False)
        assert bot.finished(name)["status"] == "succeeded"
        assert robot.finished(name)["status"] == "succeeded"
        assert [each.event for each in (*eve.events(name), *nobody.events(name))] == [
            "deployment.rejected", "control.rejected", "control.rejected", "deployment.rejected", "control.rejected",
        ]  # fmt: skip
        shown = json.loads(vesemir("status", name, "--json", env=lab["env"]))
        assert (shown["identity"], shown["user_id"]) == (f"amqp:{named['bot']}", named["bot"])

        # It needs no approval to be cancelled by who may; also long after it has ended.
        assert eve.control("cancel", name).body["failure"]["code"] == "control.forbidden"
        assert anna.control("cancel", name).body["failure"]["code"] == "control.not_running"
        assert [(row["kind"], row["command"], row["outcome"]) for row in audit(lab, named["eve"])] == [
            ("control", "cancel", "control.forbidden"),
            ("lock", "lock", "control.forbidden"),
            ("control", "cancel", "control.forbidden"),
            ("approval", "resume", "control.forbidden"),
            ("refusal", None, "request.forbidden"),
        ]
        assert [(row["kind"], row["outcome"], row["rule"]) for row in audit(lab, named["anna"])[1:]] == [
            ("approval", "accepted", "control four-eyes")
        ]
        assert [(row["kind"], row["outcome"]) for row in audit(lab, named["bot"])] == [
            ("control", "control.forbidden"), ("approval", "control.forbidden"), ("request", "accepted"),
        ]  # fmt: skip
        assert audit(lab, named["bot"])[-1]["rule"] == "allow bots"
