"""Which rule of the policy allowed something, as the audit tells it: named if and only if one had to allow it."""

from dataclasses import replace
from itertools import product

import pytest
from tests.unit.policy.test_control_rules import ANNA, ASKING, BOT, EVE, JOINED, SHOP, permitting, whom
from tests.unit.policy.test_policy_rules import REQUEST, names, users

from vesemir.domain.control import COMMANDS
from vesemir.domain.deciding_rule import rule_of_command, rule_of_request
from vesemir.domain.identity import UNPROVED, Asker, Identity
from vesemir.domain.permission import Permission, PermissionScope
from vesemir.domain.policy import ALLOW_ALL, Policy

SHOPS = PermissionScope(names("shop"))
RULES = Policy(
    permissions=(
        Permission("bots", scope=SHOPS, users=users("bot"), recipes=names("release")),
        Permission("people", scope=SHOPS, users=users("anna", "bot")),
    ),
    persons=JOINED,
)


@pytest.mark.parametrize(
    ("policy", "asker", "changes", "rule"),
    [
        (RULES, BOT, {}, "allow bots"),
        (RULES, Asker(Identity("token", "bot-ci")), {}, "allow bots"),
        (RULES, BOT, {"recipe": "hotfix"}, "allow people"),
        (RULES, ANNA, {}, "allow people"),
        (RULES, EVE, {}, None),
        (RULES, BOT, {"application": "blog"}, None),
        (replace(RULES, allow_otherwise=True), EVE, {"application": "blog"}, "otherwise"),
        (ALLOW_ALL, EVE, {}, None),
    ],
)
def test_of_a_request(policy: Policy, asker: Asker, changes: dict[str, str], rule: str | None) -> None:
    request = replace(REQUEST, **changes)  # type: ignore[arg-type]
    assert rule_of_request(policy, request, asker) == rule
    assert bool(policy.judge(request, asker, 0.0)) == (rule is None and bool(policy.permissions))


def test_of_a_command_one_is_named_where_it_is_permitted_and_there_only() -> None:
    policy = permitting(
        {"identities": whom("anna"), "commands": ("cancel", "lock")},
        {"identities": whom("anna", "bot"), "not_requester": True},
    )
    assert rule_of_command(policy, "cancel", SHOP, ANNA) == "control rule1"
    assert rule_of_command(policy, "pause", SHOP, ANNA) == "control rule2"
    assert rule_of_command(policy, "resume", ASKING, BOT) is None
    assert rule_of_command(ALLOW_ALL, "cancel", SHOP, UNPROVED) is None
    for command, about, asker in product(COMMANDS, (SHOP, ASKING), (BOT, ANNA, EVE, UNPROVED)):
        permitted = not policy.judge_control(command, about, asker)
        assert permitted == (rule_of_command(policy, command, about, asker) is not None)
