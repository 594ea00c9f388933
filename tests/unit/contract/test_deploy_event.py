"""A deploy event becomes exactly the request it describes, or one refusal that says what is allowed."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from vesemir.contract import DEFAULTS, CommonFields, Parsed, Refusal, stored_request
from vesemir.contract.explain import MAX_PROBLEMS
from vesemir.domain.failure import FailureCode
from vesemir.domain.request import Analysis, DeployRequest, Rollout, Timeouts, TrafficRequest
from vesemir.domain.selector import ChefSelector, GroupSelector, HostSelector
from vesemir.domain.share import Share

Json = dict[str, Any]
Parse = Callable[..., Parsed | Refusal]

COMMON = CommonFields("01JDB3Q0W8", "shop", "production", "1.4.2")
ABSENT = object()


def changed(event: Json, **changes: Any) -> Json:
    """A copy with values set at dotted paths (``__`` for the dot); ``ABSENT`` removes."""
    event = copy.deepcopy(event)
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = event
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ABSENT:
            del place[name]
        else:
            place[name] = value
    return event


def accepted(result: Parsed | Refusal) -> DeployRequest:
    assert isinstance(result, Parsed), result
    return result.request


def refused(result: Parsed | Refusal) -> Refusal:
    assert isinstance(result, Refusal), result
    return result


def test_the_contracts_example_becomes_the_request_it_describes(parse: Parse, example: Json) -> None:
    assert accepted(parse(example)) == DeployRequest(
        deployment_id="01JDB3Q0W8",
        application="shop",
        environment="production",
        version="1.4.2",
        recipe="release",
        targets=ChefSelector(tags=("shop-web",), environment="production"),
        parameters=example["parameters"],
        team="payments",
        requested_by="orchestrator",
        haproxy=TrafficRequest(
            targets=ChefSelector(tags=("shop-lb",)),
            backends=("shop",),
            server="{name}",
            drain_seconds=30,
            weights=(10,),
            degradation_seconds=60,
        ),
        rollout=Rollout(concurrency=Share(2), canary=Share(1), min_available=Share(50, percent=True)),
        timeouts=Timeouts(deployment=1800, target=600, step=300),
        dry_run=False,
    )


def test_what_is_left_out_has_the_contracts_defaults(parse: Parse) -> None:
    smallest = {
        "schema": "vesemir.deploy/1",
        "deployment_id": "d",
        "application": "a",
        "environment": "e",
        "version": "1",
        "recipe": "r",
        "targets": {"hosts": ["web1"]},
    }
    request = accepted(parse(smallest))
    assert request == DeployRequest("d", "a", "e", "1", "r", HostSelector(("web1",)))
    assert request.rollout == Rollout(
        concurrency=Share(1), canary=Share(0), max_failures=Share(0), on_failure="stop", mode="batch", min_targets=1
    )
    assert request.timeouts == Timeouts(deployment=3600, target=900, step=300)


def test_every_optional_field_reaches_the_request(parse: Parse, example: Json) -> None:
    event = changed(
        example,
        haproxy__weight=[5, 25],
        haproxy__on_drain_timeout="shutdown",
        rollout__max_failures="10%",
        rollout__pause_seconds=1.5,
        rollout__on_failure="rollback",
        rollout__mode="window",
        rollout__order_by="zone",
        rollout__approve_after="canary",
        rollout__min_targets=3,
        rollout__analysis={"min_requests": 10, "hold_seconds": 5, "max_error_ratio": 0.5},
        rollout__prepare="all",
        rollout__min_healthy_seconds=12.5,
        dry_run=True,
    )
    request = accepted(parse(event))
    assert request.haproxy is not None
    assert request.haproxy.weights == (5, 25)
    assert request.haproxy.on_drain_timeout == "shutdown"
    assert request.rollout == Rollout(
        concurrency=Share(2),
        canary=Share(1),
        max_failures=Share(10, percent=True),
        pause_seconds=1.5,
        min_available=Share(50, percent=True),
        on_failure="rollback",
        mode="window",
        order_by="zone",
        approve_after="canary",
        min_targets=3,
        analysis=Analysis(10, 5, 0.5),
        prepare="all",
        min_healthy_seconds=12.5,
    )
    assert request.dry_run


@pytest.mark.parametrize(
    ("targets", "selector"),
    [
        ({"inventory": {"groups": ["web", "db"]}}, GroupSelector(("web", "db"))),
        ({"hosts": ["web2", "web1"]}, HostSelector(("web2", "web1"))),
        ({"chef": {"roles": ["r"], "recipes": ["a::b"]}}, ChefSelector(roles=("r",), recipes=("a::b",))),
        ({"chef": {"query": "name:web*", "cluster": "eu"}}, ChefSelector(query="name:web*", cluster="eu")),
        ({"chef": {"query": "x:y", "tags": []}, "hosts": None, "inventory": None}, ChefSelector(query="x:y")),
    ],
)
def test_targets_are_selected_in_three_ways(parse: Parse, example: Json, targets: Json, selector: object) -> None:
    assert accepted(parse(changed(example, targets=targets))).targets == selector


def test_timeouts_above_the_settings_are_cut_to_them(parse: Parse, example: Json) -> None:
    event = changed(example, timeouts={"deployment": 10**9, "target": 10**9, "step": 3600.5})
    assert accepted(parse(event)).timeouts == Timeouts(deployment=14400, target=3600, step=3600)


def test_parameters_keep_their_type_and_every_character(parse: Parse, example: Json) -> None:
    parameters = {"a": "'; rm -rf / # $(x) `y` \"\n\t\\ é 😀", "b": 7, "c": True, "d": "1", "e": ""}
    request = accepted(parse(changed(example, parameters=parameters)))
    assert request.parameters == parameters
    assert [type(value) for value in request.parameters.values()] == [str, int, bool, str, str]


@pytest.mark.parametrize(
    "path",
    ["schema", "deployment_id", "application", "environment", "version", "recipe", "targets", "haproxy__backend"],
)
def test_a_required_field_that_is_missing_is_named(parse: Parse, example: Json, path: str) -> None:
    (problem,) = refused(parse(changed(example, **{path: ABSENT}))).problems
    assert problem.field == path.replace("__", ".")
    assert problem.message.startswith("is required and must be ")


BAD_VALUES: list[tuple[str, list[Any]]] = [
    ("schema", ["vesemir.deploy/2", "", 1, None]),
    ("deployment_id", ["", "-a", "a b", "a" * 65, "ä", "a\n", 1, None, ["a"]]),
    ("application", ["", "Shop", "-a", "a.b", "a" * 64, "shop\n", True, None]),
    ("environment", ["", "Prod", "a/b", "_a", 3]),
    ("team", ["", "A", "a b", 1, {}]),
    ("version", ["", "-1", "1 2", "1/2", "a" * 129, 1.4, None]),
    ("requested_by", ["x" * 1025, 5, ["me"]]),
    ("recipe", ["", 1, None, "r" * 256]),
    ("parameters", [[], "a=b", None, 1]),
    ("targets", [[], "web1", None, {}, {"hosts": None}, {"hosts": ["a"], "chef": {"tags": ["b"]}}]),
    ("targets.hosts", [{"hosts": []}, {"hosts": "web1"}, {"hosts": {}}]),
    ("targets.hosts[1]", [{"hosts": ["a", 1]}, {"hosts": ["a", None]}]),
    ("targets.inventory.groups", [{"inventory": {"groups": []}}, {"inventory": {"groups": "web"}}, {"inventory": {}}]),
    ("targets.chef", [{"chef": {}}, {"chef": {"tags": []}}, {"chef": {"environment": "e"}}, {"chef": []}]),
    ("targets.chef.tags[0]", [{"chef": {"tags": [""]}}, {"chef": {"tags": ["a\nb"]}}, {"chef": {"tags": [1]}}]),
    ("targets.chef.query", [{"chef": {"query": ""}}, {"chef": {"query": "a:b", "tags": ["c"]}}]),
    ("targets.host", [{"host": ["web1"]}]),
    ("haproxy.backend", ["", "a b", "a/b", "a;b", "a\nb", 1, "**", "shop-*", [], ["*"], ["a b"], ["a"] * 21]),
    ("haproxy.server", ["", "{host}", "{name", "a b", "a/{name}", None]),
    ("haproxy.drain_seconds", [-1, "30", True, None, 86401]),
    ("haproxy.on_drain_timeout", ["Fail", "kill", None]),
    ("haproxy.weight", [0, 100, "10", 1.5, True, [], [5, 100], [True], list(range(1, 23))]),
    ("haproxy.degradation_seconds", [-1, "60", False]),
    ("rollout.concurrency", [0, -1, "0%", "101%", "25", "2.5%", " 25%", "25 %", 1.5, True, None, []]),
    ("rollout.canary", [-1, "101%", "-1%", "01%", 0.5, False, None]),
    ("rollout.max_failures", [-1, "1000%", "%", True]),
    ("rollout.min_available", [-1, "half", "1 %"]),
    ("rollout.pause_seconds", [-0.1, "0", 86401]),
    ("rollout.on_failure", ["ignore", "", None, True]),
    ("rollout.mode", ["rolling", None]),
    ("rollout.order_by", ["", 1, "a\tb"]),
    ("rollout.approve_after", ["all", True]),
    ("rollout.min_targets", [0, "1", 1.5, True]),
    ("rollout.analysis.max_error_ratio", [-0.1, 1.1, "1%", True]),
    ("rollout.analysis.min_requests", [-1, 0.5]),
    ("timeouts.step", [0, -1, "300", True, None]),
    ("timeouts.deployment", [0, [], {}]),
    ("dry_run", [0, 1, "true", "false", None]),
]


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BAD_VALUES for value in values])
def test_a_wrong_value_is_refused_with_what_is_allowed(parse: Parse, example: Json, field: str, value: Any) -> None:
    whole_targets = field.startswith("targets.")
    event = changed(example, **{"targets" if whole_targets else field.replace(".", "__"): value})
    refusal = refused(parse(event))
    assert refusal.code is FailureCode.REQUEST_INVALID
    assert refusal.problems[0].field == field
    assert refusal.message == f"{field} {refusal.problems[0].message}" or len(refusal.problems) > 1
    assert "pydantic" not in refusal.message
    own = field in {"deployment_id", "application", "environment", "version"}
    assert refusal.common == (
        CommonFields(**{**{name: getattr(COMMON, name) for name in COMMON.__slots__}, field: None}) if own else COMMON
    )


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"rollout__on_failur": "stop"}, "rollout.on_failur", "did you mean on_failure?"),
        ({"Version": "1"}, "Version", "did you mean version?"),
        ({"colour": "red"}, "colour", "allowed are schema, deployment_id"),
        ({"haproxy__colour": None}, "haproxy.colour", "allowed are targets, backend"),
        ({"targets__chef__tag": ["a"]}, "targets.chef.tag", "did you mean tags?"),
    ],
)
def test_an_unknown_field_is_refused_and_the_nearest_named(
    parse: Parse, example: Json, changes: Json, field: str, says: str
) -> None:
    (problem,) = refused(parse(changed(example, **changes))).problems
    assert problem.field == field
    assert "is not a field of this message" in problem.message
    assert says in problem.message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"haproxy": ABSENT}, "rollout.min_available"),
        ({"haproxy": None}, "rollout.min_available"),
        ({"haproxy": ABSENT, "rollout": {"canary": 1, "analysis": {}}}, "rollout.analysis"),
        ({"rollout": {"analysis": {}}}, "rollout.analysis"),
        ({"rollout": {"canary": "0%", "approve_after": "canary"}}, "rollout.approve_after"),
        ({"rollout": {"approve_after": "group"}, "haproxy": ABSENT}, "rollout.approve_after"),
        ({"haproxy__targets": {}}, "haproxy.targets"),
        ({"haproxy__backend": ["shop", "admin", "shop"]}, "haproxy.backend[2]"),
    ],
)
def test_fields_that_need_each_other(parse: Parse, example: Json, changes: Json, field: str) -> None:
    refusal = refused(parse(changed(example, **changes)))
    assert refusal.code is FailureCode.REQUEST_INVALID
    assert [problem.field for problem in refusal.problems] == [field]


def test_without_haproxy_no_capacity_is_asked_for(parse: Parse, example: Json) -> None:
    event = changed(example, haproxy=ABSENT, rollout__min_available=0)
    assert accepted(parse(event)).haproxy is None


@pytest.mark.parametrize("value", [None, 1.5, [], {}, 2**63])
def test_a_parameter_that_no_recipe_could_take_is_an_invalid_parameter(
    parse: Parse, example: Json, value: object
) -> None:
    refusal = refused(parse(changed(example, parameters__size=value)))
    beyond_reading = value == 2**63
    assert refusal.code is (FailureCode.REQUEST_INVALID if beyond_reading else FailureCode.REQUEST_INVALID_PARAMETERS)
    assert [problem.field for problem in refusal.problems] == ["parameters.size"]


@pytest.mark.parametrize("host", ["", "-web", "we b", "web1;reboot", "web/1", "web\n", "w" * 254, "wéb", "{name}"])
def test_a_host_that_no_inventory_can_know_is_an_unknown_host(parse: Parse, example: Json, host: str) -> None:
    refusal = refused(parse(changed(example, targets={"hosts": ["web1", host]})))
    assert refusal.code is FailureCode.TARGETS_UNKNOWN_HOST
    assert [problem.field for problem in refusal.problems] == ["targets.hosts[1]"]
    assert refusal.common == COMMON


def test_hosts_of_haproxy_are_judged_too(parse: Parse, example: Json) -> None:
    refusal = refused(parse(changed(example, haproxy__targets={"hosts": ["lb 1"]})))
    assert [problem.field for problem in refusal.problems] == ["haproxy.targets.hosts[0]"]


def test_all_problems_are_told_at_once_up_to_a_bound(parse: Parse, example: Json) -> None:
    event = changed(example, dry_run="no", rollout__mode="x", **{f"field{n}": 1 for n in range(100)})
    refusal = refused(parse(event))
    assert [problem.field for problem in refusal.problems[:3]] == ["rollout.mode", "dry_run", "field0"]
    assert len(refusal.problems) == MAX_PROBLEMS + 1
    assert refusal.problems[-1].message == "has 52 more problems"
    assert len(refusal.message) <= 400


def test_a_value_is_never_repeated_in_the_refusal(parse: Parse, example: Json) -> None:
    refusal = refused(parse(changed(example, team="s3cret", requested_by=["s3cret"], parameters__x={"y": "s3cret"})))
    assert "s3cret" not in json.dumps(refusal.failure_json())


def test_the_failure_of_a_refusal_carries_its_details(parse: Parse, example: Json) -> None:
    failure = refused(parse(changed(example, dry_run="no"))).failure_json()
    assert failure == {
        "code": "request.invalid",
        "message": "dry_run must be true or false",
        "runbook": "docs/runbook.md#request-invalid",
        "details": [{"field": "dry_run", "message": "must be true or false"}],
    }


def test_a_body_beyond_the_limit_is_not_even_read(parse: Parse, example: Json) -> None:
    body = json.dumps(changed(example, parameters__pad="x" * 5_000_000)).encode()
    refusal = refused(parse(body))
    assert refusal.code is FailureCode.REQUEST_TOO_LARGE
    assert refusal.common == CommonFields()
    assert "1048576" in refusal.message
    small = json.dumps(example).encode()
    assert isinstance(parse(small, max_bytes=len(small)), Parsed)
    assert refused(parse(small, max_bytes=len(small) - 1)).code is FailureCode.REQUEST_TOO_LARGE


@pytest.mark.parametrize("reply_to", ["vesemir.deployments", "vesemir.", "vesemir.control"])
def test_an_answer_to_vesemirs_own_queues_is_forbidden(parse: Parse, example: Json, reply_to: str) -> None:
    refusal = refused(parse(example, reply_to=reply_to))
    assert refusal.code is FailureCode.REQUEST_FORBIDDEN
    assert [problem.field for problem in refusal.problems] == ["reply_to"]
    assert refusal.common == COMMON


@pytest.mark.parametrize(
    ("reply_to", "answered"),
    [
        (None, True), ("", True), ("replies.shop", True), ("replies.", False), ("my.replies.shop", False),
        ("replies.shop\n", False), ("REPLIES.shop", False), ("vesemir.replies.shop", False),
    ],
)  # fmt: skip
def test_a_reply_to_must_match_the_settings_pattern(
    parse: Parse,
    example: Json,
    reply_to: str | None,
    answered: bool,  # noqa: FBT001
) -> None:
    result = parse(example, reply_to=reply_to, pattern=r"(vesemir\.)?replies\.[a-z]+")
    if answered:
        assert isinstance(result, Parsed)
    else:
        assert isinstance(result, Refusal)
        assert (result.code, result.problems[0].field) == (FailureCode.REQUEST_FORBIDDEN, "reply_to")


@pytest.mark.parametrize("reply_to", [None, "", "vesemir", "vesemir-replies", "amq.gen-x", "my.vesemir.queue"])
def test_any_other_destination_is_allowed(parse: Parse, example: Json, reply_to: str | None) -> None:
    accepted(parse(example, reply_to=reply_to))


@pytest.mark.parametrize("body", [b"null", b"[]", b'"deploy"', b"1", b"true"])
def test_only_an_object_is_a_message(parse: Parse, body: bytes) -> None:
    refusal = refused(parse(body))
    assert (refusal.code, refusal.message) == (FailureCode.REQUEST_INVALID, "body must be a JSON object")


def test_an_ambiguous_id_is_not_repeated_in_the_answer(parse: Parse, example: Json) -> None:
    body = json.dumps(example)[:-1] + ', "deployment_id": "other"}'
    refusal = refused(parse(body.encode()))
    assert [problem.field for problem in refusal.problems] == ["deployment_id"]
    assert refusal.common == CommonFields(None, "shop", "production", "1.4.2")


def test_the_hash_is_that_of_the_value(parse: Parse, example: Json) -> None:
    reordered = json.dumps(dict(reversed(example.items())), indent=2).replace("30,", "30.0,").encode()
    one, other = parse(example), parse(reordered)
    assert isinstance(one, Parsed)
    assert isinstance(other, Parsed)
    assert one.body_hash == other.body_hash
    assert len(one.body_hash) == 32
    third = parse(changed(example, requested_by="somebody else"))
    assert isinstance(third, Parsed)
    assert third.body_hash != one.body_hash


def test_a_request_comes_back_from_the_record_as_it_was(parse: Parse, example: Json) -> None:
    parsed = parse(changed(example, rollout__pause_seconds=0.25))
    assert isinstance(parsed, Parsed)
    kept = json.loads(json.dumps(parsed.raw))
    caps = Timeouts(deployment=14400, target=3600, step=3600)
    assert stored_request(kept, DEFAULTS, caps=caps) == parsed.request


def test_what_was_accepted_by_the_release_before_keeps_its_defaults(example: Json) -> None:
    caps = Timeouts(deployment=14400, target=3600, step=3600)
    silent = changed(example, rollout={"concurrency": 2})
    written = changed(example, rollout={"min_available": "50%", "min_healthy_seconds": 7})
    for defaults, kept, healthy in ((None, Share(0), 0), (DEFAULTS, None, 2)):
        rollout = stored_request(silent, defaults, caps=caps).rollout
        assert (rollout.min_available, rollout.min_healthy_seconds) == (kept, healthy)
        rollout = stored_request(written, defaults, caps=caps).rollout
        assert (rollout.min_available, rollout.min_healthy_seconds) == (Share(50, percent=True), 7)


@pytest.mark.parametrize(
    ("asked", "backends", "several"),
    [
        ("shop", ("shop",), False),
        (["shop"], ("shop",), True),
        (["shop", "admin"], ("shop", "admin"), True),
        ("*", ("*",), True),
    ],
)
def test_backends_are_a_name_a_list_or_every_one(
    parse: Parse, example: Json, *, asked: object, backends: tuple[str, ...], several: bool
) -> None:
    traffic = accepted(parse(changed(example, haproxy__backend=asked))).haproxy
    assert traffic is not None
    assert (traffic.backends, traffic.several, traffic.every_backend) == (backends, several, asked == "*")
