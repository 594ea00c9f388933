"""The shipped ``release`` recipe, its steps carried out for real in a folder that stands for a host."""

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.unit.recipes.recipe_runs import PATH, carry_out, run, tree

from vesemir.adapters.recipes import load_recipes
from vesemir.domain.action import USUAL_LIMITS, ArtifactLimits, CheckAction, HttpProbe, RenderedStep
from vesemir.domain.recipe import ParameterValue, check_parameters
from vesemir.domain.render import render_steps
from vesemir.domain.render_values import RenderScope
from vesemir.domain.step import Direction
from vesemir.domain.target import Target
from vesemir.shipped import recipes_folder

Member = tuple[str, bytes | str | None, bytes]
"""Name, content (bytes), link target (str) or None for a folder, and the kind."""

SYSTEMCTL = '#!/bin/sh\necho "$@ $(readlink {root}/current)" >> {log}\n'


def archive(file: Path, members: list[Member]) -> Path:
    with tarfile.open(file, "w:gz") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mode = 0o6777
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content or ""
                tar.addfile(info)
    return file


def release(file: Path, version: str) -> Path:
    run = (b"run", tarfile.REGTYPE)
    return archive(
        file,
        [
            ("./", None, tarfile.DIRTYPE),
            ("./run", run[0], run[1]),
            ("VERSION", version.encode(), tarfile.REGTYPE),
            ("lib/app.py", b"app", tarfile.REGTYPE),
            ("lib/latest", "app.py", tarfile.SYMTYPE),
            ("up", "lib/../VERSION", tarfile.SYMTYPE),
            ("again", "VERSION", tarfile.LNKTYPE),
        ],
    )


@dataclass
class Host:
    """A folder with an application, and the deployments made to it."""

    folder: Path
    variables: dict[str, str]
    limits: ArtifactLimits = USUAL_LIMITS
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    path: str = PATH

    @property
    def root(self) -> Path:
        return self.folder / "srv shop"

    @property
    def current(self) -> str:
        return str((self.root / "current").readlink())

    @property
    def restarts(self) -> list[str]:
        log = self.folder / "restarts"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def releases(self) -> list[str]:
        return sorted(path.name for path in (self.root / "releases").iterdir())

    def steps(
        self, version: str, artifact: Path, *, deployment: str, direction: Direction = Direction.FORWARD
    ) -> list[RenderedStep]:
        recipe = load_recipes([recipes_folder()]).get("release")
        assert recipe is not None
        given: dict[str, ParameterValue] = {
            "artifact_url": f"file://{artifact}",
            "artifact_sha256": hashlib.sha256(artifact.read_bytes()).hexdigest().upper(),
            "keep_releases": 2,
            **self.parameters,
        }
        values, problems = check_parameters(recipe, given)
        assert problems == []
        target = Target("web1", "127.0.0.1", variables=self.variables)
        scope = RenderScope("shop", "production", version, deployment, target, parameters=values, step_seconds=120)
        return render_steps(recipe, direction, replace(scope, artifacts=self.limits))

    def step(self, name: str, version: str, artifact: Path, *, deployment: str) -> "subprocess.CompletedProcess[str]":
        (step,) = [step for step in self.steps(version, artifact, deployment=deployment) if step.name == name]
        return carry_out(step, self.folder / "incoming", path=self.path)

    def unpack(self, artifact: Path) -> "subprocess.CompletedProcess[str]":
        """Of 1.0.0 by deployment d1, as if the artifact had been fetched."""
        place = self.root / ".vesemir" / "artifact-d1"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artifact, place)
        return self.step("unpack", "1.0.0", artifact, deployment="d1")

    def deploy(self, version: str, artifact: Path, *, deployment: str, until: str = "", twice: bool = False) -> None:
        """All steps but the HTTP check; each twice if asked, as after a takeover."""
        for step in self.steps(version, artifact, deployment=deployment):
            for _ in range(2 if twice else 1):
                self._succeed(step)
            if step.name == until:
                return

    def roll_back(self, version: str, artifact: Path, *, deployment: str) -> list[str]:
        steps = self.steps(version, artifact, deployment=deployment, direction=Direction.BACK)
        return [self._succeed(step) for step in steps]

    def _succeed(self, step: RenderedStep) -> str:
        if isinstance(step.action, CheckAction):
            return ""
        done = carry_out(step, self.folder / "incoming", path=self.path)
        assert done.returncode == 0, (step.name, done.stderr)
        assert done.stderr == "", step.name
        return done.stdout


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path, {})
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(SYSTEMCTL.format(root=f"'{host.root}'", log=f"'{tmp_path}/restarts'"))
    systemctl.chmod(0o755)
    host.variables |= {"app_root": str(host.root), "systemctl": str(systemctl)}
    return host


