"""The installed command against the lab: ask, follow, look, pause, cancel, go back; with one daemon of its own.

``lab`` is the contents of a running lab's ``lab.json``.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lab

COMMAND = str(Path(sys.executable).with_name("vesemir"))
SECONDS = 120

Vesemir = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """The lab's variables, an instance's own name and a free port."""
    try:
        lab: Mapping[str, Any] = request.getfixturevalue("lab")
    except pytest.FixtureLookupError:
        pytest.skip("no fixture `lab` (tests/acceptance/conftest.py) yet")
    ours = {"VESEMIR_HTTP__PORT": "0", "VESEMIR_INSTANCE": "cli-test", "VESEMIR_LOG__FORMAT": "json"}
    return {**os.environ, **lab["env"], **ours}


@pytest.fixture(scope="module")
def vesemir(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vesemir]:
    """Run a command; a daemon consumes meanwhile."""

    def run(*arguments: str, given: object = None) -> subprocess.CompletedProcess[str]:
        text = given if isinstance(given, str) else json.dumps(given)
        return subprocess.run(
            [COMMAND, *arguments], env=environment, input=text, capture_output=True, text=True, check=False,
            timeout=SECONDS,
        )  # fmt: skip

    log = tmp_path_factory.mktemp("daemon") / "log"
    with log.open("w") as out:
        daemon = subprocess.Popen([COMMAND, "run"], env=environment, stdout=out, stderr=out)
    try:
        wait_until_it_consumes(log, daemon)
        yield run
    finally:
        daemon.terminate()
        status = daemon.wait(SECONDS)
    assert status == 0, log.read_text()[-4000:]


def wait_until_it_consumes(log: Path, daemon: subprocess.Popen[bytes]) -> None:
    """Its log is a file, so it is looked at again and again; ``tail`` waits for it."""
    with subprocess.Popen(
        ["tail", "-n", "+1", "-f", f"--pid={daemon.pid}", str(log)], stdout=subprocess.PIPE, text=True
    ) as tail:
        assert tail.stdout is not None
        for line in tail.stdout:
            if "Consuming vesemir.control" in line:
                tail.terminate()
                return
    raise AssertionError(f"the daemon ended:\n{log.read_text()[-4000:]}")


def script_event(environment: dict[str, str], script: str) -> dict[str, Any]:
    """A deploy event of the lab's own recipe."""
    folder = str(Path(environment["VESEMIR_CONFIG"]).parent)
    done = subprocess.run(
        [COMMAND, "lab", "event", "--dir", folder, "--recipe", "lab-script", "--set", f"script={script}"],
        capture_output=True, text=True, check=True, timeout=SECONDS,
    )  # fmt: skip
    event: dict[str, Any] = json.loads(done.stdout)
    return event


def test_check_finds_nothing_wrong(vesemir: Vesemir) -> None:
    done = vesemir("check")
    assert done.returncode == 0, done.stdout
    parts = [line.split()[:2] for line in done.stdout.splitlines()]
    good = [("ok", part) for part in ("settings", "recipes", "broker", "database", "inventory", "keys")]
    lab = [("warn", "database"), ("warn", "exposure")]  # has one role, and no policy
    assert list(dict.fromkeys(map(tuple, parts))) == [*good[:4], lab[0], *good[4:], lab[1]]
    (warning,) = (line for line in done.stdout.splitlines() if line.split()[:2] == ["warn", "database"])
    assert "its role may change and delete rows of the audit" in warning
    assert "policy.file is not set" in done.stdout.splitlines()[-1]


def test_from_the_event_to_the_logs(vesemir: Vesemir, environment: dict[str, str]) -> None:
    """Follow it, then find all of it in the record."""
    event = script_event(environment, "echo hello from $BOX_NAME")
    name = event["deployment_id"]

    done = vesemir("deploy", "--file", "-", "--follow", given=event)
    assert done.returncode == 0, done.stderr
    assert f"{event['version']} of shop in production is on " in done.stdout.splitlines()[-1]
    told = [line.split(maxsplit=1)[1] for line in done.stderr.splitlines()]
    assert told[0] == "accepted"
    assert told[-1] == "finished: succeeded"
    assert any(line.startswith("web1: step script succeeded") for line in told)

    view = json.loads(vesemir("status", name, "--json").stdout)
    assert view["state"] == "succeeded"
    assert "state         succeeded" in vesemir("status", name).stdout.splitlines()
    assert name in vesemir("status").stdout
    assert name in vesemir("history", "--status", "succeeded").stdout
    logs = vesemir("logs", name, "--target", "web1").stdout.splitlines()
    assert logs[0].startswith("web1 script: succeeded, ")
    assert logs[1] == "  hello from web1"

    again = vesemir("deploy", "--file", "-", "--follow", "--json", given=event)
    assert json.loads(again.stdout)["status"] == "succeeded"
    assert vesemir("status", name, "--json").stdout != ""

    other = vesemir("deploy", "--file", "-", given={**event, "version": "9.9.9"})
    assert other.returncode == 1
    assert other.stderr.startswith("vesemir: refused [request.conflict]: ")


