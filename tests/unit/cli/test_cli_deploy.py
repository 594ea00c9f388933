"""``deploy`` and ``plan``: what they show, and the exit status that scripts rely on."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import Invoke
from tests.unit.cli.scripted import (
    ACCEPTED,
    STARTED,
    WEB1_FINISHED,
    WEB1_STARTED,
    WEB1_STEP,
    event,
    failure,
    finished,
)

from vesemir.cli.finished import FoundPlan
from vesemir.cli.output import show
from vesemir.cli.results import plan_parts
from vesemir.engine.ports.broker import BrokerAwayError

MIDDLE = [ACCEPTED, STARTED, WEB1_STARTED, WEB1_STEP, WEB1_FINISHED]
PLAN = {
    "batches": [["web2"], ["web1"]],
    "targets": [
        {"name": "web1", "address": "10.0.0.1", "source": "static", "server": "shop/web1", "steps": ["drain", "a"]},
        {"name": "web2", "address": "10.0.0.2", "source": "static", "server": "shop/web2", "steps": ["drain", "a"]},
    ],
    "load_balancers": ["lb1"],
}


def test_without_follow_acceptance_is_enough(invoke: Invoke, script: Any, event_file: Path) -> None:
    script([ACCEPTED])
    result = invoke("deploy", "--file", str(event_file))
    assert result.exit_code == 0
    assert result.stdout == "d-1: accepted\nNext: vesemir status d-1\n"


@pytest.mark.parametrize(
    ("status", "exit_status"), [("succeeded", 0), ("failed", 1), ("cancelled", 1), ("timed_out", 1), ("rolled_back", 1)]
)
def test_following_exits_0_only_for_success(
    invoke: Invoke, script: Any, event_file: Path, status: str, exit_status: int
) -> None:
    told = None if status == "succeeded" else failure("rollout.too_many_failures", "1 failed")
    script([*MIDDLE, finished(status, told=told)])
    result = invoke("deploy", "--follow", "--file", str(event_file))
    assert result.exit_code == exit_status, result.stderr


def test_following_success(invoke: Invoke, script: Any, event_file: Path) -> None:
    script([*MIDDLE, finished()])
    result = invoke("deploy", "--follow", "--file", str(event_file))
    assert result.stderr.splitlines() == [
        "12:00:01 accepted",
        "12:00:02 started: 2 targets in 2 batches",
        "12:00:03 web1: started (batch 1)",
        "12:00:04 web1: step unpack succeeded (0.4 s)",
        "12:00:05 web1: succeeded (2.5 s)",
        "12:00:06 finished: succeeded",
    ]
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["target", "address", "status", "time", "failure"],
        ["web1", "10.0.0.1", "succeeded", "2.5", "s"],
        ["web2", "10.0.0.2", "succeeded", "3.0", "s"],
        [],
        ["2.0.0", "of", "shop", "in", "production", "is", "on", "2", "targets", "after", "5.5", "s."],
    ]


def test_following_a_failure_tells_what_to_do(invoke: Invoke, script: Any, event_file: Path) -> None:
    script([*MIDDLE, finished("failed", told=failure("rollout.too_many_failures", "1 of 2 failed"))])
    result = invoke("deploy", "--follow", "--file", str(event_file))
    assert "step.failed: step restart ended with 1" in result.stdout
    assert [" ".join(line.split()) for line in result.stdout.splitlines()[-6:]] == [
        "2.0.0 of shop in production failed after 5.5 s, 1 of 2 targets done: 1 of 2 failed.",
        "What to do",
        "what the steps on web2 printed:",
        "vesemir logs d-1 --target web2",
        "meaning, how to tell, how to mend, whom to call (docs/runbook.md#step-failed):",
        "vesemir explain step.failed",
    ]


def test_json_is_the_last_event_and_nothing_else(invoke: Invoke, script: Any, event_file: Path) -> None:
    last = finished()
    script([*MIDDLE, last])
    (line,) = invoke("deploy", "--follow", "--json", "--file", str(event_file)).stdout.splitlines()
    assert json.loads(line) == last


def test_a_rejection_is_told_problem_by_problem(invoke: Invoke, script: Any, event_file: Path) -> None:
    details = [{"field": "recipe", "message": "there is none"}, {"field": "x", "message": "is wrong"}]
    rejected = event("deployment.rejected", 0, failure={**failure("request.unknown_recipe"), "details": details})
    script([rejected], [rejected])
    result = invoke("deploy", "--file", str(event_file))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "vesemir: refused [request.unknown_recipe]: recipe there is none\n"
        "vesemir: refused [request.unknown_recipe]: x is wrong\n"
        "vesemir: what it means, and what to do: vesemir explain request.unknown_recipe\n"
    )


def test_what_comes_twice_is_shown_once(invoke: Invoke, script: Any, event_file: Path) -> None:
    script([ACCEPTED, ACCEPTED, STARTED, ACCEPTED, *MIDDLE[2:], finished()])
    lines = invoke("deploy", "--follow", "--file", str(event_file)).stderr.splitlines()
    assert len(lines) == len(set(lines)) == 6


def test_what_does_not_come_is_told(invoke: Invoke, script: Any, event_file: Path) -> None:
    script([ACCEPTED, STARTED, finished(sequence=9)])
    result = invoke("deploy", "--follow", "--file", str(event_file))
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == "vesemir: 6 events did not come; `vesemir logs d-1` has the record"


def test_a_lost_broker_is_asked_again_with_the_same_event(invoke: Invoke, script: Any, event_file: Path) -> None:
    made = script([ACCEPTED, STARTED, BrokerAwayError("lost")], [*MIDDLE, finished()])
    result = invoke("deploy", "--follow", "--file", str(event_file))
    assert result.exit_code == 0
    assert made.connected == 2
    assert made.published[0] == made.published[1]
    lines = result.stderr.splitlines()
    assert "lost; trying again, the deployment goes on meanwhile" in lines
    assert sum("accepted" in line for line in lines) == 1


def test_a_broker_that_is_not_there_is_told_at_once(invoke: Invoke, script: Any, event_file: Path) -> None:
    made = script([BrokerAwayError("connecting to amqp://x: refused; check amqp.url")])
    result = invoke("deploy", "--follow", "--file", str(event_file))
    assert (result.exit_code, made.connected) == (1, 1)
    assert result.stderr == "vesemir: connecting to amqp://x: refused; check amqp.url\n"


def test_no_answer_in_time(invoke: Invoke, script: Any, event_file: Path) -> None:
    script([])
    result = invoke("deploy", "--file", str(event_file), "--timeout", "0.2")
    assert result.exit_code == 1
    assert "no answer within 0.2 s; the event waits in the queue" in result.stderr


def test_no_end_in_time(invoke: Invoke, script: Any, event_file: Path) -> None:
    script([ACCEPTED, STARTED])
    result = invoke("deploy", "--follow", "--file", str(event_file), "--timeout", "0.2")
    assert result.exit_code == 1
    assert "not finished within 0.2 s; the deployment goes on: `vesemir status d-1` shows it" in result.stderr


def test_ctrl_c_says_what_goes_on(invoke: Invoke, script: Any, event_file: Path) -> None:
    script([ACCEPTED, STARTED, KeyboardInterrupt()])
    result = invoke("deploy", "--follow", "--file", str(event_file))
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == (
        "vesemir: interrupted; the deployment goes on: `vesemir cancel d-1` ends it"
    )


def test_plan_asks_for_a_dry_run_under_a_new_id(
    invoke: Invoke, script: Any, event_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesemir.cli.plan.new_deployment_id", lambda: "d-2")
    last = {**finished(sequence=2, plan=PLAN), "deployment_id": "d-2"}
    made = script([{**ACCEPTED, "deployment_id": "d-2"}, last])
    result = invoke("plan", "--file", str(event_file))
    assert result.exit_code == 0, result.stderr
    published = json.loads(made.published[0])
    assert (published["dry_run"], published["deployment_id"]) == (True, "d-2")
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["1", "web2", "10.0.0.2", "static", "shop/web2"]
    assert lines[2].split() == ["2", "web1", "10.0.0.1", "static", "shop/web1"]
    assert "Steps on every target: drain, a" in lines
    assert "Load balancers: lb1" in lines
    assert lines[-1] == (
        "Nothing stands in the way of 2.0.0 of shop in production on 2 targets (dry run, nothing was changed)."
    )


ALL_OUT = (
    "No target gets traffic: every server is taken out of HAProxy already: web2 (drain on lb1), web1 (drain on lb1)."
)


@pytest.mark.parametrize(
    ("out", "lines"),
    [
        ((), []),
        (("web1",), ["Taken out of HAProxy already: web1 (drain on lb1)."]),
        (("web1", "web2"), [ALL_OUT]),
    ],
)
def test_plan_says_what_gets_no_traffic(
    out: tuple[str, ...], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    targets = [{**each, "taken_out": "drain on lb1" if each["name"] in out else ""} for each in PLAN["targets"]]
    show(*plan_parts(FoundPlan.of_json({**PLAN, "targets": targets})))
    assert [each for each in capsys.readouterr().out.splitlines() if "HAProxy already" in each] == lines


def test_plan_says_what_must_succeed_elsewhere_first(invoke: Invoke, script: Any, event_file: Path) -> None:
    plan = {**PLAN, "promotion": ["version has no success in staging: deploy it there"]}
    script([ACCEPTED, finished(sequence=2, plan=plan)])
    lines = invoke("plan", "--file", str(event_file), "--id", "d-1").stdout.splitlines()
    assert "Would be refused for now [promotion.missing]: version has no success in staging: deploy it there" in lines
    assert lines[-1].startswith("Only a missing promotion stands in the way of 2.0.0 of shop in production on 2 ")


@pytest.mark.parametrize("command", ["cancel", "pause", "resume"])
def test_control(invoke: Invoke, script: Any, command: str) -> None:
    made = script([{**event("control.accepted", 0, failure=None), "command": command}])
    result = invoke(command, "d-1", "--reason", "because")
    assert result.exit_code == 0, result.stderr
    message = json.loads(made.published[0])
    assert message.pop("requested_by").count("@") == 1
    assert message == {"schema": "vesemir.control/1", "command": command, "deployment_id": "d-1", "reason": "because"}
    assert result.stdout.startswith(f"d-1: {command} accepted")


def test_control_refused(invoke: Invoke, script: Any) -> None:
    script([event("control.rejected", 0, failure=failure("control.not_running", "it has ended"), command="cancel")])
    result = invoke("cancel", "d-1")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "vesemir: refused [control.not_running]: it has ended",
        "vesemir: what it means, and what to do: vesemir explain control.not_running",
    ]


def test_control_without_an_answer(invoke: Invoke, script: Any) -> None:
    script([])
    result = invoke("pause", "d-1", "--timeout", "0.1")
    assert result.exit_code == 1
    assert "no answer within 0.1 s; the pause waits in the queue" in result.stderr
