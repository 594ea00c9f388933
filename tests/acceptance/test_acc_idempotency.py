"""The same event again and again, to two instances: one deployment, and every destination hears of it."""

from collections.abc import Iterator

import pytest
from tests.acceptance.installed_lab import Held, Lab
from tests.acceptance.pika_requester import DEPLOYMENTS, Requester, in_order
from tests.acceptance.running_daemon import running

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module", autouse=True)
def two_instances(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("two")
    with running(lab, folder, "a", {}), running(lab, folder, "b", {}):
        yield


def test_ten_times_the_same_event_is_one_deployment(lab: Lab, requester: Requester) -> None:
    """Every box did it once; also when the bodies are spelt differently."""
    held = Held(lab, before='echo once >> "$BOX_ROOT/ran-$1"')
    event = lab.script(held.script, "web1", "web2", parameters={"argument": "ten"})
    name = event["deployment_id"]
    event["parameters"]["argument"] = name
    for turn in range(10):
        members = list(event.items())
        requester.publish(dict(members[turn:] + members[:turn]), correlation_id="same")
    held.wait("web1")
    requester.wait(lambda: requester.waiting_in(DEPLOYMENTS) == 0, "all ten taken")
    held.let_go()

    assert requester.finished(name)["status"] == "succeeded"
    told = in_order(requester.events(name))
    assert [body["sequence"] for body in told] == list(range(1, len(told) + 1))
    assert [body["event"] for body in told].count("deployment.finished") == 1
    assert len({each.properties.message_id for each in requester.events(name)}) == len(told)
    for box in ("web1", "web2"):
        assert (lab.root(box) / f"ran-{name}").read_text() == "once\n"


def test_a_repeat_after_the_end_gets_the_result_again(lab: Lab, requester: Requester) -> None:
    """With the same message id. A new destination gets everything from 1 on."""
    event = lab.script("true", "web1")
    name = event["deployment_id"]
    requester.publish(event, correlation_id="first")
    result = requester.finished(name)
    told = [each.body for each in requester.events(name)]

    requester.publish(event, correlation_id="first")
    requester.wait(lambda: len(requester.events(name)) > len(told), "the result again")
    again = requester.events(name)[-1]
    once = next(each for each in requester.events(name) if each.event == "deployment.finished")
    assert again.body == result
    assert (again.properties.message_id, again.properties.correlation_id) == (once.properties.message_id, "first")

    other = requester.another_queue()
    for destination, correlation_id in ((other, "first"), (requester.queue, "second")):
        requester.publish(event, reply_to=destination, correlation_id=correlation_id)
        want = [(destination, correlation_id, body) for body in told]
        requester.wait(
            lambda want=want: [
                (each.routing_key, each.properties.correlation_id, each.body) for each in requester.events(name)
            ][-len(want) :] == want,
            f"everything from 1 at {destination}, {correlation_id}",
        )  # fmt: skip
    # At least once: an event that was published just before the repeat may come once more, and a consumer drops it.
    places = [
        (each.routing_key, each.properties.correlation_id, each.body["sequence"]) for each in requester.events(name)
    ]
    assert len(set(places)) == 3 * len(told)
    assert places.count((requester.queue, "first", len(told))) >= 2


def test_the_same_id_with_another_body_is_a_conflict(lab: Lab, requester: Requester) -> None:
    """The first runs on."""
    held = Held(lab)
    event = lab.script(held.script, "web1")
    name = event["deployment_id"]
    requester.publish(event, correlation_id="first")
    held.wait("web1")
    refused = requester.answer(requester.publish(event | {"version": "9.9.9"}, correlation_id="other"))
    assert (refused.event, refused.body["failure"]["code"]) == ("deployment.rejected", "request.conflict")
    assert (refused.body["deployment_id"], refused.body["sequence"]) == (name, 0)
    held.let_go()
    result = requester.event(name, "deployment.finished")
    assert (result["status"], result["version"]) == ("succeeded", event["version"])
    late = requester.answer(requester.publish(event | {"dry_run": True}, correlation_id="late"))
    assert late.body["failure"]["code"] == "request.conflict"
    assert {each.event for each in requester.replies if each.properties.correlation_id in {"other", "late"}} == {
        "deployment.rejected"
    }
