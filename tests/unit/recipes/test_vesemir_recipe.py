"""The shipped ``vesemir`` recipe, its steps carried out in a folder that stands for an instance's host.

The artifact is a small one whose `install` does what the real one does as far as the recipe sees it; an HTTP server
stands for the instance, and a `systemctl` that only notes what was asked. On machines with a real systemd the same is
done by the integration environment.
"""

import hashlib
import json
import os
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.unit.recipes.recipe_runs import carry_out

from vesemir.adapters.recipes import load_recipes
from vesemir.contract import stored_request
from vesemir.domain.action import CheckAction, HttpProbe, RenderedStep
from vesemir.domain.recipe import check_parameters
from vesemir.domain.render import render_steps
from vesemir.domain.render_values import RenderScope
from vesemir.domain.request import Timeouts
from vesemir.domain.step import Command, Direction
from vesemir.domain.target import Target
from vesemir.shipped import recipes_folder

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "self-deployment.md"
INSTALL = """\
import pathlib, sys

here = pathlib.Path(__file__).resolve().parent
assert sys.argv[1] == "--prefix" and sys.argv[3] == "--python", sys.argv
release = pathlib.Path(sys.argv[2]) / "releases" / here.name.removeprefix("vesemir-")
release.mkdir(parents=True, exist_ok=True)
(release / ".vesemir-complete").touch()
print(release, "installed")
"""


class Instance(BaseHTTPRequestHandler):
    """Answers ``GET /health`` with the version that ``runs``, and 503 while it does not take work."""

    runs = "1.0.0"
    status = 200

    def do_GET(self) -> None:
        body = json.dumps({"version": self.runs}).encode()
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Host:
    """A prefix with version 1.0.0 that runs."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.prefix = folder / "it's opt"
        self._port = port
        self._called = folder / "called"
        (folder / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {self._called}\n')
        (folder / "systemctl").chmod(0o755)
        for age, version in enumerate(("1.0.0", "0.9.0", "0.8.0"), start=1):
            release = self.prefix / "releases" / version
            release.mkdir(parents=True)
            (release / ".vesemir-complete").touch()
            os.utime(release, (0, 1_700_000_000 - age))
        (self.prefix / ".vesemir").mkdir()
        (self.prefix / "current").symlink_to("releases/1.0.0")

    def artifact(self, version: str) -> Path:
        inside = self._folder / f"vesemir-{version}"
        inside.mkdir(exist_ok=True)
        (inside / "install").write_text(INSTALL)
        file = self._folder / f"vesemir-{version}.tar.gz"
        with tarfile.open(file, "w:gz") as tar:
            tar.add(inside, arcname=inside.name)
        return file

    def steps(self, artifact: Path, version: str, *, back: bool = False) -> list[RenderedStep]:
        recipe = load_recipes([recipes_folder()]).get("vesemir")
        assert recipe is not None
        digest = hashlib.sha256(artifact.read_bytes()).hexdigest()
        given = {"artifact_url": artifact.as_uri(), "artifact_sha256": digest, "keep_releases": 2}
        values, problems = check_parameters(recipe, given)
        assert problems == []
        variables = {
            "prefix": str(self.prefix),
            "systemctl": str(self._folder / "systemctl"),
            "systemctl_sudo": "false",
            "health_url": f"http://127.0.0.1:{self._port}/health",
        }
        target = Target("one", "127.0.0.1", variables=variables)
        scope = RenderScope("vesemir", "production", version, "d1", target, parameters=values, step_seconds=30)
        return render_steps(recipe, Direction.BACK if back else Direction.FORWARD, scope)

    def carry_out(self, artifact: Path, version: str, *, back: bool = False) -> dict[str, str]:
        """All steps but HTTP checks, each twice, as after a takeover: what went wrong the second time."""
        wrong: dict[str, str] = {}
        for step in self.steps(artifact, version, back=back):
            if isinstance(step.action, CheckAction) and not isinstance(step.action.probe, Command):
                continue
            carry_out(step, self._folder / "incoming")
            done = carry_out(step, self._folder / "incoming")
            if done.returncode != 0:
                wrong[step.name] = done.stderr.strip()
        return wrong

    @property
    def called(self) -> list[str]:
        return self._called.read_text().splitlines() if self._called.exists() else []

    @property
    def current(self) -> str:
        return str((self.prefix / "current").readlink())

    @property
    def releases(self) -> set[str]:
        return {path.name for path in (self.prefix / "releases").iterdir()}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    Instance.runs, Instance.status = "1.0.0", 200
    with ThreadingHTTPServer(("127.0.0.1", 0), Instance) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Host(tmp_path, server.server_address[1])
        server.shutdown()
        thread.join()


def test_a_version_is_installed_beside_switched_to_and_its_restart_only_asked_for(host: Host) -> None:
    assert host.carry_out(host.artifact("1.1.0"), "1.1.0") == {}
    assert host.current == "releases/1.1.0"
    assert host.called[:2] == ["reset-failed vesemir", "--no-block restart vesemir"]
    assert host.releases == {"1.0.0", "1.1.0"}, "the current and the previous one stay, whatever their age"
    assert not list((host.prefix / ".vesemir").glob("artifact-*"))


def test_what_vesemir_did_not_make_is_not_removed(host: Host) -> None:
    """Before: the oldest entries of ``releases`` went, whatever they were; a link's target lost its mark."""
    releases, outside = host.prefix / "releases", host.prefix.parent / "outside"
    outside.mkdir()
    (outside / ".vesemir-complete").touch()
    (releases / "0.5.0").symlink_to(outside)
    (releases / "two words").mkdir()
    (host.prefix / "stable").symlink_to("releases/0.8.0")
    for path in releases.iterdir():
        os.utime(path, (0, 1_600_000_000), follow_symlinks=False)
    assert host.carry_out(host.artifact("1.1.0"), "1.1.0") == {}
    assert host.releases == {"0.5.0", "two words", "0.8.0", "1.0.0", "1.1.0"}
    assert (outside / ".vesemir-complete").exists()


