"""Looks at a real host: they leave nothing there, and name what its sshd, its folders and its sudo refuse."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.ssh_server import DEPLOY, DEPLOY_ID, PYTHON, Sshd, sshd_running
from tests.integration.ssh_sessions import key, needs_root, reachable, ticket

from vesemir.adapters.recipes import load_recipes
from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.action import FetchAction, RunAction
from vesemir.domain.failure import FailedError, FailureCode, commands_in
from vesemir.domain.render import render_plan
from vesemir.domain.render_values import RenderScope
from vesemir.domain.step import Command, StepStatus
from vesemir.engine.target.look import place_look_command
from vesemir.shipped import recipes_folder

pytestmark = needs_root

ROOT = Command(("id", "-un"), sudo=True, timeout=10)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An ordinary user without sudo; sshd forwards nothing."""
    extra = "AllowTcpForwarding no"
    with sshd_running(reachable(tmp_path_factory) / "box", user=DEPLOY, extra=extra) as running:
        yield running


def fetch(destination: Path, *, sudo: bool = False) -> FetchAction:
    return FetchAction("http://x/a", str(destination), 0o600, "", "", "0" * 64, sudo=sudo, timeout=20)


async def test_what_a_host_refuses_is_named(narrow: Sshd) -> None:
    locked = narrow.folder / "locked"
    locked.mkdir(mode=0o755)
    async with SshHosts.started(narrow.settings()) as hosts, hosts.login(narrow.target, ticket()) as look:
        command = place_look_command(fetch(locked / "app" / "file"), 1, python=PYTHON)
        place = await look.run(key("place"), command)
        root = await look.run(key("root"), ROOT)
        await look.try_forwarding("127.0.0.1", narrow.port)  # checks will connect from the host itself
        await look.try_sftp()

    assert (place.status, place.exit_status) == (StepStatus.FAILED, 1)
    assert f"nothing can be written to {locked} (to make {locked}/app there): user {DEPLOY} may not" in (
        place.output.decode()
    )
    assert root.reason.startswith("sudo: ")
    assert commands_in(root.reason)
    assert list(narrow.state.iterdir()) == [], "a look leaves nothing on the host"


async def test_without_sftp_forwarding_and_a_python_for_steps(narrow: Sshd) -> None:
    """The supervisor has a Python, and the steps' PATH has none of that name."""
    login = narrow.folder / "login"
    (login / "mypython").symlink_to(PYTHON)
    (login / ".bashrc").write_text(f'echo noise; mypython() {{ {PYTHON} "$@"; }}; exec() {{ "$@"; }}\n')
    try:
        settings = narrow.settings(python="mypython")
        async with SshHosts.started(settings) as hosts, hosts.login(narrow.target, ticket()) as look:
            with pytest.raises(FailedError, match=r"Max packet size exceeded.*mypython") as sftp:
                await look.try_sftp()
            with pytest.raises(FailedError, match=r"AllowTcpForwarding.*mypython") as forwarding:
                await look.try_forwarding("127.0.0.1", narrow.port)
    finally:
        (login / ".bashrc").unlink()
    for failed in (sftp, forwarding):
        assert failed.value.failure.code is FailureCode.TARGET_UNSUPPORTED


async def test_folders_of_a_release_that_belong_to_another_user(narrow: Sshd) -> None:
    """``.vesemir`` may be written to, so the step fetch would not notice."""
    root = narrow.folder / "app"
    for folder in (root, root / ".vesemir", root / "releases"):
        folder.mkdir(mode=0o755)
        os.chown(folder, DEPLOY_ID, DEPLOY_ID)
    target = replace(narrow.target, variables={**narrow.target.variables, "app_root": str(root)})
    recipe = load_recipes([recipes_folder()]).get("release")
    assert recipe is not None
    given = {"artifact_url": "file:///a", "artifact_sha256": "0" * 64}
    scope = RenderScope("shop", "production", "1.0", "d1", target, parameters=given)
    (action,) = [step.action for step in render_plan(recipe, scope) if step.name == "folders"]
    assert isinstance(action, RunAction)
    async with SshHosts.started(narrow.settings()) as hosts, hosts.login(narrow.target, ticket()) as look:
        before = await look.run(key(), action.command)
        os.chown(root / "releases", 0, 0)
        after = await look.run(key(), action.command)

    assert before.status is StepStatus.SUCCEEDED
    assert after.output == f"{DEPLOY} may not write to {root}/releases: check its owner and mode\n".encode()


async def test_with_sudo_it_looks_as_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    """And where SFTP is not there, files will go through the session."""
    folder, sudoers = reachable(tmp_path_factory), f"{DEPLOY} ALL=(root) NOPASSWD: ALL\n"
    with sshd_running(folder / "box", user=DEPLOY, sudoers=sudoers, sftp="/no/such/program") as box:
        async with SshHosts.started(box.settings()) as hosts, hosts.login(box.target, ticket()) as look:
            locked = box.folder / "locked"
            locked.mkdir(mode=0o700)
            place = await look.run(key(), place_look_command(fetch(locked / "file", sudo=True), 1, python=PYTHON))
            root = await look.run(key(), ROOT)
            await look.try_forwarding("127.0.0.1", 1)  # nothing listens there, which does not matter
            await look.try_sftp()

    assert (place.status, root.output) == (StepStatus.SUCCEEDED, b"root\n")
    assert list(box.state.iterdir()) == []
