# ruff: noqa: T201 -- it prints what was seen
"""Releases under load through HAProxy: one that answers 10 % of its requests with 500, and one as good as the old one.

``pytest tests/acceptance/test_acc_canary.py -s`` prints what was seen.
"""

import pytest
from tests.acceptance.installed_lab import Event, Lab
from tests.acceptance.patience import until
from tests.acceptance.pika_requester import Requester
from tests.acceptance.steady_load import Seen, steady_load

pytestmark = pytest.mark.lab

FLAKY = "4.0.0-flaky"
HOLD_SECONDS = 60


def judged(lab: Lab, version: str, **analysis: float) -> Event:
    """Onto every box, the first of them as the canary."""
    rollout = {"concurrency": 3, "canary": 1, "on_failure": "rollback"}
    analysis = {"min_requests": 100, "hold_seconds": HOLD_SECONDS, "max_error_ratio": 0.02} | analysis
    return lab.event(version, rollout=rollout | {"analysis": analysis})


def analysis_of(requester: Requester, event: Event) -> Event:
    told = [each.body for each in requester.events(event["deployment_id"])]
    (analysis,) = [body for body in told if body["event"] == "step.finished" and body["step"] == "analysis"]
    return analysis


@pytest.mark.usefixtures("mended", "instance")
def test_a_flaky_release_is_caught_on_the_canary_and_rolled_back(
    lab: Lab, requester: Requester, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within the hold; its clients saw no more errors than the canary's share, and nothing was broken off."""
    before = {name: lab.current(name) for name in lab.names}
    event = judged(lab, FLAKY)
    with steady_load(lab["http_url"]) as seen:
        until(lambda: seen.total > 100, what="there is a steady load")
        requester.publish(event)
        result = requester.finished(event["deployment_id"], seconds=150)
    analysis = analysis_of(requester, event)
    with capsys.disabled():
        tell(result, analysis, seen)

    assert (result["status"], result["failure"]["code"]) == ("rolled_back", "canary.regressed")
    canary, *others = result["targets"]
    assert canary["status"] == "rolled_back"
    assert {target["status"] for target in others} == {"skipped"}
    assert (analysis["target"], analysis["status"]) == (canary["name"], "failed")
    assert analysis["output"].startswith(f"fail: {canary['name']} had ")
    assert analysis["duration_seconds"] < HOLD_SECONDS, "it was not waited for the end of the hold"

    assert {name: lab.serves(name)["version"] for name in lab.names} == before
    assert all(server.is_back for server in lab.servers().values())

    assert seen.broken == []
    errors = seen.count(status=500)
    assert errors == seen.count(status=500, version=FLAKY) > 0
    assert errors == seen.total - seen.count(status=200)
    assert errors <= 0.1 * seen.count(version=FLAKY) + 1
    assert errors / seen.total <= 1 / len(lab.names)


def tell(result: Event, analysis: Event, seen: Seen) -> None:
    of_canary, errors = seen.count(version=FLAKY), seen.count(status=500)
    print(f"\n{analysis['output']}")
    print(f"caught {analysis['duration_seconds']:.1f} s after the canary had all its traffic (hold {HOLD_SECONDS} s)")
    print(f"deployment: {result['status']}, {result['failure']['code']}")
    print(f"clients: {seen.total} requests, {of_canary} of them answered by the canary, {errors} errors, all from it")
    print(f"         {len(seen.broken)} broken off")


@pytest.mark.usefixtures("mended", "instance")
def test_a_release_as_good_as_the_old_one_passes(lab: Lab, requester: Requester) -> None:
    version, names = lab.other_version(), lab.names[:2]
    event = judged(lab, version, hold_seconds=4, min_requests=20) | {"targets": {"hosts": names}}
    event["haproxy"] |= {"weight": 50, "degradation_seconds": 1}
    with steady_load(lab["http_url"]) as seen:
        until(lambda: seen.total > 100, what="there is a steady load")
        requester.publish(event)
        result = requester.finished(event["deployment_id"], seconds=150)
    assert (result["status"], result["failure"]) == ("succeeded", None)
    analysis = analysis_of(requester, event)
    assert analysis["output"].startswith(f"pass: {result['targets'][0]['name']} had 0 errors in ")
    assert seen.count(status=200) == seen.total
    assert [lab.serves(name)["version"] for name in names] == [version, version]