def test_nothing_is_installed_through_a_link(host: Host) -> None:
    (host.prefix / "elsewhere").mkdir()
    (host.prefix / "releases" / "1.1.0").symlink_to(host.prefix / "elsewhere")
    wrong = host.carry_out(host.artifact("1.1.0"), "1.1.0")
    assert "releases/1.1.0 is a link, and nothing is written through one" in wrong["install"]
    assert list((host.prefix / "elsewhere").iterdir()) == []


def test_the_check_wants_the_new_version_and_that_it_takes_work(host: Host) -> None:
    (check,) = [step for step in host.steps(host.artifact("1.1.0"), "1.1.0") if step.name == "check-version"]
    assert isinstance(check.action, CheckAction)
    assert isinstance(check.action.probe, HttpProbe)
    assert (check.action.probe.status, dict(check.action.probe.json)) == (200, {"version": "1.1.0"})


def test_an_instance_that_runs_the_version_already_is_not_restarted(host: Host) -> None:
    """Also while it drains or waits for its broker, and says 503."""
    Instance.status = 503
    assert host.carry_out(host.artifact("1.0.0"), "1.0.0") == {}
    assert host.called == []
    assert host.current == "releases/1.0.0"


def test_an_artifact_of_another_version_is_refused_before_anything_changes(host: Host) -> None:
    artifact = host.artifact("1.1.0")
    step = next(step for step in host.steps(artifact, "1.2.0") if step.name == "fetch")
    assert carry_out(step, host.prefix / "incoming").returncode == 0
    step = next(step for step in host.steps(artifact, "1.2.0") if step.name == "install")
    done = carry_out(step, host.prefix / "incoming")
    assert done.returncode == 1
    assert "the artifact is not vesemir-1.2.0 but vesemir-1.1.0" in done.stderr
    assert host.releases == {"0.8.0", "0.9.0", "1.0.0"}


def test_the_way_back_leads_to_what_was_before_and_wants_that_version_to_answer(host: Host) -> None:
    artifact = host.artifact("1.1.0")
    assert host.carry_out(artifact, "1.1.0") == {}
    Instance.runs = "1.1.0"
    asked = len(host.called)
    wrong = host.carry_out(artifact, "1.1.0", back=True)
    assert host.current == "releases/1.0.0"
    assert host.called[asked:][-1] == "--no-block restart vesemir"
    assert wrong == {"check-version": "1.1.0 answers, and not 1.0.0"}
    Instance.runs = "1.0.0"
    assert host.carry_out(artifact, "1.1.0", back=True) == {}


def test_a_host_that_was_never_switched_is_left_alone_on_the_way_back(host: Host) -> None:
    assert host.carry_out(host.artifact("1.1.0"), "1.1.0", back=True) == {}
    assert host.called == []


def test_the_example_in_the_documentation_is_a_deploy_event_for_this_recipe() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    event = json.loads(text.replace("…", "0" * 64))
    request = stored_request(event, None, caps=Timeouts(3600, 3600, 3600))
    recipe = load_recipes([recipes_folder()]).get(request.recipe)
    assert recipe is not None
    assert check_parameters(recipe, event["parameters"])[1] == []
