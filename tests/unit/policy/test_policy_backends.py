"""A request may have several backends: a rule must allow each of them."""

import pytest

from vesemir.domain.identity import UNPROVED
from vesemir.domain.names import Names
from vesemir.domain.permission import Permission
from vesemir.domain.policy import Policy
from vesemir.domain.request import DeployRequest, TrafficRequest
from vesemir.domain.selector import HostSelector

WEB = HostSelector(("web1",))


def asking(*backends: str) -> DeployRequest:
    traffic = TrafficRequest(HostSelector(("lb1",)), backends, "{name}", several=True)
    return DeployRequest("d1", "shop", "production", "1", "release", WEB, haproxy=traffic)


def allowing(*backends: tuple[str, ...]) -> Policy:
    return Policy(tuple(Permission(f"rule{number}", backends=Names(each)) for number, each in enumerate(backends)))


def test_each_of_a_list_must_be_allowed_and_the_wrong_one_is_named() -> None:
    policy = allowing(("shop", "adm*"))
    assert policy.judge(asking("shop", "admin"), UNPROVED, 0) == []
    (problem,) = policy.judge(asking("shop", "till", "admin"), UNPROVED, 0)
    assert (problem.field, problem.message[:26]) == ("haproxy.backend[1]", "must be one of: shop, adm*")


def test_two_rules_do_not_allow_together_what_none_of_them_does() -> None:
    assert allowing(("shop",), ("admin",)).judge(asking("shop", "admin"), UNPROVED, 0) != []


@pytest.mark.parametrize(("found", "allowed"), [(["admin", "shop"], True), ([], True), (["shop", "till"], False)])
def test_every_backend_is_judged_by_what_it_found(*, found: list[str], allowed: bool) -> None:
    policy = allowing(("shop", "admin"))
    assert policy.judge(asking("*"), UNPROVED, 0) == [], "nobody knows yet which ones"
    problems = policy.judge_backends(asking("*"), UNPROVED, found)
    assert (problems == []) is allowed
    assert all(problem.field == "haproxy.backend" and '"*" found shop, till' in problem.message for problem in problems)


def test_what_was_named_is_not_judged_twice() -> None:
    assert allowing(("shop",)).judge_backends(asking("till"), UNPROVED, ["till"]) == []
