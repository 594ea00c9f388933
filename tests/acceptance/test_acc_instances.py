"""Two instances: one is killed or told to stop in the middle of a deployment, and the other brings it to its end."""

from collections import Counter
from collections.abc import Callable

import pytest
from tests.acceptance.installed_lab import Event, Held, Lab
from tests.acceptance.pika_requester import Requester, in_order
from tests.acceptance.running_daemon import Daemon
from tests.published import validate_event

pytestmark = pytest.mark.lab

SETTINGS = {"VESEMIR_LEASE__SECONDS": "5", "VESEMIR_LIMITS__SHUTDOWN_SECONDS": "3"}
BOXES = ("web1", "web2", "web3")

StartDaemon = Callable[..., Daemon]


class Midway:
    """A deployment to three boxes, one after the other, that stands on the second."""

    def __init__(self, lab: Lab, daemon: StartDaemon, requester: Requester) -> None:
        self._lab, self._requester = lab, requester
        daemons = {name: daemon(name, healthy=False, **SETTINGS) for name in ("a", "b")}
        for started_one in daemons.values():
            started_one.wait_until_healthy()
        self.held = Held(lab, after='echo "$BOX_NAME $(cat /proc/sys/kernel/random/uuid)" >> "$BOX_ROOT/done-$1"')
        self.event = lab.script(self.held.script, *BOXES)
        self.name = self.event["deployment_id"]
        self.event["parameters"]["argument"] = self.name
        self.held.let_go("web1")
        requester.publish(self.event)
        self.held.wait("web2")
        started = requester.event(self.name, "target.started", target="web2")
        self.owner = daemons.pop(started["instance"].partition("/")[0])
        self.owner_instance = started["instance"]
        (self.other,) = daemons.values()

    def check_end(self) -> tuple[Event, list[Event]]:
        """One result for all, and every box did it once. The result, and all events in order."""
        result = self._requester.finished(self.name)
        told = in_order(self._requester.events(self.name))
        for body in told:
            validate_event(body)
        assert [body["sequence"] for body in told] == list(range(1, len(told) + 1))
        assert told[-1] == result
        kinds = Counter(body["event"] for body in told)
        assert (kinds["deployment.finished"], kinds["target.finished"]) == (1, len(BOXES))
        assert result["status"] == "succeeded"
        assert {target["status"] for target in result["targets"]} == {"succeeded"}
        assert result["instance"].startswith(f"{self.other.name}/")
        for box in BOXES:
            (line,) = (self._lab.root(box) / f"done-{self.name}").read_text().splitlines()
            assert line.startswith(f"{box} ")
        return result, told


def test_kill_9_of_the_owner(lab: Lab, daemon: StartDaemon, requester: Requester) -> None:
    """The other takes over; what was done is not done again."""
    midway = Midway(lab, daemon, requester)
    midway.owner.kill()
    requester.event(midway.name, "deployment.taken_over")
    midway.held.let_go("web2", "web3")
    result, told = midway.check_end()
    (taken,) = [body for body in told if body["event"] == "deployment.taken_over"]
    assert taken["previous_instance"] == midway.owner_instance
    assert taken["instance"] == result["instance"]
    assert taken["epoch"] >= 1
    assert (result["metrics"]["takeovers"], result["metrics"]["redone_steps"]) == (1, 1)
    started = Counter(body["target"] for body in told if body["event"] == "target.started")
    assert started == Counter(BOXES)


def test_sigterm_lets_the_target_in_work_finish(lab: Lab, daemon: StartDaemon, requester: Requester) -> None:
    """Then the other goes on with the next."""
    midway = Midway(lab, daemon, requester)
    midway.owner.terminate()
    midway.owner.wait_until_unhealthy("draining")
    midway.held.let_go("web2", "web3")
    assert midway.owner.process.wait(30) == 0, midway.owner.log()
    result, told = midway.check_end()
    assert result["metrics"]["redone_steps"] == 0
    finished = {body["target"]: body["instance"] for body in told if body["event"] == "target.finished"}
    assert finished["web2"] == midway.owner_instance
    assert finished["web3"] == result["instance"]


def test_sigterm_ends_what_does_not_finish_in_time(lab: Lab, daemon: StartDaemon, requester: Requester) -> None:
    """Within ``limits.shutdown_seconds``; the other does it again."""
    midway = Midway(lab, daemon, requester)
    midway.owner.terminate()
    assert midway.owner.process.wait(30) == 0, midway.owner.log()
    midway.held.let_go("web2", "web3")
    result, _ = midway.check_end()
    assert result["metrics"]["redone_steps"] <= 1
