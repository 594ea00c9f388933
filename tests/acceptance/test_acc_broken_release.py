"""A release that does not start: what ``rollout.on_failure`` makes of it, and what is left behind."""

import json
from collections.abc import Iterator, Mapping

import pytest
from tests.acceptance.installed_lab import Event, Lab
from tests.acceptance.picky_release import VERSION as PICKY
from tests.acceptance.picky_release import path_of, picky
from tests.acceptance.pika_requester import Requester
from tests.acceptance.running_daemon import running

pytestmark = pytest.mark.lab

REFUSING = ("web3", "web6")
"""Boxes on which the picky release does not start."""


@pytest.fixture(scope="module")
def artifacts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, dict[str, str]]]:
    """The lab's broken release and one that only some boxes refuse, with a daemon that may read both."""
    folder = tmp_path_factory.mktemp("picky")
    roots = [str(path_of(lab.artifact("2.0.0")).parent), str(folder)]
    with running(lab, folder, "broken", {"VESEMIR_ARTIFACTS__ROOTS": json.dumps(roots)}):
        yield {"3.0.0-broken": lab.artifact("3.0.0-broken"), PICKY: picky(lab.artifact("2.0.0"), folder, REFUSING)}


@pytest.mark.usefixtures("mended")
def test_stop_continue_and_roll_back(
    lab: Lab, requester: Requester, artifacts: Mapping[str, Mapping[str, str]]
) -> None:
    """Three lanes at the same time, since finding out that a release does not start takes its time."""
    before = {box: lab.current(box) for box in lab.names}
    asked = {
        "stop": ("3.0.0-broken", ("web1", "web2")),
        "continue": (PICKY, ("web3", "web4")),
        "rollback": (PICKY, ("web5", "web6")),
    }
    names = {}
    for policy, (version, boxes) in asked.items():
        event = lab.event(application=f"shop-{policy}", targets={"hosts": list(boxes)}) | {"version": version}
        event["parameters"] = {f"artifact_{part}": artifacts[version][part] for part in ("url", "sha256")}
        event["rollout"] = {"concurrency": 1, "on_failure": policy, "min_healthy_seconds": 0}
        event["timeouts"] = {"step": 30}
        names[policy] = event["deployment_id"]
        requester.publish(event)
    results = {policy: requester.finished(name, seconds=150) for policy, name in names.items()}

    check_stopped(lab, results["stop"], before)
    check_continued(lab, results["continue"], before)
    check_rolled_back(lab, results["rollback"], before)
    told = [each.body for each in requester.events(names["rollback"])]
    (turn,) = [body for body in told if body["event"] == "deployment.rolling_back"]
    assert turn["failure"]["code"] == "rollout.too_many_failures"
    started = [(body["target"], body["direction"]) for body in told if body["event"] == "target.started"]
    assert started[:2] == [("web5", "forward"), ("web6", "forward")]
    assert sorted(started[2:]) == [("web5", "back"), ("web6", "back")]
    assert sorted(
        (body["target"], body["status"])
        for body in told
        if body["event"] == "target.finished" and body["direction"] == "back"
    ) == [("web5", "rolled_back"), ("web6", "rolled_back")]


def check_stopped(lab: Lab, result: Event, before: Mapping[str, str]) -> None:
    """The broken box is out of traffic and its failure says so; the other was never touched."""
    assert (result["status"], result["failure"]["code"]) == ("failed", "rollout.too_many_failures")
    broken, spared = result["targets"]
    assert (broken["status"], broken["failure"]["code"]) == ("failed", "health.failed")
    assert broken["failure"]["runbook"] == "docs/runbook.md#health-failed"
    assert "drained" in broken["failure"]["message"]
    assert (spared["status"], spared["failure"]) == ("skipped", None)
    assert (broken["in_traffic"], spared["in_traffic"]) == (False, True)
    assert lab.servers()["web1"].is_drained
    assert lab.servers()["web2"].is_back
    assert lab.current("web2") == before["web2"]
    metrics = result["metrics"]
    assert (metrics["targets_failed"], metrics["targets_skipped"], metrics["targets_total"]) == (1, 1, 2)


def check_continued(lab: Lab, result: Event, before: Mapping[str, str]) -> None:
    """The others are done all the same; the deployment still fails."""
    del before
    assert (result["status"], result["failure"]["code"]) == ("failed", "rollout.too_many_failures")
    assert [target["status"] for target in result["targets"]] == ["failed", "succeeded"]
    assert lab.servers()["web3"].is_drained
    assert lab.servers()["web4"].is_back
    assert lab.serves("web4")["version"] == lab.current("web4") == PICKY


def check_rolled_back(lab: Lab, result: Event, before: Mapping[str, str]) -> None:
    """Everything is as it was, and in traffic."""
    assert result["status"] == "rolled_back"
    assert result["failure"]["code"] == "rollout.too_many_failures"
    assert [target["status"] for target in result["targets"]] == ["rolled_back", "rolled_back"]
    assert result["metrics"]["targets_rolled_back"] == 2
    for box in ("web5", "web6"):
        assert lab.current(box) == before[box]
        assert lab.serves(box)["version"] == before[box]
        assert lab.servers()[box].is_back
