"""The owner is killed in the middle of a rollback and the recipe changes: the other instance goes on as it began."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.acceptance.installed_lab import Held, Lab
from tests.acceptance.pika_requester import Requester, in_order
from tests.acceptance.running_daemon import Daemon

pytestmark = pytest.mark.lab

StartDaemon = Callable[..., Daemon]

RECIPE = """
[parameters.mark]
required = true
[variables.root]
required = true

[[steps]]
name = "change"
script = '''
echo forward >> "$BOX_ROOT/did-$PARAM_MARK"
[ "$BOX_NAME" != web3 ]
'''
environment = { BOX_ROOT = "{root}", BOX_NAME = "{target_name}" }

[[rollback]]
name = "change-back"
script = '''
HELD
'''
environment = { BOX_ROOT = "{root}", BOX_NAME = "{target_name}" }
"""


@pytest.mark.usefixtures("mended")
def test_a_rollback_is_finished_by_another_instance_with_the_recipe_that_it_began_with(
    lab: Lab, daemon: StartDaemon, requester: Requester, tmp_path: Path
) -> None:
    """Broken targets first, one at a time, and the fourth, which nothing was done on, is not touched."""
    held = Held(lab, after='echo back >> "$BOX_ROOT/did-$PARAM_MARK"')
    folder = tmp_path / "team"
    folder.mkdir()
    file = folder / "turning.toml"
    file.write_text(RECIPE.replace("HELD", held.script))
    settings = {"VESEMIR_LEASE__SECONDS": "5", "VESEMIR_RECIPES__FOLDERS": json.dumps([str(folder)])}
    daemons = {name: daemon(name, healthy=False, **settings) for name in ("a", "b")}
    for each in daemons.values():
        each.wait_until_healthy()

    event = lab.event(application="turning", haproxy=lab.haproxy_part) | {"recipe": "turning"}
    name = event["deployment_id"]
    event |= {"targets": {"hosts": ["web1", "web2", "web3", "web4"]}, "parameters": {"mark": name}}
    event["rollout"] = {
        "concurrency": 1, "on_failure": "rollback", "min_available": 2, "min_healthy_seconds": 0,
    }  # fmt: skip
    held.let_go("web3")
    requester.publish(event)
    held.wait("web1")
    owner = daemons.pop(requester.event(name, "deployment.rolling_back")["instance"].partition("/")[0])
    owner.kill()
    file.write_text(RECIPE.replace("HELD", "exit 1"))
    requester.event(name, "deployment.taken_over")
    held.let_go()

    result = requester.finished(name)
    assert result["status"] == "rolled_back", result
    statuses = {target["name"]: target["status"] for target in result["targets"]}
    assert statuses == {**dict.fromkeys(("web1", "web2", "web3"), "rolled_back"), "web4": "skipped"}
    told = in_order(requester.events(name))
    back = [each["target"] for each in told if each["event"] == "target.started" and each["direction"] == "back"]
    assert back == ["web3", "web1", "web2"]
    assert not [each for each in told if each.get("target") == "web4"]
    for box in ("web1", "web2", "web3"):
        assert (lab.root(box) / f"did-{name}").read_text().split() == ["forward", "back"]
    assert not (lab.root("web4") / f"did-{name}").exists()
    assert all(server.is_back for server in lab.servers().values())