@pytest.fixture
def artifact(tmp_path: Path) -> Callable[[str], Path]:
    return lambda version: release(tmp_path / f"shop-{version}.tar.gz", version)


def test_a_first_release_is_unpacked_switched_to_and_restarted(host: Host, artifact: Callable[[str], Path]) -> None:
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1")
    assert host.current == "releases/1.0.0"
    sha = hashlib.sha256((host.folder / "shop-1.0.0.tar.gz").read_bytes()).hexdigest()
    assert tree(host.root / "releases" / "1.0.0") == {
        ".vesemir-sha256": sha + "\n",
        ".vesemir-shared": "",
        "VERSION": "1.0.0",
        "again": "1.0.0",
        "lib/app.py": "app",
        "lib/latest": "-> app.py",
        "run": "run",
        "up": "-> lib/../VERSION",
    }
    assert (host.root / "releases" / "1.0.0" / "run").stat().st_mode & 0o7777 == 0o755
    assert host.restarts == ["restart shop releases/1.0.0"]
    assert sorted(path.name for path in (host.root / ".vesemir").iterdir()) == ["previous-d1"]


def test_the_version_check_asks_for_the_release(host: Host, artifact: Callable[[str], Path]) -> None:
    steps = {step.name: step for step in host.steps("1.0.0", artifact("1.0.0"), deployment="d1")}
    action = steps["check-version"].action
    assert isinstance(action, CheckAction)
    assert action.probe == HttpProbe("http://127.0.0.1:8080/", 200, None, {"version": "1.0.0"})
    assert (action.deadline, action.stable_seconds) == (90, 1)
    host.variables |= {"start_seconds": "110", "stable_seconds": "2.5"}
    for direction, name in ((Direction.FORWARD, "check-version"), (Direction.BACK, "check")):
        found = host.steps("1.0.0", artifact("1.0.0"), deployment="d1", direction=direction)
        (asked,) = [step.action for step in found if step.name == name]
        assert isinstance(asked, CheckAction)
        assert (asked.deadline, asked.stable_seconds) == (110, 2.5)
    assert all(step.idempotent for step in steps.values())


def test_every_step_may_be_done_twice(host: Host, artifact: Callable[[str], Path]) -> None:
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1", twice=True)
    host.deploy("2.0.0", artifact("2.0.0"), deployment="d2", twice=True)
    assert host.current == "releases/2.0.0"
    assert (host.root / ".vesemir" / "previous-d2").read_text() == "releases/1.0.0\n"


def test_a_rollback_brings_back_what_was_there(host: Host, artifact: Callable[[str], Path]) -> None:
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1")
    host.deploy("2.0.0", artifact("2.0.0"), deployment="d2")
    host.roll_back("2.0.0", artifact("2.0.0"), deployment="d2")
    assert host.current == "releases/1.0.0"
    assert host.restarts[-1] == "restart shop releases/1.0.0"
    host.roll_back("2.0.0", artifact("2.0.0"), deployment="d2")
    assert host.current == "releases/1.0.0"


def test_a_rollback_before_the_switch_does_nothing(host: Host, artifact: Callable[[str], Path]) -> None:
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1")
    before = host.restarts
    host.deploy("2.0.0", artifact("2.0.0"), deployment="d2", until="link-shared")
    outputs = host.roll_back("2.0.0", artifact("2.0.0"), deployment="d2")
    assert "never switched" in outputs[0]
    assert (host.current, host.restarts) == ("releases/1.0.0", before)


