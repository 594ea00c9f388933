"""What the tests of the SSH adapter share: servers started once per module, sessions, keys."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.ssh_server import DEPLOY, Sshd, sshd_running

from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.step import Command, Direction, StepKey
from vesemir.engine.ports.hosts import Ticket

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can make a namespace with another user in it")


def ticket(**changes: Any) -> Ticket:
    """A lease of about 12 s: a beat every 0.3 s, silence after 1 s."""
    fields: dict[str, Any] = {
        "deployment_id": "d1",
        "lane": "shop/production",
        "epoch": 1,
        "valid": lambda: True,
        "beat_seconds": 0.3,
        "silence_seconds": 1.0,
        "lock_seconds": 5.0,
    }
    return Ticket(**{**fields, **changes})


def key(step: str = "install", attempt: int = 1) -> StepKey:
    return StepKey("d1", Direction.FORWARD, step, attempt)


def shell(script: str, *arguments: str, **rest: Any) -> Command:
    return Command(("sh", "-c", script, "sh", *arguments), **rest)


async def until(condition: Callable[[], object], *, seconds: float = 15.0) -> None:
    """Wait until it holds; fails the test when it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - processes and files of another machine send no event
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module", params=["self", pytest.param(DEPLOY, marks=needs_root)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """As the user who runs the tests, and as an ordinary one."""
    user = "" if request.param == "self" else DEPLOY
    with sshd_running(reachable(tmp_path_factory) / "box", user=user) as running:
        yield running


def reachable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that another user may enter: pytest's own are closed to others."""
    folder = tmp_path_factory.mktemp("ssh")
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and "pytest" in str(parent):
            parent.chmod(0o755)
    return folder


@pytest.fixture
async def hosts(server: Sshd) -> AsyncIterator[SshHosts]:
    async with SshHosts.started(server.settings()) as started:
        yield started
