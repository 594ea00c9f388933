"""Dry runs change nothing, lanes are queues, and what was out of traffic before stays out."""

import os
from pathlib import Path

import pytest
from tests.acceptance.installed_lab import Held, Lab
from tests.acceptance.pika_requester import Requester

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("instance")]


def everything_on(box: Path) -> dict[str, tuple[int, int, str]]:
    """Each file below a box's folder with its time, size and link; sshd's own log is no part of the deployment."""
    seen = {}
    for folder, folders, files in os.walk(box):
        for name in [*folders, *files]:
            path = Path(folder) / name
            inside = path.relative_to(box)
            if inside.parts[0] in {"log", "run"}:
                continue
            status = path.lstat()
            link = str(path.readlink()) if path.is_symlink() else ""
            seen[str(inside)] = (status.st_mtime_ns, status.st_size, link)
    return seen


@pytest.mark.usefixtures("mended")
def test_a_dry_run_changes_nothing_and_tells_the_plan(lab: Lab, requester: Requester) -> None:
    """On no box and in no server of HAProxy."""
    before = {name: everything_on(lab.root(name)) for name in lab.names}
    servers = lab.servers()
    event = lab.event(lab.other_version(), dry_run=True, rollout={"concurrency": 2, "canary": 1})
    result = requester.deploy(event)

    assert (result["status"], result["failure"]) == ("succeeded", None)
    batches = [lab.names[:1], lab.names[1:3], lab.names[3:5], lab.names[5:]]
    plan = result["plan"]
    assert plan["batches"] == batches
    assert requester.event(event["deployment_id"], "deployment.started")["batches"] == batches
    assert [(target["name"], target["address"]) for target in plan["targets"]] == [
        (box["name"], box["address"]) for box in lab["boxes"]
    ]
    assert {target["server"] for target in plan["targets"]} == {f"shop/{name}" for name in lab.names}
    for target in plan["targets"]:
        assert (target["steps"][:3], target["steps"][-2:]) == (["fetch", "unpack", "drain"], ["health", "enable"])
        assert len(target["steps"]) > 5
    told = {each.event for each in requester.events(event["deployment_id"])}
    assert not told & {"target.started", "step.finished"}
    assert lab.servers() == servers
    assert {name: everything_on(lab.root(name)) for name in lab.names} == before


def test_a_dry_run_says_what_stands_in_the_way(lab: Lab, requester: Requester) -> None:
    part = {**lab.haproxy_part, "server": "{name}-x"}
    result = requester.deploy(lab.event(dry_run=True, haproxy=part, targets={"hosts": ["web1"]}))
    assert (result["status"], result["failure"]["code"]) == ("failed", "haproxy.unknown_server")


def test_a_lane_is_a_queue(lab: Lab, requester: Requester) -> None:
    """The second of a lane begins when the first has ended; another lane does not wait."""
    held = Held(lab, after='echo first >> "$BOX_ROOT/order-$1"')
    first = lab.script(held.script, "web1")
    name = first["deployment_id"]
    first["parameters"]["argument"] = name
    second = lab.script(
        'echo second >> "$BOX_ROOT/order-$1"', "web1", application=first["application"], parameters={"argument": name}
    )
    third = lab.script("true", "web1", application=first["application"])
    requester.publish(first)
    held.wait("web1")
    for waiting, position in ((second, 1), (third, 2)):
        requester.publish(waiting)
        assert requester.event(waiting["deployment_id"], "deployment.accepted")["position"] == position
    elsewhere = lab.script("true", "web1", application=first["application"], environment="staging")
    assert requester.deploy(elsewhere)["status"] == "succeeded"
    for waiting in (second, third):
        assert not requester.events(waiting["deployment_id"], "deployment.started")

    held.let_go()
    results = [requester.finished(each["deployment_id"]) for each in (first, second, third)]
    assert [result["status"] for result in results] == ["succeeded"] * 3
    assert (lab.root("web1") / f"order-{name}").read_text() == "first\nsecond\n"
    ends = [result["occurred_at"] for result in results]
    starts = [
        requester.event(each["deployment_id"], "deployment.started")["occurred_at"] for each in (first, second, third)
    ]
    assert ends[0] <= starts[1]
    assert ends[1] <= starts[2]


@pytest.mark.usefixtures("mended")
def test_a_server_in_maint_before_is_worked_on_and_left_so(lab: Lab, requester: Requester) -> None:
    """And the end says so."""
    lab.haproxy(f"set server {lab['backend']}/web2 state maint")
    event = lab.script('touch "$BOX_ROOT/worked-on"', "web2", haproxy=lab.haproxy_part)
    result = requester.deploy(event)
    assert (result["status"], result["targets"][0]["in_traffic"]) == ("succeeded", False)
    assert (lab.root("web2") / "worked-on").exists()
    assert lab.servers()["web2"].status == "MAINT"
    steps = [each.body for each in requester.events(event["deployment_id"], "step.finished")]
    assert any("maint" in step["output"] and "before" in step["output"] for step in steps if step["step"] == "enable")
