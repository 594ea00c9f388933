"""The operator's rules: who may deploy what where, when, and how much of it; each refusal names its rule."""

from dataclasses import replace
from typing import Any

import pytest

from vesemir.domain.freeze import FreezeEnd
from vesemir.domain.identity import UNPROVED, Asker, Identity, IdentityNames, Person, Persons
from vesemir.domain.names import Names
from vesemir.domain.permission import ChefPermission, Permission, PermissionScope, TargetPermission
from vesemir.domain.policy import ALLOW_ALL, REQUIRABLE, Freeze, Limit, Policy
from vesemir.domain.request import Analysis, DeployRequest, Rollout, TrafficRequest
from vesemir.domain.selector import ChefSelector, GroupSelector, HostSelector
from vesemir.domain.share import Share

LB = GroupSelector(("lb",))
REQUEST = DeployRequest(
    deployment_id="d1",
    application="shop",
    environment="production",
    version="2.0.0",
    recipe="release",
    targets=GroupSelector(("web",)),
    team="payments",
    requested_by="orchestrator",
    haproxy=TrafficRequest(LB, ("shop",), "{name}"),
)
NOW = 1_000.0
BOT, ANNA = Asker.by_amqp("bot"), Asker.by_amqp("anna")
_QUARTER, _HALF = Share(25, percent=True), Share(50, percent=True)


def found(total: int) -> list[str]:
    """The names of so many targets."""
    return [f"web{number}" for number in range(1, total + 1)]


def names(*patterns: str) -> Names:
    return Names(patterns)


def users(*patterns: str) -> IdentityNames:
    return IdentityNames(patterns)


def asked(policy: Policy, user: str | None = "bot", **more: Any) -> list[tuple[str, str]]:
    """The problems with the request, changed as said: (field, message)."""
    problems = policy.judge(replace(REQUEST, **more), Asker.by_amqp(user), NOW)
    return [(problem.field, problem.message) for problem in problems]


def fields(policy: Policy, user: str | None = "bot", **more: Any) -> list[str]:
    return [field for field, _ in asked(policy, user, **more)]


def allowing(**more: Any) -> Policy:
    return Policy(permissions=(Permission("ours", **more),))


# --- who may deploy what ----------------------------------------------------------------------------------------------


def test_without_rules_everything_is_allowed() -> None:
    assert asked(ALLOW_ALL, None) == []


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("shop", "shop", "shop2"),
        ("shop-*", "shop-", "shop"),
        ("*", "", None),
        ("a*c", "abc", "abcd"),
        (".*", ".x", "x"),
    ],
)
def test_a_star_is_any_text_and_nothing_else_is_special(pattern: str, fits: str, fits_not: str | None) -> None:
    assert names(pattern).has(fits)
    assert not names(pattern).has(fits_not)


@pytest.mark.parametrize(
    ("permission", "more", "field"),
    [
        ({"users": users("bot")}, {"user": "other"}, "user_id"),
        ({"users": users("*")}, {"user": None}, "user_id"),
        ({"teams": names("payments")}, {"team": None}, "team"),
        ({"requesters": names("orchestrator")}, {"requested_by": "anna"}, "requested_by"),
        ({"recipes": names("rel*")}, {"recipe": "package"}, "recipe"),
        ({"backends": names("shop")}, {"haproxy": TrafficRequest(LB, ("till",), "{name}")}, "haproxy.backend"),
        (
            {"balancers": TargetPermission(groups=names("lb"))},
            {"haproxy": TrafficRequest(HostSelector(("lb1",)), "shop", "{name}")},
            "haproxy.targets",
        ),
        (
            {"targets": TargetPermission(groups=names("web*"))},
            {"targets": GroupSelector(("web1", "db"))},
            "targets.inventory.groups[1]",
        ),
        (
            {"targets": TargetPermission(hosts=names("web*"))},
            {"targets": HostSelector(("web1", "db1"))},
            "targets.hosts[1]",
        ),
        ({"targets": TargetPermission(hosts=names("web*"))}, {"targets": GroupSelector(("web1",))}, "targets"),
        ({"targets": TargetPermission(hosts=names("*"))}, {"targets": ChefSelector(tags=("web",))}, "targets"),
    ],
)
def test_what_does_not_fit_is_named_and_what_fits_is_not(
    permission: dict[str, Any], more: dict[str, Any], field: str
) -> None:
    policy = allowing(**permission)
    assert fields(policy, **more) == [field]
    fitting = {"targets": HostSelector(("web1",))} if permission.get("targets", TargetPermission()).hosts else {}
    assert fields(policy, **fitting) == []


