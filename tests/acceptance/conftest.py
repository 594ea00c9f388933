"""One lab for the whole run, daemons, and a requester: what somebody needs who knows only the contract."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.acceptance.installed_lab import Lab, vesemir
from tests.acceptance.pika_requester import Requester
from tests.acceptance.running_daemon import Daemon, running

BOXES = 6
"""Five to deploy to and one that no such deployment may touch."""

StartDaemon = Callable[..., Daemon]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """``lab[...]`` is what ``lab.json`` says."""
    folder = tmp_path_factory.mktemp("acceptance") / "lab"
    try:
        vesemir("lab", "up", "--dir", str(folder), "--boxes", str(BOXES), "--detach")
        yield Lab(folder)
    finally:
        vesemir("lab", "down", "--dir", str(folder))


@pytest.fixture
def daemon(lab: Lab, tmp_path: Path) -> Iterator[StartDaemon]:
    """``daemon("a", VESEMIR_…="…")`` starts an instance; at the end each is stopped and must exit with 0."""
    with ExitStack() as stack:

        def start(name: str = "one", *, healthy: bool = True, **more: str) -> Daemon:
            return stack.enter_context(running(lab, tmp_path, name, more, healthy=healthy))

        yield start


@pytest.fixture(scope="module")
def instance(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for a module's tests."""
    with running(lab, tmp_path_factory.mktemp("instance"), "one", {}) as started:
        yield started


@pytest.fixture
def requester(lab: Lab) -> Iterator[Requester]:
    with Requester(lab["amqp_url"]) as connected:
        yield connected


@pytest.fixture
def mended(lab: Lab) -> Iterator[None]:
    """Every box works and is in traffic, before and after."""
    lab.mend()
    yield
    lab.mend()
