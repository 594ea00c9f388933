"""Each way to fail has its own code, and an unreachable host is no failed one."""

import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.failing_sites import Sites, failing_sites
from tests.acceptance.hanging import slow_request
from tests.acceptance.installed_lab import Event, Lab
from tests.acceptance.lab_servers import stopped
from tests.acceptance.patience import until
from tests.acceptance.pika_requester import Requester
from tests.acceptance.running_daemon import running

pytestmark = pytest.mark.lab

LINGERING = "sleep 60"


@pytest.fixture(scope="module")
def sites(lab: Lab) -> Iterator[Sites]:
    """In a folder that an ordinary user can get to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with failing_sites(lab, folder) as made, running(lab, folder, "failing", made.settings):
            yield made


@dataclass(frozen=True)
class Case:
    """What is asked for, and how its only target and the deployment are to end."""

    make: Callable[[Lab, Sites], Event]
    code: str
    target: str = "failed"
    deployment: str = "failed"
    says: str = ""


def script(host: str, text: str = "true", **changes: Any) -> Callable[[Lab, Sites], Event]:
    return lambda lab, _: lab.script(text, host, **changes)


def balanced(**changes: Any) -> Callable[[Lab, Sites], Event]:
    return lambda lab, _: lab.script("true", "web1", haproxy={**lab.haproxy_part, **changes})


def release(**parameters: str) -> Callable[[Lab, Sites], Event]:
    def make(lab: Lab, sites: Sites) -> Event:
        event = lab.event(application=f"artifact-{len(str(parameters))}", targets={"hosts": ["web2"]}, haproxy=None)
        given = {name: value.format(port=sites.closed_port, lab=lab.folder) for name, value in parameters.items()}
        event["parameters"] |= given
        return event

    return make


def within(seconds: int, make: Callable[[Lab, Sites], Event]) -> Callable[[Lab, Sites], Event]:
    """A download is tried again for as long as its step may take."""
    return lambda lab, sites: make(lab, sites) | {"timeouts": {"step": seconds}}


CASES = {
    "closed port": Case(script("closed"), "ssh.unreachable", "unreachable"),
    "wrong key": Case(script("stranger"), "ssh.auth_failed", "unreachable"),
    "changed host key": Case(script("swapped"), "ssh.host_key_mismatch", "unreachable"),
    "exit status": Case(script("web1", "exit 3"), "step.failed", says="exit status 3"),
    "step timeout": Case(script("web1", LINGERING, timeouts={"step": 1}), "step.timed_out", "timed_out"),
    "target timeout": Case(script("web1", LINGERING, timeouts={"target": 2}), "target.timed_out", "timed_out"),
    "deployment timeout": Case(
        script("web1", LINGERING, timeouts={"deployment": 2}), "deployment.timed_out", "timed_out", "timed_out"
    ),
    "unknown server": Case(balanced(server="{name}-x"), "haproxy.unknown_server"),
    "unknown backend": Case(balanced(backend="no-such"), "haproxy.unknown_server"),
    "checksum": Case(release(artifact_sha256="0" * 64), "artifact.checksum_mismatch"),
    "no such file": Case(release(artifact_url="file://{lab}/artifacts/none.tar.gz"), "artifact.unavailable"),
    "not below the roots": Case(release(artifact_url="file:///etc/passwd"), "artifact.unavailable"),
    "nobody serves it": Case(
        within(5, release(artifact_url="http://127.0.0.1:{port}/x.tar.gz")), "artifact.unavailable", says="(try "
    ),
}
if os.geteuid() == 0:  # only root can start an sshd for somebody else
    CASES["no sudo right"] = Case(
        lambda lab, _: lab.script("true", "plain") | {"recipe": "needs-sudo", "parameters": {}},
        "step.failed",
        says="sudo",
    )


def test_each_failure_has_its_own_code(lab: Lab, sites: Sites, requester: Requester) -> None:
    """All at the same time, each in a lane of its own."""
    events = {name: case.make(lab, sites) for name, case in CASES.items()}
    for event in events.values():
        requester.publish(event)
    seen, wanted = {}, {}
    for name, case in CASES.items():
        result = requester.finished(events[name]["deployment_id"])
        (target,) = result["targets"] or [{"status": None, "failure": result["failure"]}]
        of_all = (
            {case.code} if case.deployment == "timed_out" or not result["targets"] else {"rollout.too_many_failures"}
        )
        seen[name] = (result["status"], target["status"], (target["failure"] or result["failure"])["code"])
        wanted[name] = (case.deployment, case.target, case.code)
        if seen[name] == wanted[name]:
            assert case.says in target["failure"]["message"], name
            assert result["failure"]["code"] in of_all, name
            assert result["metrics"][f"targets_{case.target}"] == result["metrics"]["targets_total"] == 1, name
    assert seen == wanted


def test_an_unreachable_box_is_told_apart(lab: Lab, sites: Sites, requester: Requester) -> None:
    """Its sshd is stopped; the other box of the batch is done, and the next deployment after the outage works."""
    del sites
    event = lab.script("true", "web4", "web5", rollout={"concurrency": 2})
    with stopped(lab, "web5/sshd"):
        result = requester.deploy(event)
    assert (result["status"], result["failure"]["code"]) == ("failed", "rollout.too_many_failures")
    assert [(target["name"], target["status"]) for target in result["targets"]] == [
        ("web4", "succeeded"),
        ("web5", "unreachable"),
    ]
    assert result["targets"][1]["failure"]["code"] == "ssh.unreachable"
    metrics = result["metrics"]
    assert (metrics["targets_unreachable"], metrics["targets_failed"], metrics["targets_succeeded"]) == (1, 0, 1)
    until(lambda: _listens(lab, "web5"), what="web5's sshd is back")
    assert requester.deploy(lab.script("true", "web5"))["status"] == "succeeded"


def _listens(lab: Lab, box: str) -> bool:
    try:
        socket.create_connection((lab.box(box)["address"], lab.box(box)["port"]), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.usefixtures("mended", "sites")
def test_a_drain_that_takes_too_long_fails_and_leaves_all_as_it_was(lab: Lab, requester: Requester) -> None:
    """Nothing was done on the box, so its server gets its traffic back."""
    event = lab.script('touch "$BOX_ROOT/was-here"', "web3", "web4", haproxy={**lab.haproxy_part, "drain_seconds": 1})
    with slow_request(lab, "web3"):
        result = requester.deploy(event)
    ended, spared = result["targets"]
    assert (ended["status"], ended["failure"]["code"]) == ("failed", "haproxy.drain_timed_out")
    assert spared["status"] == "skipped"
    assert not (lab.root("web3") / "was-here").exists()
    step = requester.event(event["deployment_id"], "step.finished", step="drain")
    assert step["status"] == "timed_out"
    until(lambda: lab.servers()["web3"].is_back, what="web3 is ready at 100 % again")
    assert json.dumps(result).count("drained on") == 0