def test_a_rollback_of_the_very_first_release_says_that_there_is_nothing(
    host: Host, artifact: Callable[[str], Path]
) -> None:
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1")
    back = host.steps("1.0.0", artifact("1.0.0"), deployment="d1", direction=Direction.BACK)[0]
    done = carry_out(back, host.folder / "incoming")
    assert done.returncode == 1
    assert "no release here before" in done.stderr
    assert host.current == "releases/1.0.0"


def test_a_half_release_is_replaced(host: Host, artifact: Callable[[str], Path]) -> None:
    half = host.root / "releases" / "1.0.0"
    half.mkdir(parents=True)
    (half / "leftover").write_text("half")
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1")
    assert not (half / "leftover").exists()
    assert (half / "run").exists()


def test_a_complete_release_is_kept_as_it_is(host: Host, artifact: Callable[[str], Path]) -> None:
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1")
    inode = (host.root / "releases" / "1.0.0" / "run").stat().st_ino
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d2")
    assert (host.root / "releases" / "1.0.0" / "run").stat().st_ino == inode


def test_what_is_served_is_never_replaced_by_another_content(host: Host, tmp_path: Path) -> None:
    host.deploy("1.0.0", release(tmp_path / "a.tar.gz", "1.0.0"), deployment="d1")
    before = tree(host.root / "releases")
    other = release(tmp_path / "b.tar.gz", "another build")
    assert host.step("fetch", "1.0.0", other, deployment="d2").returncode == 0
    done = host.step("unpack", "1.0.0", other, deployment="d2")
    assert done.returncode == 1
    assert "another content" in done.stderr
    assert "version of its own" in done.stderr
    assert tree(host.root / "releases") == before


def test_what_is_served_without_a_mark_is_recognised_by_its_content(
    host: Host, artifact: Callable[[str], Path]
) -> None:
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1")
    served = host.root / "releases" / "1.0.0"
    (served / ".vesemir-sha256").unlink()
    (served / "log.txt").write_text("written by the application")
    inode = (served / "run").stat().st_ino
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d2")
    assert (served / ".vesemir-sha256").exists()
    assert (served / "log.txt").exists()
    assert (served / "run").stat().st_ino == inode


def test_another_build_of_a_release_that_is_not_served_replaces_it(host: Host, tmp_path: Path) -> None:
    host.deploy("1.0.0", release(tmp_path / "a.tar.gz", "1.0.0"), deployment="d1")
    host.deploy("2.0.0", release(tmp_path / "b.tar.gz", "2.0.0"), deployment="d2")
    host.deploy("1.0.0", release(tmp_path / "c.tar.gz", "another build"), deployment="d3")
    assert (host.root / "releases" / "1.0.0" / "VERSION").read_text() == "another build"
    assert host.releases == ["1.0.0", "2.0.0"]


def test_the_newest_are_kept_and_the_current_and_the_previous_in_any_case(
    host: Host, artifact: Callable[[str], Path]
) -> None:
    for number in range(1, 5):
        host.deploy(f"{number}.0", artifact(f"{number}.0"), deployment=f"d{number}")
    assert host.releases == ["3.0", "4.0"]
    (host.root / "releases" / ".9.tmp-d0").mkdir()
    host.deploy("3.0", artifact("3.0"), deployment="d5")
    assert host.releases == ["3.0", "4.0"]


def test_shared_paths_are_links_out_of_the_release(host: Host, artifact: Callable[[str], Path]) -> None:
    host.variables["shared"] = "log/ lib/settings.toml"
    (host.root / "shared" / "lib").mkdir(parents=True)
    (host.root / "shared" / "lib" / "settings.toml").write_text("kept")
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1", twice=True)
    release_folder = host.root / "releases" / "1.0.0"
    assert (release_folder / "log").readlink() == host.root / "shared" / "log"
    assert (release_folder / "lib" / "settings.toml").read_text() == "kept"
    host.deploy("2.0.0", artifact("2.0.0"), deployment="d2")
    assert sorted(path.name for path in (host.root / "shared").iterdir()) == ["lib", "log"]


