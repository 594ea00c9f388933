"""The policy, and what ``vesemir policy test`` answers, against a decision that is written down another way.

Rules are drawn as a policy file has them, read as it is read, and judged here over plain sets and dictionaries.
"""

from collections import Counter
from datetime import UTC, datetime
from random import Random
from typing import Any

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
POLICIES, EACH = 250, 8
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


class Draw:
    """Draws rules, and one request after the other, with who asks and when; a failure names the seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - nothing is kept secret by it
        one = self._one
        self.rules: Json = {
            "otherwise": one("refuse", "allow"),
            "allow": [self._allow() for _ in range(one(0, 0, 1, 2, 3))],
            "freeze": [self._freeze() for _ in range(one(0, 0, 0, 1, 2))],
            "limit": [self._limit() for _ in range(one(0, 1, 2))],
            "promote": [self._promote() for _ in range(one(0, 1))],
        }
        self.another()

    def another(self) -> None:
        one, some = self._one, self._some
        hosts = [("groups", ["web"]), ("groups", ["web", "db"]), ("hosts", ["web1"]), ("hosts", ["web1", "db1"])]
        self.event: Json = {
            "application": one(*APPLICATIONS),
            "environment": one(*ENVIRONMENTS),
            "team": one(None, *TEAMS),
            "recipe": one("release", "restart"),
            "targets": one(*hosts),
            "backend": one(None, "shop", "till"),
            "concurrency": one(1, 2, 3),
            "artifact": one(None, "aa", "bb"),
            "dry_run": one(*[False] * 3, *[True]),
            "glass": one(None, None, None, "the site is down"),
        }
        self.identity: str | None = one(*WHO)
        self.groups: tuple[str, ...] = one((), ("sre",), ("web", "x"))
        self.at = self._random.uniform(0, 12) * HOUR
        self.successes = [(one(*ENVIRONMENTS), one(0, 1, 3, 5), one(None, "aa", "bb")) for _ in range(one(0, 1, 2, 3))]
        self.waiting = [(one(*WHO), some(*APPLICATIONS)[0], one(*ENVIRONMENTS)) for _ in range(one(0, 2, 4, 8))]

    def _one(self, *values: Any) -> Any:
        return self._random.choice(values)

    def _some(self, *values: Any) -> list[Any]:
        return self._random.sample(values, k=min(len(values), self._one(1, 2)))

    def _table(self, required: Json, **optional: Any) -> Json:
        """Each optional key in a third of the rules."""
        scope = {"applications": self._some(*NAMED), "environments": self._some(*ENVIRONMENTS)}
        return {**required, **{name: value for name, value in {**scope, **optional}.items() if self._one(0, 0, 1)}}

    def _allow(self) -> Json:
        one, some = self._one, self._some
        return self._table(
            {},
            users=some(*MEANS),
            groups=some("sre", "web"),
            teams=some(*TEAMS),
            recipes=some("release", "restart"),
            break_glass=one(*[True]),
            targets=one({"groups": ["web"]}, {"hosts": ["web1"]}, {"hosts": ["web1"], "groups": ["web"]}),
            haproxy=one(*[False, {"backends": ["shop"]}]),
        )

    def _freeze(self) -> Json:
        users, teams = self._some(*MEANS), self._some(*TEAMS)
        excepted = {"users": users, "groups": ["sre"], "teams": teams}
        excepted = {name: value for name, value in excepted.items() if self._one(0, 0, 1)}
        return self._table({"from": self._one(*range(9)), "hours": self._one(1, 3, 6)}, excepted=excepted)

    def _limit(self) -> Json:
        one = self._one
        return self._table(
            {},
            max_concurrency=one(1, 2, 3),
            max_targets=one(1, 2),
            require=self._some("user_id", "team", "haproxy"),
            max_waiting=one(1, 2, 3),
            per=one("identity", "application"),
        )

    def _promote(self) -> Json:
        soak, same = self._one(0, 2, 4) * 3600, self._one(*[True, False])
        return self._table({"require_success_in": "staging"}, soak=soak, same_artifact=same)


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
        break_glass=event["glass"],
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


def breaks_glass(rule: Json, identity: str | None, groups: set[str]) -> bool:
    fits = "users" not in rule or means(rule["users"], identity)
    return fits and ("groups" not in rule or bool(groups & set(rule["groups"]))) and "break_glass" in rule


def frozen(rule: Json, event: Json, identity: str | None, groups: set[str], at: float) -> bool:
    excepted = rule.get("excepted", {})
    passes = [
        event["dry_run"] or event["glass"] is not None,
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
    if event["environment"] == "staging" or not about(rule, event) or event["dry_run"] or event["glass"] is not None:
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
    return len(mine) >= int(rule["max_waiting"])


def reference(
    rules: Json, event: Json, identity: str | None, groups: set[str], at: float, *, successes: Any, waiting: Any
) -> str | None:
    covering = [rule for rule in rules["allow"] if about(rule, event)]
    permitted = any(allows(rule, event, identity, groups) for rule in covering)
    if not covering:
        permitted = not rules["allow"] or rules["otherwise"] == "allow"
    if event["glass"] is not None:
        permitted = permitted and any(breaks_glass(rule, identity, groups) for rule in covering)
    held_up = any(frozen(rule, event, identity, groups, at) for rule in rules["freeze"])
    if not permitted or held_up or any(over(rule, event, identity) for rule in rules["limit"] if about(rule, event)):
        return "request.forbidden"
    promotions = [rule for rule in rules["promote"] if rule.get("environments") != ["staging"]]
    if not all(promoted(rule, event, successes) for rule in promotions):
        return "promotion.missing"
    if any(full(rule, event, identity, waiting) for rule in rules["limit"]):
        return "request.too_many_waiting"
    return None


def decided_alike(drawn: Draw, policy: Policy) -> str | None:
    """What both decide."""
    rules, event, identity, at = drawn.rules, drawn.event, drawn.identity, drawn.at
    request = request_of(event)
    asker = Asker(None if identity is None else Identity.of(identity), groups=drawn.groups)
    record = RecordAnswers(
        [Success(place, "s", hours * HOUR, artifact) for place, hours, artifact in drawn.successes],
        list(Counter(Waiting(who or "", *lane) for who, *lane in drawn.waiting).items()),
    )
    expected = reference(
        rules, event, identity, set(drawn.groups), at, successes=drawn.successes, waiting=drawn.waiting
    )
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
    return expected


def test_the_policy_and_policy_test_decide_as_the_reference_does() -> None:
    seen: Counter[str | None] = Counter()
    for seed in range(POLICIES):
        drawn = Draw(seed)
        policy = policy_of(drawn.rules)
        for number in range(EACH):
            try:
                seen[decided_alike(drawn, policy)] += 1
            except AssertionError as error:
                error.add_note(f"seed {seed}, request {number}: {vars(drawn)}")
                raise
            drawn.another()
    assert seen.total() >= 2000
    assert {None, "request.forbidden", "promotion.missing", "request.too_many_waiting"} <= set(seen)
    assert min(seen.values()) >= 20, seen
