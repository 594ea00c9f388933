"""Policy and recipes as their files change under a running instance: what is refused, by which rule, and what to do."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.installed_lab import COMMAND, Lab, own_environment
from tests.acceptance.patience import until
from tests.acceptance.running_daemon import Daemon

pytestmark = pytest.mark.lab

Start = Callable[..., Daemon]

FREEZE = """
contact = "#platform"
[[freeze]]
name = "winter"
from = 2020-01-01T00:00:00Z
until = 2099-01-01T00:00:00Z
reason = "holidays"
[freeze.except]
users = ["on-call"]
"""
RECIPE = '[[steps]]\nname = "say"\ncommand = ["echo", "{word}"]\n'


def write(file: Path, text: str) -> None:
    """As a new file that takes the place of the old one."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, file)  # noqa: PTH105 - what it is about


def vesemir(environment: Mapping[str, str], *arguments: str, given: object = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], env=own_environment(environment), input=json.dumps(given), capture_output=True,
        text=True, check=False, timeout=120,
    )  # fmt: skip


def script_event(lab: Lab, name: str, recipe: str = "lab-script", **parameters: str) -> dict[str, Any]:
    return {
        "schema": "vesemir.deploy/1",
        "deployment_id": f"{name}-{os.getpid()}",
        "application": "rules",
        "environment": "production",
        "version": "1",
        "recipe": recipe,
        "parameters": parameters,
        "targets": {"hosts": [lab["boxes"][0]["name"]]},
    }


def test_a_freeze_that_begins_refuses_by_name_and_never_a_repeat(lab: Lab, daemon: Start, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    write(policy, "")
    settings = {**lab["env"], "VESEMIR_POLICY__FILE": str(policy)}
    instance = daemon(VESEMIR_POLICY__FILE=str(policy))
    before = script_event(lab, "before", script="true")
    assert vesemir(settings, "deploy", "--file", "-", "--follow", given=before).returncode == 0

    write(policy, FREEZE)
    after = vesemir(settings, "deploy", "--file", "-", given=script_event(lab, "after", script="true"))
    assert (after.returncode, after.stdout) == (1, "")
    assert after.stderr == (
        "vesemir: refused [request.forbidden]: environment is frozen until 2099-01-01T00:00+00:00 (holidays); "
        "send it again then [freeze winter]; ask #platform\n"
        "vesemir: what it means, and what to do: vesemir explain request.forbidden\n"
    )
    assert vesemir(settings, "deploy", "--file", "-", "--follow", given=before).returncode == 0
    plan = vesemir(settings, "plan", "--file", "-", given=script_event(lab, "plan", script="true"))
    assert plan.returncode == 0, plan.stderr

    write(policy, FREEZE.replace("name =", "nam ="))
    until(lambda: instance.health()[1]["parts"]["policy"]["state"] == "down", what="the broken policy is told")
    status, body = instance.health()
    assert status == 200
    assert f"{policy}:3: freeze[0].name: is missing" in body["parts"]["policy"]["detail"]
    still = vesemir(settings, "deploy", "--file", "-", given=script_event(lab, "still", script="true"))
    assert "[freeze winter]" in still.stderr
    check = vesemir(settings, "check")
    assert check.returncode == 1
    assert f"{policy}:3: freeze[0].name: is missing" in check.stdout

    write(policy, "")
    until(lambda: instance.health()[1]["parts"]["policy"]["state"] == "up", what="the mended policy is told")


def test_the_users_of_the_broker_are_told_apart(lab: Lab, daemon: Start, tmp_path: Path) -> None:
    """``vesemir deploy`` says who it is; RabbitMQ would refuse a name that is not his."""
    policy = tmp_path / "policy.toml"
    write(policy, '[[allow]]\nname = "bots"\nusers = ["bot"]\ncontact = "#bots"\n')
    daemon(VESEMIR_POLICY__FILE=str(policy))
    refused = vesemir(lab["env"], "deploy", "--file", "-", given=script_event(lab, "who", script="true"))
    assert "user_id must be one of: bot [allow bots]; ask #bots" in refused.stderr
    user = lab["amqp_url"].split("//")[1].split(":")[0]
    write(policy, f'[[allow]]\nname = "bots"\nusers = ["{user}"]\n')
    done = vesemir(lab["env"], "deploy", "--file", "-", "--follow", given=script_event(lab, "who", script="true"))
    assert done.returncode == 0, done.stderr


def test_a_teams_recipe_comes_changes_and_breaks_without_a_restart(lab: Lab, daemon: Start, tmp_path: Path) -> None:
    folder = tmp_path / "team"
    folder.mkdir()
    folders = [*map(str, Path(lab["env"]["VESEMIR_CONFIG"]).parent.glob("recipes")), str(folder)]
    settings = {**lab["env"], "VESEMIR_RECIPES__FOLDERS": json.dumps(folders)}
    instance = daemon(VESEMIR_RECIPES__FOLDERS=json.dumps(folders))

    def said(name: str) -> str:
        event = script_event(lab, name, recipe="team")
        done = vesemir(settings, "deploy", "--file", "-", "--follow", given=event)
        if done.returncode != 0:
            return done.stderr
        return vesemir(settings, "logs", event["deployment_id"]).stdout

    assert "[request.unknown_recipe]" in said("none")
    write(folder / "team.toml", RECIPE.replace("{word}", "hello"))
    assert "hello" in said("first")
    write(folder / "team.toml", RECIPE.replace("{word}", "goodbye"))
    assert "goodbye" in said("second")
    write(folder / "team.toml", RECIPE)
    until(lambda: instance.health()[1]["parts"]["recipes"]["state"] == "down", what="the broken recipe is told")
    assert "team.toml:3: steps[0].command[1]: unknown placeholder {word}" in str(instance.health()[1])
    assert "goodbye" in said("third")
    check = vesemir(settings, "check")
    assert (check.returncode, "team.toml:3: steps[0].command[1]" in check.stdout) == (1, True)


def test_an_approval_that_does_not_come_cancels(lab: Lab, daemon: Start) -> None:
    """The lane is free again, and the target that was done keeps what it has."""
    daemon(VESEMIR_LIMITS__APPROVAL_SECONDS="2")
    event = script_event(lab, "asks", script="true") | {"rollout": {"approve_after": "batch"}}
    event["targets"] = {"hosts": [box["name"] for box in lab["boxes"][:2]]}
    done = vesemir(lab["env"], "deploy", "--file", "-", "--follow", "--json", given=event)
    result = json.loads(done.stdout)
    assert (done.returncode, result["status"], result["failure"]["code"]) == (1, "cancelled", "deployment.cancelled")
    assert "no approval came within 2 s (limits.approval_seconds)" in result["failure"]["message"]
    assert [target["status"] for target in result["targets"]] == ["succeeded", "skipped"]
