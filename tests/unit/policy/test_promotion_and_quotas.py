"""``[[promote]]``, ``max_waiting`` and ``once_hosts``: each decision by itself; the record's answers are given."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.policy.test_policy_files import read
from tests.unit.policy.test_policy_rules import NOW, REQUEST, names

from vesemir.adapters.policy import PolicyFileError
from vesemir.domain.identity import UNPROVED, Asker, Identity, IdentityNames, Person, Persons
from vesemir.domain.permission import EVERYWHERE, OnceHost, Permission, PermissionScope, TargetPermission
from vesemir.domain.policy import ALLOW_ALL, Freeze, Policy
from vesemir.domain.promotion import Promotion, Success
from vesemir.domain.quota import HeldQuota, Quota, Waiting, WaitingCount
from vesemir.domain.request import DeployRequest

SHA = "AB" * 32
STAGED = Success("staging", "s1", 7200, SHA.lower())
THIS = replace(REQUEST, parameters={"artifact_sha256": SHA})
BOT = Asker.by_amqp("bot")


def missing(rule: Promotion, *successes: Success, request: DeployRequest = THIS) -> list[tuple[str, str]]:
    found = Policy(promotions=(rule,)).judge_promotion(request, successes)
    return [(each.field, each.message) for each in found]


RULE = Promotion("staged", "staging", PermissionScope(environments=names("production")), soak=7200)


def test_the_same_artifact_long_enough_ago_is_enough() -> None:
    assert missing(RULE, STAGED) == []
    assert missing(RULE, replace(STAGED, artifact="00"), STAGED, replace(STAGED, seconds_ago=10)) == []


def test_what_is_missing_is_said_with_what_to_do() -> None:
    ask = " [promote staged]; ask whoever keeps the policy"
    assert missing(RULE, replace(STAGED, environment="test")) == [
        (
            "version",
            "has no success in staging: deploy 2.0.0 of shop there first, and send this again (with a new id) when "
            "that has succeeded" + ask,
        )
    ]
    assert missing(RULE, replace(STAGED, artifact="00" * 32), replace(STAGED, artifact=None, deployment_id="s2")) == [
        (
            "parameters.artifact_sha256",
            "must be that of the success in staging (s1: 000000000000…): deploy this artifact there first" + ask,
        )
    ]
    assert missing(RULE, replace(STAGED, seconds_ago=3541)) == [
        (
            "version",
            "has been in staging for 60 min (s1), and 2 h are asked for: send it again in 61 min" + ask,
        )
    ]
    assert "for 90 s (s1)" in missing(RULE, replace(STAGED, seconds_ago=89.5))[0][1]
    assert "again in 47 h" in missing(replace(RULE, soak=48 * 3600), replace(STAGED, seconds_ago=5000))[0][1]
    assert "(s1: no artifact_sha256)" in missing(RULE, replace(STAGED, artifact=None))[0][1]
    assert "(s1: 00)" in missing(RULE, replace(STAGED, artifact="00"))[0][1]


def test_a_version_alone_may_be_enough() -> None:
    assert missing(replace(RULE, same_artifact=False), replace(STAGED, artifact="00")) == []


def test_without_a_checksum_the_one_before_must_have_had_none_either() -> None:
    assert missing(RULE, STAGED, request=REQUEST) != []
    assert missing(RULE, replace(STAGED, artifact=None), request=REQUEST) == []


def test_an_environment_needs_no_success_in_itself() -> None:
    everywhere = replace(RULE, scope=EVERYWHERE)
    policy = Policy(promotions=(everywhere,))
    assert policy.promotions_of(THIS) == [everywhere]
    assert policy.promotions_of(replace(THIS, environment="staging")) == []
    assert Policy(promotions=(RULE,)).promotions_of(replace(THIS, environment="test")) == []


def test_all_rules_that_cover_it_hold() -> None:
    policy = Policy(promotions=(RULE, Promotion("tested", "test", same_artifact=False, contact="QA")), contact="ops")
    (problem,) = policy.judge_promotion(THIS, [STAGED])
    assert problem.message.endswith("[promote tested]; ask QA")
    assert policy.judge_promotion(THIS, [STAGED, replace(STAGED, environment="test")]) == []


def test_a_rule_is_told_in_a_line() -> None:
    assert RULE.text == "a success of the same artifact in staging, 2 h ago"
    assert Promotion("x", "test", same_artifact=False).text == "a success of the same version in test"


# --- how many may wait ------------------------------------------------------------------------------------------------

ANNA, LAPTOP = Identity.of("anna"), Identity.of("token:laptop")
PERSONS = Persons((Person("anna", frozenset({ANNA, LAPTOP})),))
IN_PRODUCTION = PermissionScope(environments=names("production"))


def of_bot(count: int, environment: str = "production") -> tuple[Waiting, int]:
    return Waiting("amqp:bot", "shop", environment), count


def test_a_quota_counts_what_is_in_its_scope() -> None:
    policy = Policy(quotas=(Quota("few", IN_PRODUCTION, max_waiting=3), Quota("runs", max_running=1)))
    (quota,) = policy.waiting_quotas(REQUEST, BOT)
    new = Waiting("amqp:bot", "shop", "production")
    count = WaitingCount([of_bot(2), of_bot(40, "staging"), (Waiting("amqp:anna", "shop", "production"), 40)])
    assert count.admit([quota], new) is None
    full = count.admit([quota], new)
    assert full is not None
    assert full.problem.field == "user_id"
    assert full.problem.message == (
        "has 3 deployments waiting (amqp:bot), and at most 3 may: send it again when some have begun, or cancel some "
        "[limit few]; ask whoever keeps the policy"
    )
    assert policy.waiting_quotas(replace(REQUEST, environment="staging"), BOT) == ()
    assert [(quota.key, quota.most) for quota in policy.running_quotas(REQUEST, BOT)] == [("runs amqp:bot", 1)]
    assert policy.most_running == {"runs": 1}
    long = Asker(Identity("oidc", "x" * 500))
    assert len(policy.running_quotas(REQUEST, long)[0].key) == len("runs ") + 120 + 1 + 32


def test_who_is_one_counts_as_one() -> None:
    policy = Policy(quotas=(Quota("few", max_waiting=1),), persons=PERSONS)
    one, other = (policy.waiting_quotas(REQUEST, Asker(who)) for who in (ANNA, LAPTOP))
    assert (
        one
        == other
        == (HeldQuota("few", 1, identities=frozenset({"amqp:anna", "token:laptop"}), ask="whoever keeps the policy"),)
    )
    assert one[0].key == "few amqp:anna"
    assert one[0].counts(Waiting("token:laptop", "shop", "test"))
    (nobody,) = policy.waiting_quotas(REQUEST, UNPROVED)
    assert nobody.counts(Waiting("", "shop", "test"))
    assert not nobody.counts(Waiting("amqp:anna", "shop", "test"))
    assert nobody.holder == "without an identity"


def test_an_application_is_counted_whoever_asked() -> None:
    policy = Policy(quotas=(Quota("few", IN_PRODUCTION, "application", max_waiting=2),), contact="ops")
    (quota,) = policy.waiting_quotas(REQUEST, BOT)
    assert (quota.key, quota.holder) == ("few application:shop", "shop")
    count = WaitingCount([of_bot(1), (Waiting("amqp:anna", "shop", "production"), 1), (Waiting("", "blog", "x"), 9)])
    full = count.admit([quota], Waiting("", "shop", "production"))
    assert full is not None
    assert (full.problem.field, full.waiting) == ("application", 2)
    assert full.problem.message.endswith("[limit few]; ask ops")


# --- hosts of run-once steps ------------------------------------------------------------------------------------------

DB = OnceHost("db1")
IN_GROUP = OnceHost("db1", "databases")


@pytest.mark.parametrize(
    ("permission", "host", "allowed"),
    [
        (Permission("p"), DB, True),
        (Permission("p", targets=TargetPermission(hosts=names("web*"))), DB, False),
        (Permission("p", targets=TargetPermission(hosts=names("db*"))), DB, True),
        (Permission("p", targets=TargetPermission(groups=names("databases"))), DB, False),
        (Permission("p", targets=TargetPermission(groups=names("databases"))), IN_GROUP, True),
        (Permission("p", targets=TargetPermission(groups=names("web")), once_hosts=names("db*")), IN_GROUP, True),
        (Permission("p", targets=TargetPermission(groups=names("web")), once_hosts=names("job*")), IN_GROUP, False),
    ],
)
def test_a_run_once_step_needs_a_host_of_targets_or_once_hosts(
    permission: Permission, host: OnceHost, *, allowed: bool
) -> None:
    assert (permission.refuses_once(host) is None) is allowed


def test_one_rule_that_allows_the_request_must_allow_every_host() -> None:
    web = Permission("web", targets=TargetPermission(groups=names("web")), once_hosts=names("job1"))
    others = Permission("others", users=IdentityNames(("anna",)))
    policy = Policy(permissions=(web, others))
    assert policy.judge_once_hosts(REQUEST, BOT, [OnceHost("job1")]) == []
    (problem,) = policy.judge_once_hosts(REQUEST, BOT, [OnceHost("job1"), IN_GROUP])
    assert problem.field == "recipe"
    assert problem.message == (
        "runs a step once on db1 (the first of databases), which must be of the rule's targets or once_hosts (job1) "
        "[allow web]; ask whoever keeps the policy"
    )
    assert policy.judge_once_hosts(REQUEST, Asker(ANNA), [IN_GROUP]) == []
    assert ALLOW_ALL.judge_once_hosts(REQUEST, BOT, [IN_GROUP]) == []


# --- groups -----------------------------------------------------------------------------------------------------------


def test_groups_of_an_identity_are_asked_about() -> None:
    policy = Policy(permissions=(Permission("team", groups=names("payments", "sre*")),))
    assert policy.judge(REQUEST, Asker(groups=("x", "sre-eu")), NOW) == []
    (problem,) = policy.judge(REQUEST, BOT, NOW)
    assert (problem.field, problem.message) == (
        "groups",
        "must have one of: payments, sre* [allow team]; ask whoever keeps the policy",
    )


def test_a_freeze_may_except_groups() -> None:
    class Always:
        def end_after(self, now: float) -> None:
            raise AssertionError(now)

    freeze = Freeze("f", (Always(),), except_groups=names("sre"))
    assert Policy(freezes=(freeze,)).judge(REQUEST, Asker(groups=("sre",)), NOW) == []


# --- in the file ------------------------------------------------------------------------------------------------------

NEW_RULES = """
[[allow]]
name = "ours"
identities = ["bot", "oidc:https://sso:*"]
groups = ["payments"]
once_hosts = ["db*"]

