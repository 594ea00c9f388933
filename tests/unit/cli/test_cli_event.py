"""From options or a file to the event that is published."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import Invoke
from tests.unit.cli.scripted import ACCEPTED

from vesemir.cli.complaint import ProblemsError, UsageError
from vesemir.cli.event import event_of, parameters_from_files
from vesemir.cli.identity import new_deployment_id, who_asks
from vesemir.cli.options import EventOptions
from vesemir.settings import Settings


def made(*, dry_run: bool | None = None, **given: Any) -> dict[str, Any]:
    needed = {"application": "shop", "environment": "production", "version": "2.0.0", "recipe": "release"}
    options = EventOptions(**{**needed, "groups": ["web"], **given})
    body: dict[str, Any] = json.loads(event_of(options, Settings(), dry_run=dry_run).body)
    return body


def test_the_least_that_is_needed() -> None:
    event = made(deployment_id="d-1")
    assert event == {
        "schema": "vesemir.deploy/1", "deployment_id": "d-1", "application": "shop", "environment": "production",
        "requested_by": who_asks(), "version": "2.0.0", "recipe": "release", "parameters": {},
        "targets": {"inventory": {"groups": ["web"]}}, "rollout": {}, "timeouts": {},
    }  # fmt: skip


def test_every_option_has_its_place() -> None:
    event = made(
        team="payments", requested_by="me", haproxy_groups=["lb"], backend="shop", drain_seconds=5.0,
        on_drain_timeout="shutdown", weights=[5, 25], degradation_seconds=60.0, concurrency="25%", canary="1",
        max_failures="10%", min_available="50%", on_failure="rollback", mode="window", pause_seconds=3.0,
        order_by="zone", approve_after="canary", min_targets=2, min_requests=50, hold_seconds=30.0,
        max_error_ratio=0.02, deployment_timeout=100.0, target_timeout=50.0,
        step_timeout=10.0, dry_run=True,
        prepare="all", min_healthy_seconds=4.0,
    )  # fmt: skip
    assert event["team"] == "payments"
    assert event["requested_by"] == "me"
    assert event["haproxy"] == {
        "targets": {"inventory": {"groups": ["lb"]}}, "backend": "shop", "server": "{name}", "drain_seconds": 5.0,
        "on_drain_timeout": "shutdown", "weight": [5, 25], "degradation_seconds": 60.0,
    }  # fmt: skip
    assert event["rollout"] == {
        "concurrency": "25%", "canary": 1, "max_failures": "10%", "pause_seconds": 3.0, "min_available": "50%",
        "on_failure": "rollback", "mode": "window", "order_by": "zone", "approve_after": "canary", "min_targets": 2,
        "analysis": {"min_requests": 50, "hold_seconds": 30.0, "max_error_ratio": 0.02},
        "prepare": "all", "min_healthy_seconds": 4.0,
    }  # fmt: skip
    assert event["timeouts"] == {"deployment": 100.0, "target": 50.0, "step": 10.0}
    assert event["dry_run"] is True


@pytest.mark.parametrize(
    ("given", "targets"),
    [
        ({"groups": None, "hosts": ["web1", "web2"]}, {"hosts": ["web1", "web2"]}),
        ({"groups": None, "tags": ["a"], "chef_environment": "p"}, {"chef": {"tags": ["a"], "environment": "p"}}),
        ({"groups": None, "query": "name:x", "cluster": "eu"}, {"chef": {"query": "name:x", "cluster": "eu"}}),
        ({"groups": None, "roles": ["r"]}, {"chef": {"roles": ["r"]}}),
    ],
)
def test_targets_in_each_of_the_three_ways(given: dict[str, Any], targets: dict[str, Any]) -> None:
    assert made(**given)["targets"] == targets


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"groups": None}, "exactly one way"),
        ({"hosts": ["web1"]}, "exactly one way"),
        ({"backend": "shop"}, "--haproxy-group"),
        ({"haproxy_groups": ["lb"]}, "--backend"),
        ({"weights": [10]}, "add --haproxy-group"),
        ({"haproxy_groups": ["lb"], "haproxy_hosts": ["lb1"], "backend": "shop"}, "one of"),
        ({"parameters": ["keep_releases"]}, "KEY=VALUE"),
        ({"parameters": ["x:={"]}, "must be JSON"),
        ({"recipe": None, "version": None}, "missing: --version, --recipe"),
    ],
)
def test_a_senseless_combination_is_a_usage_error(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        made(**given)


def test_parameters_have_the_type_that_the_recipe_declares() -> None:
    given = ["artifact_url=file:///a=b.tar.gz", "keep_releases=3", "artifact_sha256=12"]
    assert made(parameters=given)["parameters"] == {
        "artifact_url": "file:///a=b.tar.gz", "keep_releases": 3, "artifact_sha256": "12",
    }  # fmt: skip


def test_parameters_of_a_recipe_that_is_not_here_are_text_unless_said_otherwise() -> None:
    given = ["a=3", "b:=3", "c:=true", 'd:="x"', "e=true"]
    event = made(recipe="elsewhere", parameters=given)
    assert event["parameters"] == {"a": "3", "b": 3, "c": True, "d": "x", "e": "true"}


def test_every_problem_is_told_in_a_line_of_its_own() -> None:
    with pytest.raises(ProblemsError) as caught:
        made(application="Shop", max_failures="many", weights=[100], haproxy_groups=["lb"], backend="a b")
    fields = [line.split()[0] for line in str(caught.value).splitlines()]
    assert fields == ["application", "haproxy.backend", "haproxy.weight", "rollout.max_failures"]


def test_a_file_is_published_as_it_is(invoke: Invoke, script: Any, event_file: Path) -> None:
    published = script([ACCEPTED]).published
    assert invoke("deploy", "--file", str(event_file)).exit_code == 0
    assert [json.loads(body) for body in published] == [json.loads(event_file.read_text())]


def test_standard_input_and_an_id_of_ones_own(invoke: Invoke, script: Any, event_file: Path) -> None:
    published = script([{**ACCEPTED, "deployment_id": "mine"}]).published
    result = invoke("deploy", "--file", "-", "--id", "mine", given=event_file.read_text())
    assert result.exit_code == 0, result.stderr
    assert json.loads(published[0])["deployment_id"] == "mine"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "must be JSON"),
        ("[]", "must be a JSON object"),
        ('{"a": 1, "a": 2}', "more than once"),
        ('{"schema": "vesemir.deploy/1"}', "application is required"),
    ],
)
def test_a_bad_file_is_told_before_anything_is_published(
    invoke: Invoke, script: Any, tmp_path: Path, text: str, told: str
) -> None:
    published = script([]).published
    file = tmp_path / "bad.json"
    file.write_text(text)
    result = invoke("deploy", "--file", str(file))
    assert result.exit_code == 1
    assert told in result.stderr
    assert "Traceback" not in result.output
    assert published == []


def test_a_missing_file_is_told(invoke: Invoke) -> None:
    result = invoke("deploy", "--file", "does-not-exist.json")
    assert (result.exit_code, result.stderr) == (
        1, "vesemir: does-not-exist.json cannot be read: No such file or directory\n",
    )  # fmt: skip


def test_a_file_and_options_together_are_a_usage_error(invoke: Invoke, event_file: Path) -> None:
    result = invoke("deploy", "--file", str(event_file), "--concurrency", "2")
    assert result.exit_code == 2
    assert "--file has the whole event" in result.stderr


def test_ids_sort_by_time_and_are_allowed_in_the_contract() -> None:
    ids = [new_deployment_id() for _ in range(50)]
    assert len(set(ids)) == 50
    assert [each[:19] for each in ids] == sorted(each[:19] for each in ids)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", each) for each in ids)


def test_a_parameter_comes_from_a_file_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret=\nsecond line\n", encoding="utf-8")
    assert parameters_from_files([f"key={tmp_path / 'key'}"]) == {"key": "s3cret=\nsecond line"}
    assert parameters_from_files(None) == {}


@pytest.mark.parametrize("given", ["key", "key=", "=file"])
def test_set_file_takes_a_key_and_a_file(given: str) -> None:
    with pytest.raises(UsageError, match="--set-file takes KEY=FILE"):
        parameters_from_files([given])


def test_a_file_that_is_no_parameter_is_told(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ProblemsError, match="is not UTF-8 text"):
        parameters_from_files([f"key={tmp_path / 'binary'}"])
    with pytest.raises(ProblemsError, match="cannot be read"):
        parameters_from_files([f"key={tmp_path / 'none'}"])
