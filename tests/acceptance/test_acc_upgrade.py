"""The upgrade rules (docs/upgrading.md): the previous release and this one on one schema, broker and set of hosts."""

import json
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from tests.acceptance.installed_lab import COMMAND, Event, Held, Lab, own_environment
from tests.acceptance.patience import until
from tests.acceptance.pika_requester import Requester, in_order
from tests.acceptance.previous_release import (
    PINNED,
    REPOSITORY,
    export_previous,
    its_settings,
    migrations_of,
    previous_commit,
)
from tests.acceptance.release_handover import begun_and_died, check_handed_over, plain_event
from tests.acceptance.running_daemon import Daemon, running
from tests.acceptance.steady_load import steady_load

from vesemir.engine.failpoints import EXIT_STATUS

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

    def start(self, version: str, *, healthy: bool = True, **more: str) -> Daemon:
        of = {"env": self._of[version]}
        return self._stack.enter_context(running(of, self._folder, version, SETTINGS | more, healthy=healthy))


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


def test_the_previous_release_takes_the_new_schema_for_its_own(older: Mapping[str, str], fleet: Fleet) -> None:
    """Its ``migrate`` has nothing to do and its ``check`` finds nothing wrong: it can be gone back to."""

    def said(*words: str) -> str:
        done = subprocess.run(
            [COMMAND, *words], env=own_environment(older), capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert json.loads(said("migrate", "--json"))["applied"] == []
    fleet.start("previous")  # without one, check says that nobody works
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


@pytest.mark.usefixtures("mended")
@pytest.mark.parametrize(
    ("first", "second", "places"),
    [
        ("new", "previous", ("step.before_record:1", "target.prepared:1", "step.before_record:5")),
        ("previous", "new", ("step.before_record:1", "step.before_record:2", "step.before_record:5")),
    ],
    ids=["new-previous", "previous-new"],
)
def test_one_dies_within_a_release_and_the_other_ends_it(
    lab: Lab, fleet: Fleet, requester: Requester, first: str, second: str, places: tuple[str, ...]
) -> None:
    """Fault 31 with the shipped recipe: in ``fetch``, before ``link-shared`` and in ``switch``, under load."""
    version = lab.other_version()
    events = [plain_event(lab, version, f"shop-{box}-{first}", [box]) for box in BOXES]
    with steady_load(lab["http_url"]) as seen:
        begun_and_died(requester, partial(fleet.start, first), events, places)
        fleet.start(second)
        results = [check_handed_over(lab, requester, event, ended_by=second) for event in events]
    assert (seen.broken, seen.count(status=200)) == ([], seen.total)
    assert [target["in_traffic"] for target in results[0]["targets"] if "in_traffic" in target] != [False]
    assert all(server.is_back for server in lab.servers().values())


@pytest.mark.usefixtures("mended")
def test_what_the_new_one_left_drained_is_kept_by_the_previous_one(
    lab: Lab, fleet: Fleet, older: Mapping[str, str], requester: Requester
) -> None:
    """Its watch forgets only what is back, its commands read every row. ``web2`` is to be healed: that fails once, and
    then the previous one takes it over, which leaves the server as it was; the next one heals it. ``web3`` stands in
    the table for several backends, which the previous one does not look into."""
    newer = fleet.start("new", VESEMIR_FAILPOINT="step.before_record:5")
    lane = f"left-{secrets.token_hex(4)}"
    several = lab.haproxy_part | {"backend": [lab["backend"]]}
    failing = [("web1", lab.haproxy_part), ("web2", lab.haproxy_part), ("web2", lab.haproxy_part), ("web3", several)]
    names = []
    for box, haproxy in failing:
        event = lab.script("exit 1", box, application=lane, haproxy=haproxy)
        assert requester.deploy(event)["targets"][0]["in_traffic"] is False
        names.append(event["deployment_id"])
    assert left_drained(lab["env"], lane) == {"web1": names[0], "web2": names[1], "web3": names[3]}
    good = [deployment(lab, "true", application=lane, targets={"hosts": ["web2"]}) for _ in range(2)]
    good = [event | {"haproxy": lab.haproxy_part} for event in good]
    requester.publish(good[0])
    until(lambda: newer.process.poll() == EXIT_STATUS, what="it died while it healed web2")

    assert left_drained(older, lane) == {"web1": names[0], "web2": names[1]}
    names.append(good[0]["deployment_id"])
    for words in (["status"], ["history"], *(["status", name] for name in names[2:]), ["logs", names[-1]]):
        read_by(older, *words)
    previous = fleet.start("previous", VESEMIR_LEASE__SECONDS="1")
    lab.haproxy(f"set server {lab['backend']}/web1 state ready")
    assert requester.finished(names[-1])["status"] == "succeeded"
    until(lambda: "web1" not in left_drained(older, lane), what="the watch saw that web1 is back")
    previous.terminate()
    assert left_drained(lab["env"], lane) == {"web2": names[1], "web3": names[3]}
    assert lab.servers()["web2"].is_drained
    fleet.start("new")
    assert requester.deploy(good[1])["targets"][0]["in_traffic"] is True
    assert left_drained(lab["env"], lane) == {"web3": names[3]}
    assert lab.servers()["web2"].is_back


def read_by(environment: Mapping[str, str], *words: str) -> str:
    done = subprocess.run(
        [COMMAND, *words], env=own_environment(environment), capture_output=True, text=True, check=False, timeout=60
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in (0, 1), f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def left_drained(environment: Mapping[str, str], lane: str) -> dict[str, str]:
    """By ``vesemir status`` of that version: the servers of the lane, and the deployments that left them so."""
    rows = json.loads(read_by(environment, "status", "--json"))["left_drained"]
    return {row["target"]: row["deployment_id"] for row in rows if row["lane"].startswith(f"{lane}/")}


@pytest.mark.usefixtures("mended")
def test_a_field_that_the_previous_one_does_not_know_waits_for_a_new_one(
    lab: Lab, fleet: Fleet, requester: Requester
) -> None:
    """``rollout.prepare: "all"``: refused at intake by the previous release, and not hurt where it takes it over."""
    before = lab.servers()
    event = plain_event(lab, lab.other_version(), f"shop-{secrets.token_hex(4)}", ["web1", "web2"])
    event["rollout"] |= {"prepare": "all"}
    (dead,) = begun_and_died(requester, partial(fleet.start, "new"), [event], ["target.prepared:1"])
    assert dead.process.poll() == EXIT_STATUS
    older = fleet.start("previous", VESEMIR_LEASE__SECONDS="2")
    until(lambda: "its lease is left to expire" in older.log(), what="it was taken over, in vain")
    refused = event | {"deployment_id": f"{event['deployment_id']}-2"}
    requester.publish(refused)
    told = requester.event(refused["deployment_id"], "deployment.rejected")
    assert told["failure"]["code"] == "request.invalid"
    assert "rollout.prepare" in told["failure"]["message"]
    assert lab.servers() == before
    older.terminate()
    fleet.start("new")
    check_handed_over(lab, requester, event, ended_by="new")
    assert all(server.is_back for server in lab.servers().values())