CHEF = ChefPermission(tags=names("shop-*"), roles=names("shop"), environments=names("production"), clusters=names("eu"))
GOOD = ChefSelector(tags=("shop-web",), environment="production", cluster="eu")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (GOOD, []),
        (replace(GOOD, tags=("zone-a", "shop-web")), []),
        (replace(GOOD, tags=("zone-a",), roles=("shop",)), []),
        (replace(GOOD, tags=("zone-a",)), ["targets.chef"]),
        (replace(GOOD, tags=(), recipes=("shop-web",)), ["targets.chef"]),
        (replace(GOOD, environment=""), ["targets.chef.environment"]),
        (replace(GOOD, environment="staging", cluster=""), ["targets.chef.environment", "targets.chef.cluster"]),
        (
            ChefSelector(query="name:*", cluster="eu"),
            ["targets.chef.query", "targets.chef.environment"],
        ),
    ],
)
def test_a_chef_search_may_narrow_what_is_allowed_and_not_go_beyond(
    selector: ChefSelector, expected: list[str]
) -> None:
    assert fields(allowing(targets=TargetPermission(chef=CHEF)), targets=selector) == expected


def test_raw_searches_where_they_are_allowed() -> None:
    chef = TargetPermission(chef=ChefPermission(query=True))
    assert fields(allowing(targets=chef), targets=ChefSelector(query="name:*")) == []
    assert fields(allowing(targets=chef), targets=ChefSelector(tags=("a",))) == []


def test_the_ways_to_select_that_are_allowed_are_named() -> None:
    both = TargetPermission(groups=names("a"), chef=ChefPermission())
    (problem,) = asked(allowing(targets=both), targets=HostSelector(("web1",)))
    assert "must be selected by inventory or chef" in problem[1]


def test_what_no_rule_covers_is_refused_unless_it_is_said_to_be_allowed() -> None:
    policy = Policy((Permission("ours", PermissionScope(names("till"))),), contact="#platform")
    ((field, message),) = asked(policy)
    assert (field, message) == (
        "application",
        "must not be deployed in this environment: no [[allow]] covers it [otherwise]; ask #platform",
    )
    assert asked(replace(policy, allow_otherwise=True)) == []
    assert asked(policy, application="till") == []


def test_one_of_the_rules_that_cover_it_is_enough() -> None:
    anna, bot = Permission("anna", users=users("anna"), teams=names("x")), Permission("bot", users=users("bot"))
    elsewhere = Permission("staging", PermissionScope(environments=names("staging")), users=users("eve"))
    policy = Policy((anna, bot, elsewhere))
    assert asked(policy, "bot") == []
    refused = asked(policy, "eve")
    assert [field for field, _ in refused] == ["user_id", "user_id"]
    assert "must be one of: anna, or what another of 2 rules asks [allow anna]" in refused[0][1]
    assert "[allow bot]" in refused[1][1]


def test_a_refusal_says_whom_to_ask() -> None:
    rule = Permission("ours", users=users("anna"))
    assert asked(Policy((rule,)))[0][1] == "must be one of: anna [allow ours]; ask whoever keeps the policy"
    assert asked(Policy((rule,), contact="#ops"))[0][1].endswith("; ask #ops")
    assert asked(Policy((replace(rule, contact="#pay"),), contact="#ops"))[0][1].endswith("; ask #pay")


def test_without_haproxy_there_is_no_backend_to_judge() -> None:
    assert fields(allowing(backends=names("till"), balancers=TargetPermission()), haproxy=None) == []


# --- which servers may be moved ---------------------------------------------------------------------------------------


def moving(server: str) -> dict[str, Any]:
    return {"haproxy": TrafficRequest(LB, ("shop",), server)}


WEB_OR_BLUE = names("web*", "blue-web1", "blue-web2")


