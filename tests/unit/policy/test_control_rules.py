"""``[[control]]``: who may cancel, pause, resume and approve; each refusal names its rule and whom to ask."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vesemir.adapters.policy import read_policy
from vesemir.domain.control import COMMANDS, CommandName, ControlledDeployment
from vesemir.domain.control_permission import ControlPermission
from vesemir.domain.identity import UNPROVED, Asker, Identity, IdentityNames, Person, Persons
from vesemir.domain.names import Names
from vesemir.domain.permission import Permission, PermissionScope
from vesemir.domain.policy import ALLOW_ALL, Policy

BOT, ANNA, EVE = (Asker.by_amqp(name) for name in ("bot", "anna", "eve"))
SRE = Asker(Identity("oidc", "https://sso:1"), groups=("sre", "shop"))
SHOP = ControlledDeployment("shop", "production", "2.0.0", requester=BOT.identity)
ASKING = replace(SHOP, awaits_approval=True)
JOINED = Persons((Person("bots", frozenset({Identity("amqp", "bot"), Identity("token", "bot-ci")})),))


def permitting(*rules: dict[str, Any], persons: Persons = JOINED) -> Policy:
    made = tuple(ControlPermission(f"rule{number}", **rule) for number, rule in enumerate(rules, 1))
    return Policy(controls=made, persons=persons, contact="#ops")


def whom(*names: str) -> IdentityNames:
    return IdentityNames(names)


def scope(application: str = "*", environment: str = "*") -> PermissionScope:
    return PermissionScope(Names((application,)), Names((environment,)))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("policy", [ALLOW_ALL, Policy(permissions=(Permission("ours", users=whom("bot")),))])
def test_without_a_rule_everybody_may_give_every_command(policy: Policy, command: CommandName) -> None:
    assert policy.judge_control(command, ASKING, UNPROVED) == []


@pytest.mark.parametrize(
    ("rule", "command", "asker", "permitted"),
    [
        ({}, "cancel", UNPROVED, True),
        ({"identities": whom("anna")}, "cancel", ANNA, True),
        ({"identities": whom("anna")}, "cancel", EVE, False),
        ({"identities": whom("*")}, "cancel", UNPROVED, False),
        ({"identities": whom("*")}, "cancel", SRE, False),
        ({"identities": whom("oidc:https://sso:*")}, "cancel", SRE, True),
        ({"identities": whom("bot")}, "cancel", Asker(Identity("token", "bot-ci")), True),
        ({"identities": whom("anna")}, "cancel", Asker.by_amqp("eve", claimed="anna"), False),
        ({"groups": Names(("sre",))}, "cancel", SRE, True),
        ({"groups": Names(("db",))}, "cancel", SRE, False),
        ({"groups": Names(("*",))}, "cancel", ANNA, False),
        ({"groups": Names(("sre",)), "identities": whom("anna")}, "cancel", SRE, False),
        ({"commands": ("cancel",)}, "cancel", EVE, True),
        ({"commands": ("cancel",)}, "pause", EVE, False),
        ({"scope": scope("shop")}, "cancel", EVE, True),
        ({"scope": scope("till")}, "cancel", EVE, False),
        ({"scope": scope("shop", "staging")}, "cancel", EVE, False),
    ],
)
def test_a_command_must_fit_a_rule_in_everything_it_names(
    rule: dict[str, Any], command: CommandName, asker: Asker, *, permitted: bool
) -> None:
    assert (permitting(rule).judge_control(command, SHOP, asker) == []) is permitted
    assert permitting(rule, {"identities": whom("nobody")}).judge_control(command, SHOP, asker) == [] or not permitted
    assert permitting(rule, {}).judge_control(command, SHOP, asker) == [], "a rule takes nothing away"


@pytest.mark.parametrize(
    ("deployment", "command", "asker", "permitted"),
    [
        (ASKING, "resume", ANNA, True),
        (ASKING, "resume", BOT, False),
        (ASKING, "resume", Asker(Identity("token", "bot-ci")), False),
        (replace(ASKING, requester=Identity("token", "bot-ci")), "resume", BOT, False),
        (ASKING, "resume", Asker(claimed="anna"), False),
        (replace(ASKING, requester=None), "resume", ANNA, False),
        (replace(ASKING, requester=None), "resume", UNPROVED, False),
        # What is no approval.
        (SHOP, "resume", BOT, True),
        (ASKING, "cancel", BOT, True),
        (ASKING, "pause", BOT, True),
    ],
)
def test_whoever_asked_for_a_deployment_does_not_approve_it(
    deployment: ControlledDeployment, command: CommandName, asker: Asker, *, permitted: bool
) -> None:
    policy = permitting({"not_requester": True})
    assert (policy.judge_control(command, deployment, asker) == []) is permitted


def test_two_users_that_nothing_joins_may_approve_each_other() -> None:
    policy = permitting({"not_requester": True}, persons=Persons())
    assert policy.judge_control("resume", ASKING, Asker(Identity("token", "bot-ci"))) == []


def test_a_refusal_names_what_is_required_the_rule_and_whom_to_ask() -> None:
    rules = permitting({"identities": whom("anna", "sre-*"), "contact": "#sre"}, {"groups": Names(("sre",))})
    problems = rules.judge_control("pause", SHOP, EVE)
    assert [(problem.field, problem.message) for problem in problems] == [
        ("user_id", "must be one of: anna, sre-* [control rule1]; ask #sre"),
        ("groups", "must have one of: sre [control rule2]; ask #ops"),
    ]
    (uncovered,) = permitting({"commands": ("cancel",)}).judge_control("pause", SHOP, EVE)
    assert (uncovered.field, uncovered.message) == (
        "command",
        "pause must not be given for shop in production: no [[control]] covers it [control]; ask #ops",
    )
    (own,) = permitting({"not_requester": True}).judge_control("resume", ASKING, BOT)
    assert own.message.startswith("must be another than that of who asked for the deployment (not_requester) [control")


def test_the_file_says_it(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        "[[control]]\nname = 'a'\ncommands = ['cancel']\napplications = ['shop']\nenvironments = ['p*']\n"
        "identities = ['anna']\ngroups = ['sre']\ncontact = '#sre'\n[[control]]\nname = 'b'\nnot_requester = true\n"
    )
    assert read_policy(file).controls == (
        ControlPermission("a", scope("shop", "p*"), ("cancel",), whom("anna"), Names(("sre",)), contact="#sre"),
        ControlPermission("b", not_requester=True),
    )
