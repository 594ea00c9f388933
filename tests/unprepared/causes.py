"""Seven reasons why a release cannot be prepared, each with the failure code that a target must have for it.

Those of the hosts stand on all boxes while the block lasts. They are mounts of a private namespace (``__main__``) that
also has the ordinary user: the machine's own files are not touched, and nothing is left when its last process ends.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.installed_lab import Lab
from tests.integration.ssh_server import DEPLOY, DEPLOY_ID

STEP_SECONDS = 5
"""``timeouts.step``: how long the slow artifact server is waited for."""


@dataclass(frozen=True)
class Cause:
    """``parameters`` change the request; ``{site}`` in one is the artifact server. ``step`` is the one that fails."""

    code: str
    step: str = "fetch"
    status: str = "failed"
    says: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    standing: Callable[[Lab], AbstractContextManager[None]] = lambda _: nullcontext()


@contextmanager
def _full_disks(lab: Lab) -> Iterator[None]:
    """Where the artifact goes is a file system of its own, with no byte free."""
    folders = [lab.app_root(name) / ".vesemir" for name in lab.names]
    with ExitStack() as stack:
        for folder in folders:
            folder.mkdir(exist_ok=True)
            stack.enter_context(_mounted(folder, "-t", "tmpfs", "-o", "size=4k,mode=777", "none"))
            (folder / "filler").write_bytes(b"x" * 4096)
        yield


@contextmanager
def _unwritable(lab: Lab) -> Iterator[None]:
    """Boxes are root's, whom no mode keeps from writing: the folder of the releases is mounted read-only."""
    with ExitStack() as stack:
        for name in lab.names:
            folder = lab.app_root(name) / "releases"
            stack.enter_context(_mounted(folder, "--bind", str(folder)))
            _run("mount", "-o", "remount,bind,ro", str(folder))
        yield


@contextmanager
def _without_sudo(lab: Lab) -> Iterator[None]:
    """An ordinary user logs in, whom no rule of sudo knows; the recipe is to be run by sudo (the variable ``sudo``)."""
    inventory = Path(lab["env"]["VESEMIR_INVENTORY__FILE"])
    text = inventory.read_text()
    for name in lab.names:
        folder = lab.root(name) / "var" / "lib" / f"vesemir-{DEPLOY}"
        folder.mkdir(mode=0o700, exist_ok=True)
        os.chown(folder, DEPLOY_ID, DEPLOY_ID)
    _replace(inventory, "\n\n".join(map(_as_deploy, text.split("\n\n"))))
    try:
        yield
    finally:
        _replace(inventory, text)


def _as_deploy(table: str) -> str:
    """A table of the inventory, with the ordinary user if it is of a web box."""
    if not table.lstrip().startswith("[hosts.web"):
        return table
    table = re.sub('^user = ".*"$', f'user = "{DEPLOY}"', table, flags=re.MULTILINE)
    return re.sub('^(vesemir_state_dir = ".*)"$', rf'\1-{DEPLOY}"\nsudo = "true"', table, flags=re.MULTILINE)


@contextmanager
def _mounted(place: Path, *words: str) -> Iterator[None]:
    _run("mount", *words, str(place))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(place))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=20)


def _replace(file: Path, text: str) -> None:
    """By one rename: the daemon reads the old text or the new one."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


CAUSES = {
    "wrong checksum": Cause("artifact.checksum_mismatch", parameters={"artifact_sha256": "0" * 64}),
    "full disk": Cause("step.failed", says="make room there", standing=_full_disks),
    "unwritable folder": Cause("step.failed", "unpack", says="Read-only file system", standing=_unwritable),
    "no sudo right": Cause("step.failed", says="a password is required", standing=_without_sudo),
    "artifact 404": Cause("artifact.unavailable", says="404", parameters={"artifact_url": "{site}/missing"}),
    "artifact a page": Cause(
        "artifact.checksum_mismatch", says="HTML page", parameters={"artifact_url": "{site}/page"}
    ),
    "artifact slow": Cause("step.timed_out", status="timed_out", parameters={"artifact_url": "{site}/slow"}),
}