@pytest.mark.parametrize(
    ("servers", "server", "refused"),
    [
        (None, "{name}", False),
        (None, "web5", True),
        (None, "blue-{name}", True),
        (None, "{name}5", True),
        (names("web5"), "web5", False),
        (names("web5"), "web6", True),
        (names("web5"), "{name}", False),
        (WEB_OR_BLUE, "web9", False),
        (WEB_OR_BLUE, "blue-{name}", False),
    ],
)
@pytest.mark.parametrize("backends", [None, names("shop")])
def test_a_request_moves_the_servers_of_its_own_targets(
    backends: Names | None, servers: Names | None, server: str, *, refused: bool
) -> None:
    """And others only where the rule names them. With web1 and web2 allowed, web5 was left drained."""
    policy = allowing(targets=TargetPermission(groups=names("web")), backends=backends, servers=servers)
    assert fields(policy, **moving(server)) == (["haproxy.server"] if refused else [])


@pytest.mark.parametrize(("total", "refused"), [(2, False), (3, True)])
def test_text_around_the_name_is_judged_when_the_targets_are_known(total: int, *, refused: bool) -> None:
    policy, request = allowing(servers=WEB_OR_BLUE), replace(REQUEST, **moving("blue-{name}"))
    assert policy.judge(request, BOT, NOW) == []
    problems = policy.judge_targets(request, BOT, found(total))
    assert [problem.field for problem in problems] == (["haproxy.server"] if refused else [])
    if refused:
        assert "or one of: web*, blue-web1, blue-web2, and would be blue-web3 [allow ours]" in problems[0].message
    assert policy.judge_targets(replace(REQUEST, **moving("{name}")), BOT, found(9)) == []


def test_the_rule_that_allows_the_servers_must_allow_the_rest_too() -> None:
    blue = Permission("blue", servers=names("blue-*"), users=users("anna"))
    policy, request = Policy((Permission("any"), blue)), replace(REQUEST, **moving("blue-{name}"))
    assert policy.judge(request, ANNA, NOW) == []
    assert policy.judge_targets(request, ANNA, found(2)) == []
    assert [problem.field for problem in policy.judge(request, BOT, NOW)] == [
        "haproxy.server",
        "user_id",
    ]


def test_no_traffic_at_all() -> None:
    assert fields(allowing(traffic=False)) == ["haproxy"]
    assert fields(allowing(traffic=False), haproxy=None) == []


def test_without_a_policy_any_server_may_be_moved() -> None:
    request = replace(REQUEST, **moving("web5"))
    assert ALLOW_ALL.judge(request, UNPROVED, NOW) == []
    assert ALLOW_ALL.judge_targets(request, UNPROVED, found(2)) == []
    assert (
        Policy((Permission("till", PermissionScope(names("till"))),), allow_otherwise=True).judge(
            request, UNPROVED, NOW
        )
        == []
    )


# --- when -------------------------------------------------------------------------------------------------------------


class Always:
    def end_after(self, now: float) -> FreezeEnd | None:
        return FreezeEnd(2_000.0, "then") if now < 2_000 else None


FROZEN = Freeze("quiet", (Always(),), reason="holidays")


def test_a_freeze_says_until_when_and_why() -> None:
    ((field, message),) = asked(Policy(freezes=(FROZEN,), contact="#ops"))
    assert field == "environment"
    assert message == "is frozen until then (holidays); send it again then [freeze quiet]; ask #ops"
    assert Policy(freezes=(FROZEN,)).judge(REQUEST, UNPROVED, 2_000.0) == []


@pytest.mark.parametrize(
    "freeze",
    [
        replace(FROZEN, scope=PermissionScope(environments=names("staging"))),
        replace(FROZEN, except_users=users("bot")),
        replace(FROZEN, except_teams=names("pay*")),
        replace(FROZEN, except_requesters=names("orchestrator")),
    ],
)
def test_who_is_not_meant_is_not_held_up(freeze: Freeze) -> None:
    assert asked(Policy(freezes=(freeze,))) == []


def test_an_exception_for_others_is_none_for_us() -> None:
    assert asked(Policy(freezes=(replace(FROZEN, except_users=users("on-call"), except_teams=names("ops")),)))


def test_a_dry_run_may_always_look() -> None:
    assert asked(Policy(freezes=(FROZEN,)), dry_run=True) == []