def test_a_failure_ends_with_1_and_says_what_to_do(vesemir: Vesemir, environment: dict[str, str]) -> None:
    done = vesemir("deploy", "--file", "-", "--follow", given=script_event(environment, "exit 7"))
    assert done.returncode == 1
    assert "step.failed: " in done.stdout
    assert "What to do\n" in done.stdout
    lines = done.stdout.splitlines()
    assert any(line.startswith("    vesemir logs ") for line in lines), "alone on its line"
    assert "    vesemir explain step.failed" in lines


def test_flags_make_the_same_event(vesemir: Vesemir) -> None:
    nasty = "$(id) \"x\" 'y' ; `ls` * \\"
    done = vesemir(
        "deploy", "-a", "shop", "-e", "production", "-v", "1.2.3", "-r", "lab-script", "--host", "web1", "--set",
        'script=printf "<%s>" "$1"', "--set", f"argument={nasty}", "--set", "idempotent=false", "--follow", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    finished = json.loads(done.stdout)
    assert [target["name"] for target in finished["targets"]] == ["web1"]
    (step,) = json.loads(vesemir("logs", finished["deployment_id"], "--json").stdout)
    assert step["output"] == f"<{nasty}>"


def test_an_unknown_host_is_refused(vesemir: Vesemir) -> None:
    done = vesemir(
        "deploy",
        "-a",
        "shop",
        "-e",
        "production",
        "-v",
        "1",
        "-r",
        "lab-script",
        "--set",
        "script=true",
        "--host",
        "web999",
    )
    assert done.returncode == 1
    assert done.stderr.startswith("vesemir: refused [targets.unknown_host]: ")


def test_a_plan_changes_nothing(vesemir: Vesemir, environment: dict[str, str]) -> None:
    event = script_event(environment, "exit 1")
    done = vesemir("plan", "--file", "-", given=event)
    assert done.returncode == 0, done.stderr
    assert "Steps on every target: script" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("Nothing stands in the way of ")
    assert vesemir("status", event["deployment_id"]).returncode == 1, "the plan has an id of its own"


def test_ctrl_c_pause_resume_cancel(vesemir: Vesemir, environment: dict[str, str], tmp_path: Path) -> None:
    """Whoever followed it may go; the deployment is steered by its id."""
    hold = tmp_path / "hold"
    os.mkfifo(hold)
    hold.chmod(0o666)
    event = script_event(environment, f"if [ $BOX_NAME = web1 ]; then cat {hold}; fi")
    name = event["deployment_id"]
    file = tmp_path / "event.json"
    file.write_text(json.dumps(event))
    lines = []
    command = [COMMAND, "deploy", "--follow", "--file", str(file)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as following:
        assert following.stderr is not None
        for line in following.stderr:
            lines.append(line)
            if "web1: started" in line:
                following.send_signal(signal.SIGINT)
    assert following.returncode == 130
    assert lines[-1] == f"vesemir: interrupted; the deployment goes on: `vesemir cancel {name}` ends it\n"

    assert vesemir("pause", name, "--reason", "lunch").returncode == 0
    assert json.loads(vesemir("status", name, "--json").stdout)["pause"]["reason"] == "lunch"
    assert vesemir("resume", name).returncode == 0
    cancelled = vesemir("cancel", name, "--reason", "enough", "--json")
    assert json.loads(cancelled.stdout)["event"] == "control.accepted"
    followed = vesemir("logs", name, "--follow")
    assert followed.stderr.splitlines()[-1] == f"vesemir: {name}: cancelled"
    late = vesemir("pause", name)
    assert late.returncode == 1
    assert late.stderr.startswith("vesemir: refused [control.not_running]: ")


def test_control_of_what_nobody_knows(vesemir: Vesemir) -> None:
    kept = vesemir("cancel", "nobody-knows-this")
    assert kept.returncode == 0
    assert "the cancel is kept for a day" in kept.stdout
    done = vesemir("pause", "nobody-knows-this")
    assert done.returncode == 1
    assert done.stderr.startswith("vesemir: refused [control.unknown_deployment]: ")


def test_rollback(vesemir: Vesemir, environment: dict[str, str]) -> None:
    """In an environment of its own, where nothing was deployed before."""
    for version, script in (("1.0.0", "true"), ("2.0.0", "true"), ("3.0.0", "false")):
        event = {**script_event(environment, script), "environment": "rollback", "version": version}
        vesemir("deploy", "--file", "-", "--follow", given=event)
    tried = vesemir("rollback", "shop", "rollback", "--dry-run")
    assert tried.returncode == 0, tried.stderr
    done = vesemir("rollback", "shop", "rollback", "--follow", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("vesemir: rolling back shop in rollback from 3.0.0 (failed) to 2.0.0, ")
    assert json.loads(done.stdout)["version"] == "2.0.0"
    (newest,) = json.loads(vesemir("history", "-e", "rollback", "-n", "1", "--json").stdout)
    assert (newest["version"], newest["state"]) == ("2.0.0", "succeeded")
