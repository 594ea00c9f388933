"""The upgrade rules (docs/upgrading.md): the previous release and this one on one schema, broker and set of hosts."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.acceptance.installed_lab import COMMAND, Event, Held, Lab, own_environment
from tests.acceptance.pika_requester import Requester, in_order
from tests.acceptance.previous_release import (
    PINNED,
    REPOSITORY,
    export_previous,
    its_settings,
    migrations_of,
    previous_commit,
)
from tests.acceptance.running_daemon import Daemon, running

pytestmark = pytest.mark.lab

SETTINGS = {"VESEMIR_LEASE__SECONDS": "5", "VESEMIR_LIMITS__SHUTDOWN_SECONDS": "10"}
BOXES = ("web1", "web2", "web3")
LANES = 6
BOTH_WAYS = pytest.mark.parametrize(("first", "second"), [("previous", "new"), ("new", "previous")])


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    return export_previous(tmp_path_factory.mktemp("previous"))


@pytest.fixture
def older(lab: Lab, previous: Mapping[str, str], tmp_path: Path) -> Mapping[str, str]:
    """The environment of an instance of the previous release."""
    return {**its_settings(lab["env"], previous, tmp_path), **previous}


class Fleet:
    """Starts instances of either version. Their names tell which."""

    def __init__(self, stack: ExitStack, folder: Path, environments: Mapping[str, Mapping[str, str]]) -> None:
        self._stack = stack
        self._folder = folder
        self._of = environments

    def start(self, version: str) -> Daemon:
        return self._stack.enter_context(running({"env": self._of[version]}, self._folder, version, SETTINGS))


@pytest.fixture
def fleet(lab: Lab, older: Mapping[str, str], tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(stack, tmp_path, {"previous": older, "new": lab["env"]})


def deployment(lab: Lab, script: str, **changes: object) -> Event:
    """Each box writes a line each time that it does it."""
    event = lab.script(f'{script}\necho done >> "$BOX_ROOT/done-$1"', *BOXES, **changes)
    event["parameters"]["argument"] = event["deployment_id"]
    event["rollout"].pop("min_healthy_seconds", None)  # the release before does not know it
    return event


def times_done(lab: Lab, event: Event) -> list[int]:
    return [len((lab.root(box) / f"done-{event['deployment_id']}").read_text().splitlines()) for box in BOXES]


def name_of(body: Event) -> str:
    return str(body["instance"]).partition("/")[0]


def test_the_previous_release_is_another_one(previous: Mapping[str, str]) -> None:
    """Otherwise nothing here would show anything. Its migrations are all still here."""
    code = "import vesemir.shipped as shipped; print(shipped.sql_folder())"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=own_environment(previous), capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(Path(previous["PYTHONPATH"]).parent))
    assert previous_commit() == PINNED or previous_commit().startswith("v")
    assert migrations_of(previous_commit()) <= {path.name for path in (REPOSITORY / "sql/migrations").glob("*.sql")}


def test_the_previous_release_takes_the_new_schema_for_its_own(older: Mapping[str, str]) -> None:
    """Its ``migrate`` has nothing to do and its ``check`` finds nothing wrong: it can be gone back to."""

    def said(*words: str) -> str:
        done = subprocess.run(
            [COMMAND, *words], env=own_environment(older), capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert json.loads(said("migrate", "--json"))["applied"] == []
    assert "its schema is up to date" in said("check")


@BOTH_WAYS
def test_one_stops_and_the_other_goes_on(lab: Lab, fleet: Fleet, requester: Requester, first: str, second: str) -> None:
    """Forward in an upgrade, and back when it is taken back: what was begun by one version is ended by the other."""
    held = Held(lab)
    event = deployment(lab, held.script)
    leaving = fleet.start(first)
    held.let_go("web1")
    requester.publish(event)
    held.wait("web2")
    fleet.start(second)
    leaving.terminate()
    leaving.wait_until_unhealthy("draining")
    held.let_go("web2", "web3")
    result = requester.finished(event["deployment_id"])
    assert leaving.process.wait(30) == 0, leaving.log()
    told = in_order(requester.events(event["deployment_id"]))
    assert (result["status"], name_of(result)) == ("succeeded", second)
    assert [body["sequence"] for body in told] == list(range(1, len(told) + 1))
    by = {body["target"]: name_of(body) for body in told if body["event"] == "target.finished"}
    assert by == {"web1": first, "web2": first, "web3": second}
    assert (result["metrics"]["takeovers"], result["metrics"]["redone_steps"]) == (1, 0)
    assert times_done(lab, event) == [1, 1, 1]


@BOTH_WAYS
def test_one_is_killed_and_the_other_takes_over(
    lab: Lab, fleet: Fleet, requester: Requester, first: str, second: str
) -> None:
    """The markers on the host and what the record says of the targets mean the same to both (fault 31)."""
    held = Held(lab)
    event = deployment(lab, held.script)
    dying = fleet.start(first)
    held.let_go("web1")
    requester.publish(event)
    held.wait("web2")
    fleet.start(second)
    dying.kill()
    requester.event(event["deployment_id"], "deployment.taken_over")
    held.let_go("web2", "web3")
    result = requester.finished(event["deployment_id"])
    assert (result["status"], name_of(result)) == ("succeeded", second)
    assert times_done(lab, event) == [1, 1, 1]


def test_both_work_together(lab: Lab, fleet: Fleet, requester: Requester) -> None:
    """On one queue and one record; each deployment is done once, by one of them."""
    for version in ("previous", "new"):
        fleet.start(version)
    events = [deployment(lab, "sleep 0.3", application=f"mixed{lane}") for lane in range(LANES)]
    for event in events:
        requester.publish(event)
        requester.publish(event)  # twice, to whichever instance
    results = [requester.finished(event["deployment_id"]) for event in events]
    assert [result["status"] for result in results] == ["succeeded"] * LANES
    for event in events:
        assert times_done(lab, event) == [1, 1, 1]
        told = Counter(body["event"] for body in in_order(requester.events(event["deployment_id"])))
        assert told["deployment.finished"] == 1
