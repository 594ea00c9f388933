"""For each group of failure codes: what ``vesemir status ID`` and the runbook entry say is enough to mend it.

The exact text stands in ``provoked/``, one file per failure. After all of them, what the entries say is done, and the
same deployments succeed.
"""

import getpass
import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.acceptance.expected_text import check, settled
from tests.acceptance.failing_sites import Sites, failing_sites
from tests.acceptance.hanging import slow_request
from tests.acceptance.installed_lab import COMMAND, SECONDS, Event, Held, Lab, own_environment
from tests.acceptance.pika_requester import Requester
from tests.acceptance.provoking import CASES, HANGING, HASTY, PLAIN, chosen, start_shop, unmount
from tests.acceptance.running_daemon import running

from vesemir.domain.failure import FailureCode
from vesemir.shipped import recipes_folder

pytestmark = pytest.mark.lab

DAEMON = {"VESEMIR_HAPROXY__UP_DEADLINE_SECONDS": "4"}


@dataclass
class Stage:
    """The lab, the hosts beside it, and what a support engineer may type."""

    lab: Lab
    sites: Sites
    requester: Requester
    events: dict[str, Event]
    results: dict[str, Event]
    said: dict[str, str]

    def vesemir(self, *words: str, given: str | None = None) -> str:
        """A command with its answer as one sees it on a terminal: what it printed, then what it complained of."""
        done = subprocess.run(
            [COMMAND, *words], env=own_environment(self.lab["env"] | self.sites.settings), input=given,
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return f"$ vesemir {' '.join(words)}\n{done.stdout}{done.stderr}"

    def settled(self, text: str) -> str:
        words = {
            str(self.sites.folder): "<folder>",
            str(self.lab.folder): "<lab>",
            self.lab.artifact("2.0.0")["sha256"]: "<sha256 of 2.0.0>",
            f"{getpass.getuser()}@{socket.gethostname()}": "<me>",
            f":{self.sites.closed_port}": ":<port>",
        }
        return settled(text, words)

    def check(self, name: str, *commands: str) -> None:
        """What was typed and said."""
        check(name, "\n".join(self.settled(command) for command in commands))


@pytest.fixture(scope="module")
def stage(lab: Lab) -> Iterator[Stage]:
    """Everything provoked at the same time, each in a lane of its own, and looked at before anything is mended."""
    with tempfile.TemporaryDirectory() as name, Requester(lab["amqp_url"]) as requester:
        folder = Path(name)
        folder.chmod(0o755)
        lab.mend()
        with failing_sites(lab, folder) as sites:
            release = (recipes_folder() / "release.toml").read_text()
            (folder / "recipes" / f"{HASTY}.toml").write_text(
                release.replace('deadline = "{start_seconds}"', "deadline = 3")
            )
            with running(lab, folder, "one", sites.settings | DAEMON):
                stage = Stage(lab, sites, requester, {}, {}, {})
                try:
                    _provoke(stage)
                    yield stage
                finally:
                    unmount(lab)
                    start_shop(lab)
                    lab.mend()


def _provoke(stage: Stage) -> None:
    for name, case in chosen().items():
        made = case.make(stage.lab, stage.sites)
        word = name.replace(".", "-").replace("_", "-")
        stage.events[name] = made | {"deployment_id": f"dep-{word}", "application": f"app-{word}"}
    with slow_request(stage.lab, HANGING):
        for event in stage.events.values():
            stage.requester.publish(event)
        for name, event in stage.events.items():
            stage.results[name] = stage.requester.finished(event["deployment_id"])
    with ThreadPoolExecutor(2) as pool:
        told = pool.map(lambda event: stage.vesemir("status", event["deployment_id"]), stage.events.values())
        stage.said = dict(zip(stage.events, told, strict=True))


def test_there_is_one_of_every_group_that_a_deployment_can_fail_with() -> None:
    """With the two below that are refused. ``lane`` and ``promotion`` only refuse (test_acc_lock.py, the intake's own
    tests). ``rollout`` and ``canary`` only say that targets failed or regressed (the analysis has its own tests);
    ``internal`` takes a bug, or instances that die over and over: the chaos suite.
    """
    groups = {name.partition(".")[0] for name in CASES} | {"request", "control", "lane", "promotion"}
    assert {code.value.partition(".")[0] for code in FailureCode} - groups == {"rollout", "canary", "internal"}
    assert len(chosen()) >= 15


@pytest.mark.parametrize("name", chosen())
def test_status_and_the_entry_are_enough(stage: Stage, name: str) -> None:
    """Word for word, for whoever wants to judge it."""
    code = name.partition("-")[0]
    failures = [target["failure"]["code"] for target in stage.results[name]["targets"] if target["failure"]]
    assert code in [*failures, stage.results[name]["failure"]["code"]]
    stage.check(name, stage.said[name])


def test_a_refused_event_is_told_and_explained(stage: Stage) -> None:
    """request.*: the requester sees each problem, and the entry says where the message is."""
    event = stage.lab.script("true", PLAIN) | {"deployment_id": "dep-request", "application": "app-request"}
    wrong = json.dumps(event | {"rollout": {"on_failure": "rolback"}})
    stage.check(
        "request.invalid",
        stage.vesemir("deploy", "--file", "-", given=wrong),
        stage.vesemir("status", "dep-request"),
    )
    stage.requester.purge_rejected()
    assert stage.requester.deploy(event)["status"] == "succeeded", "the id may be used again"


def test_a_command_for_nobody_and_a_cancelled_deployment(stage: Stage) -> None:
    """control.unknown_deployment, mended with the right id; and what is left then: deployment.cancelled."""
    held = Held(stage.lab)
    event = stage.lab.script(held.script, PLAIN, "web5")
    event |= {"deployment_id": "dep-cancelled", "application": "app-cancelled"}
    stage.requester.publish(event)
    held.wait(PLAIN)
    stage.check(
        "control.unknown_deployment",
        stage.vesemir("pause", "dep-canceled", "--reason", "wrong version"),
    )
    stage.vesemir("cancel", "dep-cancelled", "--reason", "wrong version")
    assert stage.requester.finished("dep-cancelled")["status"] == "cancelled"
    stage.check("deployment.cancelled", stage.vesemir("status", "dep-cancelled"))
    held.let_go()
    assert stage.requester.deploy(event | {"deployment_id": "dep-cancelled-again"})["status"] == "succeeded"


def test_what_the_entries_say_mends_it(stage: Stage) -> None:
    """Done for every one of them, and the next deployment succeeds.

    One after another: they are in lanes of their own, and several would move the traffic of web2 at the same time.
    """
    ended = {
        name: stage.requester.deploy(case.mend(stage.lab, stage.sites, stage.events[name]))
        for name, case in chosen().items()
    }
    why = {name: result["failure"] or result["targets"] for name, result in ended.items()}
    assert {name: result["status"] for name, result in ended.items()} == dict.fromkeys(ended, "succeeded"), why
    # health.failed left web1 drained, and the deployment of a good release has put it back.
    assert all(server.is_back for server in stage.lab.servers().values())
