"""The policy, and what ``vesemir policy test`` answers, against a decision that is written down another way.

Rules are drawn as a policy file has them, read as it is read, and judged here over plain sets and dictionaries.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vesemir.adapters.policy.models import PolicyTable
from vesemir.adapters.policy.policy_builder import PolicyBuilder
from vesemir.domain.decision import RecordAnswers, decide_request
from vesemir.domain.identity import Asker, Identity
from vesemir.domain.policy import Policy
from vesemir.domain.promotion import Success
from vesemir.domain.quota import Waiting
from vesemir.domain.request import DeployRequest, Rollout, TrafficRequest
from vesemir.domain.selector import GroupSelector, HostSelector
from vesemir.domain.share import Share

Json = dict[str, Any]
EXAMPLES = 2000
HOUR = 3600.0
APPLICATIONS, ENVIRONMENTS, TEAMS = ["shop", "shop-api", "till"], ["staging", "production"], ["payments", "web"]
WHO = [None, "amqp:anna", "amqp:bot", "token:bot", "oidc:sso:1"]
MEANS = {
    "anna": {"amqp:anna"},
    "bot": {"amqp:bot"},
    "*": {"amqp:anna", "amqp:bot"},
    "token:*": {"token:bot"},
    "bots": {"amqp:bot", "token:bot"},
}
"""Patterns of identities, and whom each means; ``bots`` is a person."""
JOINED = {"amqp:bot", "token:bot"}
NAMED = {"shop": {"shop"}, "shop*": {"shop", "shop-api"}, "*": {*APPLICATIONS}, "till": {"till"}}


def some(*values: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


def table(required: Json | None = None, **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    scope = {"applications": some(*NAMED), "environments": some(*ENVIRONMENTS)}
    return st.fixed_dictionaries(required or {}, optional={**scope, **optional})


ALLOW = table(
    users=some(*MEANS),
    groups=some("sre", "web"),
    teams=some(*TEAMS),
    recipes=some("release", "restart"),
    targets=st.sampled_from([{"groups": ["web"]}, {"hosts": ["web1"]}, {"hosts": ["web1"], "groups": ["web"]}]),
    haproxy=st.sampled_from([False, {"backends": ["shop"]}]),
)
FREEZE = table(
    {"from": st.integers(0, 8), "hours": st.integers(1, 6)},
    excepted=st.fixed_dictionaries({}, optional={"users": some(*MEANS), "groups": some("sre"), "teams": some(*TEAMS)}),
)
LIMIT = table(
    max_concurrency=st.integers(1, 3),
    max_targets=st.integers(1, 2),
    require=some("user_id", "team", "haproxy"),
    max_waiting=st.integers(1, 3),
    per=st.sampled_from(["identity", "application"]),
)
PROMOTE = table(
    {"require_success_in": st.just("staging")},
    soak=st.integers(0, 4).map(lambda hours: hours * 3600),
    same_artifact=st.booleans(),
)
RULES = st.fixed_dictionaries(
    {
        "otherwise": st.sampled_from(["refuse", "allow"]),
        "allow": st.lists(ALLOW, max_size=3),
        "freeze": st.lists(FREEZE, max_size=2),
        "limit": st.lists(LIMIT, max_size=2),
        "promote": st.lists(PROMOTE, max_size=1),
    }
)
EVENT = st.fixed_dictionaries(
    {
        "application": st.sampled_from(APPLICATIONS),
        "environment": st.sampled_from(ENVIRONMENTS),
        "team": st.sampled_from([None, *TEAMS]),
        "recipe": st.sampled_from(["release", "restart"]),
        "targets": st.sampled_from(
            [("groups", ["web"]), ("groups", ["web", "db"]), ("hosts", ["web1"]), ("hosts", ["web1", "db1"])]
        ),
        "backend": st.sampled_from([None, "shop", "till"]),
        "concurrency": st.integers(1, 3),
        "artifact": st.sampled_from([None, "aa", "bb"]),
        "dry_run": st.sampled_from([False, False, True]),
    }
)
SUCCESSES = st.lists(
    st.tuples(st.sampled_from(ENVIRONMENTS), st.integers(0, 5), st.sampled_from([None, "aa", "bb"])), max_size=3
)
WAITING = st.lists(
    st.tuples(st.sampled_from(WHO), st.sampled_from(APPLICATIONS), st.sampled_from(ENVIRONMENTS)), max_size=4
)


# --- as the product reads and judges it -------------------------------------------------------------------------------


def policy_of(rules: Json) -> Policy:
    """Through the tables of the file, with a name for each rule."""

    def named(kind: str) -> list[Json]:
        return [{**rule, "name": f"{kind}{number}"} for number, rule in enumerate(rules[kind])]

    freezes = []
    for rule in named("freeze"):
        begin, hours, excepted = rule.pop("from"), rule.pop("hours"), rule.pop("excepted", {})
        moments = (datetime.fromtimestamp(hour * HOUR, UTC) for hour in (begin, begin + hours))
        freezes.append({**rule, **dict(zip(("from", "until"), moments, strict=True)), "except": excepted})
    limits = [rule if "max_waiting" in rule else {**rule, "per": None} for rule in named("limit")]
    promotes = [rule for rule in named("promote") if rule.get("environments") != ["staging"]]
    builder = PolicyBuilder(
        PolicyTable.model_validate(
            {
                "otherwise": rules["otherwise"],
                "allow": named("allow"),
                "freeze": freezes,
                "limit": limits,
                "promote": promotes,
                "identity": [{"name": "bots", "is": sorted(JOINED)}],
            }
        )
    )
    policy = builder.build()
    assert builder.problems == []
    return policy


def request_of(event: Json) -> DeployRequest:
    kind, names = event["targets"]
    balancers = GroupSelector(("lb",))
    return DeployRequest(
        deployment_id="d1",
        application=event["application"],
        environment=event["environment"],
        version="1",
        recipe=event["recipe"],
        targets=HostSelector(tuple(names)) if kind == "hosts" else GroupSelector(tuple(names)),
        parameters={} if event["artifact"] is None else {"artifact_sha256": event["artifact"]},
        team=event["team"],
        haproxy=None if event["backend"] is None else TrafficRequest(balancers, (event["backend"],), "{name}"),
        rollout=Rollout(concurrency=Share(event["concurrency"])),
        dry_run=event["dry_run"],
    )


# --- as the page says it ----------------------------------------------------------------------------------------------


def everyone(identity: str | None) -> set[str]:
    if identity is None:
        return set()
    return JOINED if identity in JOINED else {identity}


def in_scope(rule: Json, application: str, environment: str) -> bool:
    applications = set().union(*(NAMED[name] for name in rule.get("applications", ["*"])))
    return application in applications and environment in rule.get("environments", ENVIRONMENTS)


def about(rule: Json, event: Json) -> bool:
    return in_scope(rule, event["application"], event["environment"])


def means(names: list[str], identity: str | None) -> bool:
    return bool(everyone(identity) & set().union(*(MEANS[name] for name in names)))


def allows(rule: Json, event: Json, identity: str | None, groups: set[str]) -> bool:
    kind, names = event["targets"]
    traffic = rule.get("haproxy")
    checks = [
        "users" not in rule or means(rule["users"], identity),
        "groups" not in rule or bool(groups & set(rule["groups"])),
        "teams" not in rule or event["team"] in rule["teams"],
        "recipes" not in rule or event["recipe"] in rule["recipes"],
        "targets" not in rule or set(names) <= set(rule["targets"].get(kind, [])),
        event["backend"] is None
        or traffic is None
        or (traffic is not False and event["backend"] in traffic["backends"]),
    ]
    return all(checks)


def frozen(rule: Json, event: Json, identity: str | None, groups: set[str], at: float) -> bool:
    excepted = rule.get("excepted", {})
    passes = [
        event["dry_run"],
        not about(rule, event),
        "users" in excepted and means(excepted["users"], identity),
        "groups" in excepted and bool(groups & set(excepted["groups"])),
        "teams" in excepted and event["team"] in excepted["teams"],
    ]
    return not any(passes) and rule["from"] <= at / HOUR < rule["from"] + rule["hours"]


def over(rule: Json, event: Json, identity: str | None) -> bool:
    kind, names = event["targets"]
    given = {"user_id": identity, "team": event["team"], "haproxy": event["backend"]}
    too_many = kind == "hosts" and len(names) > rule.get("max_targets", 9)
    # A concurrency beyond the number of targets is judged, too, when that is known.
    return (
        too_many
        or event["concurrency"] > rule.get("max_concurrency", 9)
        or any(given[name] is None for name in rule.get("require", []))
    )


def promoted(rule: Json, event: Json, successes: list[tuple[str, int, str | None]]) -> bool:
    if event["environment"] == "staging" or event["dry_run"] or not about(rule, event):
        return True
    return any(
        place == "staging"
        and hours * HOUR >= rule.get("soak", 0)
        and artifact in ({event["artifact"]} if rule.get("same_artifact", True) else {None, "aa", "bb"})
        for place, hours, artifact in successes
    )


def full(rule: Json, event: Json, identity: str | None, waiting: list[tuple[str | None, str, str]]) -> bool:
    if "max_waiting" not in rule or not about(rule, event):
        return False
    there = [each for each in waiting if in_scope(rule, each[1], each[2])]
    if rule.get("per") == "application":
        mine = [each for each in there if each[1] == event["application"]]
    else:
        mine = [each for each in there if each[0] == identity or each[0] in everyone(identity)]
    return len(mine) >= rule["max_waiting"]


def reference(
    rules: Json, event: Json, identity: str | None, groups: set[str], at: float, *, successes: Any, waiting: Any
) -> str | None:
    covering = [rule for rule in rules["allow"] if about(rule, event)]
    permitted = any(allows(rule, event, identity, groups) for rule in covering)
    if not covering:
        permitted = not rules["allow"] or rules["otherwise"] == "allow"
    held_up = any(frozen(rule, event, identity, groups, at) for rule in rules["freeze"])
    if not permitted or held_up or any(over(rule, event, identity) for rule in rules["limit"] if about(rule, event)):
        return "request.forbidden"
    promotions = [rule for rule in rules["promote"] if rule.get("environments") != ["staging"]]
    if not all(promoted(rule, event, successes) for rule in promotions):
        return "promotion.missing"
    if any(full(rule, event, identity, waiting) for rule in rules["limit"]):
        return "request.too_many_waiting"
    return None


seen: Counter[str | None] = Counter()


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    rules=RULES,
    event=EVENT,
    identity=st.sampled_from(WHO),
    groups=st.sampled_from([(), ("sre",), ("web", "x")]),
    hour=st.floats(0, 12),
    successes=SUCCESSES,
    waiting=WAITING,
)
def decided_alike(
    rules: Json, event: Json, identity: str | None, groups: tuple[str, ...], hour: float, successes: Any, waiting: Any
) -> None:
    policy, request, at = policy_of(rules), request_of(event), hour * HOUR
    asker = Asker(None if identity is None else Identity.of(identity), groups=groups)
    record = RecordAnswers(
        [Success(place, "s", hours * HOUR, artifact) for place, hours, artifact in successes],
        list(Counter(Waiting(who or "", *lane) for who, *lane in waiting).items()),
    )
    expected = reference(rules, event, identity, set(groups), at, successes=successes, waiting=waiting)
    decision = decide_request(policy, request, asker, at, record=record)
    assert decision.code == expected
    assert decision.allowed is (expected is None)
    # Intake asks one after the other.
    forbidden = bool(policy.judge(request, asker, at))
    if isinstance(request.targets, HostSelector):
        forbidden = forbidden or bool(policy.judge_targets(request, asker, request.targets.hosts))
    assert forbidden is (expected == "request.forbidden")
    if expected is not None:
        assert decision.rules
        assert all(problem.rule and f"[{problem.rule}]" in problem.message for problem in decision.problems)
    elif rules["allow"]:
        assert decision.rules
    seen[expected] += 1


def test_the_policy_and_policy_test_decide_as_the_reference_does() -> None:
    seen.clear()
    decided_alike()
    assert seen.total() >= EXAMPLES
    assert {None, "request.forbidden", "promotion.missing", "request.too_many_waiting"} <= set(seen)
    assert seen[None] > EXAMPLES / 20
