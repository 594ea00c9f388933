"""What fails before the drain costs no traffic: a wrong checksum at full concurrency, with real hosts and HAProxy."""

import pytest
from tests.acceptance.installed_lab import Lab
from tests.acceptance.pika_requester import Requester
from tests.acceptance.running_daemon import Daemon
from tests.acceptance.steady_load import steady_load

pytestmark = pytest.mark.lab


@pytest.mark.usefixtures("mended", "instance")
@pytest.mark.parametrize("prepare", ["target", "all"])
def test_a_wrong_checksum_at_full_concurrency_drains_nothing(lab: Lab, requester: Requester, prepare: str) -> None:
    """Every box is tried at once, and each keeps its traffic and its release."""
    before = lab.servers()
    releases = {name: lab.current(name) for name in lab.names}
    event = lab.event(lab.other_version())
    event["parameters"]["artifact_sha256"] = "0" * 64
    event["rollout"] = {"concurrency": "100%", "min_available": 0, "prepare": prepare}
    with steady_load(lab["http_url"]) as seen:
        result = requester.deploy(event)

    assert (result["status"], result["failure"]["code"]) == ("failed", "rollout.too_many_failures")
    assert {target["status"] for target in result["targets"]} == {"failed"}
    assert {target["failure"]["code"] for target in result["targets"]} == {"artifact.checksum_mismatch"}
    assert {target["in_traffic"] for target in result["targets"]} == {True}
    steps = [each.body for each in requester.events(event["deployment_id"]) if each.event == "step.finished"]
    assert {(step["step"], step["phase"], step["status"]) for step in steps} == {("fetch", "prepare", "failed")}
    assert len(steps) == len(lab.names)
    assert lab.servers() == before
    assert {name: lab.current(name) for name in lab.names} == releases
    assert (seen.broken, seen.count(status=200)) == ([], seen.total)


@pytest.mark.usefixtures("mended")
def test_the_corrected_deployment_prepares_all_and_loses_no_request(
    lab: Lab, requester: Requester, instance: Daemon
) -> None:
    del instance
    event = lab.event(lab.other_version())
    event["rollout"] = {"concurrency": 3, "prepare": "all"}
    with steady_load(lab["http_url"]) as seen:
        result = requester.deploy(event)
    assert (result["status"], result["failure"]) == ("succeeded", None)
    told = [(each.event, each.body.get("step")) for each in requester.events(event["deployment_id"])]
    assert told.index(("target.started", None)) > max(
        index for index, each in enumerate(told) if each == ("step.finished", "unpack")
    )
    assert {lab.serves(name)["version"] for name in lab.names} == {event["version"]}
    assert (seen.broken, seen.count(status=200)) == ([], seen.total)
