"""``[[control]]`` against a decision that is written down another way: sets of who may, not rules that refuse."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from vesemir.domain.control import COMMANDS, CommandName, ControlledDeployment
from vesemir.domain.control_permission import ControlPermission
from vesemir.domain.identity import Asker, Identity, IdentityNames, Person, Persons
from vesemir.domain.names import Names
from vesemir.domain.permission import PermissionScope
from vesemir.domain.policy import Policy

IDENTITIES = [None, *map(Identity.of, ("anna", "bot", "robot", "token:bot", "oidc:https://sso:1"))]
WHO = {
    "anna": {"amqp:anna"},
    "bot": {"amqp:bot"},
    "*bot": {"amqp:bot", "amqp:robot"},
    "*": {"amqp:anna", "amqp:bot", "amqp:robot"},
    "token:*": {"token:bot"},
    "oidc:https://sso:*": {"oidc:https://sso:1"},
}
"""Patterns, and whom each means."""
PERSONS = {"bots": {"amqp:robot", "token:bot"}}
JOINED = Persons((Person("bots", frozenset(map(Identity.of, PERSONS["bots"]))),))
PLACES = list(product(("shop", "till"), ("production", "staging")))

SCOPES = [PermissionScope(), *(PermissionScope(Names((place[0],)), Names((place[1],))) for place in PLACES)]

rules = st.builds(
    ControlPermission,
    st.just("rule"),
    st.sampled_from(SCOPES),
    st.none() | st.sets(st.sampled_from(COMMANDS), min_size=1).map(tuple),
    st.none() | st.sets(st.sampled_from([*WHO, "bots"]), min_size=1).map(lambda names: IdentityNames(tuple(names))),
    st.none() | st.sampled_from(["sre", "db"]).map(lambda name: Names((name,))),
    st.booleans(),
)
askers = st.builds(
    Asker,
    st.sampled_from(IDENTITIES),
    st.sampled_from([None, "anna", "bots"]),
    st.sampled_from([(), ("sre",), ("db", "x")]),
)
deployments = st.builds(
    lambda place, requester, awaits: ControlledDeployment(*place, "1", requester=requester, awaits_approval=awaits),
    st.sampled_from(PLACES),
    st.sampled_from(IDENTITIES),
    st.booleans(),
)


def everyone(identity: Identity | None) -> set[str]:
    """All that are one with it."""
    if identity is None:
        return set()
    return next((joined for joined in PERSONS.values() if str(identity) in joined), {str(identity)})


def permits(rule: ControlPermission, command: CommandName, deployment: ControlledDeployment, asker: Asker) -> bool:
    place = (deployment.application, deployment.environment)
    covered = [names.patterns[0] for names in (rule.scope.applications, rule.scope.environments) if names is not None]
    if covered and place != tuple(covered):
        return False
    if rule.commands is not None and command not in rule.commands:
        return False
    if rule.identities is not None:
        meant = [PERSONS.get(name) or WHO[name] for name in rule.identities.patterns]
        if not everyone(asker.identity) & set().union(*meant):
            return False
    if rule.groups is not None and rule.groups.patterns[0] not in asker.groups:
        return False
    if rule.not_requester and command == "resume" and deployment.awaits_approval:
        one, other = everyone(asker.identity), everyone(deployment.requester)
        return bool(one) and bool(other) and not one & other
    return True


@settings(max_examples=300)
@given(st.lists(rules, max_size=4), st.sampled_from(COMMANDS), deployments, askers)
def test_the_rules_decide_as_the_reference_does(
    given_rules: list[ControlPermission], command: CommandName, deployment: ControlledDeployment, asker: Asker
) -> None:
    policy = Policy(controls=tuple(given_rules), persons=JOINED)
    expected = not given_rules or any(permits(rule, command, deployment, asker) for rule in given_rules)
    problems = policy.judge_control(command, deployment, asker)
    assert (problems == []) is expected
    assert all(problem.message.endswith("; ask whoever keeps the policy") for problem in problems)