[[promote]]
name = "staged"
environments = ["production"]
require_success_in = "staging"
soak = "2h"

[[limit]]
name = "fair"
max_waiting = 20
max_running = 3

[[limit]]
name = "calm"
applications = ["shop"]
per = "application"
max_waiting = 5

[[freeze]]
name = "nights"
days = ["mon"]
timezone = "Europe/Berlin"
except = { identities = ["anna"], groups = ["sre"] }
"""


def test_the_new_keys_of_the_file(tmp_path: Path) -> None:
    policy = read(tmp_path, NEW_RULES)
    (permission,) = policy.permissions
    assert (permission.users, permission.groups, permission.once_hosts) == (
        IdentityNames(("bot", "oidc:https://sso:*")),
        names("payments"),
        names("db*"),
    )
    assert policy.promotions == (RULE,)
    assert policy.quotas == (
        Quota("fair", max_waiting=20, max_running=3),
        Quota("calm", PermissionScope(names("shop")), "application", max_waiting=5),
    )
    (freeze,) = policy.freezes
    assert (freeze.except_users, freeze.except_groups) == (IdentityNames(("anna",)), names("sre"))


@pytest.mark.parametrize(("given", "seconds"), [("0", 0), ("90", 90), ("'45s'", 45), ("'90m'", 5400), ("'7d'", 604800)])
def test_a_soak_is_seconds_or_a_number_with_a_unit(tmp_path: Path, given: str, seconds: int) -> None:
    (rule,) = read(tmp_path, f"[[promote]]\nname='p'\nrequire_success_in='staging'\nsoak={given}").promotions
    assert rule.soak == seconds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[promote]]\nname='p'\nrequire_success_in='s'\nsoak='2 h'", "soak: must be a whole number of seconds, or"),
        ("[[promote]]\nname='p'\nrequire_success_in='s'\nsoak=true", "soak: must be a whole number of seconds, or"),
        ("[[promote]]\nname='p'\nrequire_success_in='s'\nsoak='366d'", "up to a year"),
        ("[[promote]]\nname='p'\nrequire_success_in='*'", "require_success_in"),
        ("[[promote]]\nname='p'", "require_success_in"),
        (
            "[[promote]]\nname='p'\nenvironments=['x']\nrequire_success_in='x'",
            "4: promote[0].require_success_in: is the environment that the rule is about",
        ),
        ("[[limit]]\nname='l'\nper='application'", "3: limit[0].per: says whose deployments"),
        ("[[limit]]\nname='l'\nper='team'\nmax_waiting=1", "per"),
        ("[[limit]]\nname='l'\nmax_waiting=0", "max_waiting"),
        ("[[allow]]\nname='a'\nusers=['a']\nidentities=['a']", "4: allow[0].identities: is another name of users"),
        (
            "[[freeze]]\nname='f'\ndays=['mon']\ntimezone='UTC'\nexcept={users=['a'], identities=['a']}",
            "freeze[0].except.identities: is another name of users",
        ),
        (
            "[[promote]]\nname='p'\nrequire_success_in='s'\n[[promote]]\nname='p'\nrequire_success_in='t'",
            "more than one",
        ),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(PolicyFileError) as caught:
        read(tmp_path, text)
    assert says in str(caught.value)
