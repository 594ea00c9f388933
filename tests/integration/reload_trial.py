"""``systemctl reload vesemir`` under a real systemd, while a deployment runs: what it waits for, and when it fails."""

import re
import ssl
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

LAB = (sys.executable, "-m", "vesemir.cli.lab")
SECONDS = 60
SLOW = """description = "Lasts until somebody says so"

[[steps]]
name = "wait"
command = ["/bin/sh", "-c", "touch ~/begun; until [ -e ~/enough ]; do sleep 0.05; done"]
timeout = 60
"""
DEPLOY = """
export CREDENTIALS_DIRECTORY=/etc/vesemir/credentials
exec vesemir deploy --application {recipe} --environment test --version 2 --recipe {recipe} --group hello --follow
"""
RELOAD = """
pids() {{ echo pids: $(systemctl show --property=MainPID --value {units}); }}
pids
status=0
systemctl reload {units} || status=$?
pids
journalctl --sync
journalctl --no-pager --output=cat --lines=40 --unit='vesemir*'
exit $status
"""


@dataclass(frozen=True)
class Machine:
    """One of the lab's; ``root`` is its tree, seen from here."""

    lab: Path
    name: str
    address: str
    root: Path
    authority: Path
    """Of its certificate."""

    def start(self, script: str) -> "subprocess.Popen[str]":
        words = [*LAB, "exec", "--dir", str(self.lab), self.name, "sh", "-euc", script]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def accepts(self, token: str) -> bool:
        """Its HTTP interface, at this moment."""
        request = urllib.request.Request(f"https://{self.address}:8080/api/v1/deployments")
        request.add_header("Authorization", f"Bearer {token}")
        trusting = ssl.create_default_context(cafile=self.authority)
        with urllib.request.urlopen(request, timeout=10, context=trusting) as answer:  # noqa: S310 - the lab's
            return bool(answer.status == 200)

    def rotate(self, token: str) -> None:
        (self.root / "etc/vesemir/credentials/http_token").write_text(f"{token}\n")

    def recipe(self, name: str, text: str) -> None:
        (self.root / "etc/vesemir/recipes" / f"{name}.toml").write_text(text)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    text, _ = process.communicate(timeout=SECONDS)
    return process.returncode, text


def reload_trial(first: Machine, second: Machine, target: Machine) -> None:
    """``first`` has the units ``vesemir`` and ``vesemir@b``, ``second`` the first of them; any of the three instances
    may take the deployment, so all are reloaded."""
    for machine in (first, second):
        machine.rotate("second-token")
        machine.recipe("slow", SLOW)
    for machine, (status, text) in zip((first, second), _reloaded(first, second), strict=True):
        assert status == 0, text
        assert machine.accepts("second-token")

    deployment = first.start(DEPLOY.format(recipe="slow"))
    home = target.root / "home/vesemir"
    _until(home / "begun", deployment)
    for machine in (first, second):
        machine.rotate("third-token")
        machine.recipe("hello", "this is no recipe\n")
    broken = "/etc/vesemir/recipes/hello.toml:1:"
    for machine, (status, text) in zip((first, second), _reloaded(first, second), strict=True):
        assert status != 0, text
        assert machine.accepts("third-token")
        told = {line for line in text.splitlines() if broken in line}
        assert any(line.startswith("reload 2: recipes stays as it was: ") for line in told), text
        assert any('"vesemir.reload", "message": "reload: recipes stays as it was' in line for line in told), text
    assert deployment.poll() is None

    after = first.start(DEPLOY.format(recipe="hello"))
    (home / "enough").touch()
    for each in (deployment, after):
        status, text = ended(each)
        assert (status, "succeeded" in text) == (0, True), text


def _reloaded(first: Machine, second: Machine) -> list[tuple[int, str]]:
    """Of both at the same time: what systemctl ended with, and the log. The processes stay the same."""
    units = {first: "vesemir vesemir@b", second: "vesemir"}
    done = [ended(each) for each in [machine.start(RELOAD.format(units=units[machine])) for machine in units]]
    for _, text in done:
        before, after = re.findall(r"^pids: (.*)$", text, re.MULTILINE)
        assert before == after
        assert "0" not in before.split()
    return done


def _until(file: Path, process: "subprocess.Popen[str]") -> None:
    limit = time.monotonic() + SECONDS
    while not file.exists():
        assert process.poll() is None, ended(process)[1]
        assert time.monotonic() < limit, f"{file} does not come"
        time.sleep(0.05)
