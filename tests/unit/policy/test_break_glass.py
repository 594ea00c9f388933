"""``break_glass``: past a freeze and a lock, where an ``[[allow]]`` says so, and past nothing else."""

from dataclasses import replace

import pytest
from tests.unit.policy.test_policy_rules import REQUEST

from vesemir.domain.freeze import FreezeEnd
from vesemir.domain.identity import Asker, Identity, IdentityNames, Person, Persons
from vesemir.domain.names import Names
from vesemir.domain.permission import Permission, PermissionScope
from vesemir.domain.policy import ALLOW_ALL, Freeze, Limit, Policy

GLASS = replace(REQUEST, break_glass="the shop is down")
ANNA = Asker.by_amqp("anna")


class Always:
    def end_after(self, now: float) -> FreezeEnd | None:
        return FreezeEnd(now + 60, "later")


FROZEN = Freeze("night", (Always(),))
ONLY_ANNA = Permission("anna", users=IdentityNames(("anna",)), break_glass=True)
EVERYBODY = Permission("all")


def policy(*permissions: Permission, **more: object) -> Policy:
    return Policy(permissions=permissions, freezes=(FROZEN,), **more)  # type: ignore[arg-type]


def fields(rules: Policy, asker: Asker = ANNA) -> list[str]:
    return [problem.field for problem in rules.judge(GLASS, asker, 0.0)]


def test_it_goes_past_a_freeze_where_a_rule_covers_it() -> None:
    rules = policy(EVERYBODY, ONLY_ANNA)
    assert rules.judge(GLASS, ANNA, 0.0) == []
    assert [problem.field for problem in rules.judge(REQUEST, ANNA, 0.0)] == ["environment"]


@pytest.mark.parametrize(
    "permission",
    [
        Permission("plain"),
        replace(ONLY_ANNA, users=IdentityNames(("bert",))),
        replace(ONLY_ANNA, scope=PermissionScope(applications=Names(("search",)))),
        replace(ONLY_ANNA, scope=PermissionScope(environments=Names(("staging",)))),
        replace(ONLY_ANNA, groups=Names(("on-call",))),
    ],
)
def test_elsewhere_it_is_forbidden(permission: Permission) -> None:
    (problem,) = policy(EVERYBODY, permission).judge(GLASS, ANNA, 0.0)
    assert problem.field == "break_glass"
    assert problem.message == (
        "must be left out: no [[allow]] with break_glass = true covers you here [allow]; ask whoever keeps the policy"
    )


def test_without_a_policy_nobody_may() -> None:
    assert fields(ALLOW_ALL) == ["break_glass"]


def test_a_message_without_identity_is_covered_by_no_name() -> None:
    assert fields(policy(EVERYBODY, ONLY_ANNA), Asker()) == ["break_glass"]
    assert fields(policy(EVERYBODY, ONLY_ANNA), Asker(claimed="anna")) == ["break_glass"]


def test_joined_identities_are_covered_together() -> None:
    both = frozenset({Identity("amqp", "anna"), Identity("amqp", "anna-laptop")})
    rules = policy(EVERYBODY, ONLY_ANNA, persons=Persons((Person("anna-p", both),)))
    assert rules.judge(GLASS, Asker.by_amqp("anna-laptop"), 0.0) == []


def test_the_rule_that_lets_it_need_not_be_the_one_that_the_request_fits() -> None:
    """Identity, application and environment are what must be covered; an [[allow]] must fit all the same."""
    other_recipe = replace(ONLY_ANNA, recipes=Names(("database",)))
    assert policy(EVERYBODY, other_recipe).judge(GLASS, ANNA, 0.0) == []
    assert fields(policy(other_recipe)) == ["recipe"]


def test_it_goes_past_no_limit_and_nothing_that_is_required() -> None:
    limit = Limit("some", require=("rollout.approve_after",), max_targets=1)
    rules = policy(EVERYBODY, ONLY_ANNA, limits=(limit,))
    assert fields(rules) == ["rollout.approve_after"]
    assert rules.judge_targets(GLASS, ANNA, ["web1", "web2"])


def test_a_repeat_from_another_identity_needs_the_permission_too() -> None:
    rules = policy(EVERYBODY, ONLY_ANNA)
    assert rules.judge_repeat(GLASS, ANNA) == []
    assert [problem.field for problem in rules.judge_repeat(GLASS, Asker.by_amqp("bert"))] == ["break_glass"]