# --- how much ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "rollout", "field"),
    [
        ({"max_concurrency": Share(2)}, Rollout(concurrency=Share(3)), "rollout.concurrency"),
        (
            {"max_concurrency": Share(25, percent=True)},
            Rollout(concurrency=Share(26, percent=True)),
            "rollout.concurrency",
        ),
        ({"max_canary": Share(1)}, Rollout(canary=Share(2)), "rollout.canary"),
        ({"max_failures": Share(0)}, Rollout(max_failures=Share(1)), "rollout.max_failures"),
        (
            {"min_available": Share(50, percent=True)},
            Rollout(min_available=Share(49, percent=True)),
            "rollout.min_available",
        ),
        ({"min_available": Share(1, percent=True)}, Rollout(min_available=Share(99)), "rollout.min_available"),
        ({"on_failure": ("rollback",)}, Rollout(), "rollout.on_failure"),
    ],
)
def test_a_limit_that_is_exceeded_is_named(limit: dict[str, Any], rollout: Rollout, field: str) -> None:
    policy = Policy(limits=(Limit("most", **limit),))
    ((found, message),) = asked(policy, rollout=rollout)
    assert (found, "[limit most]" in message) == (field, True)
    generous = Rollout(on_failure="rollback", min_available=Share(99, percent=True))
    assert asked(policy, rollout=generous) == []
    elsewhere = Policy(limits=(Limit("most", PermissionScope(names("till")), **limit),))
    assert asked(elsewhere, rollout=rollout) == []


def test_what_is_required_must_be_there() -> None:
    policy = Policy(limits=(Limit("all", require=REQUIRABLE),))
    bare = {"team": None, "requested_by": None, "haproxy": None}
    assert fields(policy, None, **bare) == list(REQUIRABLE)
    full = Rollout(
        canary=Share(1), min_available=Share(1), approve_after="canary", analysis=Analysis(), order_by="zone"
    )
    assert fields(policy, rollout=full) == []


def test_how_many_targets_only_resolving_can_tell() -> None:
    policy = Policy(
        limits=(Limit("few", max_targets=10), Limit("other", PermissionScope(names("till")), max_targets=1))
    )
    assert policy.judge_targets(REQUEST, BOT, found(10)) == []
    (problem,) = policy.judge_targets(REQUEST, BOT, found(11))
    assert problem.message.startswith("must select at most 10 targets, and finds 11 [limit few]")
    hosts = HostSelector(tuple(f"web{number}" for number in range(11)))
    assert fields(policy, targets=hosts) == ["targets.hosts"]


@pytest.mark.parametrize(("total", "allowed"), [(40, True), (39, False), (4, False)])
def test_a_number_and_a_percentage_are_compared_when_the_targets_are_known(*, total: int, allowed: bool) -> None:
    policy = Policy(limits=(Limit("most", max_concurrency=Share(25, percent=True)),))
    ten = replace(REQUEST, rollout=Rollout(concurrency=Share(10)))
    assert policy.judge(ten, UNPROVED, NOW) == []
    assert (policy.judge_targets(ten, BOT, found(total)) == []) is allowed


def test_one_at_a_time_is_always_within_a_percentage() -> None:
    policy = Policy(limits=(Limit("most", max_concurrency=Share(25, percent=True)),))
    assert policy.judge_targets(REQUEST, BOT, found(2)) == []


# --- identities that are one ------------------------------------------------------------------------------------------

JOINED = Persons((Person("anna", frozenset({Identity("amqp", "anna"), Identity("token", "laptop")})),))
LAPTOP = Asker(Identity("token", "laptop"))
EXCEPTED = Freeze("always", FROZEN.windows, except_users=users("anna"))


def test_a_rule_for_one_identity_is_one_for_all_that_are_joined_with_it() -> None:
    moving = TrafficRequest(LB, ("*",), "blue-{name}")
    ours = Permission("ours", users=users("anna"), servers=names("blue-*"), backends=names("shop"))
    request, rules = replace(REQUEST, haproxy=moving), Policy((ours,), freezes=(EXCEPTED,))
    joined = replace(rules, persons=JOINED)
    assert joined.judge(request, LAPTOP, NOW) == []
    assert joined.judge_targets(request, LAPTOP, ["web1"]) == []
    assert joined.judge_backends(request, LAPTOP, ["shop"]) == []
    assert [problem.field for problem in rules.judge(request, LAPTOP, NOW)] == ["user_id", "environment"]
    assert [problem.field for problem in rules.judge_backends(request, LAPTOP, ["shop"])] == ["haproxy.backend"]


def test_an_identity_of_any_kind_is_what_a_limit_requires() -> None:
    rules = Policy(limits=(Limit("named", require=("user_id",)),))
    assert rules.judge(REQUEST, LAPTOP, NOW) == []
    assert [problem.field for problem in rules.judge(REQUEST, UNPROVED, NOW)] == ["user_id"]