@pytest.mark.parametrize(
    ("shared", "words"), [("../x", "must be relative"), ("/etc", "must be relative"), ("a", "missing")]
)
def test_shared_paths_that_leave_or_are_not_there_are_refused(
    host: Host, artifact: Callable[[str], Path], shared: str, words: str
) -> None:
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1", until="unpack")
    host.variables["shared"] = shared
    for name in ("unpack", "link-shared"):
        done = host.step(name, "1.0.0", artifact("1.0.0"), deployment="d1")
        assert done.returncode == 1
        assert words in done.stderr


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("../out", b"x", tarfile.REGTYPE)], "outside"),
        ([("a/../../out", b"x", tarfile.REGTYPE)], "outside"),
        ([("/tmp/out", b"x", tarfile.REGTYPE)], "outside"),
        ([("l", "/etc", tarfile.SYMTYPE)], "absolute"),
        ([("l", "../../..", tarfile.SYMTYPE)], "leads out"),
        ([("l", "../../..", tarfile.SYMTYPE), ("l/out", b"x", tarfile.REGTYPE)], "through"),
        ([("l", "../../../out", tarfile.SYMTYPE), ("l", b"x", tarfile.REGTYPE)], "replaces"),
        (
            [("d", None, tarfile.DIRTYPE), ("d/up", "..", tarfile.SYMTYPE), ("m", "d/up/../..", tarfile.SYMTYPE)],
            "leads",
        ),
        ([("h", "../../../secret", tarfile.LNKTYPE)], "hard link"),
        ([("h", "/etc/passwd", tarfile.LNKTYPE)], "hard link"),
        ([("p", None, tarfile.FIFOTYPE)], "neither"),
        ([("c", None, tarfile.CHRTYPE)], "neither"),
    ],
)
def test_an_archive_that_reaches_out_of_the_release_is_refused(
    host: Host, tmp_path: Path, members: list[Member], words: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    bad = archive(tmp_path / "bad.tar.gz", [("run", b"run", tarfile.REGTYPE), *members])
    assert host.step("fetch", "1.0.0", bad, deployment="d1").returncode == 0
    done = host.step("unpack", "1.0.0", bad, deployment="d1")
    assert done.returncode == 1
    assert words in done.stderr
    assert "the artifact is refused" in done.stderr
    assert not (host.root / "releases" / "1.0.0").exists()
    assert not (host.root / "out").exists()
    assert not (tmp_path / "out").exists()
    assert not Path("/tmp/out").exists()


def test_something_that_is_no_archive_is_refused(host: Host, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(b"no archive")
    assert host.step("fetch", "1.0.0", bad, deployment="d1").returncode == 0
    assert host.step("unpack", "1.0.0", bad, deployment="d1").returncode == 1
    assert not (host.root / "releases" / "1.0.0").exists()


def test_current_that_is_no_link_is_left_alone(host: Host, artifact: Callable[[str], Path]) -> None:
    (host.root / "current").mkdir(parents=True)
    host.deploy("1.0.0", artifact("1.0.0"), deployment="d1", until="link-shared")
    done = host.step("remember", "1.0.0", artifact("1.0.0"), deployment="d1")
    assert done.returncode == 1
    assert "no symbolic link" in done.stderr


def test_what_the_service_manager_and_the_log_say_is_shown_after_a_failure(
    host: Host, artifact: Callable[[str], Path]
) -> None:
    """journalctl may show nothing to the login: then it is the service's own log, and without one what to do."""
    log = host.folder / "shop.log"
    log.write_text("".join(f"line {number}\n" for number in range(40)) + "Traceback: no module named shop\n")
    host.variables["log_file"] = str(log)
    steps = {step.name: step for step in host.steps("1.0.0", artifact("1.0.0"), deployment="d1")}
    for name in ("restart", "check-version"):
        command = steps[name].on_failure_show
        assert command is not None
        shown = run(command, path=f"{host.folder}:{PATH}")
        assert shown.stdout.splitlines()[-1] == "Traceback: no module named shop"
        assert len(shown.stdout.splitlines()) == 30
        assert host.restarts[-1].startswith("status --no-pager --lines=0 -- shop")
    host.variables["log_file"] = ""
    (step,) = [each for each in host.steps("1.0.0", artifact("1.0.0"), deployment="d1") if each.name == "restart"]
    assert step.on_failure_show is not None
    assert "see on_failure_show in docs/recipes.md" in run(step.on_failure_show).stdout
