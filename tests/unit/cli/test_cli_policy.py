"""``vesemir policy``: what would be decided, by which rule; without an instance, and with or without the record."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import Invoke

RULES = """
contact = "ops"

[[allow]]
name = "shop"
applications = ["shop"]
identities = ["bot", "token:ci"]

[[freeze]]
name = "christmas"
from = 2026-12-20T00:00:00+01:00
until = 2027-01-04T08:00:00+01:00
except = { groups = ["sre"] }

[[limit]]
name = "small"
max_targets = 2
require = ["rollout.approve_after"]

[[limit]]
name = "fair"
max_waiting = 20
max_running = 3

[[promote]]
name = "staged"
environments = ["production"]
require_success_in = "staging"
soak = "2h"

[[control]]
name = "leads"
commands = ["resume"]
identities = ["lead", "bot"]
not_requester = true
"""
EVENT: dict[str, Any] = {
    "schema": "vesemir.deploy/1",
    "deployment_id": "d-1",
    "application": "shop",
    "environment": "production",
    "version": "2.0.0",
    "recipe": "release",
    "targets": {"hosts": ["web1", "web2"]},
    "rollout": {"approve_after": "batch"},
}
RESUME = {"schema": "vesemir.control/1", "command": "resume", "deployment_id": "d-1"}


@pytest.fixture
def rules(tmp_path: Path) -> str:
    file = tmp_path / "policy.toml"
    file.write_text(RULES)
    return str(file)


def asked(invoke: Invoke, rules: str, message: object, *more: str) -> tuple[int, dict[str, Any]]:
    """The exit status and the answer, of a message on standard input."""
    given = json.dumps(message)
    result = invoke("policy", "test", "-", "--policy", rules, "--no-record", "--json", *more, given=given)
    return result.exit_code, json.loads(result.stdout)


def test_what_is_allowed_says_by_which_rule_and_what_else_holds(invoke: Invoke, rules: str) -> None:
    status, answer = asked(invoke, rules, EVENT, "--identity", "token:ci", "--at", "2026-11-28T12:00Z")
    assert (status, answer["allowed"], answer["code"], answer["rules"]) == (0, True, None, ["allow shop"])
    assert (answer["identity"], answer["at"]) == ("token:ci", "2026-11-28T12:00:00+00:00")
    assert answer["held"] == [
        {"rule": "freeze christmas", "says": "is not in force then", "holds": True},
        {"rule": "limit small", "says": "max_targets 2; require rollout.approve_after", "holds": True},
        {
            "rule": "promote staged",
            "says": "asks for a success of the same artifact in staging, 2 h ago",
            "holds": None,
        },
        {"rule": "limit fair", "says": "lets 20 of token:ci wait", "holds": None},
        {"rule": "limit fair", "says": "lets 3 of token:ci run at once; others wait", "holds": None},
        {
            "rule": "control leads",
            "says": "after each batch lead, bot, but not who asked for it, may approve",
            "holds": None,
        },
    ]
    assert answer["unknown"] == [
        "what has succeeded elsewhere: the record was not asked",
        "how many deployments wait: the record was not asked",
        "whether the lane is locked: the record was not asked",
    ]


def test_what_is_refused_says_why_and_ends_with_1(invoke: Invoke, rules: str) -> None:
    status, answer = asked(invoke, rules, EVENT, "--at", "2026-12-24T18:00+01:00")
    assert (status, answer["code"], answer["rules"]) == (1, "request.forbidden", ["allow shop", "freeze christmas"])
    assert answer["problems"][0] == {
        "field": "user_id",
        "message": "must be one of: bot, token:ci [allow shop]; ask ops",
        "rule": "allow shop",
    }
    assert answer["held"][0]["holds"] is False
    status, answer = asked(invoke, rules, EVENT, "--at", "2026-12-24", "--identity", "bot", "--group", "sre")
    assert status == 0
    assert answer["held"][0]["says"] == "is in force until 2027-01-04T08:00+01:00, and lets this pass"
    many = {**EVENT, "targets": {"hosts": ["a", "b", "c"]}}
    assert asked(invoke, rules, many, "--identity", "bot", "--at", "2026-11-01")[1]["rules"] == ["limit small"]


def test_what_cannot_be_read_is_refused_as_intake_refuses_it(invoke: Invoke, rules: str) -> None:
    status, answer = asked(invoke, rules, {**EVENT, "version": ""}, "--identity", "bot")
    assert (status, answer["code"], answer["problems"][0]["field"]) == (1, "request.invalid", "version")
    status, answer = asked(invoke, rules, {**RESUME, "command": "stop"})
    assert (status, answer["code"]) == (1, "request.invalid")


def test_people_read_it_in_lines(invoke: Invoke, rules: str, tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps({**EVENT, "targets": {"inventory": {"groups": ["web"]}}}))
    arguments = ("policy", "test", str(file), "--policy", rules, "--no-record", "--at", "2026-11-28T12:00Z")
    result = invoke(*arguments, "--identity", "bot")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "allowed by allow shop: 2.0.0 of shop in production, asked for by bot at 2026-11-28T12:00+00:00"
    )
    assert "Not told here: how many targets there are, and their names: judged when the deployment begins" in lines
    result = invoke(*arguments)
    assert result.exit_code == 1
    why, what = result.stdout.splitlines()[:2]
    assert why == "refused [request.forbidden]: user_id must be one of: bot, token:ci [allow shop]; ask ops"
    assert what.startswith("1 reason against 2.0.0 of shop in production, asked for by somebody without identity at ")


def test_without_rules_everything_is_allowed(invoke: Invoke) -> None:
    result = invoke("policy", "test", "-", "--no-record", given=json.dumps(EVENT))
    assert result.exit_code == 0
    assert result.stdout.startswith("allowed: no rule has to allow it: 2.0.0 of shop in production")
    assert "there is no policy" in result.stderr


def test_a_record_that_is_away_is_told_and_changes_nothing(
    invoke: Invoke, rules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VESEMIR_POSTGRES__DSN", "postgresql://127.0.0.1:1/nothing")
    for message, more in ((EVENT, ()), (RESUME, ("--lane", "shop/production"))):
        result = invoke("policy", "test", "-", "--policy", rules, "--identity", "bot", "--at", "2026-11-28", *more,
                        given=json.dumps(message))  # fmt: skip
        assert result.exit_code == 0, result.stderr
    result = invoke("policy", "test", "-", "--policy", rules, given=json.dumps(RESUME))
    assert result.exit_code == 1
    assert "the record was not asked: " in result.stderr
    assert "give --lane (and --requester)" in result.stderr


@pytest.mark.parametrize(
    ("more", "allowed"),
    [
        (("--identity", "lead"), True),
        (("--identity", "bot", "--requester", "bot"), True),
        (("--identity", "bot", "--requester", "bot", "--awaits-approval"), False),
        (("--identity", "lead", "--requester", "bot", "--awaits-approval"), True),
        (
            (
                "--identity",
                "anna",
            ),
            False,
        ),
    ],
)
def test_a_command_about_a_deployment_that_is_described(
    invoke: Invoke, rules: str, more: tuple[str, ...], *, allowed: bool
) -> None:
    status, answer = asked(invoke, rules, RESUME, "--lane", "shop/production", *more)
    assert (status, answer["allowed"]) == (0, True) if allowed else (1, False)
    assert answer["rules"] == ["control leads"]
    assert answer["code"] == (None if allowed else "control.forbidden")


def test_a_lock_is_about_its_lane(invoke: Invoke, rules: str) -> None:
    lock = {
        "schema": "vesemir.control/1",
        "command": "lock",
        "application": "shop",
        "environment": "test",
        "reason": "x",
    }
    status, answer = asked(invoke, rules, lock, "--identity", "lead")
    assert (status, answer["code"], answer["rules"]) == (1, "control.forbidden", ["control"])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--identity", "token:"), "--identity: 'token:' has no name"),
        (("--lane", "shop"), "--lane takes APPLICATION/ENVIRONMENT"),
        (("--at", "soon"), "--at takes a day"),
    ],
)
def test_wrong_usage(invoke: Invoke, rules: str, more: tuple[str, ...], says: str) -> None:
    result = invoke("policy", "test", "-", "--policy", rules, "--no-record", *more, given=json.dumps(RESUME))
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_file_that_is_not_there(invoke: Invoke, rules: str) -> None:
    result = invoke("policy", "test", "nowhere.json", "--policy", rules)
    assert (result.exit_code, "nowhere.json cannot be read" in result.stderr) == (1, True)


def test_check_counts_the_rules_or_tells_what_is_wrong(invoke: Invoke, rules: str, tmp_path: Path) -> None:
    result = invoke("policy", "check", rules)
    assert result.stdout == "sound: 0 identity, 1 allow, 1 freeze, 2 limit, 1 promote, 1 control\n"
    answer = json.loads(invoke("policy", "check", rules, "--json").stdout)
    assert (answer["rules"]["limit"], len(answer["digest"])) == (2, 64)
    broken = tmp_path / "broken.toml"
    broken.write_text("[[promote]]\nname = 'p'\n")
    result = invoke("policy", "check", str(broken))
    assert result.exit_code == 1
    assert "promote[0].require_success_in" in result.stderr
